"""`ffcluster-ffmpeg` beside the plain ffmpeg: the same frames, times, exit codes and messages."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, wait_for
from tests.inputs import ffmpeg, ffmpeg_path, pictures, tone
from tests.integration.pipeline import decode

LOSSLESS = ["-c:v", "libx264", "-qp", "0", "-preset", "ultrafast", "-g", "50"]
NOWHERE = "ws://127.0.0.1:9"
LIMIT_S = 120


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    cluster.start("--required-clients", "1", "--retry-delay", "0.2", "--benchmark-duration", "1")
    cluster.add_worker("one")
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "in film.mkv"
    ffmpeg(*pictures(200), *tone(8), "-c:v", "libx264", "-preset", "ultrafast",
           "-g", "25", "-pix_fmt", "yuv420p", "-c:a", "pcm_s16le", str(path))  # fmt: skip
    return path


def begin(
    url: str, cwd: Path, *argv: str, stdin: int = subprocess.DEVNULL, **env: str
) -> subprocess.Popen[str]:
    """Start the drop-in, with the real ffmpeg behind it."""
    variables = {**os.environ, "FFCLUSTER_FFMPEG": ffmpeg_path(), "FFCLUSTER_COORDINATOR": url}
    return subprocess.Popen(
        [sys.executable, "-m", "ffcluster.interfaces.dropin.main", *argv],
        stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd,
        env={**variables, **env},
    )  # fmt: skip


def dropin(url: str, cwd: Path, *argv: str, **env: str) -> tuple[int, str, str]:
    process = begin(url, cwd, *argv, **env)
    out, err = process.communicate(timeout=LIMIT_S)
    return process.returncode, out, err


def plain(cwd: Path, *argv: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [ffmpeg_path(), *argv], stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=cwd,
        check=False, timeout=LIMIT_S,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def assert_same(cwd: Path, one: str, other: str, *, sounds: bool = True) -> None:
    shown = decode(ffmpeg_path(), cwd / one, "yuv420p")
    assert shown
    assert shown == decode(ffmpeg_path(), cwd / other, "yuv420p")
    if sounds:
        assert sound(cwd / one) == sound(cwd / other)


def sound(path: Path) -> str:
    """Every packet of the sound: its time and its hash."""
    argv = ["-v", "error", "-i", str(path), "-map", "0:a", "-c", "copy", "-f", "framemd5", "-"]
    code, found, error = plain(path.parent, *argv)
    assert code == 0, error
    return found


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("copied.mkv", ["-c:a", "copy"]),
        ("scaled.mp4", ["-vf", "scale=160:90,hflip", "-an", "-movflags", "+faststart"]),
        ("local.mov", ["-map", "0:v:0", "-map", "0:a", "-c:a", "pcm_s16le"]),
        ("uploaded.mkv", ["-map", "0", "-c", "copy", "-c:v", "libx264"]),
    ],
)
def test_lossless_result_is_ffmpegs_own(
    cluster: Cluster, film: Path, tmp_path: Path, name: str, options: list[str]
) -> None:
    lossless = LOSSLESS[2:] if "-c:v" in options else LOSSLESS
    argv = ["-y", "-i", str(film), *options, *lossless]
    before = len(cluster.ask("jobs"))
    code, _, err = dropin(
        cluster.url, tmp_path, *(["--upload"] if name == "uploaded.mkv" else []), *argv, name
    )
    assert code == 0, err
    assert plain(tmp_path, *argv, f"plain-{name}")[0] == 0
    # Sound that only the local ffmpeg can encode so is no job.
    assert len(cluster.ask("jobs")) == before + (name != "local.mov")
    assert_same(tmp_path, name, f"plain-{name}", sounds="-an" not in options)
    if "-movflags" in options:
        begin = (tmp_path / name).read_bytes()[:4096]
        assert begin.index(b"moov") < begin.index(b"mdat") or b"mdat" not in begin
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, f"plain-{name}"])


def test_progress_is_what_its_readers_wait_for(
    cluster: Cluster, film: Path, tmp_path: Path
) -> None:
    code, out, err = dropin(
        cluster.url, tmp_path, "-hide_banner", "-i", str(film), "-c:a", "copy", *LOSSLESS,
        "-progress", "pipe:1", "-stats_period", "0.1", "out.mkv",
    )  # fmt: skip
    assert code == 0, err
    blocks = [
        dict(line.split("=", 1) for line in block.splitlines() if line)
        for block in out.replace("progress=continue", "progress=continue\0")
        .replace("progress=end", "progress=end\0")
        .split("\0")[:-1]
    ]
    frames = [int(block["frame"]) for block in blocks]
    assert frames == sorted(frames)
    assert [block["progress"] for block in blocks] == ["continue"] * (len(blocks) - 1) + ["end"]
    last = blocks[-1]
    assert (last["frame"], last["out_time"]) == ("200", "00:00:08.000000")
    assert int(last["total_size"]) == (tmp_path / "out.mkv").stat().st_size
    assert "  Duration: 00:00:08.0" in err
    assert "ffmpeg version" not in err
    assert "frame=  200" in err


FAILING = [
    ["-i", "missing.mkv", "-c:a", "copy", "out.mkv"],
    ["-i", "text.mkv", "-c:a", "copy", "out.mkv"],
    ["-n", "-i", "film.mkv", "-c:a", "copy", "there.mkv"],
    ["-nostdin", "-i", "film.mkv", "-c:a", "copy", "there.mkv"],
    ["-i", "film.mkv", "-c:a", "copy", "nowhere/out.mkv"],
    ["-y", "-i", "film.mkv", "-c:a", "copy", "film.mkv"],
    ["-i", "film.mkv", "-c:v", "libnothing", "out.mkv"],
    ["-i", "film.mkv", "-nonsense", "1", "out.mkv"],
    ["-i", "film.mkv"],
    [],
]


@pytest.mark.parametrize("argv", FAILING, ids=" ".join)
def test_failing_calls_fail_as_ffmpeg_does(
    cluster: Cluster, film: Path, tmp_path: Path, argv: list[str]
) -> None:
    (tmp_path / "film.mkv").symlink_to(film)
    (tmp_path / "text.mkv").write_text("no film\n" * 50)
    (tmp_path / "there.mkv").write_text("mine")
    quiet = ["-hide_banner", "-v", "error", *argv] if argv else []
    code, _, err = dropin(cluster.url, tmp_path, *quiet)
    expected, _, words = plain(tmp_path, *quiet)
    # Newer ones answer 0 to -n where the file is there.
    assert code == expected

    def without_addresses(text: str) -> list[str]:
        return [line.split("] ")[-1] for line in text.splitlines()]

    assert without_addresses(err) == without_addresses(words)
    assert (tmp_path / "there.mkv").read_text() == "mine"
    assert not (tmp_path / "out.mkv").exists()


def test_what_a_cluster_cannot_do_is_done_here(
    cluster: Cluster, film: Path, tmp_path: Path
) -> None:
    before = len(cluster.ask("jobs"))
    argv = ["-v", "error", "-i", str(film), "-t", "1", "-c:a", "copy", *LOSSLESS]
    assert dropin(cluster.url, tmp_path, *argv, "out.mkv") == (0, "", "")
    assert plain(tmp_path, *argv, "plain.mkv")[0] == 0
    assert (tmp_path / "out.mkv").read_bytes() == (tmp_path / "plain.mkv").read_bytes() or (
        decode(ffmpeg_path(), tmp_path / "out.mkv", "yuv420p")
        == decode(ffmpeg_path(), tmp_path / "plain.mkv", "yuv420p")
    )
    code, out, _ = dropin(cluster.url, tmp_path, "-version")
    assert (code, out) == plain(tmp_path, "-version")[:2]
    raw = ["-v", "error", "-i", str(film), "-f", "framemd5", "-"]
    assert dropin(cluster.url, tmp_path, *raw)[:2] == plain(tmp_path, *raw)[:2]
    assert len(cluster.ask("jobs")) == before


def test_coordinator_that_does_not_answer_is_done_without_or_said_to_be_away(
    film: Path, tmp_path: Path
) -> None:
    argv = ["-v", "warning", "-i", str(film), "-c:a", "copy", *LOSSLESS]
    code, _, err = dropin(NOWHERE, tmp_path, *argv, "out.mkv")
    assert code == 0
    assert "the local ffmpeg does it" in err
    assert plain(tmp_path, *argv, "plain.mkv")[0] == 0
    assert_same(tmp_path, "out.mkv", "plain.mkv")
    code, _, err = dropin(NOWHERE, tmp_path, "--no-fallback", *argv, "other.mkv")
    assert code == 1
    assert err.endswith("Conversion failed!\n")
    assert not (tmp_path / "other.mkv").exists()


@pytest.mark.parametrize(("answer", "code"), [("n", 1), ("y", 0)])
def test_existing_file_is_asked_about_on_a_terminal(
    cluster: Cluster, film: Path, tmp_path: Path, answer: str, code: int
) -> None:
    target = tmp_path / "out.mkv"
    target.write_text("mine")
    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    argv = ["-hide_banner", "-i", str(film), "-c:a", "copy", *LOSSLESS, "out.mkv"]
    process = begin(cluster.url, tmp_path, *argv, stdin=theirs)
    _, err = process.communicate(timeout=LIMIT_S)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == code, err
    assert "File 'out.mkv' already exists. Overwrite? [y/N] " in err
    if code:
        assert err.endswith("Not overwriting - exiting\n")
        assert target.read_text() == "mine"
    else:
        assert len(decode(ffmpeg_path(), target, "yuv420p")) == 200


@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "q"])
def test_interrupted_call_cancels_its_job_and_leaves_nothing(
    cluster: Cluster, film: Path, tmp_path: Path, how: str
) -> None:
    process = begin(
        cluster.url, tmp_path, "-nostats", "-i", str(film), "-c:a", "copy", "-c:v", "libx264",
        "-preset", "veryslow", "-vf", "scale=640:-2", "-progress", "pipe:1", "out.mkv",
        stdin=subprocess.PIPE,
    )  # fmt: skip

    def ours() -> list[dict[str, object]]:
        return [job for job in cluster.ask("jobs") if job["spec"]["output_name"] == "out.mkv"]

    before = len(ours())
    try:
        wait_for("the job", lambda: len([j for j in ours() if j["state"] == "Processing"]))
        if how == "q":
            process.communicate("q", timeout=LIMIT_S)
        else:
            process.send_signal(getattr(signal, how))
            process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 255
    assert len(ours()) >= before
    assert not [job for job in ours() if job["state"] not in ("Cancelled", "Completed")]
    assert list(tmp_path.iterdir()) == []


def test_explain_says_what_would_happen_and_does_nothing(
    cluster: Cluster, film: Path, tmp_path: Path
) -> None:
    code, out, _ = dropin(cluster.url, tmp_path, "--explain", "-i", str(film), "-an", "x.mkv")
    assert (code, out.splitlines()[0]) == (
        0, f"the cluster at {cluster.url} makes it: libx264 in mkv, audio none",
    )  # fmt: skip
    code, out, _ = dropin(cluster.url, tmp_path, "--explain", "-i", str(film), "-t", "1", "x.mkv")
    assert out.startswith("the local ffmpeg does it: -t is refused")
    assert list(tmp_path.iterdir()) == []
