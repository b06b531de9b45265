"""What backends of hardware encoders share. Says of nothing that it works: that takes a trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs

from ffcluster.core.media import VideoFormat
from ffcluster.core.model import Capability
from ffcluster.core.profile import Profile
from ffcluster.encoders.backend import (
    API_VERSION,
    Diagnosis,
    EncodeArguments,
    Finding,
    Machine,
    Probe,
    ProbeOutcome,
)
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.picture import picture_for
from ffcluster.encoders.schema import EncoderSchema
from ffcluster.errors import FfclusterError

# Below every capability of a hardware encoder and above every one in software.
BASE_RANK = 100


@attrs.frozen
class HardwareOrder:
    """All that a hardware encoder's own options depend on.

    Attributes:
        build: The ffmpeg that will run.
        schema: The encoder's settings.
        capability: What was proven, the device and the refused extras included.
        profile: What the user wants; checked against `schema`.
        depth: Bits per sample that reach the encoder.
    """

    build: FfmpegBuild
    schema: EncoderSchema
    capability: Capability
    profile: Profile
    depth: int

    @property
    def encoder(self) -> str:
        """Name of the encoder in ffmpeg."""
        return self.schema.encoder

    @property
    def quality(self) -> float:
        """Constant quality on the encoder's own scale, a default included."""
        given = self.profile.rate.quality
        return float(given if given is not None else self.schema.default_quality or 0)

    def unless_refused(self, *words: str) -> list[str]:
        """`words` (an option and its value), or nothing where the driver refused the option."""
        return [] if words[0].lstrip("-") in self.capability.without else list(words)

    def peak(self) -> list[str]:
        """`-maxrate` and `-bufsize`, as far as they are asked for."""
        rate = self.profile.rate
        args = [] if rate.max_bps is None else ["-maxrate", str(rate.max_bps)]
        return args + ([] if rate.buffer_bits is None else ["-bufsize", str(rate.buffer_bits)])

    def structure(self) -> list[str]:
        """Profile, GOP, B-frames and the encoder's own options."""
        profile = self.profile
        args: list[str] = []
        if profile.codec_profile is not None:
            args += ["-profile:v", profile.codec_profile]
        if profile.gop_frames is not None:
            args += ["-g", str(profile.gop_frames)]
        if profile.b_frames is not None and self.schema.max_b_frames:
            args += ["-bf", str(profile.b_frames)]
        for name, value in profile.encoder_options:
            args += self.unless_refused(f"-{name}", value)
        return [*args, "-flags", "+cgop"]


@attrs.frozen(kw_only=True)
class HardwareBackend:
    """A family of hardware encoders.

    Attributes:
        name: See `Backend.name`.
        schemas: See `Backend.schemas`.
        platforms: Values of `sys.platform` where the family exists.
        hint: How the owner of such hardware goes on.
        options: Turns an order into the encoder's options, without `-c:v NAME`.
        device_args: Turns a device into arguments before the input.
        upload: Filters after `format=` that take the picture to the device.
        hdr10: Encoders that write the source's HDR10 metadata.
    """

    name: str
    schemas: Sequence[EncoderSchema]
    platforms: frozenset[str]
    hint: str
    options: Callable[[HardwareOrder], list[str]]
    device_args: Callable[[str], tuple[str, ...]] = lambda _device: ()
    upload: tuple[str, ...] = ()
    hdr10: frozenset[str] = frozenset()
    api_version: int = API_VERSION

    def detect(self, build: FfmpegBuild, machine: Machine) -> Sequence[Finding]:
        """Claim nothing: that an encoder is compiled in does not mean that it works."""
        if machine.platform not in self.platforms:
            return []
        compiled = [s.encoder for s in self.schemas if s.encoder in build.encoders]
        if not compiled:
            cause = f"this ffmpeg was built without {self.name} encoders"
            return [Diagnosis(self.name, "", cause, "use an ffmpeg that has them")]
        cause = f"not probed: {', '.join(compiled)} are compiled in, but none was tried"
        return [Diagnosis(self.name, "", cause, self.hint)]

    def interpret(self, probe: Probe, outcome: ProbeOutcome) -> Sequence[Finding]:
        """Conclude nothing: `detect` asks for no probe."""
        return []

    def arguments(
        self,
        build: FfmpegBuild,
        capability: Capability,
        profile: Profile,
        video: VideoFormat,
        *,
        threads: int,
    ) -> EncodeArguments:
        """See `Backend.arguments`."""
        schema = self._schema(capability.encoder)
        schema.check(profile)
        picture = picture_for(profile, video, capability.pix_fmts, schema.encoder)
        order = HardwareOrder(build, schema, capability, profile, picture.pix_fmt.depth)
        notes = list(picture.notes)
        hdr = video.mastering_display or video.content_light
        if hdr and schema.encoder not in self.hdr10:
            notes.append(f"{schema.encoder} is not known to write HDR10 metadata into the stream")
        return EncodeArguments(
            global_args=self.device_args(capability.device),
            context_filters=picture.context_filters,
            filters=(*picture.filters, *self.upload),
            output_args=("-c:v", schema.encoder, *self.options(order), *picture.output_args),
            compare_as=picture.compare_as,
            notes=tuple(notes),
        )

    def veto(self, capability: Capability, profile: Profile, video: VideoFormat) -> str | None:
        """Whether the source's pictures cannot go into the encoder as the profile asks."""
        try:
            picture_for(profile, video, capability.pix_fmts, capability.encoder)
        except FfclusterError as error:
            return str(error)
        return None

    def rank(self, capability: Capability, profile: Profile) -> int:
        """Every hardware encoder stands above the software encoders."""
        return BASE_RANK + capability.rank

    def _schema(self, encoder: str) -> EncoderSchema:
        by_name: Mapping[str, EncoderSchema] = {s.encoder: s for s in self.schemas}
        return by_name[encoder]
