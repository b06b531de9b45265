"""What results mean for their job: whether they fit, who made what, why a segment failed for good.

A result that could not stand beside the others is refused here, before it reaches the join.
"""

from __future__ import annotations

import attrs

from ffcluster.core.crews import Crew, Kind
from ffcluster.core.job import Job
from ffcluster.core.judge import Judge
from ffcluster.core.model import Contribution, ResultReport
from ffcluster.core.segment import Attempt, AttemptFailure, Segment
from ffcluster.errors import Code, ErrorReport

# Lines of what ffmpeg said last that are shown of each failure.
_STDERR_LINES = 10


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
    kinds = _kinds(job)
    if Kind.of(report) in kinds or not (kinds or job.segments_committed):
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


def remember(job: Job, attempt: Attempt, report: ResultReport) -> None:
    """Keep what a capability wrote that worked on the job before its post was gone."""
    for crew in job.crews:
        if attempt.capability in crew.capabilities:
            crew.capabilities[attempt.capability] = report
            crew.kinds.setdefault(Kind.of(report))


def _kinds(job: Job) -> set[Kind]:
    return {kind for crew in job.crews for kind in crew.kinds}


def count(job: Job, attempt: Attempt, report: ResultReport) -> None:
    """Write down who made a result that was committed."""
    _add(job, attempt, report, 1)


def uncount(job: Job, attempt: Attempt, report: ResultReport) -> None:
    """Take back what `count` wrote down: the result was lost."""
    _add(job, attempt, report, -1)


def _add(job: Job, attempt: Attempt, report: ResultReport, segments: int) -> None:
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
    made = attrs.evolve(
        made,
        segments=made.segments + segments,
        frames=made.frames + segments * len(attempt.frames),
    )
    if made.segments:
        job.made[key] = made
    else:
        job.made.pop(key, None)


def segment_error(segment: Segment) -> ErrorReport:
    """The error of a segment that cannot be encoded: the last failure, with all the evidence."""
    failures = segment.failures
    last = failures[-1]
    first, final = segment.frames.first, segment.frames.stop - 1
    workers = len({failure.post_key.worker_id for failure in failures})
    where = f" on {workers} different workers" if workers > 1 else ""
    return ErrorReport(
        last.error.code,
        f"frames {first} to {final} failed {len(failures)} times{where}, "
        f"last on {last.worker_name}: {last.error.message}",
        last.error.advice,
        detail={
            **last.error.detail,
            "segment": {"first_frame": first, "frame_count": len(segment.frames)},
            "worker": last.worker_name,
            "encoder": last.post_key.key.encoder,
            "device": last.post_key.key.device,
            "failures": [_evidence(failure) for failure in failures],
        },
    )


def _evidence(failure: AttemptFailure) -> dict[str, str]:
    error = failure.error
    lines = str(error.detail.get("stderr", "")).strip().splitlines()
    return {
        "worker": failure.worker_name,
        "encoder": failure.post_key.key.encoder,
        "device": failure.post_key.key.device,
        "code": error.code.value,
        "message": error.message,
        "stderr": "\n".join(lines[-_STDERR_LINES:]),
    }
