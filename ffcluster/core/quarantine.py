"""Devices that keep failing: when they rest, for how long, and how they come back.

Counts by backend and device of one worker, over all jobs. One segment that fails again and again
never makes a device rest, and what a job failed with that failed everywhere is forgiven.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import attrs

from ffcluster.core.model import Capability, JobId

# The longest rest, unless a longer first one is asked for.
MAX_REST_S = 3600.0


class Place(NamedTuple):
    """A backend on a device of a worker, "" for the CPU; two "" are the worker as a whole."""

    backend: str
    device: str

    @classmethod
    def of(cls, capability: Capability) -> Place:
        """Where attempts with this capability run."""
        return cls(capability.backend, capability.device)


WHOLE_WORKER = Place("", "")

# Names a segment over all jobs: its job and its first frame.
SegmentName = tuple[JobId, int]


@attrs.define(eq=False)
class Quarantine:
    """How one place has been doing since it last brought a segment home.

    Attributes:
        place: The place.
        failed: Different segments that failed there since then, the latest last.
        times: Rests in a row; with one behind it, it is given one attempt at a time.
        resting: Whether it is given nothing.
        until: When that ends, or ended.
        reason: What it failed with, for a person; "" before its first rest.
    """

    place: Place
    failed: dict[SegmentName, None] = attrs.field(factory=dict)
    times: int = 0
    resting: bool = False
    until: float = 0.0
    reason: str = ""

    @property
    def on_probation(self) -> bool:
        """Whether it has rested and was not seen to work since."""
        return self.times > 0 and not self.resting

    def rest(self, reason: str, now: float, first_rest_s: float) -> None:
        """Begin to rest: twice as long as the last time, to a cap."""
        self.times += 1
        longest = max(MAX_REST_S, first_rest_s)
        # Beyond that power every rest is at the cap.
        self.until = now + min(first_rest_s * 2.0 ** min(self.times - 1, 32), longest)
        self.resting, self.reason = True, reason

    def end(self) -> None:
        """Go on, on probation."""
        self.resting = False

    def take_back(self) -> None:
        """Make the last rest undone."""
        self.times -= 1
        self.resting = False
        if not self.times:
            self.reason = ""


Quarantines = dict[Place, Quarantine]


def resting(known: Quarantines, capability: Capability) -> Quarantine | None:
    """Why nothing is offered to a capability, or None."""
    for place in (WHOLE_WORKER, Place.of(capability)):
        found = known.get(place)
        if found is not None and found.resting:
            return found
    return None


def on_probation(known: Quarantines, capability: Capability) -> bool:
    """Whether a capability may run one attempt at a time only."""
    found = known.get(Place.of(capability))
    return found is not None and found.on_probation


def failed(
    known: Quarantines,
    capability: Capability,
    segment: SegmentName,
    message: str,
    now: float,
    *,
    after: int,
    first_rest_s: float,
    elsewhere: bool,
) -> Quarantine | None:
    """Count a failure; answers the quarantine when it begins now.

    Args:
        known: Those of the worker.
        capability: What failed.
        segment: The segment that it failed at.
        message: What happened.
        now: Now.
        after: Different segments in a row that make the place rest.
        first_rest_s: How long it rests the first time.
        elsewhere: Whether the segment failed on another worker too: then it may be its own fault,
            which is no reason to send a place that is on probation back to rest.
    """
    place = Place.of(capability)
    found = known.setdefault(place, Quarantine(place))
    if found.resting:
        return None
    found.failed.setdefault(segment)
    if found.on_probation:
        if elsewhere:
            return None
        reason = f"failed again after a rest: {message}"
    elif len(found.failed) < after:
        return None
    else:
        reason = f"failed on {len(found.failed)} segments in a row: {message}"
    found.rest(reason, now, first_rest_s)
    return found


def succeeded(known: Quarantines, capability: Capability) -> bool:
    """A segment came through: all is well again; whether a quarantine ends with that."""
    found = known.pop(Place.of(capability), None)
    return found is not None and found.times > 0


def rest_whole(known: Quarantines, message: str, now: float, rest_s: float) -> Quarantine | None:
    """Let a worker rest as a whole, whatever its devices do; None: it does so already."""
    if WHOLE_WORKER in known:
        return None
    found = known[WHOLE_WORKER] = Quarantine(WHOLE_WORKER)
    found.rest(message, now, rest_s)
    return found


def forgive(known: Quarantines, job_id: JobId) -> bool:
    """Take back what a job counted for that failed everywhere; whether a rest ends with that."""
    ended = False
    for place, found in list(known.items()):
        ours = [segment for segment in found.failed if segment[0] == job_id]
        if not ours:
            continue
        blamed = found.times > 0 and next(reversed(found.failed)) in ours
        for segment in ours:
            del found.failed[segment]
        if blamed:
            found.take_back()
            ended = True
        if not found.failed:
            del known[place]
    return ended


def recover(known: Quarantines, now: float) -> bool:
    """End the rests whose time has come; whether there was one."""
    over = [found for found in known.values() if found.resting and found.until <= now]
    for found in over:
        found.end()
        if found.place == WHOLE_WORKER:
            del known[WHOLE_WORKER]
    return bool(over)


def wakes(known: Quarantines) -> Iterable[float]:
    """When rests end."""
    return (found.until for found in known.values() if found.resting)
