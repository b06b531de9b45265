"""Open foreign files with PyAV, safely. Runs in helper processes only; imports no Twisted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import av.container
import av.error
from av.container import InputContainer
from av.video.stream import VideoStream

from ffcluster.media.limits import MAX_PIXELS, PROTOCOLS, SOURCE_FORMATS

GEN_PTS = int(av.container.Flags.gen_pts.value)  # type: ignore[call-overload]


class HelperError(Exception):
    """An error of ffcluster's tree as data, since its classes are not loaded here.

    Attributes:
        code: Value of `ffcluster.errors.Code`.
        message: One line for a person.
        advice: What can be done.
        detail: Evidence.
    """

    def __init__(self, code: str, message: str, advice: str = "", **detail: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.advice = advice
        self.detail = detail


def open_input(
    path: Path, formats: tuple[str, ...] = SOURCE_FORMATS, **options: str
) -> InputContainer:
    """Open `path` as a local file in one of `formats`.

    Raises:
        av.error.FFmpegError: It cannot be opened.
        HelperError: Its pictures are too large.
    """
    settings = {
        "protocol_whitelist": ",".join(PROTOCOLS),
        "format_whitelist": ",".join(formats),
        "max_pixels": str(MAX_PIXELS),
    } | options
    container = av.open(
        f"file:{path.absolute()}", container_options=settings, metadata_errors="replace"
    )
    # PyAV asks for missing times to be worked out; ffmpeg does not, and its times are the truth.
    container.flags &= ~GEN_PTS
    for stream in container.streams.video:
        if stream.codec_context is None:
            continue
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > MAX_PIXELS:
            container.close()
            raise HelperError(
                "source_unreadable",
                f"{path.name} has pictures of {width} x {height}, which is too large",
            )
    return container


def video_streams(container: InputContainer) -> list[VideoStream]:
    """The streams of moving pictures: video, but no cover pictures."""
    attached = av.stream.Disposition.attached_pic
    return [s for s in container.streams.video if not s.disposition & attached]


def only(container: InputContainer, *wanted: Any) -> None:
    """Let the demuxer pass over the packets of all other streams."""
    numbers = {stream.index for stream in wanted}
    for stream in container.streams:
        keep = stream.index in numbers
        stream.discard = av.stream.Discard.default if keep else av.stream.Discard.all
