"""What people do with the dashboard, with a real coordinator and a real worker behind it."""

from __future__ import annotations

import json
import re
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.chromium import drop, findings, missing, opened, shoot
from tests.e2e.cluster import Cluster, descendants, is_alive, wait_for
from tests.inputs import ffmpeg, pictures, tone

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

OPTIONS = ("--required-clients", "1", "--benchmark-duration", "1", "--retry-delay", "0.2")
# Slow enough that a test can step in, on any machine.
SLOW = ("--preset", "veryslow", "--gop", "25", "--lossless")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "holiday.mkv"
    ffmpeg(*pictures(200, size="320x180"), *tone(8), "-c:v", "libx264", "-preset", "ultrafast",
           "-g", "25", "-pix_fmt", "yuv420p", "-c:a", "aac", str(path))  # fmt: skip
    return path


@pytest.fixture(scope="module")
def long_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "long.mkv"
    ffmpeg(*pictures(1500, size="640x360"), "-c:v", "libx264", "-preset", "ultrafast",
           "-g", "25", "-pix_fmt", "yuv420p", str(path))  # fmt: skip
    return path


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A coordinator that has no worker yet."""
    if missing():
        pytest.skip(missing())
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        yield cluster.start(*OPTIONS)
    finally:
        started = [p.pid for p in [*cluster.workers.values(), cluster.coordinator] if p]
        below = [pid for parent in started for pid in descendants(parent)]
        cluster.stop()
        wait_for("the end of every encoder", lambda: not any(is_alive(pid) for pid in below), 10)


@pytest.fixture
def page(browser: Browser, cluster: Cluster) -> Iterator[Page]:
    with opened(browser, address(cluster)) as page:
        yield page


def address(cluster: Cluster, screen: str = "") -> str:
    return f"http://127.0.0.1:{cluster.port}/{screen}"


def asked(cluster: Cluster, path: str) -> Any:
    with urllib.request.urlopen(f"{address(cluster)}api/v1{path}", timeout=30) as answer:
        return json.load(answer)


def live(page: Page) -> None:
    page.get_by_text("Live", exact=True).wait_for()


def badge(page: Page, words: str) -> None:
    """Wait until the heading says so."""
    page.locator("h1 .badge", has_text=words).wait_for()


def with_worker(cluster: Cluster) -> None:
    if "anna" not in cluster.workers:
        cluster.add_worker("anna", "--reconnect-delay", "0.2")

    def joined() -> object:
        workers = asked(cluster, "/workers")["items"]
        return any(one["state"] not in ("Absent", "Disconnected") for one in workers)

    wait_for("the worker", joined)


def slow_job(cluster: Cluster, film: Path, name: str) -> str:
    """Submit a job that takes long, and wait until it is encoded."""
    with_worker(cluster)
    job_id = cluster.submit(film, name, *SLOW)

    def encoding() -> object:
        return asked(cluster, f"/jobs/{job_id}")["frames_done"] > 0

    wait_for("the first frames", encoding)
    return job_id


def test_a_film_is_dropped_on_the_page_and_watched_until_it_is_done(
    page: Page, cluster: Cluster, film: Path, tmp_path: Path
) -> None:
    page.get_by_text("No jobs yet").wait_for()
    command = page.get_by_role("group", name="Command").first.inner_text()
    assert "ffcluster-worker" in command
    assert str(cluster.port) in command
    shoot(page, "story-empty", tmp_path)
    assert not findings(page)

    with_worker(cluster)
    page.get_by_text("1 worker ·").wait_for()
    # The network loses the first block; the upload goes on where the coordinator says.
    page.route("**/v1/uploads/*", lambda route: route.abort(), times=1)
    drop(page, film)
    # It also goes on while another screen is looked at.
    page.get_by_role("link", name="Workers").click()
    page.get_by_role("button", name="Drain anna").wait_for()
    page.get_by_role("link", name="New job").click()
    page.get_by_text("uploaded.").wait_for()
    page.get_by_text("200 frames").wait_for()
    shoot(page, "story-plan", tmp_path)
    page.get_by_role("button", name="Submit the job").click()

    badge(page, "Done")
    page.get_by_text("200, every one proven").wait_for()
    job_id = page.url.rpartition("/")[2]
    assert asked(cluster, f"/jobs/{job_id}")["outcome"]["frame_count"] == 200
    page.get_by_text("The uploaded source is kept until").wait_for()
    compare_by_slider(page)
    shoot(page, "story-done", tmp_path)


def test_a_film_on_the_coordinators_machine_is_made_and_compared_with_its_source(
    page: Page, film: Path, tmp_path: Path
) -> None:
    page.get_by_role("link", name="New job").first.click()
    path = page.get_by_label("Or a path on the coordinator's machine")
    path.fill(str(film.with_name("missing.mkv")))
    path.blur()
    page.get_by_role("alert").get_by_text("missing.mkv").wait_for()
    path.fill(str(film))
    path.blur()
    page.get_by_label("Profile").select_option("Own settings…")
    page.get_by_label("Name of the output").fill("compared.mp4")
    page.get_by_label("Name of the output").blur()
    page.get_by_text("200 frames").wait_for()
    page.get_by_role("button", name="Submit the job").click()
    badge(page, "Done")
    compare_by_slider(page)
    shoot(page, "story-compare", tmp_path)
    assert not findings(page)
    page.get_by_role("button", name="Play").click()
    # Some builds of Chromium know no H.264; the page says so then.
    page.locator("video, :text('cannot play the file')").first.wait_for()


def test_a_result_that_was_moved_away_is_said_to_be_gone(
    page: Page, cluster: Cluster, tmp_path: Path
) -> None:
    page.locator(".job", has_text="compared.mp4").get_by_role("link").click()
    page.get_by_text("200, every one proven").wait_for()
    job = asked(cluster, f"/jobs/{page.url.rpartition('/')[2]}")
    path = Path(job["outcome"]["path"])
    path.rename(tmp_path / "elsewhere.mp4")
    page.get_by_role("button", name="Download").click()
    page.get_by_text("is not where it was published any more").wait_for()
    page.get_by_role("button", name="Compare with the source").click()
    page.get_by_label("Moment").fill("1")  # The pictures that were seen before are remembered.
    page.locator(".compare-missing", has_text="The result is not where it was").wait_for()
    assert not findings(page)
    (tmp_path / "elsewhere.mp4").rename(path)


def compare_by_slider(page: Page) -> None:
    page.get_by_role("button", name="Compare with the source").click()
    page.get_by_text("the source is left of the line").wait_for()
    page.get_by_label("Divider").fill("25")
    sizes = "canvas => [canvas.width, canvas.height].join('x')"
    shown = {canvas.evaluate(sizes) for canvas in page.locator(".compare-picture").all()}
    assert shown == {"320x180"}


def test_the_result_is_downloaded_and_the_report_is_one_file(page: Page, cluster: Cluster) -> None:
    page.locator(".job", has_text="holiday.mp4").get_by_role("link").click()
    with page.expect_download() as result:
        page.get_by_role("button", name="Download").click()
    jobs = asked(cluster, "/jobs?state=Completed")["items"]
    (job,) = [one for one in jobs if one["output_name"] == "holiday.mp4"]
    assert Path(result.value.path()).stat().st_size == job["outcome"]["size_bytes"]
    with page.expect_download() as report:
        page.get_by_role("button", name="Report").click()
    text = Path(report.value.path()).read_text("utf-8")
    assert "holiday.mkv" in text
    assert not re.search(r'(?:src|href)="(?:https?:)?//', text)
    with page.expect_download() as receipt:
        page.get_by_role("button", name="Receipt").click()
    document = json.loads(Path(receipt.value.path()).read_text("utf-8"))
    assert document["state"] == "Completed"


def test_a_segment_shows_its_command_and_its_log(page: Page, tmp_path: Path) -> None:
    page.locator(".job", has_text="holiday.mp4").get_by_role("link").click()
    strip = page.get_by_role("slider", name="Segments of the film")
    page.locator('.filmstrip[aria-valuetext*="by anna"]').wait_for()
    strip.click(position={"x": 20, "y": 88})
    panel = page.get_by_role("region", name="Segment: Frames 0 to")
    panel.get_by_text("-c:v libx264").wait_for()
    assert "anna" in panel.inner_text()
    shoot(page, "story-segment", tmp_path)
    assert not findings(page)


def test_a_worker_is_drained_and_resumed(page: Page, cluster: Cluster) -> None:
    with_worker(cluster)
    page.get_by_role("link", name="Workers").click()
    page.get_by_role("button", name="Drain anna").click()
    page.locator(".w-row", has_text="anna").get_by_text("Draining").wait_for()
    (worker,) = asked(cluster, "/workers")["items"]
    assert worker["drained_by_operator"]
    page.get_by_role("button", name="Resume anna").click()
    page.get_by_role("button", name="Drain anna").wait_for()
    assert not asked(cluster, f"/workers/{worker['id']}")["drained_by_operator"]


def test_a_running_job_is_cancelled(page: Page, cluster: Cluster, long_film: Path) -> None:
    job_id = slow_job(cluster, long_film, "cancelled.mp4")
    row = page.locator(".job", has_text="cancelled.mp4")
    row.get_by_text("Encoding").wait_for()
    row.get_by_role("button", name="Cancel long.mkv").click()
    page.get_by_role("button", name="Cancel the job").click()
    row.locator(".badge", has_text="Cancelled").wait_for()
    assert asked(cluster, f"/jobs/{job_id}")["state"] == "Cancelled"


def test_a_reload_and_a_restart_of_the_coordinator_show_the_job_as_it_is(
    page: Page, cluster: Cluster, long_film: Path, tmp_path: Path
) -> None:
    job_id = slow_job(cluster, long_film, "restarted.mp4")
    page.goto(address(cluster, f"#/jobs/{job_id}"))
    badge(page, "Encoding")
    page.reload()
    badge(page, "Encoding")
    live(page)
    shoot(page, "story-encoding", tmp_path)

    assert cluster.coordinator is not None
    cluster.coordinator.send_signal(signal.SIGKILL)
    cluster.coordinator.wait()
    page.get_by_text("Stale since").wait_for()
    shoot(page, "story-stale", tmp_path)
    cluster.start(*OPTIONS)
    live(page)
    badge(page, "Encoding")

    with_worker(cluster)

    # What happens from now on comes by the stream alone.
    cluster.ask("cancel", job_id)
    badge(page, "Cancelled")
    assert page.locator("h1", has_text="long.mkv").is_visible()
