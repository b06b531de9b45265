"""Which state a job is in, as its attempts say. Offers nothing."""

from __future__ import annotations

from ffcluster.core import scheduling
from ffcluster.core.attempts import Attempts
from ffcluster.core.effects import JobChanged, RevokeAttempt
from ffcluster.core.job import Job, JobState
from ffcluster.core.records import Records
from ffcluster.core.staffing import Staffing


def settle(records: Records, job: Job, staffing: Staffing, attempts: Attempts, now: float) -> None:
    """Take the state that the job's attempts say, and say why it waits if it does."""
    if job.ended or job.state is JobState.COMBINING:
        return
    if not job.source_ready:
        records.wait(job, "reading the source" if job.summary is None else "opening the source")
        return
    if job.whole and job.started:
        _combine(records, job, attempts, now)
        return
    if job.paused:
        records.wait(job, "paused")
        return
    if not job.started:
        return
    trying = bool(job.trials) and not job.segments_committed
    if not job.live and not trying and (records.no_space or not scheduling.manned(job)):
        job.move(JobState.WAITING_FOR_CLIENTS, now)
        records.wait(job, records.no_space or staffing.why_waiting(job))
        return
    records.wait(job, _why_slow(records, job))
    if job.state is JobState.PROCESSING:
        return
    probing = not job.segments_committed and all(a.probe for a in job.live.values())
    if job.live and not probing:
        job.move(JobState.PROCESSING, now)
    elif job.live or trying:
        job.move(JobState.BENCHMARKING, now)


def _combine(records: Records, job: Job, attempts: Attempts, now: float) -> None:
    job.reason = ""
    for trial in list(job.trials.values()):
        records.effects.append(RevokeAttempt(trial.epoch, trial.worker_id))
        attempts.returned(trial, now)
    job.move(JobState.COMBINING, now)
    records.joinable.setdefault(job.id)
    records.effects.append(JobChanged(job.id))


def _why_slow(records: Records, job: Job) -> str:
    """Why nothing more is started although somebody could; "" when all is well."""
    if records.no_space:
        return records.no_space
    if not job.live:
        return (
            "waiting for its turn: its workers encode for other jobs" if _crowded_out(job) else ""
        )
    if any(records.workers[a.worker_id].present for a in job.live.values()):
        return ""
    live = (a for segment in job.unfinished.values() for a in segment.live.values())
    holders = dict.fromkeys(records.workers[a.worker_id].facts.name for a in live)
    return f"waiting for {', '.join(holders)} to come back"


def _crowded_out(job: Job) -> bool:
    """Whether some of those who could work on a job without live attempts work on others."""
    return any(post.worker.attempts for crew in job.crews for post in crew.ready)
