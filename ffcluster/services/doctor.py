"""What this machine can encode with, and what it lacks. Starts probes only; changes nothing."""

from __future__ import annotations

import os
import sys
from typing import Any

import attrs
from autobahn import websocket

from ffcluster.core.model import Capability
from ffcluster.encoders.backend import Machine
from ffcluster.encoders.registry import Registry
from ffcluster.media.binary import find_ffmpeg, inspect
from ffcluster.media.detect import detect
from ffcluster.media.platform import here
from ffcluster.media.runner import Runner
from ffcluster.services.worker import usable_cpus


@attrs.frozen(kw_only=True)
class Findings:
    """What a machine is, as far as encoding goes.

    Attributes:
        ffmpeg: Path of the ffmpeg that is used.
        ffmpeg_version: Its version.
        cpus: Cores that this process may use.
        plugins: (name, version) of the plugins that offer encoders.
        capabilities: Encoders that were proven to work.
        unusable: What could be here and does not work, with a hint each.
        limitations: What this platform lacks.
    """

    ffmpeg: str
    ffmpeg_version: str
    cpus: int
    plugins: tuple[tuple[str, str], ...]
    capabilities: tuple[Capability, ...]
    unusable: tuple[str, ...]
    limitations: tuple[str, ...]


async def examine(reactor: Any, ffmpeg: str | None) -> Findings:
    """Find out what this machine can encode with.

    Raises:
        FfmpegMissing: There is no ffmpeg, or it does not run.
    """
    runner = Runner(reactor)
    registry = Registry.load()
    cpus = usable_cpus()
    try:
        build = await inspect(find_ffmpeg(ffmpeg, os.environ), runner)
        found = await detect(registry, build, Machine(cpus, sys.platform), runner)
    finally:
        await runner.close()
    unusable = [
        " ".join(filter(None, (d.backend, d.encoder, d.device)))
        + f": {d.cause}"
        + (f" ({d.hint})" if d.hint else "")
        for d in found.diagnoses
    ]
    unusable += [error.message for error in found.errors]
    unusable += [info.error.message for info in registry.plugins if info.error is not None]
    return Findings(
        ffmpeg=build.path,
        ffmpeg_version=build.version,
        cpus=cpus,
        plugins=tuple((info.name, info.version) for info in registry.plugins),
        capabilities=tuple(found.capabilities),
        unusable=tuple(unusable),
        limitations=(*here().limitations(), *_library_limits()),
    )


def _library_limits() -> tuple[str, ...]:
    if getattr(websocket, "USES_NVX", False):
        return ()
    return ("Autobahn runs without its native code: the control channel costs more CPU.",)
