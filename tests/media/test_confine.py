"""Limits on what a helper may use for one file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ffcluster.media.confine import confined, time_limit_s

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux' limits")


def test_memory_beyond_the_limit_is_refused_and_later_allowed_again() -> None:
    with pytest.raises(MemoryError), confined(60.0, 1):
        bytearray(3 << 30)
    assert len(bytearray(1 << 20)) == 1 << 20


def test_process_over_time_ends() -> None:
    code = (
        "from ffcluster.media.confine import confined\n"
        "with confined(0.05, 1):\n"
        "    while True: pass\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert done.returncode < 0


def test_large_files_get_more_time(tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(b"x")
    with large.open("wb") as file:
        file.truncate(400_000_000)
    assert time_limit_s(large) - time_limit_s(small) > 30
    assert time_limit_s(small, large) > time_limit_s(large)
