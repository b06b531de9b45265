"""Pictures that were taken, on disk: bounded; those that nobody looked at for longest go first.

They lie in `pictures/JOB/` below the state directory, beside a link to the source's index, which
outlives the job's own directory. All of it can be removed at any time: it is made again.
"""

from __future__ import annotations

import contextlib
import os
from collections import OrderedDict
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.threads import deferToThread

from ffcluster.store import files

INDEX = "index"
_LIMIT_BYTES = 256 * 2**20
# Of the room that a coordinator may use in all, at most this part.
_PART = 20

T = TypeVar("T")


def picture_limit(max_disk_bytes: int | None) -> int:
    """What pictures may take up where so much may be used in all."""
    return min(_LIMIT_BYTES, max_disk_bytes // _PART) if max_disk_bytes else _LIMIT_BYTES


class PictureFiles:
    """The pictures of all jobs.

    Files are touched in threads, one operation after the other; what is there is known in memory.

    Args:
        directory: Where they lie.
        limit_bytes: What they may take up together.
    """

    def __init__(self, directory: Path, limit_bytes: int) -> None:
        self._directory = directory
        self._limit_bytes = limit_bytes
        # (job, name) and size in bytes, the one that was used longest ago first.
        self._known: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._lock = DeferredLock()
        self.used_bytes = 0

    def path(self, job_id: str, name: str) -> Path:
        """Where a file is, or would be."""
        return self._directory / job_id / name

    def has(self, job_id: str, name: str) -> bool:
        """Whether a file is there; it counts as used now."""
        if (job_id, name) not in self._known:
            return False
        self._known.move_to_end((job_id, name))
        return True

    async def open(self, jobs: Collection[str]) -> None:
        """Find what an earlier process left; what is of no job in `jobs` is removed."""
        found = await self._in_thread(_survey, self._directory, frozenset(jobs))
        for key, size in found:
            self._remember(key, size)
        await self._shrink()

    async def prepare(self, job_id: str) -> None:
        """Make the directory in which a job's pictures are written."""
        await self._in_thread(files.make_private, self._directory / job_id)

    async def read(self, job_id: str, name: str) -> bytes | None:
        """A file that is there; None when somebody removed it."""
        try:
            return await deferToThread(self.path(job_id, name).read_bytes)
        except FileNotFoundError:
            self._forget((job_id, name))
            return None

    async def add(self, job_id: str, name: str, size_bytes: int) -> None:
        """A file was written; others are removed if there are too many now."""
        self._remember((job_id, name), size_bytes)
        await self._shrink()

    async def keep_index(self, job_id: str, index: Path) -> None:
        """Keep a source's index when its job's directory goes; costs no room until then."""
        size = await self._in_thread(_link, index, self.path(job_id, INDEX))
        if size:
            await self.add(job_id, INDEX, size)

    async def drop(self, job_id: str) -> None:
        """Remove everything of a job."""
        for key in [key for key in self._known if key[0] == job_id]:
            self._forget(key)
        await self._in_thread(files.remove_tree, self._directory / job_id)

    def _remember(self, key: tuple[str, str], size_bytes: int) -> None:
        self._forget(key)
        self._known[key] = size_bytes
        self.used_bytes += size_bytes

    def _forget(self, key: tuple[str, str]) -> None:
        self.used_bytes -= self._known.pop(key, 0)

    async def _shrink(self) -> None:
        oldest: list[Path] = []
        while self.used_bytes > self._limit_bytes:
            key = next(iter(self._known))
            self._forget(key)
            oldest.append(self.path(*key))
        if oldest:
            await self._in_thread(_remove, oldest)

    def _in_thread(self, work: Callable[..., T], *arguments: object) -> Deferred[T]:
        done: Deferred[T] = self._lock.run(lambda: deferToThread(work, *arguments))
        return done


def _survey(directory: Path, jobs: Collection[str]) -> list[tuple[tuple[str, str], int]]:
    """What lies there, the oldest first; drafts and what is of no job are removed."""
    files.make_private(directory)
    found = []
    for folder in directory.iterdir():
        if folder.name not in jobs or not folder.is_dir():
            files.remove_tree(folder) if folder.is_dir() else folder.unlink(missing_ok=True)
            continue
        for file in folder.iterdir():
            if file.name.startswith("."):
                file.unlink(missing_ok=True)
                continue
            status = file.stat()
            found.append((status.st_mtime, ((folder.name, file.name), status.st_size)))
    return [entry for _, entry in sorted(found)]


def _remove(paths: list[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()


def _link(index: Path, target: Path) -> int:
    """Give the index a second name; its size, or 0 where that cannot be done."""
    files.make_private(target.parent)
    try:
        target.unlink(missing_ok=True)
        os.link(index, target)
        return index.stat().st_size
    except OSError:
        return 0
