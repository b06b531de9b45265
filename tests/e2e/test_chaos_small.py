"""A few runs of the fault harness, one of each kind that is quick; `make chaos` has all of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUNS = (
    "R1 killed",
    "R1 killed at publish.placed",
    "R2 killed and restarted",
    "R3 hangs",
    "R5 sleeps 1.5 leases",
    "R8 blob altered while it was down",
    "BAD one frame too early",
)


@pytest.mark.slow
def test_what_is_published_is_what_a_run_without_faults_publishes(tmp_path: Path) -> None:
    only = [word for name in RUNS for word in ("--only", name)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", *only, "--out", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("  ok  ") == len(RUNS)
