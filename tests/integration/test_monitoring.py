"""A real coordinator asked for its health and its metrics, whole and with something wrong."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import orjson
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain
from twisted.internet import endpoints, reactor
from twisted.trial.unittest import TestCase

from ffcluster.services.coordinator.service import CoordinatorService
from ffcluster.services.settings.config import ServerSettings
from tests.net.loopback import Collector, until

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Monitored(TestCase):
    """A coordinator without a token."""

    timeout = 60

    async def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="ffcluster-test-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.service = CoordinatorService(
            reactor,
            ServerSettings(
                port=0,
                state_dir=self.directory / "state",
                output_dir=self.directory,
                min_free_bytes=0,
            ),
        )
        self.service.startService()
        await self.service.started
        self.addCleanup(self.service.stopService)
        assert self.service._parts is not None
        assert self.service._display is not None
        self.parts, self.display = self.service._parts, self.service._display

    async def ask(self, path: str, *headers: str, method: str = "GET") -> tuple[int, bytes, bytes]:
        """Status, headers in lower case, and body of an answer."""
        where = endpoints.TCP4ClientEndpoint(reactor, "127.0.0.1", self.service.port)
        connection = await endpoints.connectProtocol(where, Collector())
        self.addCleanup(connection.close)
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
        connection.transport.write("\r\n".join([*lines, "", ""]).encode())
        head, _, body = (await connection.ended).partition(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]), head.lower(), body

    async def ready(self) -> tuple[int, dict[str, bool]]:
        """Status and checks of /readyz."""
        status, _, body = await self.ask("/readyz")
        document: Any = orjson.loads(body)
        assert document["ready"] is (status == 200)
        for check in document["checks"]:
            assert bool(check["problem"]) is not check["ok"]
        return status, {check["name"]: check["ok"] for check in document["checks"]}

    async def test_coordinator_that_turns_is_live_and_ready(self) -> None:
        status, head, body = await self.ask("/livez")
        assert (status, orjson.loads(body)) == (200, {"live": True})
        assert b"cache-control: no-store" in head
        well = {"listening": True, "running": True, "store": True, "disk": True}
        assert await self.ready() == (200, well)
        assert (await self.ask("/readyz", method="POST"))[0] == 405

    async def test_coordinator_whose_disk_is_full_is_live_and_not_ready(self) -> None:
        self.parts.uploads._reserve._min_free_bytes = 2**60
        await until(lambda: bool(self.parts.housekeeping.no_room))
        status, checks = await self.ready()
        assert (status, checks["disk"], checks["store"]) == (503, False, True)
        assert (await self.ask("/livez"))[0] == 200
        _, _, body = await self.ask("/metrics")
        assert b"ffcluster_accepting_work 0.0\n" in body
        assert b"ffcluster_store_reachable 1.0\n" in body

    async def test_answer_about_readiness_names_no_file(self) -> None:
        self.parts.housekeeping.no_room = f"{self.directory} is full"
        status, _, body = await self.ask("/readyz")
        assert status == 503
        assert str(self.directory).encode() not in body

    async def test_coordinator_that_stops_is_not_ready(self) -> None:
        self.service.running = 0
        try:
            status, checks = await self.ready()
        finally:
            self.service.running = 1
        assert (status, checks["running"]) == (503, False)

    async def test_metrics_come_in_the_form_that_is_asked_for(self) -> None:
        status, head, body = await self.ask("/metrics")
        assert status == 200
        assert b"content-type: text/plain; version=0.0.4; charset=utf-8" in head
        names = {family.name for family in plain(body.decode())}
        status, head, body = await self.ask("/metrics", f"Accept: {OPENMETRICS}")
        assert status == 200
        assert b"content-type: application/openmetrics-text; version=1.0.0" in head
        assert body.endswith(b"# EOF\n")
        same = {family.name for family in openmetrics(body.decode())}
        assert {"ffcluster_jobs", "ffcluster_reactor_delay_seconds"} <= names & same

    async def test_odd_wishes_get_the_plain_form(self) -> None:
        for accept in ("application/openmetrics-text; version=new", "*/*", ";,;=", "x" * 5000):
            status, head, _ = await self.ask("/metrics", f"Accept: {accept}")
            assert (status, b"content-type: text/plain" in head) == (200, True), accept

    async def test_head_has_no_body_and_other_methods_are_refused(self) -> None:
        status, head, body = await self.ask("/metrics", method="HEAD")
        assert (status, body) == (200, b"")
        assert b"content-length: " in head
        assert (await self.ask("/metrics", method="POST"))[0] == 405

    async def test_bytes_that_go_out_are_counted(self) -> None:
        before = self.display.metrics.traffic.sent_bytes
        _, _, body = await self.ask("/livez")
        assert self.display.metrics.traffic.sent_bytes == before + len(body)
        await self.ask("/livez", method="HEAD")
        assert self.display.metrics.traffic.sent_bytes == before + len(body)

    async def test_caller_who_goes_away_meanwhile_is_no_trouble(self) -> None:
        where = endpoints.TCP4ClientEndpoint(reactor, "127.0.0.1", self.service.port)
        connection = await endpoints.connectProtocol(where, Collector())
        connection.transport.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await connection.close()
        assert (await self.ask("/metrics"))[0] == 200
