"""One file of a watch folder: names, stamps, notes, moves. Everything here blocks.

Follows no symbolic link and overwrites no file but its own notes. Knows no folder and no claim.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from ffcluster.core.watching import Stamp
from ffcluster.store import files

_LONGEST_NAME_BYTES = 255
_LONGEST_PLAIN_BYTES = 120
# What is put behind a name: ".reason.txt", and a number where it is taken.
_ROOM_BYTES = 18


def plain_name(name: str) -> str:
    """`name` with what a terminal, a database or another system could not bear replaced."""
    kept = "".join(c if c.isprintable() and c not in '/\\:*?"<>|' else "_" for c in name)
    kept = kept.encode("utf-8", "replace").decode().lstrip(".") or "film"
    stem, dot, suffix = kept.rpartition(".")
    stem = (stem if dot else suffix).encode()[:_LONGEST_PLAIN_BYTES].decode("utf-8", "ignore")
    return f"{stem}.{suffix[:16]}" if dot else stem


def stamp_of(path: Path) -> Stamp | None:
    """How a regular file is; None for anything else."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return _stamp(found) if stat.S_ISREG(found.st_mode) else None


def _stamp(found: os.stat_result) -> Stamp:
    return Stamp(found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev)


def stamp_from(data: dict[str, Any]) -> Stamp:
    """The stamp that was noted; zeros for what is missing."""
    names = [field.name for field in attrs.fields(Stamp)]
    return Stamp(**{name: int(data.get(name, 0)) for name in names})


def regular(name: str, entry: os.DirEntry[str]) -> Iterator[tuple[str, Stamp]]:
    """The file, unless it is something else or vanished meanwhile."""
    with contextlib.suppress(OSError):
        # What Windows keeps in its listings has no inode.
        found = entry.stat(follow_symlinks=False) if os.name == "posix" else os.lstat(entry.path)
        if stat.S_ISREG(found.st_mode):
            yield name, _stamp(found)


def is_directory(entry: os.DirEntry[str]) -> bool:
    """Whether it is a directory itself, and no link to one."""
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def is_same(one: Path, other: Path) -> bool:
    """Whether both are names of one file."""
    try:
        return os.path.samestat(one.lstat(), other.lstat())
    except OSError:
        return False


def has_writer(path: Path) -> bool:
    """Whether the system says that somebody has the file open for writing; False: not known."""
    if sys.platform != "linux":
        return False
    import fcntl
    import signal

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Whoever opens it while the lease is held makes a signal, which must be a harmless one.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        # A read lease is refused as long as there is a writer; only the owner may ask.
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    finally:
        os.close(descriptor)
    return False


def move(source: Path, directory: Path, name: str) -> Path:
    """Give a file a name in a directory of the same file system that nothing has yet."""
    while True:
        target = directory / name
        if is_same(source, target):
            source.unlink()
            return target
        target = files.choose_place(directory, name)
        try:
            target.hardlink_to(source)
        except FileExistsError:
            continue
        except OSError:
            # File systems without hard links: a short gap between look and rename remains.
            if os.path.lexists(target):
                continue
            source.rename(target)
            return target
        files.sync_directory(directory)
        source.unlink()
        return target


def shortened(name: str) -> str:
    """`name` with room for what is written behind it."""
    data = os.fsencode(name)
    room = _LONGEST_NAME_BYTES - _ROOM_BYTES
    if len(data) <= room:
        return name
    suffix = os.fsencode(Path(name).suffix)
    return os.fsdecode(data[: room - len(suffix)] + suffix)


def beside(place: Path, ending: str) -> Path:
    """`place` with `ending` behind its whole name."""
    return place.with_name(place.name + ending)


def read_note(path: Path) -> dict[str, Any]:
    """A JSON object, or {} when there is none that can be read."""
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def write_note(path: Path, data: dict[str, Any]) -> None:
    """Write a JSON object whole or not at all, durably."""
    # Names that are no UTF-8 come through as escapes.
    write_text(path, json.dumps(data))


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all, durably."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with partial.open("w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text if text.endswith("\n") else text + "\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    files.sync_directory(path.parent)
