"""Demux a worker's result and report what is in it. Runs in helper processes only.

The file comes from a peer and is not trusted: only Matroska, one video stream, limited pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av.error
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from ffcluster.media.bitstream import BitstreamError, InBandSets, fingerprint
from ffcluster.media.limits import RESULT_FORMATS
from ffcluster.media.opening import HelperError, only, open_input
from ffcluster.media.payload import PictureFinder
from ffcluster.media.sampling import Packets
from ffcluster.media.sniff import missing_part
from ffcluster.media.timing import ranks, reorder_delay

Comparison = Callable[[Path, Packets], float | None]

# Pictures of these wait for others before they are shown; no decoder holds back more. All other
# codecs' packets come in the order in which they are shown.
_DEEPEST_REORDER = {"h264": 16, "hevc": 16, "mpeg4": 1}
# Packets beyond the number that was asked for that are still counted, for the report's sake.
_MOST_SURPLUS = 10_000


def open_result(path: Path) -> tuple[InputContainer, VideoStream]:
    """Open a segment's result.

    Raises:
        HelperError: `result_invalid`.
    """
    try:
        container = open_input(path, RESULT_FORMATS)
    except HelperError as cause:
        raise _invalid(cause.message) from cause
    except av.error.FFmpegError as cause:
        raise _invalid(f"it cannot be opened: {cause.strerror}") from cause
    if len(container.streams) != 1 or not container.streams.video:
        container.close()
        raise _invalid("it does not hold exactly one video stream")
    video = container.streams.video[0]
    only(container, video)
    if video.codec_context is None:
        container.close()
        raise _invalid("its codec is unknown")
    if not (video.codec_context.width and video.codec_context.pix_fmt):
        container.close()
        raise _invalid("its pictures cannot be decoded, or are larger than any may be")
    return container, video


def _invalid(what: str, **detail: Any) -> HelperError:
    return HelperError("result_invalid", f"A segment's result is not valid: {what}", **detail)


def examine(
    path: Path, codec: str, frames: int | None, compare: Comparison | None = None
) -> dict[str, Any]:
    """Report on the result at `path`.

    Args:
        path: The file.
        codec: Codec that it must have.
        frames: Frames that it must hold, or None where any number above 0 is right.
        compare: Compares its pictures with the source's.

    Returns:
        `ResultReport` as plain data.

    Raises:
        HelperError: `result_invalid` or `wrong_frame_count`.
    """
    missing = missing_part(path)
    if missing:
        raise _invalid(f"it is cut off: {missing}")
    container, video = open_result(path)
    with container:
        context = video.codec_context
        found = context.codec.canonical_name
        if found != codec:
            raise _invalid(f"it is {found}, not {codec}")
        extradata = context.extradata or b""
        try:
            read = _read(container, video, _Watch(codec, extradata), frames)
            sets = fingerprint(codec, extradata, read.brought)
        except BitstreamError as cause:
            raise _invalid(str(cause)) from cause
    times = read.times
    if frames is not None and len(times) != frames:
        raise _wrong_count(len(times), frames)
    if not times:
        raise _invalid("it holds no frame")
    reorder = reorder_delay(ranks(times))
    if reorder > _DEEPEST_REORDER.get(codec, 0):
        raise _invalid(f"its packets are {reorder} frames out of order, which {codec} cannot be")
    return {
        "frame_count": len(times),
        "size_bytes": path.stat().st_size,
        "codec": found,
        "width": context.width,
        "height": context.height,
        "pix_fmt": context.pix_fmt or "",
        "parameter_sets": sets,
        "reorder_frames": reorder,
        "border_psnr_db": compare(path, Packets(times, read.keys)) if compare else None,
    }


def _wrong_count(found: int, frames: int) -> HelperError:
    return HelperError(
        "wrong_frame_count",
        f"A segment's result holds {found} frames, {frames} were asked for",
        expected=frames,
        found=found,
    )


class _Watch:
    """What is looked for in each packet."""

    def __init__(self, codec: str, extradata: bytes) -> None:
        self.in_band = InBandSets(codec, extradata)
        self.pictures = PictureFinder(codec, extradata)


class _Read:
    """What a pass over the packets found, in decode order.

    Attributes:
        times: Their presentation times.
        keys: Whether each is a keyframe.
        brought: The parameter sets that keyframes bring beside the header's.
    """

    def __init__(self) -> None:
        self.times: list[int] = []
        self.keys: list[bool] = []
        self.brought: tuple[bytes, ...] = ()

    def add(self, packet: Packet[VideoStream], watch: _Watch) -> None:
        if packet.pts is None:
            raise _invalid("a packet has no time")
        if packet.is_corrupt:
            raise _invalid("a packet is incomplete")
        sample = memoryview(packet)
        brought = watch.in_band.brought_by(sample)
        if not self.times:
            self.brought = brought
        elif brought != (self.brought if packet.is_keyframe else ()):
            # They would rule over the next segment too, whatever that was made with.
            raise _invalid("it changes its parameter sets on the way")
        if not watch.pictures.shows(sample):
            raise _invalid(f"its packet {len(self.times)} shows no picture")
        self.times.append(packet.pts)
        self.keys.append(packet.is_keyframe)


def _read(
    container: InputContainer, video: VideoStream, watch: _Watch, frames: int | None
) -> _Read:
    read = _Read()
    try:
        for packet in container.demux(video):
            if packet.size:
                read.add(packet, watch)
            if frames is not None and len(read.times) > _MOST_SURPLUS + frames:
                raise _wrong_count(len(read.times), frames)
    except av.error.FFmpegError as cause:
        raise _invalid(f"reading it fails: {cause.strerror}") from cause
    if read.keys and not read.keys[0]:
        raise _invalid("it does not start with a keyframe")
    if len(set(read.times)) != len(read.times):
        raise _invalid("two frames have the same time")
    return read
