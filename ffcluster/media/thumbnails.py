"""The process that takes single pictures out of films: `python -m ffcluster.media.thumbnails`.

It speaks as `ffcluster.media.helper` does. It steps back behind every other program, decodes from
the keyframe before the wanted picture only, and reads foreign files under the limits that all
helpers have. A picture is written as JPEG, whole or not at all.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import attrs
import av
import av.error
import av.filter
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from ffcluster.media.confine import confined
from ffcluster.media.helper import serve
from ffcluster.media.index import IndexFormatError, MediaIndex
from ffcluster.media.limits import MAX_PIXELS
from ffcluster.media.looking import decoded
from ffcluster.media.opening import HelperError, only, open_input, video_streams
from ffcluster.media.split import Cutter

# Within this time a picture must be there, however busy the machine is.
_LIMIT_S = 60.0
# A picture that need not be exact may cost this many decoded pixels; then its keyframe does.
_CHEAP_PIXELS = 300_000_000
# A time that was rounded to milliseconds still means the frame that begins there.
_ROUNDING_S = Fraction(1, 2000)
_MAX_WIDTH = 4096
# Places from which a picture is looked for when a seek lands behind it.
_BACK_S = (0, 10)
_HDR_TRANSFERS = frozenset({16, 18})
# ffmpeg's `-q:v`, from 2 (best) to 31.
_QUALITY = 4


@attrs.frozen
class Wanted:
    """Which picture of a file is wanted.

    Attributes:
        file: The film.
        index: The source's index, or None where it is gone.
        is_source: Whether the index is that of `file`, rather than of what `file` was made from.
        frame: The frame, or None: the one that is shown at `at_s`.
        at_s: Seconds since the film's first frame; used where `frame` is None or no index is there.
        exact: Whether it must be that frame; otherwise one a little before it does, if cheaper.
        height: Height in pixels, at most.
    """

    file: Path
    index: Path | None
    is_source: bool
    frame: int | None
    at_s: Fraction
    exact: bool
    height: int

    @classmethod
    def of(cls, call: dict[str, Any]) -> Wanted:
        """Read a call."""
        return cls(
            file=Path(call["file"]),
            index=Path(call["index"]) if call["index"] else None,
            is_source=call["is_source"],
            frame=call["frame"],
            at_s=Fraction(call["at_s"]),
            exact=call["exact"],
            height=call["height"],
        )


@attrs.frozen
class Found:
    """A decoded frame, and the shape of its pixels: width over height."""

    frame: VideoFrame
    aspect: Fraction = Fraction(1)

    @classmethod
    def of(cls, frame: VideoFrame, aspect: Fraction | None) -> Found:
        """A frame of a stream that says this of its pixels; nonsense and silence mean squares."""
        return cls(frame, aspect if aspect is not None and aspect > 0 else Fraction(1))


class PictureSession:
    """Takes pictures; the source that was used last stays open."""

    def __init__(self) -> None:
        self._kept: tuple[tuple[Path, Path], Cutter, MediaIndex] | None = None

    def take(self, call: dict[str, Any], report: Callable[[float], None]) -> Any:
        """Write one picture to `target`; see `ffcluster.media.thumbnailer`."""
        wanted, target = Wanted.of(call), Path(call["target"])
        try:
            with confined(_LIMIT_S, call["pixels"]):
                data = as_jpeg(self._frame(wanted), wanted.height)
        except MemoryError:
            raise HelperError(
                "source_unreadable", "Taking a picture takes more memory than it may"
            ) from None
        except av.error.FFmpegError as cause:
            raise HelperError(
                "source_unreadable", f"{wanted.file.name} shows no picture: {cause.strerror}"
            ) from cause
        _write(target, data)
        return {"size_bytes": len(data)}

    def _frame(self, wanted: Wanted) -> Found:
        if wanted.index is None:
            return _at_time(wanted.file, wanted.at_s, exact=wanted.exact)
        cutter, index = self._open(wanted.file, wanted.index)
        frame = wanted.frame
        if frame is None:
            frame = frame_at(index, wanted.at_s)
        if not 0 <= frame < index.frames:
            raise HelperError("not_found", f"There is no frame {frame}")
        if wanted.is_source:
            return _of_source(cutter, index, frame, exact=wanted.exact)
        at_s = (index.shown[frame] - index.shown[0]) * _base(index)
        return _at_time(wanted.file, at_s, exact=wanted.exact)

    def _open(self, file: Path, path: Path) -> tuple[Cutter, MediaIndex]:
        if self._kept is not None and self._kept[0] == (file, path):
            return self._kept[1:]
        self._kept = None
        try:
            kept = ((file, path), Cutter(file, path), MediaIndex(path))
        except (OSError, IndexFormatError) as cause:
            raise HelperError("not_found", f"The index of {file.name} is gone") from cause
        self._kept = kept
        return kept[1:]


def frame_at(index: MediaIndex, at_s: Fraction) -> int:
    """The frame that is shown so many seconds after the first one; the last one after the end."""
    wanted = index.shown[0] + (at_s + _ROUNDING_S) / _base(index)
    low, high = 0, index.frames
    while high - low > 1:
        middle = (low + high) // 2
        if index.shown[middle] <= wanted:
            low = middle
        else:
            high = middle
    return low


def _base(index: MediaIndex) -> Fraction:
    return Fraction(*index.header["video"]["time_base"])


def _of_source(cutter: Cutter, index: MediaIndex, frame: int, *, exact: bool) -> Found:
    """Decode a frame of an indexed source."""
    packet = index.order[frame]
    start = index.start_packet(frame, frame + 1, 1)
    video = index.header["video"]
    if not exact and (packet - start) * video["width"] * video["height"] > _CHEAP_PIXELS:
        packet = start
    found = _decoded(cutter, start, packet)
    if found is None:
        # An odd keyframe, or one that was flagged and is none.
        found = _decoded(cutter, index.start_packet(frame, frame + 1, 3), packet)
    if found is None:
        raise HelperError("source_damaged", f"Frame {frame} cannot be decoded")
    num, den = video["sample_aspect_ratio"]
    return Found.of(found, Fraction(num, den) if den else None)


def _decoded(cutter: Cutter, start: int, packet: int) -> VideoFrame | None:
    def look(video: VideoStream, packets: Iterator[Packet[VideoStream]]) -> VideoFrame | None:
        seen = decoded(video, enumerate(packets, start), (packet,), sparing=True)
        return next((frame for _, frame in seen), None)

    return cutter.read(start, packet, look)


def _at_time(path: Path, at_s: Fraction, *, exact: bool) -> Found:
    """Decode the frame that begins nearest to so many seconds after the first one."""
    with open_input(path) as container:
        streams = video_streams(container)
        if not streams:
            raise HelperError("source_unreadable", f"{path.name} has no video")
        video = streams[0]
        only(container, video)
        _prepare(video.codec_context)
        first = next((f for f in container.decode(video) if f.pts is not None), None)
        if first is None or first.pts is None or video.time_base is None:
            raise HelperError("source_unreadable", f"{path.name} shows no picture")
        wanted = first.pts + round(at_s / video.time_base)
        most = None if exact else max(1, _CHEAP_PIXELS // (first.width * first.height))
        found = first if wanted <= first.pts else None
        for back_s in () if found else _BACK_S:
            container.seek(wanted - int(back_s / video.time_base), stream=video)
            found = _nearest(container.decode(video), wanted, most)
            if found is not None:
                break
        if found is None:
            container.seek(first.pts, stream=video)
            found = _nearest(container.decode(video), wanted, most)
        return Found.of(found or first, video.sample_aspect_ratio)


def _nearest(frames: Iterator[VideoFrame], wanted: int, most: int | None) -> VideoFrame | None:
    """The frame nearest to a time; None when all of them come after it."""
    best: VideoFrame | None = None
    try:
        for number, frame in enumerate(frames, 1):
            if frame.pts is None:
                continue
            if best is None and frame.pts > wanted:
                return None
            if best is None or abs(frame.pts - wanted) < abs((best.pts or 0) - wanted):
                best = frame
            if frame.pts >= wanted or number == most:
                break
    except av.error.FFmpegError:
        # What was shown before a broken place is the best that there is.
        if best is None:
            raise
    return best


def _prepare(context: VideoCodecContext) -> None:
    context.options = {**context.options, "max_pixels": str(MAX_PIXELS)}
    # A thread would cost more address space than the few pictures are worth.
    context.thread_count = 1


# --- the picture ---------------------------------------------------------------------------------


def as_jpeg(found: Found, height: int) -> bytes:
    """Write a frame as it is meant to be seen: upright, with square pixels, in standard range."""
    return _encoded(_shown(found, height))


def _shown(found: Found, height: int) -> VideoFrame:
    frame = found.frame
    turns = round(frame.rotation / 90) % 4
    size = _size(found, height, lying=turns % 2 == 1)
    chain = [
        ("scale", f"{size[0]}:{size[1]}:flags=area:out_color_matrix=bt601:out_range=full"),
        ("format", "yuvj420p"),
        *[("transpose", "cclock")] * turns,
    ]
    if frame.color_trc in _HDR_TRANSFERS:
        name, options = chain[0]
        mapped = (name, f"{options}:out_primaries=bt709:out_transfer=bt709")
        # An older libswscale does not map tones; its picture is flat, but it is one.
        with contextlib.suppress(av.error.FFmpegError, ValueError):
            return _filtered(frame, [mapped, *chain[1:]])
    return _filtered(frame, chain)


def _size(found: Found, height: int, *, lying: bool) -> tuple[int, int]:
    """Width and height before it is turned; `height` is that of the turned picture."""
    wide, high = found.frame.width * found.aspect, Fraction(found.frame.height)
    shown_width, shown_height = (high, wide) if lying else (wide, high)
    scale = min(Fraction(1), height / shown_height, _MAX_WIDTH / shown_width)
    return max(2, round(wide * scale)), max(2, round(high * scale))


def _filtered(frame: VideoFrame, chain: list[tuple[str, str]]) -> VideoFrame:
    graph = av.filter.Graph()
    graph.threads = 1
    tick = Fraction(1, 25)
    nodes = [
        graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=tick
        )
    ]
    nodes += [graph.add(name, options) for name, options in chain]
    nodes.append(graph.add("buffersink"))
    graph.link_nodes(*nodes).configure()
    frame.pts, frame.time_base = 0, tick
    graph.vpush(frame)
    return graph.vpull()


def _encoded(frame: VideoFrame) -> bytes:
    context = VideoCodecContext.create("mjpeg", "w")
    context.width, context.height = frame.width, frame.height
    context.pix_fmt = "yuvj420p"
    context.time_base = Fraction(1, 25)
    context.thread_count = 1
    context.qmin = context.qmax = _QUALITY
    frame.pts = 0
    return b"".join(bytes(packet) for one in (frame, None) for packet in context.encode(one))


def _write(target: Path, data: bytes) -> None:
    draft = target.with_name(f".{target.name}.part")
    try:
        draft.write_bytes(data)
        draft.replace(target)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


# --- the process ---------------------------------------------------------------------------------


def _step_back() -> None:
    """Let every other program go first, whatever the system calls that."""
    import psutil

    process = psutil.Process()
    with contextlib.suppress(OSError, psutil.Error):
        if sys.platform == "win32":
            process.nice(psutil.IDLE_PRIORITY_CLASS)
        else:
            process.nice(19)
    if sys.platform == "linux":
        with contextlib.suppress(OSError, psutil.Error):
            process.ionice(psutil.IOPRIO_CLASS_IDLE)


def main() -> None:
    """Take pictures until stdin ends."""
    _step_back()
    os.umask(0o077)
    serve({"take": PictureSession().take})


if __name__ == "__main__":
    main()
