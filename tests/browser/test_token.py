"""The dashboard of a coordinator that wants a token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.chromium import missing, opened, shoot
from tests.e2e.cluster import Cluster

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SECRET = "correct-horse-battery-staple-42"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    if missing():
        pytest.skip(missing())
    token = tmp_path / "token"
    token.write_text(SECRET)
    token.chmod(0o600)
    cluster = Cluster(tmp_path)
    try:
        yield cluster.start("--token-file", str(token))
    finally:
        cluster.stop()


def test_a_token_is_asked_for_and_kept_for_this_tab_only(
    browser: Browser, cluster: Cluster, tmp_path: Path
) -> None:
    with opened(browser, f"http://127.0.0.1:{cluster.port}/") as page:
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button", name="Go on").click()
        page.get_by_text("does not know this token").wait_for()
        shoot(page, "story-token", tmp_path)
        page.get_by_label("Token").fill(SECRET)
        page.keyboard.press("Enter")
        page.get_by_text("No jobs yet").wait_for()
        page.get_by_text("Live", exact=True).wait_for()

        assert SECRET not in page.content()
        assert page.evaluate("Object.values(sessionStorage)") == [SECRET]
        assert page.evaluate("localStorage.length") == 0
        assert page.context.cookies() == []
        page.reload()
        page.get_by_text("No jobs yet").wait_for()
