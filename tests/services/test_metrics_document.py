"""docs/monitoring.md names every metric with its labels, and nothing that is none."""

from __future__ import annotations

import re
from pathlib import Path

from ffcluster.services.logs import FIELDS
from tests.services.measured import Measured, all_names

_TEXT = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text(encoding="utf-8")
_SUFFIXES = re.compile(r"(?<=_seconds)_(bucket|count|sum)$")
_ROWS = re.compile(
    r"^\| ((?:`(?:ffcluster|process|python)_\w+`(?:, )?)+) \|([^|]*)\|", re.MULTILINE
)
# Of the process itself only Linux tells.
_LINUX = re.compile(r"process_")


def documented() -> dict[str, set[str]]:
    """Every metric in a table, with its labels."""
    return {
        name: set(re.findall(r"`(\w+)`", labels))
        for names, labels in _ROWS.findall(_TEXT)
        for name in re.findall(r"`(\w+)`", names)
    }


def test_every_metric_is_documented_and_nothing_else() -> None:
    shown = {_SUFFIXES.sub("", name) for name in all_names()}
    known = set(documented())
    assert shown <= known
    assert all(_LINUX.match(name) for name in known - shown)


def test_labels_are_documented() -> None:
    measured = Measured()
    measured.sim.join("one")
    measured.sim.submit("a", 100)
    measured.sim.run()
    measured.look()
    known = documented()
    for sample in measured.samples():
        name = _SUFFIXES.sub("", sample.name)
        if name.startswith("ffcluster_") and not name.endswith("_created"):
            assert set(sample.labels) - {"le"} == known[name], name


def test_fields_of_log_lines_are_documented() -> None:
    section = _TEXT.split("## The log")[1]
    for field in ("time", "level", "message", "namespace", "traceback", *FIELDS):
        assert f"| `{field}` |" in section
