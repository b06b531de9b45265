"""Tell how far a job is in ffmpeg's own forms: `-stats` on stderr and `-progress` as key=value.

Forms as ffmpeg 5.1 writes them. What a cluster cannot know (the quantizer) is -1.0, what it does
not know yet is N/A, as ffmpeg has it.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import BinaryIO

import attrs

from ffcluster.interfaces.dropin.arguments import INFO, Call, plain_path

_BITS = 8


@attrs.frozen
class State:
    """How far a job is.

    Attributes:
        frames: Frames that are encoded.
        fps: Frames per second.
        time_s: How much of the film that is, in seconds.
        speed: Multiple of real time.
        size_bytes: Size of the output, or None before it is known.
    """

    frames: int = 0
    fps: float = 0.0
    time_s: float = 0.0
    speed: float = 0.0
    size_bytes: int | None = None

    @property
    def kilobits_per_s(self) -> float | None:
        """Mean bit rate so far, or None when it is not known."""
        if not self.size_bytes or self.time_s <= 0.0:
            return None
        return self.size_bytes * _BITS / self.time_s / 1000.0


def stats_line(state: State, *, last: bool) -> str:
    """The line that `-stats` writes, with its end: it stays on its place until the last one."""
    digits = 1 if state.fps < 9.95 else 0
    size = "N/A" if state.size_bytes is None else f"{state.size_bytes / 1024:8.0f}kB"
    label = "Lsize" if last else "size"
    return (
        f"frame={state.frames:5d} fps={state.fps:3.{digits}f} q=-1.0 {label}={size} "
        f"time={_clock(state.time_s, 2)} bitrate={_bitrate(state)} speed={_speed(state)}    "
        + ("\n" if last else "\r")
    )


def progress_block(state: State, *, last: bool) -> str:
    """The block that `-progress` writes."""
    microseconds = round(state.time_s * 1_000_000)
    size = "N/A" if state.size_bytes is None else str(state.size_bytes)
    rows = (
        f"frame={state.frames}",
        f"fps={state.fps:.2f}",
        "stream_0_0_q=-1.0",
        f"bitrate={_bitrate(state)}",
        f"total_size={size}",
        f"out_time_us={microseconds}",
        f"out_time_ms={microseconds}",
        f"out_time={_clock(state.time_s, 6)}",
        "dup_frames=0",
        "drop_frames=0",
        f"speed={_speed(state)}",
        f"progress={'end' if last else 'continue'}",
    )
    return "\n".join(rows) + "\n"


def _bitrate(state: State) -> str:
    rate = state.kilobits_per_s
    return "N/A" if rate is None else f"{rate:6.1f}kbits/s"


def _speed(state: State) -> str:
    return f"{state.speed:4.3g}x" if state.speed > 0.0 else "N/A"


def _clock(seconds: float, digits: int) -> str:
    scale = 10**digits
    whole, part = divmod(round(seconds * scale), scale)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest:02d}.{part:0{digits}d}"


class Reporter:
    """Tells how far a job is where the call wants it told.

    Args:
        call: The call.
        stderr: Where `-stats` and messages go.

    Raises:
        OSError: What `-progress` names cannot be written.
    """

    def __init__(self, call: Call, stderr: BinaryIO) -> None:
        self._call = call
        self._stderr = stderr
        self._progress = _opened(call.progress) if call.progress else None
        self._shows_stats = call.stats if call.stats is not None else call.loglevel >= INFO
        self._open_line = False

    def tell(self, state: State, *, last: bool = False) -> None:
        """Tell how far it is."""
        if self._progress is not None:
            # Whoever does not listen any more is no reason to end.
            with contextlib.suppress(OSError):
                self._progress.write(progress_block(state, last=last).encode())
                self._progress.flush()
        if self._shows_stats:
            self._write(stats_line(state, last=last))
            self._open_line = not last

    def say(self, text: str, level: int) -> None:
        """Write a message, if the call wants to hear of such."""
        if level <= self._call.loglevel:
            self._write(("\n" if self._open_line else "") + text.rstrip("\n") + "\n")
            self._open_line = False

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._stderr.write(text.encode("utf-8", "surrogateescape"))
            self._stderr.flush()

    def close(self) -> None:
        """Close what was opened for `-progress`."""
        if self._progress is not None:
            with contextlib.suppress(OSError):
                self._progress.close()


def _opened(url: str) -> BinaryIO:
    if url == "-" or url.startswith("pipe:"):
        number = 1 if url in ("-", "pipe:") else int(url.removeprefix("pipe:"))
        return os.fdopen(os.dup(number), "wb")
    return Path(plain_path(url) or url).open("wb")
