"""Files of a coordinator or worker: incoming blobs, scratch directories, publication by rename.

Everything here blocks and belongs in a thread. Names are made by the caller, never by a peer.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from ffcluster.errors import (
    DiskFull,
    FfclusterError,
    OutputUnwritable,
    Refused,
    TransferFailed,
)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class IncomingFile:
    """A blob that arrives in blocks, in order, and may be interrupted and go on.

    The partial file lies at `path`; it is whole only after `finish`. Its size is what the first
    block announces, if that is allowed. A peer whose connection broke may send a block again while
    the earlier one is still being written, so several threads may call at the same time.
    """

    def __init__(self, path: Path, limit_bytes: int, size_bytes: int | None = None) -> None:
        self.path = path
        self.limit_bytes = limit_bytes
        self.size_bytes = size_bytes
        self.offset = 0
        self.sha256: str | None = None
        self._hash = hashlib.sha256()
        self._lock = threading.Lock()
        self._closed = False

    @property
    def whole(self) -> bool:
        """Whether it arrived and its SHA-256 was right."""
        return self.sha256 is not None

    def expect(self, total: int) -> None:
        """Take in the announced size.

        Raises:
            Refused: It is more than is allowed here, or another than was announced before.
        """
        if total > self.limit_bytes:
            raise Refused(message=f"{total} bytes; {self.limit_bytes} are allowed.")
        if self.size_bytes is None:
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
            self._hash = hashlib.sha256()
            self.offset = 0
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


def publish(finished: Path, directory: Path, name: str) -> Path:
    """Give a finished file its final name without ever overwriting another; return that name.

    The file is made durable first, then linked to the first free of `film.mp4`, `film-2.mp4` ...;
    where the file system has no links, an empty file reserves the name.

    Raises:
        OutputUnwritable, DiskFull: It cannot be done.
    """
    try:
        with finished.open("rb+") as file:
            os.fsync(file.fileno())
        for target in _names(directory, name):
            if _claim(finished, target):
                _sync_directory(directory)
                return target
    except OSError as error:
        raise storage_error(error, directory / name) from error
    raise OutputUnwritable(
        message=f"10,000 files named like {name} are in {directory} already.",
        advice="Choose another name with --file-name-output.",
    )


def _names(directory: Path, name: str) -> Iterator[Path]:
    base = Path(name)
    yield directory / name
    for number in range(2, 10_001):
        yield directory / f"{base.stem}-{number}{base.suffix}"


def _claim(finished: Path, target: Path) -> bool:
    """Move `finished` to `target` unless something is there."""
    try:
        os.link(finished, target)
    except FileExistsError:
        return False
    except OSError:
        try:
            target.open("xb").close()
        except FileExistsError:
            return False
        try:
            finished.replace(target)
        except OSError:
            target.unlink(missing_ok=True)
            raise
        return True
    # It is published; that its first name cannot be removed (Windows, while a scanner reads it)
    # does not change that.
    with contextlib.suppress(OSError):
        finished.unlink()
    return True


def _sync_directory(directory: Path) -> None:
    # Windows cannot open a directory; there the rename is durable by the file system's journal.
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
