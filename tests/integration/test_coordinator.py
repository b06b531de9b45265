"""A coordinator with its store on real sockets: what clients ask is kept, over restarts too."""

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

from ffcluster.core.model import JobRequest
from ffcluster.errors import Conflict, DiskFull, IdempotencyConflict, InvalidOption, NotFound
from ffcluster.net.client import CoordinatorClient
from ffcluster.services.coordinator.service import CoordinatorService
from ffcluster.services.settings.config import ServerSettings
from tests.inputs import ffmpeg, pictures
from tests.integration.media_case import asynchronous


class CoordinatorCase(TestCase):
    """Each test gets a film and a coordinator that may be started again and again."""

    timeout = 60

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="ffcluster-test-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.film = self.directory / "film.mkv"
        ffmpeg(*pictures(50, size="64x64"), "-c:v", "libx264", "-g", "10", str(self.film))
        self.settings = ServerSettings(
            port=0,
            state_dir=self.directory / "state",
            output_dir=self.directory / "output",
            min_free_bytes=0,
        )
        self.service: CoordinatorService | None = None
        self.client: CoordinatorClient | None = None
        self.addCleanup(self.stop)

    async def start(self, **changes: Any) -> CoordinatorClient:
        """Start a coordinator, and connect to it."""
        self.service = CoordinatorService(reactor, attrs.evolve(self.settings, **changes))
        self.service.startService()
        await self.service.started
        url = f"ws://127.0.0.1:{self.service.port}"
        self.client = await CoordinatorClient.connect(reactor, url, token=None)
        return self.client

    async def _stop(self) -> None:
        client, service = self.client, self.service
        self.client = self.service = None
        if client is not None:
            await client.close()
        if service is not None:
            await service.stopService()

    def stop(self) -> Any:
        """Stop it, as SIGTERM would."""
        return ensureDeferred(self._stop())

    async def start_again(self, **changes: Any) -> CoordinatorClient:
        """What the next process finds."""
        await self._stop()
        return await self.start(**changes)

    def request(self, **changes: Any) -> JobRequest:
        """A job of the film."""
        return attrs.evolve(
            JobRequest("film.mkv", server_path=str(self.film), output_name="out.mkv"), **changes
        )

    async def in_state(self, job_id: str, state: str) -> Any:
        """Wait until a job is in a state."""
        assert self.client is not None
        while (view := await self.client.job(job_id)).state != state:
            await deferLater(reactor, 0.02)
        return view

    # --- idempotency ---------------------------------------------------------------------------

    @asynchronous
    async def test_request_that_is_made_again_under_its_key_is_the_same_job(self) -> None:
        client = await self.start()
        request = self.request(idempotency_key="mine")
        first = await client.submit(request)
        assert (await client.submit(request)).id == first.id
        client = await self.start_again()
        assert (await client.submit(request)).id == first.id
        assert [view.id for view in await client.jobs()] == [first.id]

    @asynchronous
    async def test_requests_under_one_key_at_the_same_moment_are_one_job(self) -> None:
        client = await self.start()
        request = self.request(idempotency_key="mine")
        views = await gatherResults([ensureDeferred(client.submit(request)) for _ in range(5)])
        assert len({view.id for view in views}) == 1
        assert len(await client.jobs()) == 1

    @asynchronous
    async def test_other_request_under_a_used_key_is_refused(self) -> None:
        client = await self.start()
        await client.submit(self.request(idempotency_key="mine"))
        with pytest.raises(IdempotencyConflict):
            await client.submit(self.request(idempotency_key="mine", output_name="other.mkv"))
        assert len(await client.jobs()) == 1

    @asynchronous
    async def test_source_that_is_sent_again_under_its_key_is_the_same_job(self) -> None:
        client = await self.start()
        request = self.request(server_path=None, idempotency_key="mine")
        first = await client.submit(attrs.evolve(request, upload_id=await client.upload(self.film)))
        again = await client.upload(self.film)
        assert (await client.submit(attrs.evolve(request, upload_id=again))).id == first.id
        other = self.directory / "other.mkv"
        ffmpeg(*pictures(20, size="64x64"), "-c:v", "libx264", str(other))
        with pytest.raises(IdempotencyConflict):
            await client.submit(attrs.evolve(request, upload_id=await client.upload(other)))

    @asynchronous
    async def test_key_that_cannot_be_shown_is_refused(self) -> None:
        client = await self.start()
        with pytest.raises(InvalidOption):
            await client.submit(self.request(idempotency_key="a\nb"))

    # --- control -------------------------------------------------------------------------------

    @asynchronous
    async def test_what_is_wanted_of_a_job_is_known_after_a_restart(self) -> None:
        client = await self.start()
        job_id = (await client.submit(self.request(priority=2))).id
        await self.in_state(job_id, "WaitingForClients")
        assert (await client.prioritise(job_id, 7)).priority == 7
        assert (await client.pause(job_id)).paused
        client = await self.start_again()
        view = await self.in_state(job_id, "WaitingForClients")
        assert (view.priority, view.paused, view.frame_count) == (7, True, 50)
        assert not (await client.resume(job_id)).paused

    @asynchronous
    async def test_cancelled_job_can_be_retried_and_removed(self) -> None:
        client = await self.start()
        job_id = (await client.submit(self.request())).id
        with pytest.raises(Conflict):
            await client.retry(job_id)
        with pytest.raises(Conflict):
            await client.remove(job_id)
        assert (await client.cancel(job_id)).state == "Cancelled"
        for refused in (client.cancel, client.pause, client.resume):
            with pytest.raises(Conflict):
                await refused(job_id)
        await client.retry(job_id)
        await self.in_state(job_id, "WaitingForClients")
        await client.cancel(job_id)
        await client.remove(job_id)
        with pytest.raises(NotFound):
            await client.job(job_id)
        client = await self.start_again()
        assert await client.jobs() == []
        assert not list((self.directory / "state" / "jobs").iterdir())

    @asynchronous
    async def test_failed_job_keeps_its_upload_until_its_time_is_over(self) -> None:
        client = await self.start()
        text = self.directory / "text.mkv"
        text.write_text("no film at all\n" * 1000)
        upload = await client.upload(text)
        job_id = (await client.submit(self.request(server_path=None, upload_id=upload))).id
        await self.in_state(job_id, "Failed")
        await client.retry(job_id)
        await self.in_state(job_id, "Failed")
        client = await self.start_again(keep_failed_s=0.0, keep_uploads_s=0.0)
        while self._blobs():
            await deferLater(reactor, 0.02)
        with pytest.raises(Conflict):
            await client.retry(job_id)

    def _blobs(self) -> list[Path]:
        return [path for path in (self.directory / "state" / "blobs").rglob("*") if path.is_file()]

    # --- uploads of ended jobs -----------------------------------------------------------------

    def other_film(self, frames: int) -> Path:
        """A film of so many pictures."""
        path = self.directory / f"film-{frames}.mkv"
        ffmpeg(*pictures(frames, size="64x64"), "-c:v", "libx264", "-g", "10", str(path))
        return path

    async def cancelled(self, film: Path) -> str:
        """The id of a job that was cancelled, whose film was sent."""
        assert self.client is not None
        upload = await self.client.upload(film)
        job = await self.client.submit(self.request(server_path=None, upload_id=upload))
        assert job.source_uploaded
        assert job.source_kept_until is None
        await self.client.cancel(job.id)
        return job.id

    @asynchronous
    async def test_upload_stays_after_its_job_has_ended_and_over_a_restart(self) -> None:
        await self.start()
        job_id = await self.cancelled(self.film)
        client = await self.start_again()
        view = await client.job(job_id)
        assert view.ended_at is not None
        assert view.source_kept_until == view.ended_at + self.settings.keep_uploads_s
        await client.retry(job_id)
        view = await self.in_state(job_id, "WaitingForClients")
        assert (view.frame_count, view.source_kept_until) == (50, None)

    @asynchronous
    async def test_upload_whose_time_is_over_is_removed_and_said_to_be_gone(self) -> None:
        client = await self.start()
        job_id = await self.cancelled(self.film)
        assert self._blobs()
        client = await self.start_again(keep_uploads_s=0.0)
        assert not self._blobs()
        assert (await client.job(job_id)).source_kept_until is None
        with pytest.raises(Conflict, match="not kept any more"):
            await client.retry(job_id)
        await self.cancelled(self.other_film(20))
        while self._blobs():
            await deferLater(reactor, 0.02)

    @asynchronous
    async def test_oldest_upload_makes_room_for_a_new_one(self) -> None:
        films = [self.other_film(frames) for frames in (20, 30, 40)]
        sizes = [film.stat().st_size for film in films]
        await self.start()
        oldest, newer = [await self.cancelled(film) for film in films[:2]]
        client = await self.start_again(max_disk_bytes=sum(sizes) - 1)
        newest = await self.cancelled(films[2])
        kept = [(await client.job(one)).source_kept_until for one in (oldest, newer, newest)]
        assert [until is not None for until in kept] == [False, True, True]
        assert sorted(path.stat().st_size for path in self._blobs()) == sizes[1:]

    @asynchronous
    async def test_no_upload_is_removed_for_one_that_finds_no_room_anyway(self) -> None:
        film, large = self.other_film(20), self.other_film(90)
        await self.start()
        job_id = await self.cancelled(film)
        client = await self.start_again(max_disk_bytes=large.stat().st_size - 1)
        with pytest.raises(DiskFull):
            await client.upload(large)
        assert (await client.job(job_id)).source_kept_until is not None

    @asynchronous
    async def test_upload_that_another_job_needs_makes_no_room(self) -> None:
        film, other = self.other_film(20), self.other_film(30)
        client = await self.start()
        ended = await self.cancelled(film)
        upload = await client.upload(film)
        going = (await client.submit(self.request(server_path=None, upload_id=upload))).id
        await self.in_state(going, "WaitingForClients")
        assert len(self._blobs()) == 1
        most = film.stat().st_size + other.stat().st_size - 1
        client = await self.start_again(max_disk_bytes=most)
        with pytest.raises(DiskFull):
            await client.upload(other)
        assert (await client.job(ended)).source_kept_until is not None
        await client.cancel(going)
        await client.upload(other)
        assert (await client.job(ended)).source_kept_until is None

    @asynchronous
    async def test_what_is_not_there_is_not_found(self) -> None:
        client = await self.start()
        for ask in (client.job, client.cancel, client.pause, client.retry, client.receipt):
            with pytest.raises(NotFound):
                await ask("nothing")
        for about_worker in (client.drain_worker, client.resume_worker, client.remove_worker):
            with pytest.raises(NotFound):
                await about_worker("nobody")

    @asynchronous
    async def test_receipt_of_a_job_that_has_not_begun_has_no_segments(self) -> None:
        client = await self.start()
        job_id = (await client.submit(self.request())).id
        await self.in_state(job_id, "WaitingForClients")
        receipt = await client.receipt(job_id)
        assert (receipt.id, receipt.frame_count, receipt.segments) == (job_id, 50, ())

    # --- what a start finds --------------------------------------------------------------------

    @asynchronous
    async def test_source_that_changed_while_the_coordinator_was_away_fails_its_job(self) -> None:
        client = await self.start()
        job_id = (await client.submit(self.request())).id
        await self.in_state(job_id, "WaitingForClients")
        await self._stop()
        ffmpeg(*pictures(60, size="64x64"), "-c:v", "libx264", "-g", "10", str(self.film))
        await self.start()
        view = await self.in_state(job_id, "Failed")
        assert view.error.code == "source_changed"

    @asynchronous
    async def test_two_coordinators_do_not_share_a_state_directory(self) -> None:
        await self.start()
        other = CoordinatorService(reactor, self.settings)
        other.startService()
        with pytest.raises(Conflict):
            await other.started
        await other.stopService()

    @asynchronous
    async def test_files_that_an_empty_database_does_not_know_are_kept(self) -> None:
        client = await self.start()
        upload = await client.upload(self.film)
        await client.submit(self.request(server_path=None, upload_id=upload))
        (kept,) = self._blobs()
        await self.start_again(database="sqlite:///other.db")
        assert self._blobs() == [kept]

    @asynchronous
    async def test_nothing_is_taken_in_while_there_is_too_little_room(self) -> None:
        client = await self.start(min_free_bytes=2**60)
        with pytest.raises(DiskFull):
            await client.submit(self.request())
        with pytest.raises(DiskFull):
            await client.upload(self.film)
        assert await client.jobs() == []
