"""A job's source: indexed once, and taken up again after a restart only if it is still the same.

Owns the index and a note of what the file looked like. The file itself is only ever read.
"""

from __future__ import annotations

from pathlib import Path

import attrs
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from ffcluster.core.media import MediaSummary
from ffcluster.core.model import JobSpec
from ffcluster.errors import FfclusterError, SourceChanged, SourceError
from ffcluster.media.source import SourceHelper
from ffcluster.services.statefile import StateFile

log = Logger()

# What the index is called in the job's directory.
INDEX_NAME = "index"

_SAME = (
    ("size_bytes", "its size in bytes"),
    ("frame_count", "its number of frames"),
    ("first_pts_ticks", "its first frame's time"),
    ("end_pts_ticks", "its end"),
)


@attrs.frozen
class SourceStamp:
    """What a source file looked like when it was indexed."""

    size_bytes: int
    mtime_ns: int


def called_by(error: SourceError, path: Path, name: str) -> SourceError:
    """The same error with the name that people know: an upload lies under one of ours.

    Args:
        error: Names the file.
        path: The file.
        name: What the film is called.
    """
    return attrs.evolve(error, message=error.message.replace(path.name, name))


class JobSource:
    """The source of one job.

    Args:
        helper: The process that reads it.
        spec: What was asked for.
        path: The film.
        directory: Where index and note are kept.

    Attributes:
        index_path: The index, once the source is open.
    """

    def __init__(self, helper: SourceHelper, spec: JobSpec, path: Path, directory: Path) -> None:
        self._helper = helper
        self._spec = spec
        self._path = path
        self._note = StateFile(directory / "source.json", SourceStamp)
        self.index_path = directory / INDEX_NAME

    async def open(self, expected: MediaSummary | None) -> MediaSummary:
        """Index the source, or use the index of an earlier process if nothing changed.

        Args:
            expected: What was found earlier, or None.

        Raises:
            SourceError: The source cannot be used.
            SourceChanged: It is not the file any more that was found earlier.
        """
        # Looked at before it is read: what changes meanwhile is noticed the next time.
        stamp: SourceStamp | None = await deferToThread(_look, self._path)
        if expected is not None and stamp is not None and await self._is_open(stamp):
            return expected
        try:
            summary = await self._helper.index(
                self._path, self.index_path, allow_damaged=self._spec.allow_damaged
            )
        except SourceError as error:
            raise called_by(error, self._path, self._spec.source_name) from error
        different = difference(expected, summary) if expected is not None else ""
        if different:
            raise self._changed(different)
        if stamp is not None:
            await self._note.write(stamp)
        return summary

    async def _is_open(self, stamp: SourceStamp) -> bool:
        """Whether the index that is there is that of the file that is there."""
        before = await self._note.read()
        if before is None:
            return False
        if before.size_bytes != stamp.size_bytes:
            raise self._changed(f"it had {before.size_bytes} bytes and has {stamp.size_bytes}")
        if before != stamp:
            raise self._changed("it was written to")
        self._helper.use(self._path, self.index_path)
        try:
            await self._helper.facts()
        except FfclusterError as error:
            log.info("a source is indexed again: {reason}", reason=error.message)
            return False
        return True

    def _changed(self, different: str) -> SourceChanged:
        return SourceChanged(
            message=f"The source {self._spec.source_name} changed since the job began: "
            f"{different}.",
            advice="Put the file back as it was, or submit it as a new job.",
        )


def difference(expected: MediaSummary, found: MediaSummary) -> str:
    """How a source is another than it was, or ""; what only describes it is not compared."""
    for name, what in _SAME:
        before, now = getattr(expected, name), getattr(found, name)
        if before != now:
            return f"{what} was {before} and is {now}"
    return "its video stream is another" if expected.video != found.video else ""


def _look(path: Path) -> SourceStamp | None:
    """What a file looks like; an unreadable one is the indexer's to describe."""
    try:
        found = path.stat()
    except OSError:
        return None
    return SourceStamp(found.st_size, found.st_mtime_ns)
