"""Who works on which job: starts jobs, asks for trials, chooses crews, finds stand-ins.

Gives no segments: `assignment` does, to those who were chosen here.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from ffcluster.core import scheduling
from ffcluster.core.answers import Answers
from ffcluster.core.crews import (
    IN_TRIAL,
    Crew,
    Joins,
    Kind,
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


class Staffing:
    """Decides who works on which job, on behalf of the cluster's state."""

    def __init__(self, records: Records, judge: Judge) -> None:
        self._records = records
        self._judge = judge
        self._answers = Answers(judge)

    # --- start ---------------------------------------------------------------------------------

    def start_jobs(self, now: float) -> None:
        """Start every job that only waited for enough workers."""
        for job in list(self._records.active_jobs()):
            if job.state is not JobState.WAITING_FOR_CLIENTS or job.started or job.paused:
                continue
            if not self._records.spend(1):
                return
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
        able, usable = False, self._answers.candidates(job.spec, _video(job))
        for worker in ready:
            candidates = usable(worker.facts.capabilities)
            able = able or bool(candidates)
            self._enrol(job, worker, candidates, awaited=True)
        records.spend(len(ready))
        if not able:
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

    def worker_joined(self, worker: Worker) -> None:
        """A worker opened a session: it gets a post in every job that it can do."""
        for job in self._records.active_jobs():
            if job.started:
                # Also while it is joined: a result may be lost, and must be made again then.
                usable = self._answers.candidates(job.spec, _video(job))
                self._enrol(job, worker, usable(worker.facts.capabilities), awaited=False)
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
            post.roster = job.roster
            self._recognise(job, post)
            post.placed()
        gone = [post for post in job.posts.get(worker.id, ()) if post not in posts]
        for post in gone:
            if post.crew is not None:
                post.crew.posts.remove(post)
        job.roster.drop(gone)
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
        while records.unstaffed and records.spend(1):
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
            self._look_at_others(job)
        if job.crews and not job.ended:
            self._stand_in(job)
        self._records.journal.job(job)

    def _dissolve(self, job: Job) -> None:
        """Before anything was committed, a crew that is gone binds nobody."""
        if job.segments_committed or job.live:
            return
        if not job.roster.available or job.roster.working:
            return
        for crew in job.crews:
            for post in crew.posts:
                post.leave()
        job.crews.clear()

    def _choose(self, job: Job, now: float) -> None:
        """Choose the crew, after the trials that this takes."""
        if job.roster.awaited:
            # Nothing is decided before the last answer, and there may be a thousand.
            return
        posts = list(job.roster.available)
        self._records.spend(len(posts))
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
        if any(post in job.roster.awaited for post in posts):
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
                post.enlist(crew)
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

    def _look_at_others(self, job: Job) -> None:
        """Find a use for posts that take no part; only what changed is looked at."""
        roster, context = job.roster, self._context(job)
        if context != roster.context:
            roster.context = context
            roster.changed = dict.fromkeys(job.posts)
            self._records.spend(len(job.posts))
        self._enlist_outsiders(job)
        self._try_latecomers(job)
        roster.changed.clear()
        if self._context(job) != context:
            self._records.unstaffed.setdefault(job.id)

    def _enlist_outsiders(self, job: Job) -> None:
        """Take in posts whose kind has become known, where they fit."""
        if job.single_segment:
            free = [p for p in self._of_changed(job, job.roster.available) if p.crew is None]
            for post in free:
                self._join(job.crews[0], post)
            return
        # Of a thousand that are alike one is looked at, unless the crews change meanwhile.
        useless: set[tuple[Capability, Kind | None, bool]] = set()
        joins = self._joins(job)
        for post in best_first(self._of_changed(job, job.roster.outsiders)):
            alike = (post.capability, post.kind, post.candidate.fallback)
            if alike in useless or (not job.spec.mix and _device_serves(job, post)):
                continue
            if self._enlist(job, post, joins):
                useless.clear()
            else:
                useless.add(alike)

    def _of_changed(self, job: Job, listed: Mapping[Post, None]) -> list[Post]:
        """Those of some available posts that belong to workers that changed."""
        changed = job.roster.changed
        if len(changed) > len(listed):
            return [post for post in listed if post.worker.id in changed]
        return [
            post for worker_id in changed for post in job.posts.get(worker_id, ()) if post in listed
        ]

    def _context(self, job: Job) -> Hashable:
        """What decides, beside a post itself and its worker, whether the job has a use for it."""
        crews = tuple(
            (
                crew.stand_in,
                len(crew.kinds),
                len(crew.capabilities),
                not crew.kinds and _left_nothing(crew),
            )
            for crew in job.crews
        )
        # Looking at all attempts is left out where nobody could be tried anyway.
        pays_off = bool(job.uncarved or job.waiting) or (
            bool(job.roster.untried)
            and scheduling.pays_off_to_try(job, self._records.policy.trial_frames)
        )
        return crews, _regulars_gone(job), pays_off

    def _enlist(self, job: Job, post: Post, joins: Joins) -> bool:
        """Find a crew for a post; whether there was one."""
        regular = [crew for crew in job.crews if not crew.stand_in]
        standing_in = [crew for crew in job.crews if crew.stand_in]
        fitting: list[Crew] = []
        if not post.candidate.fallback:
            fitting = [c for c in regular if c.admits(post, joins) or _left_nothing(c)]
            kind = post.kind
            if not fitting and job.spec.mix and kind and kind.shape in (c.shape for c in regular):
                self._appoint(job, [_crew([post])])
                return True
        if not fitting and (not regular or (_regulars_gone(job) and _may_stand_in(post))):
            fitting = [crew for crew in standing_in if crew.admits(post, joins)]
        if fitting:
            self._join(fitting[0], post)
        return bool(fitting)

    def _join(self, crew: Crew, post: Post) -> None:
        crew.take(post)
        post.enlist(crew)
        self._records.stir(post.worker.id)

    def _try_latecomers(self, job: Job) -> None:
        """Want trials of posts on devices where nobody works for the job yet."""
        if job.single_segment:
            return
        only_stand_ins = all(crew.stand_in for crew in job.crews)
        fresh = [
            post
            for post in self._of_changed(job, job.roster.untried)
            if only_stand_ins or not post.candidate.fallback
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
        self._want([post for post in one_per_device(ordered) if not _is_busy(job, post)])

    def _stand_in(self, job: Job) -> None:
        """Let software work where a job's hardware is gone, if the job allows it."""
        if not _needs_stand_in(job):
            return
        able = [post for post in job.roster.available if _may_stand_in(post)]
        self._records.spend(len(able))
        able = worth_trying(able)
        self._want(able)
        if any(post.state in IN_TRIAL and post.not_before == 0.0 for post in able):
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
        # Whoever rests is limited, and few are.
        limited = [p for w in self._records.limited for p in job.posts.get(w, ())]
        resting = why_resting(p for p in limited if p.crew is not None or not job.crews)
        if resting:
            return resting
        if not job.crews:
            return "waiting for room to try its encoders"
        names = " or ".join(dict.fromkeys(n for crew in job.crews for n in crew.encoders))
        missing = f"no connected worker has {names}"
        if not _needs_stand_in(job):
            return missing
        able = [post for post in job.roster.available if _may_stand_in(post)]
        if any(post.state in IN_TRIAL for post in able):
            return f"{missing}; software is being tried"
        carried = self._judge.carries_mixture(job.spec)
        if able and carried:
            return f"{missing}, and software cannot stand in: {carried}"
        return missing

    # --- helpers -------------------------------------------------------------------------------

    def _want(self, posts: Sequence[Post]) -> None:
        fresh = [post for post in posts if post.state is PostState.UNTRIED]
        for post in fresh:
            post.move(PostState.WANTED)
        workers = {post.worker.id for post in fresh}
        if len(workers) == 1:
            self._records.stir(workers.pop())
        elif fresh:
            self._records.feed_all = True

    def _joins(self, job: Job) -> Joins:
        return self._answers.joins(job.spec)


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


def _is_busy(job: Job, post: Post) -> bool:
    """Whether a device works for the job already, or may after a trial."""
    return any(
        other.available
        and (other.crew is not None or other.state in IN_TRIAL)
        and other.device == post.device
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
        and not any(crew.ready for crew in regular)
    )


def _needs_stand_in(job: Job) -> bool:
    return _regulars_gone(job) and not any(crew.ready for crew in job.crews if crew.stand_in)
