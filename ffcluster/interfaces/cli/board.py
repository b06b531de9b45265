"""What `ffcluster top` shows, as plain rows, and what its keys mean. Draws nothing, asks nobody."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from ffcluster.core.views import JobView, WorkerView
from ffcluster.interfaces.cli.machines import devices_of
from ffcluster.interfaces.cli.output import printable
from ffcluster.interfaces.cli.progress import output_of, percent_of, state_in_words

# Of the jobs that have ended, the newest few are enough.
_ENDED_SHOWN = 20


class Verb(enum.StrEnum):
    """What a key may ask of the coordinator."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    DRAIN = "drain_worker"
    RESUME_WORKER = "resume_worker"


@attrs.frozen
class Order:
    """One thing to ask of the coordinator; `name` is for people."""

    verb: Verb
    id: str
    name: str


@attrs.frozen
class JobRow:
    """A job as a line; `why` is the reason it waits, or what went wrong."""

    id: str
    name: str
    output_name: str
    state: str
    ended: bool
    paused: bool
    priority: int
    percent: float
    fps: float
    speed: float
    eta_s: float | None
    encoder: str
    why: str

    @classmethod
    def of(cls, view: JobView) -> JobRow:
        """Make it of a view."""
        why = view.error.message if view.error is not None else view.reason
        return cls(
            id=view.id,
            name=printable(view.spec.source_name),
            output_name=printable(output_of(view)),
            state=state_in_words(view),
            ended=view.ended,
            paused=view.paused,
            priority=view.priority,
            percent=percent_of(view),
            fps=view.fps,
            speed=view.speed,
            eta_s=view.eta_s,
            encoder=printable(view.encoder),
            why=printable(why),
        )


@attrs.frozen
class WorkerRow:
    """A worker as a line; `encoders` are those that it uses now, `slots` what it takes at once."""

    id: str
    name: str
    state: str
    draining: bool
    encoders: str
    devices: str
    fps: float
    running: int
    slots: int
    failures: int

    @classmethod
    def of(cls, view: WorkerView, encoders: Sequence[str]) -> WorkerRow:
        """Make it of a view and of the encoders that jobs say it runs."""
        drained = "drained" if view.drained_by_operator else "draining" if view.draining else ""
        slots: dict[str, int] = {}
        for capability in view.capabilities:
            slots[capability.device] = max(slots.get(capability.device, 0), capability.slots)
        return cls(
            id=view.id,
            name=printable(view.name),
            state=", ".join(filter(None, (view.state, drained))),
            draining=view.draining,
            encoders=printable(", ".join(encoders)),
            devices=printable(devices_of(view.capabilities)),
            fps=view.fps,
            running=view.running,
            slots=sum(slots.values()),
            failures=view.failures,
        )


@attrs.frozen
class Snapshot:
    """A cluster at one moment.

    Attributes:
        at: When it was seen, Unix time.
        jobs: Open jobs in the order of submission, then the newest that have ended.
        workers: Workers by name; those that are gone come last.
        counts: How many jobs there are in each state.
    """

    at: float
    jobs: tuple[JobRow, ...] = ()
    workers: tuple[WorkerRow, ...] = ()
    counts: Mapping[str, int] = attrs.field(factory=dict)

    @classmethod
    def of(cls, at: float, jobs: Sequence[JobView], workers: Sequence[WorkerView]) -> Snapshot:
        """Make it of what the coordinator said."""
        counts: dict[str, int] = {}
        for view in jobs:
            counts[view.state] = counts.get(view.state, 0) + 1
        still_open = [view for view in jobs if not view.ended]
        ended = [view for view in reversed(jobs) if view.ended][:_ENDED_SHOWN]
        used: dict[str, dict[str, None]] = {}
        for share in (share for view in still_open for share in view.shares if share.running):
            used.setdefault(share.worker, {})[share.encoder] = None
        ordered = sorted(workers, key=lambda w: (w.state == "Disconnected", w.name, w.id))
        return cls(
            at,
            tuple(JobRow.of(view) for view in (*still_open, *ended)),
            tuple(WorkerRow.of(view, list(used.get(view.name, ()))) for view in ordered),
            counts,
        )

    @property
    def fps(self) -> float:
        """Frames per second over all jobs."""
        return sum(row.fps for row in self.jobs)

    @property
    def eta_s(self) -> float | None:
        """Seconds until the last of the jobs that can be foretold is done."""
        return max((row.eta_s for row in self.jobs if row.eta_s is not None), default=None)

    @property
    def busy(self) -> int:
        """Workers that encode."""
        return sum(row.running > 0 for row in self.workers)

    def document(self) -> dict[str, Any]:
        """All of it for programs."""
        present = sum(not row.state.startswith("Disconnected") for row in self.workers)
        return {
            "at": self.at,
            "fps": round(self.fps, 2),
            "eta_s": self.eta_s,
            "counts": self.counts,
            "workers_present": present,
            "workers_busy": self.busy,
            "jobs": self.jobs,
            "workers": self.workers,
        }


@attrs.define
class Board:
    """What is on the screen: the last snapshot, what is selected, what is asked.

    Attributes:
        snapshot: The last that was seen, or None before the first.
        stale: Why no newer one can be had, or "".
        selected: Id of the job or worker that keys are about.
        asking: What is done when the user says yes, or None.
        helping: Whether the keys are explained.
        said: What came of the last order.
    """

    snapshot: Snapshot | None = None
    stale: str = ""
    selected: str = ""
    asking: Order | None = None
    helping: bool = False
    said: str = ""

    @property
    def ids(self) -> list[str]:
        """Whatever can be selected, from top to bottom."""
        if self.snapshot is None:
            return []
        jobs, workers = self.snapshot.jobs, self.snapshot.workers
        return [*(row.id for row in jobs), *(row.id for row in workers)]

    def show(self, snapshot: Snapshot) -> None:
        """Take a new snapshot; the selection stays where it was, if that is still there."""
        place = self.ids.index(self.selected) if self.selected in self.ids else 0
        self.snapshot, self.stale = snapshot, ""
        ids = self.ids
        if self.selected not in ids:
            self.selected = ids[min(place, len(ids) - 1)] if ids else ""

    def press(self, key: str) -> Order | None:
        """A key was pressed (`q` is not for here); answers what is to be asked for, if anything."""
        if self.asking is not None:
            order, self.asking = self.asking, None
            self.said = "" if key == "y" else "Nothing was done."
            return order if key == "y" else None
        self.said = ""
        if key == "?" or self.helping:
            self.helping = not self.helping
        elif key in ("up", "k", "down", "j"):
            self._move(-1 if key in ("up", "k") else 1)
        elif key in ("p", "c"):
            return self._steer_job(key)
        elif key == "d":
            return self._steer_worker()
        return None

    def _move(self, step: int) -> None:
        ids = self.ids
        if ids:
            place = ids.index(self.selected) if self.selected in ids else 0
            self.selected = ids[max(0, min(len(ids) - 1, place + step))]

    def _steer_job(self, key: str) -> Order | None:
        jobs = self.snapshot.jobs if self.snapshot else ()
        row = next((row for row in jobs if row.id == self.selected), None)
        if row is None:
            self.said = "Select a job first."
        elif row.ended:
            self.said = f"Job {row.id} has ended."
        elif key == "p":
            return Order(Verb.RESUME if row.paused else Verb.PAUSE, row.id, row.name)
        else:
            self.asking = Order(Verb.CANCEL, row.id, row.name)
        return None

    def _steer_worker(self) -> Order | None:
        workers = self.snapshot.workers if self.snapshot else ()
        row = next((row for row in workers if row.id == self.selected), None)
        if row is None:
            self.said = "Select a worker first."
            return None
        return Order(Verb.RESUME_WORKER if row.draining else Verb.DRAIN, row.id, row.name)
