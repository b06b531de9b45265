"""What the contract suite asks backends with, and what it looks for in their schemas."""

from __future__ import annotations

from collections.abc import Iterable

from ffcluster.core.model import Capability
from ffcluster.core.profile import RateControl, RateMode
from ffcluster.encoders.backend import Backend, EncoderSchema, Machine
from ffcluster.encoders.benchmarking import BenchmarkTask
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.testing.fakes import fake_build, fake_machine, sample_video
from ffcluster.testing.linting import sampled_profiles


def situations(backend: Backend, platform: str) -> list[tuple[FfmpegBuild, Machine]]:
    """Each supported ffmpeg with all of the encoders, with devices and without."""
    encoders = [schema.encoder for schema in backend.schemas]
    machines = [fake_machine(platform), fake_machine(platform, (), drivers=(("nvidia", "550.54"),))]
    return [
        (fake_build(*encoders, version=version), machine)
        for version in ("5.1.9", "7.1.5", "9.0.2")
        for machine in machines
    ]


def usual_capabilities(schema: EncoderSchema, backend: Backend, device: str) -> list[Capability]:
    """What a device usually offers, where nobody has recorded one."""
    return [
        Capability(
            encoder=schema.encoder,
            codec=schema.codec,
            backend=backend.name,
            device=device,
            pix_fmts=(pix_fmt,),
            bit_depths=(depth,),
            rate_modes=schema.rate_modes,
            presets=schema.presets,
            rank=100,
        )
        for depth, pix_fmt in ((8, "nv12"), (10, "p010le"))
    ]


def plain_rate(schema: EncoderSchema) -> RateControl:
    """The first rate mode that the encoder has, with a value where one is needed."""
    mode = schema.rate_modes[0]
    return RateControl(mode, target_bps=5_000_000 if mode is RateMode.BITRATE else None)


def benchmark_task(schema: EncoderSchema, sessions: int) -> BenchmarkTask:
    """Something to measure."""
    return BenchmarkTask(
        input_args=("-f", "lavfi", "-i", "testsrc2=s=640x480:r=25"),
        video=sample_video(),
        profile=next(sampled_profiles(schema, 8, 1)),
        duration_s=2.0,
        sessions=sessions,
    )


def schema_problems(schema: EncoderSchema) -> Iterable[str]:
    """What contradicts itself in a schema, in words."""
    if schema.quality is not None:
        low, high = schema.quality
        if not low < high:
            yield f"quality {schema.quality} is no range"
        if schema.default_quality is None or not low <= schema.default_quality <= high:
            yield f"default_quality {schema.default_quality} is not within {schema.quality}"
    elif RateMode.QUALITY in schema.rate_modes:
        yield "constant quality needs the range of its values in `quality`"
    if not schema.rate_modes:
        yield "there is no rate mode"
    if not schema.peak <= set(schema.rate_modes):
        yield "`peak` names rate modes that it does not have"
    for field in ("presets", "tunes", "profiles"):
        names: tuple[str, ...] = getattr(schema, field)
        if len(set(names)) != len(names):
            yield f"`{field}` repeats itself"
    if both := sorted(set(schema.options) & set(schema.refused)):
        yield f"{both[0]} is both known and refused"
