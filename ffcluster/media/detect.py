"""Run the probes that encoder backends ask for, a few at a time."""

from __future__ import annotations

from twisted.internet.defer import DeferredList, DeferredSemaphore

from ffcluster.encoders.backend import Machine, Probe, ProbeOutcome
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.detection import Detection
from ffcluster.encoders.registry import Registry
from ffcluster.media.command import Command
from ffcluster.media.runner import Finished, Runner

# Trial encodes open the same devices: many at once would refuse each other.
_AT_ONCE = 4


async def detect(
    registry: Registry, build: FfmpegBuild, machine: Machine, runner: Runner
) -> Detection:
    """Find out what `build` can really do on this machine.

    Never raises for what a backend or probe does wrong: it is in the result's diagnoses and errors.
    """
    detection = Detection(registry, build, machine)
    limit = DeferredSemaphore(_AT_ONCE)

    def ask(probe: Probe) -> object:
        running = runner.run(
            Command((build.path, *probe.argv), "probe"),
            timeout_s=probe.timeout_s,
            env=dict(probe.env),
        )
        return running.done.addCallback(lambda end: detection.feed(probe, _outcome(end)))

    while not detection.finished:
        probes = detection.take_probes()
        asked = [limit.run(ask, probe) for probe in probes]
        await DeferredList(asked, fireOnOneErrback=True, consumeErrors=True)
    return detection


def _outcome(finished: Finished) -> ProbeOutcome:
    returncode = finished.returncode
    if finished.signal is not None:
        returncode = -finished.signal
    return ProbeOutcome(
        returncode=returncode,
        stdout=finished.stdout.decode("utf-8", "replace"),
        stderr=finished.stderr_tail,
        timed_out=finished.timed_out,
    )
