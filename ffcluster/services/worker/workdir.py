"""A worker's own directory: who may use it, who the worker is, and the files of its attempts.

Everything here blocks and belongs in a thread.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import threading
from pathlib import Path

from ffcluster.errors import Conflict
from ffcluster.store import files
from ffcluster.store.dirlock import DirectoryLock

_ID = re.compile(r"[0-9a-f]{16}")


class WorkDir:
    """The directory of one worker, of one process at a time.

    Args:
        path: The directory.
        spares: How many others may be used instead while a worker runs in this one: `path-2` ...

    Attributes:
        number: 1 for `path` itself, 2 for `path-2` and so on; known once it is open.
    """

    def __init__(self, path: Path, spares: int = 0) -> None:
        self.number = 1
        self._wanted = path
        self._spares = spares
        self._lock = DirectoryLock(path / "worker.lock")
        # A worker may be stopped while a thread still opens it.
        self._one_at_a_time = threading.Lock()
        self._closed = False

    def open(self) -> str:
        """Take the directory, remove what an earlier process left, and say the lasting id.

        Raises:
            Conflict: Another worker uses it, or it was closed meanwhile.
            DiskFull, OutputUnwritable: The file system does not take it.
        """
        with self._one_at_a_time:
            if self._closed:
                raise Conflict(message="The worker was stopped before it began.")
            try:
                self._take()
                files.remove_tree(self.attempts)
                files.make_private(self.attempts)
                return self._identity()
            except OSError as error:
                raise files.storage_error(error, self.path) from error

    def close(self) -> None:
        """Remove what lies in it for attempts, and let others use it."""
        with self._one_at_a_time:
            self._closed = True
            if self._lock.held:
                files.remove_tree(self.attempts)
                self._lock.free()

    @property
    def path(self) -> Path:
        """The directory."""
        return self._numbered(self.number)

    @property
    def attempts(self) -> Path:
        """Where pieces and results lie while they are needed."""
        return self.path / "attempts"

    def _numbered(self, number: int) -> Path:
        wanted = self._wanted
        return wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")

    def _take(self) -> None:
        for number in range(1, self._spares + 2):
            path = files.make_private(self._numbered(number))
            lock = DirectoryLock(path / "worker.lock")
            if lock.take():
                self.number, self._lock = number, lock
                return
        raise Conflict(
            message=f"Another worker uses {self.path}.",
            advice="Stop it, or give this one its own --work-dir or --name.",
        )

    def _identity(self) -> str:
        """The id by which the coordinator knows this worker over restarts."""
        path = self.path / "worker-id"
        try:
            known = path.read_text(encoding="ascii", errors="replace").strip()
        except FileNotFoundError:
            known = ""
        # Half an id, of a write that was cut off, might be half of somebody else's too.
        if _ID.fullmatch(known):
            return known
        fresh = secrets.token_hex(8)
        _write(path, fresh)
        return fresh


def _write(path: Path, text: str) -> None:
    """Write a small file whole or not at all."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with draft.open("x", encoding="ascii") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
    files.sync_directory(path.parent)
