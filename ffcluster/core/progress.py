"""Which state a job is in, as its attempts say. Offers nothing."""

from __future__ import annotations

from ffcluster.core import scheduling
from ffcluster.core.attempts import Attempts
from ffcluster.core.effects import JobChanged, RevokeAttempt
from ffcluster.core.job import Job, JobState
from ffcluster.core.records import Records
from ffcluster.core.segment import Attempt
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
    live = [a for s in job.unfinished.values() for a in s.live.values()]
    trying = bool(job.trials) and not job.segments_committed
    if not live and not trying and (records.no_space or not scheduling.team(job)):
        job.move(JobState.WAITING_FOR_CLIENTS, now)
        records.wait(job, records.no_space or staffing.why_waiting(job))
        return
    records.wait(job, _why_slow(records, live))
    probing = not job.segments_committed and all(attempt.probe for attempt in live)
    if job.state is JobState.PROCESSING or (live and not probing):
        job.move(JobState.PROCESSING, now)
    elif live or trying:
        job.move(JobState.BENCHMARKING, now)


def _combine(records: Records, job: Job, attempts: Attempts, now: float) -> None:
    job.reason = ""
    for trial in list(job.trials.values()):
        records.effects.append(RevokeAttempt(trial.epoch, trial.worker_id))
        attempts.returned(trial, now)
    job.move(JobState.COMBINING, now)
    records.joinable.setdefault(job.id)
    records.effects.append(JobChanged(job.id))


def _why_slow(records: Records, live: list[Attempt]) -> str:
    """Why nothing more is started although something is live; "" when all is well."""
    if records.no_space:
        return records.no_space
    holders = [records.workers[attempt.worker_id] for attempt in live]
    if live and not any(worker.present for worker in holders):
        names = ", ".join(dict.fromkeys(worker.facts.name for worker in holders))
        return f"waiting for {names} to come back"
    return ""
