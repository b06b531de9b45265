"""The dashboard's files: small, whole, and asking nobody else for anything."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

import ffcluster.web

STATIC = Path(ffcluster.web.__file__).with_name("static")
FILES = sorted(path for path in STATIC.rglob("*") if path.is_file())
TEXTS = [path for path in FILES if path.suffix in (".css", ".html", ".js", ".svg")]
MOST_BYTES = 200_000
# A name is no host that anything is fetched from.
NAMESPACE = "http://www.w3.org/2000/svg"


def text_of(suffix: str) -> dict[str, str]:
    return {
        path.relative_to(STATIC).as_posix(): path.read_text("utf-8")
        for path in TEXTS
        if path.suffix == suffix
    }


def test_all_files_together_stay_below_their_budget() -> None:
    assert sum(len(gzip.compress(path.read_bytes())) for path in FILES) < MOST_BYTES


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_no_file_names_another_host(path: Path) -> None:
    text = path.read_text("utf-8").replace(NAMESPACE, "")
    assert not re.findall(r"(?:https?:)?//[\w.-]+\.\w{2,}", text)


@pytest.mark.parametrize("name", text_of(".html"))
def test_nothing_is_inline_that_the_policy_forbids(name: str) -> None:
    html = text_of(".html")[name]
    assert not re.findall(r"<script(?![^>]*\ssrc=)", html)
    assert not re.findall(r"<style|\sstyle=|\son\w+=|javascript:", html)


@pytest.mark.parametrize("name", text_of(".js"))
def test_no_script_makes_code_or_markup_of_text(name: str) -> None:
    source = text_of(".js")[name]
    assert not re.findall(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", source
    )
    assert not re.findall(r"new Function|setAttribute\(\"style\"", source)


def test_every_import_names_a_file_that_is_there() -> None:
    modules = text_of(".js")
    for name, source in modules.items():
        for target in re.findall(r'(?:from|import\() ?"\./([\w.]+)"', source):
            found = Path(name).with_name(target).as_posix()
            assert found in modules, f"{name} imports {target}"


def test_the_page_loads_every_module_of_its_own_without_waiting_for_another() -> None:
    page = text_of(".html")["index.html"]
    loaded = set(re.findall(r'"/static/([\w.]+\.js)"', page))
    wanted, reached = ["main.js"], set()
    modules = text_of(".js")
    while wanted:
        name = wanted.pop()
        if name not in reached:
            reached.add(name)
            wanted += re.findall(r'from "\./([\w.]+)"', modules[name])
    assert loaded == reached
