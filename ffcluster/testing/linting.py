"""Check what a backend writes against real option parsers, without the hardware.

ffmpeg parses an encoder's options before it opens a device, so that a wrong name or value is
noticed everywhere the encoder is compiled in. Not noticed: keys of `x264-params` and its like,
and what only the driver judges.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from ffcluster.core.profile import Profile, RateControl, RateMode
from ffcluster.encoders.backend import EncodeArguments
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.schema import EncoderSchema
from ffcluster.testing.running import run_ffmpeg

# What ffmpeg and the libraries say of options that they do not know or values that they refuse.
COMPLAINTS = (
    "has not been used for any stream",
    "Unrecognized option",
    "Option not found",
    "Unable to parse",
    "Undefined constant",
    "Error setting option",
    "Error applying option",
    "Error parsing option",
    "Unknown option",
    "Unknown encoder",
    "Invalid value for",
    "out of range",
    "No such filter",
    "Error initializing filters",
)
_TARGET_BPS = 5_000_000
_MAX_BPS = 8_000_000
_BUFFER_BITS = 10_000_000
# More need a deeper lookahead than fast presets have.
_FEW_B_FRAMES = 3
# Steps through the product by a number that shares no factor with the usual lengths.
_STRIDE = 7


def complaints(build: FfmpegBuild, made: EncodeArguments, *, must_encode: bool = False) -> str:
    """What `build` has against the arguments, or "" when nothing.

    Args:
        build: A real ffmpeg that has the encoder.
        made: What `Backend.arguments` gave, with software decoding.
        must_encode: Whether the encoder can run here, so that any failure counts.
    """
    chain = [text for text in (*made.context_filters, *made.filters) if _runs_anywhere(text)]
    done = run_ffmpeg(
        build.path,
        *("-hide_banner", "-nostdin", "-f", "lavfi"),
        *("-i", "testsrc2=s=192x160:r=25:d=0.04"),
        *(("-vf", ",".join(chain)) if chain else ()),
        *made.output_args,
        *("-f", "null", "-"),
    )
    found = [line for line in done.stderr.splitlines() if any(c in line for c in COMPLAINTS)]
    if not found and must_encode and done.returncode != 0:
        found = done.stderr.splitlines()[-5:] or [f"ffmpeg ended with {done.returncode}"]
    return "\n".join(found)


def _runs_anywhere(text: str) -> bool:
    name = text.partition("=")[0]
    return not name.startswith(("hwupload", "hwmap"))


def sampled_profiles(
    schema: EncoderSchema, depth: int = 8, most: int = 24, *, pinned: bool = True
) -> Iterator[Profile]:
    """At most `most` profiles out of the product of all that `schema` says the encoder takes.

    Every rate mode, preset, tune and codec profile comes up at least once as far as `most`
    allows. All are on the encoder's own scales.

    Args:
        schema: The encoder's settings.
        depth: Bits per sample of the output.
        most: How many profiles to give.
        pinned: Whether the profiles pin the encoder.
    """
    product = list(
        itertools.product(
            _rates(schema),
            (None, *schema.presets),
            (None, *schema.tunes),
            (None, 48),
            dict.fromkeys((None, 0, min(schema.max_b_frames, _FEW_B_FRAMES))),
        )
    )
    stride = max(_STRIDE, len(product) // max(most, 1))
    while math.gcd(stride, len(product)) != 1:
        stride += 1
    for number in range(min(most, len(product))):
        rate, preset, tune, gop, b_frames = product[number * stride % len(product)]
        yield Profile(
            codec=schema.codec,
            encoder=schema.encoder if pinned else None,
            rate=rate,
            preset=preset,
            tune=None if rate.mode is RateMode.LOSSLESS else tune,
            gop_frames=gop,
            b_frames=b_frames if schema.max_b_frames else None,
            bit_depth=depth,
        )


def _rates(schema: EncoderSchema) -> list[RateControl]:
    found = []
    if RateMode.QUALITY in schema.rate_modes and schema.quality is not None:
        low, high = schema.quality
        middle = float((low + high) // 2)
        found += [RateControl(quality=value) for value in (None, low, middle, high)]
        if RateMode.QUALITY in schema.peak:
            found.append(RateControl(quality=middle, max_bps=_MAX_BPS, buffer_bits=_BUFFER_BITS))
    if RateMode.BITRATE in schema.rate_modes:
        found.append(RateControl(RateMode.BITRATE, target_bps=_TARGET_BPS))
        if RateMode.BITRATE in schema.peak:
            peak = RateControl(RateMode.BITRATE, None, _TARGET_BPS, _MAX_BPS, _BUFFER_BITS)
            found.append(peak)
    if RateMode.LOSSLESS in schema.rate_modes:
        found.append(RateControl(RateMode.LOSSLESS))
    return found
