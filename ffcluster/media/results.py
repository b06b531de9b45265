"""Demux a worker's result and report what is in it. Runs in helper processes only.

The file comes from a peer and is not trusted: only Matroska, one video stream, limited pictures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av.error
from av.container import InputContainer
from av.video.stream import VideoStream

from ffcluster.media.bitstream import BitstreamError, InBandSets, fingerprint
from ffcluster.media.limits import RESULT_FORMATS
from ffcluster.media.opening import HelperError, only, open_input
from ffcluster.media.timing import ranks, reorder_delay


def open_result(path: Path) -> tuple[InputContainer, VideoStream]:
    """Open a segment's result.

    Raises:
        HelperError: `result_invalid`.
    """
    try:
        container = open_input(path, RESULT_FORMATS)
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
    return container, video


def _invalid(what: str, **detail: Any) -> HelperError:
    return HelperError("result_invalid", f"A segment's result is not valid: {what}", **detail)


def examine(path: Path, codec: str, frames: int | None) -> dict[str, Any]:
    """Report on the result at `path`.

    Args:
        path: The file.
        codec: Codec that it must have.
        frames: Frames that it must hold, or None where any number above 0 is right.

    Returns:
        `ResultReport` as plain data.

    Raises:
        HelperError: `result_invalid` or `wrong_frame_count`.
    """
    container, video = open_result(path)
    with container:
        context = video.codec_context
        found = context.codec.canonical_name
        if found != codec:
            raise _invalid(f"it is {found}, not {codec}")
        extradata = context.extradata or b""
        try:
            times, brought = _read(container, video, InBandSets(codec, extradata))
            sets = fingerprint(codec, extradata, brought)
        except BitstreamError as cause:
            raise _invalid(str(cause)) from cause
    if frames is not None and len(times) != frames:
        raise HelperError(
            "wrong_frame_count",
            f"A segment's result holds {len(times)} frames, {frames} were asked for",
            expected=frames,
            found=len(times),
        )
    if not times:
        raise _invalid("it holds no frame")
    return {
        "frame_count": len(times),
        "size_bytes": path.stat().st_size,
        "codec": found,
        "width": context.width,
        "height": context.height,
        "pix_fmt": context.pix_fmt or "",
        "parameter_sets": sets,
        "reorder_frames": reorder_delay(ranks(times)),
    }


def _read(
    container: InputContainer, video: VideoStream, in_band: InBandSets
) -> tuple[list[int], tuple[bytes, ...]]:
    """Times of all packets, and the parameter sets that keyframes bring beside the header's."""
    times: list[int] = []
    first_is_key = None
    brought: tuple[bytes, ...] = ()
    try:
        for packet in container.demux(video):
            if not packet.size:
                continue
            if packet.pts is None:
                raise _invalid("a packet has no time")
            if packet.is_corrupt:
                raise _invalid("a packet is incomplete")
            if first_is_key is None:
                first_is_key = packet.is_keyframe
                brought = in_band.brought_by(memoryview(packet))
            elif in_band.brought_by(memoryview(packet)) != (brought if packet.is_keyframe else ()):
                # They would rule over the next segment too, whatever that was made with.
                raise _invalid("it changes its parameter sets on the way")
            times.append(packet.pts)
    except av.error.FFmpegError as cause:
        raise _invalid(f"reading it fails: {cause.strerror}") from cause
    if first_is_key is False:
        raise _invalid("it does not start with a keyframe")
    if len(set(times)) != len(times):
        raise _invalid("two frames have the same time")
    return times, brought
