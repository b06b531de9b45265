"""Builds, machines, sources, backends and plugins that exist only in tests. Runs nothing."""

from __future__ import annotations

import itertools
import sys
import types
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint
from typing import Any

import attrs

from ffcluster.core.media import VideoFormat
from ffcluster.core.model import Capability, Diagnosis
from ffcluster.core.profile import Codec, Profile
from ffcluster.core.timeline import TimeBase
from ffcluster.encoders.backend import (
    API_VERSION,
    DeviceNode,
    EncodeArguments,
    Finding,
    Machine,
    Probe,
    ProbeOutcome,
)
from ffcluster.encoders.benchmarking import StandardBenchmarks
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.hookspecs import hookimpl
from ffcluster.encoders.schema import EncoderSchema

_NODES = (
    DeviceNode("/dev/dri/renderD128", "0x8086", "i915", "Intel UHD Graphics 770"),
    DeviceNode("/dev/dri/renderD129", "0x1002", "amdgpu", "AMD Radeon RX 7600"),
    DeviceNode("/dev/dri/renderD130", "0x10de", "nvidia", "NVIDIA GeForce RTX 4070"),
)
_numbers = itertools.count()


def fake_build(
    *encoders: str, version: str = "9.0.2", filters: Sequence[str] = (), path: str = "ffmpeg"
) -> FfmpegBuild:
    """An ffmpeg of `version` that was built with `encoders`; nothing can be run with it."""
    major, minor, *_ = (int(number) for number in f"{version}.0".split(".")[:2])
    return FfmpegBuild(path, version, major, minor, frozenset(encoders), frozenset(filters))


def fake_machine(
    platform: str = "linux",
    devices: Sequence[DeviceNode] | None = None,
    *,
    cpus: int = 4,
    drivers: Sequence[tuple[str, str]] = (),
) -> Machine:
    """A machine; on Linux with an Intel, an AMD and an NVIDIA GPU unless `devices` are given."""
    nodes = devices if devices is not None else _NODES if platform == "linux" else ()
    return Machine(cpus, platform, tuple(nodes), tuple(drivers))


def sample_video(**changes: Any) -> VideoFormat:
    """A 640x480 source of 8 bit 4:2:0 at 25 frames per second; `changes` are fields to set."""
    plain = VideoFormat(
        codec="h264",
        width=640,
        height=480,
        pix_fmt="yuv420p",
        time_base=TimeBase(1, 1000),
        frame_rate=(25, 1),
        color=(
            ("color_range", "tv"),
            ("colorspace", "bt709"),
            ("color_primaries", "bt709"),
            ("color_trc", "bt709"),
            ("chroma_sample_location", "left"),
        ),
    )
    return attrs.evolve(plain, **changes)


@attrs.define
class FakeBackend(StandardBenchmarks):
    """A backend that does what it is told: its fields are what its methods answer with.

    Attributes:
        name: See `Backend.name`.
        api_version: See `Backend.api_version`.
        schemas: See `Backend.schemas`.
        found: What `detect` finds.
        answer: What `interpret` makes of a probe.
        reason: What `veto` says.
        score: What `rank` says.
        explained: What `explain` says.
        joined: What `joins` says.
    """

    name: str = "fake"
    api_version: int = API_VERSION
    schemas: Sequence[EncoderSchema] = (EncoderSchema(encoder="h264_fake", codec=Codec.H264),)
    found: Sequence[Any] = ()
    answer: Callable[[Probe, ProbeOutcome], Sequence[Any]] = lambda _probe, _outcome: ()
    reason: str | None = None
    score: int = 100
    explained: Diagnosis | None = None
    joined: bool | None = None

    def detect(self, build: FfmpegBuild, machine: Machine) -> Sequence[Finding]:
        """Give `found`."""
        return self.found

    def interpret(self, probe: Probe, outcome: ProbeOutcome) -> Sequence[Finding]:
        """Ask `answer`."""
        return self.answer(probe, outcome)

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
        """Name the encoder and nothing else."""
        return EncodeArguments(output_args=("-c:v", capability.encoder))

    def veto(self, capability: Capability, profile: Profile, video: VideoFormat) -> str | None:
        """Give `reason`."""
        return self.reason

    def rank(self, capability: Capability, profile: Profile) -> int:
        """Give `score`."""
        return self.score

    def explain(self, capability: Capability, outcome: ProbeOutcome) -> Diagnosis | None:
        """Give `explained`."""
        return self.explained

    def joins(self, one: Capability, other: Capability, profile: Profile) -> bool | None:
        """Give `joined`."""
        return self.joined


def entry_point(
    name: str,
    backends: Callable[[], Sequence[Any]] | None = None,
    **hooks: Callable[..., Any],
) -> EntryPoint:
    """The entry point of a plugin called `name` that nothing had to be installed for.

    Args:
        name: Its name.
        backends: Gives its backends, for the hook `ffcluster_backends`.
        hooks: Its other hooks by their names (`ffcluster_veto=...`).
    """
    module = types.ModuleType(f"ffcluster_fake_plugin_{next(_numbers)}")
    given = dict(hooks) | ({"ffcluster_backends": backends} if backends else {})
    for hook, function in given.items():
        setattr(module, hook, hookimpl(_copied(function)))
    sys.modules[module.__name__] = module
    return EntryPoint(name, module.__name__, "ffcluster")


def _copied(function: Callable[..., Any]) -> Callable[..., Any]:
    # `hookimpl` marks the object that it is given, and one function may serve several plugins.
    if not isinstance(function, types.FunctionType):
        return function
    return types.FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
