"""`ffcluster benchmark` on a stub GPU: a session limit is found, not failed on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gpu.cases import BUILDS, stubbed
from tests.gpu.drivers import nvidia, why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")


@pytest.mark.parametrize("release", BUILDS)
def test_sessions_that_the_gpu_refuses_bound_the_measurement(release: str, tmp_path: Path) -> None:
    sessions = tmp_path / "sessions"
    sessions.mkdir()
    # Each picture takes its time, so that a second session always pays off.
    gpu = nvidia(SESSIONS=2, SESSION_DIR=sessions, FRAME_MS=40)
    build = stubbed(BUILDS[release], gpu)
    program = Path(sys.executable).with_name("ffcluster")
    done = subprocess.run(
        [str(program), "benchmark", "--json", "--ffmpeg", build.path, "--allow-plugin", "nvenc",
         "--codec", "h264", "--preset", "p1", "--size", "320x240", "--benchmark-duration", "1.5",
         "--state-dir", str(tmp_path / "state")],
        capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    row, *_, result = (json.loads(line) for line in done.stdout.splitlines())
    measurement = row["measurement"]
    assert (measurement["encoder"], measurement["device"]) == ("h264_nvenc", "cuda:0")
    assert measurement["sessions"] == 2
    assert [count for count, _ in measurement["session_fps"]] == [1, 2]
    assert row["limit"].startswith("3 sessions: ")
    assert result["diagnoses"] == []
