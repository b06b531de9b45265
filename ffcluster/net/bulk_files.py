"""The local files of bulk transfers: what is fetched into one, and what is put from one.

Everything here blocks and belongs in a thread. Knows nothing of HTTP.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import threading
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from ffcluster.errors import DiskFull, FfclusterError, TransferFailed

_READ_BYTES = 2**20


class FetchedFile:
    """The file that a fetch writes, with the running hash of what is in it. All of it blocks.

    It is written by one thread at a time; a fetch that is cancelled may close it while a last
    write is still on its way.
    """

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._path = path
        self._size_bytes = size_bytes
        self._lock = threading.Lock()
        self._digest = hashlib.sha256()
        self._file: FileIO | None = None
        self._closed = False
        self.offset = 0

    def open(self) -> None:
        """Open it, and keep what an earlier fetch left there.

        Raises:
            TransferFailed: It cannot be opened, or was closed before.
            DiskFull: There is no room.
        """
        with self._lock:
            if self._closed:
                raise _closed(self._path)
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                # Unbuffered: what a full disk did not take must not come again at the end.
                self._file = self._path.open("a+b", buffering=0)
                self.offset = self._take_over(self._file)
            except OSError as error:
                raise _cannot_write(self._path, error) from error

    def _take_over(self, file: FileIO) -> int:
        found = file.seek(0, os.SEEK_END)
        if found > self._size_bytes:
            file.truncate(0)
            return 0
        file.seek(0)
        hashed = 0
        while hashed < found:
            block = file.read(min(_READ_BYTES, found - hashed))
            if not block:
                break
            self._digest.update(block)
            hashed += len(block)
        return hashed

    def append(self, data: bytes) -> None:
        """Write all of `data`, or none of it.

        Raises:
            TransferFailed: It is more than was announced, or cannot be written.
            DiskFull: There is no room.
        """
        with self._lock:
            if self._file is None or self._closed:
                raise _closed(self._path)
            if self.offset + len(data) > self._size_bytes:
                raise TransferFailed(
                    message=f"More than the {self._size_bytes} bytes announced arrived."
                )
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[self._file.write(rest) or 0 :]
            except OSError as error:
                with contextlib.suppress(OSError):
                    self._file.truncate(self.offset)
                raise _cannot_write(self._path, error) from error
            self._digest.update(data)
            self.offset += len(data)

    def prove(self, sha256: str) -> None:
        """Compare the hash; a wrong file is emptied, so that nothing is built on it.

        Raises:
            TransferFailed: It differs.
        """
        found = self._digest.hexdigest()
        if found != sha256:
            if self._file is not None:
                self._file.truncate(0)
            raise TransferFailed(
                message=f"A file arrived with the SHA-256 {found}; {sha256} was announced."
            )

    def close(self) -> None:
        """Close it, after the write that may be on its way; nothing is opened or written later."""
        self._closed = True
        with self._lock:
            if self._file is not None:
                self._file.close()


class SentFile:
    """The file that is put, with the running hash of it. All of it blocks.

    Attributes:
        size_bytes: Its size when it was opened.
        sha256: SHA-256 (hex), once the whole file was hashed.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size_bytes = os.fstat(file.fileno()).st_size
        self.sha256: str | None = None
        self.restart()

    def restart(self) -> None:
        """Hash the file anew: what was hashed before may have changed since."""
        self._digest = hashlib.sha256()
        self._hashed = 0
        self.sha256 = None

    def block(self, offset: int, length: int) -> bytes:
        """The block at `offset`, hashed together with all that lies before it.

        Raises:
            TransferFailed: The file became shorter, or cannot be read.
        """
        stop = min(offset + length, self.size_bytes)
        if self._hashed < offset:
            self._hash_up_to(offset)
        data = self._read(offset, stop - offset)
        if self._hashed == offset:
            self._digest.update(data)
            self._hashed = stop
        if self._hashed == self.size_bytes:
            self.sha256 = self._digest.hexdigest()
        return data

    def proof(self) -> tuple[int, str]:
        """Size and SHA-256 of the whole file."""
        self._hash_up_to(self.size_bytes)
        return self.size_bytes, self._digest.hexdigest()

    def _hash_up_to(self, offset: int) -> None:
        while self._hashed < offset:
            data = self._read(self._hashed, min(_READ_BYTES, offset - self._hashed))
            self._digest.update(data)
            self._hashed += len(data)

    def _read(self, offset: int, length: int) -> bytes:
        try:
            self._file.seek(offset)
            data = self._file.read(length)
        except OSError as error:
            raise TransferFailed(message=f"Reading failed: {error.strerror}.") from error
        if len(data) != length:
            raise TransferFailed(message="The file became shorter while it was sent.")
        return data


def _closed(path: Path) -> TransferFailed:
    return TransferFailed(message=f"The transfer to {path.name} was ended.")


def _cannot_write(path: Path, error: OSError) -> FfclusterError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(
            message=f"No space left to write {path.name} in {path.parent}.",
            advice="Free some space there, or choose another directory.",
        )
    return TransferFailed(message=f"Cannot write {path}: {error.strerror or error}.")
