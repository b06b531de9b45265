"""Takes single pictures out of films in one process of its own, one after the other.

Decides nothing about who may see what, and keeps no picture.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed

from ffcluster.media.lines import LineProcess
from ffcluster.media.runner import Runner, python_command

# A process that nobody needs gives its memory back.
_IDLE_S = 20.0


@attrs.frozen
class PictureOrder:
    """A picture to be taken; see `ffcluster.media.thumbnails.Wanted`.

    Attributes:
        file: The film.
        index: The source's index, or None where it is gone.
        is_source: Whether the index is that of `file`.
        frame: The frame, or None: the one that is shown at `at_s`.
        at_s: Seconds since the film's first frame.
        exact: Whether it must be that frame, whatever it costs.
        height: Height of the JPEG in pixels, at most.
        pixels: Pixels of a picture of the film, which bound the memory that may be used.
    """

    file: Path
    index: Path | None
    is_source: bool
    frame: int | None
    at_s: Fraction
    exact: bool
    height: int
    pixels: int


class Thumbnailer:
    """The process that takes pictures; started when it is needed."""

    def __init__(self, runner: Runner) -> None:
        self._clock = runner.reactor
        self._lines = LineProcess(
            runner, python_command("ffcluster.media.thumbnails"), "The process that takes pictures"
        )
        self._idle: Any = None
        self._closed = False
        self._ending: Deferred[None] = succeed(None)

    async def take(self, order: PictureOrder, target: Path) -> int:
        """Write a picture to `target` as JPEG, whole or not at all; return its size in bytes.

        One at a time: the next one is asked for when this is over.

        Raises:
            NotFound: There is no such frame, or the index is gone.
            SourceUnreadable, SourceDamaged: The file shows no picture there.
            HelperDied: Taking it took too long, or ended the process.
            DiskFull: There is no room for it.
        """
        self._stay()
        # What ends takes the calls with it that were made meanwhile.
        await self._ending
        try:
            taken = await self._lines.call(
                "take",
                target=str(target),
                file=str(order.file.absolute()),
                index=str(order.index) if order.index else None,
                is_source=order.is_source,
                frame=order.frame,
                at_s=str(order.at_s),
                exact=order.exact,
                height=order.height,
                pixels=order.pixels,
            )
        finally:
            if not self._closed:
                self._idle = self._clock.callLater(_IDLE_S, self._rest)
        return int(taken["size_bytes"])

    async def close(self) -> None:
        """End the process; what it is taking fails."""
        self._closed = True
        self._rest()
        await self._ending

    def _rest(self) -> None:
        self._stay()
        self._ending = self._lines.close()

    def _stay(self) -> None:
        if self._idle is not None and self._idle.active():
            self._idle.cancel()
        self._idle = None
