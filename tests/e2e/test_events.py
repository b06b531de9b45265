"""Events and webhooks over a coordinator that is killed: the examples of docs/events.md, run."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, wait_for
from tests.inputs import ffmpeg, pictures
from tests.services.receiver import SECRET, is_signed

FAST = ("--required-clients", "1", "--benchmark-duration", "1", "--retry-delay", "0.2")
_DOCUMENT = Path(__file__).parents[2] / "docs" / "events.md"


class Hook:
    """A receiver that fails at first; it checks every signature."""

    def __init__(self) -> None:
        self.fails = True
        self.got: list[tuple[str, dict[str, Any]]] = []
        self.failed = 0
        self.forged = 0
        hook = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                hook.forged += not is_signed(SECRET, headers, body)
                if hook.fails:
                    hook.failed += 1
                else:
                    hook.got.append((headers["webhook-id"], json.loads(body)))
                self.send_response(503 if hook.fails else 204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/hook"

    def numbers(self) -> list[int]:
        """Numbers of the events that came, each once."""
        return list(dict.fromkeys(message["data"]["number"] for _, message in self.got))


class Page:
    """A page that shows one job: it fetches it once and then applies what changes."""

    def __init__(self, cluster: Cluster, job_id: str) -> None:
        self.job: dict[str, Any] = {}
        self.segments: dict[int, list[Any]] = {}
        self._cluster = cluster
        self._job_id = job_id
        self._stream = urllib.request.urlopen(
            f"http://127.0.0.1:{cluster.port}/api/v1/events?job_id={job_id}", timeout=60
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        kind = ""
        # It ends with the coordinator.
        with contextlib.suppress(OSError, HTTPException):
            for raw in self._stream:
                name, _, value = raw.decode().rstrip("\n").partition(": ")
                kind = value if name == "event" else kind
                if name == "data":
                    self._apply(kind, json.loads(value))

    def _apply(self, kind: str, data: dict[str, Any]) -> None:
        if kind in ("hello", "reset"):
            self.job = ask(self._cluster, f"/jobs/{self._job_id}")
            self.segments = rows(self._cluster, self._job_id)
        elif kind == "job":
            assert data["id"] == self._job_id
            self.job = self.job | data["changes"]
        elif kind == "shares":
            known = {share["worker_id"]: share for share in self.job["shares"]}
            for share in data["shares"]:
                known[share["worker_id"]] = known.get(share["worker_id"], {}) | share
            shares = [share for name, share in known.items() if name not in data["gone"]]
            self.job = self.job | {"shares": shares}
        elif kind == "segments":
            self.segments |= {row[0]: row for row in data["segments"]}


def rows(cluster: Cluster, job_id: str) -> dict[int, list[Any]]:
    """All segments, as a stream tells of them."""
    names = ("first_frame", "frame_count", "state", "worker", "attempts", "size_bytes")
    items = ask(cluster, f"/jobs/{job_id}/segments?limit=500")["items"]
    return {item["first_frame"]: [item[name] for name in names] for item in items}


def example(name: str, directory: Path) -> Path:
    """A script as the document has it."""
    (script,) = re.findall(rf"```python\n(# {name}: .*?)```", _DOCUMENT.read_text(), re.DOTALL)
    path = directory / name
    path.write_text(script)
    return path


def ask(cluster: Cluster, path: str, body: object = None) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{cluster.port}/api/v1{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def all_events(cluster: Cluster) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: str | None = "0"
    while cursor is not None:
        page = ask(cluster, f"/events/log?after={cursor}&limit=20")
        found += page["items"]
        cursor = page["next_cursor"]
    return found


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mkv"
    ffmpeg(*pictures(300, size="640x360"), "-c:v", "libx264", "-preset", "ultrafast",
           "-g", "25", "-pix_fmt", "yuv420p", str(path))  # fmt: skip
    return path


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.stop()


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()
    yield hook
    hook.server.shutdown()
    hook.server.server_close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def scripts(tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def run_example(
    path: Path, *arguments: object, scripts: list[subprocess.Popen[bytes]], **env: str
) -> Path:
    """Start an example; answers the file that it prints to."""
    printed = path.with_suffix(".txt")
    with printed.open("wb") as file:
        scripts.append(
            subprocess.Popen(
                [sys.executable, str(path), *map(str, arguments)],
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, **env},
            )
        )
    return printed


def test_nothing_is_lost_to_followers_and_webhooks_when_the_coordinator_is_killed(
    cluster: Cluster, film: Path, hook: Hook, scripts: list[subprocess.Popen[bytes]]
) -> None:
    cluster.start(*FAST, "--webhook-allow-private")
    url, port = f"http://127.0.0.1:{cluster.port}", free_port()
    followed = run_example(example("follow.py", cluster.directory), url, scripts=scripts)
    received = run_example(
        example("receive.py", cluster.directory), port, scripts=scripts, WEBHOOK_SECRET=SECRET
    )
    made = ask(cluster, "/webhooks", {"url": hook.url, "kinds": ["*"], "secret": SECRET})
    ask(cluster, "/webhooks", {"url": f"http://127.0.0.1:{port}/", "secret": SECRET})
    cluster.add_worker("one", "--reconnect-delay", "0.2")
    job_id = cluster.submit(film, "out.mkv", "--preset", "slower", "--gop", "25", "--lossless")
    wait_for("the first segment", lambda: cluster.job(job_id)["segments_committed"] >= 1)
    wait_for("a failed delivery", lambda: hook.failed >= 2)
    # Everything that was to be told so far still is.
    assert hook.got == []
    assert cluster.coordinator is not None
    cluster.coordinator.kill()
    cluster.coordinator.wait()
    hook.fails = False
    cluster.start(*FAST, "--webhook-allow-private")
    page = Page(cluster, job_id)
    cluster.ask("wait", job_id)
    # What changed, put together, is what is there.
    wait_for("the page", lambda: page.job == ask(cluster, f"/jobs/{job_id}"))
    wait_for("its segments", lambda: page.segments == rows(cluster, job_id))
    assert page.job["state"] == "Completed"

    events = all_events(cluster)
    numbers = [event["number"] for event in events]
    assert numbers == list(range(1, numbers[-1] + 1))
    wait_for("the end of the stream", lambda: f"\n{numbers[-1]} " in followed.read_text())
    assert [int(line.split()[0]) for line in followed.read_text().splitlines()] == numbers

    wait_for("the last delivery", lambda: hook.numbers()[-1:] == numbers[-1:])
    assert hook.numbers() == numbers
    assert hook.forged == 0
    assert len({name for name, _ in hook.got}) == len(numbers)
    kinds = {message["type"] for _, message in hook.got}
    assert {"worker.joined", "job.queued", "job.processing", "job.completed"} <= kinds
    wait_for("the other webhook", lambda: "job.completed" in received.read_text())
    told = ask(cluster, f"/webhooks/{made['webhook']['id']}/deliveries?limit=500")["items"]
    assert [delivery["event"] for delivery in reversed(told)] == numbers
    assert told[-1]["tries"] > 2
    assert SECRET not in cluster.log("coordinator")
    assert SECRET not in json.dumps(ask(cluster, "/webhooks"))

    # A job's own webhook is told of that job alone.
    text = cluster.directory / "film.txt"
    text.write_text("no film")
    wanted = {"url": hook.url, "secret": SECRET}
    asked = {"source": {"server_path": str(text)}, "webhook": wanted}
    failed = ask(cluster, "/jobs", asked)["id"]
    own = ask(cluster, f"/webhooks?job_id={failed}")["items"][0]["id"].removeprefix("wh_")
    wait_for("its own webhook", lambda: any(own in name for name, _ in hook.got))
    ((told_of, *_),) = [(m["type"], m["data"]["job_id"]) for name, m in hook.got if own in name]
    assert told_of == "job.failed"
    assert ask(cluster, f"/jobs/{failed}")["error"]["code"] == "source_unreadable"
