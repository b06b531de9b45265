"""What results mean for their job: whether they fit, who made what, why a segment failed for good.

A result that could not stand beside the others is refused here, before it reaches the join.
"""

from __future__ import annotations

import attrs

from ffcluster.core.crews import Crew, Kind
from ffcluster.core.job import Job
from ffcluster.core.judge import Judge
from ffcluster.core.model import Contribution, ResultReport
from ffcluster.core.segment import Attempt, Segment
from ffcluster.errors import Code, ErrorReport


def objection(job: Job, attempt: Attempt, report: ResultReport, judge: Judge) -> ErrorReport | None:
    """Say why a result cannot stand beside those committed before; None when it can."""
    reason = (
        _made_by_another(attempt) or _unlike_the_others(job, report) or _stray(job, attempt, report)
    )
    if not reason and _drifts(job, attempt, report):
        carried = judge.carries_mixture(job.spec)
        reason = carried and (
            f"{attempt.capability.encoder} wrote other parameter sets than before, and {carried}"
        )
    return ErrorReport(Code.RESULT_INVALID, reason, retryable=True) if reason else None


def _made_by_another(attempt: Attempt) -> str:
    proof, asked = attempt.proof, attempt.capability
    if proof is None or not proof.encoder:
        return ""
    if (proof.encoder, proof.device) == (asked.encoder, asked.device):
        return ""
    return (
        f"the result was made with {proof.encoder} on {proof.device or 'the CPU'} instead of "
        f"{asked.encoder} on {asked.device or 'the CPU'}"
    )


def _unlike_the_others(job: Job, report: ResultReport) -> str:
    if job.sample is None:
        return ""
    for what in ("codec", "width", "height", "pix_fmt"):
        found, expected = getattr(report, what), getattr(job.sample, what)
        if found != expected:
            return f"the result's {what} is {found}, the other segments have {expected}"
    return ""


def _stray(job: Job, attempt: Attempt, report: ResultReport) -> str:
    """Say why a result of a post that takes no part (any more) does not fit; "" when it does."""
    if _crew_of(job, attempt) is not None or job.single_segment or job.spec.mix:
        return ""
    if Kind.of(report) in _kinds(job):
        return ""
    return (
        f"the parameter sets that {attempt.capability.encoder} wrote are none of those that this "
        "job's segments have"
    )


def _drifts(job: Job, attempt: Attempt, report: ResultReport) -> bool:
    """Whether one of several posts writes something else than the job's segments have.

    A post that works alone may do so: the join knows how to put that in band, or says why not.
    """
    crew = _crew_of(job, attempt)
    if crew is None or job.single_segment or not crew.kinds or Kind.of(report) in _kinds(job):
        return False
    return sum(len(other.posts) for other in job.crews) > 1


def _crew_of(job: Job, attempt: Attempt) -> Crew | None:
    post = job.post(attempt.post_key)
    return post.crew if post is not None and post.capability == attempt.capability else None


def _kinds(job: Job) -> set[Kind]:
    return {kind for crew in job.crews for kind in crew.kinds}


def count(job: Job, attempt: Attempt, report: ResultReport) -> None:
    """Write down who made a result that was committed."""
    made = Contribution(
        attempt.capability.encoder,
        attempt.capability.hardware,
        report.parameter_sets,
        0,
        0,
        attempt.fallback,
    )
    key = (made.encoder, made.hardware, made.parameter_sets, made.fallback)
    made = job.made.get(key, made)
    job.made[key] = attrs.evolve(
        made, segments=made.segments + 1, frames=made.frames + len(attempt.frames)
    )


def segment_error(segment: Segment) -> ErrorReport:
    """The error of a job whose segment failed too often: the last failure, with its history."""
    last = segment.failures[-1]
    first, final = segment.frames.first, segment.frames.stop - 1
    return ErrorReport(
        last.error.code,
        f"frames {first} to {final} failed {len(segment.failures)} times, "
        f"last on {last.worker_name}: {last.error.message}",
        last.error.advice,
        detail={
            **last.error.detail,
            "segment": {"first_frame": first, "frame_count": len(segment.frames)},
            "worker": last.worker_name,
            "encoder": last.post_key.key.encoder,
            "device": last.post_key.key.device,
            "failures": [
                {
                    "worker": f.worker_name,
                    "encoder": f.post_key.key.encoder,
                    "device": f.post_key.key.device,
                    "code": f.error.code.value,
                    "message": f.error.message,
                }
                for f in segment.failures
            ],
        },
    )
