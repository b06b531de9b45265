"""Pictures on disk: bounded, the least used go first, and all of a job's go with it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from twisted.trial.unittest import TestCase

from ffcluster.services.viewing.picturefiles import INDEX, PictureFiles, picture_limit
from tests.integration.media_case import asynchronous


class PictureFilesTests(TestCase):
    timeout = 30

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="ffcluster-test-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.files = PictureFiles(self.directory / "pictures", 100)

    async def add(self, job: str, name: str, size: int = 40) -> Path:
        await self.files.prepare(job)
        path = self.files.path(job, name)
        path.write_bytes(bytes(size))
        await self.files.add(job, name, size)
        return path

    @asynchronous
    async def test_what_was_used_longest_ago_goes_first(self) -> None:
        first, second = await self.add("a", "1"), await self.add("b", "2")
        assert self.files.has("a", "1")
        third = await self.add("a", "3")
        assert [path.exists() for path in (first, second, third)] == [True, False, True]
        assert not self.files.has("b", "2")
        assert self.files.used_bytes == 80

    @asynchronous
    async def test_file_that_is_written_again_counts_once(self) -> None:
        await self.add("a", "1", 10)
        await self.add("a", "1", 30)
        assert self.files.used_bytes == 30

    @asynchronous
    async def test_everything_of_a_job_goes_with_it(self) -> None:
        path, other = await self.add("a", "1"), await self.add("b", "1")
        await self.files.drop("a")
        assert not path.parent.exists()
        assert other.exists()
        assert self.files.used_bytes == 40

    @asynchronous
    async def test_file_that_somebody_removed_is_known_no_more(self) -> None:
        (await self.add("a", "1")).unlink()
        assert await self.files.read("a", "1") is None
        assert not self.files.has("a", "1")
        assert self.files.used_bytes == 0

    @asynchronous
    async def test_next_process_finds_what_is_of_a_job_and_removes_the_rest(self) -> None:
        kept, others = await self.add("a", "1"), await self.add("gone", "1")
        draft = kept.with_name(".2.part")
        draft.write_bytes(b"half")
        again = PictureFiles(self.directory / "pictures", 100)
        await again.open(["a", "b"])
        assert again.has("a", "1")
        assert again.used_bytes == 40
        assert not draft.exists()
        assert not others.parent.exists()

    @asynchronous
    async def test_index_outlives_the_directory_that_it_was_made_in(self) -> None:
        index = self.directory / "job" / "index"
        index.parent.mkdir()
        index.write_bytes(b"index")
        await self.files.keep_index("a", index)
        await self.files.keep_index("a", index)
        shutil.rmtree(index.parent)
        assert self.files.has("a", INDEX)
        assert await self.files.read("a", INDEX) == b"index"
        assert self.files.used_bytes == 5

    @asynchronous
    async def test_index_that_is_not_there_is_no_harm(self) -> None:
        await self.files.keep_index("a", self.directory / "nothing")
        assert not self.files.has("a", INDEX)


def test_limit_is_a_small_part_of_what_may_be_used() -> None:
    assert picture_limit(None) == picture_limit(10**12) == 256 * 2**20
    assert picture_limit(10**9) == 5 * 10**7
