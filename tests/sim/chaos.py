"""What goes wrong in a world, at random times, and how everything becomes well again."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from ffcluster.core import events as ev
from ffcluster.core.job import JobState
from ffcluster.core.model import Epoch, JobId, SegmentProof, WorkerId
from ffcluster.errors import Code, ErrorReport
from tests.core.cluster_model import report
from tests.sim.machines import Machine
from tests.sim.world import World


@attrs.define(eq=False)
class Chaos:
    """Lets things go wrong until `until_s`, then makes everything well.

    Attributes:
        world: Where.
        until_s: So long.
        pause_s: Mean time between two things that go wrong.
        retried: How often clients had each job retried.
        removed: Jobs that clients had forgotten.
    """

    world: World
    until_s: float
    pause_s: float
    retried: dict[JobId, int] = attrs.field(factory=dict)
    removed: set[JobId] = attrs.field(factory=set)

    def begin(self) -> None:
        self.world.later(self._pause(), self._next)

    def _pause(self) -> float:
        return self.world.rng.expovariate(1 / self.pause_s)

    def _next(self) -> None:
        if self.world.now >= self.until_s:
            self._heal()
            return
        self.world.rng.choices(
            [
                self._kill,
                self._cut,
                self._vanish,
                self._slow,
                self._break,
                self._fill,
                self._coordinator,
                self._rot,
                self._operator,
                self._client,
                self._space,
                self._forge,
            ],
            [6, 8, 2, 3, 2, 2, 4, 2, 3, 4, 1, 6],
        )[0]()
        self.world.later(self._pause(), self._next)

    def _machine(self) -> Machine:
        return self.world.rng.choice(list(self.world.machines.values()))

    def _after(self, least: float, most: float, act: Callable[[], None]) -> None:
        self.world.later(self.world.rng.uniform(least, most), act)

    # --- machines ------------------------------------------------------------------------------

    def _kill(self) -> None:
        machine = self._machine()
        machine.die()
        self._after(0.5, 30.0, machine.start)

    def _vanish(self) -> None:
        machine = self._machine()
        machine.cut()
        machine.die()
        self._after(10.0, 100.0, lambda: (machine.mend(), machine.start()))

    def _cut(self) -> None:
        machine = self._machine()
        machine.cut()
        lease_s = self.world.policy.lease_s
        longest = self.world.rng.choice([1.0, lease_s, 3 * lease_s])
        self._after(0.1, longest, machine.mend)

    def _slow(self) -> None:
        machine = self._machine()
        for device in machine.rates:
            machine.rates[device] = self.world.rng.choice([2.0, 25.0, 100.0])

    def _break(self) -> None:
        machine = self._machine()
        device = self.world.rng.choice(list(machine.rates))
        machine.broken.add(device)
        self._after(5.0, 120.0, lambda: machine.broken.discard(device))

    def _fill(self) -> None:
        machine = self._machine()
        machine.disk_full = True
        self._after(5.0, 120.0, lambda: setattr(machine, "disk_full", False))

    # --- the coordinator -----------------------------------------------------------------------

    def _coordinator(self) -> None:
        self.world.crash()

    def _rot(self) -> None:
        """A result that was committed is lost from the disk."""
        blobs = self.world.disk.blobs
        committed = [
            segment.committed.epoch
            for job in self.world.jobs.values()
            for segment in job.segments.values()
            if segment.committed is not None and segment.committed.epoch in blobs
        ]
        if committed:
            del blobs[self.world.rng.choice(committed)]

    def _space(self) -> None:
        self.world.post(ev.SpaceChanged("the coordinator's disk is nearly full"))
        self._after(1.0, 30.0, lambda: self.world.post(ev.SpaceChanged("")))

    # --- people --------------------------------------------------------------------------------

    def _operator(self) -> None:
        worker_id = self._machine().id
        wishes = [
            ev.WorkerDraining(worker_id),
            ev.WorkerDraining(worker_id, by_operator=True),
            ev.WorkerResumed(worker_id),
            ev.WorkerResumed(worker_id),
            ev.WorkerRemoved(worker_id),
        ]
        self.world.post(self.world.rng.choice(wishes))

    def _client(self) -> None:
        job_id, rng = self.world.rng.choice(list(self.world.films)), self.world.rng
        job = self.world.jobs.get(job_id)
        if job is None:
            return
        if job.state in (JobState.FAILED, JobState.CANCELLED) and rng.random() < 0.8:
            self._retry(job_id)
        elif job.ended and rng.random() < 0.2:
            self.removed.add(job_id)
            self.world.post(ev.JobRemoved(job_id))
        elif job.ended:
            self.world.post(ev.ResultsExpired(job_id))
        else:
            wish = rng.choices(
                [
                    ev.JobPaused(job_id),
                    ev.JobResumed(job_id),
                    ev.JobPrioritised(job_id, rng.randrange(-2, 3)),
                    ev.JobCancelled(job_id),
                ],
                [3, 3, 2, 1],
            )[0]
            self.world.post(wish)

    def _retry(self, job_id: JobId) -> None:
        self.retried[job_id] = self.retried.get(job_id, 0) + 1
        self.world.poison.pop(job_id, None)
        self.world.post(ev.JobRetried(job_id))

    def _forge(self) -> None:
        """What an old, confused or hostile worker may say about attempts that are not live."""
        state = self.world.state if self.world.up else None
        epoch = Epoch(self.world.rng.randrange(1, self.world.offered + 50))
        if state is None or epoch in state.attempts:
            return
        nothing = ErrorReport(Code.ENCODE_FAILED, "forged", retryable=True)
        self.world.post(
            self.world.rng.choice(
                [
                    ev.AttemptStarted(epoch),
                    ev.AttemptProgressed(epoch, 10, 5.0),
                    ev.AttemptDelivered(epoch, SegmentProof(5)),
                    ev.AttemptChecked(epoch, report(5)),
                    ev.AttemptFailed(epoch, nothing),
                    ev.AttemptReturned(epoch),
                    ev.ResultSuperseded(WorkerId("nobody"), epoch),
                    ev.WorkerLeft(WorkerId("nobody")),
                ]
            )
        )

    # --- all is well ---------------------------------------------------------------------------

    def _heal(self) -> None:
        """Nothing goes wrong any more but what is wrong for good."""
        world = self.world
        world.faults = 0.0
        for machine in world.machines.values():
            machine.broken.clear()
            machine.disk_full = False
            machine.rates = dict.fromkeys(machine.rates, 100.0)
            machine.mend()
            machine.start()
        self._resume()

    def _resume(self) -> None:
        """Let everybody go on, again and again: a crash may have come in between."""
        world = self.world
        world.post(ev.SpaceChanged(""))
        for job in list(world.jobs.values()):
            if job.paused:
                world.post(ev.JobResumed(job.id))
        for worker in list(world.state.workers.values()) if world.up else ():
            if worker.draining:
                world.post(ev.WorkerResumed(worker.id))
        if not world.ended():
            world.later(30.0, self._resume)
