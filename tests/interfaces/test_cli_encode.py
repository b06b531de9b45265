"""`ffcluster encode`: exit codes, what is written where, and what is left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ffcluster.core.model import Contribution, Fallback
from ffcluster.core.profile import AudioMode, Codec, Profile, RateMode
from ffcluster.core.views import JobView
from ffcluster.errors import (
    EncodeFailed,
    NoUsableEncoder,
    Refused,
    Unauthorized,
    Unreachable,
    VerificationFailed,
)
from tests.interfaces.fakes import (
    CONTENT,
    FakeClient,
    failed,
    invoke,
    job_view,
    objects,
    outcome,
)

URL = "ws://films:5001"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.mkv"
    path.write_bytes(b"a film")
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "out.mp4"


def left_behind(source: Path, *expected: Path) -> list[Path]:
    return sorted(set(source.parent.iterdir()) - {source, *expected})


def test_encoding_here_puts_the_file_in_its_place_and_removes_all_else(
    source: Path, target: Path
) -> None:
    client = FakeClient()
    result = invoke(client, "encode", source, target)
    assert result.exit_code == 0, result.output
    assert target.read_bytes() == CONTENT
    assert left_behind(source, target) == []
    assert client.said == ["start 1", "submit", "wait"]
    assert "100 frames, every frame proven by decoding" in result.stdout
    assert "attic: 2 segments" in result.stdout


def test_encoding_here_names_the_source_instead_of_copying_it(source: Path, target: Path) -> None:
    client = FakeClient()
    invoke(client, "encode", source, target, "--workers", "3")
    (request,) = client.requests
    assert request.server_path == str(source)
    assert request.upload_id is None
    assert request.output_name == "out.mp4"
    assert request.profile is None
    assert client.said[0] == "start 3"


def test_encoding_there_uploads_follows_and_downloads(source: Path, target: Path) -> None:
    client = FakeClient()
    result = invoke(client, "encode", source, target, "--coordinator", URL)
    assert result.exit_code == 0, result.output
    assert target.read_bytes() == CONTENT
    assert client.said == [
        f"connect {URL} None", "upload", "submit", "wait", "download", "close",
    ]  # fmt: skip
    assert client.requests[0].upload_id == "upload1"
    assert client.requests[0].server_path is None


def test_on_server_uploads_nothing_and_needs_no_file_here(target: Path) -> None:
    client = FakeClient()
    result = invoke(client, "encode", "/srv/in.mkv", target, "--on-server", "--coordinator", URL)
    assert result.exit_code == 0, result.output
    assert "upload" not in client.said
    assert client.requests[0].server_path == "/srv/in.mkv"


def test_detached_job_is_left_running_and_its_id_printed(source: Path, target: Path) -> None:
    client = FakeClient()
    result = invoke(client, "encode", source, target, "--coordinator", URL, "--detach")
    assert result.exit_code == 0
    assert result.stdout.strip() == "job1"
    assert client.said[-2:] == ["submit", "close"]
    assert not target.exists()


def test_token_file_is_shown_to_the_coordinator(source: Path, target: Path) -> None:
    secret = source.with_name("token")
    secret.write_text("a-secret-of-many-letters\n")
    secret.chmod(0o600)
    client = FakeClient()
    invoke(client, "encode", source, target, "--coordinator", URL, "--token-file", secret)
    assert client.said[0] == f"connect {URL} a-secret-of-many-letters"


def test_interrupted_here_leaves_nothing(source: Path, target: Path) -> None:
    closed: list[Path] = []
    result = invoke(FakeClient(hangs=True), "encode", source, target, interrupt=True, closed=closed)
    assert result.exit_code == 130
    assert len(closed) == 1
    assert left_behind(source) == []


def test_interrupted_there_cancels_the_job(source: Path, target: Path) -> None:
    client = FakeClient(hangs=True)
    result = invoke(client, "encode", source, target, "--coordinator", URL, interrupt=True)
    assert result.exit_code == 130
    assert client.said[-2:] == ["cancel", "close"]
    assert left_behind(source) == []


def test_interrupted_while_the_coordinator_is_away_says_how_to_cancel_later(
    source: Path, target: Path
) -> None:
    class Away(FakeClient):
        async def cancel(self, job_id: str) -> JobView:
            raise Unreachable(message="gone")

    result = invoke(
        Away(hangs=True), "encode", source, target, "--coordinator", URL, interrupt=True
    )
    assert result.exit_code == 130
    assert "ffcluster cancel job1" in result.stderr


def test_coordinator_that_stays_away_ends_with_4_and_says_how_to_go_on(
    source: Path, target: Path
) -> None:
    class Away(FakeClient):
        async def wait(self, *_: Any, **how: Any) -> JobView:
            self.patience_s = how["patience_s"]
            raise Unreachable(message="gone")

    client = Away()
    result = invoke(client, "encode", source, target, "--coordinator", URL, "--patience", "0")
    assert result.exit_code == 4
    assert client.patience_s == 0.0
    assert "ffcluster wait job1 --output" in result.stderr


@pytest.mark.parametrize(
    "words", [["--priority", "1"], ["--idempotency-key", "k"], ["--detach"], ["--on-server"]]
)
def test_what_only_a_coordinator_can_do_is_refused_here(
    source: Path, target: Path, words: list[str]
) -> None:
    result = invoke(FakeClient(), "encode", source, target, *words)
    assert result.exit_code == 2
    assert words[0] in result.stderr
    client = FakeClient()
    assert invoke(client, "encode", source, target, "--coordinator", URL, *words).exit_code == 0


def test_failed_job_shows_segment_worker_command_and_stderr(source: Path, target: Path) -> None:
    error = EncodeFailed(
        message="Segment [0, 50) failed 4 times.",
        advice="Run the command by hand.",
        detail={
            "segment": "[0, 50)",
            "worker": "attic",
            "argv": ["ffmpeg", "-i", "piece.mkv"],
            "stderr": "line one\nUnknown encoder",
        },
    )
    result = invoke(FakeClient(final=failed(error)), "encode", source, target)
    assert result.exit_code == 1
    for part in ("Error: Segment", "worker: attic", "ffmpeg -i piece.mkv", "Unknown encoder"):
        assert part in result.stderr
    assert "Run the command by hand." in result.stderr
    assert "Traceback" not in result.output
    assert left_behind(source) == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (VerificationFailed(message="a frame is missing"), 3),
        (NoUsableEncoder(message="no encoder"), 1),
        (Unreachable(message="a worker's own trouble"), 1),
    ],
)
def test_exit_code_of_a_failed_job(source: Path, target: Path, error: Exception, code: int) -> None:
    result = invoke(FakeClient(final=failed(error)), "encode", source, target)
    assert result.exit_code == code
    assert not target.exists()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Unreachable(message="nobody answers"), 4),
        (Refused(message="no"), 5),
        (Unauthorized(message="wrong token"), 5),
        (RuntimeError("a fault"), 1),
    ],
)
def test_exit_code_of_a_failed_session(
    source: Path, target: Path, error: Exception, code: int
) -> None:
    client = FakeClient(error=error)
    result = invoke(client, "encode", source, target, "--coordinator", URL)
    assert result.exit_code == code
    assert client.said[-1] == "close"


def test_cancelled_by_somebody_else_is_a_failed_job(source: Path, target: Path) -> None:
    result = invoke(FakeClient(final=job_view("Cancelled")), "encode", source, target)
    assert result.exit_code == 1


def test_existing_output_is_refused_and_untouched(source: Path, target: Path) -> None:
    target.write_bytes(b"precious")
    client = FakeClient()
    result = invoke(client, "encode", source, target)
    assert result.exit_code == 2
    assert "--overwrite" in result.stderr
    assert target.read_bytes() == b"precious"
    assert client.said == []


def test_overwrite_replaces_the_output(source: Path, target: Path) -> None:
    target.write_bytes(b"old")
    assert invoke(FakeClient(), "encode", source, target, "-y").exit_code == 0
    assert target.read_bytes() == CONTENT


def test_output_that_appeared_meanwhile_is_not_replaced(source: Path, target: Path) -> None:
    client = FakeClient(while_watching=lambda: target.write_bytes(b"precious"))
    result = invoke(client, "encode", source, target)
    assert result.exit_code == 1
    assert target.read_bytes() == b"precious"
    assert left_behind(source, target) == []


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["missing.mkv", "out.mp4"], "There is no file"),
        (["{source}", "out.avi"], "out.avi"),
        (["{source}", "no/such/folder/out.mp4"], "There is no directory"),
        (["{source}", "{source}", "-y"], "same file"),
        (["{source}", "out.mp4", "--detach"], "--coordinator"),
        (["{source}", "out.mp4", "--on-server"], "--coordinator"),
        (["{source}", "out.mp4", "--codec", "h263"], "h263"),
        (["{source}", "out.mp4", "--bitrate", "fast"], "fast"),
        (["{source}", "out.mp4", "--lossless", "--quality", "3"], "contradict"),
        (["{source}", "out.mp4", "--ffmpeg-params", "-vstats_file /tmp/x"], "vstats_file"),
        (["{source}", "out.mp4", "--cut-frames", "0"], "above 0"),
        (["{source}", "out.mp4", "--profile", "none-such"], "none-such"),
        (["{source}"], "OUTPUT"),
    ],
)
def test_usage_errors_end_with_2_before_anything_starts(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    problem: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    client = FakeClient()
    given = [argument.format(source=source) for argument in arguments]
    result = invoke(client, "encode", *given)
    assert result.exit_code == 2, result.output
    assert problem in result.stderr
    assert client.said == []


def test_profile_options_make_a_profile(source: Path, target: Path) -> None:
    client = FakeClient()
    invoke(
        client, "encode", source, target, "--codec", "hevc", "--quality", "22", "--preset", "slow",
        "--scale", "1280x720", "--audio", "aac", "--audio-bitrate", "160k", "--gop", "48",
    )  # fmt: skip
    profile = client.requests[0].profile
    assert profile is not None
    assert profile.codec is Codec.HEVC
    assert profile.rate.quality == 22
    assert profile.preset == "slow"
    assert profile.gop_frames == 48
    assert [f.name for f in profile.filters] == ["scale"]
    assert profile.audio is AudioMode.AAC
    assert profile.audio_bitrate_bps == 160_000


def test_named_profile_is_changed_by_options(source: Path, target: Path) -> None:
    profiles = source.with_name("profiles.toml")
    profiles.write_text('[profile.archive]\ncodec = "hevc"\nquality = 20.0\npreset = "slow"\n')
    client = FakeClient()
    result = invoke(
        client, "encode", source, target,
        "--profiles", profiles, "--profile", "archive", "--quality", "24",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    profile = client.requests[0].profile
    assert profile is not None
    assert (profile.codec, profile.preset, profile.rate.quality) == (Codec.HEVC, "slow", 24)


def test_ffmpeg_params_are_read_into_the_profile(source: Path, target: Path) -> None:
    client = FakeClient()
    invoke(client, "encode", source, target, "--ffmpeg-params", "-c:v libx264 -b:v 2M")
    profile = client.requests[0].profile
    assert isinstance(profile, Profile)
    assert profile.rate.mode is RateMode.BITRATE
    assert profile.rate.target_bps == 2_000_000


def test_job_options_reach_the_request(source: Path, target: Path) -> None:
    client = FakeClient()
    invoke(
        client, "encode", source, target,
        "--no-exactly", "--allow-damaged", "--cut-frames", "40,20",
        "--mix", "--fallback", "allow", "--hardware-decode",
    )  # fmt: skip
    (request,) = client.requests
    assert request.exactly is False
    assert request.allow_damaged is True
    assert request.cut_frames == (20, 40)
    assert (request.mix, request.fallback, request.hardware_decode) == (True, Fallback.ALLOW, True)


def test_one_kind_of_strict_encoders_that_the_cpu_decodes_for_is_the_default(
    source: Path, target: Path
) -> None:
    client = FakeClient()
    invoke(client, "encode", source, target)
    (request,) = client.requests
    assert (request.mix, request.fallback) == (False, Fallback.STRICT)
    assert request.hardware_decode is False


def test_result_says_what_made_it(source: Path, target: Path) -> None:
    made_by = (
        Contribution("h264_nvenc", True, "ab" * 32, 3, 90),
        Contribution("libx264", False, "cd" * 32, 1, 10, fallback=True),
    )
    note = "software stood in for hardware: libx264 made 1 segment (10 frames)"
    final = job_view("Completed", outcome=outcome(made_by=made_by, notes=(note,)))
    client = FakeClient(final=final)
    shown = invoke(client, "encode", source, target, "--coordinator", URL).stdout
    assert "h264_nvenc: 3 segments, 90 frames, kind abababab" in shown
    assert "libx264 in place of hardware: 1 segments, 10 frames, kind cdcdcdcd" in shown
    assert f"Note: {note}" in shown
    target.unlink()
    *_, result = objects(invoke(client, "encode", source, target, "--coordinator", URL, "--json"))
    assert [row["fallback"] for row in result["made_by"]] == [False, True]


def test_json_ends_with_the_result_and_names_types(source: Path, target: Path) -> None:
    result = invoke(FakeClient(), "encode", source, target, "--coordinator", URL, "--json")
    lines = objects(result)
    assert [line["type"] for line in lines] == [
        "upload", "upload", "job", "progress", "progress", "progress", "result",
    ]  # fmt: skip
    progress = lines[4]
    assert progress["percent"] == 40.0
    assert progress["fps"] == 25.0
    assert progress["speed"] == 1.0
    assert progress["eta_s"] == 2.4
    assert progress["workers"][0]["worker"] == "attic"
    last = lines[-1]
    assert last["output"] == str(target)
    assert last["proven"] is True
    assert last["frame_count"] == 100
    assert last["sha256"] == "0" * 64
    assert last["fps"] == 50.0
    assert last["speed"] == 2.0
    assert last["workers"][0]["segments"] == 2


def test_json_of_a_failed_job_ends_with_the_error(source: Path, target: Path) -> None:
    error = EncodeFailed(message="no", detail={"worker": "attic"})
    result = invoke(FakeClient(final=failed(error)), "encode", source, target, "--json")
    last = objects(result)[-1]
    assert last["type"] == "error"
    assert last["code"] == "encode_failed"
    assert last["detail"] == {"worker": "attic"}
    assert last["exit_code"] == 1


def test_json_of_a_usage_error_is_one_error(source: Path) -> None:
    result = invoke(FakeClient(), "encode", source, "--json")
    assert result.exit_code == 2
    (line,) = objects(result)
    assert (line["type"], line["code"], line["exit_code"]) == ("error", "invalid_option", 2)


def test_quiet_says_nothing_but_errors(source: Path, target: Path) -> None:
    result = invoke(FakeClient(), "encode", source, target, "--quiet")
    assert result.output == ""
    error = EncodeFailed(message="it did not work")
    result = invoke(FakeClient(final=failed(error)), "encode", source, target, "--quiet", "-y")
    assert result.stdout == ""
    assert "it did not work" in result.stderr


def test_what_was_not_proven_or_lost_is_said(source: Path, target: Path) -> None:
    made = outcome(proven=False, lost=("subtitle stream #2 (dvd_subtitle)",), notes=("a note",))
    client = FakeClient(final=job_view("Completed", outcome=made))
    result = invoke(client, "encode", source, target, "--coordinator", URL)
    assert "not proven" in result.stdout
    assert "Left out: subtitle stream #2" in result.stdout
    assert "Note: a note" in result.stdout


def test_debug_shows_where_a_fault_happened(source: Path, target: Path) -> None:
    client = FakeClient(error=RuntimeError("a fault"))
    plain = invoke(client, "encode", source, target)
    assert "Traceback" not in plain.stderr
    assert "--debug" in plain.stderr
    deep = invoke(FakeClient(error=RuntimeError("a fault")), "encode", source, target, "--debug")
    assert "Traceback" in deep.stderr
