"""How a job looks while it is made and afterwards: real coordinator, real worker, real JPEGs."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, HTTPConnectionPool, readBody

from ffcluster.core.model import JobRequest
from ffcluster.core.profile import Profile, RateControl, RateMode
from ffcluster.errors import Conflict, FfclusterError, InvalidOption, NotFound
from ffcluster.net.address import CoordinatorAddress
from ffcluster.net.api_client import ApiClient
from ffcluster.net.client import CoordinatorClient
from ffcluster.services.coordinator.service import CoordinatorService
from ffcluster.services.settings.config import ServerSettings, WorkerSettings
from ffcluster.services.viewing.pictures import Pictures
from ffcluster.services.worker.service import WorkerService
from ffcluster.web.filmstrip import FilmstripQuery
from ffcluster.web.gantt import GanttQuery, attempt_detail
from ffcluster.web.pictures import Side
from tests.inputs import ffmpeg, pictures
from tests.integration.media_case import asynchronous

FRAMES = 75
LOSSLESS = Profile(encoder="libx264", rate=RateControl(RateMode.LOSSLESS), preset="ultrafast")


class PicturesTests(TestCase):
    timeout = 180

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="ffcluster-test-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.film = self.directory / "film.mkv"
        ffmpeg(*pictures(FRAMES, size="160x90"), "-c:v", "libx264", "-g", "25", str(self.film))
        self.settings = ServerSettings(
            port=0,
            required_workers=1,
            state_dir=self.directory / "state",
            output_dir=self.directory / "output",
            min_free_bytes=0,
        )
        self.running: list[Any] = []
        self.addCleanup(self.stop)

    async def start(self) -> CoordinatorClient:
        service = CoordinatorService(reactor, self.settings)
        service.startService()
        self.running.insert(0, service.stopService)
        await service.started
        self.service = service
        url = f"ws://127.0.0.1:{service.port}"
        self.client = await CoordinatorClient.connect(reactor, url, token=None)
        self.running.insert(0, self.client.close)
        return self.client

    def work(self) -> None:
        worker = WorkerService(
            reactor,
            WorkerSettings(
                host="127.0.0.1",
                port=self.service.port,
                name="attic",
                encoder="libx264",
                work_dir=self.directory / "work",
            ),
        )
        self.running.insert(0, worker.stopService)
        worker.startService()

    async def _stop(self) -> None:
        running, self.running = self.running, []
        for stop in running:
            await stop()

    def stop(self) -> Any:
        return ensureDeferred(self._stop())

    @property
    def pictures(self) -> Pictures:
        display = self.service._display
        assert display is not None
        return display.pictures

    async def submitted(self, **changes: Any) -> str:
        request = JobRequest(
            "film.mkv",
            server_path=str(self.film),
            output_name="out.mkv",
            profile=LOSSLESS,
            cut_frames=(25, 50),
        )
        return (await self.client.submit(attrs.evolve(request, **changes))).id

    async def in_state(self, job_id: str, state: str) -> None:
        while (await self.client.job(job_id)).state != state:
            await deferLater(reactor, 0.02)

    async def completed(self) -> str:
        await self.start()
        self.work()
        job_id = await self.submitted()
        await self.in_state(job_id, "Completed")
        return job_id

    @asynchronous
    async def test_finished_job_is_shown_and_still_is_after_a_restart(self) -> None:
        job_id = await self.completed()
        await self.looked_at(job_id)
        while True:
            (worker,) = await self.client.workers()
            if worker.load is not None:
                break
            await deferLater(reactor, 0.05)
        assert worker.load.memory_total_bytes > worker.load.memory_used_bytes > 0
        assert worker.last_heard_at is not None
        await self._stop()
        # The source's index went with the job's directory, but for the link to it.
        assert not (self.directory / "state" / "jobs" / job_id).exists()
        await self.start()
        await self.looked_at(job_id)
        await self.client.remove(job_id)
        with pytest.raises(NotFound):
            await self.pictures.filmstrip(job_id, FilmstripQuery())
        while (self.directory / "state" / "pictures" / job_id).exists():
            await deferLater(reactor, 0.02)

    async def looked_at(self, job_id: str) -> None:
        """Everything that is to be seen of it."""
        film = await self.pictures.filmstrip(job_id, FilmstripQuery())
        assert (film.frame_count, film.duration_s, film.stop) == (FRAMES, 3.0, FRAMES)
        assert [(b.first_frame, b.states.committed) for b in film.buckets] == [
            (0, 25), (25, 25), (50, 25),
        ]  # fmt: skip
        assert {(b.worker, b.encoder, b.segments) for b in film.buckets} == {
            ("attic", "libx264", 1)
        }
        chart = await self.pictures.gantt(job_id, GanttQuery())
        (lane,) = chart.lanes
        assert lane.worker == "attic"
        assert [bar.end for bar in lane.bars] == ["committed"] * 3
        for bar in lane.bars:
            detail = attempt_detail(await self.pictures.attempt(job_id, bar.epoch))
            assert detail.argv is not None
            assert "libx264" in detail.argv
            assert detail.sha256 is not None
            assert detail.timings.encode_s is not None
        with pytest.raises(NotFound):
            await self.pictures.attempt(job_id, 999)
        await self.films_alike(job_id)
        await self.over_http(job_id, lane.bars[0].epoch)

    async def over_http(self, job_id: str, epoch: int) -> None:
        """The same, as a browser asks for it."""
        api = ApiClient(reactor, CoordinatorAddress("127.0.0.1", self.service.port), None)
        self.running.insert(0, api.close)
        film = await api.get(f"/jobs/{job_id}/filmstrip", {"first": 20, "stop": 60, "buckets": 2})
        assert [bucket["states"]["committed"] for bucket in film["buckets"]] == [30, 10]
        chart = await api.get(f"/jobs/{job_id}/gantt", {"bars": 1})
        assert chart["lanes"][0]["bars"][0]["merged"] == 3
        detail = await api.get(f"/jobs/{job_id}/attempts/{epoch}")
        assert detail["end"] == "committed"
        assert "libx264" in detail["argv"]
        small = await api.get_bytes(f"/jobs/{job_id}/thumbnails/3", {"height": 45})
        large = await api.get_bytes(f"/jobs/{job_id}/preview", {"side": "result", "at_s": "1.5"})
        assert small[:2] == large[:2] == b"\xff\xd8"
        (worker,) = (await api.get("/workers"))["items"]
        assert worker["last_heard_at"] is None or worker["last_heard_at"].endswith("Z")
        url = f"http://127.0.0.1:{self.service.port}/api/v1/jobs/{job_id}/report"
        answer = await Agent(reactor, pool=HTTPConnectionPool(reactor, False)).request(
            b"GET", url.encode()
        )
        headers = {name.lower(): values[0] for name, values in answer.headers.getAllRawHeaders()}
        assert headers[b"content-type"].startswith(b"text/html")
        assert b"sandbox" in headers[b"content-security-policy"]
        assert headers[b"content-disposition"].startswith(b"attachment")
        page = (await readBody(answer)).decode()
        assert "Completed" in page
        assert "attic" in page
        assert "<script" not in page

    async def films_alike(self, job_id: str) -> None:
        """Without loss the same frame is the same JPEG on both sides."""
        seen = set()
        for at_s in (0.0, 0.5, 1.0, 2.96):
            source, result = await gatherResults([
                ensureDeferred(self.pictures.preview(job_id, side, at_s, 180))
                for side in (Side.SOURCE, Side.RESULT)
            ])  # fmt: skip
            assert source.startswith(b"\xff\xd8")
            assert source == result
            seen.add(source)
        assert len(seen) == 4
        assert await self.pictures.thumbnail(job_id, 30, 90) in {
            await self.pictures.preview(job_id, Side.SOURCE, n / 25, 180) for n in (25, 30)
        }
        with pytest.raises(NotFound):
            await self.pictures.thumbnail(job_id, FRAMES, 90)

    @asynchronous
    async def test_thumbnails_are_shown_when_only_the_result_is_left(self) -> None:
        job_id = await self.completed()
        before = await self.pictures.preview(job_id, Side.RESULT, 1.0, 180)
        self.film.unlink()
        assert await self.pictures.thumbnail(job_id, 25, 180) == before
        with pytest.raises(NotFound):
            await self.pictures.preview(job_id, Side.SOURCE, 1.2, 180)

    @asynchronous
    async def test_job_that_waits_is_shown_as_far_as_it_is(self) -> None:
        await self.start()
        job_id = await self.submitted()
        await self.in_state(job_id, "WaitingForClients")
        film = await self.pictures.filmstrip(job_id, FilmstripQuery(first=10, stop=40, buckets=4))
        assert sum(b.states.pending for b in film.buckets) == 30
        assert (await self.pictures.gantt(job_id, GanttQuery())).lanes == ()
        assert (await self.pictures.thumbnail(job_id, 0, 90)).startswith(b"\xff\xd8")
        with pytest.raises(Conflict):
            await self.pictures.preview(job_id, Side.RESULT, 0.0, 180)
        with pytest.raises(Conflict):
            await self.pictures.report(job_id)
        with pytest.raises(InvalidOption):
            await self.pictures.filmstrip(job_id, FilmstripQuery(first=FRAMES))
        with pytest.raises(InvalidOption):
            await self.pictures.gantt(job_id, GanttQuery(from_s=2.0, to_s=1.0))

    @asynchronous
    async def test_source_that_is_hostile_is_left_alone_and_hurts_nobody(self) -> None:
        await self.start()
        job_id = await self.submitted()
        await self.in_state(job_id, "WaitingForClients")
        size = self.film.stat().st_size
        self.film.write_bytes(b"\x1a\x45\xdf\xa3" + b"\xff" * (size - 4))
        with pytest.raises(FfclusterError):
            await self.pictures.thumbnail(job_id, 40, 90)
        assert (await self.client.job(job_id)).state == "WaitingForClients"
