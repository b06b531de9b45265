"""`benchmark` and `plugins`: what they pass on, print and end with."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner, Result

from ffcluster.core.model import Diagnosis, Measurement, Trouble
from ffcluster.core.profile import Codec
from ffcluster.encoders.registry import Registry
from ffcluster.errors import NoUsableEncoder
from ffcluster.interfaces.cli.main import cli
from ffcluster.services.machine.benchmark import (
    BenchmarkReport,
    BenchmarkRequest,
    BenchmarkRow,
    BenchmarkStep,
)
from ffcluster.services.machine.detection import machine_state_dir
from ffcluster.testing import FakeBackend, entry_point
from tests.interfaces.fakes import FakeClient, invoke, objects, runtime_with

ROW = BenchmarkRow(
    Measurement(
        "hevc_nvenc", "cuda:0", "p4", 1920, 1080, 412.34, 16.5, 3,
        ((1, 200.0), (2, 380.0), (3, 412.34)), 94.56, 5_400_000.0, "9.0.2",
    ),
    Codec.HEVC, 23.0, 27.0, "4 sessions: no session left",
)  # fmt: skip
REFUSED = Diagnosis("qsv", "", "no frame was encoded", "more time", "h264_qsv", Trouble.BROKEN)


def report(**changes: Any) -> BenchmarkReport:
    found = BenchmarkReport(
        clip="synthetic 1920x1080", rows=(ROW,), diagnoses=(REFUSED,), notes=("a note",),
        stored=Path("/state/measurements.json"),
    )  # fmt: skip
    return attrs.evolve(found, **changes)


def bench(
    answer: BenchmarkReport | Exception,
    *arguments: str | Path,
    asked: list[BenchmarkRequest] | None = None,
) -> Result:
    async def run(
        reactor: Any, request: BenchmarkRequest, registry: Registry, on_step: Any
    ) -> BenchmarkReport:
        if asked is not None:
            asked.append(request)
        if isinstance(answer, Exception):
            raise answer
        on_step(BenchmarkStep(1, 2, "hevc_nvenc cuda:0 p4"))
        on_step(BenchmarkStep(1, 2, "hevc_nvenc cuda:0 p4", ROW))
        on_step(BenchmarkStep(2, 2, "h264_qsv", REFUSED))
        return answer

    runtime = attrs.evolve(runtime_with(FakeClient()), benchmark=run)
    return CliRunner().invoke(cli, ["benchmark", *map(str, arguments)], obj=runtime)


def test_benchmark_shows_progress_on_stderr_and_a_table_at_the_end() -> None:
    result = bench(report())
    assert result.exit_code == 0, result.output
    for part in (
        "synthetic 1920x1080", "hevc_nvenc", "cuda:0", "p4", "27", "412.3", "16.5", "200.0",
        "94.6", "5.4", "4 sessions: no session left", "no frame was encoded", "more time",
        "/state/measurements.json",
    ):  # fmt: skip
        assert part in result.stdout, part
    assert "[1/2] hevc_nvenc cuda:0 p4: 412.3 frames/s with 3 sessions" in result.stderr
    assert "a note" in result.stderr
    assert "frames/s" not in bench(report(), "--quiet").stderr


def test_vmaf_that_was_not_measured_is_said_to_be() -> None:
    row = attrs.evolve(ROW, measurement=attrs.evolve(ROW.measurement, vmaf=None))
    assert "not measured" in bench(report(rows=(row,))).stdout


def test_benchmark_in_json_gives_a_line_for_each_measurement() -> None:
    lines = objects(bench(report(), "--json"))
    assert [line["type"] for line in lines] == ["measurement", "diagnosis", "warning", "result"]
    assert lines[0]["measurement"]["session_fps"] == [[1, 200.0], [2, 380.0], [3, 412.34]]
    assert (lines[0]["codec"], lines[0]["quality"], lines[0]["own_quality"]) == ("hevc", 23.0, 27.0)
    assert lines[1]["diagnosis"]["hint"] == "more time"
    assert lines[3]["count"] == 1
    assert lines[3]["stored"] == "/state/measurements.json"


def test_benchmark_that_measured_nothing_fails() -> None:
    assert bench(report(rows=(), stored=None)).exit_code == 1
    result = bench(NoUsableEncoder(message="Nothing here", advice="Usable here: libx264"))
    assert result.exit_code == 1
    assert "Usable here: libx264" in result.stderr


def test_benchmark_passes_on_what_was_asked_for(tmp_path: Path) -> None:
    film = tmp_path / "film.mkv"
    film.touch()
    asked: list[BenchmarkRequest] = []
    result = bench(
        report(), "--encoder", "libx264", "--encoder", "libx265", "--codec", "hevc", "--device",
        "cpu", "--preset", "fast", "--preset", "slow", "--quality", "20", "--quality", "28.5",
        "--benchmark-duration", "500ms", "--input", film, "--size", "1280x720",
        "--max-sessions", "4", "--hardware-decode", "--fresh", "--ffmpeg", "/opt/ffmpeg",
        "--state-dir", tmp_path, asked=asked,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert asked == [
        BenchmarkRequest(
            ffmpegs=("/opt/ffmpeg",), encoders=("libx264", "libx265"), codecs=(Codec.HEVC,),
            devices=("cpu",), presets=("fast", "slow"), qualities=(20.0, 28.5), duration_s=0.5,
            source=film, size=(1280, 720), max_sessions=4, hardware_decode=True, fresh=True,
            state_dir=tmp_path,
        )
    ]  # fmt: skip


def test_benchmark_without_options_measures_everything_with_a_size_that_fits_the_time() -> None:
    asked: list[BenchmarkRequest] = []
    bench(report(), asked=asked)
    bench(report(), "--benchmark-duration", "2", asked=asked)
    assert asked[0] == BenchmarkRequest(state_dir=machine_state_dir())
    assert [request.synthetic_size for request in asked] == [(1920, 1080), (1280, 720)]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--size", "big"), ("--size", "1921x1080"), ("--size", "0x0"), ("--size", "99999x64"),
        ("--benchmark-duration", "soon"), ("--benchmark-duration", "0"), ("--codec", "divx"),
        ("--max-sessions", "0"), ("--input", "/nowhere/film.mkv"), ("--quality", "best"),
    ],
)  # fmt: skip
def test_value_that_is_not_allowed_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    asked: list[BenchmarkRequest] = []
    assert bench(report(), *arguments, asked=asked).exit_code == 2
    assert asked == []


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin that works and one that does not stand in for what is installed."""

    def broken() -> list[object]:
        raise ImportError("no module named vendor")

    points: list[EntryPoint] = [
        entry_point("good", lambda: [FakeBackend(name="good")]),
        entry_point("odd", broken),
    ]

    def load(
        disabled: tuple[str, ...] = (), allow: tuple[str, ...] | None = None, **more: Any
    ) -> Registry:
        return Registry.of(points, disabled, allow, **more)

    monkeypatch.setattr(Registry, "load", load)


@pytest.mark.usefixtures("installed")
def test_plugins_shows_each_with_its_encoders_and_what_is_wrong_with_it() -> None:
    result = invoke(FakeClient(), "plugins")
    assert result.exit_code == 0
    for part in ("good", "enabled", "h264_fake", "odd", "failed", "no module named vendor"):
        assert part in result.stdout, part
    good, odd, last = objects(invoke(FakeClient(), "plugins", "--json"))
    assert good["type"] == odd["type"] == "plugin"
    assert good["plugin"]["state"] == "enabled"
    assert good["plugin"]["api_version"] == 1
    assert good["plugin"]["backends"] == {"good": ["h264_fake"]}
    assert (odd["plugin"]["state"], odd["plugin"]["backends"]) == ("failed", {})
    assert "no module named vendor" in odd["plugin"]["error"]
    assert odd["plugin"]["advice"]
    assert last == {"type": "result", "count": 2, "failed": 1}


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("arguments", [("--disable-plugin", "odd"), ("--allow-plugin", "good")])
def test_plugin_that_is_left_out_is_shown_as_disabled(arguments: tuple[str, str]) -> None:
    good, odd, last = objects(invoke(FakeClient(), "plugins", "--json", *arguments))
    assert (good["plugin"]["state"], odd["plugin"]["state"]) == ("enabled", "disabled")
    assert last["failed"] == 0
    assert "--disable-plugin" in invoke(FakeClient(), "plugins", *arguments).stdout


@pytest.mark.usefixtures("installed")
def test_name_that_no_plugin_has_is_warned_of() -> None:
    result = invoke(FakeClient(), "plugins", "--disable-plugin", "nvnec")
    assert result.exit_code == 0
    assert "nvnec" in result.stderr
