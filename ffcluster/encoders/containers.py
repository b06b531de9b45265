"""Output containers: which one a file name asks for, and what each can hold."""

from __future__ import annotations

from pathlib import PurePath

from ffcluster.core.profile import AudioMode, Codec, Container, Profile
from ffcluster.errors import ContainerUnsuitable, InvalidOption

_SUFFIXES = {
    ".mp4": Container.MP4,
    ".m4v": Container.MP4,
    ".mov": Container.MOV,
    ".mkv": Container.MKV,
    ".webm": Container.WEBM,
}
# As the muxers of ffmpeg 5.1 and 9.0 accept them; FFV1 in mp4 only by the newer.
_VIDEO = {
    Container.MP4: frozenset({Codec.H264, Codec.HEVC, Codec.AV1, Codec.VP9}),
    Container.MOV: frozenset({Codec.H264, Codec.HEVC, Codec.FFV1}),
    Container.MKV: frozenset(Codec),
    Container.WEBM: frozenset({Codec.AV1, Codec.VP9}),
}
_AUDIO = {
    Container.MP4: frozenset(AudioMode),
    Container.MOV: frozenset(AudioMode) - {AudioMode.OPUS},
    Container.MKV: frozenset(AudioMode),
    Container.WEBM: frozenset(AudioMode) - {AudioMode.AAC},
}


def container_for(output_name: str) -> Container:
    """The container that the suffix of `output_name` asks for.

    Raises:
        InvalidOption: It has no suffix, or one that cannot be written.
    """
    suffix = PurePath(output_name).suffix.lower()
    container = _SUFFIXES.get(suffix)
    if container is None:
        what = f"ends in {suffix}" if suffix else "has no suffix"
        raise InvalidOption(
            message=f"{output_name!r} {what}, so its container is not known",
            option="output",
            advice="let the name end in one of " + ", ".join(_SUFFIXES),
        )
    return container


def check_container(profile: Profile, container: Container) -> None:
    """Check that `container` can hold what `profile` makes.

    Raises:
        ContainerUnsuitable: It cannot; the advice says what can.
    """
    if profile.codec not in _VIDEO[container]:
        holders = [c.value for c, codecs in _VIDEO.items() if profile.codec in codecs]
        held = sorted(codec.value for codec in _VIDEO[container])
        raise ContainerUnsuitable(
            message=f"{container} cannot hold {profile.codec} video",
            advice=f"name the output .{' or .'.join(holders)}, or use --codec {'|'.join(held)}",
        )
    if profile.audio not in _AUDIO[container]:
        held = sorted(mode.value for mode in _AUDIO[container])
        raise ContainerUnsuitable(
            message=f"{container} cannot hold {profile.audio} audio",
            advice=f"use --audio {'|'.join(held)}",
        )
