"""How watch folders are set up: what is read, and what is refused before a coordinator starts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ffcluster.core.profile import Codec, Container, Profile, RateControl
from ffcluster.errors import FfclusterError, InvalidOption
from ffcluster.services.settings.config import ServerSettings, load_server_settings
from ffcluster.services.settings.watchfolders import SETTINGS_FILE, After, Subfolders, WatchFolder

CONFIG = '[profile.archive]\ncodec = "hevc"\nencoder = "libx265"\nquality = 22\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "in"
    path.mkdir()
    return path


def load(folder: Path, *given: str) -> ServerSettings:
    config = folder.parent / "config.toml"
    config.write_text(CONFIG)
    own = {"output-dir": str(folder.parent / "out"), "state-dir": str(folder.parent / "state")}
    return load_server_settings({**own, "watch-dir": list(given) or [str(folder)]}, config)


def the_one(folder: Path, text: str = "", suffix: str = "") -> WatchFolder:
    if text:
        (folder / SETTINGS_FILE).write_text(text)
    (found,) = load(folder, f"{folder}{suffix}").watch_folders
    return found


def test_folder_without_settings_has_the_documented_defaults(folder: Path) -> None:
    found = the_one(folder)
    assert found.path == folder
    assert found.container is Container.MKV
    assert found.after is After.DONE
    assert found.subfolders is Subfolders.IGNORE
    assert (found.every_s, found.rules.looks) == (2.0, 6)
    assert found.request.profile is None


def test_profile_is_named_behind_the_folder(folder: Path) -> None:
    profile = the_one(folder, suffix="=archive").request.profile
    assert profile is not None
    assert (profile.codec, profile.encoder) == (Codec.HEVC, "libx265")


def test_folder_whose_name_holds_an_equals_sign_is_found(tmp_path: Path) -> None:
    odd = tmp_path / "a=b"
    odd.mkdir()
    assert the_one(odd).path == odd


def test_settings_file_holds_what_encode_and_submit_take(folder: Path) -> None:
    found = the_one(
        folder,
        'profile = "archive"\nquality = 18\npreset = "slow"\ncontainer = "mp4"\noutput = "films/hd"'
        '\nsubfolders = "mirror"\nafter = "leave"\nduplicates = "again"\nsuffixes = ["mkv", ".MXF"]'
        '\nevery = "5s"\nstable = 60\nat-once = 2\npriority = 7\nallow-damaged = true\n',
    )
    assert found.request.profile is not None
    assert found.request.profile.codec is Codec.HEVC
    assert found.request.profile.rate == RateControl(quality=18.0)
    assert (found.request.priority, found.request.allow_damaged) == (7, True)
    assert (found.container, found.output) == (Container.MP4, "films/hd")
    assert (found.subfolders, found.after) == (Subfolders.MIRROR, After.LEAVE)
    assert found.suffixes == {".mkv", ".mxf"}
    assert (found.rules.looks, found.rules.at_once, found.rules.skips_twins) == (13, 2, False)


def test_options_of_the_file_change_the_profile_of_the_server(folder: Path) -> None:
    (folder / SETTINGS_FILE).write_text("quality = 30\n")
    given = {"watch-dir": [str(folder)], "ffmpeg-params": "-c:v libx264 -preset fast",
             "output-dir": str(folder.parent / "out")}  # fmt: skip
    (found,) = load_server_settings(given).watch_folders
    assert found.request.profile == Profile(
        encoder="libx264", preset="fast", rate=RateControl(quality=30.0)
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("quality", "is not TOML"),
        ("qualty = 3", r"\$\.qualty is unknown"),
        ('quality = "high"', "a number is needed"),
        ("output = '../elsewhere'", "below the coordinator's --output-dir"),
        ("output = '/srv'", "below the coordinator's --output-dir"),
        ("output = 'a/.hidden'", "below the coordinator's --output-dir"),
        ("after = 'burn'", "one of done, delete, leave is allowed"),
        ("suffixes = []", "suffixes such as .mkv"),
        ("suffixes = ['.*']", "suffixes such as .mkv"),
        ("at-once = 0", "from 1 to 100"),
        ("every = 0", "0.1 to 3600"),
        ("profile = 'none'", "there is no profile none; known: archive"),
        ("container = 'webm'\ncodec = 'h264'", "webm cannot hold h264"),
        ("codec = 'h264'\nencoder = 'libx265'", "contradicts"),
    ],
)
def test_settings_that_cannot_be_used_are_named(folder: Path, text: str, words: str) -> None:
    with pytest.raises(InvalidOption, match=words) as raised:
        the_one(folder, text)
    assert str(folder) in str(raised.value)


def test_two_profiles_for_one_folder_are_refused(folder: Path) -> None:
    (folder / SETTINGS_FILE).write_text('profile = "other"\n')
    with pytest.raises(InvalidOption, match="names the profile other"):
        load(folder, f"{folder}=archive")


def test_settings_behind_a_symbolic_link_are_refused(folder: Path) -> None:
    (folder / SETTINGS_FILE).symlink_to("/etc/passwd")
    with pytest.raises(InvalidOption, match="symbolic link"):
        load(folder)


def test_folders_that_cannot_be_watched_are_refused(folder: Path) -> None:
    inside = folder / "inside"
    inside.mkdir()
    for given, words in (
        ([str(folder / "missing")], "there is no directory"),
        ([str(folder), str(inside)], "is watched too"),
        ([str(folder), str(folder)], "is watched too"),
        ([str(folder.parent)], "lies in it"),
    ):
        with pytest.raises(InvalidOption, match=words):
            load(folder, *given)


@pytest.mark.parametrize("name", [".ffcluster", "done", "failed"])
def test_links_in_place_of_our_own_directories_are_refused(folder: Path, name: str) -> None:
    (folder / name).symlink_to(folder.parent)
    with pytest.raises(InvalidOption, match="is no directory"):
        load(folder)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_folder_that_cannot_be_written_is_refused(folder: Path) -> None:
    folder.chmod(0o500)
    with pytest.raises(FfclusterError, match="cannot be read and written"):
        load(folder)
