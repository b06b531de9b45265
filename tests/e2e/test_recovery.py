"""A coordinator that dies or is stopped in mid job goes on with it when it is started again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ffcluster.interfaces.cli.output import plain
from tests.e2e.cluster import Cluster, descendants, is_alive, run, wait_for
from tests.e2e.test_scenarios import assert_exact
from tests.inputs import ffmpeg, pictures, tone
from tests.store.postgres_server import missing, postgres_server

FAST = ("--required-clients", "1", "--benchmark-duration", "1", "--retry-delay", "0.2")
# Slow enough that a test can step in, on any machine; the same bytes each time.
SLOW = ("--preset", "slower", "--gop", "25", "--lossless")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.mkv"
    ffmpeg(*pictures(400, size="640x360"), *tone(16), "-c:v", "libx264", "-preset", "ultrafast",
           "-g", "25", "-pix_fmt", "yuv420p", "-c:a", "aac", str(path))  # fmt: skip
    return path


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    yield cluster
    started = [p.pid for p in [*cluster.workers.values(), cluster.coordinator] if p]
    below = [pid for parent in started for pid in descendants(parent)]
    cluster.stop()
    wait_for("the end of every encoder", lambda: not any(is_alive(pid) for pid in below), 10)


def receipt(cluster: Cluster, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = plain(cluster.client.receipt(job_id))
    return found


def committed(document: dict[str, Any]) -> dict[int, str]:
    """The blob of each committed segment, by its first frame."""
    return {
        segment["frames"]["first"]: segment["blob"]["sha256"]
        for segment in document["segments"]
        if segment["state"] == "committed"
    }


def in_the_middle(cluster: Cluster, film: Path, name: str) -> str:
    """Submit a job and wait until part of it is committed and part of it is not."""
    job_id = cluster.submit(film, name, *SLOW)
    for view in cluster.client.watch(job_id):
        if view.segments_committed:
            break
    assert cluster.job(job_id)["state"] == "Processing"
    return job_id


def kill(cluster: Cluster) -> None:
    assert cluster.coordinator is not None
    cluster.coordinator.kill()
    cluster.coordinator.wait()


def assert_went_on(cluster: Cluster, job_id: str, before: dict[int, str]) -> None:
    """The job is completed, nothing that was committed was made again, and no attempt was lost."""
    cluster.wait(job_id)
    after = receipt(cluster, job_id)
    assert after["state"] == "Completed"
    assert before.items() <= committed(after).items()
    attempts = [attempt for segment in after["segments"] for attempt in segment["attempts"]]
    assert [a["error"] for a in attempts if a["end"] == "failed"] == []
    assert after["retries"] == 0


def test_a_killed_coordinator_goes_on_from_what_was_committed(cluster: Cluster, film: Path) -> None:
    cluster.start(*FAST)
    cluster.add_worker("one", "--reconnect-delay", "0.2")
    job_id = in_the_middle(cluster, film, "killed.mkv")
    before = committed(receipt(cluster, job_id))
    assert before
    kill(cluster)
    cluster.start(*FAST)
    assert "1 job recovered: 1 goes on" in cluster.log("coordinator")
    assert_went_on(cluster, job_id, before)
    assert [path.name for path in cluster.outputs.iterdir()] == ["killed.mkv"]
    assert_exact(film, cluster.outputs / "killed.mkv", pictures_too=True)


def test_a_stopped_coordinator_keeps_its_jobs_and_its_workers_keep_their_attempts(
    cluster: Cluster, film: Path
) -> None:
    cluster.start(*FAST)
    worker = cluster.add_worker("one", "--reconnect-delay", "0.2")
    job_id = in_the_middle(cluster, film, "stopped.mkv")
    before = committed(receipt(cluster, job_id))
    assert cluster.coordinator is not None
    below = descendants(cluster.coordinator.pid)
    cluster.coordinator.terminate()
    assert cluster.coordinator.wait(20) == 0
    assert not any(is_alive(pid) for pid in below)
    assert not [path for path in cluster.outputs.iterdir() if not path.name.startswith(".")]
    assert worker.poll() is None
    cluster.start(*FAST)
    assert_went_on(cluster, job_id, before)
    assert_exact(film, cluster.outputs / "stopped.mkv", pictures_too=True)


def test_a_completed_job_is_remembered_and_its_file_can_still_be_fetched(
    cluster: Cluster, film: Path
) -> None:
    cluster.start(*FAST)
    cluster.add_worker("one", "--reconnect-delay", "0.2")
    job_id = cluster.submit(film, "done.mkv", "--preset", "ultrafast", "--gop", "25")
    cluster.wait(job_id)
    before, segments = receipt(cluster, job_id), cluster.job(job_id)["segments"]
    least_db = min(segment["border_psnr_db"] for segment in segments)
    assert least_db > 20
    assert cluster.job(job_id)["outcome"]["borders"] == [2 * len(segments), least_db]
    kill(cluster)
    cluster.start(*FAST)
    assert receipt(cluster, job_id) == before
    assert cluster.job(job_id)["segments"] == segments
    fetched = cluster.directory / "fetched.mkv"
    done = run("wait", job_id, "--output", fetched, "--coordinator", cluster.url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert fetched.read_bytes() == (cluster.outputs / "done.mkv").read_bytes()


def test_an_upload_outlives_the_coordinator_as_long_as_its_job_needs_it(
    cluster: Cluster, film: Path
) -> None:
    cluster.start(*FAST, "--keep-uploads", "0")
    (submitted, *_) = cluster.ask("submit", film, "uploaded.mkv", *SLOW)
    kill(cluster)
    cluster.start(*FAST, "--keep-uploads", "0")
    cluster.add_worker("one", "--reconnect-delay", "0.2")
    cluster.wait(submitted["id"])
    assert_exact(film, cluster.outputs / "uploaded.mkv", pictures_too=True)
    blobs = cluster.directory / "state" / "blobs"
    wait_for("the end of the blobs", lambda: not [p for p in blobs.rglob("*") if p.is_file()], 10)


@pytest.mark.skipif(bool(missing()), reason=missing())
def test_a_coordinator_on_postgresql_goes_on_too(cluster: Cluster, film: Path) -> None:
    with postgres_server() as server:
        options = (*FAST, "--database", server.create("films"))
        cluster.start(*options)
        cluster.add_worker("one", "--reconnect-delay", "0.2")
        job_id = in_the_middle(cluster, film, "killed.mkv")
        before = committed(receipt(cluster, job_id))
        kill(cluster)
        assert not (cluster.directory / "state" / "ffcluster.db").exists()
        cluster.start(*options)
        # Whoever keeps the jobs may go away as well, for a moment.
        server.restart()
        assert_went_on(cluster, job_id, before)
    assert_exact(film, cluster.outputs / "killed.mkv", pictures_too=True)
