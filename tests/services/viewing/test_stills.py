"""Single pictures: one at a time, the same one once, a bounded number in line, kept afterwards."""

from __future__ import annotations

import shutil
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from ffcluster.core.job import Job, JobState
from ffcluster.core.media import MediaSummary, VideoFormat
from ffcluster.core.model import JobId, JobOutcome, JobSpec
from ffcluster.core.profile import Container, Profile
from ffcluster.core.timeline import TimeBase
from ffcluster.errors import Conflict, DiskFull, HelperDied, NotFound, SourceUnreadable, TooMany
from ffcluster.media.thumbnailer import PictureOrder
from ffcluster.services.viewing.picturefiles import INDEX, PictureFiles
from ffcluster.services.viewing.stills import Still, Stills
from tests.integration.media_case import asynchronous

FILM = b"a film"
SMALL = Still(result=False, frame=7, at_s=Fraction(0), exact=False, height=90)
LARGE = Still(result=False, frame=None, at_s=Fraction(1, 3), exact=True, height=720)


@attrs.define
class FakeTaker:
    """Takes pictures when the test says so."""

    orders: list[PictureOrder] = attrs.field(factory=list)
    held: list[tuple[Path, Deferred[None]]] = attrs.field(factory=list)
    closed: bool = False

    async def take(self, order: PictureOrder, target: Path) -> int:
        done: Deferred[None] = Deferred()
        self.orders.append(order)
        self.held.append((target, done))
        await done
        target.write_bytes(b"picture of " + str(order.frame).encode())
        return target.stat().st_size

    async def close(self) -> None:
        self.closed = True


class StillsTests(TestCase):
    timeout = 30

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="ffcluster-test-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.film = self.directory / "film.mkv"
        self.film.write_bytes(FILM)
        self.taker, self.now, self.short_of = FakeTaker(), 1000.0, ""
        self.files = PictureFiles(self.directory / "pictures", 10**6)
        self.stills = Stills(
            self.taker,
            self.files,
            source_path=lambda job: self.film,
            index_path=lambda job_id: self.directory / "job" / "index",
            short_of=lambda: self.short_of,
            seconds=lambda: self.now,
        )
        video = VideoFormat("h264", 320, 180, "yuv420p", TimeBase(1, 25))
        spec = JobSpec(Profile(), Container.MKV, "out.mkv", "film.mkv")
        self.job = Job(JobId("a"), spec, 0.0)
        self.job.summary = MediaSummary(video, 100, 0, 100, (0,), size_bytes=len(FILM))

    def ask(self, still: Still = SMALL) -> Deferred[bytes]:
        return ensureDeferred(self.stills.picture(self.job, still))

    async def until(self, taken: int) -> None:
        """Wait until so many pictures were begun."""
        while len(self.taker.held) < taken:
            await deferLater(reactor, 0.005)

    async def finish(self, number: int = 0, error: Exception | None = None) -> None:
        """Let the picture that was begun as number `number` be taken, or not."""
        await self.until(number + 1)
        _, done = self.taker.held[number]
        done.errback(error) if error else done.callback(None)

    def complete(self) -> Path:
        """Let the job have a result."""
        path = self.directory / "out.mkv"
        path.write_bytes(b"result")
        self.job.outcome = JobOutcome(str(path), 6, "ab" * 32, 100, True)
        self.job.state = JobState.COMPLETED
        return path

    @asynchronous
    async def test_picture_is_taken_once_and_kept(self) -> None:
        both = [self.ask(), self.ask()]
        await self.finish()
        assert [await one for one in both] == [b"picture of 7"] * 2
        assert await self.ask() == b"picture of 7"
        assert len(self.taker.orders) == 1
        order = self.taker.orders[0]
        assert (order.file, order.index, order.is_source) == (self.film, None, True)
        assert (order.frame, order.height, order.pixels) == (7, 90, 320 * 180)
        assert order.at_s == Fraction(7 / 25)

    @asynchronous
    async def test_one_is_taken_after_the_other_and_what_is_looked_at_first(self) -> None:
        asked = [self.ask(attrs.evolve(SMALL, frame=n)) for n in range(3)]
        large = self.ask(LARGE)
        await self.finish(0)
        await self.finish(1)
        assert await large == b"picture of None"
        await self.finish(2)
        await self.finish(3)
        assert [await one for one in asked] == [b"picture of %d" % n for n in range(3)]
        assert [order.frame for order in self.taker.orders] == [0, None, 1, 2]

    @asynchronous
    async def test_too_many_that_wait_are_refused(self) -> None:
        asked = [self.ask(attrs.evolve(SMALL, frame=n)) for n in range(64)]
        with pytest.raises(TooMany):
            await self.ask(attrs.evolve(SMALL, frame=64))
        again = self.ask(attrs.evolve(SMALL, frame=63))
        for number in range(64):
            await self.finish(number)
        assert await again == await asked[63]

    @asynchronous
    async def test_what_cannot_be_taken_is_said_and_tried_again_by_the_next(self) -> None:
        asked = [self.ask(), self.ask()]
        await self.finish(0, SourceUnreadable(message="it is broken"))
        for one in asked:
            with pytest.raises(SourceUnreadable):
                await one
        again = self.ask()
        await self.finish(1)
        assert await again == b"picture of 7"

    @asynchronous
    async def test_film_that_keeps_ending_its_reader_is_left_alone_for_a_while(self) -> None:
        for number in range(3):
            asked = self.ask(attrs.evolve(SMALL, frame=number))
            await self.finish(number, HelperDied(message="it died"))
            with pytest.raises(HelperDied):
                await asked
        with pytest.raises(Conflict):
            await self.ask()
        self.now += 601.0
        asked = self.ask()
        await self.finish(3)
        assert await asked == b"picture of 7"

    @asynchronous
    async def test_index_is_used_where_it_is(self) -> None:
        own = self.directory / "job" / "index"
        for number in range(3):
            asked = self.ask(attrs.evolve(LARGE, at_s=Fraction(number)))
            await self.finish(number)
            await asked
            if number == 0:
                own.parent.mkdir()
                own.write_bytes(b"index")
            else:
                await self.files.keep_index("a", own)
        kept = self.files.path("a", INDEX)
        assert [order.index for order in self.taker.orders] == [None, own, kept]

    @asynchronous
    async def test_result_is_shown_once_there_is_one(self) -> None:
        of_result = attrs.evolve(LARGE, result=True)
        with pytest.raises(Conflict):
            await self.ask(of_result)
        path = self.complete()
        asked = self.ask(of_result)
        await self.finish(0)
        await asked
        order = self.taker.orders[0]
        assert (order.file, order.is_source) == (path, False)
        path.unlink()
        with pytest.raises(NotFound):
            await self.ask(attrs.evolve(of_result, at_s=Fraction(3)))

    @asynchronous
    async def test_thumbnails_come_from_the_result_when_the_source_is_another_file(self) -> None:
        self.film.write_bytes(b"another film")
        with pytest.raises(NotFound):
            await self.ask()
        path = self.complete()
        asked = self.ask()
        await self.finish(0)
        await asked
        assert self.taker.orders[0].file == path
        with pytest.raises(NotFound):
            await self.ask(LARGE)

    @asynchronous
    async def test_frames_that_are_not_there_and_films_that_were_not_read_are_refused(self) -> None:
        with pytest.raises(NotFound):
            await self.ask(attrs.evolve(SMALL, frame=100))
        self.job.summary = None
        with pytest.raises(Conflict):
            await self.ask()

    @asynchronous
    async def test_nothing_is_written_to_a_disk_that_is_full(self) -> None:
        self.short_of = "the disk is full"
        with pytest.raises(DiskFull):
            await self.ask()
        assert self.taker.orders == []

    @asynchronous
    async def test_whoever_waits_when_it_ends_is_told(self) -> None:
        asked: list[Any] = [self.ask(), self.ask(LARGE)]
        await self.until(1)
        await self.stills.close()
        for one in asked:
            self.failureResultOf(one)
        assert self.taker.closed
        await self.finish(0)
