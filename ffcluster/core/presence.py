"""Workers coming, going and coming back: sessions, leases, and what becomes of their attempts.

A worker whose session ended keeps what it holds until its lease runs out. If it comes back in
time with an attempt, the attempt goes on; what it does not have any more is given again.
"""

from __future__ import annotations

from collections.abc import Iterable

from ffcluster.core.attempts import Attempts
from ffcluster.core.effects import (
    DismissWorker,
    JobChanged,
    ResumeAttempt,
    RevokeAttempt,
    WorkerChanged,
)
from ffcluster.core.events import HeldAttempt, WorkerDraining, WorkerJoined, WorkerLeft
from ffcluster.core.records import Records
from ffcluster.core.rests import Rests
from ffcluster.core.segment import Attempt, AttemptState
from ffcluster.core.staffing import Staffing
from ffcluster.core.worker import Worker, WorkerState
from ffcluster.errors import Code, ErrorReport

# What it costs to lose a worker, see `Records.budget`.
_LOSS_COST = 20


class Presence:
    """Follows the workers' sessions, on behalf of the cluster's state."""

    def __init__(
        self, records: Records, attempts: Attempts, staffing: Staffing, rests: Rests
    ) -> None:
        self._records = records
        self._attempts = attempts
        self._staffing = staffing
        self._rests = rests

    # --- coming --------------------------------------------------------------------------------

    def joined(self, event: WorkerJoined, now: float) -> None:
        """A session was opened."""
        records = self._records
        worker = records.workers.get(event.worker_id)
        if worker is None:
            worker = records.workers[event.worker_id] = Worker(event.worker_id, event.facts, now)
        else:
            if worker.present:
                worker.move(WorkerState.ABSENT)
            worker.move(WorkerState.CONNECTED)
            worker.facts, worker.connected_at = event.facts, now
            worker.draining = worker.drained_by_operator
            worker.limits.clear()
            records.absent.pop(worker.id, None)
        self._reckon(worker, event.held, now)
        worker.settle()
        records.reconsider(worker)
        self._staffing.worker_joined(worker)
        records.stir(worker.id)
        records.journal.worker(worker.id)
        records.journal.note("worker.joined", worker_id=worker.id, name=worker.facts.name)
        records.effects.append(WorkerChanged(worker.id))

    def _reckon(self, worker: Worker, held: Iterable[HeldAttempt], now: float) -> None:
        """Compare what the worker still has with what it should have."""
        records = self._records
        claims = {claim.epoch: claim for claim in held}
        lost = _lost(worker, "it came back without it")
        for attempt in list(worker.attempts.values()):
            claim = claims.get(attempt.epoch)
            if not attempt.holds_slot or attempt.epoch not in records.attempts:
                continue
            if claim is not None and claim.job_id == attempt.job_id and not attempt.trial:
                del claims[attempt.epoch]
                self._take_up(attempt)
            elif attempt.state is AttemptState.OFFERED or attempt.trial:
                self._attempts.returned(attempt, now)
            else:
                self._attempts.failed(attempt, lost, now)
        for claim in claims.values():
            records.effects.append(RevokeAttempt(claim.epoch, worker.id))
            if claim.encoded and claim.epoch not in worker.attempts:
                self.superseded(worker, claim)

    def _take_up(self, attempt: Attempt) -> None:
        """Let a worker go on with what it has, as soon as the job's source is open."""
        attempt.claimed = True
        if self._records.jobs[attempt.job_id].source_ready:
            self.resume_claimed([attempt])

    def resume_claimed(self, attempts: Iterable[Attempt]) -> None:
        """Tell workers that attempts which they came back with still count."""
        for attempt in attempts:
            if not attempt.claimed:
                continue
            attempt.claimed, attempt.resumed = False, True
            self._records.effects += [
                ResumeAttempt(attempt.epoch, attempt.worker_id, attempt.job_id, attempt.frames),
                JobChanged(attempt.job_id),
            ]

    def superseded(self, worker: Worker, claim: HeldAttempt) -> None:
        """Count a result that came too late."""
        self._records.journal.count(superseded_results=1)
        self._records.journal.note(
            "attempt.superseded", job_id=claim.job_id, worker_id=worker.id, epoch=claim.epoch
        )

    # --- going ---------------------------------------------------------------------------------

    def left(self, event: WorkerLeft, now: float) -> None:
        """A session ended: the worker's leases run on, unless it keeps nothing."""
        records = self._records
        worker = records.workers.get(event.worker_id)
        if worker is None or not worker.present:
            return
        for trial in [a for a in worker.attempts.values() if a.trial and a.holds_slot]:
            self._attempts.returned(trial, now)
        heard_at = now if event.heard_at is None else min(event.heard_at, now)
        worker.lease_until = heard_at + records.policy.lease_s
        holds = any(attempt.holds_slot for attempt in worker.attempts.values())
        records.journal.note("worker.left", worker_id=worker.id, reason=event.reason)
        if event.forgets or not holds:
            self._lose(worker, event.reason, now)
        elif worker.lease_until <= now:
            # A connection that just goes silent may end later than the lease.
            self._lease_ended(worker, now)
        else:
            worker.move(WorkerState.ABSENT)
            records.reconsider(worker)
            for attempt in worker.attempts.values():
                attempt.claimed = False
            records.absent.setdefault(worker.id)
            # What it holds may be overtaken by whoever is idle.
            records.feed_all = True
        records.restaff_all()
        records.effects.append(WorkerChanged(worker.id))

    def expire(self, now: float) -> None:
        """Give again what is held by workers whose leases have run out."""
        for worker_id in list(self._records.absent):
            worker = self._records.workers[worker_id]
            if worker.lease_until > now:
                continue
            if not self._records.spend(_LOSS_COST):
                break
            self._lease_ended(worker, now)
            self._records.restaff_all()
            self._records.effects.append(WorkerChanged(worker_id))

    def _lease_ended(self, worker: Worker, now: float) -> None:
        held = sum(1 for attempt in worker.attempts.values() if attempt.holds_slot)
        self._records.journal.count(lease_expirations=held)
        self._records.journal.note("worker.lease_ended", worker_id=worker.id, attempts=held)
        self._lose(worker, "its lease ended", now)

    def _lose(self, worker: Worker, reason: str, now: float) -> None:
        self._records.absent.pop(worker.id, None)
        worker.move(WorkerState.DISCONNECTED)
        self._records.reconsider(worker)
        lost = _lost(worker, reason)
        for attempt in [a for a in worker.attempts.values() if a.holds_slot]:
            # The first one may have been its job's last chance, which ends the others too.
            if attempt.epoch in self._records.attempts:
                self._attempts.failed(attempt, lost, now)

    # --- what operators want -------------------------------------------------------------------

    def drain(self, event: WorkerDraining, now: float) -> None:
        """Give a worker nothing more; what it has not begun is given to others."""
        records = self._records
        worker = records.workers.get(event.worker_id)
        if worker is None:
            return
        if event.by_operator and not worker.drained_by_operator:
            worker.drained_by_operator = True
            records.journal.worker(worker.id)
            records.journal.note("worker.drained", worker_id=worker.id)
        elif not worker.available:
            return
        worker.draining = True
        records.reconsider(worker)
        if worker.present:
            for attempt in [a for a in worker.attempts.values() if a.state is AttemptState.OFFERED]:
                records.effects.append(RevokeAttempt(attempt.epoch, worker.id))
                self._attempts.returned(attempt, now)
        records.restaff_all()
        records.effects.append(WorkerChanged(worker.id))

    def resume(self, worker: Worker) -> None:
        """Let a worker work again."""
        records = self._records
        worker.draining = worker.drained_by_operator = False
        records.reconsider(worker)
        self._rests.pardon(worker)
        records.journal.worker(worker.id)
        records.journal.note("worker.resumed", worker_id=worker.id)
        records.feed_all = True
        records.restaff_all()
        records.effects.append(WorkerChanged(worker.id))

    def remove(self, worker: Worker, now: float) -> None:
        """Forget a worker; what it holds is given to others."""
        records = self._records
        for attempt in list(worker.attempts.values()):
            if attempt.epoch in records.attempts:
                records.effects.append(RevokeAttempt(attempt.epoch, worker.id))
                self._attempts.returned(attempt, now)
        if worker.state is not WorkerState.DISCONNECTED:
            worker.move(WorkerState.DISCONNECTED)
        records.forget(worker.id)
        for job in records.jobs.values():
            gone = job.posts.pop(worker.id, ())
            for post in gone:
                if post.crew is not None:
                    post.crew.posts.remove(post)
            job.roster.drop(gone)
        del records.workers[worker.id]
        records.journal.remove_worker(worker.id)
        records.journal.note("worker.removed", worker_id=worker.id, name=worker.facts.name)
        records.restaff_all()
        records.effects += [DismissWorker(worker.id), WorkerChanged(worker.id)]


def _lost(worker: Worker, reason: str) -> ErrorReport:
    return ErrorReport(
        Code.WORKER_LOST, f"worker {worker.facts.name} went away: {reason}", retryable=True
    )
