"""Decode a few chosen pictures and reduce them for comparison. Runs in helper processes only."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction

import av.error
import av.filter
from av.codec.context import Flags
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream

from ffcluster.media.likeness import Picture
from ffcluster.media.limits import MAX_PIXELS

_FINE_SAMPLES = 160 * 90
_COARSE_SAMPLES = 32 * 18
# A coarse sample is the mean of at least so many pixels, or encoders' blocks would show in it.
_BLOCK_PIXELS = 64
# Frames are numbered by their time while they pass filters.
_TICK = Fraction(1, 25)
# Filters that take these from the picture's aspect ratio, which the graph is not told.
_ASPECT_WORDS = ("sar", "dar")

Filters = Sequence[tuple[str, Mapping[str, str]]]


class IncomparableError(Exception):
    """These filters cannot be repeated here, so nothing can be compared."""


def decoded(
    video: VideoStream,
    packets: Iterable[tuple[int, Packet[VideoStream]]],
    wanted: Collection[int],
    *,
    sparing: bool,
) -> Iterator[tuple[int, VideoFrame]]:
    """Decode numbered packets and give the pictures of those that are wanted.

    Args:
        video: Their stream.
        packets: The packets, the first of them a keyframe.
        wanted: Numbers of the packets whose pictures are wanted.
        sparing: Pass over pictures that no other leans on, where the codec says so.
    """
    context = video.codec_context
    context.flags |= Flags.copy_opaque.value
    if not context.is_open:
        context.options = {**context.options, "max_pixels": str(MAX_PIXELS)}
        # A thread would cost more address space than the few pictures are worth.
        context.thread_count = 1
    context.flush_buffers()
    for number, packet in packets:
        packet.opaque = number
        context.skip_frame = "NONREF" if sparing and number not in wanted else "DEFAULT"
        yield from _wanted(context, packet, wanted)
    yield from _wanted(context, None, wanted)


def _wanted(
    context: av.VideoCodecContext, packet: Packet[VideoStream] | None, wanted: Collection[int]
) -> Iterator[tuple[int, VideoFrame]]:
    try:
        frames = context.decode(packet)
    except av.error.FFmpegError:
        return
    for frame in frames:
        number = frame.opaque
        if isinstance(number, int) and number in wanted and not frame.is_corrupt:
            yield number, frame


def reduced(frame: VideoFrame, size: tuple[int, int]) -> Picture:
    """The picture's luma in two sizes.

    Args:
        frame: The picture.
        size: Width and height that it should have; sizes to be compared must be the same.

    Raises:
        IncomparableError: The pixel format cannot be converted.
    """
    try:
        fine = _gray(frame, size, _FINE_SAMPLES)
        blocks = size[0] * size[1] // _BLOCK_PIXELS
        coarse = _gray(fine, size, min(_COARSE_SAMPLES, max(1, blocks)))
    except (ValueError, av.error.FFmpegError) as cause:
        raise IncomparableError(str(cause)) from cause
    return Picture(_samples(fine), _samples(coarse))


def _gray(frame: VideoFrame, size: tuple[int, int], samples: int) -> VideoFrame:
    shrink = min(1.0, math.sqrt(samples / (size[0] * size[1])))
    width, height = (max(1, round(side * shrink)) for side in size)
    return frame.reformat(width, height, "gray", interpolation=Interpolation.AREA)


def _samples(frame: VideoFrame) -> bytes:
    plane = frame.planes[0]
    data, line, width = bytes(plane), plane.line_size, frame.width
    if line == width:
        return data[: width * frame.height]
    return b"".join(data[y * line : y * line + width] for y in range(frame.height))


class Filtering:
    """Passes decoded frames through a job's filters, each under its own number.

    Args:
        filters: Names and options, checked before.
        square: Whether the source's pixels are square.

    Raises:
        IncomparableError: This libavfilter does not have them all, or they need what is not known.
    """

    def __init__(self, filters: Filters, *, square: bool) -> None:
        for name, options in filters:
            if name not in av.filter.filters_available:
                raise IncomparableError(f"there is no filter {name} here")
            if not square and any(w in v for v in options.values() for w in _ASPECT_WORDS):
                raise IncomparableError(f"{name} asks for the picture's aspect ratio")
        self._filters = filters

    def __call__(
        self, frames: Iterable[tuple[int, VideoFrame]]
    ) -> Iterator[tuple[int, VideoFrame]]:
        """Filter consecutive frames, in the order in which they are shown."""
        if not self._filters:
            yield from frames
            return
        graph: av.filter.Graph | None = None
        shape: tuple[int, int, str] | None = None
        try:
            for number, frame in frames:
                found = (frame.width, frame.height, frame.format.name)
                if graph is None:
                    graph, shape = self._graph(frame), found
                elif shape != found:
                    raise IncomparableError("the pictures change their size on the way")
                frame.pts, frame.time_base = number, _TICK
                graph.vpush(frame)
                yield from _ready(graph)
            if graph is not None:
                graph.vpush(None)
                yield from _ready(graph)
        except (ValueError, av.error.FFmpegError) as cause:
            raise IncomparableError(str(cause)) from cause

    def _graph(self, frame: VideoFrame) -> av.filter.Graph:
        graph = av.filter.Graph()
        graph.threads = 1
        nodes = [
            graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format, time_base=_TICK
            )
        ]
        nodes += [graph.add(name, **options) for name, options in self._filters]
        nodes.append(graph.add("buffersink"))
        graph.link_nodes(*nodes).configure()
        return graph


def _ready(graph: av.filter.Graph) -> Iterator[tuple[int, VideoFrame]]:
    while True:
        try:
            frame = graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        if frame.pts is not None and frame.time_base is not None:
            yield round(frame.pts * frame.time_base / _TICK), frame
