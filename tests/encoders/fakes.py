"""Plugins and backends that exist only in tests."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint

import attrs

from ffcluster.core.media import VideoFormat
from ffcluster.core.model import Capability
from ffcluster.core.profile import Codec, Profile
from ffcluster.encoders.backend import (
    API_VERSION,
    EncodeArguments,
    EncoderSchema,
    Finding,
    Machine,
    Probe,
    ProbeOutcome,
)
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.hookspecs import hookimpl


@attrs.define
class FakeBackend:
    """Offers one encoder and does what it is told."""

    name: str = "fake"
    api_version: int = API_VERSION
    schemas: Sequence[EncoderSchema] = (EncoderSchema(encoder="h264_fake", codec=Codec.H264),)
    found: Sequence[object] = ()
    answer: Callable[[Probe, ProbeOutcome], Sequence[Finding]] = lambda _probe, _outcome: ()
    reason: str | None = None
    score: int = 100

    def detect(self, build: FfmpegBuild, machine: Machine) -> Sequence[Finding]:
        return self.found  # type: ignore[return-value]

    def interpret(self, probe: Probe, outcome: ProbeOutcome) -> Sequence[Finding]:
        return self.answer(probe, outcome)

    def arguments(
        self,
        build: FfmpegBuild,
        capability: Capability,
        profile: Profile,
        video: VideoFormat,
        *,
        threads: int,
    ) -> EncodeArguments:
        return EncodeArguments(output_args=("-c:v", capability.encoder))

    def veto(self, capability: Capability, profile: Profile, video: VideoFormat) -> str | None:
        return self.reason

    def rank(self, capability: Capability, profile: Profile) -> int:
        return self.score


def plugin(name: str, offer: Callable[[], Sequence[object]]) -> EntryPoint:
    """An entry point whose module offers what `offer` gives."""
    module = types.ModuleType(f"fake_plugin_{name}")

    @hookimpl
    def ffcluster_backends() -> Sequence[object]:
        return offer()

    module.ffcluster_backends = ffcluster_backends  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    return EntryPoint(name, module.__name__, "ffcluster")
