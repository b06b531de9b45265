"""Whether there is room for new work: says so in words, and does not change its mind all the time.

Blocks and belongs in a thread. Refuses nothing itself.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from ffcluster.store.files import storage_error

# Once there was too little room, new work waits until this part more is free, or less used.
_MARGIN = 0.1
_LEAST_MARGIN_BYTES = 16 * 1024 * 1024
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


class Reserve:
    """The room that a coordinator keeps free, and the room that it may use.

    Args:
        state_dir: The state directory.
        max_disk_bytes: How much of the disk all that lies in it may use; None: no limit.
        min_free_bytes: How much of its file system is kept free.
        usage: Bytes in the files of `state_dir`; None: they are counted one by one.
    """

    def __init__(
        self,
        state_dir: Path,
        max_disk_bytes: int | None,
        min_free_bytes: int,
        usage: Callable[[], int] | None = None,
    ) -> None:
        self._state_dir = state_dir
        self._max_disk_bytes = max_disk_bytes
        self._min_free_bytes = min_free_bytes
        self._usage = usage or (lambda: tree_bytes(state_dir))
        self._lock = threading.Lock()
        self._short = False

    def check(self) -> str:
        """Why new work must wait, or "" when there is room.

        Raises:
            OutputUnwritable: The file system does not answer.
        """
        with self._lock:
            reason = self._reason(0) or (self._not_yet() if self._short else "")
            self._short = bool(reason)
            return reason

    def room_for(self, size_bytes: int) -> str:
        """Why a file of this size cannot be taken in, or "" when it can.

        Raises:
            OutputUnwritable: The file system does not answer.
        """
        return self._reason(size_bytes)

    def _reason(self, needed_bytes: int) -> str:
        wanted = f", {size_text(needed_bytes)} are needed" if needed_bytes else ""
        free = self._free()
        if free - needed_bytes < self._min_free_bytes:
            return (
                f"the state directory has {size_text(free)} free{wanted}; "
                f"{size_text(self._min_free_bytes)} are kept free (--min-free)"
            )
        if self._max_disk_bytes is None:
            return ""
        used = self._usage()
        if used + needed_bytes > self._max_disk_bytes:
            return (
                f"the state directory holds {size_text(used)}{wanted}; "
                f"{size_text(self._max_disk_bytes)} are allowed (--max-disk)"
            )
        return ""

    def _not_yet(self) -> str:
        """Why it is not enough yet after it was too little."""
        wanted = self._min_free_bytes + max(
            _LEAST_MARGIN_BYTES, int(self._min_free_bytes * _MARGIN)
        )
        free = self._free()
        if self._min_free_bytes and free < wanted:
            return (
                f"the state directory has {size_text(free)} free; "
                f"{size_text(wanted)} are awaited after there was too little (--min-free)"
            )
        if self._max_disk_bytes is None:
            return ""
        used, bound = self._usage(), int(self._max_disk_bytes * (1 - _MARGIN))
        if used > bound:
            return (
                f"the state directory holds {size_text(used)}; it is awaited that it holds "
                f"no more than {size_text(bound)} (--max-disk)"
            )
        return ""

    def _free(self) -> int:
        try:
            return shutil.disk_usage(self._state_dir).free
        except OSError as error:
            raise storage_error(error, self._state_dir) from error


def tree_bytes(directory: Path) -> int:
    """Bytes in all files below a directory; what vanishes meanwhile does not count."""
    total = 0
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    total += tree_bytes(Path(entry.path))
                else:
                    total += entry.stat(follow_symlinks=False).st_size
    return total


def size_text(size_bytes: int) -> str:
    """A size for a person, in binary units."""
    value, unit = float(size_bytes), _UNITS[0]
    for larger in _UNITS[1:]:
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if value == int(value) or value >= 100 else f"{value:.1f} {unit}"
