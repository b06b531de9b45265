"""The assignments: gives trials and segments to posts with room, until nobody has any.

Sizes and preferences are computed in `scheduling`, who may work at all is decided in `staffing`.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from ffcluster.core import scheduling
from ffcluster.core.crews import Post, PostState, Strength, best_first
from ffcluster.core.job import Job
from ffcluster.core.model import JobId, WorkerId
from ffcluster.core.planning import next_segment
from ffcluster.core.records import Records
from ffcluster.core.segment import Segment, SegmentState
from ffcluster.core.worker import PREFETCH_LOAD, RUNNING_LOAD, Worker

# What it costs to look at a worker, and to offer it something; see `Records.budget`.
_LOOK_COST, _OFFER_COST = 2, 8


@attrs.define
class _Outlook:
    """What a job has to give, worked out once for all that are looked at together.

    Rates and limits stay as they are while work is given, and the rest is checked when it is used.
    """

    strength: Strength
    due: list[Segment]
    tail: scheduling.Tail | None = None


class Assignment:
    """Gives work on behalf of the cluster's state."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._outlooks: dict[JobId, _Outlook] = {}
        self._needy: list[Job] | None = None

    def schedule(self, now: float) -> None:
        """Give whatever can be given now, as far as the event's budget reaches."""
        # Only those whose situation changed are looked at: a thousand busy workers cost nothing.
        records = self._records
        if records.no_space:
            return
        self._outlooks.clear()
        self._needy = None
        while records.unfed or records.feed_all or records.hungry:
            if not records.unfed:
                self._next_round()
            while records.unfed:
                if not records.spend(_LOOK_COST):
                    return
                worker = records.workers[next(iter(records.unfed))]
                del records.unfed[worker.id]
                self._fill(worker, now)
                worker.settle()

    def _next_round(self) -> None:
        """All whose situation changed shall be looked at."""
        records = self._records
        if records.feed_all:
            records.unfed = {i: None for i in self._in_order() if self._may_be_fed(i)}
        else:
            records.unfed = dict(records.hungry)
        records.feed_all = False
        records.hungry.clear()

    def _may_be_fed(self, worker_id: WorkerId) -> bool:
        worker = self._records.workers[worker_id]
        return bool(worker.wanted or (worker.working and worker_id not in self._records.full))

    def _in_order(self) -> Iterable[WorkerId]:
        """All workers; the best one for a film that is a single segment gets to choose first."""
        first: dict[WorkerId, None] = {}
        for job in reversed(list(self._records.active_jobs())):
            if not (job.single_segment and job.crews and (job.uncarved or job.waiting)):
                continue
            team = scheduling.team(job)
            if any(post.worker.id not in first for post in team):
                first.update(dict.fromkeys(post.worker.id for post in best_first(team)))
        return first | dict.fromkeys(self._records.workers) if first else self._records.workers

    def _fill(self, worker: Worker, now: float) -> None:
        """Give `worker` attempts until it has no room or there is nothing for it."""
        if not worker.available:
            return
        if worker.wanted:
            self._try(worker, now)
        while self._give_any(worker, now):
            # Who was given most lately comes last.
            self._needy = None

    def _give_any(self, worker: Worker, now: float) -> bool:
        """Give `worker` one attempt, if it has room and there is one for it."""
        if not worker.may_take():
            self._records.full.add(worker.id)
            return False
        rosters = {post.roster for post in worker.working}
        for job in self._by_need(now):
            if job.roster not in rosters or not (job.uncarved or job.live or job.waiting):
                continue
            self._records.spend(1)
            if self._give(worker, job, now):
                self._records.spend(_OFFER_COST)
                return True
        return False

    def _try(self, worker: Worker, now: float) -> None:
        """Trials come first: whole jobs may wait for them, and each takes but a moment."""
        devices = dict.fromkeys(post.device for post in worker.wanted)
        packed = {device for device in devices if worker.is_packed(device)}
        rosters = {post.roster for post in worker.wanted if post.device not in packed}
        self._records.spend(len(rosters))
        for job in self._records.active_jobs() if rosters else ():
            if job.paused or not job.source_ready or job.roster not in rosters:
                continue
            wanted = [
                post
                for post in job.posts.get(worker.id, ())
                if post.state is PostState.WANTED and post.not_before <= now
            ]
            if not wanted or (
                job.crews and not scheduling.pays_off_to_try(job, self._records.policy.trial_frames)
            ):
                continue
            for post in wanted:
                if worker.has_room(post.capability, PREFETCH_LOAD, now):
                    post.move(PostState.TRYING)
                    self._records.offer_trial(post, job, now)
                    self._records.spend(_OFFER_COST)

    def _by_need(self, now: float) -> list[Job]:
        """Jobs that encode, by priority; equals share the workers: who was given least comes first.

        Their segments differ in size, so what counts is how long all workers encode what was given.
        """
        if self._needy is None:
            jobs = [job for job in self._records.active_jobs() if job.encoding]
            jobs.sort(key=lambda job: (-job.priority, job.usage.lately(now), len(job.live)))
            self._needy = jobs
        return self._needy

    def _outlook(self, job: Job, now: float) -> _Outlook:
        found = self._outlooks.get(job.id)
        if found is None:
            found = _Outlook(scheduling.strength(job), scheduling.due(job, now))
            self._outlooks[job.id] = found
        return found

    def _give(self, worker: Worker, job: Job, now: float) -> bool:
        posts = [p for p in job.posts.get(worker.id, ()) if scheduling.works(p, job)]
        if len(posts) > 1:
            posts = best_first(posts)
        return any(self._give_post(post, job, now) for post in posts)

    def _give_post(self, post: Post, job: Job, now: float) -> bool:
        room_now = post.worker.has_room(post.capability, RUNNING_LOAD, now)
        if not room_now and not (
            post.worker.has_room(post.capability, PREFETCH_LOAD, now)
            and scheduling.prefetch_due(post)
        ):
            return False
        outlook = self._outlook(job, now)
        segment = scheduling.retry_for(post, job, outlook.due)
        if segment is not None:
            del job.waiting[segment.frames.first]
        elif job.uncarved:
            segment = self._carve(post, job, outlook.strength)
        elif room_now and not job.waiting:
            return self._take_over(post, job, outlook, now)
        if segment is None:
            return False
        self._offer(post, job, segment, now)
        return True

    def _offer(
        self, post: Post, job: Job, segment: Segment, now: float, *, speculative: bool = False
    ) -> None:
        assert job.summary is not None  # noqa: S101 - encoding implies an index
        strength = self._outlook(job, now).strength
        fps = strength.known_fps or job.summary.mean_fps * max(1, strength.slots)
        job.usage.add(len(segment.frames) / fps, now)
        self._records.offer(post, job, segment, now, speculative=speculative)

    def _carve(self, post: Post, job: Job, strength: Strength) -> Segment:
        assert job.summary is not None  # noqa: S101 - encoding implies an index
        policy = self._records.policy
        probe_s = min(policy.benchmark_duration_s, post.worker.facts.benchmark_duration_s)
        want = scheduling.wanted_frames(post, job, strength, probe_s, fixed_crew=policy.fixed_crew)
        size = job.frame_count if job.single_segment else want.frames
        frames = next_segment(job.spec, job.summary, job.frontier, size, snap=not want.last_round)
        segment = Segment(frames)
        job.segments[frames.first] = segment
        job.unfinished[frames.first] = segment
        job.frontier = frames.stop
        return segment

    def _take_over(self, post: Post, job: Job, outlook: _Outlook, now: float) -> bool:
        """Near the end: take an attempt that waits elsewhere, or overtake one that is late.

        Late is what runs on a worker that is absent, and what is overdue.
        """
        if outlook.tail is None:
            self._records.spend(len(job.live) // _OFFER_COST)
            outlook.tail = scheduling.Tail.of(job)
        tail = outlook.tail
        waiting = scheduling.stealable(post, job, tail)
        if waiting is not None:
            segment = job.segments[waiting.frames.first]
            self._records.revoke(waiting)
            segment.move(SegmentState.PENDING)
            self._offer(post, job, segment, now)
            return True
        late = scheduling.orphaned(post, job, tail) or scheduling.overdue(post, job, tail)
        if late is None:
            return False
        self._offer(post, job, job.segments[late.frames.first], now, speculative=True)
        return True
