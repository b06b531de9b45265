"""The software encoders: libx264, libx265, SVT-AV1, libaom, libvpx-vp9 and FFV1.

A plugin like any other: it comes in through the public hooks only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import attrs

from ffcluster.core.media import VideoFormat
from ffcluster.core.model import Capability
from ffcluster.core.profile import Profile
from ffcluster.encoders.backend import (
    API_VERSION,
    Backend,
    Diagnosis,
    EncodeArguments,
    Finding,
    Machine,
    Probe,
    ProbeOutcome,
)
from ffcluster.encoders.benchmarking import StandardBenchmarks
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.hookspecs import hookimpl
from ffcluster.encoders.picture import picture_for
from ffcluster.encoders.pixfmt import describe
from ffcluster.encoders.schema import EncoderSchema
from ffcluster.encoders.software_arguments import (
    ENCODERS,
    Order,
    check_options,
    check_picture,
    hdr_notes,
)
from ffcluster.encoders.software_schemas import SCHEMAS
from ffcluster.encoders.software_troubles import RULES
from ffcluster.encoders.troubles import diagnose
from ffcluster.errors import FfclusterError

_BY_NAME = {schema.encoder: schema for schema in SCHEMAS}
_FORMATS = re.compile(r"^\s*Supported pixel formats: (.+)$", re.MULTILINE)
_RANKS = {"libx264": 50, "libx265": 50, "libsvtav1": 50, "libaom-av1": 10, "libvpx-vp9": 50}
_MIN_SIZES = {"libx265": (16, 16)}
# SVT-AV1 before 2.0, which ffmpeg 5 and 6 were built with, refuses smaller pictures.
_OLD_SVT_MIN_SIZE = (64, 64)
_DECODES = ("software encoders decode on the CPU as well",)


@attrs.frozen
class SoftwareBackend(StandardBenchmarks):
    """Encoders that run on the CPU."""

    name: str = "software"
    api_version: int = API_VERSION
    schemas: Sequence[EncoderSchema] = SCHEMAS

    def detect(self, build: FfmpegBuild, machine: Machine) -> Sequence[Finding]:
        """Ask `build` for the pixel formats of every encoder that it lists.

        A software encoder needs no device: that it is linked in and says what it takes is enough.
        """
        findings: list[Finding] = []
        for schema in SCHEMAS:
            if schema.encoder not in build.encoders:
                hint = "use an ffmpeg that has it, for example: pip install imageio-ffmpeg"
                cause = f"this ffmpeg was built without {schema.encoder}"
                missing = Diagnosis(self.name, "", cause, hint, schema.encoder)
                findings.append(attrs.evolve(missing, ffmpeg=build.version))
                continue
            context = (
                ("cpus", str(machine.cpus)),
                ("major", str(build.major)),
                ("ffmpeg", build.version),
            )
            argv = ("-hide_banner", "-h", f"encoder={schema.encoder}")
            findings.append(Probe(self.name, argv, schema.encoder, schema.codec, context=context))
        return findings

    def interpret(self, probe: Probe, outcome: ProbeOutcome) -> Sequence[Finding]:
        """Read the pixel formats that an encoder says it takes."""
        given = dict(probe.context)
        found = _FORMATS.search(outcome.stdout)
        names = tuple(n for n in found[1].split() if _usable(probe.encoder, n)) if found else ()
        if outcome.returncode != 0 or not names:
            diagnosis = diagnose(RULES, outcome, self.name, "", probe.encoder, given["ffmpeg"])
            cause = f"ffmpeg does not say what {probe.encoder} takes"
            silent = Diagnosis(self.name, "", cause, "try another ffmpeg", probe.encoder)
            return [diagnosis or attrs.evolve(silent, ffmpeg=given["ffmpeg"])]
        schema = _BY_NAME[probe.encoder]
        slots, threads = _slots(schema.encoder, int(given["cpus"]))
        min_size = _MIN_SIZES.get(schema.encoder, (1, 1))
        if schema.encoder == "libsvtav1" and int(given["major"]) < 7:
            min_size = _OLD_SVT_MIN_SIZE
        depths = {f.depth for f in map(describe, names) if f is not None}
        return [
            Capability(
                encoder=schema.encoder,
                codec=schema.codec,
                backend=self.name,
                pix_fmts=names,
                slots=slots,
                threads=threads,
                rate_modes=schema.rate_modes,
                presets=schema.presets,
                bit_depths=tuple(sorted(depths)),
                min_size=min_size,
                rank=_RANKS.get(schema.encoder, 0),
                ffmpeg=given["ffmpeg"],
            )
        ]

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
        """See `Backend.arguments`; the CPU decodes, whatever `hardware_decode` says."""
        schema = _BY_NAME[capability.encoder]
        schema.check(profile)
        check_options(profile, build, schema.encoder)
        order = _order(capability, profile, video, threads)
        picture = order.picture
        return EncodeArguments(
            context_filters=picture.context_filters,
            filters=picture.filters,
            output_args=(
                "-c:v",
                schema.encoder,
                *ENCODERS[schema.encoder](order),
                *picture.output_args,
            ),
            compare_as=picture.compare_as,
            notes=(*picture.notes, *hdr_notes(order), *(_DECODES if hardware_decode else ())),
        )

    def veto(self, capability: Capability, profile: Profile, video: VideoFormat) -> str | None:
        """Whether settings contradict each other, or the source's pictures cannot go in so."""
        try:
            ENCODERS[capability.encoder](_order(capability, profile, video, capability.threads))
        except FfclusterError as error:
            return str(error)
        return None

    def rank(self, capability: Capability, profile: Profile) -> int:
        """See `Backend.rank`."""
        return capability.rank

    def explain(self, capability: Capability, outcome: ProbeOutcome) -> Diagnosis | None:
        """See `Backend.explain`; memory that is used up asks for fewer attempts at once."""
        return diagnose(RULES, outcome, self.name, "", capability.encoder, capability.ffmpeg)

    def joins(self, one: Capability, other: Capability, profile: Profile) -> bool | None:
        """No opinion: what was written decides."""
        return None


@hookimpl
def ffcluster_backends() -> Sequence[Backend]:
    """Offer the software backend."""
    return [SoftwareBackend()]


def _order(capability: Capability, profile: Profile, video: VideoFormat, threads: int) -> Order:
    picture = picture_for(profile, video, capability.pix_fmts, capability.encoder)
    check_picture(profile, picture.pix_fmt, capability.encoder)
    return Order(_BY_NAME[capability.encoder], profile, video, picture, threads)


def _usable(encoder: str, name: str) -> bool:
    known = describe(name)
    if known is None or known.full_range:
        return False
    if known.family == "yuv" and not known.planar:
        return False
    # H.264's monochrome decodes to 4:2:0, so it would not come out as it went in.
    return not (encoder == "libx264" and known.family == "gray")


def _slots(encoder: str, cpus: int) -> tuple[int, int]:
    """(attempts side by side, threads of each) that keep `cpus` processors busy.

    Measured on two processors: single-threaded encoders side by side waste least, and SVT-AV1
    fills the machine alone. Larger machines get more threads per attempt, to bound memory and
    the time that the film's last segment takes.
    """
    if encoder == "libsvtav1":
        return 1, 0
    threads = 1 if cpus <= 4 else 2 if cpus <= 32 else 4
    return max(1, cpus // threads), threads
