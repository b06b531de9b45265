"""Read ffmpeg's `-progress` stream. Pure: takes bytes, gives figures; knows no process."""

from __future__ import annotations

import attrs

# A line of this stream is some twenty bytes long; more than this without an end is not one.
_LONGEST_LINE_BYTES = 4096


@attrs.frozen
class Progress:
    """The last complete report.

    Attributes:
        frame: Frames written so far.
        fps: Frames per second as ffmpeg measures them.
        out_time_us: Time of the last packet written in microseconds, or None when unknown.
        total_size_bytes: Bytes written, or None when unknown.
        speed: Multiple of real time, or None when unknown.
        ended: Whether ffmpeg says that it has finished (`progress=end`).
    """

    frame: int = 0
    fps: float = 0.0
    out_time_us: int | None = None
    total_size_bytes: int | None = None
    speed: float | None = None
    ended: bool = False


def _integer(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _number(text: str) -> float | None:
    try:
        return float(text.removesuffix("x"))
    except ValueError:
        return None


class ProgressParser:
    """Collects `key=value` lines into reports; a report ends with its `progress=` line."""

    def __init__(self) -> None:
        self._rest = b""
        self._fields: dict[str, str] = {}

    def feed(self, data: bytes) -> list[Progress]:
        """Take more of the stream, cut anywhere; give the reports that it completes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST_LINE_BYTES:
            self._rest = b""
        reports = []
        for line in lines:
            key, equals, value = line.decode("utf-8", "replace").strip().partition("=")
            if not equals:
                continue
            self._fields[key] = value.strip()
            if key == "progress":
                reports.append(self._report())
                self._fields = {}
        return reports

    def _report(self) -> Progress:
        fields = self._fields
        return Progress(
            frame=_integer(fields.get("frame", "")) or 0,
            fps=_number(fields.get("fps", "")) or 0.0,
            out_time_us=_integer(fields.get("out_time_us", "")),
            total_size_bytes=_integer(fields.get("total_size", "")),
            speed=_number(fields.get("speed", "")),
            ended=fields["progress"] == "end",
        )
