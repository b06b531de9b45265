"""The public client with a real coordinator: every documented example, and its threads."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ffcluster.client import AsyncClient, Client, DeferredClient, ProfileOptions
from ffcluster.errors import InvalidOption, NotFound, Unreachable
from tests.e2e.cluster import Cluster, run, wait_for
from tests.inputs import ffmpeg, pictures

DOCUMENT = (Path(__file__).parents[2] / "docs" / "client.md").read_text()
_EXAMPLE = r"^## ([^\n]+)\n(?:(?!^## )[^\n]*\n)*?```python\n(.*?)^```"
EXAMPLES = re.findall(_EXAMPLE, DOCUMENT, re.MULTILINE | re.DOTALL)
URL = "ws://localhost:5001"


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.mkv"
    ffmpeg(*pictures(20, size="160x120"), "-c:v", "libx264", "-pix_fmt", "yuv420p", str(path))
    return path


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    cluster.start("--required-clients", "1", "--benchmark-duration", "1")
    cluster.add_worker("attic")
    wait_for("the worker", lambda: cluster.ask("workers"))
    yield cluster
    cluster.stop()


def test_document_has_examples_for_every_face() -> None:
    assert len(EXAMPLES) == DOCUMENT.count("```python") >= 6
    for face in ("Client(", "AsyncClient(", "DeferredClient("):
        assert any(face in code for _, code in EXAMPLES)


def test_document_names_every_method() -> None:
    names = [n for n in dir(DeferredClient) if not n.startswith("_")]
    assert [name for name in names if f"`{name}(" not in DOCUMENT] == []


@pytest.mark.parametrize("code", [pytest.param(code, id=title) for title, code in EXAMPLES])
def test_example_of_the_document_runs(
    code: str, cluster: Cluster, film: Path, tmp_path: Path
) -> None:
    assert URL in code
    (tmp_path / "film.mkv").hardlink_to(film)
    done = subprocess.run(
        [sys.executable, "-c", code.replace(URL, cluster.url)], cwd=tmp_path, timeout=120,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    if "download" in code:
        assert (tmp_path / "film.mp4").stat().st_size
        assert "sent " in done.stdout
        assert "Completed" in done.stdout


def test_client_leaves_neither_threads_nor_sockets(cluster: Cluster) -> None:
    def left() -> tuple[int, int]:
        gc.collect()
        return threading.active_count(), len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    with Client(cluster.url) as client:
        client.jobs()
    before = left()
    for _ in range(3):
        with Client(cluster.url) as client:
            with pytest.raises(NotFound):
                client.job("none")
            client.workers()
        with pytest.raises(Unreachable):
            client.jobs()
        client.close()
        with pytest.raises(InvalidOption):
            Client("nonsense://")
        with pytest.raises(Unreachable), Client("ws://127.0.0.1:1"):
            pass
        Client(cluster.url).close()
    assert left() == before


def test_iterators_may_be_left_early_and_clients_closed_under_them(
    cluster: Cluster, film: Path
) -> None:
    with Client(cluster.url) as client:
        job = client.submit(film, "left.mkv")
        for view in client.watch(job.id):
            assert view.id == job.id
            break
        assert client.wait(job.id).ended
        views = client.watch(job.id)
        assert next(views).ended
        assert list(views) == []
    other = Client(cluster.url)
    waiting = other.watch(job.id)
    assert next(waiting).ended
    other.close()
    with pytest.raises(Unreachable):
        list(waiting)


def test_callbacks_come_in_the_thread_that_waits(cluster: Cluster, film: Path) -> None:
    told: list[threading.Thread] = []
    with Client(cluster.url) as client:
        client.upload(film, lambda done, total: told.append(threading.current_thread()))

        def fail(done: int, total: int) -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            client.upload(film, fail)
        assert client.workers()
    assert set(told) == {threading.current_thread()}


def test_closing_ends_what_other_threads_wait_for(cluster: Cluster, film: Path) -> None:
    client = Client(cluster.url)
    job = client.submit(film, "paused.mkv")
    client.pause(job.id)
    seen: list[BaseException] = []
    began = threading.Event()

    def wait() -> None:
        try:
            client.wait(job.id, lambda view: began.set())
        except Unreachable as error:
            seen.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert began.wait(60)
    client.close()
    waiting.join(60)
    assert len(seen) == 1


def test_asyncio_face_lives_beside_other_tasks_and_can_be_cancelled(
    cluster: Cluster, film: Path
) -> None:
    async def main() -> None:
        ticks: list[int] = []

        async def tick() -> None:
            while True:
                ticks.append(1)
                await asyncio.sleep(0.001)

        ticking = asyncio.create_task(tick())
        loop_threads: set[int] = set()
        async with AsyncClient(cluster.url) as client:
            job = await client.submit(
                film, "async.mkv", profile=ProfileOptions(ffmpeg_params="-c:v libx264 -crf 30"),
                on_progress=lambda done, total: loop_threads.add(threading.get_ident()),
            )  # fmt: skip
            await client.pause(job.id)
            seen = asyncio.Event()
            waiting = asyncio.create_task(client.wait(job.id, lambda view: seen.set()))
            await seen.wait()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await client.resume(job.id)
            states = [view.state async for view in client.watch(job.id)]
            assert states[-1] == "Completed"
            async for _ in client.watch(job.id):
                break
        assert loop_threads == {threading.get_ident()}
        assert len(ticks) > 1
        ticking.cancel()

    asyncio.run(main())
    assert "ffcluster client" not in {thread.name for thread in threading.enumerate()}


def test_commands_show_the_cluster_and_what_happened(cluster: Cluster, film: Path) -> None:
    job_id = cluster.submit(film, "shown.mkv")
    cluster.ask("wait", job_id)
    env = {"FFCLUSTER_COORDINATOR": cluster.url}
    shown = run("status", env=env)
    assert shown.returncode == 0, shown.stderr
    assert "1 Idle" in shown.stdout
    told = run("events", "--job", job_id, "--json", env=env)
    assert told.returncode == 0, told.stderr
    *events, last = [json.loads(line) for line in told.stdout.splitlines()]
    numbers = [line["event"]["number"] for line in events]
    assert numbers == sorted(numbers)
    assert {line["event"]["job_id"] for line in events} == {job_id}
    assert last == {"type": "result", "count": len(events), "last": numbers[-1]}
    assert run("profiles", "--on-server", env=env).returncode == 0
    assert "No webhooks." in run("webhooks", "list", env=env).stdout


def test_live_events_reach_a_client_in_order(cluster: Cluster, film: Path) -> None:
    with Client(cluster.url) as client:
        after = client.status().last_event
        job = client.submit(film, "events.mkv")
        numbers = []
        for event in client.events(job_id=job.id, after=after):
            numbers.append(event.number)
            if event.kind == "job.state" and client.job(job.id).ended:
                break
        assert numbers == sorted(set(numbers))
