"""What a hardware encoder's options are made from. Decides nothing about devices or pictures."""

from __future__ import annotations

import attrs

from ffcluster.core.model import Capability
from ffcluster.core.profile import Profile
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.schema import EncoderSchema


@attrs.frozen
class HardwareOrder:
    """All that a hardware encoder's own options depend on.

    Attributes:
        build: The ffmpeg that will run; for trials it has only what the family needs.
        schema: The encoder's settings.
        capability: What was proven, the device and the refused extras included.
        profile: What the user wants; checked against `schema`.
        depth: Bits per sample that reach the encoder.
        on_device: Whether the pictures come from a decoder on the device.
    """

    build: FfmpegBuild
    schema: EncoderSchema
    capability: Capability
    profile: Profile
    depth: int
    on_device: bool = False

    @property
    def encoder(self) -> str:
        """Name of the encoder in ffmpeg."""
        return self.schema.encoder

    @property
    def quality(self) -> float:
        """Constant quality on the encoder's own scale, a default included."""
        given = self.profile.rate.quality
        return float(given if given is not None else self.schema.default_quality or 0)

    def refused(self, extra: str) -> bool:
        """Whether the driver refused `extra` when it was tried."""
        return extra in self.capability.without

    def unless_refused(self, *words: str) -> list[str]:
        """`words` (an option and its value), or nothing where the driver refused the option."""
        return [] if self.refused(words[0].lstrip("-")) else list(words)

    def extras(self, *pairs: tuple[str, str]) -> list[str]:
        """Options that help by default, without those that the user set or the driver refused."""
        given = dict(self.profile.encoder_options)
        args: list[str] = []
        for name, value in pairs:
            if name not in given:
                args += self.unless_refused(f"-{name}", value)
        return args

    def peak(self) -> list[str]:
        """`-maxrate` and `-bufsize`, as far as they are asked for."""
        rate = self.profile.rate
        args = [] if rate.max_bps is None else ["-maxrate", str(rate.max_bps)]
        return args + ([] if rate.buffer_bits is None else ["-bufsize", str(rate.buffer_bits)])

    def structure(self) -> list[str]:
        """Profile, closed GOPs, B-frames and the encoder's own options."""
        profile = self.profile
        args: list[str] = []
        if profile.codec_profile is not None:
            args += ["-profile:v", profile.codec_profile]
        if profile.gop_frames is not None:
            args += ["-g", str(profile.gop_frames)]
        if profile.b_frames is not None and self.schema.max_b_frames:
            args += self.unless_refused("-bf", str(profile.b_frames))
        for name, value in profile.encoder_options:
            args += self.unless_refused(f"-{name}", value)
        return [*args, "-flags", "+cgop"]
