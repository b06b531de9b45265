"""The real ffmpeg is found wherever we stand in PATH, and never ourselves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ffcluster.errors import FfmpegMissing
from ffcluster.interfaces.dropin import binary
from ffcluster.interfaces.dropin.binary import TRIED, real_ffmpeg

OURS = "#!/usr/bin/python3\nfrom ffcluster.interfaces.dropin.main import main\nmain()\n"


@pytest.fixture(autouse=True)
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: object) -> Path:
        raise FfmpegMissing(message="none")

    monkeypatch.setattr(binary, "find_ffmpeg", nothing)


def program(folder: Path, text: str = "#!/bin/sh\n", name: str = "ffmpeg") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)
    return path


def find(*folders: Path, own: str = "/nowhere", **more: str) -> Path:
    return real_ffmpeg({"PATH": os.pathsep.join(map(str, folders)), **more}, own)


def test_copy_and_link_of_ours_in_front_are_passed_over(tmp_path: Path) -> None:
    ours = program(tmp_path / "bin", OURS, "ffcluster-ffmpeg")
    program(tmp_path / "copy", OURS)
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "ffmpeg").symlink_to(ours)
    real = program(tmp_path / "real")
    folders = [tmp_path / name for name in ("missing", "copy", "link", "real")]
    assert find(*folders, own=str(ours)) == real


def test_script_that_called_us_is_not_called_back(tmp_path: Path) -> None:
    script = program(tmp_path / "script", '#!/bin/sh\nexec ffcluster-ffmpeg "$@"\n')
    real = program(tmp_path / "real")
    assert find(script.parent, real.parent) == script
    assert find(script.parent, real.parent, **{TRIED: str(script)}) == real


def test_nothing_but_ourselves_is_an_error(tmp_path: Path) -> None:
    program(tmp_path, OURS)
    (tmp_path / "sub" / "ffmpeg").mkdir(parents=True)
    with pytest.raises(FfmpegMissing, match="but ffcluster-ffmpeg itself"):
        find(tmp_path, tmp_path / "sub")


def test_program_that_may_not_be_run_is_passed_over(tmp_path: Path) -> None:
    program(tmp_path / "a").chmod(0o644)
    real = program(tmp_path / "b")
    assert find(tmp_path / "a", tmp_path / "b") == real
