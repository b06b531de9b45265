from __future__ import annotations

import getpass
import json
import socket
from pathlib import Path

import attrs
import pytest

from ffcluster.core.model import Capability, Diagnosis
from ffcluster.core.profile import Codec
from ffcluster.encoders.backend import DeviceNode, Finding, Machine, Probe, ProbeOutcome
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.testing import (
    FakeBackend,
    RecordedCommand,
    UnrecordedCommand,
    fake_build,
    fake_machine,
    load_recording,
    recordings_in,
    replay,
    save_recording,
)
from ffcluster.testing.__main__ import main
from ffcluster.testing.recording import record, unmet

PROBE = Probe("fake", ("-c:v", "h264_fake"), "h264_fake")
FOUND = Capability("h264_fake", Codec.H264, "fake", "fake:0", pix_fmts=("nv12",))
GPU = "GPU-0f1e2d3c-aaaa-bbbb-cccc-001122334455"


def answer(probe: Probe, outcome: ProbeOutcome) -> list[Finding]:
    if outcome.returncode == 0:
        return [FOUND]
    return [Diagnosis("fake", "", outcome.stderr.strip(), "ask mia")]


BACKEND = FakeBackend(found=(PROBE,), answer=answer)


def write(path: Path, **changes: object) -> Path:
    plain = {
        "backend": "fake",
        "build": {"version": "9.0.2", "major": 9, "encoders": "h264_fake"},
        "machine": {"platform": "linux", "cpus": 2},
        "commands": [{"match": "h264_fake", "returncode": 0}],
    }
    path.write_text(json.dumps(plain | changes))
    return path


def test_what_was_recorded_replays_to_what_was_found(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    recording = record(
        BACKEND, fake_build("h264_fake"), fake_machine(), lambda _: ProbeOutcome(0, "out", "err")
    )
    save_recording(path, recording)
    assert load_recording(path) == recording
    found = replay(BACKEND, load_recording(path))
    assert found.capabilities == [FOUND]
    assert unmet(recording, found) == []
    assert recordings_in(tmp_path) == (path,)


def test_names_places_and_identities_are_replaced_everywhere() -> None:
    stderr = f"mia@box: /home/mia/x: {GPU}: miami failed"
    recording = record(
        BACKEND,
        fake_build("h264_fake"),
        fake_machine(),
        lambda _: ProbeOutcome(1, "", stderr),
        secrets={"/home/mia": "~", "mia": "user", "box": "machine"},
    )
    (command,) = recording.commands
    nobody = "GPU-00000000-0000-0000-0000-000000000000"
    assert command.stderr == f"user@machine: ~/x: {nobody}: miami failed"
    assert recording.expect is not None
    assert recording.expect.diagnoses == (command.stderr,)


def test_arguments_that_follow_from_a_name_are_replaced_with_it() -> None:
    class Named(FakeBackend):
        def detect(self, build: FfmpegBuild, machine: Machine) -> list[Finding]:
            return [attrs.evolve(PROBE, argv=("-gpu", machine.devices[0].name))]

    node = DeviceNode("/dev/dri/renderD128", name="box")
    recording = record(
        Named(answer=answer),
        fake_build("h264_fake"),
        fake_machine(devices=[node]),
        lambda _: ProbeOutcome(0),
        secrets={"box": "machine"},
    )
    assert recording.commands[0].argv == ("-gpu", "machine")
    assert recording.machine.devices[0].name == "machine"


def test_command_that_was_not_recorded_says_what_is_missing(tmp_path: Path) -> None:
    path = write(tmp_path / "x.json", commands=[{"match": "hevc_fake"}])
    with pytest.raises(UnrecordedCommand, match="-c:v h264_fake"):
        replay(BACKEND, load_recording(path))


def test_exact_arguments_come_before_patterns_and_repetitions_in_order(tmp_path: Path) -> None:
    asked = FakeBackend(found=(PROBE, PROBE, PROBE), answer=answer)
    commands = [
        {"match": "", "returncode": 0},
        {"argv": list(PROBE.argv), "returncode": 1, "stderr": "first"},
        {"argv": list(PROBE.argv), "returncode": 1, "stderr": "second"},
    ]
    found = replay(asked, load_recording(write(tmp_path / "x.json", commands=commands)))
    assert [d.cause for d in found.diagnoses] == ["first", "second"]


def test_unmet_expectations_are_told_in_words(tmp_path: Path) -> None:
    expect = {"capabilities": ["hevc_fake fake:0"], "diagnoses": ["no session"]}
    recording = load_recording(write(tmp_path / "x.json", expect=expect))
    assert unmet(recording, replay(BACKEND, recording)) == [
        "hevc_fake fake:0 is not found",
        "h264_fake fake:0 is found unexpectedly",
        "no diagnosis says 'no session', only: none",
    ]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"format": 2}, "update ffcluster"),
        ({"comands": []}, "comands"),
        ({"commands": [{"match": "["}]}, "match"),
        ({"build": {"version": "9"}}, "major"),
    ],
)
def test_file_that_is_no_recording_is_named_with_its_fault(
    tmp_path: Path, changes: dict[str, object], named: str
) -> None:
    with pytest.raises(ValueError, match=rf"x\.json.*{named}"):
        load_recording(write(tmp_path / "x.json", **changes))
    (tmp_path / "y.json").write_text("{")
    with pytest.raises(ValueError, match=r"y\.json"):
        load_recording(tmp_path / "y.json")
    with pytest.raises(ValueError, match="no recording"):
        recordings_in(tmp_path / "nowhere")


def test_record_command_keeps_a_real_detection_without_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "here.json"
    assert main(["record", "--backend", "software", "--output", str(output)]) == 0
    text = output.read_text()
    recording = load_recording(output)
    assert recording.backend == "software"
    assert recording.expect is not None
    assert "libx264" in recording.expect.capabilities
    assert str(Path.home()) not in text or str(Path.home()) == "/"
    for name in (getpass.getuser(), socket.gethostname()):
        assert name in ("root", "ffmpeg", "linux") or f'"{name}"' not in text
    assert "Read it before you publish it" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options", [["--backend", "nosuch"], ["--backend", "software", "--ffmpeg", "/nosuch"]]
)
def test_record_command_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    assert main(["record", *options, "--output", str(tmp_path / "x.json")]) == 1
    assert "nosuch" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_is_empty_is_not_written(tmp_path: Path) -> None:
    recording = load_recording(write(tmp_path / "x.json"))
    save_recording(tmp_path / "y.json", recording)
    (command,) = json.loads((tmp_path / "y.json").read_text())["commands"]
    assert command == {"match": "h264_fake", "returncode": 0}
    assert RecordedCommand(returncode=None).outcome == ProbeOutcome(None)
