"""The assignments: gives trials and segments to posts with room, until nobody has any.

Sizes and preferences are computed in `scheduling`, who may work at all is decided in `staffing`.
"""

from __future__ import annotations

from ffcluster.core import scheduling
from ffcluster.core.crews import Post, PostState, best_first
from ffcluster.core.job import Job
from ffcluster.core.model import JobId, WorkerId
from ffcluster.core.planning import next_segment
from ffcluster.core.records import Records
from ffcluster.core.segment import Segment, SegmentState
from ffcluster.core.worker import PREFETCH_LOAD, RUNNING_LOAD, Worker


class Assignment:
    """Gives work on behalf of the cluster's state."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._strengths: dict[JobId, scheduling.Strength] = {}

    def schedule(self, now: float) -> None:
        """Give whatever can be given now."""
        # Only those whose situation changed are looked at: a thousand busy workers cost nothing.
        # Rates and limits stay as they are while work is given, so these are added up but once.
        self._strengths.clear()
        records = self._records
        if records.no_space:
            return
        while records.feed_all or records.hungry:
            ids = self._in_order() if records.feed_all else list(records.hungry)
            records.feed_all = False
            records.hungry.clear()
            for worker_id in ids:
                worker = records.workers[worker_id]
                self._fill(worker, now)
                worker.settle()

    def _in_order(self) -> list[WorkerId]:
        """All workers; the best one for a film that is a single segment gets to choose first."""
        ids = list(self._records.workers)
        for job in self._records.active_jobs():
            if job.single_segment and job.crews and (job.uncarved or job.waiting):
                best = best_first(scheduling.team(job))
                ids = list(dict.fromkeys([*(post.worker.id for post in best), *ids]))
        return ids

    def _fill(self, worker: Worker, now: float) -> None:
        """Give `worker` attempts until it has no room or there is nothing for it."""
        if not worker.available:
            return
        self._try(worker, now)
        while any(self._give(worker, job, now) for job in self._by_need()):
            pass

    def _try(self, worker: Worker, now: float) -> None:
        """Trials come first: whole jobs may wait for them, and each takes but a moment."""
        for job in self._records.active_jobs():
            if job.paused or not job.source_ready:
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

    def _by_need(self) -> list[Job]:
        """Jobs that encode, by priority; equals share the workers: least live attempts first."""
        jobs = [job for job in self._records.active_jobs() if job.encoding]
        if len(jobs) > 1:
            jobs.sort(key=lambda j: (-j.priority, sum(len(s.live) for s in j.unfinished.values())))
        return jobs

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
        segment = scheduling.retry_for(post, job, now)
        if segment is not None:
            del job.waiting[segment.frames.first]
        elif job.uncarved:
            segment = self._carve(post, job)
        elif room_now and not job.waiting:
            return self._take_over(post, job, now)
        if segment is None:
            return False
        self._records.offer(post, job, segment, now)
        return True

    def _carve(self, post: Post, job: Job) -> Segment:
        assert job.summary is not None  # noqa: S101 - encoding implies an index
        policy = self._records.policy
        probe_s = min(policy.benchmark_duration_s, post.worker.facts.benchmark_duration_s)
        strength = self._strengths.get(job.id)
        if strength is None:
            strength = self._strengths[job.id] = scheduling.Strength.of(job)
        want = scheduling.wanted_frames(post, job, strength, probe_s, fixed_crew=policy.fixed_crew)
        size = job.frame_count if job.single_segment else want.frames
        frames = next_segment(job.spec, job.summary, job.frontier, size, snap=not want.last_round)
        segment = Segment(frames)
        job.segments[frames.first] = segment
        job.unfinished[frames.first] = segment
        job.frontier = frames.stop
        return segment

    def _take_over(self, post: Post, job: Job, now: float) -> bool:
        """Near the end: take an attempt that waits elsewhere, or overtake one that is late.

        Late is what runs on a worker that is absent, and what is overdue.
        """
        waiting = scheduling.stealable(post, job)
        if waiting is not None:
            segment = job.segments[waiting.frames.first]
            self._records.revoke(waiting)
            segment.move(SegmentState.PENDING)
            self._records.offer(post, job, segment, now)
            return True
        live = [a for segment in job.unfinished.values() for a in segment.live.values()]
        late = scheduling.orphaned(post, job)
        if late is None:
            late = scheduling.overdue(post, job, scheduling.rates(job, live))
        if late is None:
            return False
        self._records.offer(post, job, job.segments[late.frames.first], now, speculative=True)
        return True
