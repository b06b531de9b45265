"""A small file of state: one JSON object, written whole or not at all, believed only when valid."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import Any, Generic, TypeVar

import attrs
import orjson
from cattrs import BaseValidationError
from twisted.internet.threads import deferToThread

from ffcluster.converting import make_converter, to_jsonable
from ffcluster.store.files import make_private, storage_error

T = TypeVar("T")
# Raised when a file of an older version would be misunderstood.
_FORMAT = 1
_LARGEST_BYTES = 8 * 1024 * 1024
_converter = make_converter()


@attrs.frozen
class StateFile(Generic[T]):
    """A file that holds one object.

    Attributes:
        path: Where it lies; its directory is made at need, and only this user may enter it.
        kind: The attrs class that it holds.
    """

    path: Path
    kind: type[T]

    async def read(self) -> T | None:
        """What it holds, or None when it is missing, damaged, too large or of another format."""
        found: T | None = await deferToThread(self.load)
        return found

    async def write(self, value: T) -> None:
        """Replace what it holds.

        Raises:
            DiskFull, OutputUnwritable: The file system does not take it.
        """
        await deferToThread(self.save, value)

    def load(self) -> T | None:
        """See `read`; blocks."""
        try:
            with self.path.open("rb") as file:
                data = file.read(_LARGEST_BYTES + 1)
            document: Any = orjson.loads(data) if len(data) <= _LARGEST_BYTES else None
            if not isinstance(document, dict) or document.get("format") != _FORMAT:
                return None
            return _converter.structure(document.get("content"), self.kind)
        except (OSError, ValueError, TypeError, KeyError, RecursionError, BaseValidationError):
            return None

    def save(self, value: T) -> None:
        """See `write`; blocks."""
        data = orjson.dumps({"format": _FORMAT, "content": to_jsonable(value)})
        folder = make_private(self.path.parent)
        fresh = folder / f".{self.path.name}.{secrets.token_hex(4)}"
        try:
            with fresh.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                fresh.unlink()
            raise storage_error(error, self.path) from error
