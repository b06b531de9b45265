"""Who rests: counts failures against devices, sends them and workers to rest, brings them back.

Which failures count is decided in `judgement`, how long a rest is in `quarantine`.
"""

from __future__ import annotations

from collections.abc import Iterable
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
            if quarantine.forgive(worker.quarantines, job_id):
                self._ended(worker)

    def pardon(self, worker: Worker) -> None:
        """An operator says that a worker is well."""
        if worker.quarantines:
            worker.quarantines.clear()
            self._ended(worker)

    def recover(self, worker: Worker, now: float) -> None:
        """Let a worker have more again when its time has come."""
        if quarantine.recover(worker.quarantines, now):
            self._changed(worker)
        if worker.recover(now):
            self._records.effects.append(WorkerChanged(worker.id))
        self._records.hungry.setdefault(worker.id)
        if not worker.restricted:
            self._records.limited.pop(worker.id, None)

    def _ended(self, worker: Worker) -> None:
        self._records.journal.note("worker.recovered", worker_id=worker.id)
        self._changed(worker)

    def _changed(self, worker: Worker) -> None:
        """Somebody rests, or does so no more: every job looks at who is left."""
        self._records.journal.worker(worker.id)
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
