"""Run the probes that encoder backends ask for, a few at a time, one at a time on each device."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from twisted.internet.defer import (
    Deferred,
    DeferredList,
    DeferredLock,
    DeferredSemaphore,
    succeed,
)

from ffcluster.encoders.backend import Machine, Probe, ProbeOutcome
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.detection import Detection
from ffcluster.encoders.registry import Registry
from ffcluster.media.command import Command
from ffcluster.media.runner import Finished, Runner

OnAnswer = Callable[[Probe, ProbeOutcome], None]

_AT_ONCE = 4


async def detect(
    registry: Registry,
    build: FfmpegBuild,
    machine: Machine,
    runner: Runner,
    on_answer: OnAnswer | None = None,
) -> Detection:
    """Find out what `build` can really do on this machine.

    Args:
        registry: The plugins to ask.
        build: The ffmpeg to try.
        machine: The machine.
        runner: Starts ffmpeg.
        on_answer: Called with each probe and what became of it.

    Never raises for what a backend or probe does wrong: it is in the result's diagnoses and errors.
    """
    detection = Detection(registry, build, machine)
    await _Probing(detection, runner, on_answer).ask_all()
    return detection


class _Probing:
    """Runs probes so that they do not stand in each other's way.

    Trials on one device would use up each other's sessions, and be told that it is busy.
    """

    def __init__(self, detection: Detection, runner: Runner, on_answer: OnAnswer | None) -> None:
        self._detection = detection
        self._runner = runner
        self._on_answer = on_answer
        self._limit = DeferredSemaphore(_AT_ONCE)
        self._devices: defaultdict[str, DeferredLock] = defaultdict(DeferredLock)
        self._hanging: set[str] = set()

    async def ask_all(self) -> None:
        """Run the probes that wait, and those that their answers lead to."""
        asked = [Deferred.fromCoroutine(self._ask(p)) for p in self._detection.take_probes()]
        # The last first: cancelling what waits before what runs keeps it from starting.
        await DeferredList(asked[::-1], fireOnOneErrback=True, consumeErrors=True)

    async def _ask(self, probe: Probe) -> None:
        if probe.device:
            # The device first: who waits for it must not keep others from running.
            await self._devices[probe.device].run(self._limit.run, self._run, probe)
        else:
            await self._limit.run(self._run, probe)
        await self.ask_all()

    def _run(self, probe: Probe) -> Deferred[None]:
        if probe.device in self._hanging:
            # A device that hangs takes each trial's whole time: once is enough.
            self._detection.skip(probe, "not tried: the device hung in an earlier trial")
            return succeed(None)
        running = self._runner.run(
            Command((self._detection.build.path, *probe.argv), "probe"),
            timeout_s=probe.timeout_s,
            env=dict(probe.env),
        )
        return running.done.addCallback(lambda finished: self._answer(probe, outcome_of(finished)))

    def _answer(self, probe: Probe, outcome: ProbeOutcome) -> None:
        if outcome.timed_out and probe.device:
            self._hanging.add(probe.device)
        if self._on_answer is not None:
            self._on_answer(probe, outcome)
        self._detection.feed(probe, outcome)


def outcome_of(finished: Finished) -> ProbeOutcome:
    """How a process ended, in the words of backends."""
    returncode = finished.returncode
    if finished.signal is not None:
        returncode = -finished.signal
    return ProbeOutcome(
        returncode=returncode,
        stdout=finished.stdout.decode("utf-8", "replace"),
        stderr=finished.stderr_tail,
        timed_out=finished.timed_out,
    )
