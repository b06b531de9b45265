"""What is ours on the command line and what is ffmpeg's, and who does a call."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ffcluster.errors import InvalidOption
from ffcluster.interfaces.dropin import main
from ffcluster.interfaces.dropin.main import Own, own_options, run

Calls = list[list[str]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What the local ffmpeg was called with."""
    found: Calls = []

    def become(ffmpeg: Path, argv: list[str], environ: object) -> int:
        found.append(list(argv))
        return 7

    monkeypatch.setattr(main, "become", become)
    return found


def environ(**more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "FFCLUSTER_FFMPEG": sys.executable, **more}


def test_own_options_stand_first_and_beat_the_environment() -> None:
    own, rest = own_options(
        ["--coordinator", "ws://a", "--token-file", "t", "--upload", "--no-fallback", "--explain",
         "-i", "x", "--explain"],
        {"FFCLUSTER_COORDINATOR": "ws://b", "FFCLUSTER_FFMPEG_SOURCE": "server"},
    )  # fmt: skip
    assert own == Own(
        explain=True, url="ws://a", token_file="t", on_server=False, falls_back=False
    )  # fmt: skip
    assert rest == ["-i", "x", "--explain"]


def test_environment_says_the_rest() -> None:
    own, rest = own_options(
        ["-i", "x"],
        {"FFCLUSTER_COORDINATOR": "ws://b", "FFCLUSTER_TOKEN_FILE": "t",
         "FFCLUSTER_FFMPEG_SOURCE": "server", "FFCLUSTER_FFMPEG_FALLBACK": "No"},
    )  # fmt: skip
    assert own == Own(url="ws://b", token_file="t", on_server=True, falls_back=False)
    assert rest == ["-i", "x"]
    assert own_options([], {}) == (Own(), [])


def test_own_option_without_its_value_is_an_error(calls: Calls) -> None:
    with pytest.raises(InvalidOption):
        own_options(["--coordinator"], {})
    assert run(["--coordinator"], environ(), "x") == 1
    assert not calls


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["-version"],
        ["-i", "a.mkv", "b.mkv"],
        ["-f", "lavfi", "-i", "testsrc", "-t", "1", "b.mkv"],
        ["-i", "a b\n.mkv", "-metadata", "title=\udcff", "b.mkv"],
    ],
)
@pytest.mark.parametrize("url", ["", "ws://127.0.0.1:9"])
def test_words_reach_the_local_ffmpeg_as_they_are(calls: Calls, argv: list[str], url: str) -> None:
    assert run(argv, environ(FFCLUSTER_COORDINATOR=url), "x") == 7
    assert calls == [argv]


def test_explain_calls_nobody(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--explain", "-ss", "1", "-i", "a", "b.mkv"], environ(), "x") == 0
    out = capsys.readouterr().out
    assert out.startswith("the local ffmpeg does it: -ss before -i is not possible\n")
    assert "Name a coordinator" in out
    assert f"The local ffmpeg is {sys.executable}." in out
    assert not calls


def files(folder: Path, name: str) -> tuple[Path, Path]:
    source, target = folder / "in.mkv", folder / name
    source.write_bytes(b"x")
    return source, target


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (lambda source, target: source.unlink(), "no file that can be read"),
        (lambda source, target: target.write_bytes(b"y"), "the output exists"),
        (lambda source, target: target.symlink_to(source), "or the source itself"),
        (lambda source, target: target.mkdir(), "no plain file"),
        (lambda source, target: os.mkfifo(target), "no plain file"),
        (lambda source, target: None, ""),
    ],
)
def test_files_that_ffmpeg_has_its_own_words_for_are_left_to_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    prepare: Callable[[Path, Path], object],
    reason: str,
) -> None:
    source, target = files(tmp_path, "out.mkv")
    prepare(source, target)
    monkeypatch.setattr(main.sys, "stdin", open(os.devnull))  # noqa: PTH123, SIM115
    found = main._why_not_files(source, target, None)
    assert reason in found
    assert bool(reason) is bool(found)
    assert "cannot be written" in main._why_not_files(
        *files(tmp_path, "nowhere/x.mkv"), None
    )  # fmt: skip
