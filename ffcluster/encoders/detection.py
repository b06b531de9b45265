"""Ask every backend what there is, probe by probe. Sans I/O: whoever drives it runs the probes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import attrs

from ffcluster.core.model import Capability
from ffcluster.encoders.backend import Backend, Diagnosis, Finding, Machine, Probe, ProbeOutcome
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.registry import Registry
from ffcluster.errors import PluginError

# A backend that asks for more is going round in circles.
_MOST_PROBES_PER_BACKEND = 500


@attrs.define
class Detection:
    """One ffmpeg on one machine, seen by all backends.

    Run what `take_probes` gives, hand each outcome to `feed`, until `finished`.

    Attributes:
        capabilities: What was proven so far.
        diagnoses: What does not work, and why.
        errors: Backends that raised.
    """

    registry: Registry
    build: FfmpegBuild
    machine: Machine
    capabilities: list[Capability] = attrs.field(factory=list, init=False)
    diagnoses: list[Diagnosis] = attrs.field(factory=list, init=False)
    errors: list[PluginError] = attrs.field(factory=list, init=False)
    _waiting: list[Probe] = attrs.field(factory=list, init=False)
    _running: int = attrs.field(default=0, init=False)
    _asked: dict[str, int] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        for backend in self.registry.backends:
            self._collect(backend, partial(backend.detect, self.build, self.machine))

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
        backend = self.registry.backend(probe.backend)
        self._collect(backend, partial(backend.interpret, probe, outcome))

    def _collect(self, backend: Backend, ask: Callable[[], Sequence[Finding]]) -> None:
        try:
            findings = list(ask())
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            self._failed(backend, f"{type(error).__name__}: {error}")
            return
        for finding in findings:
            if isinstance(finding, Probe):
                self._ask(backend, finding)
            elif isinstance(finding, Capability):
                self.capabilities.append(finding)
            elif isinstance(finding, Diagnosis):
                self.diagnoses.append(finding)
            else:
                self._failed(backend, f"it found {finding!r}")

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
        self.errors.append(
            PluginError(
                message=f"detection by {backend.name} failed: {reason}",
                advice=f"update the plugin, or switch it off by its name {backend.name!r}",
                plugin=backend.name,
            )
        )
