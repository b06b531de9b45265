"""A small job as an operator sees it: metrics before and after, logs, health, and no secrets."""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.cluster import Cluster, wait_for
from tests.inputs import ffmpeg, pictures

TOKEN = "a-secret-of-many-letters-that-nobody-may-read"
_KEY = b"what webhooks are signed with, unread"
WEBHOOK_SECRET = f"whsec_{base64.b64encode(_KEY).decode()}"
LOGGED = {"FFCLUSTER_LOG_FORMAT": "json", "FFCLUSTER_LOG_LEVEL": "debug"}
FRAMES = 120


@attrs.frozen
class Operator:
    """Somebody who looks after a cluster."""

    cluster: Cluster
    film: Path
    token_file: Path

    def start(self) -> None:
        self.cluster.start(
            "--token-file", str(self.token_file), "--required-clients", "1",
            "--benchmark-duration", "1", "--min-free", "0", "--no-exactly",
            "--webhook-allow-private",
        )  # fmt: skip

    def ask(self, path: str, token: str | None = TOKEN) -> tuple[int, str]:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        connection = http.client.HTTPConnection("127.0.0.1", self.cluster.port, timeout=60)
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def add_webhook(self) -> None:
        """Have somebody told who is not there, so that the log says what is tried."""
        wanted = {"url": "http://127.0.0.1:1/told", "secret": WEBHOOK_SECRET}
        headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
        connection = http.client.HTTPConnection("127.0.0.1", self.cluster.port, timeout=60)
        try:
            connection.request("POST", "/api/v1/webhooks", json.dumps(wanted), headers)
            answer = connection.getresponse()
            assert answer.status == 201, answer.read()
        finally:
            connection.close()

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
        return self.measured()[name, frozenset(labels.items())]

    def logged(self, name: str) -> list[dict[str, Any]]:
        """The lines of a log, each of which must be an object."""
        lines = self.cluster.log(name).split("\n")
        return [json.loads(line) for line in lines if line]


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    film = tmp_path / "film.mkv"
    ffmpeg(*pictures(FRAMES, size="64x64"), "-c:v", "libx264", "-preset", "ultrafast", "-g", "20",
           str(film))  # fmt: skip
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    token_file.chmod(0o600)
    cluster = Cluster(tmp_path, env={**LOGGED, "FFCLUSTER_TOKEN": TOKEN})
    yield Operator(cluster, film, token_file)
    cluster.stop()


def test_small_job_is_counted_logged_and_tells_no_secret(operator: Operator) -> None:
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

    operator.add_webhook()

    cluster.add_worker("attic", "--token-file", str(operator.token_file))
    job_id = cluster.submit(operator.film, "out.mkv", "--codec", "h264", "--preset", "ultrafast")
    cluster.wait(job_id)
    job = cluster.job(job_id)

    segments = job["segments_committed"]
    assert segments > 0
    after = operator.measured()

    def value(name: str, **labels: str) -> float:
        return after[name, frozenset(labels.items())]

    assert value("ffcluster_segments_total", outcome="committed") == segments
    assert value("ffcluster_attempts_total", end="committed") == segments
    assert value("ffcluster_encoded_frames_total", encoder="libx264") == FRAMES
    assert value("ffcluster_segment_encode_seconds_count", encoder="libx264") == segments
    assert value("ffcluster_jobs", state="Completed") == 1
    assert value("ffcluster_jobs_ended_total", state="Completed") == 1
    assert value("ffcluster_remaining_frames") == value("ffcluster_queue_depth") == 0
    assert value("ffcluster_workers", state="Idle") == 1
    assert value("ffcluster_worker_slots", state="busy") == 0
    assert value("ffcluster_worker_slots", state="free") >= 1
    assert value("ffcluster_transfer_bytes_total", direction="received") > 1000
    assert value("ffcluster_transfer_bytes_total", direction="sent") > 1000
    assert value("ffcluster_store_write_seconds_count") > 0
    assert value("ffcluster_reactor_delay_seconds_count") > 0
    assert value("ffcluster_disk_free_bytes") > 0
    check_metrics(operator.ask("/metrics")[1])

    see_logs(operator, job_id)

    # What the database counts goes on where it was.
    assert cluster.coordinator is not None
    cluster.coordinator.send_signal(signal.SIGTERM)
    assert cluster.coordinator.wait(60) == 0
    operator.start()
    assert operator.value("ffcluster_events_total") >= value("ffcluster_events_total")
    assert operator.value("ffcluster_jobs", state="Completed") == 1


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
