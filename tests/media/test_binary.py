"""Where ffmpeg is looked for, in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from ffcluster.errors import FfmpegMissing
from ffcluster.media import binary
from ffcluster.media.binary import find_ffmpeg


def _program(directory: Path, name: str = "ffmpeg") -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_text("#!/bin/sh\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    found = {name: _program(tmp_path / name) for name in ("named", "variable", "path", "wheel")}
    monkeypatch.setattr(binary, "_from_wheel", lambda: str(found["wheel"]))
    return found


def test_order_is_named_variable_path_wheel(places: dict[str, Path], tmp_path: Path) -> None:
    environ = {"FFCLUSTER_FFMPEG": str(places["variable"]), "PATH": str(tmp_path / "path")}
    assert find_ffmpeg(str(places["named"]), environ) == places["named"]
    assert find_ffmpeg(None, environ) == places["variable"]
    del environ["FFCLUSTER_FFMPEG"]
    assert find_ffmpeg(None, environ) == places["path"]
    assert find_ffmpeg(None, {"PATH": str(tmp_path)}) == places["wheel"]


def test_named_program_that_is_not_there_is_not_replaced(places: dict[str, Path]) -> None:
    with pytest.raises(FfmpegMissing, match="/none/ffmpeg"):
        find_ffmpeg("/none/ffmpeg", {"PATH": str(places["path"].parent)})


def test_nothing_found_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binary, "_from_wheel", lambda: None)
    with pytest.raises(FfmpegMissing) as caught:
        find_ffmpeg(None, {"PATH": ""})
    assert "imageio-ffmpeg" in caught.value.advice
