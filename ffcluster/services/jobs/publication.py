"""The way of one output from its temporary name to its own: made durable, then placed, once.

Owns the temporary file. Whether the file is right is decided before; what is told of it, after.
"""

from __future__ import annotations

import contextlib
import glob
from pathlib import Path

import attrs
from twisted.internet.threads import deferToThread

from ffcluster.core.model import JobId, JobOutcome
from ffcluster.errors import Code, FfclusterError, JoinFailed
from ffcluster.store import files
from ffcluster.store.files import Placed


@attrs.frozen(kw_only=True)
class PlaceTaken(FfclusterError):
    """Somebody else put a file where the output was to appear.

    Attributes:
        outcome: The same output with another place, which was free a moment ago.
    """

    code = Code.CONFLICT
    retryable = True

    outcome: JobOutcome


@attrs.frozen
class FinishedFile:
    """A file that is durable under its temporary name, and the place that it shall have."""

    target: Path
    size_bytes: int
    sha256: str


@attrs.frozen
class _Stamp:
    """What changes when anybody writes to a file."""

    inode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, path: Path) -> _Stamp:
        found = path.stat()
        return cls(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class Publication:
    """Publishes one job's output, however often it is interrupted.

    Args:
        job_id: The job.
        output_dir: Where the output appears.
        name: Its name there, if that is free.

    Attributes:
        partial: Its temporary name, which is the same after every restart.
    """

    def __init__(self, job_id: JobId, output_dir: Path, name: str) -> None:
        self._output_dir = output_dir
        self._name = name
        self._proven: _Stamp | None = None
        self.partial = output_dir / f".{Path(name).stem}.{job_id}.partial"

    async def prepare(self) -> FinishedFile:
        """Make the verified file durable and choose its place.

        Raises:
            DiskFull, OutputUnwritable: It cannot be made durable.
        """
        finished: FinishedFile = await deferToThread(self._prepare)
        return finished

    def _prepare(self) -> FinishedFile:
        try:
            files.sync(self.partial)
            files.sync_directory(self._output_dir)
            stamp = _Stamp.of(self.partial)
            sha256 = files.sha256_of(self.partial)
            target = files.choose_place(self._output_dir, self._name)
        except OSError as error:
            raise files.storage_error(error, self.partial) from error
        self._proven = stamp
        return FinishedFile(target, stamp.size_bytes, sha256)

    async def place(self, outcome: JobOutcome) -> None:
        """Let the output appear at `outcome.path`, or find that it is there already.

        Raises:
            PlaceTaken: Another file is there.
            JoinFailed: The verified file is gone or altered: it must be joined again.
            DiskFull, OutputUnwritable: It cannot be placed; nothing appeared.
        """
        await deferToThread(self._place, outcome)

    def _place(self, outcome: JobOutcome) -> None:
        target = Path(outcome.path)
        placed = files.place(
            self.partial, target, outcome.sha256, outcome.size_bytes, proven=self._is_untouched()
        )
        if placed is Placed.TAKEN:
            free = files.choose_place(self._output_dir, self._name)
            raise PlaceTaken(
                message=f"Another file took the name {target.name} meanwhile.",
                outcome=attrs.evolve(outcome, path=str(free)),
            )
        if placed is not Placed.DONE:
            wrong = "is gone" if placed is Placed.GONE else "was altered"
            raise JoinFailed(
                message=f"The verified file {self.partial} {wrong} before it was published.",
                advice="Let nothing else write to the coordinator's output directory.",
            )

    def _is_untouched(self) -> bool:
        """Whether the file is the one that was hashed, so that it need not be read again."""
        try:
            return self._proven is not None and _Stamp.of(self.partial) == self._proven
        except OSError:
            return False

    async def discard(self) -> None:
        """Remove the temporary file and what belongs to it; what was published stays."""
        await deferToThread(self._discard)

    def _discard(self) -> None:
        for leftover in self._output_dir.glob(glob.escape(self.partial.name) + "*"):
            with contextlib.suppress(OSError):
                leftover.unlink()
