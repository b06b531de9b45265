"""All scenarios, in the order of the table."""

from __future__ import annotations

from tests.chaos import crashes
from tests.chaos.run import Scenario

SCENARIOS: list[Scenario] = sorted(
    [*crashes.SCENARIOS],
    key=lambda scenario: (not scenario.row.startswith("R"), int(scenario.row[1:])
                          if scenario.row[1:].isdigit() else 0),
)  # fmt: skip
