"""One ffmpeg binary as data, and the one place for what differs between ffmpeg versions.

Knows how to read what ffmpeg prints about itself; never runs it.
"""

from __future__ import annotations

import re

import attrs

# libavcodec's major version is 54 above ffmpeg's own since 5.0, which dates builds from git.
_LIBAVCODEC_OFFSET = 54
_VERSION = re.compile(r"^ffmpeg version (\S+)", re.MULTILINE)
_RELEASE = re.compile(r"^[nv]?(\d+)\.(\d+)")
_LIBAVCODEC = re.compile(r"^libavcodec\s+(\d+)\.", re.MULTILINE)
_ENCODER_ROW = re.compile(r"^ [VAS][F.][S.][X.][B.][D.] (\w[\w-]*) ", re.MULTILINE)
_FILTER_ROW = re.compile(r"^ +[T.][S.][C.]? +(\S+) +[AVN|]+->[AVN|]+ ", re.MULTILINE)


@attrs.frozen
class FfmpegBuild:
    """What one ffmpeg binary says about itself.

    Attributes:
        path: Absolute path of the binary.
        version: Its version as it prints it (`5.1.9-0+deb12u1`).
        major: Major release; builds from git get that of their libavcodec, unknown ones 0.
        minor: Minor release; 0 when unknown.
        encoders: Names from `-encoders`; that a name is here does not prove that it works.
        filters: Names from `-filters`.
    """

    path: str
    version: str
    major: int
    minor: int = 0
    encoders: frozenset[str] = frozenset()
    filters: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, path: str, version: str, encoders: str, filters: str) -> FfmpegBuild:
        """Read the output of `-version`, `-hide_banner -encoders` and `-hide_banner -filters`."""
        name, major, minor = _read_version(version)
        return cls(
            path=path,
            version=name,
            major=major,
            minor=minor,
            encoders=frozenset(_ENCODER_ROW.findall(encoders)),
            filters=frozenset(_FILTER_ROW.findall(filters)),
        )

    def at_least(self, major: int, minor: int = 0) -> bool:
        """Whether this is `major.minor` or newer."""
        return (self.major, self.minor) >= (major, minor)

    @property
    def fps_mode_args(self) -> tuple[str, str]:
        """Let every frame through with its own time; `-vsync` is gone from newer releases."""
        if self.at_least(5, 1):
            return ("-fps_mode", "passthrough")
        return ("-vsync", "passthrough")

    @property
    def enc_time_base_demux(self) -> str:
        """Value of `-enc_time_base` that means "the source's time base"."""
        return "demux" if self.at_least(6, 1) else "-1"

    @property
    def enc_time_base_args(self) -> tuple[str, str]:
        """Give the encoder the source's time base."""
        return ("-enc_time_base", self.enc_time_base_demux)

    @property
    def has_display_rotation(self) -> bool:
        """Whether `-display_rotation` can be given for an input."""
        return self.at_least(6)


def _read_version(text: str) -> tuple[str, int, int]:
    found = _VERSION.search(text)
    name = found.group(1) if found else "unknown"
    release = _RELEASE.match(name)
    if release:
        return name, int(release.group(1)), int(release.group(2))
    libavcodec = _LIBAVCODEC.search(text)
    return name, max(0, int(libavcodec.group(1)) - _LIBAVCODEC_OFFSET) if libavcodec else 0, 0
