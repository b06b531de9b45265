"""Simulated joins: they insist on order, fail at random, and publish as the real ones do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ffcluster.core import effects as fx
from ffcluster.core import events as ev
from ffcluster.core.model import Epoch, JobId, JobOutcome
from ffcluster.core.reporting import contributions
from ffcluster.core.segment import SegmentState
from ffcluster.core.timeline import FrameRange
from ffcluster.errors import Code, ErrorReport
from tests.sim.disk import Film

if TYPE_CHECKING:
    from tests.sim.world import World

FULL = ErrorReport(Code.DISK_FULL, "no space left on device", retryable=True)
BROKEN = ErrorReport(Code.JOIN_FAILED, "the join died", retryable=True)
GONE = ErrorReport(Code.JOIN_FAILED, "the verified file is gone", retryable=True)
LOST = ErrorReport(Code.RESULT_INVALID, "the result is gone", retryable=True)


@attrs.define(eq=False)
class Join:
    """What was appended so far; `broken` once it met a result that is gone."""

    pieces: list[tuple[FrameRange, Epoch]] = attrs.field(factory=list)
    broken: bool = False


class Joins:
    """The joins of one process."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._joins: dict[JobId, Join] = {}

    def do(self, effect: fx.Effect) -> None:
        match effect:
            case fx.JoinSegment():
                self._append(effect)
            case fx.RestartJoin(job_id):
                self._joins[job_id] = Join()
                self._world.disk.partial.pop(job_id, None)
            case fx.FinishJoin(job_id):
                join = self._joins[job_id]
                self._world.soon(self._pause(), lambda: self._finish(job_id, join))
            case fx.Publish(job_id, outcome):
                join = self._joins.setdefault(job_id, Join())
                self._world.soon(self._pause(), lambda: self._publish(job_id, join, outcome))
            case fx.CloseJob(job_id, keep):
                self._joins.pop(job_id, None)
                if not keep:
                    self._world.disk.drop_job(job_id)
            case _:
                raise AssertionError(effect)

    def _pause(self) -> float:
        return self._world.rng.uniform(0.05, 1.0)

    def _append(self, effect: fx.JoinSegment) -> None:
        world = self._world
        join = self._joins.setdefault(effect.job_id, Join())
        if join.broken:
            return
        expected = join.pieces[-1][0].stop if join.pieces else 0
        segments = world.state.jobs[effect.job_id].segments
        while expected != effect.frames.first:
            skipped = segments[expected]
            assert skipped.state is SegmentState.MISSING, f"the join skips {skipped.frames}"
            expected = skipped.frames.stop
        if effect.epoch not in world.disk.blobs:
            join.broken = True
            lost = ev.SegmentLost(effect.job_id, effect.frames.first, LOST)
            world.soon(self._pause(), lambda: world.post(lost))
            return
        join.pieces.append((effect.frames, effect.epoch))

    def _is_current(self, job_id: JobId, join: Join) -> bool:
        return self._joins.get(job_id) is join

    def _finish(self, job_id: JobId, join: Join) -> None:
        world = self._world
        if not self._is_current(job_id, join) or join.broken:
            return
        if world.now_and_then(0.15):
            world.post(ev.JoinFailed(job_id, world.rng.choice([FULL, BROKEN])))
            return
        film = Film(tuple(join.pieces))
        world.disk.partial[job_id] = film
        job = world.state.jobs[job_id]
        outcome = JobOutcome(
            world.disk.free_path(job_id),
            1000,
            film.sha256,
            sum(len(frames) for frames, _ in film.pieces),
            True,
            made_by=contributions(job),
            missing=job.missing(),
        )
        world.post(ev.JobVerified(job_id, outcome))

    def _publish(self, job_id: JobId, join: Join, outcome: JobOutcome) -> None:
        world, disk = self._world, self._world.disk
        if not self._is_current(job_id, join):
            return
        if world.now_and_then(0.05):
            disk.outputs.setdefault(outcome.path, Film(()))
        if world.now_and_then(0.03):
            disk.partial.pop(job_id, None)
        there, ours = disk.outputs.get(outcome.path), disk.partial.get(job_id)
        if there is not None and there.sha256 != outcome.sha256:
            elsewhere = attrs.evolve(outcome, path=disk.free_path(job_id))
            world.post(ev.JobVerified(job_id, elsewhere))
            return
        if there is None:
            # What is in its place already must be found there: from then on nothing fails.
            if ours is None or ours.sha256 != outcome.sha256 or world.now_and_then(0.05):
                world.post(ev.JoinFailed(job_id, world.rng.choice([GONE, FULL])))
                return
            disk.outputs[outcome.path] = ours
        disk.partial.pop(job_id, None)
        world.soon(self._pause(), lambda: world.post(ev.JobPublished(job_id, outcome)))
        if world.now_and_then(0.1):
            world.crash()
