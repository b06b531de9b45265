"""Which GPUs NVENC is tried on, and by which steps. Claims nothing of any of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import attrs

from ffcluster.core.profile import Codec, RateMode
from ffcluster.encoders.backend import EncoderSchema, FfmpegBuild, Machine, ProbeOutcome
from ffcluster.encoders.hardware import DECODE, LOSSLESS, TEN_BIT, Device, Scout, Step
from ffcluster.encoders.hardware import FIRST as PLAIN

_GPU = re.compile(r"\[ GPU #(\d+) - < (.*?) > has Compute SM \d+\.\d+ \]")
# With B-frames, so that a GPU which makes none is known.
FIRST = attrs.evolve(PLAIN, b_frames=2)
# With the driver's own number of B-frames, which may be none.
_FASTEST = Step("fastest", "preset p1", preset="p1")
_FULL_CHROMA = Step("full-chroma", "4:4:4", pix_fmt="yuv444p")
# Wider and taller than any GPU encodes: the refusal names what it can.
_WIDTH = Step("width", "the largest width", size=(16384, 64), finds_limits=True)
_HEIGHT = Step("height", "the largest height", size=(160, 16384), finds_limits=True)


def look(build: FfmpegBuild, machine: Machine) -> Sequence[Scout]:
    """Ask the driver for its GPUs: it is loaded for that, so its faults show here, once."""
    encoder = next(iter(sorted(build.encoders)))
    argv = (
        "-hide_banner", "-nostdin", "-loglevel", "info",
        "-f", "lavfi", "-i", "nullsrc=s=256x256:r=25:d=0.04", "-vf", "format=nv12",
        "-c:v", encoder, "-gpu", "list", "-f", "null", "-",
    )  # fmt: skip
    return [Scout(argv, Device("", driver=dict(machine.drivers).get("nvidia", "")))]


def read_list(asked: Device, outcome: ProbeOutcome) -> Sequence[Device]:
    """The GPUs that the driver lists; older ffmpegs end with an error although they list them."""
    return [
        Device(f"cuda:{number}", name, asked.driver)
        for number, name in dict(_GPU.findall(outcome.stderr)).items()
    ]


def steps(build: FfmpegBuild, schema: EncoderSchema) -> Sequence[Step]:
    """What is tried after an encoder's first success."""
    found = [_FASTEST]
    if schema.codec is not Codec.H264:
        found.append(TEN_BIT)
    elif build.at_least(9):
        # Older ffmpegs have no such profile.
        found.append(attrs.evolve(TEN_BIT, rare=True))
    if RateMode.LOSSLESS in schema.rate_modes:
        found.append(LOSSLESS)
    if schema.codec is not Codec.AV1:
        found.append(_FULL_CHROMA)
    return [*found, DECODE, _WIDTH, _HEIGHT]


__all__ = ["FIRST", "look", "read_list", "steps"]
