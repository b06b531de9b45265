"""Index a source: demux it once and find out which packets show which frame when.

Runs in helper processes only. Which packet shows which frame when is `pictures`' affair; this
module reads, judges what is damaged, and writes the index.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av.error
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from ffcluster.media import sniff
from ffcluster.media.bitstream import refreshes_gradually
from ffcluster.media.facts import display_matrix, source_facts, video_format
from ffcluster.media.index import FRAME, KEY, NO_TIME, IndexTables
from ffcluster.media.limits import RAW_FORMATS
from ffcluster.media.opening import HelperError, only, open_input, video_streams
from ffcluster.media.pictures import Pictures

Report = Callable[[float], None]

# The first is often a whole picture even where later ones are not.
_JUDGED_KEYFRAME = 2
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
        # Whether its keyframes are only places to recover from (intra refresh).
        self.is_gradual = False
        # Whether packets before the end are unsound, so that their times prove nothing.
        self.is_broken = False

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
    only(container, video)
    try:
        _demux(state, container, video)
    except av.error.FFmpegError as cause:
        state.damage.append(f"reading it fails part of the way: {cause.strerror}")
        state.is_broken = True
    _find_frames(state, container, video)
    if not state.tables.shown:
        raise HelperError("source_unreadable", f"{state.source.name} has no frames")
    _compare_with_header(state, container, video)
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


def _demux(state: _Scan, container: InputContainer, video: VideoStream) -> None:
    tables = state.tables
    pts, dts, pos = tables.pts.append, tables.dts.append, tables.pos.append
    size_of, flag = tables.size.append, tables.flags.append
    codec = video.codec_context.codec.canonical_name
    hides, h264, keyframes = _hides_vp8 if codec == "vp8" else None, codec == "h264", 0
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
        shows = not (packet.is_discard or (hides and hides(packet)))
        flag((KEY if packet.is_keyframe else 0) | (FRAME if shows else 0))
        if h264 and packet.is_keyframe:
            keyframes += 1
            if keyframes == _JUDGED_KEYFRAME:
                extradata = video.codec_context.extradata or b""
                state.is_gradual = refreshes_gradually(bytes(packet), extradata)
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
    flags = state.tables.flags
    if corrupt:
        state.damage.append(
            f"{len(corrupt)} of {len(flags)} video packets are incomplete or corrupt"
        )
    # Where a file was cut off its last packet is not whole, whether or not the demuxer noticed.
    last = len(flags) - 1
    if state.damage and last not in corrupt:
        corrupt.append(last)
    while corrupt and corrupt[-1] == last:
        state.tables.drop_last()
        corrupt.pop()
        last -= 1
    state.is_broken = bool(corrupt)


def _find_frames(state: _Scan, container: InputContainer, video: VideoStream) -> None:
    tables = state.tables
    if not tables.pts:
        return
    pictures = Pictures(tables, state.open, _rate_step(video))
    raw = container.format.name in RAW_FORMATS
    decoded = raw or state.is_broken or not pictures.trust_times()
    if decoded:
        state.warnings.append("The packets do not say which frame is shown when: all were decoded.")
        pictures.decode_all(state.report, from_zero=raw)
    elif pictures.silent:
        state.warnings.append(
            f"The first {pictures.silent} pictures cannot be decoded: they lean on what came "
            "before the start of the file."
        )
    state.first_frame = pictures.first_frame
    _settle_end(state, video)


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


def _compare_with_header(state: _Scan, container: InputContainer, video: VideoStream) -> None:
    """Add to the damage what the header promises and the packets do not hold."""
    if state.damage:
        return
    # Only this family of containers lists every packet in front.
    entries = len(video.index_entries) if container.format.name.startswith("mov") else 0
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
    header = summary | {
        "facts": facts,
        "step": state.step,
        "matrix": _matrix(state),
        "gradual": state.is_gradual,
    }
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
