"""An output appears once, whole, at a place that was free, wherever the process dies."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from twisted.internet.defer import DeferredList, ensureDeferred
from twisted.trial.unittest import TestCase

from ffcluster.core.model import JobId, JobOutcome
from ffcluster.errors import JoinFailed, OutputUnwritable
from ffcluster.services.jobs.publication import PlaceTaken, Publication
from ffcluster.steps import Step
from ffcluster.store import files
from tests.store.crashing import killed_at

DATA = bytes(range(256)) * 40
SHA = hashlib.sha256(DATA).hexdigest()


class PublicationTests(TestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ffcluster-test-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.hashed: list[Path] = []
        hash_file = files.sha256_of

        def counting(path: Path) -> str:
            self.hashed.append(path)
            return hash_file(path)

        self.patch(files, "sha256_of", counting)

    def joined(self, job_id: str = "j") -> Publication:
        """A publication whose file is complete and verified."""
        publication = self.restarted(job_id)
        publication.partial.write_bytes(DATA)
        return publication

    def restarted(self, job_id: str = "j") -> Publication:
        """What another process knows of it."""
        return Publication(JobId(job_id), self.folder, "film.mp4")

    async def verified(self, publication: Publication) -> JobOutcome:
        finished = await publication.prepare()
        return JobOutcome(str(finished.target), finished.size_bytes, finished.sha256, 10, True)

    def names(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}

    async def fails(self, error: type[Exception], work: Coroutine[Any, Any, Any]) -> Any:
        return await self.assertFailure(ensureDeferred(work), error)

    async def test_nothing_appears_before_the_place_is_asked_for(self) -> None:
        outcome = await self.verified(self.joined())
        assert (outcome.path, outcome.sha256) == (str(self.folder / "film.mp4"), SHA)
        assert self.names() == {".film.j.partial"}

    async def test_placed_output_has_its_name_and_no_other(self) -> None:
        publication = self.joined()
        await publication.place(await self.verified(publication))
        assert self.names() == {"film.mp4"}
        assert (self.folder / "film.mp4").read_bytes() == DATA

    async def test_file_that_nobody_touched_is_not_read_twice(self) -> None:
        publication = self.joined()
        await publication.place(await self.verified(publication))
        assert len(self.hashed) == 1

    async def test_another_process_reads_the_file_before_it_believes_it(self) -> None:
        outcome = await self.verified(self.joined())
        await self.restarted().place(outcome)
        assert len(self.hashed) == 2
        assert self.names() == {"film.mp4"}

    async def test_placing_again_is_no_error_and_changes_nothing(self) -> None:
        publication = self.joined()
        outcome = await self.verified(publication)
        await publication.place(outcome)
        before = (self.folder / "film.mp4").stat()
        await publication.place(outcome)
        await self.restarted().place(outcome)
        after = (self.folder / "film.mp4").stat()
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)

    async def test_place_that_was_taken_meanwhile_is_exchanged_for_a_free_one(self) -> None:
        publication = self.joined()
        outcome = await self.verified(publication)
        (self.folder / "film.mp4").write_text("mine")
        taken = await self.fails(PlaceTaken, publication.place(outcome))
        assert taken.outcome.path == str(self.folder / "film-2.mp4")
        assert self.names() == {"film.mp4", ".film.j.partial"}
        await publication.place(taken.outcome)
        assert (self.folder / "film.mp4").read_text() == "mine"
        assert (self.folder / "film-2.mp4").read_bytes() == DATA

    async def test_file_that_is_gone_must_be_joined_again(self) -> None:
        publication = self.joined()
        outcome = await self.verified(publication)
        publication.partial.unlink()
        error = await self.fails(JoinFailed, publication.place(outcome))
        assert error.retryable
        assert "is gone" in str(error)

    async def test_file_that_was_altered_must_be_joined_again(self) -> None:
        publication = self.joined()
        outcome = await self.verified(publication)
        publication.partial.write_bytes(DATA[:-1] + b"!")
        error = await self.fails(JoinFailed, publication.place(outcome))
        assert "was altered" in str(error)
        assert self.names() == {".film.j.partial"}

    async def test_file_that_was_altered_while_no_process_ran_must_be_joined_again(self) -> None:
        publication = self.joined()
        outcome = await self.verified(publication)
        found = publication.partial.stat()
        publication.partial.write_bytes(DATA[:-1] + b"!")
        os.utime(publication.partial, ns=(found.st_atime_ns, found.st_mtime_ns))
        await self.fails(JoinFailed, self.restarted().place(outcome))

    async def test_output_that_cannot_be_made_durable_is_said(self) -> None:
        await self.fails(OutputUnwritable, self.restarted().prepare())

    async def test_jobs_that_want_one_name_get_one_each(self) -> None:
        async def publish(publication: Publication) -> None:
            outcome, placed = await self.verified(publication), False
            while not placed:
                try:
                    await publication.place(outcome)
                    placed = True
                except PlaceTaken as taken:
                    outcome = taken.outcome

        publications = [self.joined(f"job{number}") for number in range(6)]
        ends = await DeferredList([ensureDeferred(publish(p)) for p in publications])
        assert all(done for done, _ in ends)
        assert self.names() == {"film.mp4", *(f"film-{number}.mp4" for number in range(2, 7))}

    async def test_discarding_leaves_other_jobs_files_and_what_was_published(self) -> None:
        publication, other = self.joined("[1]"), self.joined("11")
        beside = publication.partial.with_name(publication.partial.name + ".streams")
        beside.touch()
        (self.folder / "film.mp4").touch()
        await publication.discard()
        await publication.discard()
        assert self.names() == {other.partial.name, "film.mp4"}

    async def test_output_appears_once_though_the_process_dies_as_it_appears(self) -> None:
        outcome = await self.verified(self.joined())
        script = f"""
            target = Path({outcome.path!r})
            partial = target.with_name(".film.j.partial")
            files.place(partial, target, {SHA!r}, {len(DATA)})
        """
        assert killed_at(Step.OUTPUT_PLACED, script)
        assert self.names() == {"film.mp4", ".film.j.partial"}
        await self.restarted().place(outcome)
        assert self.names() == {"film.mp4"}
        assert (self.folder / "film.mp4").read_bytes() == DATA
