"""What `ffmpeg -h encoder=NAME` and `-h filter=NAME` of three releases say, in a compact form.

5.1.9 is Debian 12's, 7.1.5 Debian 13's, 9.0.2 the one in the imageio-ffmpeg wheel. Only 9.0.2's
has AMF. No build with VideoToolbox was at hand: 7.0.json was made by hand out of the options in
that release's source, and has nothing else. To record another release, or to bring one up to
date: `python -m tests.encoders.facts FFMPEG > tests/encoders/facts/VERSION.json`.
"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import TypedDict

VERSIONS = ("5.1.9", "7.1.5", "9.0.2", "7.0")
ENCODERS = (
    "libx264", "libx265", "libsvtav1", "libaom-av1", "libvpx-vp9", "ffv1",
    *(f"{codec}_{family}" for family in ("nvenc", "qsv", "vaapi", "amf", "videotoolbox")
      for codec in ("h264", "hevc", "av1", "vp9")),
)  # fmt: skip
FILTERS = (
    "scale_cuda", "vpp_qsv", "scale_qsv", "scale_vaapi", "vpp_amf", "hwupload", "hwupload_cuda",
    "scale_vt",
)  # fmt: skip
_OPTION = re.compile(r"^ {2,3}-?([\w-]+) +<(\w+)>")
_CONSTANT = re.compile(r"^ {5}(\S+) +(?:-?\d+ +)?[E.][D.][F.][VAS.]")
_FORMATS = re.compile(r"^ +Supported pixel formats: (.+)$", re.MULTILINE)

Options = dict[str, list[str]]


class EncoderFacts(TypedDict):
    """An encoder's pixel formats, and its options with the names that stand for values."""

    pix_fmts: list[str]
    options: Options


class Facts(TypedDict):
    """What one release says."""

    version: str
    encoders: dict[str, EncoderFacts]
    filters: dict[str, Options]


@functools.cache
def facts(version: str) -> Facts:
    """The recording of one of `VERSIONS`."""
    path = Path(__file__).with_name(f"{version}.json")
    recorded: Facts = json.loads(path.read_text(encoding="utf-8"))
    return recorded


def read_options(text: str) -> Options:
    """Read the options from what `-h` prints: {name: names of its values}."""
    options: Options = {}
    last: list[str] = []
    for line in text.splitlines():
        if found := _OPTION.match(line):
            last = options.setdefault(found[1], [])
        elif found := _CONSTANT.match(line):
            last.append(found[1])
    return options


def read_encoder(text: str) -> EncoderFacts | None:
    """Read what `-h encoder=NAME` prints; None when the release has no such encoder."""
    if not text.lstrip().startswith("Encoder "):
        return None
    formats = _FORMATS.search(text)
    return {
        "pix_fmts": formats[1].split() if formats else [],
        "options": read_options(text),
    }


def read_filter(text: str) -> Options | None:
    """Read what `-h filter=NAME` prints; None when the release has no such filter."""
    return read_options(text) if text.lstrip().startswith("Filter ") else None
