"""Faults of processes: R1 the coordinator, R2 a worker, R3 its ffmpeg, R5 a worker that sleeps,
R9 clocks, R12 orderly stops.
"""

from __future__ import annotations

import os
import signal
import time

from ffcluster.steps import Step
from tests.chaos.film import SEGMENTS
from tests.chaos.layout import Layout
from tests.chaos.processes import Process, sleep
from tests.chaos.rig import LEASE_S
from tests.chaos.run import Fault, Run, Scenario
from tests.chaos.versions import unfit

# How often a step is passed in one job, so that the one to die at can be drawn.
_TIMES = {
    Step.RESULT_ARRIVED: SEGMENTS,
    Step.RESULT_KEPT: SEGMENTS,
    Step.SEGMENT_JOINED: SEGMENTS,
    Step.CHANGES_READY: 3 * SEGMENTS,
    Step.CHANGES_STORED: 3 * SEGMENTS,
}


# --- R1: the coordinator -------------------------------------------------------------------------


async def coordinator_killed(run: Run) -> None:
    await run.moment()
    run.rig.coordinator.signal(signal.SIGKILL)
    await _restarted(run)


async def coordinator_killed_twice(run: Run) -> None:
    """The second time while it recovers."""
    await run.moment()
    run.rig.coordinator.signal(signal.SIGKILL)
    await run.rig.coordinator.ended()
    run.rig.coordinator.start()
    await sleep(run.chance.uniform(0.3, 2.0))
    run.rig.coordinator.signal(signal.SIGKILL)
    await _restarted(run)


def coordinator_killed_at(step: Step) -> Fault:
    async def fault(run: Run) -> None:
        count = run.chance.randint(1, _TIMES.get(step, 1))
        run.facts["count"] = count
        control = run.rig.control("coordinator")
        (control / "kill.next").write_text(f"{step} {count} .")
        (control / "kill.next").replace(control / "kill")
        await run.rig.coordinator.ended(60)
        run.fault_at = time.time()
        await _restarted(run)

    return fault


async def _restarted(run: Run) -> None:
    run.pause_s = run.chance.choice((0.0, 0.0, 0.5, LEASE_S * 0.9))
    await run.rig.restart_coordinator(run.pause_s)
    run.noticed_at = time.time()


# --- R2: a worker --------------------------------------------------------------------------------


async def worker_killed(run: Run) -> None:
    name = run.pick()
    await run.moment()
    run.rig.workers[name].signal(signal.SIGKILL)


async def worker_killed_and_restarted(run: Run) -> None:
    await worker_killed(run)
    process = run.rig.workers[run.victim]
    await process.ended()
    run.pause_s = run.chance.uniform(0.0, 1.0)
    await sleep(run.pause_s)
    process.start()


async def all_workers_killed(run: Run) -> None:
    await run.moment()
    for process in run.rig.workers.values():
        process.signal(signal.SIGKILL)
    for process in run.rig.workers.values():
        await process.ended()
        process.start()


# --- R3: ffmpeg ----------------------------------------------------------------------------------


def ffmpeg_hit(number: signal.Signals) -> Fault:
    async def fault(run: Run) -> None:
        process = run.rig.workers[run.pick()]
        await run.moment(high=0.6)
        while not (pids := process.children("-progress")):
            if (await run.rig.job(run.job_id)).ended:
                run.missed()
                return
            await sleep(0.005)
        run.fault_at = time.time()
        os.kill(run.chance.choice(pids), number)

    return fault


def ffmpeg_told(word: str) -> Fault:
    async def fault(run: Run) -> None:
        name = run.pick()
        await run.moment(high=0.6)
        order = run.rig.control(name) / word
        order.write_text("")
        while order.exists():
            if (await run.rig.job(run.job_id)).ended:
                run.missed()
                return
            await sleep(0.02)
        run.fault_at = time.time()

    return fault


# --- R5: a worker that sleeps --------------------------------------------------------------------


def worker_sleeps(leases: float) -> Fault:
    async def fault(run: Run) -> None:
        name = run.pick()
        await run.moment(high=0.7)
        run.rig.workers[name].signal(signal.SIGSTOP)
        await sleep(leases * LEASE_S)
        run.rig.workers[name].signal(signal.SIGCONT)

    return fault


# --- R9: clocks ----------------------------------------------------------------------------------


def clock_steps(name: str, seconds: float) -> Fault:
    async def fault(run: Run) -> None:
        await run.moment(high=0.6)
        (run.rig.control(name) / "clock").write_text(str(seconds))
        run.fault_at = None

    return fault


# --- R12: orderly stops --------------------------------------------------------------------------


async def worker_drained(run: Run) -> None:
    name = run.pick()
    await run.moment(high=0.6)
    process = run.rig.workers[name]
    process.signal(signal.SIGTERM)
    run.facts["exit_code"] = await process.ended(30)
    process.start()


async def workers_rolled(run: Run) -> None:
    """Each worker is drained and started again, one after the other."""
    await run.moment(high=0.3)
    for process in run.rig.workers.values():
        await _stop_and_start(process)


async def _stop_and_start(process: Process) -> None:
    process.signal(signal.SIGTERM)
    await process.ended(30)
    process.start()
    await sleep(1.5)


async def workers_upgraded(run: Run) -> None:
    """Each worker of the earlier version is drained and comes back in the present one."""
    await run.moment(high=0.3)
    for name, process in list(run.rig.workers.items()):
        process.signal(signal.SIGTERM)
        await process.ended(30)
        run.rig.upgrade(name)
        await sleep(1.5)


async def nothing(run: Run) -> None:
    """Two versions side by side are all that is wrong."""
    await sleep(0)


async def coordinator_rolled(run: Run) -> None:
    await run.moment()
    run.rig.coordinator.signal(signal.SIGTERM)
    await run.rig.restart_coordinator()
    run.noticed_at = time.time()


SCENARIOS = [
    Scenario("R1", "killed", coordinator_killed),
    Scenario("R1", "killed twice", coordinator_killed_twice),
    *(Scenario("R1", f"killed at {step}", coordinator_killed_at(step)) for step in Step),
    Scenario("R2", "killed", worker_killed),
    Scenario("R2", "killed and restarted", worker_killed_and_restarted),
    Scenario("R2", "all killed and restarted", all_workers_killed),
    Scenario("R3", "killed", ffmpeg_hit(signal.SIGKILL)),
    Scenario("R3", "stopped", ffmpeg_hit(signal.SIGSTOP)),
    Scenario("R3", "hangs", ffmpeg_told("hang")),
    Scenario("R3", "crawls", ffmpeg_told("crawl")),
    *(Scenario("R5", f"sleeps {n:g} leases", worker_sleeps(n)) for n in (0.5, 1.5, 3.0)),
    *(
        Scenario("R9", f"{name} {seconds:+g} s", clock_steps(name, seconds))
        for name in ("coordinator", "w1")
        for seconds in (3600.0, -3600.0)
    ),
    Scenario("R12", "worker drained", worker_drained),
    Scenario("R12", "workers rolled", workers_rolled),
    Scenario("R12", "coordinator rolled", coordinator_rolled),
    Scenario("R12", "earlier workers", nothing, Layout(versions=("w1", "w2")), unfit=unfit),
    Scenario("R12", "one earlier worker", nothing, Layout(versions=("w1",)), unfit=unfit),
    Scenario("R12", "earlier coordinator", nothing, Layout(versions=("coordinator",)), unfit=unfit),
    Scenario(
        "R12", "workers upgraded", workers_upgraded, Layout(versions=("w1", "w2")), unfit=unfit
    ),
]
