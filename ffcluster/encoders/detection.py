"""Ask every backend what there is, probe by probe. Sans I/O: whoever drives it runs the probes.

Several findings about one encoder on one device are merged into one capability.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import attrs

from ffcluster.core.model import Capability, Trouble
from ffcluster.core.profile import RateMode
from ffcluster.encoders.backend import Backend, Diagnosis, Finding, Machine, Probe, ProbeOutcome
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.loading import shown
from ffcluster.encoders.registry import Registry
from ffcluster.errors import PluginError

# A backend that asks for more is going round in circles.
_MOST_PROBES_PER_BACKEND = 500


@attrs.define
class Detection:
    """One ffmpeg on one machine, seen by all backends.

    Run what `take_probes` gives, hand each outcome to `feed`, until `finished`.

    Attributes:
        diagnoses: What does not work, and why; each is told once.
        errors: Backends that raised.
    """

    registry: Registry
    build: FfmpegBuild
    machine: Machine
    diagnoses: list[Diagnosis] = attrs.field(factory=list, init=False)
    errors: list[PluginError] = attrs.field(factory=list, init=False)
    _found: dict[tuple[str, str, str], Capability] = attrs.field(factory=dict, init=False)
    _waiting: list[Probe] = attrs.field(factory=list, init=False)
    _running: int = attrs.field(default=0, init=False)
    _unanswered: int = attrs.field(default=0, init=False)
    _asked: dict[str, int] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        for backend in self.registry.backends:
            self._collect(backend, partial(backend.detect, self.build, self.machine))

    @property
    def capabilities(self) -> list[Capability]:
        """What was proven so far: one for each backend, encoder and device."""
        return [_settled(found) for found in self._found.values()]

    @property
    def conclusive(self) -> bool:
        """Whether the same would be found again: all probes were answered, and nothing was busy."""
        busy = any(diagnosis.trouble is Trouble.BUSY for diagnosis in self.diagnoses)
        return not (busy or self.errors or self._unanswered)

    @property
    def finished(self) -> bool:
        """Whether no probe waits or runs."""
        return not self._waiting and not self._running

    def take_probes(self) -> tuple[Probe, ...]:
        """Probes to run now; any number of them may run at once. () while others still run."""
        taken, self._waiting = tuple(self._waiting), []
        self._running += len(taken)
        return taken

    def feed(self, probe: Probe, outcome: ProbeOutcome) -> None:
        """Hand over what became of a probe that `take_probes` gave."""
        self._running -= 1
        self._unanswered += outcome.timed_out or outcome.returncode is None
        backend = self.registry.backend(probe.backend)
        self._collect(backend, partial(backend.interpret, probe, outcome))

    def skip(self, probe: Probe, cause: str) -> None:
        """Say that a probe which `take_probes` gave will not be run, and why."""
        self._running -= 1
        self._unanswered += 1
        diagnosis = Diagnosis(probe.backend, probe.device, cause, "", probe.encoder, Trouble.BROKEN)
        if diagnosis not in self.diagnoses:
            self.diagnoses.append(diagnosis)

    def _collect(self, backend: Backend, ask: Callable[[], Sequence[Finding]]) -> None:
        try:
            for finding in list(ask()):
                self._keep(backend, finding)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything
            self._failed(backend, f"{type(error).__name__}: {error}")

    def _keep(self, backend: Backend, finding: Finding) -> None:
        if isinstance(finding, Probe):
            self._ask(backend, finding)
        elif not isinstance(finding, Capability | Diagnosis):
            self._failed(backend, f"it found {shown(finding)}")
        elif finding.backend != backend.name:
            self._failed(backend, f"it spoke in the name of {finding.backend!r}")
        elif isinstance(finding, Capability):
            key = (finding.backend, finding.encoder, finding.device)
            known = self._found.get(key)
            self._found[key] = finding if known is None else merged(known, finding)
        elif finding not in self.diagnoses:
            self.diagnoses.append(finding)

    def _ask(self, backend: Backend, probe: Probe) -> None:
        asked = self._asked.get(backend.name, 0) + 1
        self._asked[backend.name] = asked
        if probe.backend != backend.name:
            self._failed(backend, f"it asked in the name of {probe.backend!r}")
        elif asked <= _MOST_PROBES_PER_BACKEND:
            self._waiting.append(probe)
        elif asked == _MOST_PROBES_PER_BACKEND + 1:
            self._failed(backend, f"it asked for more than {_MOST_PROBES_PER_BACKEND} probes")

    def _failed(self, backend: Backend, reason: str) -> None:
        plugin = self.registry.owner(backend)
        error = PluginError(
            message=f"detection by {backend.name} failed: {reason}",
            advice=f"update the plugin, or switch it off by its name {plugin!r}",
            plugin=plugin,
        )
        self.errors.append(error)
        self.registry.note(error)


def merged(one: Capability, other: Capability) -> Capability:
    """Two findings about the same encoder on the same device as one; the former leads.

    What either proved holds, and so do the limits that either found and the extras that either
    had to leave out.
    """
    modes = {*one.rate_modes, *other.rate_modes}
    return attrs.evolve(
        one,
        pix_fmts=_union(one.pix_fmts, other.pix_fmts),
        rate_modes=tuple(mode for mode in RateMode if mode in modes),
        presets=_union(one.presets, other.presets),
        bit_depths=tuple(sorted({*one.bit_depths, *other.bit_depths})),
        min_size=_each(max, one.min_size, other.min_size),
        max_size=_each(_least_known, one.max_size, other.max_size),
        without=_union(one.without, other.without),
        hardware_decode=one.hardware_decode or other.hardware_decode,
        device_name=one.device_name or other.device_name,
        driver=one.driver or other.driver,
        ffmpeg=one.ffmpeg or other.ffmpeg,
    )


def _union(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*one, *other)))


def _each(
    choose: Callable[[int, int], int], one: tuple[int, int], other: tuple[int, int]
) -> tuple[int, int]:
    return choose(one[0], other[0]), choose(one[1], other[1])


def _least_known(one: int, other: int) -> int:
    return min(one, other) if one and other else one or other


def _settled(capability: Capability) -> Capability:
    """The same where a limit of one side only is known: it is taken for the other side too."""
    width, height = capability.max_size
    return attrs.evolve(capability, max_size=(width or height, height or width))


__all__ = ["Detection", "merged"]
