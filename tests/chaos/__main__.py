"""Break clusters again and again, and compare what they publish: `python -m tests.chaos [ROW ...]`.

Every run draws its fault from a seed that is printed; a run is repeated with `--only` and the same
`--seed`. The logs of a run that went wrong are kept and named.
"""

from __future__ import annotations

import argparse
import tempfile
import traceback
from pathlib import Path
from typing import Any

from twisted.internet.defer import DeferredList, ensureDeferred
from twisted.internet.task import react

from tests.chaos.campaign import Campaign
from tests.chaos.report import table
from tests.chaos.rows import SCENARIOS


def options() -> argparse.Namespace:
    rows = list(dict.fromkeys(scenario.row for scenario in SCENARIOS))
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(rows)}; all")
    parser.add_argument("--runs", type=int, default=0, help="runs of each row (one per scenario)")
    parser.add_argument("--seed", type=int, default=1, help="what everything is drawn from (1)")
    parser.add_argument("--jobs", type=int, default=1, help="clusters side by side (1)")
    parser.add_argument("--only", action="append", default=[], metavar="RUN",
                        help="only this run (R1:3) or those named so ('R1 killed')")  # fmt: skip
    parser.add_argument("--fresh", action="store_true", help="a new cluster for every run")
    parser.add_argument("--out", type=Path, help="directory for figures and logs (a new one)")
    parser.add_argument("--list", action="store_true", help="list what there is and end")
    chosen = parser.parse_args()
    unknown = set(chosen.rows) - set(rows)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(rows)}")
    chosen.rows = chosen.rows or rows
    return chosen


async def campaign(reactor: Any, chosen: argparse.Namespace) -> None:
    out = chosen.out or Path(tempfile.mkdtemp(prefix="ffcluster-chaos-"))
    out.mkdir(parents=True, exist_ok=True)
    (out / "figures.jsonl").unlink(missing_ok=True)
    print(f"seed {chosen.seed}; figures and logs in {out}", flush=True)
    # A working directory with a short path: sockets and command lines hold it.
    with tempfile.TemporaryDirectory(prefix="fc-") as scratch:
        running = Campaign(Path(scratch), out, chosen.seed, fresh=chosen.fresh)
        try:
            await running.prepare()
            plan = running.plan(chosen.rows, chosen.runs, chosen.only)
            workers = [ensureDeferred(running.work(plan)) for _ in range(max(1, chosen.jobs))]
            for succeeded, failure in await DeferredList(workers, consumeErrors=True):
                if not succeeded and failure is not None:
                    failure.raiseException()
        finally:
            await running.close()
    text = table(running.done, running.skipped)
    (out / "table.md").write_text(text)
    print(f"\n{text}")
    bad = [row for row in running.done if not row.ok]
    for row in bad:
        print(f"FAILED {row.row}:{row.number} {row.scenario}: {row.error}\n  logs: {row.logs}")
    if bad:
        raise SystemExit(1)


def main() -> None:
    chosen = options()
    if chosen.list:
        for scenario in SCENARIOS:
            print(scenario.row, scenario.name)
        return

    async def begin(reactor: Any) -> None:
        try:
            await campaign(reactor, chosen)
        except Exception:  # noqa: BLE001 - the reactor would swallow it
            traceback.print_exc()
            raise SystemExit(2) from None

    react(lambda reactor: ensureDeferred(begin(reactor)))


if __name__ == "__main__":
    main()
