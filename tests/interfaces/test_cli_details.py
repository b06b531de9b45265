"""`picture`, `link`, `job --segment`, `job --attempt`, plans and plugins of the coordinator."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from ffcluster.core.durable import AttemptEnd
from ffcluster.errors import NotFound, Unreachable
from tests.interfaces.fakes import (
    AT,
    LOST,
    PICTURE,
    FakeClient,
    an_attempt,
    invoke,
    objects,
)

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


# --- pictures and links --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--frame", "12"), "thumbnail job1 12 180"),
        (("--frame", "12", "--height", "90"), "thumbnail job1 12 90"),
        (("--at", "1m"), "preview job1 60.0 source 720"),
        (("--at", "0", "--side", "result", "--height", "360"), "preview job1 0.0 result 360"),
    ],
)
def test_picture_is_written_whole(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    client, target = FakeClient(), tmp_path / "frame.jpg"
    result = invoke(client, "picture", "job1", *words, "--output", target, "--json")
    assert result.exit_code == 0, result.output
    assert client.said[-2:] == [said, "close"]
    assert target.read_bytes() == PICTURE
    assert list(tmp_path.iterdir()) == [target]
    assert objects(result)[-1] == {
        "type": "result", "job": "job1", "path": str(target), "size_bytes": len(PICTURE),
    }  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [(), ("--frame", "1", "--at", "2"), ("--frame", "1", "--side", "result"), ("--at", "soon")],
)
def test_picture_that_is_not_clear_is_refused(words: tuple[str, ...], tmp_path: Path) -> None:
    client = FakeClient()
    result = invoke(client, "picture", "job1", *words, "-o", tmp_path / "a.jpg", "--json")
    assert result.exit_code == 2
    assert objects(result)[-1]["type"] == "error"
    assert client.said == []


def test_picture_replaces_a_file_only_when_told_to(tmp_path: Path) -> None:
    target = tmp_path / "frame.jpg"
    target.write_bytes(b"mine")
    words = ("picture", "job1", "--frame", "1", "-o", target)
    assert invoke(FakeClient(), *words).exit_code == 2
    assert target.read_bytes() == b"mine"
    assert invoke(FakeClient(), *words, "-y").exit_code == 0
    assert target.read_bytes() == PICTURE


def test_picture_that_is_not_there_leaves_no_file(tmp_path: Path) -> None:
    client = FakeClient(error=NotFound(message="There is no frame 9."))
    result = invoke(client, "picture", "job1", "--frame", "9", "-o", tmp_path / "frame.jpg")
    assert result.exit_code == 5
    assert list(tmp_path.iterdir()) == []


def test_link_is_a_url_and_says_how_long_it_works() -> None:
    client = FakeClient()
    result = invoke(client, "link", "job1", "--of", "report")
    assert result.stdout == "http://host:5001/api/v1/jobs/job1/report?ticket=t\n"
    assert AT in result.stderr
    last = objects(invoke(FakeClient(), "link", "job1", "--json"))[-1]
    assert (last["type"], last["expires_at"]) == ("result", AT)
    assert last["url"].endswith("/jobs/job1/result?ticket=t")


# --- one segment, one attempt --------------------------------------------------------------------


def test_segment_is_shown_with_every_attempt() -> None:
    text = invoke(FakeClient(), "job", "job1", "--segment", "50").stdout
    assert text.startswith("frames 50 to 99 (50): committed\n")
    assert "attic, libx264 on CPU" in text
    assert "failed     worker_lost: its lease ended" in text
    last = objects(invoke(FakeClient(), "job", "job1", "--segment", "50", "--json"))[-1]
    assert last["type"] == "result"
    assert [one["epoch"] for one in last["segment"]["attempts"]] == [1, 2]


def test_attempt_is_shown_with_its_command_and_times() -> None:
    text = invoke(FakeClient(), "job", "job1", "--attempt", "7").stdout
    for wanted in ("Attempt 7 at frames 0 to 49 (50): committed", "ffmpeg 9.0.2",
                   "waited 1.0 s, ran 10.0 s, encoder 10.0 s, checked 1.0 s",
                   "Command: ffmpeg -i piece", f"Result: 1.0 kB, SHA-256 {'ab' * 32}"):  # fmt: skip
        assert wanted in text
    last = objects(invoke(FakeClient(), "job", "job1", "--attempt", "7", "--json"))[-1]
    assert last["attempt"]["argv"] == ["ffmpeg", "-i", "piece"]


def test_attempt_that_failed_says_why_and_obeys_no_log() -> None:
    error = attrs.evolve(LOST, advice="Start it again.", detail={"stderr": "first\nla\x1b[2Jst"})
    entry = an_attempt(7, end=AttemptEnd.FAILED, error=error, proof=None, blob=None)
    text = invoke(FakeClient(tried=entry), "job", "job1", "--attempt", "7").stdout
    assert "Error: worker_lost: its lease ended\nStart it again." in text
    assert "Command: not known" in text
    assert "Log:\n  first\n  la?[2Jst" in text


@pytest.mark.parametrize(
    "words",
    [
        ("--segment", "0", "--attempt", "1"), ("--segment", "0", "--segments"),
        ("--attempt", "1", "--attempts"), ("--attempt", "1", "--receipt"),
        ("--segment", "-1"), ("--attempt", "x"),
    ],
)  # fmt: skip
def test_segment_and_attempt_are_answered_alone(words: tuple[str, ...]) -> None:
    result = invoke(FakeClient(), "job", "job1", *words)
    assert result.exit_code == 2


# --- plans and plugins of the coordinator --------------------------------------------------------


def test_plan_of_the_coordinator_says_what_its_workers_would_do() -> None:
    client = FakeClient()
    words = ("plan", "/films/in.mkv", "out.mp4", "--on-server", "--codec", "hevc")
    text = invoke(client, *words).stdout
    (request,) = client.requests
    assert (request.server_path, request.output_name) == ("/films/in.mkv", "out.mp4")
    for wanted in ("h264, 320x180, yuv420p, 100 frames, 0:04", "by libx264, about 1.5 MB",
                   "2 can: attic, at?[2Jtic", "about 3", "left out   a subtitle",
                   "note       an odd film", "about 0:02, 2.00 x real time",
                   "go         yes"):  # fmt: skip
        assert wanted in text
    last = objects(invoke(FakeClient(), *words, "--json"))[-1]
    assert (last["type"], last["go"], last["plan"]["segments"]) == ("result", True, 3)


@pytest.mark.parametrize(
    "words",
    [
        ("--on-server", "--ffmpeg", "ffmpeg"), ("--on-server", "--benchmark-duration", "3"),
        ("--coordinator", "ws://host:5001"),
    ],
)  # fmt: skip
def test_plan_here_and_plan_there_are_not_mixed(words: tuple[str, ...]) -> None:
    client = FakeClient()
    result = invoke(client, "plan", "/films/in.mkv", "out.mp4", *words)
    assert result.exit_code == 2
    assert client.said == []


def test_plugins_of_the_coordinator_are_listed() -> None:
    assert "it cannot be imported" in invoke(FakeClient(), "plugins", "--on-server").stdout
    soft, odd, last = objects(invoke(FakeClient(), "plugins", "--on-server", "--json"))
    assert (soft["plugin"]["state"], odd["plugin"]["state"]) == ("enabled", "failed")
    assert last == {"type": "result", "count": 2, "failed": 1}


@pytest.mark.parametrize(
    "words",
    [
        ("picture", "job1", "--frame", "1", "-o", "new.jpg"), ("link", "job1"),
        ("job", "job1", "--segment", "0"), ("job", "job1", "--attempt", "1"),
        ("plan", "/in.mkv", "out.mp4", "--on-server"), ("plugins", "--on-server"),
    ],
    ids=" ".join,
)  # fmt: skip
@pytest.mark.parametrize(
    ("error", "code"), [(NotFound(message="none"), 5), (Unreachable(message="gone"), 4)]
)
def test_refusals_have_stable_exit_codes(
    words: tuple[str, ...],
    error: NotFound | Unreachable,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke(FakeClient(error=error), *words, "--json")
    assert result.exit_code == code
    assert objects(result)[-1]["code"] == error.code


# --- a job's own webhook -------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.mkv"
    path.write_bytes(b"a film")
    return path


@pytest.mark.parametrize("command", ["submit", "encode"])
def test_webhook_of_a_job_is_asked_for_with_it(command: str, source: Path, tmp_path: Path) -> None:
    secret_file = tmp_path / "secret"
    secret_file.write_text(f"{SECRET}\n")
    url = "https://example.org/done"
    where = (tmp_path / "out.mp4", "--coordinator", "ws://host:5001") if command == "encode" else ()
    client = FakeClient()
    result = invoke(
        client, command, source, *where, "--webhook", url, "--webhook-secret-file", secret_file
    )
    assert result.exit_code == 0, result.output
    (webhook,) = client.told
    assert webhook is not None
    assert (webhook.url, webhook.secret) == (url, SECRET)
    assert SECRET not in result.output
    client = FakeClient()
    invoke(client, command, source, *where, "-y" if where else "--json")
    assert client.told == [None]


@pytest.mark.parametrize("secret", [None, "", "  \n"])
def test_secret_that_is_not_there_is_refused(
    secret: str | None, source: Path, tmp_path: Path
) -> None:
    secret_file = tmp_path / "secret"
    if secret is not None:
        secret_file.write_text(secret)
    client = FakeClient()
    words = ("--webhook", "https://example.org", "--webhook-secret-file", secret_file)
    assert invoke(client, "submit", source, *words).exit_code == 2
    assert invoke(client, "submit", source, *words[2:]).exit_code == 2
    assert client.said == []


def test_webhook_needs_a_coordinator(source: Path, tmp_path: Path) -> None:
    client = FakeClient()
    result = invoke(
        client, "encode", source, tmp_path / "out.mp4", "--webhook", "https://a.example"
    )
    assert result.exit_code == 2
    assert "--webhook needs a coordinator" in result.stderr
    assert client.said == []
