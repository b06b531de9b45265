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
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import attrs
import click
import pytest

from ffcluster.client import (
    AsyncClient,
    Client,
    DeferredClient,
    JobRequest,
    Profile,
    ProfileOptions,
    WantedWebhook,
)
from ffcluster.errors import Conflict, InvalidOption, NotFound, Unreachable
from ffcluster.interfaces.cli.main import cli
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
    cluster.start(
        "--required-clients", "1", "--benchmark-duration", "1", "--webhook-allow-private", "true"
    )
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


# Every route of the API, and what does the same at a terminal; or why nothing does.
COMMANDS = {
    "list_jobs": "jobs", "submit_job": "submit", "show_job": "job", "change_job": "prioritise",
    "remove_job": "remove", "pause_job": "pause", "resume_job": "resume", "cancel_job": "cancel",
    "retry_job": "retry", "list_segments": "job --segments", "show_segment": "job --segment",
    "show_attempt": "job --attempt", "show_receipt": "job --receipt", "show_report": "job --report",
    "show_thumbnail": "picture --frame", "show_preview": "picture --at", "make_link": "link",
    "fetch_result": "wait --output", "begin_upload": "submit", "plan_job": "plan --on-server",
    "list_workers": "workers", "show_worker": "workers --verbose", "drain_worker": "drain-worker",
    "resume_worker": "resume-worker", "forget_worker": "remove-worker", "show_status": "status",
    "show_me": "status",
    "list_profiles": "profiles --on-server", "show_profile": "profiles --on-server",
    "list_plugins": "plugins --on-server", "watch_events": "events --follow",
    "list_events": "events", "list_tokens": "tokens list", "add_token": "tokens add",
    "revoke_token": "tokens revoke", "list_webhooks": "webhooks list",
    "show_webhook": "webhooks list", "create_webhook": "webhooks add",
    "remove_webhook": "webhooks remove", "list_deliveries": "webhooks deliveries",
}  # fmt: skip
NO_COMMAND = {
    "show_filmstrip": "a drawing: `job --segments` has the rows, `job --report` the picture",
    "show_gantt": "a drawing: `job --attempts` has the rows, `job --report` the picture",
    "show_document": "for programs that make clients of it; see docs/api.md",
}


def test_every_route_has_a_command_or_a_reason_to_have_none(cluster: Cluster) -> None:
    address = cluster.url.replace("ws://", "http://") + "/api/v1/openapi.json"
    with urllib.request.urlopen(address, timeout=60) as answer:
        document = json.load(answer)
    routes = {one["operationId"] for path in document["paths"].values() for one in path.values()}
    assert routes == COMMANDS.keys() | NO_COMMAND.keys()


@pytest.mark.parametrize("words", sorted(set(COMMANDS.values())))
def test_command_of_a_route_is_there(words: str) -> None:
    found: click.Command | None = cli
    names = [word for word in words.split() if not word.startswith("--")]
    for name in names:
        assert isinstance(found, click.Group)
        found = found.get_command(click.Context(cli), name)
        assert found is not None, name
    assert found is not None
    flags = {flag for parameter in found.params for flag in parameter.opts}
    assert {word for word in words.split() if word.startswith("--")} <= flags


def test_one_job_can_be_looked_at_closely(cluster: Cluster, film: Path, tmp_path: Path) -> None:
    told = WantedWebhook("http://127.0.0.1:1/told")
    with Client(cluster.url) as client:
        assert "software" in {one.name for one in client.plugins()}
        planned = JobRequest(film.name, server_path=str(film), output_name="close.mkv")
        assert client.plan(planned).frame_count == 20
        keyed = attrs.evolve(planned, idempotency_key="close", profile=Profile(preset="ultrafast"))
        job = client.request(keyed, webhook=told)
        assert client.request(keyed, webhook=told).id == job.id
        with pytest.raises(Conflict):
            client.request(keyed, webhook=attrs.evolve(told, kinds=("job.failed",)))
        (webhook,) = client.webhooks(job_id=job.id)
        assert (webhook.url, webhook.signed) == (told.url, False)
        done = client.wait(job.id)
        assert done.state == "Completed"
        assert done.spec.profile.preset == "ultrafast"
        assert client.deliveries(webhook.id)[0].kind == "job.completed"
        segment = client.segment(job.id, 0)
        attempt = client.attempt(job.id, segment.attempts[-1].epoch)
        assert (attempt.end, attempt.first_frame) == ("committed", 0)
        assert attempt.argv
        assert client.filmstrip(job.id).frame_count == 20
        assert sum(len(lane.bars) for lane in client.gantt(job.id).lanes) >= 1
        link = client.link(job.id, "result")
        with pytest.raises(NotFound):
            client.segment(job.id, 1)
        with pytest.raises(NotFound):
            client.attempt("../..", 1)
    with urllib.request.urlopen(link.url, timeout=60) as answer:
        assert len(answer.read()) == done.outcome.size_bytes if done.outcome else 0
    env = {"FFCLUSTER_COORDINATOR": cluster.url}
    for words in (("--frame", "9"), ("--at", "0.5", "--side", "result")):
        picture = tmp_path / f"{words[1]}.jpg"
        shown = run("picture", job.id, *words, "--output", picture, env=env)
        assert shown.returncode == 0, shown.stderr
        assert picture.read_bytes().startswith(b"\xff\xd8")
    for asked in (
        ("job", job.id, "--segment", "0"), ("job", job.id, "--attempt", attempt.epoch),
        ("plan", film, "other.mkv", "--on-server"), ("plugins", "--on-server"),
        ("link", job.id, "--of", "report"), ("webhooks", "list", "--job", job.id),
    ):  # fmt: skip
        shown = run(*asked, "--json", env=env)
        assert shown.returncode == 0, shown.stderr
        assert json.loads(shown.stdout.splitlines()[-1])["type"] == "result"
