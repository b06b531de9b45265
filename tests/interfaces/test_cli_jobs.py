"""`submit`, `wait`, `jobs`, `job`, `workers`."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from ffcluster.core.model import (
    Capability,
    Contribution,
    Diagnosis,
    Measurement,
    PluginSummary,
)
from ffcluster.core.profile import Codec
from ffcluster.core.timeline import FrameRange
from ffcluster.core.views import JobView, SegmentView, WorkerView
from ffcluster.errors import Conflict, NotFound, Unauthorized, Unreachable
from tests.interfaces.fakes import (
    CONTENT,
    FakeClient,
    failed,
    invoke,
    job_view,
    objects,
    outcome,
    worker_view,
)

COMMANDS = [["jobs"], ["workers"], ["job", "job1"], ["cancel", "job1"], ["wait", "job1"]]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.mkv"
    path.write_bytes(b"a film")
    return path


def test_submit_uploads_and_prints_the_id(source: Path) -> None:
    client = FakeClient()
    result = invoke(client, "submit", source, "out.mkv", "--quality", "20")
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == "job1"
    (request,) = client.requests
    assert request.output_name == "out.mkv"
    assert request.upload_id == "upload1"
    assert request.profile is not None
    assert request.profile.rate.quality == 20


def test_submit_without_name_and_settings_leaves_them_to_the_coordinator(source: Path) -> None:
    client = FakeClient()
    invoke(client, "submit", source)
    assert client.requests[0].output_name is None
    assert client.requests[0].profile is None
    assert client.requests[0].exactly is None


def test_submit_on_server_names_the_path(tmp_path: Path) -> None:
    client = FakeClient()
    result = invoke(client, "submit", "/srv/in.mkv", "--on-server", "--json")
    assert client.requests[0].server_path == "/srv/in.mkv"
    assert [line["type"] for line in objects(result)] == ["job", "result"]


def test_submit_of_a_missing_file_is_a_usage_error() -> None:
    assert invoke(FakeClient(), "submit", "missing.mkv").exit_code == 2


def test_commands_go_to_localhost_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    client = FakeClient()
    invoke(client, "jobs")
    monkeypatch.setenv("FFCLUSTER_COORDINATOR", "ws://films:6000")
    invoke(client, "jobs")
    invoke(client, "jobs", "--coordinator", "ws://attic")
    connects = [said for said in client.said if said.startswith("connect")]
    assert connects == [
        "connect ws://localhost:5001 None",
        "connect ws://films:6000 None",
        "connect ws://attic None",
    ]


def test_wait_follows_and_fetches(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    client = FakeClient()
    result = invoke(client, "wait", "job1", "--output", target)
    assert result.exit_code == 0, result.output
    assert target.read_bytes() == CONTENT
    assert f"{target}: 15 bytes" in result.stdout


def test_wait_without_output_says_where_the_coordinator_put_it() -> None:
    client = FakeClient()
    result = invoke(client, "wait", "job1")
    assert "/srv/out.mp4" in result.stdout
    assert "download" not in client.said


def test_wait_refuses_to_overwrite_before_it_waits(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    target.write_bytes(b"precious")
    client = FakeClient()
    assert invoke(client, "wait", "job1", "-o", target).exit_code == 2
    assert client.said == []


def test_wait_ends_as_the_job_does() -> None:
    view = failed(Conflict(message="it went wrong"))
    assert invoke(FakeClient(final=view), "wait", "job1").exit_code == 1


def test_interrupted_wait_leaves_the_job_running() -> None:
    client = FakeClient(hangs=True)
    assert invoke(client, "wait", "job1", interrupt=True).exit_code == 130
    assert "cancel" not in client.said
    assert client.said[-1] == "close"


def test_jobs_lists_them() -> None:
    result = invoke(FakeClient(), "jobs")
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows[1][:5] == ["job1", "Processing", "0", "40", "%"]
    assert "Completed" in result.stdout
    lines = objects(invoke(FakeClient(), "jobs", "--json"))
    assert [line["type"] for line in lines] == ["job", "job", "result"]
    assert lines[0]["job"]["spec"]["container"] == "mp4"
    assert lines[-1]["count"] == 2


def test_job_shows_workers_and_segments() -> None:
    short = invoke(FakeClient(), "job", "job1").stdout
    assert "in.mkv -> out.mp4" in short
    assert "attic" in short
    assert "committed" not in short
    assert "committed" in invoke(FakeClient(), "job", "job1", "--segments").stdout
    (line,) = objects(invoke(FakeClient(), "job", "job1", "--segments", "--json"))
    assert line["job"]["segments"][0]["frame_count"] == 50


def test_segments_show_what_made_them() -> None:
    class Mixed(FakeClient):
        async def job(self, job_id: str, *, segments: bool = False) -> JobView:
            rows = (
                SegmentView(0, 50, "committed", "attic", 1, encoder="h264_nvenc", device="cuda:0",
                            kind="ab" * 32),
                SegmentView(50, 50, "committed", "cellar", 2, encoder="libx264", fallback=True,
                            kind="cd" * 32),
                SegmentView(100, 50, "pending"),
            )  # fmt: skip
            made_by = (Contribution("libx264", False, "cd" * 32, 1, 50, fallback=True),)
            return job_view("Completed", segments=rows, outcome=outcome(made_by=made_by))

    shown = invoke(Mixed(), "job", "job1", "--segments").stdout
    rows = {tuple(line.split()) for line in shown.splitlines()}
    assert ("0", "0", "50", "committed", "attic", "h264_nvenc", "cuda:0", "abababab", "1") in rows
    assert "libx264 (in place of hardware)  CPU     cdcdcdcd" in shown
    assert "libx264 in place of hardware: 1 segments, 50 frames, kind cdcdcdcd" in shown


def test_unknown_job_is_refused() -> None:
    result = invoke(FakeClient(), "job", "nope")
    assert result.exit_code == 5
    assert "There is no job nope." in result.stderr


def test_workers_lists_them_with_their_encoders() -> None:
    result = invoke(FakeClient(), "workers")
    assert "attic" in result.stdout
    assert "libx264" in result.stdout
    lines = objects(invoke(FakeClient(), "workers", "--json"))
    assert lines[0]["worker"]["capabilities"][0]["codec"] == "h264"


@pytest.mark.parametrize("how", [["--verbose"], ["attic"]])
def test_details_of_a_worker_say_what_works_what_does_not_and_what_to_do(how: list[str]) -> None:
    shown = invoke(Detailed(), "workers", *how).stdout
    for words in (
        "attic", "9.0.2, 5.1.9", "h264_nvenc", "cuda:0 (RTX 4070, driver 560.35)", "temporal-aq",
        "no permission for /dev/dri/renderD128", "add the user to the group render",
        "ffcluster-plugin-nvenc 0.1.0", "switched off", "it raised KeyError", "93.4", "1280x720",
    ):  # fmt: skip
        assert words in shown, words


def test_details_are_the_same_for_programs() -> None:
    (line, _) = objects(invoke(Detailed(), "workers", "attic", "--json"))
    worker = line["worker"]
    assert worker["diagnoses"][0]["hint"] == "add the user to the group render"
    assert worker["measurements"][0]["vmaf"] == 93.4
    assert worker["plugins"][1]["enabled"] is False
    assert worker["builds"] == ["9.0.2", "5.1.9"]


def test_worker_that_is_not_there_is_refused() -> None:
    result = invoke(Detailed(), "workers", "attic", "cellar")
    assert result.exit_code == 5
    assert "cellar" in result.stderr


def test_list_of_workers_shows_their_devices() -> None:
    assert "cuda:0, CPU" in invoke(Detailed(), "workers").stdout


class Detailed(FakeClient):
    """A coordinator whose worker has a GPU, and one that does not work."""

    async def workers(self) -> list[WorkerView]:
        nvenc = Capability(
            "h264_nvenc", Codec.H264, "nvenc", "cuda:0", device_name="RTX 4070", driver="560.35",
            without=("temporal-aq",),
        )  # fmt: skip
        view = worker_view()
        return [
            attrs.evolve(
                view,
                capabilities=(*view.capabilities, nvenc),
                builds=("9.0.2", "5.1.9"),
                plugins=(
                    PluginSummary("nvenc", "ffcluster-plugin-nvenc", "0.1.0", ("nvenc",)),
                    PluginSummary("qsv", enabled=False),
                    PluginSummary("odd", error="it raised KeyError"),
                ),
                diagnoses=(
                    Diagnosis(
                        "vaapi", "/dev/dri/renderD128", "no permission for /dev/dri/renderD128",
                        "add the user to the group render",
                    ),
                ),
                measurements=(
                    Measurement("h264_nvenc", "cuda:0", "p5", 1280, 720, 800.0, 32.0, 3, vmaf=93.4),
                ),
            )
        ]  # fmt: skip


def test_no_workers_tells_the_command_that_starts_one() -> None:
    class Empty(FakeClient):
        async def workers(self) -> list[object]:  # type: ignore[override]
            return []

    result = invoke(Empty(), "workers", "--coordinator", "ws://films:6000")
    assert "ffcluster worker --server-ip films --server-port 6000" in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Unreachable(message="nobody there"), 4),
        (Unauthorized(message="wrong token"), 5),
        (NotFound(message="no such job"), 5),
    ],
)
def test_exit_codes_of_a_session_that_fails(
    command: list[str], error: Exception, code: int
) -> None:
    result = invoke(FakeClient(error=error), *command)
    assert result.exit_code == code
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_last_object_is_result_or_error(command: list[str]) -> None:
    assert objects(invoke(FakeClient(), *command, "--json"))[-1]["type"] == "result"
    broken = FakeClient(error=Unreachable(message="nobody there"))
    last = objects(invoke(broken, *command, "--json"))[-1]
    assert (last["type"], last["code"], last["exit_code"]) == ("error", "unreachable", 4)


def test_states_before_processing_say_why_they_wait() -> None:
    result = invoke(FakeClient(), "wait", "job1")
    assert "WaitingForClients: 1 of 2 workers" in result.stderr
    assert "Processing  40.0 %" in result.stderr
    assert job_view().state == "Processing"


def test_submit_passes_priority_key_and_what_may_be_missing(source: Path) -> None:
    client = FakeClient()
    words = ("--priority", "-5", "--idempotency-key", "monday", "--allow-missing")
    assert invoke(client, "submit", source, *words).exit_code == 0
    (request,) = client.requests
    assert (request.priority, request.idempotency_key, request.allow_missing) == (
        -5, "monday", True,
    )  # fmt: skip


def test_jobs_shows_priority_and_pause() -> None:
    class Paused(FakeClient):
        async def jobs(self) -> list[JobView]:
            return [job_view(paused=True, priority=7), job_view("Completed", paused=True)]

    shown = invoke(Paused(), "jobs").stdout
    assert "Processing, paused         7" in shown
    assert "Completed, paused" not in shown
    (line, _, _) = objects(invoke(Paused(), "jobs", "--json"))
    assert (line["job"]["paused"], line["job"]["priority"]) == (True, 7)


def test_jobs_shows_what_the_file_of_an_ended_job_became_and_no_rate() -> None:
    class Done(FakeClient):
        async def jobs(self) -> list[JobView]:
            return [job_view("Completed", fps=0.0, outcome=outcome("/srv/out-2.mp4"))]

    (_, row) = invoke(Done(), "jobs").stdout.splitlines()
    assert row.split()[-1] == "out-2.mp4"
    assert "0.0" not in row


def test_wait_tells_that_the_coordinator_is_away_and_back() -> None:
    away = Unreachable(message="No coordinator answers at films:5001.")
    client = FakeClient(outages=(away, away, None))
    result = invoke(client, "wait", "job1", "--patience", "2m")
    assert result.exit_code == 0
    assert client.patience_s == 120.0
    assert result.stderr.count("cannot be reached; trying again. No coordinator answers") == 1
    assert result.stderr.count("can be reached again") == 1
    lines = objects(invoke(client, "wait", "job1", "--json"))
    seen = [line["reachable"] for line in lines if line["type"] == "coordinator"]
    assert seen == [False, False, True]


def test_patience_is_a_time() -> None:
    assert invoke(FakeClient(), "wait", "job1", "--patience", "soon").exit_code == 2


def test_waiting_and_pausing_are_told_with_their_reasons() -> None:
    class Waiting(FakeClient):
        async def job(self, job_id: str, *, segments: bool = False) -> JobView:
            return job_view(paused=True, reason="less than 1 GiB is free", priority=3)

    shown = invoke(Waiting(), "job", "job1").stdout
    assert "Processing, paused  40.0 %" in shown
    assert "less than 1 GiB is free" in shown
    assert "Priority 3" in shown


def test_missing_frames_and_compared_borders_are_reported() -> None:
    made = outcome(missing=(FrameRange(50, 60),), borders=(9, 38.25))
    client = FakeClient(final=job_view("Completed", outcome=made))
    shown = invoke(client, "wait", "job1").stdout
    assert "Missing: frames 50 to 59 (10) could not be encoded" in shown
    assert "9 ends of segments compared with the source: least PSNR 38.2 dB" in shown
    line = objects(invoke(client, "wait", "job1", "--json"))[-1]
    assert line["missing"] == [{"first": 50, "stop": 60}]
    assert line["borders"] == [9, 38.25]
