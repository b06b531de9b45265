"""Blobs: files that are named by the SHA-256 of what they hold, and kept while somebody needs them.

Owns the directories `blobs/` and `incoming/`. Everything that says so blocks and belongs in a
thread; the rest only touches memory. Knows nothing of what a blob is for.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Protocol

import attrs

from ffcluster.core.model import BlobRef
from ffcluster.errors import BlobDamaged, BlobLost, TransferFailed
from ffcluster.steps import Step, reached
from ffcluster.store.files import make_private, sha256_of, storage_error, sync, sync_directory

_SHA256 = re.compile(r"[0-9a-f]{64}")


class BlobStore(Protocol):
    """Where blobs are kept.

    Nobody outside works out where a blob lies: a store that keeps its blobs elsewhere (in an
    object store) uploads them in `adopt`, asks for their checksum in `verify`, and lets `path`
    fetch a local copy, which it drops together with the last holder. Incoming files are local in
    any case: they arrive in blocks and are proven here before they become blobs.
    """

    def prepare(self) -> None:
        """Make what is needed and count what is there (blocks); called once, before all else.

        Raises:
            OutputUnwritable, DiskFull: It cannot be made.
        """

    def incoming(self, name: str) -> Path:
        """Where the file `name`, a name made by the caller, arrives before it is adopted."""

    def arrivals(self) -> tuple[str, ...]:
        """Names of all incoming files (blocks)."""

    def adopt(self, arrived: Path, sha256: str, size_bytes: int, *, owner: str) -> BlobRef:
        """Make an incoming file that was proven a blob, held by `owner` from the start (blocks).

        The file must be whole by its SHA-256. An equal blob that is there already is verified and
        kept; one that is there and damaged is replaced.

        Raises:
            TransferFailed: `arrived` is gone, or has another size.
            OutputUnwritable, DiskFull: It cannot be stored; the incoming file stays.
        """

    def path(self, ref: BlobRef) -> Path:
        """A local file with the blob's bytes, to be read and never written.

        Raises:
            BlobLost: There is no such blob. A store of local files does not look.
        """

    def verify(self, ref: BlobRef) -> None:
        """Read the blob back and compare its size and SHA-256 (blocks).

        Raises:
            BlobLost: It is gone, or cannot be read.
            BlobDamaged: It is another.
        """

    def hold(self, ref: BlobRef, owner: str) -> None:
        """Keep the blob for `owner` too.

        Equal results of two attempts are one blob, so each attempt is an owner of its own.
        Somebody must hold the blob already, unless nothing was swept yet.
        """

    def release(self, ref: BlobRef, owner: str) -> None:
        """`owner` does not need the blob any more; nobody left, it is removed (blocks)."""

    def sweep(self, keep: Collection[str], *, at_once: bool = False) -> int:
        """Remove blobs that nobody holds, and incoming files that nobody goes on with (blocks).

        Args:
            keep: Names of the incoming files that are still expected.
            at_once: Whether nothing can be arriving now. Otherwise an incoming file is only
                removed if the sweep before found it just as it is, and unexpected, too.

        Returns:
            How many files were removed.
        """

    def usage_bytes(self) -> int:
        """Bytes in blobs and incoming files (blocks)."""


@attrs.frozen
class _Sight:
    """How an incoming file looked."""

    size_bytes: int
    mtime_ns: int


class FileBlobs:
    """Blobs as files in a directory: `blobs/ab/abcdef...`, on one file system with `incoming/`.

    Who holds what is only remembered here: after a restart all holders are told anew, then
    `sweep` removes what nobody named.
    """

    def __init__(self, directory: Path) -> None:
        self._blobs = directory / "blobs"
        self._incoming = directory / "incoming"
        self._holders: dict[str, set[str]] = {}
        self._sizes: dict[str, int] = {}
        self._leftovers: dict[str, _Sight] = {}
        # Guards the tables above; never held while a file is touched.
        self._tables = threading.Lock()
        # Held while a blob is removed, so that none vanishes that is being adopted again.
        self._removing = threading.Lock()

    def prepare(self) -> None:
        """See `BlobStore.prepare`."""
        make_private(self._blobs)
        make_private(self._incoming)
        found = {path.name: path.stat().st_size for path in self._stored()}
        with self._tables:
            self._sizes = found

    def incoming(self, name: str) -> Path:
        """See `BlobStore.incoming`."""
        return self._incoming / name

    def arrivals(self) -> tuple[str, ...]:
        """See `BlobStore.arrivals`."""
        return tuple(sorted(entry.name for entry in _entries(self._incoming)))

    def path(self, ref: BlobRef) -> Path:
        """See `BlobStore.path`; says where it should be, whether it is there or not."""
        return self._path(ref.sha256)

    def _path(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise ValueError(f"{sha256[:80]!r} is not a SHA-256")
        return self._blobs / sha256[:2] / sha256

    def adopt(self, arrived: Path, sha256: str, size_bytes: int, *, owner: str) -> BlobRef:
        """See `BlobStore.adopt`."""
        ref = BlobRef(sha256, size_bytes)
        target = self.path(ref)
        self.hold(ref, owner)
        with self._removing:
            # From here on the blob, if it is there, stays: it is held.
            pass
        try:
            if not self._has(ref):
                self._store(arrived, target, size_bytes)
            elif arrived != target:
                arrived.unlink(missing_ok=True)
        except BaseException:
            self._drop_holder(ref, owner)
            raise
        with self._tables:
            self._sizes[sha256] = size_bytes
        reached(Step.RESULT_KEPT)
        return ref

    def _has(self, ref: BlobRef) -> bool:
        try:
            self.verify(ref)
        except (BlobLost, BlobDamaged):
            return False
        return True

    def _store(self, arrived: Path, target: Path, size_bytes: int) -> None:
        try:
            if arrived.stat().st_size != size_bytes:
                raise TransferFailed(
                    message=f"{arrived.name} does not have {size_bytes} bytes any more."
                )
            sync(arrived)
            reached(Step.RESULT_ARRIVED)
            fresh = not target.parent.is_dir()
            make_private(target.parent)
            arrived.replace(target)
            sync_directory(target.parent)
            if fresh:
                sync_directory(self._blobs)
        except FileNotFoundError as error:
            raise TransferFailed(message=f"{arrived.name} is gone.") from error
        except OSError as error:
            raise storage_error(error, target) from error

    def verify(self, ref: BlobRef) -> None:
        """See `BlobStore.verify`."""
        path = self.path(ref)
        evidence = {"sha256": ref.sha256, "size_bytes": ref.size_bytes}
        try:
            size = path.stat().st_size
            found = sha256_of(path) if size == ref.size_bytes else ""
        except FileNotFoundError as error:
            raise BlobLost(message=f"The blob {ref.sha256} is gone.", detail=evidence) from error
        except OSError as error:
            raise BlobLost(
                message=f"The blob {ref.sha256} cannot be read: {error.strerror or error}.",
                advice="Look after the disk that holds the coordinator's state directory.",
                detail=evidence,
            ) from error
        if found != ref.sha256:
            wrong = f"has {size} bytes instead of {ref.size_bytes}" if not found else "was altered"
            raise BlobDamaged(
                message=f"The blob {ref.sha256} {wrong}.",
                advice="Look after the disk that holds the coordinator's state directory.",
                detail=evidence | {"found_sha256": found, "found_bytes": size},
            )

    # --- who needs what ------------------------------------------------------------------------

    def hold(self, ref: BlobRef, owner: str) -> None:
        """See `BlobStore.hold`."""
        with self._tables:
            self._holders.setdefault(ref.sha256, set()).add(owner)

    def release(self, ref: BlobRef, owner: str) -> None:
        """See `BlobStore.release`."""
        self._drop_holder(ref, owner)
        self._remove_unheld(ref.sha256)

    def _drop_holder(self, ref: BlobRef, owner: str) -> None:
        with self._tables:
            owners = self._holders.get(ref.sha256, set())
            owners.discard(owner)
            if not owners:
                self._holders.pop(ref.sha256, None)

    def _remove_unheld(self, sha256: str) -> bool:
        with self._removing:
            with self._tables:
                if self._holders.get(sha256):
                    return False
                self._sizes.pop(sha256, None)
            path = self._path(sha256)
            # What cannot be removed now is removed by a later sweep.
            with contextlib.suppress(OSError):
                path.unlink()
                return True
            return False

    # --- the janitor ---------------------------------------------------------------------------

    def sweep(self, keep: Collection[str], *, at_once: bool = False) -> int:
        """See `BlobStore.sweep`."""
        removed = sum(self._remove_unheld(path.name) for path in list(self._stored()))
        return removed + self._sweep_incoming(set(keep), at_once)

    def _sweep_incoming(self, keep: Collection[str], at_once: bool) -> int:
        seen: dict[str, _Sight] = {}
        removed = 0
        for entry in _entries(self._incoming):
            if entry.name in keep:
                continue
            with contextlib.suppress(OSError):
                now = _Sight(entry.stat().st_size, entry.stat().st_mtime_ns)
                if at_once or self._leftovers.get(entry.name) == now:
                    Path(entry.path).unlink()
                    removed += 1
                else:
                    seen[entry.name] = now
        self._leftovers = seen
        return removed

    def usage_bytes(self) -> int:
        """See `BlobStore.usage_bytes`; what is altered behind its back is not counted."""
        arriving = 0
        for entry in _entries(self._incoming):
            with contextlib.suppress(OSError):
                arriving += entry.stat().st_size
        with self._tables:
            return arriving + sum(self._sizes.values())

    def _stored(self) -> Iterator[Path]:
        for folder in _entries(self._blobs):
            if folder.is_dir(follow_symlinks=False):
                for entry in _entries(Path(folder.path)):
                    if _SHA256.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                        yield Path(entry.path)


def _entries(directory: Path) -> Iterator[os.DirEntry[str]]:
    with contextlib.suppress(FileNotFoundError), os.scandir(directory) as entries:
        yield from entries
