"""Who works on which job: starts jobs, asks for trials, chooses crews, finds stand-ins.

Gives no segments: `assignment` does, to those who were chosen here.
"""

from __future__ import annotations

from collections.abc import Sequence

from ffcluster.core import scheduling
from ffcluster.core.crews import (
    Crew,
    Joins,
    Post,
    PostState,
    best_first,
    gather,
    one_per_device,
    strongest,
    worth_trying,
)
from ffcluster.core.effects import JobChanged
from ffcluster.core.job import Job, JobState
from ffcluster.core.judge import Candidate, Judge
from ffcluster.core.media import VideoFormat
from ffcluster.core.model import Capability, Fallback
from ffcluster.core.records import Records
from ffcluster.core.rests import why_resting
from ffcluster.core.worker import Worker
from ffcluster.errors import Code, ErrorReport

_IN_TRIAL = (PostState.WANTED, PostState.TRYING)


class Staffing:
    """Decides who works on which job, on behalf of the cluster's state."""

    def __init__(self, records: Records, judge: Judge) -> None:
        self._records = records
        self._judge = judge

    # --- start ---------------------------------------------------------------------------------

    def start_jobs(self, now: float) -> None:
        """Start every job that only waited for enough workers."""
        for job in list(self._records.active_jobs()):
            if job.state is JobState.WAITING_FOR_CLIENTS and not (job.started or job.paused):
                self._start(job, now)

    def _start(self, job: Job, now: float) -> None:
        if not job.source_ready:
            return
        records = self._records
        refused = self._judge.carries_mixture(job.spec) if job.spec.mix else ""
        if refused:
            error = ErrorReport(
                Code.INCOMPATIBLE_SEGMENTS,
                f"different encoders cannot share this file: {refused}",
                "choose another container, or leave `mix` out",
            )
            records.fail(job, error, now)
            return
        ready = [worker for worker in records.workers.values() if worker.available]
        missing = records.policy.required_workers - len(ready)
        if missing > 0:
            records.wait(job, f"waiting for {missing} more worker{'s' if missing > 1 else ''}")
            return
        if job.not_before > now:
            return
        judged: dict[tuple[Capability, ...], tuple[Candidate, ...]] = {}
        for worker in ready:
            offered = worker.facts.capabilities
            if offered not in judged:
                judged[offered] = self._candidates(job, offered)
            self._enrol(job, worker, judged[offered], awaited=True)
        if not any(judged.values()):
            self._cannot_start(job, [c for w in ready for c in w.facts.capabilities], now)
            return
        job.single_segment = job.spec.profile.needs_single_segment or (
            job.frame_count <= records.policy.trial_frames and not job.spec.cut_frames
        )
        job.started, job.reason = True, ""
        records.unstaffed.setdefault(job.id)
        records.effects.append(JobChanged(job.id))

    def _cannot_start(self, job: Job, offered: Sequence[Capability], now: float) -> None:
        answer = self._judge.candidates(job.spec, _video(job), offered)
        if not isinstance(answer, ErrorReport):
            answer = ErrorReport(
                Code.NO_USABLE_ENCODER,
                "no worker has the hardware that this job asks for",
                "allow software to stand in for it (`--fallback allow`), or connect such a worker",
                retryable=True,
            )
        job.start_failures += 1
        policy = self._records.policy
        if not answer.retryable or job.start_failures > policy.max_retries:
            self._records.fail(job, answer, now)
            return
        job.not_before = now + policy.retry_delay_s
        self._records.wait(job, answer.message)

    def _candidates(self, job: Job, offered: Sequence[Capability]) -> tuple[Candidate, ...]:
        answer = self._judge.candidates(job.spec, _video(job), offered)
        if isinstance(answer, ErrorReport):
            return ()
        allowed = job.spec.fallback is Fallback.ALLOW
        return tuple(c for c in answer if allowed or not c.fallback)

    def worker_joined(self, worker: Worker) -> None:
        """A worker opened a session: it gets a post in every job that it can do."""
        for job in self._records.active_jobs():
            if job.started:
                # Also while it is joined: a result may be lost, and must be made again then.
                offered = worker.facts.capabilities
                self._enrol(job, worker, self._candidates(job, offered), awaited=False)
        self._records.restaff_all()

    def _enrol(
        self, job: Job, worker: Worker, candidates: Sequence[Candidate], *, awaited: bool
    ) -> None:
        """Give `worker` its posts; what is known of one stays known as long as it is the same."""
        known = {
            post.capability: post
            for post in job.posts.get(worker.id, ())
            if post.state is not PostState.REFUSED
        }
        fresh = [Post.of(worker, c, job.spec.profile, _video(job)) for c in candidates]
        posts = tuple(known.get(post.capability, post) for post in fresh)
        for post, anew in zip(posts, fresh, strict=True):
            post.awaited, post.benchmarked_fps = awaited, anew.benchmarked_fps
            self._recognise(job, post)
        for gone in set(job.posts.get(worker.id, ())) - set(posts):
            if gone.crew is not None:
                gone.crew.posts.remove(gone)
        job.posts[worker.id] = posts

    def _recognise(self, job: Job, post: Post) -> None:
        """After a restart: a post that is what worked on the job before need not be tried again."""
        for crew in job.crews:
            # Nobody of a crew that has posts is a memory only.
            if post.crew is not None or crew.posts or post.capability not in crew.capabilities:
                continue
            report = crew.capabilities[post.capability]
            if report is not None and post.state is PostState.UNTRIED:
                post.learn(report)
            if post.state is PostState.KNOWN or not crew.kinds:
                self._join(crew, post)

    # --- crews ---------------------------------------------------------------------------------

    def staff_jobs(self, now: float) -> None:
        """Look at every job whose posts changed."""
        records = self._records
        while records.unstaffed:
            job = records.jobs.get(records.unstaffed.popitem()[0])
            if job is not None and not job.ended and job.started and job.source_ready:
                self._staff(job, now)

    def _staff(self, job: Job, now: float) -> None:
        if job.state is JobState.COMBINING:
            return
        self._dissolve(job)
        if not job.crews:
            self._choose(job, now)
        else:
            self._enlist_outsiders(job)
            self._try_latecomers(job)
        if job.crews and not job.ended:
            self._stand_in(job)
        self._records.journal.job(job)

    def _dissolve(self, job: Job) -> None:
        """Before anything was committed, a crew that is gone binds nobody."""
        if job.segments_committed or any(s.live for s in job.unfinished.values()):
            return
        available = [post for post in job.every_post() if post.available]
        if not available or any(post.crew is not None for post in available):
            return
        for crew in job.crews:
            for post in crew.posts:
                post.crew = None
        job.crews.clear()

    def _choose(self, job: Job, now: float) -> None:
        """Choose the crew, after the trials that this takes."""
        posts = [post for post in job.every_post() if post.available]
        if any(post.awaited and post.state in _IN_TRIAL for post in posts):
            # Nothing is decided before the last answer, and there may be a thousand.
            return
        posts = [post for post in posts if not post.candidate.fallback] or posts
        if not posts and any(post.rests for post in job.every_post()):
            # They come back; `why_waiting` says when.
            return
        if not posts:
            self._nobody_left(job, now)
            return
        posts = best_first(posts)
        if job.single_segment:
            self._appoint(job, [_crew(posts)])
            return
        if not job.spec.mix:
            posts = worth_trying(posts)
        if len(posts) == 1 and posts[0].state is not PostState.TRYING:
            (alone,) = posts
            if alone.state is PostState.WANTED:
                alone.move(PostState.UNTRIED)
            self._appoint(job, [_crew(posts)])
            return
        self._want(posts)
        if any(post.awaited and post.state in _IN_TRIAL for post in posts):
            return
        known = [post for post in posts if post.state is PostState.KNOWN]
        if known:
            self._appoint(job, self._crews_of(job, known))

    def _crews_of(self, job: Job, known: Sequence[Post]) -> list[Crew]:
        """The crews that shall work: the strongest, and with `mix` those that fit to it."""
        crews = gather(known, self._joins(job))
        best = strongest(crews)
        if not job.spec.mix:
            return [_crew(one_per_device(best.posts))]
        others = [crew for crew in crews if crew is not best and crew.shape == best.shape]
        return [best, *others]

    def _appoint(self, job: Job, crews: Sequence[Crew], *, stand_in: bool = False) -> None:
        for crew in crews:
            crew.stand_in = stand_in or all(post.candidate.fallback for post in crew.posts)
            for post in crew.posts:
                post.crew = crew
        job.crews.extend(crews)
        job.reason = ""
        self._records.feed_all = True
        # Who was left out may still be of use on a device where nobody works.
        self._records.unstaffed.setdefault(job.id)
        self._records.effects.append(JobChanged(job.id))

    def _nobody_left(self, job: Job, now: float) -> None:
        refused = [
            post
            for post in job.every_post()
            if post.worker.available and post.state is PostState.REFUSED
        ]
        if not refused:
            # All went away before any of them had begun: as if it had never started.
            job.started = False
            job.move(JobState.WAITING_FOR_CLIENTS, now)
            self._start(job, now)
            return
        reasons = "; ".join(f"{post.name}: {post.reason}" for post in refused)
        error = ErrorReport(
            Code.NO_USABLE_ENCODER,
            f"no encoder could do this job: {reasons}",
            "`ffcluster doctor` on a worker says what it can do; another profile may work",
            detail={"refused": {post.name: post.reason for post in refused}},
        )
        self._records.fail(job, error, now)

    # --- those who come later ------------------------------------------------------------------

    def _enlist_outsiders(self, job: Job) -> None:
        """Take in posts whose kind has become known, where they fit."""
        outsiders = [p for p in job.every_post() if p.available and p.crew is None]
        if job.single_segment:
            for post in outsiders:
                self._join(job.crews[0], post)
            return
        known = [post for post in outsiders if post.state is PostState.KNOWN]
        for post in best_first(known):
            self._enlist(job, post)

    def _enlist(self, job: Job, post: Post) -> None:
        regular = [crew for crew in job.crews if not crew.stand_in]
        standing_in = [crew for crew in job.crews if crew.stand_in]
        if not job.spec.mix and _device_serves(job, post):
            return
        joins = self._joins(job)
        fitting: list[Crew] = []
        if not post.candidate.fallback:
            fitting = [c for c in regular if c.admits(post, joins) or _left_nothing(c)]
            kind = post.kind
            if not fitting and job.spec.mix and kind and kind.shape in (c.shape for c in regular):
                self._appoint(job, [_crew([post])])
                return
        if not fitting and (not regular or (_regulars_gone(job) and _may_stand_in(post))):
            fitting = [crew for crew in standing_in if crew.admits(post, joins)]
        if fitting:
            self._join(fitting[0], post)

    def _join(self, crew: Crew, post: Post) -> None:
        crew.take(post)
        post.crew = crew
        self._records.feed_all = True

    def _try_latecomers(self, job: Job) -> None:
        """Want trials of posts on devices where nobody works for the job yet."""
        if job.single_segment:
            return
        only_stand_ins = all(crew.stand_in for crew in job.crews)
        fresh = [
            post
            for post in job.every_post()
            if post.available
            and post.crew is None
            and post.state is PostState.UNTRIED
            and (only_stand_ins or not post.candidate.fallback)
        ]
        trial_frames = self._records.policy.trial_frames
        if not fresh or not scheduling.pays_off_to_try(job, trial_frames):
            return
        if job.spec.mix:
            self._want(fresh)
            return
        ours = {name for crew in job.crews for name in crew.encoders}
        ordered = best_first(fresh)
        ordered.sort(key=lambda post: post.capability.encoder not in ours)
        busy = {
            (p.worker.id, p.device)
            for p in job.every_post()
            if p.available and (p.crew is not None or p.state in _IN_TRIAL)
        }
        wanted = one_per_device(ordered)
        self._want([post for post in wanted if (post.worker.id, post.device) not in busy])

    def _stand_in(self, job: Job) -> None:
        """Let software work where a job's hardware is gone, if the job allows it."""
        if not _needs_stand_in(job):
            return
        able = [p for p in job.every_post() if p.available and _may_stand_in(p)]
        able = worth_trying(able)
        self._want(able)
        if any(post.state in _IN_TRIAL and post.not_before == 0.0 for post in able):
            return
        known = [post for post in able if post.state is PostState.KNOWN and self._fits(job, post)]
        if known:
            crews = gather(best_first(known), self._joins(job))
            crew = strongest(crews)
            self._appoint(job, [_crew(one_per_device(crew.posts))], stand_in=True)

    def _fits(self, job: Job, post: Post) -> bool:
        """Whether the file can hold what a stand-in writes beside what it holds."""
        joins = self._joins(job)
        if any(crew.admits(post, joins) for crew in job.crews):
            return True
        same_shape = post.kind is not None and post.kind.shape in {c.shape for c in job.crews}
        return same_shape and not self._judge.carries_mixture(job.spec)

    def why_waiting(self, job: Job) -> str:
        """Why a job that was started has nobody to work on it, in words."""
        mine = [post for crew in job.crews for post in crew.posts]
        resting = why_resting(mine if job.crews else job.every_post())
        if resting:
            return resting
        if not job.crews:
            return "waiting for room to try its encoders"
        names = " or ".join(dict.fromkeys(n for crew in job.crews for n in crew.encoders))
        missing = f"no connected worker has {names}"
        if not _needs_stand_in(job):
            return missing
        able = [p for p in job.every_post() if p.available and _may_stand_in(p)]
        if any(post.state in _IN_TRIAL for post in able):
            return f"{missing}; software is being tried"
        carried = self._judge.carries_mixture(job.spec)
        if able and carried:
            return f"{missing}, and software cannot stand in: {carried}"
        return missing

    # --- helpers -------------------------------------------------------------------------------

    def _want(self, posts: Sequence[Post]) -> None:
        for post in posts:
            if post.state is PostState.UNTRIED:
                post.move(PostState.WANTED)
                self._records.feed_all = True

    def _joins(self, job: Job) -> Joins:
        return lambda one, other: self._judge.joins(job.spec, one, other)


def _video(job: Job) -> VideoFormat:
    assert job.summary is not None  # noqa: S101 - only an indexed job is staffed
    return job.summary.video


def _crew(posts: Sequence[Post]) -> Crew:
    crew = Crew()
    for post in posts:
        crew.take(post)
    return crew


def _device_serves(job: Job, post: Post) -> bool:
    """Whether another post on the same device works for the job already."""
    return any(
        other.available and other.crew is not None and other.device == post.device
        for other in job.posts.get(post.worker.id, ())
    )


def _left_nothing(crew: Crew) -> bool:
    """Whether nobody of a crew is there, and it is not known what it writes: it binds nobody."""
    return not crew.kinds and not any(post.worker.present for post in crew.posts)


def _may_stand_in(post: Post) -> bool:
    return post.candidate.fallback or not post.capability.hardware


def _regulars_gone(job: Job) -> bool:
    """Whether software may take over: allowed, and all that is left of hardware is a memory."""
    regular = [crew for crew in job.crews if not crew.stand_in]
    return (
        job.spec.fallback is Fallback.ALLOW
        and any(crew.hardware for crew in regular)
        and not any(post.available for crew in regular for post in crew.posts)
    )


def _needs_stand_in(job: Job) -> bool:
    standing_in = [post for crew in job.crews if crew.stand_in for post in crew.posts]
    return _regulars_gone(job) and not any(post.available for post in standing_in)
