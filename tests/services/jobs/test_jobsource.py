"""A source that is taken up again is the same, or refused; it is only read again at need."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import attrs
import pytest
from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed
from twisted.trial.unittest import TestCase

from ffcluster.core.media import MediaSummary, VideoFormat
from ffcluster.core.model import JobSpec
from ffcluster.core.profile import Container, Profile
from ffcluster.core.timeline import TimeBase
from ffcluster.errors import FfclusterError, SourceChanged, SourceMissing
from ffcluster.services.jobs.jobsource import JobSource, difference

VIDEO = VideoFormat("h264", 64, 64, "yuv420p", TimeBase(1, 25))
SUMMARY = MediaSummary(VIDEO, 100, 0, 100, [0], size_bytes=4)  # type: ignore[arg-type]


class Helper:
    """Counts how often the source is read."""

    def __init__(self) -> None:
        self.read = 0
        self.used = 0
        self.summary = SUMMARY
        self.index_is_sound = True

    def index(self, source: Path, _index: Path, *, allow_damaged: bool) -> Deferred[MediaSummary]:
        self.read += 1
        if not source.exists():
            return fail(SourceMissing(message="There is no file."))
        return succeed(self.summary)

    def use(self, _source: Path, _index: Path) -> None:
        self.used += 1

    def facts(self) -> Deferred[None]:
        if self.index_is_sound:
            return succeed(None)
        return fail(FfclusterError(message="It is not an index."))


class JobSourceTests(TestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ffcluster-test-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.film = self.folder / "film.mkv"
        self.film.write_bytes(b"film")
        self.helper = Helper()

    async def open(self, expected: MediaSummary | None = None) -> MediaSummary:
        """As a process does that knows nothing but what is on disk."""
        spec = JobSpec(Profile(), Container.MP4, "out.mp4", "film.mkv")
        helper: object = self.helper
        source = JobSource(helper, spec, self.film, self.folder / "job")  # type: ignore[arg-type]
        return await source.open(expected)

    async def changed(self, text: str) -> None:
        error = await self.assertFailure(ensureDeferred(self.open(SUMMARY)), SourceChanged)
        assert text in str(error)
        assert "film.mkv" in str(error)
        assert not error.retryable

    async def test_source_that_did_not_change_is_not_read_again(self) -> None:
        await self.open()
        assert await self.open(SUMMARY) is SUMMARY
        assert (self.helper.read, self.helper.used) == (1, 1)

    async def test_index_without_a_note_is_not_believed(self) -> None:
        await self.open()
        (self.folder / "job" / "source.json").unlink()
        await self.open(SUMMARY)
        assert self.helper.read == 2
        await self.open(SUMMARY)
        assert self.helper.read == 2

    async def test_index_that_cannot_be_read_is_made_again(self) -> None:
        await self.open()
        self.helper.index_is_sound = False
        await self.open(SUMMARY)
        assert self.helper.read == 2

    async def test_job_that_is_new_reads_its_source_whatever_lies_there(self) -> None:
        await self.open()
        await self.open()
        assert self.helper.read == 2

    async def test_source_of_another_size_is_refused(self) -> None:
        await self.open()
        self.film.write_bytes(b"another")
        await self.changed("it had 4 bytes and has 7")

    async def test_source_that_was_written_to_is_refused_even_at_the_same_size(self) -> None:
        await self.open()
        found = self.film.stat()
        os.utime(self.film, ns=(found.st_atime_ns, found.st_mtime_ns + 1))
        await self.changed("written to")

    async def test_source_that_reads_otherwise_is_refused(self) -> None:
        self.helper.summary = attrs.evolve(SUMMARY, frame_count=99)
        await self.changed("its number of frames was 100 and is 99")
        assert not (self.folder / "job" / "source.json").exists()

    async def test_source_that_is_gone_is_missing(self) -> None:
        await self.open()
        self.film.unlink()
        await self.assertFailure(ensureDeferred(self.open(SUMMARY)), SourceMissing)

    async def test_source_that_comes_back_is_taken_up(self) -> None:
        await self.open()
        away = self.film.rename(self.folder / "away.mkv")
        await self.assertFailure(ensureDeferred(self.open(SUMMARY)), SourceMissing)
        away.rename(self.film)
        assert await self.open(SUMMARY) is SUMMARY


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"size_bytes": 5}, "its size in bytes was 4 and is 5"),
        ({"frame_count": 99}, "its number of frames was 100 and is 99"),
        ({"first_pts_ticks": 1}, "its first frame's time was 0 and is 1"),
        ({"end_pts_ticks": 99}, "its end was 100 and is 99"),
        ({"video": attrs.evolve(VIDEO, width=32)}, "its video stream is another"),
        ({"warnings": ("odd",)}, ""),
        ({}, ""),
    ],
)
def test_differences_are_told_in_words(change: dict[str, object], text: str) -> None:
    assert difference(SUMMARY, attrs.evolve(SUMMARY, **change)) == text  # type: ignore[arg-type]
