"""What backends of hardware encoders share: detection by trials, and the way of the picture.

A family describes itself as data and a few functions; `HardwareBackend` does the rest:

1. `look` names devices (`Device`), commands that find or open them (`Scout`), or says why there
   are none (`Diagnosis`). With no hardware there should be one scout at most.
2. `read_scout` turns what a scout said into devices.
3. On every device every encoder of the build is tried, with all its default extras, by the very
   arguments that jobs use. A refusal whose rule `drops` an extra is tried again without it.
4. After the first success follow `steps`, one after the other: no encoder opens two sessions at
   a time. What succeeds is claimed, what does not becomes a diagnosis.

Nothing is claimed that was not tried. `options` writes an encoder's own options.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

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
from ffcluster.encoders.benchmarking import StandardBenchmarks
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.hardware_decode import DeviceDecode, Size, scaled_size
from ffcluster.encoders.hardware_order import HardwareOrder
from ffcluster.encoders.hardware_proof import BASE_RANK, Prover
from ffcluster.encoders.hardware_trials import (
    BITRATE,
    DECODE,
    FIRST,
    LOSSLESS,
    TEN_BIT,
    TRIAL_SIZE,
    Device,
    Scout,
    Step,
)
from ffcluster.encoders.picture import Picture, picture_for
from ffcluster.encoders.schema import EncoderSchema
from ffcluster.encoders.troubles import (
    Rule,
    judge,
)
from ffcluster.errors import FfclusterError, UnsupportedOption


def _opened(device: Device, outcome: ProbeOutcome) -> Sequence[Device]:
    return [device] if outcome.returncode == 0 and device.name else []


_TEN_BIT_PROFILES = frozenset({"high10", "main10"})


@attrs.frozen(kw_only=True)
class HardwareBackend(StandardBenchmarks):
    """A family of hardware encoders.

    Attributes:
        name: See `Backend.name`.
        schemas: See `Backend.schemas`.
        platforms: Values of `sys.platform` where the family exists.
        options: Turns an order into the encoder's options, without `-c:v NAME`.
        rules: What the family's error texts mean; see `trouble_tables`.
        look: Names devices, scouts and diagnoses for a build on a machine.
        read_scout: Devices that a scout found: given the scout's device and its outcome.
        steps: What is tried after an encoder's first success, in order.
        first: The first trial of every encoder.
        device_args: Turns a device's name into arguments before the input.
        upload: Filters after `format=` that take the picture to the device.
        decode: How the device decodes and scales, or None.
        hdr10: Whether (build, encoder) writes the source's HDR10 metadata into the stream.
        since: (major, minor) of the first ffmpeg that knows one of the encoders' own options; a
            tune stands as `tune=uhq`, a codec profile as `profile=high10`.
        slots: Attempts that usually pay off side by side on one device. More are not opened to
            find out: a refusal for want of sessions is back-pressure, and lowers it later.
        least_size: Smallest (width, height) in pixels that the whole family is known to take.
        standing: How well the family suits among hardware, where nothing was measured.
    """

    name: str
    schemas: Sequence[EncoderSchema]
    platforms: frozenset[str]
    options: Callable[[HardwareOrder], list[str]]
    rules: Sequence[Rule]
    look: Callable[[FfmpegBuild, Machine], Sequence[Device | Scout | Diagnosis]]
    read_scout: Callable[[Device, ProbeOutcome], Sequence[Device]] = _opened
    steps: Callable[[FfmpegBuild, EncoderSchema], Sequence[Step]] = lambda _build, _schema: ()
    first: Step = FIRST
    device_args: Callable[[str], tuple[str, ...]] = lambda _device: ()
    upload: tuple[str, ...] = ()
    decode: DeviceDecode | None = None
    hdr10: Callable[[FfmpegBuild, str], bool] = lambda _build, _encoder: False
    since: Mapping[str, tuple[int, int]] = attrs.field(factory=dict)
    slots: int = 2
    least_size: tuple[int, int] = (1, 1)
    standing: int = 0
    api_version: int = API_VERSION

    def detect(self, build: FfmpegBuild, machine: Machine) -> Sequence[Finding]:
        """Look for devices; that an encoder is compiled in does not mean that it works."""
        return Prover(self).begin(build, machine)

    def interpret(self, probe: Probe, outcome: ProbeOutcome) -> Sequence[Finding]:
        """Draw conclusions from a scout or a trial, and ask for what follows."""
        return Prover(self).go_on(probe, outcome)

    def arguments(
        self,
        build: FfmpegBuild,
        capability: Capability,
        profile: Profile,
        video: VideoFormat,
        *,
        threads: int,
        hardware_decode: bool = False,
    ) -> EncodeArguments:
        """See `Backend.arguments`.

        The picture goes: decoder, `context_filters`, trim, the profile's filters, `format=`,
        upload. With `hardware_decode`: decoder, trim and scaler, all on the device.
        """
        schema = self.schema(capability.encoder)
        schema.check(profile)
        self._check_build(build, profile)
        picture = picture_for(profile, video, capability.pix_fmts, schema.encoder)
        order = HardwareOrder(build, schema, capability, profile, picture.pix_fmt.depth)
        notes = [*picture.notes, *self._hdr_notes(order, video)]
        if hardware_decode:
            try:
                return self._on_device(order, video, picture, tuple(notes))
            except ValueError as reason:
                notes.append(f"decoded in software: {reason}")
        return EncodeArguments(
            global_args=self.device_args(capability.device),
            context_filters=picture.context_filters,
            filters=(*picture.filters, *self.upload),
            output_args=self._output_args(order, picture),
            compare_as=picture.compare_as,
            notes=tuple(notes),
        )

    def veto(self, capability: Capability, profile: Profile, video: VideoFormat) -> str | None:
        """Whether the driver refused what is asked for, or cannot take the source's pictures."""
        for name, _ in profile.encoder_options:
            if name in capability.without:
                return f"the device {capability.device} does not take {name}"
        if profile.codec_profile in _TEN_BIT_PROFILES and 10 not in capability.bit_depths:
            return f"the device {capability.device} does not write 10 bits per sample"
        if profile.b_frames and "bf" in capability.without:
            return f"the device {capability.device} makes no such B-frames"
        try:
            picture_for(profile, video, capability.pix_fmts, capability.encoder)
        except FfclusterError as error:
            return str(error)
        return None

    def rank(self, capability: Capability, profile: Profile) -> int:
        """Every hardware encoder stands above the software encoders."""
        return capability.rank

    def explain(self, capability: Capability, outcome: ProbeOutcome) -> Diagnosis | None:
        """What the table of error texts says of a failed command; None when it is silent."""
        verdict = judge(self.rules, outcome)
        if verdict is None:
            return None
        return verdict.diagnosis(
            self.name, capability.device, capability.encoder, capability.ffmpeg
        )

    def joins(self, one: Capability, other: Capability, profile: Profile) -> bool | None:
        """No opinion: equal parameter sets decide."""
        return None

    def schema(self, encoder: str) -> EncoderSchema:
        """The settings of `encoder`, one of the family's."""
        return {s.encoder: s for s in self.schemas}[encoder]

    def _check_build(self, build: FfmpegBuild, profile: Profile) -> None:
        """Refuse what newer ffmpegs know and this one does not."""
        asked = [name for name, _ in profile.encoder_options]
        asked += [f"tune={profile.tune}", f"profile={profile.codec_profile}"]
        for name in asked:
            needed = self.since.get(name)
            if needed is not None and not build.at_least(*needed):
                raise UnsupportedOption(
                    message=f"ffmpeg {build.version} does not know {self.name}'s {name}",
                    option=name.partition("=")[0],
                    advice=f"leave it out, or use ffmpeg {needed[0]}.{needed[1]} or newer",
                )

    def _on_device(
        self, order: HardwareOrder, video: VideoFormat, picture: Picture, notes: tuple[str, ...]
    ) -> EncodeArguments:
        """Decode, scale and encode on the device.

        Raises:
            ValueError: It cannot be done there; the text says why.
        """
        if self.decode is None:
            raise ValueError(f"{self.name} has no decoding on the device here")
        filters = self.decode.filters(order.build, order.profile, video, picture)
        global_args, input_args = self.decode.devices(order.capability.device)
        order = attrs.evolve(order, on_device=True)
        return EncodeArguments(
            global_args=global_args,
            input_args=input_args,
            filters=filters,
            output_args=self._output_args(order, picture),
            compare_as=picture.compare_as,
            notes=notes,
        )

    def _output_args(self, order: HardwareOrder, picture: Picture) -> tuple[str, ...]:
        return ("-c:v", order.encoder, *self.options(order), *picture.output_args)

    def _hdr_notes(self, order: HardwareOrder, video: VideoFormat) -> Iterable[str]:
        has_hdr = video.mastering_display or video.content_light
        if not has_hdr or self.hdr10(order.build, order.encoder):
            return ()
        return (f"{order.encoder} is not known to write HDR10 metadata into the stream",)


__all__ = [
    "BASE_RANK",
    "BITRATE",
    "DECODE",
    "FIRST",
    "LOSSLESS",
    "TEN_BIT",
    "TRIAL_SIZE",
    "Device",
    "DeviceDecode",
    "HardwareBackend",
    "HardwareOrder",
    "Scout",
    "Size",
    "Step",
    "scaled_size",
]
