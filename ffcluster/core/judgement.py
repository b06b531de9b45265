"""What a failed attempt means: whose fault it is, what it counts for, how long to wait.

A table by error code and functions over a segment's failures. Changes nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence

import attrs

from ffcluster.core.model import WorkerId
from ffcluster.core.segment import AttemptFailure
from ffcluster.errors import Code

# The longest wait between two attempts at a segment, unless a longer first one is asked for.
MAX_DELAY_S = 60.0
# How often a segment may fail because of what is around it: the network, helper processes.
ENVIRONMENT_BOUND = 20
# How often a segment may be lost with its worker, whatever else there is to say about that.
LOST_BOUND = 10
# A worker whose disk is full is left alone for so long.
DISK_REST_S = 60.0
# Less often than this in all of a job something is not put down to chance.
_UNLIKELY = 0.02


class Fault(enum.StrEnum):
    """Whose fault a failure is, as far as its code tells.

    SEGMENT: the segment's, or that of the device that failed at it: others will tell.
    DEVICE: the device has no room for now.
    WORKER: the worker's machine cannot go on, or is gone.
    ENVIRONMENT: what lies between the machines, or a process that was killed.
    """

    SEGMENT = "segment"
    DEVICE = "device"
    WORKER = "worker"
    ENVIRONMENT = "environment"


@attrs.frozen
class Meaning:
    """What failures of one code mean.

    Attributes:
        fault: Whose fault they are.
        counts: Whether they count against the segment, when it is asked whether it can be encoded
            at all. Losses of workers are weighed by `Losses` instead.
        against_device: Whether they count against the device that they happened on.
        bound: So many of them end a segment whatever else is known; None: no bound of their own.
        delayed: Whether the segment is given again only after a while.
        rest_s: For how long the worker is given nothing at all.
        kept: Whether the segment keeps them as evidence, and is tried elsewhere first.
    """

    fault: Fault
    counts: bool = False
    against_device: bool = False
    bound: int | None = None
    delayed: bool = True
    rest_s: float = 0.0
    kept: bool = True


_SUSPICIOUS = Meaning(Fault.SEGMENT, counts=True, against_device=True)
_SURROUNDINGS = Meaning(Fault.ENVIRONMENT, bound=ENVIRONMENT_BOUND)

# What is not listed may be the segment's fault as well as the device's, and counts against both.
_MEANINGS: Mapping[Code, Meaning] = {
    # Believed only so often; the device is given less for it, see `Worker.refused`.
    Code.ENCODER_BUSY: Meaning(Fault.DEVICE, counts=True, against_device=True),
    Code.DISK_FULL: Meaning(Fault.WORKER, delayed=False, rest_s=DISK_REST_S, kept=False),
    Code.WORKER_LOST: Meaning(Fault.WORKER, bound=LOST_BOUND, delayed=False),
    Code.TRANSFER_FAILED: _SURROUNDINGS,
    Code.HELPER_DIED: _SURROUNDINGS,
    Code.UNREACHABLE: _SURROUNDINGS,
    # What the worker sent was whole: it was altered on this side, before it could be checked.
    Code.BLOB_LOST: _SURROUNDINGS,
    Code.BLOB_DAMAGED: _SURROUNDINGS,
}


def meaning_of(code: Code) -> Meaning:
    """What a failure with this code means."""
    return _MEANINGS.get(code, _SUSPICIOUS)


def culprits(failures: Sequence[AttemptFailure]) -> dict[WorkerId, str]:
    """The workers on which something failed that counts against the segment, with their names."""
    return {
        failure.post_key.worker_id: failure.worker_name
        for failure in failures
        if meaning_of(failure.error.code).counts
    }


def tries(failures: Sequence[AttemptFailure]) -> int:
    """How many of a segment's failures count against it."""
    return sum(1 for failure in failures if meaning_of(failure.error.code).counts)


def hopeless(
    failures: Sequence[AttemptFailure], max_retries: int, poison_after: int, losses: Losses
) -> bool:
    """Whether a segment that failed so is given up.

    Args:
        failures: All that are kept of it, oldest first.
        max_retries: Failures that count and are made good by another try.
        poison_after: Different workers whose failing at it is proof enough.
        losses: How workers were lost with the job's other segments.
    """
    suspects = culprits(failures)
    if not losses.explain(failures):
        suspects |= _lost_with(failures)
    if len(suspects) >= poison_after or tries(failures) > max_retries:
        return True
    if not failures:
        return False
    bound = meaning_of(failures[-1].error.code).bound
    if bound is None:
        return False
    alike = sum(1 for f in failures if f.error.code is failures[-1].error.code)
    return alike > max(bound, max_retries)


def _lost_with(failures: Sequence[AttemptFailure]) -> dict[WorkerId, str]:
    lost = (failure for failure in failures if failure.error.code is Code.WORKER_LOST)
    return {failure.post_key.worker_id: failure.worker_name for failure in lost}


@attrs.frozen
class Losses:
    """How workers were lost with the other segments of a job.

    A segment that takes one machine after the other down is as bad as one that fails on each. But
    where machines are switched off and cables are cut all the time, some segment is lost again and
    again by chance, and there is nothing wrong with it.

    Attributes:
        lost: Attempts at the other segments that were lost with their workers.
        committed: Attempts at them that came through.
    """

    lost: int
    committed: int

    def explain(self, failures: Sequence[AttemptFailure]) -> bool:
        """Whether a segment may have been lost so often although nothing is wrong with it."""
        own = sum(1 for failure in failures if failure.error.code is Code.WORKER_LOST)
        # Laplace's rule of succession: before anything is known, a loss is as likely as not.
        rate = (self.lost + 1) / (self.lost + self.committed + 2)
        return (1 + self.committed) * rate**own > _UNLIKELY


def delay_s(failures: Sequence[AttemptFailure], first_delay_s: float) -> float:
    """Seconds before the segment is given again: twice as long after each failure, to a cap."""
    if not meaning_of(failures[-1].error.code).delayed:
        return 0.0
    return backed_off_s(
        first_delay_s, sum(1 for f in failures if meaning_of(f.error.code).delayed) - 1
    )


def backed_off_s(first_delay_s: float, before: int) -> float:
    """Seconds to wait after a failure when `before` others came before it."""
    # Beyond that power every delay is at the cap.
    return min(first_delay_s * 2.0 ** min(before, 32), max(MAX_DELAY_S, first_delay_s))
