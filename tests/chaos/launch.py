"""`twistd` that dies at a named step, or whose wall clock is moved, when a file tells it to.

The environment variable FFCLUSTER_CHAOS names a directory. Before a step is passed, the file
`kill` there is looked at: it holds a step's name and how often it is still to be passed; at the
last time it is removed and this process kills itself. The file `clock` holds seconds by which the
wall clock is wrong.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

CONTROL = "FFCLUSTER_CHAOS"
_CLOCK_LOOKED_AT_EVERY_S = 0.02


def _step_clock(control: Path) -> None:
    """Move what Python calls the time of day; the monotonic clock stays as it is."""
    true_time, monotonic = time.time, time.monotonic
    known = [0.0, -1.0]

    def shifted() -> float:
        if monotonic() - known[1] > _CLOCK_LOOKED_AT_EVERY_S:
            known[1] = monotonic()
            try:
                known[0] = float((control / "clock").read_text() or 0)
            except (OSError, ValueError):
                known[0] = 0.0
        return true_time() + known[0]

    time.time = shifted
    time.time_ns = lambda: int(shifted() * 1e9)


def _killer(control: Path) -> Callable[[str], None]:
    order = control / "kill"

    def reached(step: str) -> None:
        try:
            wanted, count, _ = order.read_text().split()
        except (OSError, ValueError):
            return
        if wanted != step:
            return
        if int(count) > 1:
            replacement = control / "kill.next"
            replacement.write_text(f"{wanted} {int(count) - 1} .")
            replacement.replace(order)
            return
        order.rename(control / "killed")
        os.kill(os.getpid(), signal.SIGKILL)

    return reached


def main() -> None:
    control = Path(os.environ[CONTROL])
    _step_clock(control)
    from ffcluster import steps

    steps.observer = _killer(control)
    from twisted.scripts.twistd import run

    sys.argv[0] = "twistd"
    run()


if __name__ == "__main__":
    main()
