"""Who rests: counts failures against devices, sends them and workers to rest, brings them back.

Which failures count is decided in `judgement`, how long a rest is in `quarantine`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from ffcluster.core import quarantine
from ffcluster.core.crews import Post
from ffcluster.core.effects import RevokeAttempt, WorkerChanged
from ffcluster.core.judgement import meaning_of
from ffcluster.core.model import JobId
from ffcluster.core.quarantine import WHOLE_WORKER, Place, Quarantine
from ffcluster.core.records import Records
from ffcluster.core.segment import Attempt, AttemptEnd, AttemptState, Segment
from ffcluster.core.worker import Worker
from ffcluster.errors import ErrorReport


class Rests:
    """Sends to rest and brings back, on behalf of the cluster's state."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._wakes: Sequence[float] = ()

    def suspect(self, attempt: Attempt, segment: Segment, error: ErrorReport, now: float) -> None:
        """Count a failure against the device that it happened on."""
        worker = self._records.workers[attempt.worker_id]
        begun = quarantine.failed(
            worker.quarantines,
            attempt.capability,
            (attempt.job_id, segment.frames.first),
            error.message,
            now,
            after=self._records.policy.quarantine_after,
            first_rest_s=self._records.policy.quarantine_s,
            elsewhere=any(f.post_key.worker_id != worker.id for f in segment.failures),
        )
        if begun is not None:
            self._begun(worker, begun, now)

    def rest_whole(self, worker: Worker, error: ErrorReport, now: float) -> None:
        """Give a worker nothing for a while, because its machine cannot go on."""
        rest_s = meaning_of(error.code).rest_s
        begun = quarantine.rest_whole(worker.quarantines, error.message, now, rest_s)
        if begun is not None:
            self._begun(worker, begun, now)

    def _begun(self, worker: Worker, begun: Quarantine, now: float) -> None:
        self._take_back(worker, begun, now)
        self._records.limited.setdefault(worker.id)
        self._records.journal.note(
            "worker.quarantined",
            worker_id=worker.id,
            backend=begun.place.backend,
            device=begun.place.device,
            reason=begun.reason,
            until=begun.until,
            times=begun.times,
        )
        self._changed(worker)

    def _take_back(self, worker: Worker, begun: Quarantine, now: float) -> None:
        """Give others what waits there and did not begin; what runs may still come through."""
        for attempt in list(worker.attempts.values()):
            rests = begun.place in (WHOLE_WORKER, Place.of(attempt.capability))
            if rests and attempt.state is AttemptState.OFFERED and not attempt.trial:
                self._records.effects.append(RevokeAttempt(attempt.epoch, worker.id))
                self._records.end(attempt, AttemptEnd.RETURNED)
                self._records.give_again(attempt, now)

    def succeeded(self, attempt: Attempt) -> None:
        """A result of the device was committed: nothing is held against it any more."""
        worker = self._records.workers[attempt.worker_id]
        if quarantine.succeeded(worker.quarantines, attempt.capability):
            self._ended(worker)

    def forgive(self, job_id: JobId) -> None:
        """A job failed everywhere: no device rests for that any longer."""
        for worker in self._records.workers.values():
            if worker.quarantines and quarantine.forgive(worker.quarantines, job_id):
                self._ended(worker)

    def pardon(self, worker: Worker) -> None:
        """An operator says that a worker is well."""
        if worker.quarantines:
            worker.quarantines.clear()
            self._ended(worker)

    def recover_all(self, now: float) -> None:
        """Let those have more again whose time has come."""
        records = self._records
        if records.recover_at is None:
            self._find_out()
        if records.recover_at is not None and records.recover_at <= now:
            for worker_id in list(records.limited):
                self._recover(records.workers[worker_id], now)
            records.recover_at = None

    def wakes(self) -> Sequence[float]:
        """When something changes with time alone for those that may be given work."""
        if self._records.recover_at is None:
            self._find_out()
        return self._wakes

    def _find_out(self) -> None:
        """Work out what is kept until a limit or a rest changes."""
        limited = [self._records.workers[worker_id] for worker_id in self._records.limited]
        for worker in limited:
            if not worker.restricted:
                del self._records.limited[worker.id]
        self._wakes = [due for worker in limited if worker.available for due in worker.wakes()]
        self._records.recover_at = min(
            (due for worker in limited for due in worker.recoveries()), default=math.inf
        )

    def _recover(self, worker: Worker, now: float) -> None:
        """Let a worker have more again when its time has come."""
        if quarantine.recover(worker.quarantines, now):
            self._changed(worker)
        if worker.recover(now):
            self._records.reweigh(worker)
            self._records.effects.append(WorkerChanged(worker.id))
        self._records.stir(worker.id)
        if not worker.restricted:
            self._records.limited.pop(worker.id, None)

    def _ended(self, worker: Worker) -> None:
        self._records.journal.note("worker.recovered", worker_id=worker.id)
        self._changed(worker)

    def _changed(self, worker: Worker) -> None:
        """Somebody rests, or does so no more: every job looks at who is left."""
        self._records.journal.worker(worker.id)
        self._records.reconsider(worker)
        self._records.feed_all = True
        self._records.restaff_all()
        self._records.effects.append(WorkerChanged(worker.id))


def why_resting(posts: Iterable[Post]) -> str:
    """Say of posts why and until when they rest; "" when none does."""
    found = [(post, post.rests) for post in posts]
    resting = [(rest.until, post.worker.facts.name, rest) for post, rest in found if rest]
    if not resting:
        return ""
    until, name, rest = min(resting, key=lambda entry: entry[:2])
    who = name if rest.place == WHOLE_WORKER else f"{rest.place.backend} on {name}"
    when = datetime.fromtimestamp(until, UTC).strftime("%H:%M:%S")
    more = len({name for _, name, _ in resting}) - 1
    others = f", like {more} other worker{'s' if more > 1 else ''}" if more else ""
    return f"{who} rests until {when} UTC{others}: {rest.reason}"
