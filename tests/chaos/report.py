"""The summary: one line for each row of the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.bench.measure import table as markdown
from tests.chaos.run import Figures


def table(done: Sequence[Figures], skipped: Mapping[str, str]) -> str:
    """Runs, failures, times and shares of each row, as Markdown."""
    rows = []
    for name in dict.fromkeys(figures.row for figures in done):
        mine = [figures for figures in done if figures.row == name]
        good = [figures for figures in mine if figures.ok]
        longer = [
            figures.makespan_s - figures.usual_s
            for figures in good
            if figures.makespan_s is not None and figures.usual_s is not None
        ]
        again = sum(figures.repeated for figures in good) / max(1, len(good))
        rows.append((
            name,
            len(mine),
            len(mine) - len(good),
            _spread([f.noticed_s for f in good]),
            _spread([f.recovered_s for f in good]),
            _spread(longer),
            f"{again:.1%}",
        ))  # fmt: skip
    text = markdown(
        "Faults",
        ("row", "runs", "failed", "noticed p50/p95, s", "recovered p50/p95, s",
         "longer p50/p95, s", "segments begun again"),
        rows,
    )  # fmt: skip
    for what, why in skipped.items():
        text += f"\nSkipped {what}: {why}."
    return text + "\n"


def _spread(values: Sequence[float | None]) -> str:
    known = sorted(value for value in values if value is not None)
    if not known:
        return "-"
    return f"{_quantile(known, 0.5):.1f} / {_quantile(known, 0.95):.1f}"


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
