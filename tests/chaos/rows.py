"""All scenarios, in the order of the table."""

from __future__ import annotations

from tests.chaos import crashes, disks, lies, lines, poison
from tests.chaos.run import Scenario


def _place(scenario: Scenario) -> tuple[bool, int]:
    number = scenario.row.removeprefix("R")
    return not number.isdigit(), int(number) if number.isdigit() else 0


SCENARIOS: list[Scenario] = sorted(
    [
        *crashes.SCENARIOS,
        *lines.SCENARIOS,
        *disks.SCENARIOS,
        *poison.SCENARIOS,
        *lies.SCENARIOS,
    ],
    key=_place,
)
