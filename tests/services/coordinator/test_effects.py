"""Effects that come late: what they are about has ended while its event was being stored."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, cast, get_args

import attrs
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import TestCase

from ffcluster.core import effects as fx
from ffcluster.core.cluster import ClusterState
from ffcluster.core.events import Event
from ffcluster.core.model import Epoch, JobId, JobOutcome, PreRoll, ResultReport, WorkerId
from ffcluster.core.records import Policy
from ffcluster.core.timeline import FrameRange
from ffcluster.net import messages
from ffcluster.services.background import Background
from ffcluster.services.coordinator.effects import EffectRunner
from ffcluster.services.jobs.assembly import Assembly
from ffcluster.services.jobs.openjobs import OpenJobs
from ffcluster.services.keeping.holdings import Holdings
from ffcluster.services.keeping.shelf import TicketShelf
from ffcluster.store.blobs import FileBlobs

JOB, WORKER, EPOCH = JobId("film"), WorkerId("attic"), Epoch(5)
FRAMES = FrameRange(0, 10)
REPORT = ResultReport(10, 100, "h264", 4, 4, "yuv420p", "0" * 64, 0)
LATE: tuple[fx.Effect, ...] = (
    fx.IndexSource(JOB),
    fx.OfferAttempt(EPOCH, WORKER, JOB, FRAMES, PreRoll.KEYFRAME, "libx264"),
    fx.ResumeAttempt(EPOCH, WORKER, JOB, FRAMES),
    fx.RevokeAttempt(EPOCH, WORKER),
    fx.CheckResult(EPOCH, WORKER, JOB, FRAMES),
    fx.DiscardAttempt(EPOCH, JOB, committed=False),
    fx.JoinSegment(JOB, EPOCH, FRAMES, REPORT),
    fx.RestartJoin(JOB),
    fx.FinishJoin(JOB),
    fx.Publish(JOB, JobOutcome("film.mkv", 1, "0" * 64, 10, True)),
    fx.CloseJob(JOB),
    fx.ForgetJob(JOB),
    fx.DismissWorker(WORKER),
    fx.JobChanged(JOB),
    fx.WorkerChanged(WORKER),
)


@attrs.define(eq=False)
class Session:
    """A worker's session, which keeps what it is told."""

    sent: list[messages.ToWorker] = attrs.field(factory=list)
    closed: bool = False

    def send(self, message: messages.ToWorker) -> None:
        self.sent.append(message)

    def close(self, code: int, reason: str) -> None:
        self.closed = True


class Uploads:
    """Nothing was uploaded."""

    def let_go(self, job_id: JobId) -> None:
        pass


class LateEffects(TestCase):
    """Nothing is left in the cluster; what is logged as a failure fails the test."""

    def setUp(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="ffcluster-test-"))
        self.addCleanup(shutil.rmtree, folder)
        self.session = Session()
        self.posted: list[Event] = []
        self.jobs = OpenJobs(make=cast(Any, None), remove=lambda job_id: None)
        blobs, nothing = FileBlobs(folder), cast(Any, None)
        state, shelf = ClusterState(Policy(), nothing), TicketShelf(blobs, 1000)
        background = Background(self.posted.append)
        self.runner = EffectRunner(
            state,
            self.jobs,
            shelf,
            Holdings(blobs, background.aside),
            cast(Any, Uploads()),
            Assembly(state, self.jobs, shelf, nothing, background),
            nothing,
            background,
            session_of=lambda worker_id: cast(Any, self.session),
            changed=lambda job_id: None,
            worker_changed=lambda worker_id: None,
            closed=lambda job: None,
        )

    def test_every_effect_is_tried_here(self) -> None:
        assert {type(effect) for effect in LATE} == set(get_args(fx.Effect))

    def test_effect_about_what_has_ended_does_nothing_and_breaks_nothing(self) -> Deferred[None]:
        for effect in LATE:
            self.runner.carry_out(effect)
        assert self.posted == []
        return ensureDeferred(self.jobs.stop_all())

    def test_worker_forgets_a_delivered_result_although_nobody_checks_it_any_more(self) -> None:
        self.runner.carry_out(fx.CheckResult(EPOCH, WORKER, JOB, FRAMES))
        assert self.session.sent == [messages.Revoke(EPOCH)]
