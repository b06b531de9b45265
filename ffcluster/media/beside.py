"""Everything beside the pictures while an output is written: sound, subtitles, fonts, chapters.

Runs in the joining process only. Copied packets stay as they are; only their times are moved so
that the source's earliest becomes 0, as ffmpeg does.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from ffcluster.media.opening import only, open_input
from ffcluster.media.timing import rescale

_MICROSECOND = Fraction(1, 1_000_000)
# What describes the source's own container, or its video before it was encoded anew.
_CONTAINER_TAGS = frozenset({
    "major_brand", "minor_version", "compatible_brands", "creation_time", "encoder", "duration",
})  # fmt: skip
_STATISTICS = ("_statistics", "bps", "number_of_", "duration", "encoder")
_COVER_TYPES = {"mjpeg": ("cover.jpg", "image/jpeg"), "png": ("cover.png", "image/png"),
                "bmp": ("cover.bmp", "image/bmp")}  # fmt: skip


def _kept(tags: dict[str, str], *, encoded: bool) -> dict[str, str]:
    dropped = _STATISTICS if encoded else ("encoder",)
    return {k: v for k, v in tags.items() if not k.lower().startswith(dropped)}


class _Feed:
    """Packets of one input, with one looked at ahead."""

    def __init__(
        self, container: InputContainer, targets: dict[int, Stream], offset_us: int
    ) -> None:
        self.container = container
        self._targets = targets
        self._offset_us = offset_us
        self._last: dict[int, int] = {}
        self._packets = self._read()
        self._ahead: Packet[Stream] | None = next(self._packets, None)

    def _read(self) -> Iterator[Packet[Stream]]:
        for packet in self.container.demux(*(self.container.streams[n] for n in self._targets)):
            if packet.size or packet.pts is not None:
                yield self._moved(packet)

    def _moved(self, packet: Packet[Stream]) -> Packet[Stream]:
        source = packet.stream_index
        base = packet.time_base
        offset = rescale(self._offset_us, _MICROSECOND, base)
        dts = packet.dts if packet.dts is not None else packet.pts
        following = self._last.get(source)
        if dts is None:
            dts = 0 if following is None else following
        else:
            dts -= offset
        pts = dts if packet.pts is None else packet.pts - offset
        if following is not None and dts < following:
            dts, pts = following, max(pts, following)
        self._last[source] = dts + 1
        packet.stream = self._targets[source]
        packet.time_base = base
        packet.pts, packet.dts = pts, dts
        return packet

    def until(self, limit_s: Fraction | None) -> Iterator[Packet[Stream]]:
        """Packets whose decoding time is not after `limit_s`; all that are left for None."""
        while self._ahead is not None:
            packet = self._ahead
            if limit_s is not None and (packet.dts or 0) * packet.time_base > limit_s:
                return
            self._ahead = next(self._packets, None)
            yield packet


class SideStreams:
    """The streams of one output that are not its video.

    Args:
        output: The output, not started yet; its video stream is there already.
        video: That video stream.
        call: The join's settings.
        header: Header of the source's index.
    """

    def __init__(
        self,
        output: OutputContainer,
        video: VideoStream,
        call: dict[str, Any],
        header: dict[str, Any],
    ) -> None:
        self._output = output
        self._feeds: list[_Feed] = []
        self._covers: list[Packet[Stream]] = []
        self._inputs: list[InputContainer] = []
        self._start_us = int(call["start_us"])
        source = self._open(Path(call["source"]))
        conversion = None
        if call["conversion"]:
            conversion = self._open(Path(call["conversion"]))
        self._describe(source, video, header, chapters=call["chapters"])
        copied: dict[int, Stream] = {}
        converted: dict[int, Stream] = {}
        number = 0
        for wanted in call["streams"]:
            original = source.streams[wanted["source_index"]]
            if wanted["converted"] and conversion is not None:
                template = conversion.streams[number]
                converted[number] = self._add(template, original)
                number += 1
            elif wanted["is_cover"]:
                self._add_cover(source, original, wanted["codec"], call["container"])
            elif wanted["kind"] == "attachment":
                output.add_stream_from_template(original)
            else:
                copied[original.index] = self._add(original, original)
        self._wanted = [(source, copied, self._start_us), (conversion, converted, 0)]

    def _open(self, path: Path) -> InputContainer:
        container = open_input(path)
        self._inputs.append(container)
        return container

    def _add(self, template: Stream, original: Stream) -> Stream:
        stream = self._output.add_stream_from_template(template, opaque=True)
        stream.metadata.update(_kept(original.metadata, encoded=template is not original))
        stream.disposition = original.disposition
        return stream

    def _describe(
        self, source: InputContainer, video: VideoStream, header: dict[str, Any], *, chapters: bool
    ) -> None:
        tags = {k: v for k, v in source.metadata.items() if k.lower() not in _CONTAINER_TAGS}
        self._output.metadata.update(tags)
        original = source.streams[header["facts"]["video_index"]]
        video.metadata.update(_kept(original.metadata, encoded=True))
        video.disposition = original.disposition
        if chapters:
            self._output.set_chapters([self._chapter(c) for c in source.chapters()])

    def _chapter(self, chapter: Any) -> Any:
        base = chapter["time_base"]
        offset = rescale(self._start_us, _MICROSECOND, base)
        moved = {"start": chapter["start"] - offset, "end": chapter["end"] - offset}
        return {**chapter, **moved}

    def _add_cover(
        self, source: InputContainer, original: Stream, codec: str, container: str
    ) -> None:
        picture = next((bytes(p) for p in self._cover_packets(original.index) if p.size), b"")
        if not picture:
            return
        if container == "mkv":
            name, mime = _COVER_TYPES[codec]
            self._output.add_attachment(original.metadata.get("filename", name), mime, picture)
            return
        stream = self._output.add_stream_from_template(original, opaque=True)
        stream.disposition = Disposition.attached_pic
        packet: Packet[Stream] = Packet(picture)
        packet.stream = stream
        packet.pts = packet.dts = 0
        packet.is_keyframe = True
        self._covers.append(packet)

    def _cover_packets(self, number: int) -> Iterator[Packet[Stream]]:
        with open_input(Path(self._inputs[0].name.removeprefix("file:"))) as again:
            only(again, again.streams[number])
            yield from again.demux(again.streams[number])

    def started(self) -> None:
        """The output's header is written: go on with packets."""
        for cover in self._covers:
            cover.time_base = _MICROSECOND
            self._output.mux_one(cover)
        for container, targets, offset_us in self._wanted:
            if container is not None and targets:
                only(container, *(container.streams[n] for n in targets))
                self._feeds.append(_Feed(container, targets, offset_us))

    def write_until(self, limit_s: Fraction | None) -> None:
        """Write the packets that are due before the video goes on at `limit_s` seconds."""
        for feed in self._feeds:
            for packet in feed.until(limit_s):
                self._output.mux_one(packet)

    def close(self) -> None:
        """Let go of the inputs."""
        for container in self._inputs:
            container.close()
