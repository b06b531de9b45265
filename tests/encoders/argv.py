"""Every argument list that a backend can build: the product of all its settings, or a sample.

A sample holds each value of each setting at least once, in mixtures that are the same in every run;
what is refused as a mixture is tried alone, beside defaults.
"""

from __future__ import annotations

import functools
import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from ffcluster.core.media import VideoFormat
from ffcluster.core.model import Capability
from ffcluster.core.profile import Codec, Profile, RateControl, RateMode
from ffcluster.core.timeline import TimeBase
from ffcluster.encoders.backend import Backend, EncodeArguments, EncoderSchema
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.filters import parse_filters
from ffcluster.encoders.registry import Registry
from ffcluster.encoders.rules import AnyOf, Choice, Int, Number, Numbers, Pattern, Rule, Words
from ffcluster.errors import InvalidOption
from tests.encoders.facts import VERSIONS, facts

FIRST_PARTY = ("software", "nvenc", "qsv", "amf", "videotoolbox", "vaapi")
_MASTERING = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
_DEVICES: Mapping[str, tuple[str, ...]] = {
    "software": ("",),
    "nvenc": ("cuda:0", "cuda:1"),
    "qsv": ("/dev/dri/renderD128", "dx:0", "dx:1"),
    "amf": ("dx:0", "amf:0"),
    "videotoolbox": ("gpu",),
    "vaapi": ("/dev/dri/renderD128", "/dev/dri/renderD129"),
}
# Values for rules that are patterns, by what the pattern means.
_PATTERN_VALUES = {
    "a level such as 4.1": "4.1",
    "columns x rows": "1x1",
    "MaxCLL,MaxFALL": "1000,400",
    "a name such as bt709": "bt709",
    "G(x,y)B(x,y)R(x,y)WP(x,y)L(max,min) in units of 0.00002 and 0.0001 cd/m2": _MASTERING,
    "G(x,y)B(x,y)R(x,y)WP(x,y)L(max,min) as decimal numbers": (
        "G(0.265,0.69)B(0.15,0.06)R(0.68,0.32)WP(0.3127,0.329)L(1000,0.0001)"
    ),
}

# Values that only larger pictures than the lint's allow.
_FOR_LARGE_PICTURES = frozenset({"tile-columns", "tile-rows", "tile_cols", "tile_rows", "tiles"})


@functools.cache
def backends() -> tuple[Backend, ...]:
    return Registry.load(allow=set(FIRST_PARTY)).backends


def offers() -> Iterator[tuple[Backend, EncoderSchema]]:
    """Every encoder of every first-party backend."""
    for backend in backends():
        for schema in backend.schemas:
            yield backend, schema


def recorded_build(version: str) -> FfmpegBuild:
    """A release of which only recordings are at hand."""
    assert version in VERSIONS
    known = facts(version)
    major, minor = version.split(".")[:2]
    names = frozenset(known["encoders"]), frozenset(known["filters"])
    return FfmpegBuild("ffmpeg", version, int(major), int(minor), *names)


@attrs.frozen
class Case:
    """One choice of all settings."""

    backend: Backend
    schema: EncoderSchema
    build: FfmpegBuild
    chosen: Mapping[str, Any]

    @property
    def video(self) -> VideoFormat:
        chosen = self.chosen
        width, height = chosen["size"]
        color = (("color_range", "tv"), ("colorspace", "bt709"))
        if chosen["hdr"]:
            color = (("color_primaries", "bt2020"), ("color_trc", "smpte2084"))
        return VideoFormat(
            "hevc" if chosen["depth"] == 10 else "h264",
            width,
            height,
            "yuv420p10le" if chosen["depth"] == 10 else "yuv420p",
            TimeBase(1, 1000),
            (25, 1),
            color=color,
            mastering_display=_MASTERING if chosen["hdr"] else "",
            content_light="1000,400" if chosen["hdr"] else "",
        )

    @property
    def profile(self) -> Profile:
        chosen = self.chosen
        return Profile(
            codec=self.schema.codec,
            encoder=self.schema.encoder,
            rate=chosen["rate"],
            preset=chosen["preset"],
            tune=chosen["tune"],
            codec_profile=chosen["codec_profile"],
            gop_frames=chosen["gop"],
            b_frames=chosen["b_frames"],
            encoder_options=chosen["options"],
            filters=parse_filters(chosen["filters"]) if chosen["filters"] else (),
        )

    @property
    def capability(self) -> Capability:
        return Capability(
            self.schema.encoder,
            self.schema.codec,
            self.backend.name,
            device=self.chosen["device"],
            pix_fmts=pix_fmts(self.backend.name, self.schema, self.build),
            bit_depths=(8, 10),
            rate_modes=self.schema.rate_modes,
            presets=self.schema.presets,
            without=self.chosen["without"],
            hardware_decode=True,
            ffmpeg=self.build.version,
        )

    def arguments(self) -> EncodeArguments | None:
        """What the backend makes of it; None when it refuses, as it may for odd mixtures."""
        try:
            return self.backend.arguments(
                self.build,
                self.capability,
                self.profile,
                self.video,
                threads=self.chosen["threads"],
                hardware_decode=self.chosen["hardware_decode"],
            )
        except InvalidOption:
            return None


def pix_fmts(family: str, schema: EncoderSchema, build: FfmpegBuild) -> tuple[str, ...]:
    """The formats that a capability would have been proven with."""
    if family != "software":
        deep = schema.codec is not Codec.H264 or ("high10" in schema.profiles and build.major >= 9)
        return ("nv12", "p010le") if deep else ("nv12",)
    version = min(VERSIONS, key=lambda v: abs(int(v.split(".")[0]) - build.major))
    return tuple(facts(version)["encoders"][schema.encoder]["pix_fmts"])


def settings(backend: Backend, schema: EncoderSchema) -> dict[str, Sequence[Any]]:
    """The values of every setting, the default first."""
    software = backend.name == "software"
    b_frames = (0, 1, schema.max_b_frames) if schema.max_b_frames else ()
    extras = _EXTRAS.get(backend.name, ())
    return {
        "rate": rates(schema),
        "preset": (None, *schema.presets),
        "depth": (8, 10),
        "b_frames": tuple(dict.fromkeys((None, *b_frames))),
        "gop": (None, 48, 1),
        "tune": (None, *schema.tunes),
        "codec_profile": (None, *schema.profiles),
        "options": ((), *own_options(schema)),
        "filters": ("", "scale=320:240") if not software else ("",),
        "hdr": (False, True),
        "device": _DEVICES[backend.name],
        "hardware_decode": (False,) if software else (False, True),
        "threads": (0, 1, 4) if software else (0,),
        "without": ((), *((extra,) for extra in extras), *((extras,) if extras else ())),
        "size": ((64, 64),) if software else ((640, 480),),
    }


def rates(schema: EncoderSchema) -> tuple[RateControl, ...]:
    if schema.rate_modes == (RateMode.LOSSLESS,):
        return (RateControl(RateMode.LOSSLESS),)
    found = [RateControl()]
    if schema.quality is not None:
        low, high = schema.quality
        found += [RateControl(quality=q) for q in (low, math.floor((low + high) / 2), high)]
    bitrate = RateControl(RateMode.BITRATE, target_bps=2_000_000)
    found.append(bitrate)
    for mode in sorted(schema.peak):
        base = RateControl() if mode is RateMode.QUALITY else bitrate
        for peak in (3_000_000, 2_000_000):
            found.append(attrs.evolve(base, max_bps=peak))
            found.append(attrs.evolve(base, max_bps=peak, buffer_bits=4_000_000))
    if RateMode.LOSSLESS in schema.rate_modes:
        found.append(RateControl(RateMode.LOSSLESS))
    return tuple(found)


def own_options(schema: EncoderSchema) -> list[tuple[tuple[str, str], ...]]:
    """Each of the encoder's own options alone, with values from both ends of its rule."""
    found: list[tuple[tuple[str, str], ...]] = []
    for name, rule in sorted(schema.options.items()):
        few = values(rule)[: 1 if name in _FOR_LARGE_PICTURES else None]
        found += [((name, value),) for value in few]
    return found


def values(rule: Rule) -> list[str]:
    if isinstance(rule, Int | Number):
        return [f"{rule.low:g}", f"{rule.high:g}"]
    if isinstance(rule, Choice):
        return sorted(rule.allowed)
    if isinstance(rule, Numbers):
        return [rule.separator.join(["1"] * rule.count)]
    if isinstance(rule, Words):
        return [rule.separator.join(sorted(rule.allowed))]
    if isinstance(rule, AnyOf):
        return [value for one in rule.rules for value in values(one)]
    assert isinstance(rule, Pattern), rule
    return [_PATTERN_VALUES[rule.meaning]]


def product_size(backend: Backend, schema: EncoderSchema) -> int:
    return math.prod(len(found) for found in settings(backend, schema).values())


def cases(
    backend: Backend, schema: EncoderSchema, build: FfmpegBuild, most: int | None = None
) -> Iterator[Case]:
    """The whole product, or at most about `most` of it; see the module."""
    every = settings(backend, schema)
    if most is None or product_size(backend, schema) <= most:
        for chosen in itertools.product(*every.values()):
            yield Case(backend, schema, build, dict(zip(every, chosen, strict=True)))
        return
    # The same in every run, and another for each encoder.
    choose = random.Random(schema.encoder)
    rows = max(len(found) for found in every.values())
    for n in range(max(rows, most)):
        row = {f: v[n] if n < len(v) else choose.choice(v) for f, v in every.items()}
        case = Case(backend, schema, build, row)
        yield case
        if n < rows and case.arguments() is None:
            yield from _alone(case, every, n)


def _alone(case: Case, every: Mapping[str, Sequence[Any]], row: int) -> Iterator[Case]:
    """Each value of a row that does not go together, beside defaults."""
    default = {name: found[0] for name, found in every.items()}
    for name, found in every.items():
        if row < len(found):
            yield attrs.evolve(case, chosen={**default, name: found[row]})


# What drivers may refuse, so that it is left out afterwards; see each plugin's options.
_EXTRAS: Mapping[str, tuple[str, ...]] = {
    "nvenc": ("b_ref_mode", "spatial-aq", "temporal-aq", "rc-lookahead", "multipass", "bf"),
    "qsv": ("look_ahead", "icq", "normal_power"),
    "amf": ("preanalysis", "bitdepth", "forced_idr"),
    "videotoolbox": ("prio_speed",),
    "vaapi": ("ICQ", "VBR"),
}
