"""Every screen as people meet it: in light and dark, on a phone, by keyboard, with very much on it.

Against a small API of this directory, which has ten thousand segments and a thousand workers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.chromium import findings, opened, shoot
from tests.browser.fake_api import AT, FakeApi, job, serving, worker
from tests.e2e.cluster import wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SEGMENTS, WORKERS = 10_000, 1000
SCREENS = {
    "jobs": "#/jobs",
    "job": "#/jobs/job1",
    "finished": "#/jobs/job3",
    "failed": "#/jobs/job4",
    "workers": "#/workers",
    "worker": "#/workers/w7",
    "submit": "#/submit",
    "access": "#/access",
}
PHONE = {"width": 390, "height": 844}
# A page that shows much is still quick when the browser has few elements to lay out.
MOST_ELEMENTS = 2500


@pytest.fixture(scope="module")
def api() -> Iterator[FakeApi]:
    waiting: dict[str, Any] = {
        "state": "WaitingForClients", "frames_done": 0, "frames_committed": 0, "fps": 0.0,
        "reason": "1 of 3 workers is connected; it starts when there are 3.", "eta_s": None,
    }  # fmt: skip
    outcome = {
        "path": "/films/3.mp4", "size_bytes": 4_100_000_000, "sha256": "ab" * 32,
        "frame_count": 240_000, "proven": True, "pictures_equal": None, "lost": [], "notes": [],
    }  # fmt: skip
    error = {"code": "encode_failed", "message": f"Frames 24 to 47 failed: {'x' * 300}.",
             "advice": "Look at the last lines of their logs."}  # fmt: skip
    jobs = [
        job(1),
        job(2, **waiting),
        job(3, state="Completed", ended=True, ended_at=AT, outcome=outcome),
        job(4, state="Failed", ended=True, ended_at=AT, error=error),
        job(5, paused=True, priority=1000, source_name=f"{'long name ' * 19}.mkv"),
        job(6, source_name="סרט ארוך מאוד.mkv"),
        job(7, source_name="🎬" * 100),
        job(8, state="Completed", ended=True, ended_at=AT, outcome=outcome, source_uploaded=True),
        job(9, state="Cancelled", ended=True, ended_at=AT, source_uploaded=True),
        *(job(number) for number in range(10, 400)),
    ]
    workers = [worker(number) for number in range(WORKERS)]
    tokens: list[dict[str, Any]] = [
        {"id": "a1", "name": "attic", "scope": "worker", "created_at": AT, "revoked_at": None},
        {"id": "a2", "name": "n" * 64, "scope": "client", "created_at": AT, "revoked_at": AT},
    ]
    fake = FakeApi(jobs=jobs, workers=workers, segments=SEGMENTS, tokens=tokens, asks=True)
    with serving(fake) as api:
        yield api


def go(page: Page, screen: str) -> None:
    """Open a screen and wait until it shows what it is about."""
    page.evaluate("address => { location.hash = address }", SCREENS[screen])
    marks = {
        "workers": ".workers .w-body .w-row", "submit": ".drop", "jobs": ".job",
        "access": "section[aria-label=Tokens] td",
    }  # fmt: skip
    page.locator(marks.get(screen, ".page-head h1 .badge")).first.wait_for()
    if screen in ("job", "finished", "failed"):
        page.locator('.filmstrip[aria-valuetext^="At "]').wait_for()
        page.locator("summary", has_text=re.compile(r"table \([1-9]")).wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_screen_has_a_serious_accessibility_finding(
    browser: Browser, api: FakeApi, scheme: Any, tmp_path: Path
) -> None:
    found = {}
    with opened(browser, api.url, color_scheme=scheme, reduced_motion="reduce") as page:
        for screen in SCREENS:
            go(page, screen)
            shoot(page, f"{screen}-{scheme}", tmp_path)
            found[screen] = findings(page)
    assert not any(found.values()), found


def test_every_screen_fits_a_phone(browser: Browser, api: FakeApi, tmp_path: Path) -> None:
    too_wide = []
    with opened(browser, api.url, viewport=PHONE, has_touch=True, is_mobile=True) as page:
        for screen in SCREENS:
            go(page, screen)
            shoot(page, f"{screen}-phone", tmp_path)
            if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                too_wide.append(screen)
    assert not too_wide


def test_a_viewer_is_offered_nothing_that_would_be_refused(
    browser: Browser, api: FakeApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(api, "scope", "viewer")
    api.asked.clear()
    refused = re.compile(
        "^(Pause|Resume|Cancel|Retry|Remove|Drain|Forget|Revoke|Make|Add|Submit|Lower|Higher)"
    )
    screens = ("jobs", "job", "failed", "workers", "worker")
    with opened(browser, api.url) as page:
        for screen in screens:
            go(page, screen)
            page.get_by_text("takes a token of scope client; yours has the scope").wait_for()
            assert not page.get_by_role("button", name=refused).count(), screen
            assert not page.get_by_role("link", name="New job").count()
        page.evaluate("() => { location.hash = '#/submit' }")
        page.get_by_text("Submitting jobs takes a token of scope client").wait_for()
        assert not page.locator("form").count()
        page.get_by_role("link", name="viewer").click()
        page.get_by_text("Change nothing.").wait_for()
        assert not page.get_by_role("region", name="Tokens").count()
        shoot(page, "access-viewer", tmp_path)
        assert not [path for path in api.asked if "/tokens" in path or "/webhooks" in path]


def test_what_takes_a_source_that_is_gone_is_not_offered(browser: Browser, api: FakeApi) -> None:
    with opened(browser, api.url) as page:
        page.evaluate("() => { location.hash = '#/jobs/job8' }")
        page.get_by_text("the uploaded source is not kept any more").wait_for()
        assert page.get_by_role("button", name="Play").count()
        assert not page.get_by_role("button", name="Compare with the source").count()
        page.evaluate("() => { location.hash = '#/jobs/job9' }")
        page.get_by_role("button", name="Remove").first.wait_for()
        assert not page.get_by_role("button", name="Retry").count()


def test_ten_thousand_segments_and_a_thousand_workers_stay_few_elements(
    browser: Browser, api: FakeApi
) -> None:
    with opened(browser, api.url) as page:
        elements = "document.querySelectorAll('*').length"
        go(page, "workers")
        table = page.get_by_role("table", name="Workers")
        table.get_by_role("row").nth(1).wait_for()
        last = table.get_by_text(f"worker-{WORKERS - 1:04}")

        def reached() -> bool:
            # The end is where the rows end that were fetched: it moves as often as more came.
            table.evaluate("table => table.scrollTo(0, table.scrollHeight)")
            page.wait_for_timeout(50)
            return last.is_visible()

        wait_for("the last worker", reached)
        shown = page.get_by_role("table", name="Workers").get_by_role("row").count()
        assert 1 < shown < 60
        assert page.evaluate(elements) < MOST_ELEMENTS

        api.asked.clear()
        go(page, "job")
        page.get_by_text("All segments").click()
        page.get_by_role("table", name="Segments").get_by_role("button").first.wait_for()
        assert page.evaluate(elements) < MOST_ELEMENTS
        # The film is asked for in as many buckets as can be told apart, not segment by segment.
        assert len([path for path in api.asked if "/segments" in path]) <= 2
        assert all("buckets=" in path for path in api.asked if "/filmstrip" in path)


def test_a_segment_is_found_and_opened_by_keyboard_alone(browser: Browser, api: FakeApi) -> None:
    with opened(browser, api.url) as page:
        go(page, "job")
        strip = page.get_by_role("slider", name="Segments of the film")
        strip.focus()
        for key in ("ArrowRight", "ArrowRight", "Enter"):
            page.keyboard.press(key)
        # That bucket stood for many segments: now it is looked at more closely.
        page.wait_for_function(
            "() => !/segments/.test(document.querySelector('.filmstrip').ariaValueText)"
        )
        page.keyboard.press("Enter")
        panel = page.get_by_role("region", name="Segment: Frames")
        panel.get_by_text("-c:v libx264").wait_for()
        assert panel.evaluate("panel => panel === document.activeElement")
        assert "profile High" in panel.inner_text()


def test_the_lanes_of_the_last_workers_are_reached_by_scrolling(
    browser: Browser, api: FakeApi
) -> None:
    with opened(browser, api.url) as page:
        go(page, "job")
        chart = page.get_by_role("group", name="Attempts of each worker")
        chart.evaluate("chart => chart.scrollTo(0, chart.scrollHeight)")
        box = chart.bounding_box()
        assert box is not None
        opened_segment = page.get_by_role("region", name="Segment: Frames")

        def chosen() -> bool:
            # The bar of the last lane that began first, once what is in view was fetched.
            chart.click(position={"x": 200, "y": box["height"] - 12})
            page.wait_for_timeout(200)
            return opened_segment.is_visible()

        wait_for("the segment", chosen)


def test_pages_of_jobs_are_turned(browser: Browser, api: FakeApi) -> None:
    with opened(browser, api.url) as page:
        go(page, "jobs")
        assert page.locator(".job").count() == 25
        page.get_by_role("button", name="After").click()
        page.get_by_text("Page 2").wait_for()
        page.get_by_role("link", name="film 26.mkv", exact=True).wait_for()
        page.get_by_role("button", name="Before").click()
        page.get_by_role("link", name="film 1.mkv", exact=True).wait_for()


def test_a_slow_network_shows_what_it_has_and_then_the_rest(browser: Browser, api: FakeApi) -> None:
    with opened(browser, "about:blank") as page:
        network = page.context.new_cdp_session(page)
        slow = {"offline": False, "latency": 400, "downloadThroughput": 80_000,
                "uploadThroughput": 20_000}  # fmt: skip
        network.send("Network.emulateNetworkConditions", slow)
        page.goto(api.url, wait_until="commit")
        page.get_by_text("Asking the coordinator…").wait_for()
        page.locator(".job").first.wait_for()
        page.get_by_text("Live", exact=True).wait_for()
