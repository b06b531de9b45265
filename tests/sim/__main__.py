"""Run many worlds: `python -m tests.sim --seeds 2000`."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor

from tests.sim.runs import Scale, Story, run


def _scale(options: argparse.Namespace) -> Scale:
    return Scale(
        machines=options.machines,
        jobs=options.jobs,
        frames=options.frames,
        chaos_s=options.chaos,
        pause_s=options.pause,
        check_every=options.check_every,
        validate_every=options.validate_every,
    )


def _options(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many worlds")
    parser.add_argument("--first", type=int, default=0, help="the first one's seed")
    parser.add_argument("--machines", type=int, default=Scale().machines)
    parser.add_argument("--jobs", type=int, default=Scale().jobs)
    parser.add_argument("--frames", type=int, default=Scale().frames, help="the longest film")
    parser.add_argument("--chaos", type=float, default=Scale().chaos_s, help="seconds of trouble")
    parser.add_argument("--pause", type=float, default=Scale().pause_s, help="between two troubles")
    for name in ("--check-every", "--validate-every"):
        parser.add_argument(name, type=int, default=1, metavar="EVENTS")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--keep-going", action="store_true", help="after a failure")
    return parser.parse_args(given)


def _try(seed: int, scale: Scale) -> Story | str:
    try:
        return run(seed, scale)
    except Exception:  # noqa: BLE001 - whatever it is, the seed is told with it
        return traceback.format_exc(limit=-6)


def main() -> int:
    options = _options()
    scale, began = _scale(options), time.monotonic()
    seeds = range(options.first, options.first + options.seeds)
    stories: list[Story] = []
    failed = 0
    with ProcessPoolExecutor(options.processes) as pool:
        tries = (
            pool.map(_try, seeds, [scale] * len(seeds), chunksize=8)
            if options.processes > 1
            else (_try(seed, scale) for seed in seeds)
        )
        for told in tries:
            if isinstance(told, Story):
                stories.append(told)
                continue
            failed += 1
            print(told, flush=True)
            if not options.keep_going:
                return 1
    print(
        f"{len(stories)} worlds ended well, {failed} did not, in {time.monotonic() - began:.1f} s: "
        f"{sum(s.events for s in stories)} events, {sum(s.crashes for s in stories)} crashes, "
        f"jobs {sum(s.completed for s in stories)} completed "
        f"({sum(s.missing for s in stories)} with frames missing), "
        f"{sum(s.failed for s in stories)} failed"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
