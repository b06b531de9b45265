"""Files of a coordinator or worker: incoming blobs, scratch directories, the place of an output.

Everything here blocks and belongs in a thread. Names are made by the caller, never by a peer.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import hashlib
import os
import shutil
import stat
import threading
from pathlib import Path
from typing import BinaryIO

from ffcluster.errors import (
    DiskFull,
    FfclusterError,
    OutputUnwritable,
    Refused,
    TransferFailed,
)
from ffcluster.steps import Step, reached

_READ_BYTES = 1024 * 1024
_MOST_NAMES = 10_000


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class IncomingFile:
    """A blob that arrives in blocks, in order, and may be interrupted and go on.

    The partial file lies at `path`; it is whole only after `finish`. Its size is what the first
    block announces, if that is allowed. A peer whose connection broke may send a block again while
    the earlier one is still being written, so several threads may call at the same time.

    What an earlier process left at `path` is gone on with if it `resumes`, and overwritten if not.
    """

    def __init__(
        self,
        path: Path,
        limit_bytes: int,
        size_bytes: int | None = None,
        *,
        resumes: bool = False,
    ) -> None:
        self.path = path
        self.limit_bytes = limit_bytes
        self.size_bytes = size_bytes
        self.offset = 0
        self.sha256: str | None = None
        self._hash = hashlib.sha256()
        self._lock = threading.Lock()
        self._closed = False
        self._unread = resumes

    @property
    def whole(self) -> bool:
        """Whether it arrived and its SHA-256 was right."""
        return self.sha256 is not None

    def reopen(self) -> None:
        """Make durable and hash what an earlier process left, so that `offset` is right.

        Otherwise that is done by the first `take`. That the bytes are the right ones is only known
        when all are there: then `finish` compares.

        Raises:
            OutputUnwritable: It cannot be read.
        """
        with self._lock:
            self._read_partial()

    def _read_partial(self) -> None:
        if not self._unread:
            return
        limit = self.limit_bytes if self.size_bytes is None else self.size_bytes
        try:
            with self.path.open("rb+") as file:
                os.fsync(file.fileno())
                if os.fstat(file.fileno()).st_size <= limit:
                    self._take_over(file)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise storage_error(error, self.path) from error
        self._unread = False

    def _take_over(self, file: BinaryIO) -> None:
        digest, offset = hashlib.sha256(), 0
        while block := file.read(_READ_BYTES):
            digest.update(block)
            offset += len(block)
        self._hash, self.offset = digest, offset

    def expect(self, total: int) -> None:
        """Take in the announced size; what is there already and does not fit is dropped.

        Raises:
            Refused: It is more than is allowed here, or another than was announced before.
        """
        if total > self.limit_bytes:
            raise Refused(message=f"{total} bytes; {self.limit_bytes} are allowed.")
        if self.size_bytes is None:
            if self.offset > total:
                self._start_anew()
            self.size_bytes = total
        elif total != self.size_bytes:
            raise Refused(message=f"{total} bytes; {self.size_bytes} were announced before.")

    def take(self, start: int, data: bytes, sha256: str | None) -> None:
        """Append a block; if it was the last one and `sha256` is known, finish too.

        Raises:
            TransferFailed: See `write` and `finish`.
            DiskFull, OutputUnwritable: The file system does not take it.
        """
        with self._lock:
            if self._closed:
                raise TransferFailed(message="Nothing is expected here any more.")
            self._read_partial()
            if self.whole:
                return
            self.write(start, data)
            if sha256 is not None and self.offset == self.size_bytes:
                self.finish(sha256)

    def write(self, start: int, data: bytes) -> int:
        """Append a block and return the new offset; a block that was written before is skipped.

        Raises:
            TransferFailed: The block leaves a gap or goes past the end.
            DiskFull, OutputUnwritable: The file system does not take it.
        """
        if self.size_bytes is None or start + len(data) > self.size_bytes or start > self.offset:
            raise TransferFailed(
                message=f"Block at {start} of {len(data)} bytes does not follow byte {self.offset} "
                f"of {self.size_bytes}.",
            )
        fresh = data[self.offset - start :] if start < self.offset else data
        if not fresh:
            return self.offset
        try:
            with self.path.open("r+b" if self.offset else "wb") as file:
                file.seek(self.offset)
                file.write(fresh)
        except OSError as error:
            raise storage_error(error, self.path) from error
        self._hash.update(fresh)
        self.offset += len(fresh)
        return self.offset

    def settle(self) -> None:
        """Finish if every byte is there although no SHA-256 was announced (blocks).

        Raises:
            DiskFull, OutputUnwritable: The file system does not take it.
        """
        with self._lock:
            self._read_partial()
            if not self.whole and self.offset == self.size_bytes:
                self.finish(self._hash.hexdigest())

    def finish(self, sha256: str) -> None:
        """Make the file durable and compare its SHA-256; a wrong one starts it from scratch.

        Raises:
            TransferFailed: Bytes are missing or the SHA-256 differs.
        """
        if self.offset != self.size_bytes:
            raise TransferFailed(
                message=f"{self.offset} of {self.size_bytes} bytes arrived.",
            )
        found = self._hash.hexdigest()
        if found != sha256:
            self._start_anew()
            raise TransferFailed(
                message=f"SHA-256 is {found}, {sha256} was announced.",
                advice="The bytes were changed on the way; they are sent again.",
            )
        try:
            with self.path.open("ab") as file:
                os.fsync(file.fileno())
        except OSError as error:
            raise storage_error(error, self.path) from error
        self.sha256 = found

    def _start_anew(self) -> None:
        self._hash = hashlib.sha256()
        self.offset = 0

    def close(self) -> None:
        """Take no further block; one that is being written now may still end. Does not block."""
        self._closed = True

    def discard(self) -> None:
        """Take no further block, and remove what arrived."""
        self.close()
        with self._lock:
            self.path.unlink(missing_ok=True)


def storage_error(error: OSError, path: Path) -> FfclusterError:
    """Turn an error of the file system into one that says what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(
            message=f"No space left to write {path.name} in {path.parent}.",
            advice="Free some space there, or choose another directory.",
        )
    return OutputUnwritable(
        message=f"Cannot write {path}: {error.strerror or error}.",
        advice="Check that the directory exists and that you may write to it.",
    )


def make_private(directory: Path) -> Path:
    """Make a directory that only this user can enter, with its parents.

    Raises:
        OutputUnwritable, DiskFull: It cannot be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise storage_error(error, directory) from error
    return directory


def remove_tree(directory: Path) -> None:
    """Remove a directory with all that is in it, if it is there."""
    shutil.rmtree(directory, ignore_errors=True)


def sync(path: Path) -> None:
    """Make a file's bytes durable."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    # Windows cannot open a directory; there the rename is durable by the file system's journal.
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# --- the place of a finished file ----------------------------------------------------------------


class Placed(enum.StrEnum):
    """What came of giving a finished file its place.

    DONE: it is there, by this try or an earlier one.
    TAKEN: another file is there.
    GONE: it is neither there nor under its temporary name.
    DIFFERS: what lies under its temporary name is not that file.
    """

    DONE = "done"
    TAKEN = "taken"
    GONE = "gone"
    DIFFERS = "differs"


def choose_place(directory: Path, name: str) -> Path:
    """The first of `film.mp4`, `film-2.mp4` ... that is free now.

    Raises:
        OutputUnwritable: None is.
    """
    base = Path(name)
    numbered = (f"{base.stem}-{number}{base.suffix}" for number in range(2, _MOST_NAMES + 1))
    for candidate in (name, *numbered):
        if not os.path.lexists(directory / candidate):
            return directory / candidate
    raise OutputUnwritable(
        message=f"{_MOST_NAMES:,} files named like {name} are in {directory} already.",
        advice="Choose another name with --file-name-output.",
    )


def place(
    finished: Path, target: Path, sha256: str, size_bytes: int, *, proven: bool = False
) -> Placed:
    """Give a finished, durable file its final name without ever overwriting another.

    May be called again after it was interrupted anywhere: it then goes on, or recognises that
    nothing is left to do. The file is linked to its name; where the file system has no links, a
    file that says whose it is reserves the name first.

    Args:
        finished: The file under its temporary name, in the directory of `target`.
        target: Its final name.
        sha256: SHA-256 of the file, hex.
        size_bytes: Its size.
        proven: Whether it is known that `finished` is that file still; it is read otherwise.

    Raises:
        OutputUnwritable, DiskFull: It cannot be done; nothing is left at `target`.
    """
    try:
        if not finished.exists():
            return Placed.DONE if _holds(target, sha256, size_bytes) else Placed.GONE
        if not proven and not _holds(finished, sha256, size_bytes):
            return Placed.DIFFERS
        if not _is_linked(finished, target) and not _claim(finished, target):
            return Placed.TAKEN
        sync_directory(target.parent)
    except OSError as error:
        raise storage_error(error, target) from error
    reached(Step.OUTPUT_PLACED)
    # That its first name cannot be removed (Windows, while a scanner reads it) changes nothing.
    with contextlib.suppress(OSError):
        finished.unlink(missing_ok=True)
    return Placed.DONE


def _holds(path: Path, sha256: str, size_bytes: int) -> bool:
    try:
        return path.stat().st_size == size_bytes and sha256_of(path) == sha256
    except (FileNotFoundError, IsADirectoryError):
        return False


def _is_linked(finished: Path, target: Path) -> bool:
    """Whether both are names of one file: an earlier try was interrupted after the link."""
    # An equal file that is not this one was published by somebody else, and is theirs.
    return os.path.lexists(target) and os.path.samestat(finished.lstat(), target.lstat())


def _claim(finished: Path, target: Path) -> bool:
    """Let `finished` be found at `target` unless something is there."""
    try:
        os.link(finished, target)
    except FileExistsError:
        return _is_reserved(finished, target) and _move(finished, target)
    except OSError:
        return _reserve(finished, target) and _move(finished, target)
    return True


def _reservation(finished: Path) -> bytes:
    return f"ffcluster moves {finished.name} here\n".encode()


def _reserve(finished: Path, target: Path) -> bool:
    try:
        file = target.open("xb")
    except FileExistsError:
        return _is_reserved(finished, target)
    try:
        with file:
            file.write(_reservation(finished))
    except OSError:
        target.unlink(missing_ok=True)
        raise
    return True


def _is_reserved(finished: Path, target: Path) -> bool:
    """Whether `target` is what an earlier try left that was interrupted before the rename."""
    mark = _reservation(finished)
    try:
        found = target.lstat()
        return (
            stat.S_ISREG(found.st_mode)
            and found.st_size == len(mark)
            and target.read_bytes() == mark
        )
    except FileNotFoundError:
        return False


def _move(finished: Path, target: Path) -> bool:
    try:
        finished.replace(target)
    except OSError:
        target.unlink(missing_ok=True)
        raise
    return True
