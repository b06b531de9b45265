"""The dashboard of a coordinator that wants a token, for everybody who may have one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.chromium import drop, findings, missing, opened, shoot
from tests.e2e.cluster import Cluster

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SECRET = "correct-horse-battery-staple-42"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if missing():
        pytest.skip(missing())
    directory = tmp_path_factory.mktemp("cluster")
    token = directory / "token"
    token.write_text(SECRET)
    token.chmod(0o600)
    cluster = Cluster(directory)
    try:
        yield cluster.start("--token-file", str(token))
    finally:
        cluster.stop()


@pytest.fixture
def page(browser: Browser, cluster: Cluster) -> Iterator[Page]:
    with opened(browser, f"http://127.0.0.1:{cluster.port}/") as page:
        yield page


def enter(page: Page, token: str) -> None:
    """Show a token, by keyboard alone: the field has the focus whenever one is wanted."""
    page.wait_for_function("() => document.activeElement.id === 'token'")
    page.keyboard.press("Control+A")
    page.keyboard.type(token)
    page.keyboard.press("Enter")


def make_token(page: Page, name: str, scope: str) -> str:
    """Make a token on the screen Access, and read the secret where it is shown."""
    page.get_by_role("link", name="Access").click()
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Scope").select_option(scope)
    page.get_by_role("button", name="Make a token").click()
    secret = commands(page)[0].split("'")[3]
    page.get_by_role("button", name="It is in its place").click()
    page.get_by_role("group", name="The new token").wait_for(state="detached")
    page.get_by_role("button", name=f"Revoke {name}").wait_for()
    assert secret not in page.content()
    return secret


def commands(page: Page) -> list[str]:
    """The commands that a new token is shown with."""
    shown = page.get_by_role("group", name="The new token")
    shown.wait_for()
    return shown.get_by_role("group", name="Command").all_text_contents()


def test_a_token_is_asked_for_and_kept_for_this_tab_only(page: Page, tmp_path: Path) -> None:
    enter(page, "two words")
    page.get_by_text("This is no token").wait_for()
    enter(page, "wrong")
    page.get_by_text("does not know this token").wait_for()
    shoot(page, "story-token", tmp_path)
    assert not findings(page)
    enter(page, SECRET)
    page.get_by_text("No jobs yet").wait_for()
    page.get_by_text("Live", exact=True).wait_for()

    assert SECRET not in page.content()
    assert page.evaluate("Object.values(sessionStorage)") == [SECRET]
    assert page.evaluate("localStorage.length") == 0
    assert page.context.cookies() == []
    page.reload()
    page.get_by_text("No jobs yet").wait_for()
    dashboard = page.url
    page.goto(dashboard.partition("#")[0] + "api/v1/docs")
    page.get_by_text("GET/api/v1/me Show who asks").wait_for()
    assert not findings(page)
    page.goto(dashboard)
    page.get_by_role("link", name="Access").click()
    page.get_by_role("button", name="Use another token").click()
    page.get_by_label("Token", exact=True).wait_for()
    assert page.evaluate("sessionStorage.length") == 0


def test_the_commands_that_one_click_shows_start_a_worker(page: Page, tmp_path: Path) -> None:
    enter(page, SECRET)
    page.get_by_role("button", name="Make a token and show the command").click()
    keep, start = commands(page)
    assert page.evaluate("() => document.activeElement.id") == "made"
    shoot(page, "story-worker-token", tmp_path)
    assert not findings(page)

    # As somebody would, in a shell of the machine that is to help.
    subprocess.run(keep, shell=True, check=True, cwd=tmp_path)
    (file,) = tmp_path.glob("*.token")
    assert file.stat().st_mode & 0o077 == 0
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            f"exec {start}", shell=True, cwd=tmp_path, stdout=log, stderr=log,
            env={**os.environ, "PATH": path, "HOME": str(tmp_path)},
        )  # fmt: skip
    try:
        page.get_by_text("1 worker ·").wait_for()
        # What is not in its place yet is shown until somebody says that it is.
        page.get_by_role("button", name="It is in its place").click()
        page.get_by_text("A new worker's token").wait_for(state="detached")
    finally:
        worker.terminate()
        assert worker.wait(60) == 0


def test_who_looks_is_told_why_and_is_asked_again_when_the_token_is_revoked(
    browser: Browser, page: Page, tmp_path: Path
) -> None:
    enter(page, SECRET)
    viewer = make_token(page, "wall", "viewer")
    client = make_token(page, "studio", "client")
    worker = make_token(page, "attic", "worker")
    page.get_by_label("URL").fill("http://127.0.0.1:1/told")
    page.get_by_role("button", name="Add a webhook").click()
    page.get_by_role("alert").get_by_text("it must begin with https").wait_for()
    page.get_by_label("URL").fill("https://films.example/told")
    page.get_by_role("button", name="Add a webhook").click()
    page.get_by_role("group", name="The new secret").get_by_text("whsec_").wait_for()
    page.get_by_role("button", name="Remove https://films.example/told").click()
    page.get_by_role("button", name="Remove the webhook").click()
    page.get_by_text("None yet.").wait_for()
    assert not findings(page)
    with opened(browser, page.url) as other:
        enter(other, worker)
        other.get_by_text("The token attic has the scope worker").wait_for()
        enter(other, viewer)
        other.get_by_text("Change nothing.").wait_for()
        film = tmp_path / "film.mkv"
        film.write_bytes(b"x")
        drop(other, film)
        other.get_by_text("submitting takes a token of scope client").wait_for()

        page.get_by_role("button", name="Revoke wall").click()
        page.get_by_role("button", name="Revoke the token").click()
        other.get_by_text("It was revoked").wait_for()
        shoot(other, "story-revoked", tmp_path)
        enter(other, client)
        other.get_by_role("link", name="New job").wait_for()
        assert not other.get_by_role("region", name="Tokens").count()
