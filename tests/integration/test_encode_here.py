"""`ffcluster encode` with a cluster of its own, as a real process with real encoders."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ffcluster.media.binary import find_ffmpeg

COMMAND = str(Path(sys.executable).parent / "ffcluster")
PATIENCE_S = 120


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "in.mkv"
    ffmpeg = str(find_ffmpeg(None, {"PATH": "/usr/bin:/usr/local/bin"}))
    subprocess.run(
        [
            ffmpeg, "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=4",
            "-f", "lavfi", "-i", "sine=d=4", "-c:v", "mpeg4", "-q:v", "3", "-g", "25",
            "-c:a", "aac", "-y", str(path),
        ],
        check=True,
    )  # fmt: skip
    return path


def run(*arguments: str | Path) -> tuple[int, list[dict[str, Any]], str]:
    done = subprocess.run(
        [COMMAND, *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def processes_about(folder: Path) -> list[str]:
    listed = subprocess.run(
        ["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True
    )
    return [line for line in listed.stdout.splitlines() if str(folder) in line]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_lossless_encode_is_identical_picture_for_picture(
    film: Path, tmp_path: Path, workers: str
) -> None:
    target = tmp_path / "out.mkv"
    code, lines, log = run(
        "encode", film, target, "--codec", "ffv1", "--workers", workers, "--cut-frames", "30,61"
    )
    assert code == 0, log
    result = lines[-1]
    assert result["frame_count"] == 100
    assert result["proven"] is True
    assert result["pictures_equal"] is True
    assert sum(worker["segments"] for worker in result["workers"]) == 3
    code, lines, log = run("verify", film, target, "--pictures")
    assert code == 0, log
    assert lines[-1]["pictures_equal"] is True
    assert list(tmp_path.iterdir()) == [target]


def test_verify_finds_another_film(film: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.mkv"
    ffmpeg = str(find_ffmpeg(None, {"PATH": "/usr/bin:/usr/local/bin"}))
    subprocess.run(
        [ffmpeg, "-v", "error", "-i", str(film), "-c", "copy", "-t", "2", str(short)], check=True
    )
    code, lines, _ = run("verify", film, short)
    assert code == 3
    assert lines[-1]["code"] == "verification_failed"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_encode_leaves_neither_process_nor_file(
    film: Path, tmp_path: Path, number: signal.Signals
) -> None:
    target = tmp_path / "out.mkv"
    process = subprocess.Popen(
        [COMMAND, "encode", str(film), str(target), "--codec", "av1", "--preset", "0", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    deadline = time.monotonic() + PATIENCE_S
    while not any(" -progress " in line for line in processes_about(tmp_path)):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    process.stdout.read()
    process.stdout.close()
    assert process.wait(PATIENCE_S) == 130
    assert processes_about(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_encoder_that_is_not_here_fails_the_job_and_says_what_is(
    film: Path, tmp_path: Path
) -> None:
    code, lines, log = run("encode", film, tmp_path / "out.mp4", "--encoder", "h264_videotoolbox")
    assert code == 1, log
    assert lines[-1]["code"] == "no_usable_encoder"
    assert list(tmp_path.iterdir()) == []


def test_text_file_is_refused_with_a_reason(tmp_path: Path) -> None:
    text = tmp_path / "film.mp4"
    text.write_text("this is no film\n" * 100)
    code, lines, log = run("encode", text, tmp_path / "out.mp4")
    assert code == 1, log
    assert lines[-1]["code"] == "source_unreadable"
    assert list(tmp_path.iterdir()) == [text]


def test_plan_of_a_real_film_says_go_and_estimates(film: Path) -> None:
    code, lines, log = run("plan", film, "out.mp4", "--benchmark-duration", "1")
    assert code == 0, log
    plan = lines[-1]
    assert plan["go"] is True
    assert plan["frame_count"] == 100
    assert sum(segment["frame_count"] for segment in plan["segments"]) == 100
    assert plan["estimate_s"] > 0


def test_doctor_finds_an_encoder_and_remembers_it(tmp_path: Path) -> None:
    code, lines, log = run("doctor", "--state-dir", tmp_path)
    assert code == 0, log
    assert "ffv1" in {capability["encoder"] for capability in lines[-1]["capabilities"]}
    assert [line["type"] for line in lines[:-1]] == ["probe"] * (len(lines) - 1)
    again, (line,), log = run("doctor", "--state-dir", tmp_path)
    assert again == 0, log
    assert line["cached"] is True
    assert line["capabilities"] == lines[-1]["capabilities"]


def test_ffmpeg_that_is_not_there_is_said(film: Path, tmp_path: Path) -> None:
    code, lines, _ = run("encode", film, tmp_path / "out.mp4", "--ffmpeg", "no-such-ffmpeg")
    assert code == 1
    assert lines[-1]["code"] == "ffmpeg_missing"
    assert list(tmp_path.iterdir()) == []
