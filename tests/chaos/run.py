"""One run: a job, a fault in the midst of it, and the judgement of what came out."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, ensureDeferred
from twisted.internet.threads import deferToThread

from ffcluster.core.durable import AttemptEnd, AttemptEntry
from ffcluster.core.receipts import JobReceipt
from ffcluster.core.views import JobView
from tests.chaos.film import (
    FRAMES,
    MAKINGS,
    SEGMENTS,
    Making,
    Shown,
    Wrong,
    compare,
    look,
)
from tests.chaos.layout import Layout
from tests.chaos.processes import reactor, sleep
from tests.chaos.rig import Rig

# A job that has not ended this long after its fault is over never will.
END_LIMIT_S = 90.0


@attrs.define
class Run:
    """What a fault gets to know, and what is found out about it.

    Attributes:
        rig: The cluster.
        chance: Everything that is drawn comes from here.
        usual_s: How long the job takes without a fault.
        making: How the film is encoded.
        job_id: The job.
        began: When it was submitted (Unix time).
        fault_at: When the fault began.
        noticed_at: When it was noticed, where the fault itself can tell.
        pause_s: How long nobody started again what had died; no fault of the cluster.
        victim: The worker that was hit.
        lied: Epochs for which something false was delivered.
        facts: What else is to be told of this run.
    """

    rig: Rig
    chance: random.Random
    usual_s: float
    making: Making
    job_id: str = ""
    began: float = 0.0
    fault_at: float | None = None
    noticed_at: float | None = None
    pause_s: float = 0.0
    victim: str = ""
    lied: set[int] = attrs.field(factory=set)
    facts: dict[str, Any] = attrs.field(factory=dict)

    async def moment(self, low: float = 0.03, high: float = 0.9) -> None:
        """Wait until a drawn moment of the job; the fault follows at once."""
        at = self.began + self.usual_s * self.chance.uniform(low, high)
        await sleep(at - time.time())
        self.fault_at = time.time()

    def pick(self) -> str:
        """Draw the worker that is hit."""
        self.victim = self.chance.choice(sorted(self.rig.workers))
        return self.victim

    def missed(self) -> None:
        """The job was over before the fault could do anything."""
        self.facts["missed"] = True
        self.fault_at = None

    async def committed(self, count: int, limit_s: float = 60.0) -> JobView:
        """Wait until `count` segments are committed, or the job has ended."""
        deadline = time.monotonic() + limit_s
        while True:
            view = await self.rig.job(self.job_id)
            if view.segments_committed >= count or view.ended:
                return view
            if time.monotonic() > deadline:
                raise Wrong(f"{count} segments were not committed within {limit_s:g} s")
            await sleep(0.03)


Fault = Callable[[Run], Coroutine[Any, Any, None]]


@attrs.frozen
class Scenario:
    """One kind of fault.

    Attributes:
        row: Row of the table (`R1`).
        name: Which kind within the row.
        fault: Does it; returns when the fault itself is over.
        layout: The rig that it needs.
        request: Further fields of the job's request.
        ends: State in which the job must end.
        missing: Frames that must be missing from what is published.
        making: How the film must be encoded; None: drawn.
        judge: Looks at the run when the job ended, beside the oracle.
        unfit: Why it cannot be played here, or "".
    """

    row: str
    name: str
    fault: Fault
    layout: Layout = attrs.field(factory=Layout)
    request: dict[str, Any] = attrs.field(factory=dict)
    ends: str = "Completed"
    missing: range = range(0)
    making: Making | None = None
    judge: Callable[[Run, JobView], None] | None = None
    unfit: Callable[[], str] = str


@attrs.frozen
class Figures:
    """One line of the report; times in seconds, None where there is nothing to tell."""

    row: str
    scenario: str
    number: int
    seed: str
    making: str
    ok: bool
    error: str = ""
    fault_s: float | None = None
    noticed_s: float | None = None
    recovered_s: float | None = None
    makespan_s: float | None = None
    usual_s: float | None = None
    repeated: float = 0.0
    logs: str = ""
    facts: dict[str, Any] = attrs.field(factory=dict)


async def play(scenario: Scenario, rig: Rig, run: Run, expected: Shown) -> JobReceipt | None:
    """Run the job and its fault; answers how the job was made.

    Raises:
        Wrong: What came out is not right.
    """
    before = rig.encodes()
    before_stored = rig.stored()
    # Submitted before the fault may begin; its name is new, so that nothing else can be there.
    run.began = time.time()
    name = f"out-{run.chance.randrange(10**9)}"
    run.job_id = await rig.submit(run.making, name, **scenario.request)
    run.began = time.time()
    fault = ensureDeferred(scenario.fault(run))
    try:
        view = await rig.end_of(run.job_id, END_LIMIT_S + run.usual_s)
    except BaseException:
        fault.addErrback(lambda failure: failure.trap(CancelledError, Wrong) and None)
        fault.cancel()
        raise
    ended = time.time()
    await fault.addTimeout(END_LIMIT_S, reactor)
    await rig.heal()
    run.facts["makespan_s"] = view.elapsed_s if view.elapsed_s else ended - run.began
    run.facts["encodes"] = rig.encodes() - before
    kept = await judge(scenario, run, view, expected)
    receipt: JobReceipt | None = None
    if rig.keeps_receipts:
        receipt = await rig.ask("receipt", run.job_id)
        assert receipt is not None
        _no_lie_counts(run, receipt)
        await rig.ask("remove", run.job_id)
        _count_refusals(run, before_stored, rig.stored())
    await rig.clean(*kept)
    for file in rig.outputs.iterdir():
        file.unlink()
    return receipt


async def judge(scenario: Scenario, run: Run, view: JobView, expected: Shown) -> list[str]:
    """The oracle; answers the names of the files that may be in the output directory."""
    if view.state != scenario.ends:
        raise Wrong(f"the job is {view.state}, not {scenario.ends}: {view.error or view.reason}")
    if scenario.judge is not None:
        scenario.judge(run, view)
    # Temporary files of a job that has just ended may take a moment; `Rig.clean` waits for that.
    every = (path.name for path in run.rig.outputs.iterdir())
    files = sorted(name for name in every if not name.startswith("."))
    if view.state != "Completed":
        if files:
            raise Wrong(f"a job that is {view.state} left {files}")
        return []
    if len(files) != 1 or view.outcome is None or Path(view.outcome.path).name != files[0]:
        raise Wrong(f"the output directory holds {files}")
    if view.outcome.frame_count != FRAMES - len(scenario.missing):
        raise Wrong(f"{view.outcome.frame_count} frames are claimed")
    found = await deferToThread(look, Path(view.outcome.path))
    compare(expected, found, scenario.missing)
    run.facts["sha256"] = view.outcome.sha256
    return files


def _count_refusals(run: Run, before: dict[str, int], after: dict[str, int]) -> None:
    for name in ("superseded_results", "lease_expirations"):
        if count := after.get(name, 0) - before.get(name, 0):
            run.facts[name] = count


def _no_lie_counts(run: Run, receipt: JobReceipt) -> None:
    attempts = (a for segment in receipt.segments for a in segment.attempts)
    counted = [a.epoch for a in attempts if a.end is AttemptEnd.COMMITTED and a.epoch in run.lied]
    if counted:
        raise Wrong(f"lies were accepted: epochs {counted}")


def measured(run: Run, receipt: JobReceipt | None) -> dict[str, Any]:
    """Times and shares of a run that went well."""
    attempts = [a for s in receipt.segments for a in s.attempts] if receipt else []
    begun = [a for a in attempts if a.started_at is not None]
    figures: dict[str, Any] = {
        "makespan_s": round(run.facts.pop("makespan_s"), 2),
        "repeated": max(0.0, run.facts["encodes"] / SEGMENTS - 1),
    }
    run.facts["attempts"] = len(attempts)
    run.facts["begun"] = len(begun)
    if run.fault_at is None:
        return figures
    figures["fault_s"] = round(run.fault_at - run.began, 2)
    hit = [a for a in attempts if _was_live(a, run.fault_at) and _name(a) == run.victim]
    if run.noticed_at is not None:
        figures["noticed_s"] = round(run.noticed_at - run.fault_at - run.pause_s, 2)
    elif lost := [a.ended_at for a in hit if a.end is not AttemptEnd.COMMITTED and a.ended_at]:
        figures["noticed_s"] = round(min(lost) - run.fault_at, 2)
    ended = receipt.ended_at if receipt else None
    over = _recovered(attempts, hit, run.fault_at, ended)
    if over is not None:
        figures["recovered_s"] = round(max(0.0, over - run.fault_at - run.pause_s), 2)
    return figures


def _recovered(
    attempts: list[AttemptEntry], hit: list[AttemptEntry], fault_at: float, ended: float | None
) -> float | None:
    """When the segments that were hit were committed; else when the next one was, or the end."""
    commits = {
        a.frames.first: a.ended_at
        for a in attempts
        if a.end is AttemptEnd.COMMITTED and a.ended_at is not None
    }
    if hit:
        return max((commits.get(a.frames.first, fault_at) for a in hit), default=None)
    later = sorted(at for at in commits.values() if at > fault_at)
    return later[0] if later else ended


def _was_live(attempt: AttemptEntry, at: float) -> bool:
    return attempt.offered_at <= at and (attempt.ended_at is None or attempt.ended_at > at)


def _name(attempt: AttemptEntry) -> str:
    return attempt.worker_name


def draw_making(chance: random.Random, scenario: Scenario) -> Making:
    drawn = chance.choice(MAKINGS)
    return scenario.making or drawn
