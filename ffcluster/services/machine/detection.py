"""What this machine can encode with, found out by trials and remembered until something changes.

Findings are kept in the machine's state directory, for each ffmpeg, under a digest of all that
they depend on: the binary, the plugins, the devices and drivers, the environment that drivers
look at, and this version of ffcluster. A file that is damaged, old or made by somebody else is
worth nothing and is written anew. What was found while a device was busy, or by probes that were
not answered, is not kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path

import attrs
import orjson
import platformdirs
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from ffcluster import __version__, encoders
from ffcluster.converting import to_jsonable
from ffcluster.core.model import Capability, CapabilityKey, Diagnosis, PluginSummary, Trouble
from ffcluster.encoders.backend import Machine, Probe, ProbeOutcome
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.detection import Detection
from ffcluster.encoders.registry import ENTRY_POINT_GROUP, Registry
from ffcluster.errors import FfclusterError, PluginError
from ffcluster.media.binary import find_ffmpeg, inspect
from ffcluster.media.detect import OnAnswer, detect
from ffcluster.media.machine import Whereabouts, look_at_machine
from ffcluster.media.platform import chooses_device
from ffcluster.media.runner import Runner
from ffcluster.services.statefile import StateFile

log = Logger()

CACHE_NAME = "detection.json"
_MOST_ENTRIES = 32
_MOST_SLOTS = 4096


def machine_state_dir() -> Path:
    """Where findings and measurements of this machine are kept unless another place is named.

    Of the machine, not of one worker: they hold for every worker on it.
    """
    return platformdirs.user_state_path("ffcluster", appauthor=False) / "machine"


@attrs.frozen
class Trial:
    """One command that was run to find out what works, and what became of it.

    Attributes:
        ffmpeg: Version of the ffmpeg.
        probe: What a backend wanted to know; its `argv` follows the binary's path.
        outcome: What became of it.
    """

    ffmpeg: str
    probe: Probe
    outcome: ProbeOutcome


@attrs.frozen(kw_only=True)
class Examined:
    """A machine, its ffmpegs, and what they can do together.

    Attributes:
        machine: The machine.
        builds: Its ffmpegs, the preferred one first.
        capabilities: What was proven; one for each encoder and device, with the first build that
            proved it.
        diagnoses: What does not work, or only in part, and why.
        errors: Plugins that could not be loaded or broke while they were asked.
        plugins: Every plugin that is installed.
        proven_with: The build that proved each capability.
        tried: Every command that was run to find out; () where it was known from before.
        cached: Whether nothing had to be tried: all was known from before.
    """

    machine: Machine
    builds: tuple[FfmpegBuild, ...]
    capabilities: tuple[Capability, ...] = ()
    diagnoses: tuple[Diagnosis, ...] = ()
    errors: tuple[PluginError, ...] = ()
    plugins: tuple[PluginSummary, ...] = ()
    proven_with: Mapping[CapabilityKey, FfmpegBuild] = attrs.field(factory=dict)
    tried: tuple[Trial, ...] = ()
    cached: bool = False

    def build_for(self, capability: Capability) -> FfmpegBuild:
        """The ffmpeg to use `capability` with."""
        return self.proven_with.get(capability.key, self.builds[0])


@attrs.frozen
class _Found:
    """What one ffmpeg can do, as it is kept."""

    key: str
    capabilities: tuple[Capability, ...] = ()
    diagnoses: tuple[Diagnosis, ...] = ()


@attrs.frozen
class _Cache:
    """The file: what each ffmpeg was found to do, the last used first."""

    entries: tuple[_Found, ...] = ()


async def examine_machine(
    runner: Runner,
    ffmpegs: Sequence[Path | str | None],
    registry: Registry,
    state_dir: Path | None,
    *,
    fresh: bool = False,
    cpus: int | None = None,
    where: Whereabouts | None = None,
) -> Examined:
    """Find out what this machine can encode with.

    Args:
        runner: Starts ffmpeg.
        ffmpegs: The ffmpegs to look at, the preferred one first; None, or nothing at all, takes
            the first that is found.
        registry: The plugins.
        state_dir: Where findings are remembered; None remembers nothing.
        fresh: Try everything anew, whatever is remembered.
        cpus: Cores to use, or None for all that this process may use.
        where: Where to look for devices and drivers, for tests.

    Raises:
        FfmpegMissing: There is no ffmpeg, or one that was named does not work.
    """
    machine = await look_at_machine(cpus, where)
    builds = await _builds(runner, ffmpegs)
    cache = StateFile(state_dir / CACHE_NAME, _Cache) if state_dir is not None else None
    known = await _known(cache, registry) if not fresh else {}
    found: list[_Found] = []
    errors: list[PluginError] = []
    keep: list[_Found] = []
    tried: list[Trial] = []
    for build in builds:
        key = await deferToThread(_key, build, machine, registry, runner)
        entry = known.get(key)
        if entry is None:
            detection = await detect(registry, build, machine, runner, _recorder(build, tried))
            errors += detection.errors
            entry = _settled(key, build, registry, detection)
            if detection.conclusive:
                keep.append(entry)
        found.append(entry)
    if cache is not None and keep:
        await _remember(cache, keep)
    proven = _first_proofs(builds, found)
    return Examined(
        machine=machine,
        builds=builds,
        capabilities=tuple(capability for capability, _ in proven.values()),
        diagnoses=_still_true(found, proven),
        errors=_distinct((*registry.errors, *errors)),
        plugins=registry.summaries,
        proven_with={key: build for key, (_, build) in proven.items()},
        tried=tuple(tried),
        cached=all(entry.key in known for entry in found),
    )


async def _builds(runner: Runner, ffmpegs: Sequence[Path | str | None]) -> tuple[FfmpegBuild, ...]:
    """Inspect every ffmpeg once, whatever names it has."""
    named = [str(path) if path is not None else None for path in ffmpegs] or [None]
    paths = await deferToThread(lambda: [find_ffmpeg(name, os.environ) for name in named])
    return tuple([await inspect(path, runner) for path in dict.fromkeys(paths)])


def _recorder(build: FfmpegBuild, tried: list[Trial]) -> OnAnswer:
    return lambda probe, outcome: tried.append(Trial(build.version, probe, outcome))


async def _known(cache: StateFile[_Cache] | None, registry: Registry) -> dict[str, _Found]:
    kept = await cache.read() if cache is not None else None
    entries = kept.entries if kept is not None else ()
    return {entry.key: entry for entry in entries if _plausible(entry, registry)}


def _plausible(entry: _Found, registry: Registry) -> bool:
    """Whether this registry could have found it."""
    encoders = {(b.name, s.encoder, s.codec) for b in registry.backends for s in b.schemas}
    return all(
        (c.backend, c.encoder, c.codec) in encoders
        and 1 <= c.slots <= _MOST_SLOTS
        and 0 <= c.threads <= _MOST_SLOTS
        and min(*c.min_size, *c.max_size) >= 0
        for c in entry.capabilities
    )


async def _remember(cache: StateFile[_Cache], fresh: Sequence[_Found]) -> None:
    """Put new findings before the old ones; what cannot be remembered is tried again next time."""
    kept = await cache.read()
    keys = {entry.key for entry in fresh}
    others = [entry for entry in (kept.entries if kept else ()) if entry.key not in keys]
    try:
        await cache.write(_Cache((*fresh, *others)[:_MOST_ENTRIES]))
    except FfclusterError as error:
        log.warn("detection is not remembered: {reason}", reason=error.message)


def _key(build: FfmpegBuild, machine: Machine, registry: Registry, runner: Runner) -> str:
    """Digest of all that the findings of `build` depend on."""
    path = Path(build.path)
    try:
        real = path.resolve()
        about = real.stat()
        identity = [str(real), about.st_size, about.st_mtime_ns]
    except OSError:
        identity = []
    told = {name: value for name, value in runner.environment.items() if chooses_device(name)}
    plugins = [
        [info.name, info.version, list(info.backends)] for info in registry.plugins if info.enabled
    ]
    facts = [
        __version__,
        _code_identity({info.name for info in registry.plugins if info.enabled}),
        str(path),
        identity,
        [build.version, sorted(build.encoders), sorted(build.filters)],
        to_jsonable(machine),
        plugins,
        told,
    ]
    return hashlib.sha256(orjson.dumps(facts, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _code_identity(plugins: Collection[str]) -> list[tuple[str, int, int]]:
    """Ages and sizes of the modules that detect: authors change them without a new version."""
    points = [point for point in entry_points(group=ENTRY_POINT_GROUP) if point.name in plugins]
    modules = [sys.modules.get(name) for name in (encoders.__name__, *(p.module for p in points))]
    folders = {Path(m.__file__).parent for m in modules if m is not None and m.__file__}
    found: list[tuple[str, int, int]] = []
    for path in sorted(path for folder in folders for path in folder.glob("*.py")):
        with contextlib.suppress(OSError):
            about = path.stat()
            found.append((str(path), about.st_mtime_ns, about.st_size))
    return found


def _settled(key: str, build: FfmpegBuild, registry: Registry, detection: Detection) -> _Found:
    """Say with which ffmpeg it was found, in an order that does not depend on who was first."""
    version = build.version
    known = [name for b in registry.backends for name in (b.name, *(s.encoder for s in b.schemas))]
    places = {name: place for place, name in enumerate(known)}

    def place(name: str) -> int:
        return places.get(name, len(places))

    capabilities = sorted(
        detection.capabilities, key=lambda c: (place(c.backend), c.device, place(c.encoder))
    )
    diagnoses = sorted(
        detection.diagnoses, key=lambda d: (place(d.backend), d.device, place(d.encoder))
    )
    return _Found(
        key,
        tuple(attrs.evolve(c, ffmpeg=c.ffmpeg or version) for c in capabilities),
        tuple(attrs.evolve(d, ffmpeg=d.ffmpeg or version) for d in diagnoses),
    )


def _distinct(errors: Iterable[PluginError]) -> tuple[PluginError, ...]:
    return tuple({(error.plugin, error.message): error for error in errors}.values())


def _first_proofs(
    builds: Sequence[FfmpegBuild], found: Sequence[_Found]
) -> dict[CapabilityKey, tuple[Capability, FfmpegBuild]]:
    proven: dict[CapabilityKey, tuple[Capability, FfmpegBuild]] = {}
    for build, entry in zip(builds, found, strict=True):
        for capability in entry.capabilities:
            proven.setdefault(capability.key, (capability, build))
    return proven


def _still_true(
    found: Sequence[_Found], proven: Mapping[CapabilityKey, tuple[Capability, FfmpegBuild]]
) -> tuple[Diagnosis, ...]:
    """What to tell of all builds: each trouble once, and not what one lacks and another has."""
    told: dict[Diagnosis, list[str]] = {}
    for entry in found:
        own = {capability.key for capability in entry.capabilities}
        elsewhere = {key for key in proven if key not in own}
        for diagnosis in entry.diagnoses:
            if _overtaken(diagnosis, elsewhere) or _beside_the_point(diagnosis, entry, proven):
                continue
            told.setdefault(attrs.evolve(diagnosis, ffmpeg=""), []).append(diagnosis.ffmpeg)
    return tuple(
        attrs.evolve(diagnosis, ffmpeg=versions[0] if len(versions) < len(found) else "")
        for diagnosis, versions in told.items()
    )


def _overtaken(diagnosis: Diagnosis, elsewhere: Iterable[CapabilityKey]) -> bool:
    """Whether another build does what this one cannot."""
    return bool(diagnosis.encoder) and any(
        key.encoder == diagnosis.encoder and diagnosis.device in ("", key.device)
        for key in elsewhere
    )


def _beside_the_point(
    diagnosis: Diagnosis,
    entry: _Found,
    proven: Mapping[CapabilityKey, tuple[Capability, FfmpegBuild]],
) -> bool:
    """Whether an extra was dropped by a build that is not used for that encoder and device."""
    if diagnosis.trouble is not Trouble.DROPPED:
        return False
    key = CapabilityKey(diagnosis.encoder, diagnosis.device)
    used = proven.get(key)
    return used is not None and used[0] not in entry.capabilities
