"""What this machine can encode with, and what it lacks. Starts probes only; changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
from autobahn import websocket

from ffcluster.core.model import Capability, Diagnosis, Measurement, PluginSummary
from ffcluster.encoders.backend import Machine
from ffcluster.encoders.registry import Registry
from ffcluster.errors import ErrorReport
from ffcluster.media.platform import here
from ffcluster.media.runner import Runner
from ffcluster.services.machine.detection import Trial, examine_machine
from ffcluster.services.machine.measurements import load_measurements


@attrs.frozen
class BuildSummary:
    """One ffmpeg: where it is and what it calls itself."""

    path: str
    version: str
    has_vmaf: bool = False


@attrs.frozen(kw_only=True)
class Findings:
    """What a machine is, as far as encoding goes.

    Attributes:
        machine: Its cores, devices and drivers.
        builds: Its ffmpegs, the preferred one first.
        plugins: Every plugin that is installed.
        capabilities: Encoders that were proven to work, each on one device.
        diagnoses: What could be here and does not work, or only in part.
        errors: What plugins did wrong.
        measurements: What `ffcluster benchmark` found out here.
        warnings: What a person should know about how this was called.
        limitations: What this platform lacks.
        tried: Every command that was run to find out; () where it was known from before.
        cached: Whether nothing was tried anew.
        elapsed_s: How long it took.
    """

    machine: Machine
    builds: tuple[BuildSummary, ...]
    plugins: tuple[PluginSummary, ...] = ()
    capabilities: tuple[Capability, ...] = ()
    diagnoses: tuple[Diagnosis, ...] = ()
    errors: tuple[ErrorReport, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    warnings: tuple[str, ...] = ()
    limitations: tuple[str, ...] = ()
    tried: tuple[Trial, ...] = ()
    cached: bool = False
    elapsed_s: float = 0.0


async def examine(
    reactor: Any,
    ffmpegs: Sequence[str],
    registry: Registry,
    state_dir: Path | None,
    *,
    fresh: bool = False,
) -> Findings:
    """Find out what this machine can encode with.

    Args:
        reactor: Twisted's reactor.
        ffmpegs: The ffmpegs to look at, the preferred one first; () for the first that is found.
        registry: The plugins.
        state_dir: Where detection and measurements are remembered.
        fresh: Detect anew, whatever is remembered.

    Raises:
        FfmpegMissing: There is no ffmpeg, or it does not run.
    """
    started_s = reactor.seconds()
    runner = Runner(reactor)
    try:
        found = await examine_machine(runner, ffmpegs, registry, state_dir, fresh=fresh)
    finally:
        await runner.close()
    return Findings(
        machine=found.machine,
        builds=tuple(
            BuildSummary(build.path, build.version, "libvmaf" in build.filters)
            for build in found.builds
        ),
        plugins=found.plugins,
        capabilities=found.capabilities,
        diagnoses=found.diagnoses,
        errors=tuple(ErrorReport.of(error) for error in found.errors),
        measurements=await load_measurements(state_dir) if state_dir is not None else (),
        warnings=registry.warnings,
        limitations=(*here().limitations(), *_library_limits()),
        tried=found.tried,
        cached=found.cached,
        elapsed_s=reactor.seconds() - started_s,
    )


def _library_limits() -> tuple[str, ...]:
    if getattr(websocket, "USES_NVX", False):
        return ()
    return ("Autobahn runs without its native code: the control channel costs more CPU.",)
