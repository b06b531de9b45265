"""From the event to the screen, and what large clusters cost the browser."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import time
from typing import TYPE_CHECKING

import attrs

from tests.bench.busy import Delays, answer, asked, delays
from tests.bench.measure import table
from tests.browser.chromium import missing, opened, started
from tests.e2e.cluster import Cluster

if TYPE_CHECKING:
    from playwright.sync_api import Page

LOOKS = 30
_MOST_STEPS = 200
# Writes down when each priority of the job is first to be read on the page.
_OBSERVE = """() => {
  window.seen = {};
  const look = () => {
    const found = document.querySelector(".priority")?.textContent.match(/-?\\d+/);
    if (found && !(found[0] in window.seen)) window.seen[found[0]] = Date.now() / 1000;
  };
  new MutationObserver(look).observe(document.body,
    { subtree: true, childList: true, characterData: true });
  look();
}"""


# Goes down to the end until there is nothing more, as a person does who looks for the last row.
_SCROLL = """([selector, steps]) => new Promise((done) => {
  const element = document.querySelector(selector);
  const look = () => {
    const whole = element.getAttribute("aria-rowcount") !== "-1";
    const end = element.scrollTop + element.clientHeight >= element.scrollHeight - 1;
    steps -= 1;
    if ((whole && end) || steps === 0) return done(steps > 0);
    element.scrollTop = element.scrollHeight;
    setTimeout(look, 50);
  };
  look();
})"""
_TASKS = """() => {
  window.tasks = [];
  const note = (list) => window.tasks.push(...list.getEntries().map((entry) => entry.duration));
  new PerformanceObserver(note).observe({ type: "longtask" });
}"""


@attrs.frozen
class Seen:
    """What one page did.

    Attributes:
        page: Which one.
        took_ms: How long each change took to be on it.
        longest_ms: How long it did not answer at most; 0 where that was never as long as 50 ms.
        delays: How late the coordinator's reactor was meanwhile.
    """

    page: str
    took_ms: Sequence[float]
    longest_ms: float
    delays: Delays


def seen_table(cluster: Cluster, job_id: str, looks: int = LOOKS) -> str:
    """How soon changes are on the pages of a cluster."""
    title = "Milliseconds from a request that changes a job to the changed page"
    if missing():
        return f"### {title}\n\nNot measured: {missing()}.\n"
    with _page(cluster) as page:
        rows = []
        for name, address in (("list of jobs", "#/jobs"), ("job", f"#/jobs/{job_id}")):
            _go(page, address)
            rows.append(_shown(_seen(page, cluster, job_id, name, looks)))
    return table(f"{title}, {looks} changes", _HEAD, rows)


def size_table(cluster: Cluster, job_id: str, workers: int, looks: int) -> str:
    """The job with all its workers, and both long lists to their ends."""
    title = f"{workers:,} workers and 10,000 segments in the browser"
    if missing():
        return f"### {title}\n\nNot measured: {missing()}.\n"
    with _page(cluster) as page:
        _go(page, f"#/jobs/{job_id}")
        seen = [_seen(page, cluster, job_id, f"job, {looks} changes", looks)]
        page.locator("details", has_text="All segments").locator("summary").last.click()
        for name, selector in (("its lanes", ".gantt"), ("its segments", ".windowed.segments")):
            page.locator(selector).wait_for()
            seen.append(_scrolled(page, cluster, f"{name}, scrolled", selector))
        page.evaluate("() => { location.hash = '#/workers' }")
        page.locator(".windowed.workers .w-body .w-row").first.wait_for()
        seen.append(_scrolled(page, cluster, "list of workers, scrolled", ".windowed.workers"))
    return table(title, _HEAD, [_shown(one) for one in seen])


_HEAD = ("page", "p50", "p95", "most", "longest task ms", "reactor p95 ms", "reactor most ms")


def _shown(seen: Seen) -> tuple[str, ...]:
    took = seen.took_ms
    figures = ("-", "-", "-")
    if took:
        late = statistics.quantiles(took, n=20, method="inclusive")[-1]
        figures = (f"{statistics.median(took):.0f}", f"{late:.0f}", f"{max(took):.0f}")
    longest = f"{seen.longest_ms:.0f}" if seen.longest_ms else "< 50"
    return seen.page, *figures, longest, seen.delays.within_ms(0.95), seen.delays.within_ms(1.0)


@contextmanager
def _page(cluster: Cluster) -> Iterator[Page]:
    with started() as browser, opened(browser, f"http://127.0.0.1:{cluster.port}/") as page:
        page.get_by_text("Live", exact=True).wait_for()
        page.evaluate(_TASKS)
        yield page


def _go(page: Page, address: str) -> None:
    page.evaluate("address => { location.hash = address }", address)
    page.locator(".priority").first.wait_for()
    # What is made once, when a page is opened, is over.
    page.wait_for_timeout(3000)


def _longest(page: Page) -> float:
    """How long the page did not answer at most since this was asked last."""
    return float(page.evaluate("() => Math.max(0, ...window.tasks.splice(0))"))


def _seen(page: Page, cluster: Cluster, job_id: str, name: str, looks: int) -> Seen:
    """Change the job's priority again and again; how long each took to be on the page."""
    page.evaluate(_OBSERVE)
    begin = asked(cluster, f"/jobs/{job_id}")["priority"] + 1
    took, before = [], delays(cluster)
    _longest(page)
    for number in range(looks):
        # Not in step with what the coordinator does at regular times.
        page.wait_for_timeout(600 + number * 37 % 400)
        asked_at = time()
        answer(cluster, "PATCH", f"/jobs/{job_id}", {"priority": begin + number})
        page.wait_for_function("wanted => wanted in window.seen", arg=str(begin + number))
        took.append((page.evaluate("() => window.seen")[str(begin + number)] - asked_at) * 1000)
    return Seen(name, took, _longest(page), delays(cluster) - before)


def _scrolled(page: Page, cluster: Cluster, name: str, selector: str) -> Seen:
    before = delays(cluster)
    _longest(page)
    ended = page.evaluate(_SCROLL, [selector, _MOST_STEPS])
    name += ", to its end" if ended else f", {_MOST_STEPS} times to what was its end"
    page.wait_for_timeout(1000)
    return Seen(name, (), _longest(page), delays(cluster) - before)
