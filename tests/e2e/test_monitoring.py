"""A small job as an operator sees it: metrics before and after, logs, health, and no secrets."""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import attrs
import pytest
import trustme
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.cluster import Cluster, wait_for
from tests.inputs import ffmpeg, pictures

TOKEN = "a-secret-of-many-letters-that-nobody-may-read"
_KEY = b"what webhooks are signed with, unread"
WEBHOOK_SECRET = f"whsec_{base64.b64encode(_KEY).decode()}"
LOGGED = {"FFCLUSTER_LOG_FORMAT": "json", "FFCLUSTER_LOG_LEVEL": "debug"}
FRAMES = 120


@attrs.frozen
class Numbers:
    """What was measured at one moment."""

    samples: dict[tuple[str, frozenset[tuple[str, str]]], float]

    def value(self, name: str, **labels: str) -> float:
        return self.samples[f"ffcluster_{name}", frozenset(labels.items())]

    def of_state(self, name: str) -> dict[str, float]:
        """What is not 0, by state."""
        return {
            dict(labels)["state"]: value
            for (found, labels), value in self.samples.items()
            if found == f"ffcluster_{name}" and value
        }


@attrs.frozen
class Operator:
    """Somebody who looks after a cluster."""

    cluster: Cluster
    film: Path
    token_file: Path

    def start(self, *options: str) -> None:
        self.cluster.start(
            "--token-file", str(self.token_file), "--required-clients", "1",
            "--benchmark-duration", "1", "--min-free", "0", "--no-exactly",
            "--webhook-allow-private", *options,
        )  # fmt: skip

    def add_worker(self, name: str) -> None:
        self.cluster.add_worker(name, "--token-file", str(self.token_file))

    def ask(self, path: str, token: str | None = TOKEN) -> tuple[int, str]:
        status, body = self.fetch(path, token)
        return status, body.decode()

    def fetch(self, path: str, token: str | None = TOKEN) -> tuple[int, bytes]:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        connection = http.client.HTTPConnection("127.0.0.1", self.cluster.port, timeout=60)
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def add_webhook(self, url: str) -> str:
        """Have somebody told of jobs that end; answers the webhook's id."""
        wanted = {"url": url, "secret": WEBHOOK_SECRET}
        headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
        connection = http.client.HTTPConnection("127.0.0.1", self.cluster.port, timeout=60)
        try:
            connection.request("POST", "/api/v1/webhooks", json.dumps(wanted), headers)
            answer = connection.getresponse()
            made = json.loads(answer.read())
            assert answer.status == 201, made
            return str(made["webhook"]["id"])
        finally:
            connection.close()

    def delivery(self, webhook_id: str) -> dict[str, Any]:
        """What came of the only event that a webhook is told of, once it was tried."""

        def tried() -> list[dict[str, Any]]:
            status, text = self.ask(f"/api/v1/webhooks/{webhook_id}/deliveries")
            assert status == 200, text
            return [row for row in json.loads(text)["items"] if row["tries"]]

        (found,) = wait_for("a delivery that was tried", tried)  # type: ignore[misc]
        return dict(found)

    def measured(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Every value by its name and labels."""
        status, text = self.ask("/metrics")
        assert status == 200, text
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        return Numbers(self.measured()).value(name, **labels)

    def until(self, what: str, test: Callable[[Numbers], bool]) -> Numbers:
        """Wait for numbers that are so; answers them, all of one moment."""
        found: list[Numbers] = []

        def look() -> bool:
            found[:] = [Numbers(self.measured())]
            return test(found[0])

        wait_for(what, look)
        return found[0]

    def after_its_end(self) -> Numbers:
        """The numbers once the end of a job is counted, which it is when it is stored."""
        return self.until("a counted end", lambda n: bool(n.of_state("jobs_ended_total")))

    def logged(self, name: str) -> list[dict[str, Any]]:
        """The lines of a log, each of which must be an object."""
        lines = self.cluster.log(name).split("\n")
        return [json.loads(line) for line in lines if line]


class Told(HTTPServer):
    """A receiver of webhooks over https, with a certificate of `authority`."""

    def __init__(self, authority: trustme.CA) -> None:
        got: list[dict[str, Any]] = []
        self.got = got

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                got.append(json.loads(body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Answer)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.url = f"https://localhost:{self.server_port}/told"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, *_: object) -> None:
        """Who does not trust the certificate hangs up."""

    def close(self) -> None:
        self.shutdown()
        self.server_close()


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def told(authority: trustme.CA) -> Iterator[tuple[Told, Told]]:
    """A receiver whom the coordinator trusts, and one whom it does not."""
    both = Told(authority), Told(trustme.CA())
    yield both
    for one in both:
        one.close()


@pytest.fixture
def operator(tmp_path: Path, authority: trustme.CA) -> Iterator[Operator]:
    film = tmp_path / "film.mkv"
    ffmpeg(*pictures(FRAMES, size="64x64"), "-c:v", "libx264", "-preset", "ultrafast", "-g", "20",
           str(film))  # fmt: skip
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    token_file.chmod(0o600)
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    trusted = {"SSL_CERT_FILE": str(tmp_path / "authority.pem")}
    cluster = Cluster(tmp_path, env={**LOGGED, **trusted, "FFCLUSTER_TOKEN": TOKEN})
    yield Operator(cluster, film, token_file)
    cluster.stop()


def test_small_job_is_counted_logged_and_tells_no_secret(
    operator: Operator, told: tuple[Told, Told]
) -> None:
    cluster = operator.cluster
    operator.start()
    before = operator.measured()
    for name, labels in (
        ("ffcluster_segments_total", {"outcome": "committed"}),
        ("ffcluster_attempts_total", {"end": "committed"}),
        ("ffcluster_jobs", {"state": "Completed"}),
        ("ffcluster_workers", {"state": "Idle"}),
        ("ffcluster_transfer_bytes_total", {"direction": "received"}),
        ("ffcluster_events_total", {}),
    ):
        assert before[name, frozenset(labels.items())] == 0, name
    wrong = "another-secret-that-is-wrong"
    assert operator.ask("/metrics", None)[0] == operator.ask("/metrics", wrong)[0] == 401
    assert operator.ask("/livez", None)[0] == operator.ask("/readyz", None)[0] == 200

    # Nobody is there: so the log has something to say.
    operator.add_webhook("http://127.0.0.1:1/told")
    trusted, untrusted = (operator.add_webhook(one.url) for one in told)
    operator.add_worker("attic")
    job_id = cluster.submit(operator.film, "out.mkv", "--codec", "h264", "--preset", "ultrafast")
    cluster.wait(job_id)
    job = cluster.job(job_id)

    segments = job["segments_committed"]
    assert segments > 0
    value = operator.after_its_end().value

    assert value("segments_total", outcome="committed") == segments
    assert value("attempts_total", end="committed") == segments
    assert value("encoded_frames_total", encoder="libx264") == FRAMES
    assert value("segment_encode_seconds_count", encoder="libx264") == segments
    assert value("jobs", state="Completed") == 1
    assert value("jobs_ended_total", state="Completed") == 1
    assert value("remaining_frames") == value("queue_depth") == 0
    assert value("workers", state="Idle") == 1
    assert value("worker_slots", state="busy") == 0
    assert value("worker_slots", state="free") >= 1
    assert value("transfer_bytes_total", direction="received") > 1000
    assert value("transfer_bytes_total", direction="sent") > 1000
    assert value("store_write_seconds_count") > 0
    assert value("reactor_delay_seconds_count") > 0
    assert value("disk_free_bytes") > 0
    check_metrics(operator.ask("/metrics")[1])

    delivery = operator.delivery(trusted)
    assert (delivery["state"], delivery["status"], delivery["error"]) == ("delivered", 204, "")
    assert [message["type"] for message in told[0].got] == ["job.completed"]
    delivery = operator.delivery(untrusted)
    assert (delivery["state"], delivery["status"]) == ("waiting", None)
    assert "no authority that is trusted here made it" in delivery["error"]
    assert told[1].got == []

    see_logs(operator, job_id)

    # What the database counts goes on where it was.
    assert cluster.coordinator is not None
    cluster.coordinator.send_signal(signal.SIGTERM)
    assert cluster.coordinator.wait(60) == 0
    operator.start()
    assert operator.value("events_total") >= value("events_total")
    assert operator.value("jobs", state="Completed") == 1


def test_what_a_job_goes_through_can_be_seen_in_the_numbers(
    operator: Operator, tmp_path: Path
) -> None:
    cluster, frames = operator.cluster, 200
    film = tmp_path / "slow.mkv"
    ffmpeg(*pictures(frames, size="640x360"), "-c:v", "libx264", "-preset", "ultrafast",
           "-g", "25", "-pix_fmt", "yuv420p", str(film))  # fmt: skip
    operator.start("--lease", "2s", "--retry-delay", "0.2")
    empty = Numbers(operator.measured())
    (submitted, *_) = cluster.ask(
        "submit", film, "out.mkv", "--preset", "slower", "--gop", "25", "--lossless"
    )  # fmt: skip
    seen = operator.until(
        "a job that waits", lambda n: n.of_state("jobs") == {"WaitingForClients": 1}
    )
    assert (seen.value("queue_depth"), seen.value("remaining_frames")) == (1, frames)
    received = seen.value("transfer_bytes_total", direction="received")
    received -= empty.value("transfer_bytes_total", direction="received")
    assert film.stat().st_size <= received < film.stat().st_size + 10_000

    operator.add_worker("attic")
    seen = hold_in_an_attempt(operator, "attic")
    assert seen.value("worker_slots", state="busy") > 0
    assert seen.value("queue_depth") == 0
    assert seen.value("encoded_frames_total", encoder="libx264") < frames

    cluster.workers["attic"].kill()
    # States are shown as they are now, ends are counted once they are stored.
    seen = operator.until(
        "the end of its lease",
        lambda n: (
            n.of_state("workers") == {"Disconnected": 1}
            and n.value("attempts_total", end="failed") > 0
        ),
    )
    lost = seen.value("lease_expirations_total")
    assert lost == seen.value("attempts_total", end="failed")
    assert seen.of_state("live_attempts") == seen.of_state("worker_slots") == {}

    stand_still(cluster, 1.2)
    # What was due every half second came that late.
    after = operator.until(
        "the late call",
        lambda n: (
            n.value("reactor_delay_seconds_sum") > seen.value("reactor_delay_seconds_sum") + 0.5
        ),
    )
    assert after.value("reactor_delay_seconds_bucket", le="0.5") < after.value(
        "reactor_delay_seconds_count"
    )

    operator.add_worker("barn")
    cluster.wait(submitted["id"])
    seen = operator.after_its_end()
    job = cluster.job(submitted["id"])
    assert seen.of_state("jobs") == seen.of_state("jobs_ended_total") == {"Completed": 1}
    assert seen.of_state("workers") == {"Idle": 1, "Disconnected": 1}
    assert seen.value("segments_total", outcome="committed") == job["segments_committed"]
    assert seen.value("attempts_total", end="committed") == job["segments_committed"]
    assert seen.value("attempts_total", end="failed") == job["retries"] == lost
    assert seen.value("encoded_frames_total", encoder="libx264") == frames
    took = "segment_encode_seconds"
    assert seen.value(f"{took}_count", encoder="libx264") == job["segments_committed"]
    assert seen.value(f"{took}_sum", encoder="libx264") > 0

    see_download(operator, submitted["id"])


def hold_in_an_attempt(operator: Operator, name: str) -> Numbers:
    """Stop a worker while it encodes, so that it still holds the attempt when it is killed."""
    worker = operator.cluster.workers[name]

    def holds(seen: Numbers) -> bool:
        states = seen.of_state("jobs"), seen.of_state("workers")
        running = seen.of_state("live_attempts").get("running", 0)
        return states == ({"Processing": 1}, {"Processing": 1}) and running > 0

    def catch(seen: Numbers) -> bool:
        if not holds(seen):
            return False
        worker.send_signal(signal.SIGSTOP)
        if holds(Numbers(operator.measured())):
            return True
        worker.send_signal(signal.SIGCONT)
        return False

    return operator.until("an attempt", catch)


def stand_still(cluster: Cluster, for_s: float) -> None:
    """Have the coordinator do nothing for a while."""
    assert cluster.coordinator is not None
    os.kill(cluster.coordinator.pid, signal.SIGSTOP)
    try:
        time.sleep(for_s)
    finally:
        os.kill(cluster.coordinator.pid, signal.SIGCONT)


def see_download(operator: Operator, job_id: str) -> None:
    """Each byte of a result that is fetched is counted, and a part of it as a part."""
    before = operator.value("transfer_bytes_total", direction="sent")
    status, film = operator.fetch(f"/api/v1/jobs/{job_id}/result")
    assert (status, film) == (200, (operator.cluster.outputs / "out.mkv").read_bytes())
    sent = operator.value("transfer_bytes_total", direction="sent") - before
    # The numbers that were asked for before are sent too.
    assert len(film) <= sent < len(film) + 50_000


def check_metrics(text: str) -> None:
    """Have Prometheus' own tool look at it, where it is installed."""
    promtool = shutil.which("promtool")
    if promtool is None:
        return
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def see_logs(operator: Operator, job_id: str) -> None:
    """Each line is an object that says what it is about, and no line tells a secret."""
    lines = operator.logged("coordinator")
    about = [line for line in lines if line.get("job") == job_id]
    assert next(line["message"] for line in about).startswith(f"job {job_id}: film.mkv submitted")
    commits = [line for line in about if "committed" in line["message"]]
    assert {line["worker"] for line in commits} == {"attic"}
    assert all(line["segment"] >= 0 and line["attempt"] > 0 for line in commits)
    assert any(f"job {job_id}: Completed; " in line["message"] for line in about)
    joined = [line for line in lines if line["message"] == "worker attic: joined"]
    assert [line["worker"] for line in joined] == ["attic"]
    worker = wait_for("the worker's log", lambda: operator.logged("attic"))
    assert {line["level"] for line in (*lines, *worker)} <= {"debug", "info", "warn"}  # type: ignore[misc]
    wait_for(
        "a delivery that is tried", lambda: "webhook wh_" in operator.cluster.log("coordinator")
    )
    for name in ("coordinator", "attic"):
        log = operator.cluster.log(name)
        for secret in ("secret", WEBHOOK_SECRET.removeprefix("whsec_"), _KEY.decode()):
            assert secret not in log
        assert "_HTTP11ClientFactory" not in log
