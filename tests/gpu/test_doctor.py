"""`ffcluster doctor` on machines with stub GPUs: what an owner of such a machine reads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ffcluster.encoders.build import FfmpegBuild
from tests.gpu.cases import BUILDS, stubbed
from tests.gpu.drivers import nvidia, why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")
EVERY_BUILD = pytest.mark.parametrize("release", BUILDS)


def doctor(build: FfmpegBuild, directory: Path, *options: str) -> str:
    program = Path(sys.executable).with_name("ffcluster")
    done = subprocess.run(
        [str(program), "doctor", "--ffmpeg", build.path, "--state-dir",
         str(directory / "state"), "--allow-plugin", "nvenc", *options],
        capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.stdout


@EVERY_BUILD
def test_gpu_that_only_decodes_is_told_apart(release, tmp_path):
    said = doctor(stubbed(BUILDS[release], nvidia(GPUS=2, WITHOUT="1")), tmp_path)
    assert "cuda:0 (Fake GPU 0)" in said
    assert "nvenc on cuda:1: this GPU has no NVENC" in said
    assert "H100" in said


@EVERY_BUILD
def test_machine_readable_report_has_the_same(release, tmp_path):
    said = doctor(stubbed(BUILDS[release], nvidia(OPEN=2)), tmp_path, "--json")
    rows = [json.loads(line) for line in said.splitlines()]
    assert "this GPU has no NVENC" in json.dumps(rows)
    assert not [row for row in rows if row["type"] == "capability"]


@EVERY_BUILD
def test_findings_are_remembered_until_asked_for_fresh_ones(release, tmp_path):
    gpu = nvidia(FAKE_DUMP=tmp_path / "dump")
    build = stubbed(BUILDS[release], gpu)
    doctor(build, tmp_path)
    tried = (tmp_path / "dump").read_text().count("nvenc open")
    doctor(build, tmp_path)
    assert (tmp_path / "dump").read_text().count("nvenc open") == tried > 0
    doctor(build, tmp_path, "--fresh")
    assert (tmp_path / "dump").read_text().count("nvenc open") == 2 * tried


@EVERY_BUILD
def test_busy_gpu_is_tried_again_the_next_time(release, tmp_path):
    build = stubbed(BUILDS[release], nvidia(OPEN=10, FAKE_DUMP=tmp_path / "dump"))
    assert "fewer slots" in doctor(build, tmp_path)
    tried = (tmp_path / "dump").read_text().count("nvenc refused")
    doctor(build, tmp_path)
    assert (tmp_path / "dump").read_text().count("nvenc refused") == 2 * tried > 0
