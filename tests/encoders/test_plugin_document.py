"""docs/plugins.md names everything that a plugin can implement, and its examples work."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from ffcluster.core.model import Capability, Trouble
from ffcluster.encoders import hookspecs
from ffcluster.encoders.backend import Backend
from ffcluster.testing import BackendContract

_TEXT = (Path(__file__).resolve().parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
_SECTION = re.compile(r"^#{2,3} (.+?)\n(.*?)(?=^#{1,3} |\Z)", re.MULTILINE | re.DOTALL)
_EXAMPLE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Attributes are shown together, in the example of the schemas.
_ATTRIBUTES = ("name", "api_version")


def _without_fences(text: str) -> str:
    # Comments in examples look like headings.
    return re.sub(r"^```.*?^```$", lambda found: found[0].replace("\n#", "\n #"), text,
                  flags=re.MULTILINE | re.DOTALL)  # fmt: skip


SECTIONS = dict(_SECTION.findall(_without_fences(_TEXT)))
HOOKS = [name for name in vars(hookspecs) if name.startswith("ffcluster_")]
MEMBERS = [name for name in vars(Backend) if not name.startswith("_")]


def _example() -> dict[str, Any]:
    """What all examples of the document define, run in order as one module."""
    namespace: dict[str, Any] = {"__name__": "documented_plugin"}
    # Names that an earlier example uses are defined by later ones; only calls come last.
    for code in _EXAMPLE.findall(_TEXT):
        exec(compile(code, "docs/plugins.md", "exec"), namespace)
    return namespace


EXAMPLE = _example()


class TestDocumentedBackend(BackendContract):
    backend = EXAMPLE["OpenH264"]()
    installed = False


@pytest.mark.parametrize("name", [*HOOKS, *MEMBERS])
def test_every_hook_and_every_member_of_a_backend_has_a_section_with_an_example(name: str) -> None:
    assert f"`{name}`" in SECTIONS, f"docs/plugins.md has no section about {name}"
    if name not in _ATTRIBUTES:
        section = SECTIONS[f"`{name}`"]
        assert any(name in code for code in _EXAMPLE.findall(section)), section


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_says_what_it_is_for_with_an_example(name: str) -> None:
    assert "Example:" in (inspect.getdoc(getattr(hookspecs, name)) or "")


@pytest.mark.parametrize("name", MEMBERS)
def test_every_member_of_a_backend_says_what_it_is_for(name: str) -> None:
    assert inspect.getdoc(getattr(Backend, name))


def test_every_field_of_a_capability_and_every_trouble_is_explained() -> None:
    fields = SECTIONS["Capability: the fields"]
    for attribute in Capability.__attrs_attrs__:
        assert f"`{attribute.name}`" in fields
    for trouble in Trouble:
        assert f"`{trouble.name}`" in SECTIONS["`explain`"]


def test_everything_public_for_tests_is_named() -> None:
    import ffcluster.testing

    for name in ffcluster.testing.__all__:
        assert f"`{name}`" in _TEXT, f"docs/plugins.md does not name {name}"


def test_links_within_the_document_and_to_files_lead_somewhere() -> None:
    root = Path(__file__).resolve().parents[2] / "docs"
    anchors = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", _without_fences(_TEXT), re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", _TEXT):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif "://" not in target:
            assert (root / target).exists(), target
