"""A real coordinator with a film and a worker, and a client of its REST API that hides nothing."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from tests.e2e.cluster import Cluster, wait_for
from tests.inputs import ffmpeg, pictures

FAST = ("--required-clients", "1", "--benchmark-duration", "1", "--retry-delay", "0.2")
PROFILES = """
[profile.small]
codec = "h264"
preset = "ultrafast"
"""
_ANSWER_LIMIT_S = 120.0


@attrs.frozen
class Reply:
    """An answer as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def problem(self) -> Any:
        assert self.headers["content-type"] == "application/problem+json", self
        found = self.json
        assert found["status"] == self.status
        return found


@attrs.frozen
class Api:
    """Asks one coordinator."""

    cluster: Cluster
    film: Path

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        raw: bytes | None = None,
        prefix: str = "/api/v1",
        **headers: str,
    ) -> Reply:
        """Ask once; names of headers are written with `_`, JSON is sent as such."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        data = raw
        if body is not None:
            data = json.dumps(body).encode()
            named.setdefault("content-type", "application/json")
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.cluster.port, timeout=_ANSWER_LIMIT_S
        )
        try:
            connection.request(method, prefix + path, data, named)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, found, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Any:
        """What is there, as JSON."""
        reply = self.ask("GET", path, **headers)
        assert reply.status == 200, reply
        return reply.json

    def submit(self, **changes: Any) -> Any:
        """Have the film encoded; gives the job."""
        reply = self.ask("POST", "/jobs", self.wanted(**changes))
        assert reply.status == 202, reply
        return reply.json

    def wanted(self, **changes: Any) -> dict[str, Any]:
        """The body that asks for it."""
        return {"source": {"server_path": str(self.film)}, "profile_name": "small"} | changes

    def in_state(self, job_id: str, *states: str) -> Any:
        """A job, once it is in one of these states."""

        def there() -> Any:
            job = self.get(f"/jobs/{job_id}")
            return job if job["state"] in states else None

        return wait_for(f"job {job_id} in {states}", there)


def started(directory: Path, *options: str) -> Api:
    """Start a coordinator that knows one profile; whoever asks for it stops its cluster."""
    film = directory / "film.mkv"
    ffmpeg(*pictures(60, size="64x64"), "-c:v", "libx264", "-g", "10", str(film))
    config = directory / "ffcluster.toml"
    config.write_text(PROFILES)
    cluster = Cluster(directory)
    return Api(cluster.start("--config", str(config), "--min-free", "0", *FAST, *options), film)
