"""Index a source: demux it once and find out which packets show which frame when.

Runs in helper processes only. Packets' times are trusted where decoding the first pictures bears
them out; where it does not (raw streams, fields in packets of their own, frames that no packet
time accounts for, damage) the whole film is decoded instead, each packet known by its number.
"""

from __future__ import annotations

import operator
from array import array
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av.error
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from ffcluster.media import sniff
from ffcluster.media.facts import display_matrix, source_facts, video_format
from ffcluster.media.index import FRAME, KEY, NO_TIME, IndexTables, presentation_order
from ffcluster.media.limits import RAW_FORMATS
from ffcluster.media.opening import HelperError, only, open_input, video_streams

Report = Callable[[float], None]

# Decoded to compare with what the packets' times predict: enough for every reordering to show.
_HEAD_PACKETS = 24
# No codec delays a picture by more packets than this; more means that time jumps.
_LARGEST_DISPLACEMENT = 128
_REPORT_EVERY = 4096
# Segments are seconds long, so keyframes closer than this give planning nothing.
_CUT_SPACING_S = Fraction(1, 2)
_INCOMPLETE = "It is damaged or cut off. With --allow-damaged what is there is encoded."


class _Scan:
    """One source while it is indexed."""

    def __init__(self, source: Path, *, allow_damaged: bool, report: Report) -> None:
        self.source = source
        self.allow_damaged = allow_damaged
        self.report = report
        self.tables = IndexTables()
        self.warnings: list[str] = []
        self.damage: list[str] = []
        self.first_frame: VideoFrame | None = None
        self.step = 1
        self.end_ticks = 0
        self.declared_end: int | None = None

    def open(self) -> tuple[InputContainer, VideoStream]:
        container = open_input(self.source)
        videos = video_streams(container)
        if not videos:
            container.close()
            raise HelperError("source_unreadable", f"{self.source.name} has no video stream")
        video = videos[0]
        if video.codec_context is None or not video.codec_context.width:
            container.close()
            raise HelperError(
                "source_unreadable",
                f"The video of {self.source.name} cannot be decoded here",
                "Its codec is unknown, or the file holds no complete picture.",
            )
        return container, video


def scan(source: Path, index_path: Path, *, allow_damaged: bool, report: Report) -> dict[str, Any]:
    """Index `source` into the file `index_path` and give its `MediaSummary` as plain data.

    Args:
        source: The file.
        index_path: Index to write; see `ffcluster.media.index`.
        allow_damaged: Accept a file that is cut off or broken, with what is usable of it.
        report: Called now and then with the part that is done, 0 to 1.

    Raises:
        HelperError: With the code of a `SourceError`.
    """
    _check_file(source)
    state = _Scan(source, allow_damaged=allow_damaged, report=report)
    missing = sniff.missing_part(source)
    if missing:
        state.damage.append(missing)
        if not sniff.has_movie_index(source):
            raise HelperError(
                "source_damaged",
                f"{source.name} is damaged: {missing}",
                "Without its index it cannot be read, with --allow-damaged neither.",
            )
    try:
        container, video = state.open()
    except av.error.FFmpegError as cause:
        raise _unreadable(source, cause) from cause
    with container:
        return _scan_open(state, container, video, index_path)


def _check_file(source: Path) -> None:
    try:
        if source.is_dir():
            raise HelperError("source_missing", f"{source.name} is a directory, not a file")
        with source.open("rb") as file:
            if not file.read(1):
                raise HelperError("source_unreadable", f"{source.name} is empty")
    except FileNotFoundError as cause:
        raise HelperError("source_missing", f"There is no file {source.name}") from cause
    except OSError as cause:
        raise HelperError(
            "source_missing", f"{source.name} cannot be opened: {cause.strerror}"
        ) from cause


def _unreadable(source: Path, cause: Exception) -> HelperError:
    what = sniff.describe_foreign(source)
    if what:
        return HelperError("source_unreadable", f"{source.name} is {what}")
    return HelperError(
        "source_unreadable",
        f"{source.name} is not a video that can be read",
        "Only files that hold their own pictures are opened, no lists of other files.",
        cause=str(cause),
    )


def _scan_open(
    state: _Scan, container: InputContainer, video: VideoStream, index_path: Path
) -> dict[str, Any]:
    facts = source_facts(container, video)
    _refuse_encrypted(state, video)
    _note_declared(state, container, video)
    only(container, video)
    try:
        _demux(state, container, video)
    except av.error.FFmpegError as cause:
        state.damage.append(f"reading it fails part of the way: {cause.strerror}")
    _find_frames(state, container, video)
    if not state.tables.shown:
        raise HelperError("source_unreadable", f"{state.source.name} has no frames")
    _compare_with_header(state, video)
    if state.damage and not state.allow_damaged:
        raise HelperError(
            "source_damaged",
            f"{state.source.name} is damaged: {'; '.join(state.damage)}",
            _INCOMPLETE,
            frames=len(state.tables.shown),
        )
    return _finish(state, video, facts, index_path)


def _refuse_encrypted(state: _Scan, video: VideoStream) -> None:
    tag = str(video.codec_context.codec_tag)
    if tag in ("encv", "drmi", "drms"):
        raise _encrypted(state)


def _encrypted(state: _Scan) -> HelperError:
    return HelperError(
        "source_unreadable",
        f"{state.source.name} is encrypted (DRM), so its pictures cannot be decoded",
    )


def _note_declared(state: _Scan, container: InputContainer, video: VideoStream) -> None:
    """Remember how long the header says the video is, where it can be believed."""
    if container.format.name.startswith("mov") and video.duration and video.start_time is not None:
        state.declared_end = video.start_time + video.duration


def _demux(state: _Scan, container: InputContainer, video: VideoStream) -> None:
    tables = state.tables
    pts, dts, pos = tables.pts.append, tables.dts.append, tables.pos.append
    size_of, flag = tables.size.append, tables.flags.append
    hides = _hides_vp8 if video.codec_context.codec.canonical_name == "vp8" else None
    size = max(1, state.source.stat().st_size)
    corrupt: list[int] = []
    for number, packet in enumerate(container.demux(video)):
        if packet.size == 0:
            continue
        time, place = packet.pts, packet.pos
        pts(NO_TIME if time is None else time)
        dts(NO_TIME if packet.dts is None else packet.dts)
        pos(-1 if place is None else place)
        size_of(packet.size)
        shows = time is not None and not packet.is_discard and not (hides and hides(packet))
        flag((KEY if packet.is_keyframe else 0) | (FRAME if shows else 0))
        if packet.is_corrupt:
            corrupt.append(len(tables.pts) - 1)
        if number == 0 and packet.has_sidedata("encryption_info"):
            raise _encrypted(state)
        if number % _REPORT_EVERY == 0 and place is not None:
            state.report(min(1.0, place / size))
    _judge_corrupt(state, corrupt)


def _hides_vp8(packet: Packet[VideoStream]) -> bool:
    # RFC 6386, 9.1: bit 4 of a frame's first byte is show_frame.
    return not memoryview(packet)[0] & 0x10


def _judge_corrupt(state: _Scan, corrupt: list[int]) -> None:
    if not corrupt:
        return
    flags = state.tables.flags
    state.damage.append(f"{len(corrupt)} of {len(flags)} video packets are incomplete or corrupt")
    # An incomplete packet at the end shows nothing, or a broken picture: it is left out.
    last = len(flags) - 1
    while corrupt and corrupt[-1] == last:
        flags[last] &= ~FRAME
        corrupt.pop()
        last -= 1


def _find_frames(state: _Scan, container: InputContainer, video: VideoStream) -> None:
    tables = state.tables
    if not tables.pts:
        return
    raw = container.format.name in RAW_FORMATS
    broken = bool(state.damage) and not _only_cut_off(state)
    order = None if raw or broken else _order_by_time(tables)
    if order is not None and _head_agrees(state, video):
        # Packets at the start may just have turned out to show nothing.
        tables.order = array("q", (n for n in order if tables.flags[n] & FRAME))
        tables.shown = array("q", map(tables.pts.__getitem__, tables.order))
        _correct_tail(state, video)
    else:
        _decode_all(state, video)
    _settle_end(state, video)


def _only_cut_off(state: _Scan) -> bool:
    """Whether all packets before the end are sound."""
    return not any("video packets" in text or "reading it" in text for text in state.damage) or (
        len(state.damage) == 1 and not state.tables.flags[-1] & FRAME
    )


def _order_by_time(tables: IndexTables) -> array[int] | None:
    """Packets in the order of their times, or None where those cannot be right.

    Each packet must have a time, each frame one of its own, and none may lie far from its place.
    """
    if min(tables.pts) == NO_TIME:
        return None
    order = presentation_order(tables.pts, tables.flags)
    times = list(map(tables.pts.__getitem__, order))
    if any(map(operator.eq, times, times[1:])):
        return None
    holders = (n for n, flag in enumerate(tables.flags) if flag & FRAME)
    if max(map(abs, map(operator.sub, order, holders)), default=0) > _LARGEST_DISPLACEMENT:
        return None
    return order


def _decode(
    video: VideoStream, packets: Sequence[Packet[VideoStream]]
) -> tuple[list[VideoFrame], bool]:
    """Decode packets and flush; the frames, and whether there was no error."""
    frames: list[VideoFrame] = []
    sound = True
    for packet in [*packets, None]:
        try:
            frames.extend(video.codec_context.decode(packet))
        except av.error.FFmpegError:
            sound = False
    return frames, sound


def _head_agrees(state: _Scan, video: VideoStream) -> bool:
    """Decode the first packets; whether they show what their times predict.

    Packets at the start whose pictures lean on others before the file's start show nothing and
    lose their FRAME flag.
    """
    container, again = state.open()
    with container:
        only(container, again)
        again.codec_context.thread_type = "SLICE"
        packets = []
        for packet in container.demux(again):
            if packet.size:
                packets.append(packet)
            if len(packets) >= _HEAD_PACKETS:
                break
        frames, sound = _decode(again, packets)
    state.first_frame = frames[0] if frames else None
    tables = state.tables
    head = range(min(len(packets), len(tables.pts)))
    predicted = {tables.pts[n]: n for n in head if tables.flags[n] & FRAME}
    seen = [frame.pts for frame in frames if frame.pts is not None]
    if seen == sorted(predicted):
        return True
    silent = [n for time, n in predicted.items() if time not in seen]
    first = min(seen, default=None)
    expected = sorted(t for t in predicted if first is not None and t >= first)
    if first is None or seen != expected or len(silent) == len(predicted):
        return not sound and len(seen) == len(predicted) and seen == sorted(predicted)
    for n in silent:
        tables.flags[n] &= ~FRAME
    state.warnings.append(
        f"The first {len(silent)} pictures cannot be decoded: they lean on what came before "
        "the start of the file."
    )
    return True


def _correct_tail(state: _Scan, video: VideoStream) -> None:
    """Take the last frames' times from the decoder where fields are repeated (soft telecine)."""
    if video.codec_context.codec.canonical_name not in ("mpeg1video", "mpeg2video"):
        return
    tables = state.tables
    start = next((n for n in range(len(tables.pts) - 1, -1, -1) if tables.flags[n] & KEY), 0)
    container, again = state.open()
    with container:
        only(container, again)
        packets = [
            p for n, p in enumerate(p for p in container.demux(again) if p.size) if n >= start
        ]
        frames, _ = _decode(again, packets)
    tail = [frame.pts for frame in frames if frame.pts is not None][-2:]
    shown = tables.shown
    if len(tail) == 2 and len(shown) >= 2 and tail[0] == shown[-2] and tail[1] != shown[-1]:
        shown[-1] = tail[1]
        tables.pts[tables.order[-1]] = tail[1]


def _decode_all(state: _Scan, video: VideoStream) -> None:
    """Decode the film; every packet carries its own number as its time."""
    state.warnings.append("The packets do not say which frame is shown when: all were decoded.")
    tables = state.tables
    container, again = state.open()
    times: list[int | None] = [None if t == NO_TIME else t for t in tables.pts]
    order = array("q")
    with container:
        only(container, again)
        again.codec_context.thread_type = "AUTO"
        total = max(1, len(tables.pts))
        number = 0
        for packet in container.demux(again):
            if packet.size:
                packet.pts = packet.dts = number
                number += 1
                if number % 256 == 0:
                    state.report(min(1.0, number / total))
            try:
                frames = again.codec_context.decode(packet if packet.size else None)
            except av.error.FFmpegError:
                if not packet.size:
                    break
                continue
            for frame in frames:
                state.first_frame = state.first_frame or frame
                if frame.pts is not None and 0 <= frame.pts < len(times):
                    order.append(frame.pts)
    _adopt(state, video, order, times)


def _adopt(
    state: _Scan,
    video: VideoStream,
    order: array[int],
    times: list[int | None],
) -> None:
    tables = state.tables
    seen = set(order)
    for n in range(len(tables.flags)):
        tables.flags[n] = (tables.flags[n] & ~FRAME) | (FRAME if n in seen else 0)
    shown = [time for time in (times[n] for n in order) if time is not None]
    ascending = all(map(operator.lt, shown, shown[1:]))
    if not ascending or len(shown) < len(order):
        step = _rate_step(video)
        start = min((t for t in times if t is not None), default=0)
        shown = [start + round(k * step) for k in range(len(order))]
    tables.order, tables.shown = order, array("q", shown)
    for n, time in zip(order, shown, strict=True):
        tables.pts[n] = time


def _rate_step(video: VideoStream) -> Fraction:
    """Ticks from one frame to the next at the stream's nominal rate."""
    rate = video.guessed_rate or video.average_rate or Fraction(25)
    return 1 / (rate * (video.time_base or Fraction(1, 1000)))


def _settle_end(state: _Scan, video: VideoStream) -> None:
    shown = state.tables.shown
    if len(shown) > 1:
        # The usual distance, not the mean: one long pause would make the last frame long.
        gaps = sorted(map(operator.sub, shown[1:], shown))
        state.step = max(1, gaps[len(gaps) // 2])
    else:
        state.step = max(1, round(_rate_step(video)))
    if shown:
        state.end_ticks = shown[-1] + state.step


def _compare_with_header(state: _Scan, video: VideoStream) -> None:
    """Add to the damage what the header promises and the packets do not hold."""
    if state.declared_end is None or state.damage:
        return
    entries = len(video.index_entries)
    held = len(state.tables.pts)
    if entries > held:
        state.damage.append(f"its index lists {entries} frames, {held} are there")


def _finish(
    state: _Scan, video: VideoStream, facts: dict[str, Any], index_path: Path
) -> dict[str, Any]:
    tables = state.tables
    form = video_format(video, state.first_frame)
    damaged = "; ".join(state.damage)
    if damaged:
        damaged += f"; {len(tables.shown)} frames are usable"
    summary = {
        "video": form,
        "frame_count": len(tables.shown),
        "first_pts_ticks": tables.shown[0],
        "end_pts_ticks": state.end_ticks,
        "size_bytes": state.source.stat().st_size,
        "warnings": state.warnings,
        "damaged": damaged,
    }
    header = {"facts": facts, "step": state.step, "matrix": _matrix(state)} | summary
    tables.write(index_path, header)
    return summary | {"cut_frames": _cut_frames(tables, form)}


def _matrix(state: _Scan) -> list[int]:
    return display_matrix(state.first_frame) if state.first_frame else []


def _cut_frames(tables: IndexTables, form: dict[str, Any]) -> list[int]:
    """Keyframes in presentation order, no closer than half a second."""
    base = Fraction(*form["time_base"])
    spacing = int(_CUT_SPACING_S / base)
    cuts: list[int] = []
    earliest = tables.shown[0] + 1
    for frame, packet in enumerate(tables.order):
        if tables.flags[packet] & KEY and tables.shown[frame] >= earliest:
            cuts.append(frame)
            earliest = tables.shown[frame] + spacing
    return cuts
