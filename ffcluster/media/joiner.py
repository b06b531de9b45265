"""The process that writes one output: `python -m ffcluster.media.joiner`.

Frames are known by their index: the packet of rank r in segment [a, b) shows source frame a + r
and gets that frame's time, whatever the encoder wrote. Other streams are read from the source
beside it, no further than the video has come, so that all are interleaved as they are shown.
Segments are read one at a time; nothing grows with their number but the muxer's own tables.
Where segments are missing, and may be, the rest keeps its times: the picture before a gap stays
until the next one comes, in every container, since none has a time at which a picture ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from ffcluster.media.beside import SideStreams
from ffcluster.media.bitstream import BitstreamError, brings_sequence_header, in_band_prefix
from ffcluster.media.helper import serve
from ffcluster.media.index import MediaIndex
from ffcluster.media.opening import HelperError
from ffcluster.media.results import open_result
from ffcluster.media.timing import decode_time, ranks, reorder_delay, rescale

_MICROSECOND = Fraction(1, 1_000_000)
_FORMATS = {"mkv": "matroska", "webm": "webm", "mp4": "mp4", "mov": "mov"}
# Sample entries: parameter sets in the header only, or also before keyframes.
_TAGS = {
    ("hevc", False): "hvc1", ("hevc", True): "hev1",
    ("h264", False): "avc1", ("h264", True): "avc3",
}  # fmt: skip
_BUFFER_BYTES = 1024 * 1024
# Packets come in the order of their decoding times already; longer queues would only grow.
_INTERLEAVE_US = "1000000"


class JoinSession:
    """One join, from its first segment to the container's end."""

    def __init__(self) -> None:
        self._output: OutputContainer | None = None

    def start(self, call: dict[str, Any], report: Callable[[float], None]) -> Any:
        """Keep the settings; the output is opened with the first segment's header."""
        self._call = call
        self._index = MediaIndex(Path(call["index"]))
        header = self._index.header
        self._base = Fraction(*header["video"]["time_base"])
        self._offset = rescale(call["start_us"], _MICROSECOND, self._base)
        self._delay = int(call["delay"])
        self._step = int(header["step"])
        self._next_frame = 0
        # Times of the last frames that were joined, as far back as decoding times reach.
        self._recent: list[int] = []
        return True

    def append(self, call: dict[str, Any], report: Callable[[float], None]) -> Any:
        """Write one segment's packets."""
        path = Path(call["result"])
        try:
            times = self._read_times(path)
            container, video = open_result(path)
            with container:
                if self._output is None:
                    self._open_output(video, call["first"])
                placed = self._place(times, call["first"], call["stop"], video)
                self._write(video, (p for p in container.demux(video) if p.size), placed)
        except (av.error.FFmpegError, BitstreamError) as cause:
            raise _failed(cause) from cause
        return True

    def finish(self, call: dict[str, Any], report: Callable[[float], None]) -> Any:
        """Write what is left of the other streams and end the container."""
        is_whole = self._next_frame == self._index.frames or self._call["gaps"]
        if self._call["keeps_timing"] and not is_whole:
            raise HelperError(
                "join_failed",
                f"{self._next_frame} of {self._index.frames} frames were joined",
            )
        try:
            self._beside.write_until(None)
            if self._output is not None:
                self._output.close()
            self._beside.close()
        except av.error.FFmpegError as cause:
            raise _failed(cause) from cause
        return True

    def _read_times(self, path: Path) -> list[int]:
        container, video = open_result(path)
        with container:
            return [p.pts or 0 for p in container.demux(video) if p.size]

    def _open_output(self, template: VideoStream, first: int) -> None:
        call = self._call
        container = call["container"]
        output = av.open(
            f"file:{call['target']}",
            "w",
            format=_FORMATS[container],
            container_options={"max_interleave_delta": _INTERLEAVE_US} | self._exact_edits(first),
            buffer_size=_BUFFER_BYTES,
        )
        video = output.add_stream_from_template(template, opaque=True)
        codec = template.codec_context.codec.canonical_name
        tag = _TAGS.get((codec, bool(call["in_band"])))
        if tag and container in ("mp4", "mov"):
            video.codec_context.codec_tag = tag
        matrix = self._index.header["matrix"]
        if matrix:
            video.set_display_matrix(matrix)
        self._time_base = self._own_base(template)
        video.time_base = self._time_base
        self._codec = codec
        self._beside = SideStreams(output, video, call, self._index.header)
        output.start_encoding()
        self._beside.started()
        self._output, self._video = output, video

    def _exact_edits(self, first: int) -> dict[str, str]:
        """Let edit lists count finely enough to say exactly when a late video starts."""
        if self._call["container"] not in ("mp4", "mov"):
            return {}
        start_ms = (self._index.shown[first] - self._offset) * self._base * 1000
        if start_ms.denominator == 1:
            return {}
        return {"movie_timescale": str(self._base.denominator)}

    def _own_base(self, template: VideoStream) -> Fraction:
        """Time base of the output's video: the source's, or that of the filters' frame rate."""
        if self._call["keeps_timing"]:
            return self._base
        rate = template.average_rate
        return 1 / rate if rate and rate >= 5 else Fraction(1, 1000)

    def _place(
        self, times: list[int], first: int, stop: int, video: VideoStream
    ) -> Iterator[tuple[int, int, int]]:
        if not self._call["keeps_timing"]:
            return self._by_own_times(times, video)
        follows = first == self._next_frame or (self._call["gaps"] and first > self._next_frame)
        if len(times) != stop - first or not follows:
            raise HelperError("join_failed", f"segment [{first}, {stop}) is not what it was")
        self._next_frame = stop
        return self._by_index(times, first)

    def _by_index(self, times: list[int], first: int) -> Iterator[tuple[int, int, int]]:
        """(pts, dts, duration) of each packet: the rank says which source frame it shows."""
        shown, end = self._index.shown, self._index.end_ticks
        last = self._index.frames - 1
        joined = [*self._recent, *shown[first : first + len(times)]]
        before = len(self._recent)
        self._recent = joined[-self._delay :] if self._delay else []
        for position, rank in enumerate(ranks(times)):
            frame = first + rank
            following = shown[frame + 1] if frame < last else end
            dts = decode_time(joined, before + position, self._delay, self._step)
            yield shown[frame] - self._offset, dts - self._offset, following - shown[frame]

    def _by_own_times(self, times: list[int], video: VideoStream) -> Iterator[tuple[int, int, int]]:
        """As `_by_index`, from the result's own times: filters made frames of their own."""
        base = video.time_base or Fraction(1, 1000)
        rank = ranks(times)
        delay = max(self._delay, reorder_delay(rank))
        origin = self._piece_origin() * self._base - self._call["start_us"] * _MICROSECOND
        start = rescale(round(origin / _MICROSECOND), _MICROSECOND, self._time_base)
        shown = [rescale(t, base, self._time_base) + start for t in sorted(times)]
        step = max(1, (shown[-1] - shown[0]) // max(1, len(shown) - 1))
        for position, r in enumerate(rank):
            following = shown[r + 1] if r + 1 < len(shown) else shown[r] + step
            dts = decode_time(shown, position, delay, step)
            yield shown[r], dts, following - shown[r]

    def _piece_origin(self) -> int:
        """The source's time that is 0 in a piece of the whole film."""
        from ffcluster.media.split import PiecePlan

        return PiecePlan(self._index, self._base, 0, self._index.packets - 1).origin

    def _write(
        self,
        video: VideoStream,
        packets: Iterator[Packet[VideoStream]],
        placed: Iterator[tuple[int, int, int]],
    ) -> None:
        assert_open = self._output
        if assert_open is None:
            raise HelperError("join_failed", "the output is not open")
        prefix = self._prefix(video)
        for packet, (pts, dts, duration) in zip(packets, placed, strict=True):
            self._beside.write_until(dts * self._time_base)
            written = self._with_sets(packet, prefix)
            written.stream = self._video
            written.time_base = self._time_base
            written.pts, written.dts, written.duration = pts, dts, duration
            assert_open.mux_one(written)

    def _prefix(self, video: VideoStream) -> bytes:
        if not self._call["in_band"]:
            return b""
        return in_band_prefix(self._codec, video.codec_context.extradata or b"")

    def _with_sets(self, packet: Packet[VideoStream], prefix: bytes) -> Packet[VideoStream]:
        if not self._call["in_band"] or not packet.is_keyframe:
            return packet
        if self._codec == "av1" and not brings_sequence_header(bytes(packet)):
            raise HelperError(
                "incompatible_segments",
                "Segments have different AV1 headers and their keyframes do not bring them",
                "Pin one encoder with --encoder.",
            )
        if not prefix:
            return packet
        extended: Packet[Any] = Packet(prefix + bytes(packet))
        extended.is_keyframe = True
        return extended


def _failed(cause: Exception) -> HelperError:
    errno = getattr(cause, "errno", None)
    if errno == 28:
        return HelperError("disk_full", "There is no room left for the output")
    return HelperError("join_failed", f"Joining failed: {cause}")


def main() -> None:
    """Serve one join."""
    session = JoinSession()
    serve({"start": session.start, "append": session.append, "finish": session.finish})


if __name__ == "__main__":
    main()
