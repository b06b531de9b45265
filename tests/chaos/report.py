"""The summary, one line for each row: `python -m tests.chaos.report FIGURES.jsonl ...`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests.bench.measure import table as markdown
from tests.chaos.run import Figures


def table(done: Sequence[Figures], skipped: Mapping[str, str]) -> str:
    """Runs, failures, times and shares of each row, as Markdown."""
    rows = []
    for name in dict.fromkeys(figures.row for figures in done):
        mine = [f for f in done if f.row == name and not f.facts.get("missed")]
        good = [figures for figures in mine if figures.ok]
        longer = [
            figures.makespan_s - figures.usual_s
            for figures in good
            if figures.makespan_s is not None and figures.usual_s is not None
        ]
        again = sum(figures.repeated for figures in good) / max(1, len(good))
        refused = sum(figures.facts.get("superseded_results", 0) for figures in good)
        rows.append((
            name,
            len(mine),
            len(mine) - len(good),
            _spread([f.noticed_s for f in good]),
            _spread([f.recovered_s for f in good]),
            _spread(longer),
            f"{again:.1%}",
            refused,
        ))  # fmt: skip
    rows.sort(key=_place)
    text = markdown(
        "Faults",
        ("row", "runs", "failed", "noticed p50/p95, s", "recovered p50/p95, s",
         "longer p50/p95, s", "begun again", "late results refused"),
        rows,
    )  # fmt: skip
    if missed := sum(1 for figures in done if figures.facts.get("missed")):
        text += (
            f"\nRuns that were over before their fault could do anything, not counted: {missed}."
        )
    for what, why in skipped.items():
        text += f"\nSkipped {what}: {why}."
    return text + "\n"


def _place(row: tuple[object, ...]) -> tuple[bool, int]:
    number = str(row[0]).removeprefix("R")
    return not number.isdigit(), int(number) if number.isdigit() else 0


def _spread(values: Sequence[float | None]) -> str:
    known = sorted(value for value in values if value is not None)
    if not known:
        return "-"
    return f"{_quantile(known, 0.5):.1f} / {_quantile(known, 0.95):.1f}"


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _read(paths: Iterable[Path]) -> list[Figures]:
    return [Figures(**json.loads(line)) for path in paths for line in path.open()]


if __name__ == "__main__":
    print(table(_read(map(Path, sys.argv[1:])), {}))
