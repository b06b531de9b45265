"""docs/events.md and the table of kinds say of every event what the core writes down."""

from __future__ import annotations

import ast
from pathlib import Path

from ffcluster.core.kinds import KINDS
from ffcluster.services.webhooks.message import STATE_KINDS

_ROOT = Path(__file__).parents[2]
_DOCUMENT = (_ROOT / "docs" / "events.md").read_text(encoding="utf-8")
_ABOUT = {"job_id", "worker_id", "epoch"}


def noted() -> dict[str, set[str]]:
    """Every kind that is noted anywhere in the core, with the names of its data."""
    found: dict[str, set[str]] = {}
    for path in (_ROOT / "ffcluster" / "core").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            kind = node.args[0]
            if name not in ("note", "_note"):
                continue
            if isinstance(kind, ast.Constant):
                data = {word.arg for word in node.keywords if word.arg} - _ABOUT
                # Control notes the priority with everything.
                found.setdefault(str(kind.value), set()).update(
                    {"priority"} if name == "_note" else data
                )
    return found


def test_every_kind_is_known_with_its_data() -> None:
    assert noted() == {kind: set(known.data) for kind, known in KINDS.items()}


def test_every_kind_is_documented_as_it_is() -> None:
    for kind, known in KINDS.items():
        data = ", ".join(f"`{name}`: {meaning}" for name, meaning in known.data.items())
        row = f"| `{kind}` | {known.meaning} | {data} |".replace("|  |", "| |")
        assert row in _DOCUMENT, row


def test_every_kind_of_a_job_s_states_is_documented() -> None:
    for kind in STATE_KINDS.values():
        assert f"`{kind}`" in _DOCUMENT
