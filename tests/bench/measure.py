"""Run whole commands and say what they cost, by the operating system's accounting."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs


@attrs.frozen
class Cost:
    """Wall time and CPU time of one command with all its children, in seconds."""

    wall_s: float
    cpu_s: float


def cost_of(argv: Sequence[object]) -> Cost:
    """Run a command to its end.

    Raises:
        AssertionError: It did not exit with 0.
    """
    began = time.monotonic()
    with open(os.devnull, "r+b") as null:  # noqa: PTH123 - a device, not a path
        process = subprocess.Popen(
            [str(word) for word in argv], stdin=null, stdout=null, stderr=null
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{argv} exited with {process.returncode}"
    return Cost(time.monotonic() - began, usage.ru_utime + usage.ru_stime)


@attrs.frozen
class Ratio:
    """Ours against theirs, pair by pair: min, median and max of each ratio."""

    wall: tuple[float, float, float]
    cpu: tuple[float, float, float]


def paired(ours: Sequence[object], theirs: Sequence[object], pairs: int) -> Ratio:
    """Run the two commands in turn, so that a machine that drifts drifts for both."""
    walls, cpus = [], []
    for _ in range(pairs):
        a, b = cost_of(ours), cost_of(theirs)
        walls.append(a.wall_s / b.wall_s)
        cpus.append(a.cpu_s / b.cpu_s)
    return Ratio(_spread(walls), _spread(cpus))


def _spread(values: list[float]) -> tuple[float, float, float]:
    return min(values), statistics.median(values), max(values)


def peak_memory_kib(pid: int) -> int:
    """Largest resident size that a live process ever had (Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise AssertionError(f"no VmHWM of process {pid}")


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [f"### {title}", "", "| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


Bench = Callable[[Path], str]
