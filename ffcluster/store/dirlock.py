"""One process at a time in a directory. The lock ends with the process, however that ends."""

from __future__ import annotations

import sys
from io import FileIO
from pathlib import Path


class DirectoryLock:
    """The exclusive use of a directory, held by an open file in it.

    The operating system frees it when the process dies. A number of the process in a file would
    not do: in a container a killed process and its successor bear the same one.

    Args:
        path: The file; made when it is missing, and never removed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: FileIO | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds it."""
        return self._file is not None

    def take(self) -> bool:
        """Whether it could be taken, or is held already.

        Raises:
            OSError: The file cannot be made or locked at all.
        """
        if self._file is not None:
            return True
        file = self._path.open("ab", buffering=0)
        try:
            _lock(file)
        except (BlockingIOError, PermissionError):
            file.close()
            return False
        except BaseException:
            file.close()
            raise
        self._file = file
        return True

    def free(self) -> None:
        """Give it up; nothing happens when it is not held."""
        file, self._file = self._file, None
        if file is not None:
            file.close()


if sys.platform == "win32":
    import msvcrt

    def _lock(file: FileIO) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: FileIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
