"""What the page knows stays right, in whatever order answers and events come.

Against a small API of this directory, whose answers can be held back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.browser.chromium import opened
from tests.browser.fake_api import AT, FakeApi, job, serving, worker
from tests.e2e.cluster import wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with serving(FakeApi(jobs=[job(1), job(2)], workers=[worker(0)], segments=20)) as api:
        yield api


@pytest.fixture
def page(browser: Browser, api: FakeApi) -> Iterator[Page]:
    with opened(browser, api.url) as page:
        page.locator(".job").nth(1).wait_for()
        page.get_by_text("Live", exact=True).wait_for()
        yield page


def first_job(page: Page) -> str:
    return page.locator(".job").first.inner_text()


def says(page: Page, text: str) -> None:
    page.locator(".job").first.get_by_text(text).first.wait_for()


def test_a_delta_is_shown_without_asking_again(page: Page, api: FakeApi) -> None:
    api.asked.clear()
    api.tell("job", {"id": "job1", "changes": {"fps": 4321.0, "paused": True}})
    says(page, "4,321 fps")
    says(page, "Paused")
    assert "120,000 / 240,000" in first_job(page)
    assert not [path for path in api.asked if "/jobs" in path]


def test_a_delta_that_overtakes_an_answer_is_not_lost(page: Page, api: FakeApi) -> None:
    api.asked.clear()
    api.held = "/jobs"
    api.tell("reset", {"reason": "too slow"})
    wait_for("the question", lambda: any("/jobs?" in path for path in api.asked))
    api.tell("job", {"id": "job1", "changes": {"fps": 77.0}})
    says(page, "77 fps")
    api.jobs[1]["source_name"] = "not known before.mkv"
    api.held = ""
    page.wait_for_function(
        "() => performance.getEntriesByType('resource').filter("
        "(one) => one.name.includes('/jobs?') && one.responseEnd).length >= 2"
    )
    page.evaluate("new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)))")
    says(page, "77 fps")


def test_a_reset_fetches_what_is_shown_again(page: Page, api: FakeApi) -> None:
    api.jobs[0]["source_name"] = "renamed.mkv"
    api.tell("reset", {"reason": "too slow"})
    says(page, "renamed.mkv")


def test_a_new_job_appears(page: Page, api: FakeApi) -> None:
    api.jobs.insert(0, job(3, source_name="new.mkv"))
    event = {"number": 5, "at": AT, "kind": "job.state", "job_id": "job3", "worker_id": None,
             "epoch": None, "data": {"state": "Queued"}}  # fmt: skip
    api.tell("job.state", event, 5)
    says(page, "new.mkv")


def test_a_lost_stream_is_taken_up_where_it_was_lost(page: Page, api: FakeApi) -> None:
    event = {"number": 8, "at": AT, "kind": "worker.joined", "job_id": None, "worker_id": "w0",
             "epoch": None, "data": {}}  # fmt: skip
    api.tell("worker.joined", event, 8)
    api.jobs[0]["source_name"] = "meanwhile.mkv"
    api.hang_up()
    says(page, "meanwhile.mkv")
    page.get_by_text("Live", exact=True).wait_for()
    assert api.resumed == [None, "8"]


def test_a_segment_that_is_done_is_drawn_without_asking_again(page: Page, api: FakeApi) -> None:
    page.evaluate("() => { location.hash = '#/jobs/job1' }")
    strip = page.locator('.filmstrip[aria-valuetext*="done"]')
    strip.wait_for()
    page.locator("summary", has_text="table (6)").wait_for()
    api.asked.clear()
    row = [0, 24, "checking", "worker-0007", 2, None]
    api.tell("segments", {"job_id": "job1", "segments": [row]})
    changed = page.locator(
        '.filmstrip[aria-valuetext*="being checked, by worker-0007, tried again 1 time"]'
    )
    changed.wait_for()
    assert not [path for path in api.asked if "/filmstrip" in path]


def test_only_the_lanes_in_view_are_fetched_and_none_for_a_mere_delta(
    page: Page, api: FakeApi
) -> None:
    api.workers += [worker(n) for n in range(1, 300)]
    page.evaluate("() => { location.hash = '#/jobs/job1' }")
    page.locator("summary", has_text="table (").wait_for()

    def charts() -> list[str]:
        return [path for path in api.asked if "/gantt?" in path]

    wait_for("the first lanes", charts)
    assert "first_lane=0&lanes=" in charts()[0]
    page.locator(".gantt-spacer[style*='6260px']").wait_for(state="attached")
    chart = page.locator(".gantt")
    chart.evaluate("(element) => { element.scrollTop = 150 * 22 }")
    wait_for("the lanes in view", lambda: any("first_lane=138" in path for path in charts()))
    page.locator("summary", has_text="table (").click()
    page.get_by_role("cell", name="worker-0150", exact=True).first.wait_for()
    assert not page.get_by_role("cell", name="worker-0001", exact=True).count()
    api.asked.clear()
    api.tell("job", {"id": "job1", "changes": {"fps": 4321.0}})
    page.get_by_text("4,321 fps").first.wait_for()
    assert not charts()


def test_shares_are_kept_right_by_what_changed_of_them(page: Page, api: FakeApi) -> None:
    page.evaluate("() => { location.hash = '#/jobs/job1' }")
    page.locator("summary", has_text="table (").wait_for()
    row = {
        "worker_id": "w7", "worker": "seven", "encoder": "libx264", "devices": [""],
        "segments": 3, "frames": 72, "running": 1, "fps": 41.0, "failures": 0,
    }  # fmt: skip
    api.tell("shares", {"job_id": "job1", "shares": [row], "gone": []})
    shown = page.get_by_role("group", name="What each worker did")
    shown.get_by_text("41 fps").wait_for()
    api.tell("shares", {"job_id": "job1", "shares": [{"worker_id": "w7", "fps": 52.0}]})
    shown.get_by_text("52 fps").wait_for()
    shown.get_by_role("cell", name="seven", exact=True).wait_for()
    api.tell("shares", {"job_id": "job1", "shares": [], "gone": ["w7"]})
    shown.wait_for(state="detached")
