"""What the answers to trials mean for the posts that were tried.

A trial is no attempt at a segment: it is never committed, never a retry, nobody's failure.
"""

from __future__ import annotations

from ffcluster.core.crews import Post, PostState
from ffcluster.core.effects import JobChanged, WorkerChanged
from ffcluster.core.judgement import Fault, backed_off_s, meaning_of
from ffcluster.core.model import ResultReport
from ffcluster.core.records import Records
from ffcluster.core.rests import Rests
from ffcluster.core.segment import Attempt, AttemptEnd
from ffcluster.errors import Code, ErrorReport


class Trials:
    """Takes in how trials end, on behalf of the cluster's state."""

    def __init__(self, records: Records, rests: Rests) -> None:
        self._records = records
        self._rests = rests

    def checked(self, attempt: Attempt, report: ResultReport) -> None:
        """The result of a trial was looked at: it shows what the post writes."""
        post = self._end(attempt)
        if post is not None:
            post.learn(report)

    def failed(self, attempt: Attempt, error: ErrorReport, now: float) -> None:
        """A trial came to nothing."""
        policy = self._records.policy
        post = self._end(attempt)
        if post is None:
            return
        wider = post.pre_roll.next if error.code is Code.WRONG_FRAME_COUNT else None
        if wider is not None:
            # As with segments, too little of the source before it is not the encoder's fault.
            post.pre_roll = wider
            post.move(PostState.UNTRIED)
        elif error.code is Code.WORKER_LOST:
            self._forget(post, post.not_before)
        elif error.code is Code.ENCODER_BUSY:
            self._records.limited.setdefault(post.worker.id)
            believed = post.worker.refused(post.device, now)
            self._records.reweigh(post.worker)
            if believed:
                self._forget(post, now + policy.retry_delay_s)
            else:
                post.refuse(error.message)
        elif meaning_of(error.code).rest_s:
            self._rests.rest_whole(post.worker, error, now)
            self._forget(post, now)
        elif _of_surroundings(error) and post.setbacks < policy.max_retries:
            post.not_before = now + backed_off_s(policy.retry_delay_s, post.setbacks)
            post.setbacks += 1
            post.move(PostState.UNTRIED)
        else:
            post.refuse(error.message)

    def returned(self, attempt: Attempt, now: float) -> None:
        """A trial was given back untried: it may be made later, nobody waits for it."""
        post = self._end(attempt)
        if post is not None:
            self._forget(post, now + self._records.policy.retry_delay_s)

    def _end(self, attempt: Attempt) -> Post | None:
        """End the attempt; answers the post that it tried, unless that is another by now."""
        self._records.end(attempt, AttemptEnd.RETURNED)
        self._records.unstaffed.setdefault(attempt.job_id)
        self._records.effects += [JobChanged(attempt.job_id), WorkerChanged(attempt.worker_id)]
        post = self._records.jobs[attempt.job_id].post(attempt.post_key)
        if post is None or post.capability != attempt.capability:
            return None
        return post if post.state is PostState.TRYING else None

    def _forget(self, post: Post, not_before: float) -> None:
        post.awaited = False
        post.not_before = not_before
        post.move(PostState.UNTRIED)


def _of_surroundings(error: ErrorReport) -> bool:
    """Whether a failure says nothing about the encoder: it is tried again, as a segment would."""
    return meaning_of(error.code).fault is Fault.ENVIRONMENT
