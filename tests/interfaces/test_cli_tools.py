"""`token`, `profiles`, `doctor`, `plan`, and the group itself."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import click
import pytest
from click.testing import CliRunner, Result

from ffcluster.core.media import MediaSummary, VideoFormat
from ffcluster.core.model import (
    Capability,
    Diagnosis,
    JobRequest,
    Measurement,
    PluginSummary,
)
from ffcluster.core.profile import Codec
from ffcluster.core.timeline import FrameRange, TimeBase
from ffcluster.encoders.backend import DeviceNode, Machine, Probe, ProbeOutcome
from ffcluster.encoders.registry import Registry
from ffcluster.errors import (
    Code,
    ContainerUnsuitable,
    ErrorReport,
    FfmpegMissing,
    SourceUnreadable,
)
from ffcluster.interfaces.cli.main import _COMMANDS, cli
from ffcluster.media.verify import ComparisonReport
from ffcluster.services.jobs.dryrun import FilmPlan
from ffcluster.services.machine.detection import Trial, machine_state_dir
from ffcluster.services.machine.doctor import BuildSummary, Findings
from ffcluster.services.settings.config import read_token_file
from tests.interfaces.fakes import FakeClient, invoke, job_spec, objects, runtime_with


def test_token_is_one_that_a_coordinator_takes(tmp_path: Path) -> None:
    first = invoke(FakeClient(), "token").stdout
    assert first != invoke(FakeClient(), "token").stdout
    path = tmp_path / "token"
    path.write_text(first)
    path.chmod(0o600)
    assert read_token_file(path) == (first.strip(), ())


def test_token_written_to_a_file_is_private_and_replaces_nothing(tmp_path: Path) -> None:
    path = tmp_path / "token"
    assert invoke(FakeClient(), "token", "--output", path).exit_code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_text()
    assert invoke(FakeClient(), "token", "--output", path).exit_code == 1
    assert path.read_text() == before


def test_profiles_lists_names_and_file(tmp_path: Path) -> None:
    path = tmp_path / "profiles.toml"
    path.write_text('[profile.archive]\ncodec = "hevc"\npreset = "slow"\n')
    result = invoke(FakeClient(), "profiles", "--profiles", path)
    assert str(path) in result.stdout
    assert "archive  hevc" in result.stdout
    lines = objects(invoke(FakeClient(), "profiles", "--profiles", path, "--json"))
    assert [line["type"] for line in lines] == ["profile", "result"]
    assert lines[0]["profile"]["codec"] == "hevc"


def test_profiles_without_a_file_says_where_to_write_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    result = invoke(FakeClient(), "profiles")
    assert result.exit_code == 0
    assert "[profile.NAME]" in result.stdout


@pytest.mark.parametrize(
    ("text", "problem"),
    [("[profile.a]\ncodex = 1\n", "codex"), ("[profile.a", "profiles.toml"), ("x = 1", "$.x")],
)
def test_bad_profiles_file_is_a_usage_error(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "profiles.toml"
    path.write_text(text)
    result = invoke(FakeClient(), "profiles", "--profiles", path)
    assert result.exit_code == 2
    assert problem in result.stderr


def findings(**changes: Any) -> Findings:
    found = Findings(
        machine=Machine(
            2,
            "linux",
            (DeviceNode("/dev/dri/renderD128", "0x8086", "i915", "Intel UHD", usable=False),),
            (("nvidia", "535.104.05"),),
        ),
        builds=(
            BuildSummary("/usr/bin/ffmpeg", "9.0.2", has_vmaf=True),
            BuildSummary("/opt/ffmpeg", "5.1.9"),
        ),
        plugins=(PluginSummary("software", "ffcluster", "0.1.0", ("software",)),),
        capabilities=(
            Capability("libx264", Codec.H264, slots=2, threads=1, ffmpeg="9.0.2"),
            Capability(
                "h264_nvenc", Codec.H264, "nvenc", "cuda:0", slots=3, device_name="RTX 4070",
                bit_depths=(8, 10), without=("temporal-aq",), hardware_decode=True,
            ),
        ),
        diagnoses=(
            Diagnosis("qsv", "/dev/dri/renderD128", "no permission", "join the group render",
                      ffmpeg="5.1.9"),
        ),
        errors=(ErrorReport(Code.PLUGIN, "the plugin odd failed", "update it"),),
        measurements=(Measurement("libx264", "", "fast", 1920, 1080, 51.23, 2.0, 2, vmaf=95.04),),
        warnings=("no plugin is called nvnec",),
        limitations=("no nice here",),
        tried=(
            Trial("9.0.2", Probe("nvenc", ("-c:v", "h264_nvenc")), ProbeOutcome(0, stderr="ok")),
        ),
        elapsed_s=0.42,
    )  # fmt: skip
    return attrs.evolve(found, **changes)


Asked = list[tuple[tuple[str, ...], tuple[str, ...], Path, bool]]


def doctor(
    found: Findings | Exception, *arguments: str | Path, asked: Asked | None = None
) -> Result:
    async def examine(
        reactor: Any, ffmpegs: tuple[str, ...], registry: Registry, state_dir: Path, *, fresh: bool
    ) -> Findings:
        if isinstance(found, Exception):
            raise found
        if asked is not None:
            enabled = tuple(plugin.name for plugin in registry.plugins if plugin.enabled)
            asked.append((ffmpegs, enabled, state_dir, fresh))
        return found

    runtime = attrs.evolve(runtime_with(FakeClient()), examine=examine)
    return CliRunner().invoke(cli, ["doctor", *map(str, arguments)], obj=runtime)


def test_doctor_shows_what_works_what_does_not_and_what_to_do() -> None:
    result = doctor(findings())
    assert result.exit_code == 0
    for part in (
        "9.0.2", "/usr/bin/ffmpeg", "/opt/ffmpeg", "ffcluster 0.1.0", "libx264", "CPU",
        "cuda:0 (RTX 4070)", "8/10", "temporal-aq", "Intel UHD", "NO PERMISSION", "535.104.05",
        "no permission", "join the group render", "the plugin odd failed", "update it", "51.2",
        "95.0", "no plugin is called nvnec", "no nice here", "0.4 s",
    ):  # fmt: skip
        assert part in result.stdout, part


def test_doctor_in_json_gives_every_command_that_was_run_then_the_result() -> None:
    probe, line = objects(doctor(findings(), "--json"))
    assert (probe["type"], probe["ffmpeg"]) == ("probe", "9.0.2")
    assert probe["probe"]["argv"] == ["-c:v", "h264_nvenc"]
    assert probe["outcome"]["stderr"] == "ok"
    assert line["type"] == "result"
    assert line["capabilities"][0]["encoder"] == "libx264"
    assert line["diagnoses"][0]["hint"] == "join the group render"
    assert line["machine"]["devices"][0]["usable"] is False
    assert line["errors"][0]["code"] == "plugin"
    assert line["measurements"][0]["vmaf"] == 95.04
    assert [build["version"] for build in line["builds"]] == ["9.0.2", "5.1.9"]


def test_doctor_says_what_is_remembered_and_how_to_try_anew() -> None:
    assert "--fresh" in doctor(findings(cached=True)).stdout
    assert "--fresh" not in doctor(findings()).stdout


def test_doctor_passes_on_ffmpegs_plugins_place_and_freshness(tmp_path: Path) -> None:
    asked: Asked = []
    one, other = "/opt/one", "/opt/other"
    result = doctor(
        findings(), "--ffmpeg", one, "--ffmpeg", other, "--state-dir", tmp_path, "--fresh",
        "--allow-plugin", "software", asked=asked,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert asked == [((one, other), ("software",), tmp_path, True)]
    doctor(findings(), "--disable-plugin", "software", asked=asked)
    assert "software" not in asked[1][1]
    assert asked[1][2] == machine_state_dir()
    assert asked[1][3] is False


def test_doctor_fails_when_nothing_can_encode() -> None:
    result = doctor(findings(capabilities=(), measurements=()))
    assert result.exit_code == 1
    assert "No encoder works here." in result.stdout
    assert "ffcluster benchmark" in result.stdout
    assert doctor(FfmpegMissing(message="no ffmpeg")).exit_code == 1


def film_plan() -> FilmPlan:
    video = VideoFormat("h264", 1280, 720, "yuv420p", TimeBase(1, 25), (25, 1))
    summary = MediaSummary(video, 100, 0, 100, [0, 50])  # type: ignore[arg-type]
    return FilmPlan(
        spec=job_spec(), summary=summary, encoder="libx264", device="", fallback=False, slots=2,
        segments=(FrameRange(0, 50), FrameRange(50, 100)), lost=("chapters",), notes=("a note",),
        trial_fps=25.0, estimate_s=2.0,
    )  # fmt: skip


def plan(source: Path, answer: FilmPlan | Exception, *arguments: str) -> Result:
    async def make(
        reactor: Any, path: Path, request: JobRequest, ffmpeg: str | None, trial_s: float
    ) -> FilmPlan:
        if isinstance(answer, Exception):
            raise answer
        return answer

    runtime = attrs.evolve(runtime_with(FakeClient()), plan=make)
    return CliRunner().invoke(cli, ["plan", str(source), "out.mp4", *arguments], obj=runtime)


def test_plan_shows_segments_losses_time_and_go(tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    source.touch()
    result = plan(source, film_plan())
    assert result.exit_code == 0, result.output
    for part in ("100 frames", "about 2", "[0, 50)", "chapters", "a note", "2.00 x", "yes"):
        assert part in result.stdout
    (line,) = objects(plan(source, film_plan(), "--json"))
    assert line["go"] is True
    assert line["segments"] == [
        {"first_frame": 0, "frame_count": 50},
        {"first_frame": 50, "frame_count": 50},
    ]
    assert line["estimate_s"] == 2.0


def test_plan_of_what_cannot_be_done_says_why(tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    source.touch()
    error = ContainerUnsuitable(message="mp4 cannot hold this", advice="take mkv")
    result = plan(source, error)
    assert result.exit_code == 1
    assert "mp4 cannot hold this" in result.stderr
    assert "take mkv" in result.stderr


def comparison(**changes: Any) -> ComparisonReport:
    found = ComparisonReport(100, 100, 0.0, ("video", "audio"), ("video", "audio"), None, ())
    return attrs.evolve(found, **changes)


def verify(tmp_path: Path, answer: ComparisonReport | Exception, *arguments: str) -> Result:
    for name in ("in.mkv", "out.mp4"):
        (tmp_path / name).touch()

    async def compare(reactor: Any, source: Path, output: Path, **options: Any) -> ComparisonReport:
        if isinstance(answer, Exception):
            raise answer
        return answer

    runtime = attrs.evolve(runtime_with(FakeClient()), compare=compare)
    given = ["verify", str(tmp_path / "in.mkv"), str(tmp_path / "out.mp4"), *arguments]
    return CliRunner().invoke(cli, given, obj=runtime)


def test_verify_says_what_was_compared_and_what_was_not(tmp_path: Path) -> None:
    result = verify(tmp_path, comparison())
    assert result.exit_code == 0, result.output
    assert "100 frames" in result.stdout
    assert "to the tick" in result.stdout
    assert "pictures not compared" in result.stdout
    rounded = verify(tmp_path, comparison(pictures_equal=True, largest_time_error_s=0.0005))
    assert "rounding of 0.500 ms" in rounded.stdout
    assert "every decoded picture identical" in rounded.stdout
    (line,) = objects(verify(tmp_path, comparison(), "--json"))
    assert (line["type"], line["exact"], line["output_frames"]) == ("result", True, 100)


def test_verify_of_a_different_file_ends_with_3(tmp_path: Path) -> None:
    found = comparison(output_frames=99, differences=("a frame is missing", "no audio"))
    result = verify(tmp_path, found)
    assert result.exit_code == 3
    assert "a frame is missing" in result.stderr
    assert "no audio" in result.stderr
    (line,) = objects(verify(tmp_path, found, "--json"))
    assert (line["type"], line["code"], line["exit_code"]) == ("error", "verification_failed", 3)
    assert line["detail"]["differences"] == ["a frame is missing", "no audio"]


def test_verify_of_what_cannot_be_read_fails(tmp_path: Path) -> None:
    assert verify(tmp_path, SourceUnreadable(message="no video")).exit_code == 1


def test_every_command_of_the_table_exists_and_has_help() -> None:
    for name in _COMMANDS:
        result = invoke(FakeClient(), name, "--help")
        assert result.exit_code == 0, name
        assert "Usage: " in result.output
        assert name in invoke(FakeClient(), "--help").output


def test_help_imports_neither_twisted_nor_av_nor_rich() -> None:
    code = (
        "import sys\n"
        "from ffcluster.interfaces.cli.main import main\n"
        "try:\n    main(args=['encode', '--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'twisted', 'av', 'rich', 'autobahn', 'cattrs'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_unknown_command_is_a_usage_error() -> None:
    result = invoke(FakeClient(), "enlighten")
    assert result.exit_code == 2


def test_every_command_and_option_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    context = click.Context(cli)
    for name in _COMMANDS:
        assert f"`{name}" in text, name
    for command in (
        "encode", "plan", "verify", "submit", "wait", "doctor", "benchmark", "plugins", "top",
        "events", "profiles", "submit", "job", "picture", "link",
    ):  # fmt: skip
        found = cli.get_command(context, command)
        assert found is not None
        flags = [flag for p in found.params for flag in p.opts if flag.startswith("--")]
        assert [flag for flag in flags if flag not in text] == [], command
