"""What happens to real jobs on real processes: late and killed workers, cancels, stops."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, descendants, is_alive, run, wait_for
from tests.inputs import ffmpeg, ffmpeg_path, pictures, tone
from tests.integration.pipeline import decode

FAST = ("--benchmark-duration", "1", "--retry-delay", "0")
# Slow enough that a test can step in, on any machine.
SLOW = ("--preset", "veryslow", "--gop", "25")
QUICK = ("--preset", "ultrafast", "--gop", "25")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.mkv"
    ffmpeg(*pictures(300, size="640x360"), *tone(12), "-c:v", "libx264", "-preset", "ultrafast",
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


def command_line(pid: int) -> bytes:
    """What a process was started with; nothing when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def assert_exact(film: Path, output: Path, *, pictures_too: bool = False) -> None:
    expected = decode(ffmpeg_path(), film, "yuv420p")
    found = decode(ffmpeg_path(), output, "yuv420p")
    assert [p.time - found[0].time for p in found] == [p.time - expected[0].time for p in expected]
    if pictures_too:
        assert [p.md5 for p in found] == [p.md5 for p in expected]


def test_a_film_given_to_the_server_is_made_when_the_workers_have_come(
    cluster: Cluster, film: Path
) -> None:
    """The way of use without any client: a server with a film, workers, a file."""
    cluster.start(
        "--required-clients", "2", *FAST, "--file-name-output", "mine.mp4",
        "--ffmpeg-params", "-c:v libx264 -qp 0 -preset ultrafast", str(film),
    )  # fmt: skip
    (waiting,) = cluster.ask("jobs")
    assert waiting["state"] in ("Queued", "WaitingForClients")
    cluster.add_worker("one")
    cluster.add_worker("two")
    output = cluster.outputs / "mine.mp4"
    wait_for("the film", output.exists)
    assert_exact(film, output, pictures_too=True)
    # A second file of that name gets a number; nothing is overwritten.
    before = output.read_bytes()
    cluster.wait(cluster.submit(film, "mine.mp4", *QUICK))
    assert (cluster.outputs / "mine-2.mp4").exists()
    assert output.read_bytes() == before


def test_two_jobs_at_once_share_the_workers_and_both_are_exact(
    cluster: Cluster, film: Path
) -> None:
    cluster.start("--required-clients", "2", *FAST)
    cluster.add_worker("one")
    cluster.add_worker("two")
    ids = [cluster.submit(film, f"{n}.mkv", "--lossless", *QUICK) for n in range(2)]
    for number, job_id in enumerate(ids):
        cluster.wait(job_id)
        assert cluster.job(job_id)["state"] == "Completed"
        assert_exact(film, cluster.outputs / f"{number}.mkv", pictures_too=True)


def test_a_worker_that_joins_late_takes_part(cluster: Cluster, film: Path) -> None:
    cluster.start("--required-clients", "1", *FAST)
    cluster.add_worker("early", "--slots", "1")
    job_id = cluster.submit(film, "late.mkv", *SLOW)
    wait_for("a start", lambda: cluster.job(job_id)["state"] in ("Benchmarking", "Processing"))
    cluster.add_worker("late", "--slots", "1")
    cluster.wait(job_id)
    done = cluster.job(job_id)
    assert {row["worker"] for row in done["shares"] if row["frames"]} == {"early", "late"}
    assert_exact(film, cluster.outputs / "late.mkv")


def test_a_worker_killed_in_mid_segment_costs_nothing_but_time(
    cluster: Cluster, film: Path
) -> None:
    cluster.start("--required-clients", "2", *FAST)
    cluster.add_worker("stays", "--slots", "1")
    victim = cluster.add_worker("dies", "--slots", "1")
    job_id = cluster.submit(film, "killed.mkv", *SLOW)

    def encoding() -> object:
        rows = cluster.job(job_id)["shares"]
        return any(row["worker"] == "dies" and row["running"] for row in rows)

    def held() -> bool:
        """Stop the victim's encoder where it is; whether that was in the middle of a segment."""
        encoders = [pid for pid in descendants(victim.pid) if b"veryslow" in command_line(pid)]
        for pid in encoders:
            os.kill(pid, signal.SIGSTOP)
        if encoders and encoding():
            return True
        for pid in encoders:
            os.kill(pid, signal.SIGCONT)
        return False

    wait_for("work on the victim", encoding)
    wait_for("an encoder of the victim", held)
    below = descendants(victim.pid)
    victim.kill()
    wait_for("the end of its encoder", lambda: not any(is_alive(pid) for pid in below), 10)
    cluster.wait(job_id)
    done = cluster.job(job_id)
    assert done["state"] == "Completed"
    # Its lease may still run when another has made what it had.
    told = run("job", job_id, "--receipt", "--coordinator", cluster.url).stdout
    ends = [
        attempt["end"]
        for segment in json.loads(told)["segments"]
        for attempt in segment["attempts"]
        if attempt["worker_name"] == "dies"
    ]
    assert {"failed", "superseded"} & set(ends)
    assert_exact(film, cluster.outputs / "killed.mkv")
    (lost,) = [row for row in cluster.described_workers() if row["name"] == "dies"]
    assert lost["state"] in ("Absent", "Disconnected")


def test_a_crashed_ffmpeg_is_retried(cluster: Cluster, film: Path) -> None:
    cluster.start("--required-clients", "1", *FAST)
    worker = cluster.add_worker("one", "--slots", "1")
    job_id = cluster.submit(film, "retried.mkv", *SLOW)

    def encoder() -> list[int]:
        return [pid for pid in descendants(worker.pid) if b"veryslow" in command_line(pid)]

    (pid, *_) = wait_for("an encoder", encoder)  # type: ignore[misc]
    os.kill(pid, signal.SIGSEGV)
    cluster.wait(job_id)
    assert cluster.job(job_id)["retries"] == 1
    assert_exact(film, cluster.outputs / "retried.mkv")


def test_a_cancelled_job_ends_its_encoders_and_leaves_no_file(cluster: Cluster, film: Path) -> None:
    cluster.start("--required-clients", "1", *FAST)
    worker = cluster.add_worker("one")
    job_id = cluster.submit(film, "cancelled.mkv", *SLOW)
    wait_for("an encoder", lambda: descendants(worker.pid))
    cluster.ask("cancel", job_id)
    wait_for("the encoders' end", lambda: not descendants(worker.pid), 10)
    assert cluster.job(job_id)["state"] == "Cancelled"
    wait_for("clean directories", lambda: not list(cluster.outputs.iterdir()), 10)
    assert not list((cluster.directory / "state" / "jobs").iterdir())
    # The worker is free for the next job.
    cluster.wait(cluster.submit(film, "next.mkv", *QUICK))
    assert [path.name for path in cluster.outputs.iterdir()] == ["next.mkv"]


def test_a_terminated_worker_finishes_its_segment_and_exits_0(cluster: Cluster, film: Path) -> None:
    cluster.start("--required-clients", "2", *FAST)
    cluster.add_worker("stays", "--slots", "1")
    leaving = cluster.add_worker("leaves", "--slots", "1")
    job_id = cluster.submit(film, "drained.mkv", "--preset", "slow", "--gop", "25")

    def encoding() -> object:
        rows = cluster.job(job_id)["shares"]
        return any(row["worker"] == "leaves" and row["running"] for row in rows)

    wait_for("work on the leaving worker", encoding)
    leaving.terminate()
    assert leaving.wait(60) == 0
    cluster.wait(job_id)
    done = cluster.job(job_id)
    assert done["retries"] == 0
    (share,) = [row for row in done["shares"] if row["worker"] == "leaves"]
    assert share["segments"] >= 1


def test_a_worker_out_of_time_gives_its_segment_back_and_exits_0(
    cluster: Cluster, film: Path
) -> None:
    cluster.start("--required-clients", "1", *FAST)
    leaving = cluster.add_worker("leaves", "--slots", "1", "--drain-timeout", "0")
    job_id = cluster.submit(film, "returned.mkv", *SLOW)
    wait_for("an encoder", lambda: descendants(leaving.pid))
    leaving.terminate()
    assert leaving.wait(20) == 0
    wait_for("the wait", lambda: cluster.job(job_id)["state"] == "WaitingForClients")
    cluster.add_worker("helps")
    cluster.wait(job_id)
    assert cluster.job(job_id)["retries"] == 0
    assert_exact(film, cluster.outputs / "returned.mkv")


def test_a_worker_that_is_not_persistent_exits_with_a_code_when_there_is_no_coordinator(
    cluster: Cluster,
) -> None:
    cluster.port = 1
    worker = cluster.add_worker("alone", "--no-persistent")
    assert worker.wait(30) == 4
    assert "No coordinator answers at 127.0.0.1:1" in cluster.log("alone")


def test_a_coordinator_with_a_token_refuses_who_does_not_show_it(
    cluster: Cluster, film: Path
) -> None:
    token = cluster.directory / "token"
    token.write_text("a-secret-that-is-long-enough-0123456789\n")
    token.chmod(0o600)
    cluster.start("--required-clients", "1", "--token-file", str(token), *FAST)
    refused = run("jobs", "--coordinator", cluster.url)
    assert refused.returncode == 5
    assert "--token-file" in refused.stderr
    stranger = cluster.add_worker("stranger", "--no-persistent")
    assert stranger.wait(30) == 5
    cluster.add_worker("friend", "--token-file", str(token))
    output = cluster.directory / "fetched.mkv"
    done = run("encode", film, output, "--coordinator", cluster.url, "--token-file", token,
               "--lossless", *QUICK)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert_exact(film, output, pictures_too=True)


def test_without_exactly_the_result_says_that_it_is_not_proven(
    cluster: Cluster, film: Path
) -> None:
    cluster.start("--required-clients", "1", "--exactly=false", *FAST)
    cluster.add_worker("one")
    job_id = cluster.submit(film, "trusted.mkv", *QUICK)
    cluster.wait(job_id)
    outcome = cluster.job(job_id)["outcome"]
    assert outcome["proven"] is False
    assert "not proven" in outcome["notes"][0]


def test_ctrl_c_leaves_no_process_no_temporary_file_and_no_output(
    tmp_path: Path, film: Path
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    encode = subprocess.Popen(
        [str(Path(sys.executable).with_name("ffcluster")), "encode", str(film),
         str(tmp_path / "out.mkv"), *SLOW],
        env={**os.environ, "TMPDIR": str(temporary)}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    wait_for("an encoder", lambda: len(descendants(encode.pid)) >= 2)
    time.sleep(1)
    below = descendants(encode.pid)
    encode.send_signal(signal.SIGINT)
    said, _ = encode.communicate(timeout=30)
    assert encode.returncode == 130, said
    wait_for("the end of its processes", lambda: not any(is_alive(pid) for pid in below), 5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tmp"]
    assert not list(temporary.iterdir())
    assert b"Traceback" not in said
