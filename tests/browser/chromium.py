"""A real Chromium without a window, for tests; screenshots of what it shows."""

from __future__ import annotations

import base64
import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Long enough for a machine that does much else; every wait ends as soon as it can.
PATIENCE_MS = 60_000
# Drops a file as a person does, from what the test gives.
_DROP = """([name, content]) => {
  const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name));
  for (const kind of ["dragover", "drop"]) {
    document.body.dispatchEvent(
      new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true })
    );
  }
}"""


def missing() -> str:
    """Why no browser can be started here; "" where one can."""
    for module in ("playwright", "axe_playwright_python"):
        if importlib.util.find_spec(module) is None:
            return f"the Python package {module} is not installed (pip install ffcluster[test])"
    return "" if chromium() else "there is no Chromium on this machine (apt install chromium)"


def chromium() -> str | None:
    """The program: `FFCLUSTER_CHROMIUM`, or what is on PATH."""
    named = os.environ.get("FFCLUSTER_CHROMIUM")
    return named or next((path for name in _NAMES if (path := shutil.which(name))), None)


@contextmanager
def started() -> Iterator[Browser]:
    """Start it, or skip the test."""
    if missing():
        pytest.skip(missing())
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Chromium's own sandbox does not work for root, nor in most containers.
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, url: str, **context: Any) -> Iterator[Page]:
    """A page in a fresh profile; nothing in it may break, and nothing may be against its policy."""
    options = {"viewport": {"width": 1280, "height": 900}, **context}
    with browser.new_context(**options) as fresh:
        page = fresh.new_page()
        page.set_default_timeout(PATIENCE_MS)
        broken: list[str] = []
        page.on("pageerror", lambda error: broken.append(str(error)))
        page.on("console", lambda said: _keep_violations(broken, said.text))
        page.goto(url)
        yield page
        assert not broken


def _keep_violations(broken: list[str], text: str) -> None:
    if "Content Security Policy" in text:
        broken.append(text)


def drop(page: Page, file: Path) -> None:
    """Drag a file from outside onto the page."""
    page.evaluate(_DROP, [file.name, base64.b64encode(file.read_bytes()).decode()])


def findings(page: Page) -> list[Any]:
    """What on the page seriously keeps people out, as axe-core finds it."""
    from axe_playwright_python.sync_playwright import Axe

    return [
        (violation["id"], violation["help"], [node["target"] for node in violation["nodes"][:5]])
        for violation in Axe().run(page).response["violations"]
        if violation["impact"] in ("serious", "critical")
    ]


def shoot(page: Page, name: str, directory: Path) -> None:
    """Keep a picture of the page, in `FFCLUSTER_SCREENSHOTS` where that is set."""
    folder = Path(os.environ.get("FFCLUSTER_SCREENSHOTS") or directory)
    folder.mkdir(parents=True, exist_ok=True)
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=folder / f"{name}.png", full_page=True)
