"""`ffcluster top` on a real pseudo-terminal, with a real coordinator and a worker."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, run
from tests.inputs import ffmpeg, pictures
from tests.interfaces.terminal import Terminal

TOP = (str(Path(sys.executable).with_name("ffcluster")), "top", "--interval", "0.2")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.stop()


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mkv"
    ffmpeg(*pictures(50, size="160x120"), "-c:v", "libx264", "-pix_fmt", "yuv420p", str(path))
    return path


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


def test_top_shows_and_steers_a_cluster_through_an_outage(
    cluster: Cluster, film: Path, terminals: list[Terminal]
) -> None:
    # Two workers are needed and one comes, so that the job stays where keys can reach it.
    cluster.start("--required-clients", "2")
    cluster.add_worker("attic")
    job_id = cluster.submit(film, "out.mkv")
    env = {"FFCLUSTER_COORDINATOR": cluster.url, "NO_COLOR": "1"}
    terminal = Terminal(TOP, env, width=130)
    terminals.append(terminal)
    terminal.shows(job_id, "waiting for 1 more worker", "attic", "Idle", "1 open job")
    assert terminal.screen.alternate
    assert terminal.screen.colours == set()
    terminal.press("p")
    terminal.shows("WaitingForClients, paused")
    assert cluster.job(job_id)["paused"]
    terminal.press("\x1b[B")
    terminal.press("d")
    terminal.shows("Idle, drained")
    terminal.press("?")
    terminal.shows("Any key goes back.")
    terminal.press("?")
    terminal.shows(job_id)
    terminal.resize(60, 10)
    terminal.shows(job_id, "attic")

    assert cluster.coordinator is not None
    cluster.coordinator.send_signal(signal.SIGKILL)
    cluster.coordinator.wait()
    terminal.shows("STALE since")
    cluster.start("--required-clients", "2")
    terminal.shows(lambda text: "STALE" not in text, job_id, "Idle, drained")

    terminal.press("k")
    terminal.press("c")
    terminal.shows(f"Cancel job {job_id}")
    terminal.press("y")
    terminal.shows("Cancelled")
    assert cluster.job(job_id)["state"] == "Cancelled"
    terminal.press("q")
    assert terminal.ends() == 0
    assert not terminal.screen.alternate
    assert not terminal.screen.cursor_hidden
    assert terminal.settings() == terminal.before


def test_ctrl_c_leaves_the_terminal_as_it_was(cluster: Cluster, terminals: list[Terminal]) -> None:
    cluster.start()
    terminal = Terminal(TOP, {"FFCLUSTER_COORDINATOR": cluster.url})
    terminals.append(terminal)
    terminal.shows("No jobs.", "No workers.")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.ends() == 130
    assert not terminal.screen.alternate
    assert terminal.settings() == terminal.before


def test_top_without_a_terminal_writes_text_or_json(cluster: Cluster, film: Path) -> None:
    cluster.start("--required-clients", "2")
    job_id = cluster.submit(film, "out.mkv")
    once = run("top", "--once", "--coordinator", cluster.url)
    assert once.returncode == 0, once.stderr
    assert job_id in once.stdout
    assert "\x1b" not in once.stdout
    shown = run("top", "--once", "--json", "--coordinator", cluster.url)
    snapshot, result = (json.loads(line) for line in shown.stdout.splitlines())
    assert (snapshot["type"], snapshot["jobs"][0]["id"]) == ("snapshot", job_id)
    assert result == {"type": "result", "snapshots": 1}
    assert run("top", "--coordinator", "ws://127.0.0.1:1").returncode == 4
