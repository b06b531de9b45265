"""Many runs: which, on which rigs, and what is kept of each."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import attrs
from twisted.internet.threads import deferToThread

from tests.chaos import network, versions
from tests.chaos.film import (
    FRAMES,
    LOSSLESS,
    MAKINGS,
    Shown,
    Wrong,
    compare,
    look,
    make_film,
    one_process,
)
from tests.chaos.layout import Layout
from tests.chaos.processes import sleep
from tests.chaos.rig import Rig
from tests.chaos.rows import SCENARIOS
from tests.chaos.run import Figures, Run, Scenario, draw_making, measured, play

# A rig is given up after so many runs, so that a campaign also sees young ones.
_RUNS_OF_A_RIG = 25


@attrs.frozen
class Planned:
    """One run to come: the scenario, its number within the row, and what it draws from."""

    scenario: Scenario
    number: int
    seed: str


@attrs.define(eq=False)
class Campaign:
    """Plans runs, plays them on rigs that are used again, and keeps what was found.

    Attributes:
        scratch: Where rigs live.
        out: Where the logs of failed runs go.
        done: The figures of every run so far.
        skipped: Why scenarios were left out, by row and name.
    """

    scratch: Path
    out: Path
    seed: int
    fresh: bool = False
    done: list[Figures] = attrs.field(factory=list)
    skipped: dict[str, str] = attrs.field(factory=dict)
    film: Path = attrs.field(init=False)
    expected: dict[str, Shown] = attrs.field(factory=dict)
    usual_s: dict[str, float] = attrs.field(factory=dict)
    _idle: list[tuple[Rig, int]] = attrs.field(factory=list)
    _rigs: int = 0
    _bridged: bool = False

    # --- without faults ------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Make the film, and what a cluster without faults and a single ffmpeg make of it.

        Raises:
            Wrong: Even without faults something is wrong.
        """
        self.film = await deferToThread(make_film, self.scratch)
        source = await deferToThread(look, self.film)
        if len(source.pictures) != FRAMES:
            raise Wrong(f"the film has {len(source.pictures)} pictures")
        compare(source, await deferToThread(one_process, self.scratch, self.film))
        rig = await self._rig(Layout())
        for making in MAKINGS:
            scenario = Scenario("R0", "no fault", _nothing, making=making)
            for _ in range(2):
                run = Run(rig, random.Random(making.name), 10.0, making)
                expected = self.expected.get(making.name)
                if expected is None:
                    expected = await _reference(rig, run)
                    self.expected[making.name] = expected
                else:
                    await play(scenario, rig, run, expected)
                    self.usual_s[making.name] = run.facts["makespan_s"]
        compare(source, self.expected[LOSSLESS.name])
        self._idle.append((rig, 0))
        times = ", ".join(f"{name} {s:.1f} s" for name, s in self.usual_s.items())
        print(f"without faults: {times}", flush=True)

    # --- the plan ------------------------------------------------------------------------------

    def plan(self, rows: Sequence[str], runs: int, only: Sequence[str]) -> deque[Planned]:
        """Every run of every row, the scenarios of a row in turn.

        Args:
            rows: Which rows.
            runs: Runs of each; 0: one of each scenario.
            only: Of all these, only those with such a place (`R1:3`) or name (`R1 killed`).
        """
        plan: deque[Planned] = deque()
        for row in rows:
            all_of_it = [s for s in SCENARIOS if s.row == row]
            for number in range(runs or len(all_of_it)):
                scenario = all_of_it[number % len(all_of_it)]
                names = {f"{row}:{number}", f"{row} {scenario.name}"}
                if only and not names & set(only):
                    continue
                if not self._unfit(scenario):
                    plan.append(Planned(scenario, number, f"{self.seed}/{row}/{number}"))
        return plan

    def _unfit(self, scenario: Scenario) -> str:
        why = scenario.unfit()
        if why:
            self.skipped[f"{scenario.row} {scenario.name}"] = why
        return why

    async def work(self, plan: deque[Planned]) -> None:
        """Play runs until none is left."""
        while plan:
            planned = plan.popleft()
            figures = await self._play(planned)
            self.done.append(figures)
            with (self.out / "figures.jsonl").open("a") as file:
                file.write(json.dumps(attrs.asdict(figures), default=str) + "\n")
            _tell(figures)

    # --- one run -------------------------------------------------------------------------------

    async def _play(self, planned: Planned) -> Figures:
        scenario = planned.scenario
        chance = random.Random(planned.seed)
        making = draw_making(chance, scenario)
        figures = Figures(
            scenario.row, scenario.name, planned.number, planned.seed, making.name, ok=True,
            usual_s=self.usual_s[making.name],
        )  # fmt: skip
        try:
            rig, used = await self._take(scenario.layout)
        except Exception as error:  # noqa: BLE001 - whatever it is, the run went wrong
            return attrs.evolve(
                figures, ok=False, error=f"{type(error).__name__}: {error}",
                logs=str(self.out / f"rig-{self._rigs}"),
            )  # fmt: skip
        run = Run(rig, chance, self.usual_s[making.name], making)
        try:
            receipt = await play(scenario, rig, run, self.expected[making.name])
            figures = attrs.evolve(figures, **measured(run, receipt), facts=run.facts)
        except Exception as error:  # noqa: BLE001 - whatever it is, the run went wrong
            logs = await self._keep(rig, f"{scenario.row}-{planned.number}")
            return attrs.evolve(
                figures, ok=False, error=f"{type(error).__name__}: {error}", logs=str(logs),
                facts=run.facts,
            )  # fmt: skip
        if self.fresh or rig.spoilt or used + 1 >= _RUNS_OF_A_RIG:
            await rig.stop()
            rig.remove()
        else:
            self._idle.append((rig, used + 1))
        return figures

    async def _take(self, layout: Layout) -> tuple[Rig, int]:
        """An idle rig of that layout, or a new one; at most one is kept for each layout."""
        for entry in self._idle:
            if entry[0].layout == layout and not self.fresh:
                self._idle.remove(entry)
                return entry
        for rig, _ in self._idle:
            await rig.stop()
            rig.remove()
        self._idle.clear()
        return await self._rig(layout), 0

    async def _rig(self, layout: Layout) -> Rig:
        if layout.namespaced and not self._bridged:
            network.make_bridge()
            self._bridged = True
        self._rigs += 1
        rig = Rig(self.scratch / f"r{self._rigs}", self.film, layout)
        if layout.versions:
            rig.earlier = await deferToThread(versions.check_out, self.scratch / "earlier")
        machine = self.scratch / "machine"
        if machine.exists():
            shutil.copytree(machine, rig.directory / "machine")
        try:
            await rig.start()
        except BaseException:
            await self._keep(rig, f"rig-{self._rigs}")
            raise
        return rig

    async def _keep(self, rig: Rig, name: str) -> Path:
        """Keep what a rig wrote, and end it."""
        await rig.stop()
        target = self.out / name
        shutil.rmtree(target, ignore_errors=True)
        await deferToThread(
            shutil.copytree, rig.directory, target, symlinks=True,
            ignore=shutil.ignore_patterns("blobs", "lock"),
        )  # fmt: skip
        rig.remove()
        return target

    async def close(self) -> None:
        """End every rig."""
        for rig, _ in self._idle:
            with contextlib.suppress(Exception):
                await rig.stop()
        if self._bridged:
            network.remove_bridge()


async def _nothing(run: Run) -> None:
    await sleep(0)


async def _reference(rig: Rig, run: Run) -> Shown:
    """What a cluster without faults publishes."""
    job_id = await rig.submit(run.making, "reference")
    view = await rig.end_of(job_id, 120)
    if view.state != "Completed" or view.outcome is None:
        raise Wrong(f"without faults the job is {view.state}: {view.error}")
    path = Path(view.outcome.path)
    shown = await deferToThread(look, path)
    path.unlink()
    with contextlib.suppress(Exception):
        await rig.ask("remove", job_id)
    return shown


def _tell(figures: Figures) -> None:
    told = [time.strftime("%H:%M:%S"), "ok  " if figures.ok else "FAIL",
            f"{figures.row}:{figures.number}", figures.scenario, figures.making]  # fmt: skip
    for label, value in (
        ("fault at", figures.fault_s),
        ("noticed", figures.noticed_s),
        ("recovered", figures.recovered_s),
        ("took", figures.makespan_s),
    ):
        if value is not None:
            told.append(f"{label} {value:.2f} s")
    if figures.repeated:
        told.append(f"{figures.repeated:.0%} again")
    if not figures.ok:
        told.append(figures.error[:300])
    print("  ".join(told), f"[{figures.seed}]", flush=True)
