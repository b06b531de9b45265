"""Compare finished files with what they must hold, by demuxing them. Runs in helpers only."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av.error
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from ffcluster.media.index import MediaIndex
from ffcluster.media.opening import HelperError, only, open_input, video_streams
from ffcluster.media.scan import scan
from ffcluster.media.timing import rescale

_MICROSECOND = Fraction(1, 1_000_000)
# Matroska keeps milliseconds; rounding once more on the way adds the other half.
_MPEG_AUDIO = frozenset({"mp1", "mp2", "mp3"})
_ROUNDING_S = Fraction(1, 1000)


class _Payload:
    """Count and hash of one stream's packets."""

    def __init__(self, codec: str) -> None:
        self._codec = codec
        self._digest = hashlib.blake2b(digest_size=16)
        self.packets = 0

    def add(self, packet: Packet[Stream]) -> None:
        view = memoryview(packet)
        if self._codec == "aac" and len(view) > 7 and view[0] == 0xFF and view[1] & 0xF6 == 0xF0:
            # Transport streams frame each AAC packet; other containers keep that once, in front.
            view = view[7 if view[1] & 1 else 9 :]
        if len(view):
            self.packets += 1
            self._digest.update(view)

    def value(self) -> tuple[int, str]:
        # How much PCM makes a packet is the demuxer's choice.
        count = 0 if self._codec.startswith("pcm") else self.packets
        return count, self._digest.hexdigest()


class _Demuxed:
    """What one pass over a file found."""

    def __init__(self) -> None:
        self.video_pts: list[int] = []
        self.disorder: int | None = None
        self.payloads: dict[int, _Payload] = {}
        # Earliest time of the other streams.
        self.side_start_s: Fraction | None = None


def _codec_of(stream: Any) -> str:
    return "" if stream.codec_context is None else str(stream.codec_context.codec.canonical_name)


def _demux(container: InputContainer, video: Stream | None, others: list[Stream]) -> _Demuxed:
    found = _Demuxed()
    # Matroska keeps no decoding times, and frames may share one of its milliseconds.
    least_step = 0 if container.format.name.startswith("matroska") else 1
    found.payloads = {s.index: _Payload(_codec_of(s)) for s in others}
    wanted = [*([video] if video else []), *others]
    if not wanted:
        return found
    only(container, *wanted)
    video_index = video.index if video else -1
    last_dts: int | None = None
    starts: dict[int, int] = {}
    for packet in container.demux(*wanted):
        if not packet.size:
            continue
        number = packet.stream_index
        if number != video_index:
            found.payloads[number].add(packet)
            if packet.pts is not None:
                starts[number] = min(packet.pts, starts.get(number, packet.pts))
            continue
        dts = packet.dts
        if last_dts is not None and dts is not None and dts - last_dts < least_step:
            found.disorder = found.disorder or len(found.video_pts)
        last_dts = dts if dts is not None else last_dts
        found.video_pts.append(0 if packet.pts is None else packet.pts)
    found.side_start_s = min(
        (time * (container.streams[n].time_base or Fraction(1)) for n, time in starts.items()),
        default=None,
    )
    return found


def _fail(message: str, **detail: Any) -> HelperError:
    return HelperError("verification_failed", message, **detail)


def verify(call: dict[str, Any], report: Callable[[float], None]) -> dict[str, Any]:
    """Compare a finished file with the source's index and what was to be carried.

    Raises:
        HelperError: `verification_failed`, saying what differs and where.
    """
    target = Path(call["target"])
    index = MediaIndex(Path(call["index"]))
    try:
        container = open_input(target)
    except av.error.FFmpegError as cause:
        raise _fail(f"The finished file cannot be opened: {cause.strerror}") from cause
    with container:
        video = video_streams(container)[0] if video_streams(container) else None
        if video is None:
            raise _fail("The finished file has no video stream")
        carried = _match_streams(container, video, call)
        # A stream must not be touched once its container is closed.
        copies = {
            wanted["source_index"]: stream.index
            for stream, wanted in carried
            if not wanted["converted"] and stream.type in ("audio", "subtitle")
        }
        try:
            found = _demux(container, video, [s for s, _ in carried if s.type != "attachment"])
        except av.error.FFmpegError as cause:
            raise _fail(f"Reading the finished file fails: {cause.strerror}") from cause
        base = video.time_base or Fraction(1, 1000)
        chapters = len(container.chapters())
    if found.disorder is not None:
        raise _fail(f"Decoding times do not ascend at packet {found.disorder}")
    error_s, shift_s = _compare_times(found, base, index, call)
    if call["chapters"] and chapters != index.header["facts"]["chapters"]:
        raise _fail(f"The finished file has {chapters} chapters")
    _compare_payloads(call, copies, found)
    return {
        "frame_count": len(found.video_pts),
        "largest_time_error_s": float(error_s),
        "shift_s": float(shift_s),
        "streams": 1 + len(carried),
        "identical_streams": len(copies),
    }


def _match_streams(
    container: InputContainer, video: Stream, call: dict[str, Any]
) -> list[tuple[Stream, dict[str, Any]]]:
    """Pair the output's streams with those that were to be carried, in their order."""
    expected = list(call["streams"])
    # Chapters of mp4 are a text track of their own beside the list of them.
    chapter_track = "data" if call["chapters"] else ""
    there = [s for s in container.streams if s.index != video.index and s.type != chapter_track]
    if len(there) != len(expected):
        kinds = ", ".join(s.type for s in there) or "none"
        raise _fail(
            f"The finished file has {len(there)} streams beside its video, not {len(expected)}",
            found=kinds,
        )
    pairs = []
    for wanted in expected:
        stream = next((s for s in there if _is_like(s, wanted)), None)
        if stream is None:
            raise _fail(f"The finished file lacks the {wanted['codec']} {wanted['kind']} stream")
        there.remove(stream)
        pairs.append((stream, wanted))
    return pairs


def _is_like(stream: Stream, wanted: dict[str, Any]) -> bool:
    if wanted["is_cover"]:
        return stream.type in ("video", "attachment")
    if stream.type != wanted["kind"]:
        return False
    codec = _codec_of(stream)
    # mp4 has one name for all layers of MPEG audio.
    layers = codec in _MPEG_AUDIO and wanted["codec"] in _MPEG_AUDIO
    return stream.type == "attachment" or layers or codec == wanted["codec"]


def _compare_times(
    found: _Demuxed, base: Fraction, index: MediaIndex, call: dict[str, Any]
) -> tuple[Fraction, Fraction]:
    """Compare each frame's time with the index.

    Returns:
        The largest difference, and by how much the whole film was moved, both in seconds.
    """
    pts = sorted(found.video_pts)
    if not call["keeps_timing"]:
        if call["frames"] is not None and len(pts) != call["frames"]:
            raise _fail(f"The finished file has {len(pts)} frames, not {call['frames']}")
        return Fraction(0), Fraction(0)
    expected = _present(index, call["missing"])
    if len(pts) != len(expected):
        raise _fail(
            f"The finished file has {len(pts)} frames, not {len(expected)}",
            expected=len(expected),
            found=len(pts),
        )
    source_base = Fraction(*index.header["video"]["time_base"])
    offset = rescale(call["start_us"], _MICROSECOND, source_base)
    rounds = call["container"] in ("mkv", "webm")
    shift_s = Fraction(0)
    if rounds and found.side_start_s is not None and found.side_start_s <= _ROUNDING_S:
        # Matroska has no times below 0: where sound starts earlier, all is moved to let it.
        shift_s = max(
            Fraction(0), pts[0] * base - (index.shown[expected[0]] - offset) * source_base
        )
    # All in one common integer unit: fractions of a hundred thousand frames would take seconds.
    unit = Fraction(1, math.lcm(base.denominator, source_base.denominator, shift_s.denominator))
    ours, theirs = int(base / unit), int(source_base / unit)
    limit, shift = int(_ROUNDING_S / unit) if rounds else 0, int(shift_s / unit)
    largest = 0
    for frame, time in zip(expected, pts, strict=True):
        difference = abs(time * ours - shift - (index.shown[frame] - offset) * theirs)
        if difference > limit:
            raise _fail(
                f"Frame {frame} is shown {float(difference * unit) * 1000:.3f} ms off its time",
                frame=frame,
            )
        largest = max(largest, difference)
    return largest * unit, shift_s


def _present(index: MediaIndex, missing: list[list[int]]) -> Sequence[int]:
    """The source's frames that the finished file must have."""
    if not missing:
        return range(index.frames)
    absent = {frame for first, stop in missing for frame in range(first, stop)}
    return [frame for frame in range(index.frames) if frame not in absent]


def _compare_payloads(call: dict[str, Any], copies: dict[int, int], found: _Demuxed) -> None:
    """Compare copied sound and subtitles, source stream to output stream."""
    if not copies:
        return
    with open_input(Path(call["source"])) as source:
        there = _demux(source, None, [source.streams[n] for n in copies])
    for number, payload in there.payloads.items():
        if payload.value() != found.payloads[copies[number]].value():
            raise _fail(
                f"Stream #{copies[number]} does not hold the packets of the source's #{number}",
                expected=payload.packets,
                found=found.payloads[copies[number]].packets,
            )


def compare(call: dict[str, Any], report: Callable[[float], None]) -> dict[str, Any]:
    """Compare frames, times and streams of two finished files; differences are data, not errors."""
    sides = []
    for name in ("source", "output"):
        path, index_path = Path(call[name]), Path(call["directory"]) / f"{name}.index"
        summary = scan(path, index_path, allow_damaged=True, report=report)
        sides.append((summary, MediaIndex(index_path)))
    (_, one), (_, other) = sides
    differences: list[str] = []
    if one.frames != other.frames:
        differences.append(f"{one.frames} frames in the source, {other.frames} in the output")
    error_s, frame = _largest_error(one, other)
    matroska = any("matroska" in side.header["facts"]["format"] for side in (one, other))
    if error_s > (_ROUNDING_S if matroska else Fraction(1, 90_000)):
        differences.append(f"frame {frame} is shown {float(error_s) * 1000:.3f} ms off its time")
    result = {
        "source_frames": one.frames,
        "output_frames": other.frames,
        "largest_time_error_s": float(error_s),
        "differences": differences,
        "source_streams": [s["kind"] for s in one.header["facts"]["streams"]],
        "output_streams": [s["kind"] for s in other.header["facts"]["streams"]],
        "source_video": one.header["facts"]["video_index"],
        "output_video": other.header["facts"]["video_index"],
        "pix_fmt": one.header["video"]["pix_fmt"],
        "damaged": [side.header["damaged"] for side in (one, other)],
    }
    one.close()
    other.close()
    return result


def _largest_error(one: MediaIndex, other: MediaIndex) -> tuple[Fraction, int]:
    bases = [Fraction(*side.header["video"]["time_base"]) for side in (one, other)]
    starts = [side.header["facts"]["start_us"] * _MICROSECOND for side in (one, other)]
    largest, where = Fraction(0), 0
    for frame, (a, b) in enumerate(zip(one.shown, other.shown, strict=False)):
        error = abs((a * bases[0] - starts[0]) - (b * bases[1] - starts[1]))
        if error > largest:
            largest, where = error, frame
    return largest, where
