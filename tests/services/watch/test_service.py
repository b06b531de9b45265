"""A watched folder from a file that comes to a file that is done, with jobs that are only told."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import attrs
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial import unittest

from ffcluster.core.job import Job, JobState
from ffcluster.core.model import JobId, JobOutcome, JobRequest, JobSpec, Source
from ffcluster.core.profile import Container, Profile
from ffcluster.core.watching import Claim, Rules, Stamp
from ffcluster.errors import Code, DiskFull, ErrorReport, FfclusterError, InvalidOption
from ffcluster.services.jobs.intake import InHouse
from ffcluster.services.settings.watchfolders import After, Subfolders, WatchFolder
from ffcluster.services.watch.service import (
    Jobs,
    WatchService,
    key_for,
    output_folder,
    reason_text,
    request_for,
)

SPEC = JobSpec(Profile(), Container.MKV, "film.mkv", "film.mkv")


@attrs.define
class FakeCoordinator:
    """Makes jobs by their keys, and ends them when it is told to."""

    made: dict[str, Job] = attrs.field(factory=dict)
    asked: list[tuple[JobRequest, InHouse]] = attrs.field(factory=list)
    errors: list[FfclusterError] = attrs.field(factory=list)

    async def submit(self, request: JobRequest, house: InHouse | None = None) -> JobId:
        assert house is not None
        self.asked.append((request, house))
        if self.errors:
            raise self.errors.pop(0)
        job = Job(
            JobId(f"job{len(self.made)}"), SPEC, 0.0, source=Source(request.server_path or "")
        )
        return self.made.setdefault(request.idempotency_key, job).id

    def job(self, job_id: JobId) -> Job | None:
        return next((job for job in self.made.values() if job.id == job_id), None)

    def end(self, state: JobState, error: ErrorReport | None = None) -> None:
        for job in self.made.values():
            job.state, job.error = state, error
            if state is JobState.COMPLETED:
                job.outcome = JobOutcome("/out/film.mkv", 1, "0" * 64, 1, True)


class TestWatchService(unittest.TestCase):
    def setUp(self) -> None:
        self.base = Path(tempfile.mkdtemp())
        # A thread may still be at a look that was begun before the end.
        self.addCleanup(shutil.rmtree, self.base, ignore_errors=True)
        self.root = self.base / "in"
        self.root.mkdir()
        self.coordinator = FakeCoordinator()
        self.service: WatchService | None = None
        self.addCleanup(self.stop)

    def stop(self) -> None:
        if self.service is not None:
            self.service.stop()

    def start(self, **settings: object) -> None:
        self.stop()
        folder = WatchFolder(
            path=self.root, every_s=0.01, rules=Rules(looks=2), **settings  # type: ignore[arg-type]
        )  # fmt: skip
        coordinator = self.coordinator
        jobs = Jobs(
            coordinator, coordinator.job, lambda: coordinator.made.values(), self.base / "out"
        )
        self.service = WatchService(reactor, [folder], self.base, jobs)
        self.service.start()

    async def until(self, test: Callable[[], object]) -> None:
        while not test():
            await deferLater(reactor, 0.01)  # type: ignore[arg-type]

    def lies(self, name: str) -> Callable[[], bool]:
        return (self.root / name).exists

    def put(self, name: str = "film.mkv", data: bytes = b"a film") -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def taken(self) -> list[Path]:
        return list((self.root / ".ffcluster" / "taken").glob("*/*"))

    async def test_whole_file_becomes_a_job_and_is_put_away_when_that_is_done(self) -> None:
        self.put("sub/film.mkv")
        self.start(subfolders=Subfolders.MIRROR, output="hd")
        await self.until(lambda: self.coordinator.made)
        ((request, house),) = self.coordinator.asked
        assert house == InHouse(f"watch folder {self.root}", "hd/sub")
        assert (self.base / "out" / "hd" / "sub").is_dir()
        assert (request.source_name, request.output_name) == ("film.mkv", "film.mkv")
        assert Path(request.server_path or "").read_bytes() == b"a film"
        assert self.taken()
        self.coordinator.end(JobState.COMPLETED)
        await self.until(self.lies("done/sub/film.mkv"))
        await self.until(lambda: not self.taken())

    async def test_file_whose_job_fails_is_set_aside_with_the_reason(self) -> None:
        self.put()
        self.start()
        await self.until(lambda: self.coordinator.made)
        error = ErrorReport(Code.SOURCE_UNREADABLE, "It is no video.", "Send one.")
        self.coordinator.end(JobState.FAILED, error)
        await self.until(self.lies("failed/film.mkv.reason.txt"))
        await self.until(lambda: not self.taken())
        text = (self.root / "failed" / "film.mkv.reason.txt").read_text()
        assert "'film.mkv' was not encoded: It is no video.\nSend one.\n" in text
        assert "ffcluster job job0" in text

    async def test_file_that_no_job_can_be_made_of_is_set_aside(self) -> None:
        self.coordinator.errors.append(InvalidOption(message="Two settings quarrel."))
        self.put()
        self.start()
        await self.until(self.lies("failed/film.mkv"))
        assert self.coordinator.made == {}

    async def test_full_disk_is_waited_for(self) -> None:
        self.coordinator.errors += [DiskFull(message="There is no room.")] * 2
        self.put()
        self.start()
        await self.until(lambda: self.coordinator.made)
        assert len(self.coordinator.asked) == 3

    async def test_restart_asks_with_the_same_key_and_follows_the_same_job(self) -> None:
        self.put()
        self.start()
        await self.until(lambda: self.coordinator.made)
        self.start()
        await deferLater(reactor, 0.1)  # type: ignore[arg-type]
        self.coordinator.end(JobState.COMPLETED)
        await self.until(self.lies("done/film.mkv"))
        assert len(self.coordinator.made) == 1
        assert len({request.idempotency_key for request, _ in self.coordinator.asked}) == 1

    async def test_job_that_was_forgotten_is_said_to_be(self) -> None:
        self.put()
        self.start()
        await self.until(lambda: self.coordinator.made)
        note = next((self.root / ".ffcluster" / "taken").glob("*/*/.claim.json"))
        await self.until(lambda: b"job0" in note.read_bytes())
        self.coordinator.made.clear()
        await self.until(self.lies("failed/film.mkv.reason.txt"))

    async def test_source_that_is_left_is_not_taken_again(self) -> None:
        self.put()
        self.start(after=After.LEAVE)
        await self.until(lambda: self.coordinator.made)
        self.coordinator.end(JobState.COMPLETED)
        await self.until(lambda: not self.taken())
        assert (self.root / "film.mkv").exists()
        self.start(after=After.LEAVE)
        self.put("second.mkv", b"another film")
        await self.until(lambda: len(self.coordinator.made) == 2)
        assert self.coordinator.asked[-1][0].source_name == "second.mkv"

    async def test_folder_that_comes_later_is_watched_then(self) -> None:
        away = self.root.rename(self.base / "away")
        self.start()
        (self.root).write_text("in the way")
        await deferLater(reactor, 0.05)  # type: ignore[arg-type]
        self.root.unlink()
        away.rename(self.root)
        self.put()
        await self.until(lambda: self.coordinator.made)


def test_names_of_outputs_and_keys_follow_from_the_claim() -> None:
    folder = WatchFolder(path=Path("/in"), container=Container.MP4, subfolders=Subfolders.MIRROR)
    claim = Claim("c1", "a/\udcff\n/my film.avi", Stamp(1, 2, 3, 4), sha256="ab")
    request = request_for(folder, claim, Path("/in/.ffcluster/taken/me/c1/my film.avi"))
    assert (request.source_name, request.output_name) == ("my film.avi", "my film.mp4")
    assert output_folder(folder, claim) == "a/__"
    assert key_for(claim) == request.idempotency_key
    assert key_for(attrs.evolve(claim, id="c2")) != key_for(claim)
    assert len(key_for(claim)) < 100


def test_reason_is_text_whatever_the_name_is() -> None:
    claim = Claim("c1", "a\n\udcff.mkv", Stamp(1, 2, 3))
    text = reason_text(claim, ErrorReport(Code.CANCELLED, "Job j was cancelled."))
    assert text.splitlines()[0] == "'a\\n\\udcff.mkv' was not encoded: Job j was cancelled."
