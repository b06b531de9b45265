"""The files of a watch folder: what is seen, how it is taken, where it ends; with crashes."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from ffcluster.core.watching import Claim, Ending, Stamp, Verdict
from ffcluster.services.settings.watchfolders import After, Subfolders, WatchFolder
from ffcluster.services.watch import files as watchfiles
from ffcluster.services.watch.files import FolderFiles, NotTaken, Returned, Stopped
from ffcluster.services.watch.onefile import plain_name

DONE = Ending(Verdict.DONE, "/out/film.mkv")
FAILED = Ending(Verdict.FAILED, "It is no video.\nMove it back.")
HOSTILE = [
    "a\nb.mkv",
    "-y.mkv",
    "q'\"$(reboot).mkv",
    "  .mkv",
    "…ü\u202e.mkv",
    os.fsdecode(b"\xff\xfe broken.mkv"),
    "x" * 230 + ".mkv",
    "FILM.MKV",
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "in"
    path.mkdir()
    return path


def files_of(root: Path, owner: str = "me", **settings: object) -> FolderFiles:
    folder = WatchFolder(path=root, **settings)  # type: ignore[arg-type]
    return FolderFiles(folder, owner, threading.Event())


def write(path: Path, data: bytes = b"a film") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def seen(files: FolderFiles) -> dict[str, Stamp]:
    return dict(files.look().found)


def take(files: FolderFiles, name: str) -> Claim:
    files.prepare()
    return files.take(name, seen(files)[name])


def everything(root: Path) -> list[str]:
    """Every file but our notes."""
    found = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return sorted(str(path) for path in found if path.parts[0] != ".ffcluster")


# --- looks -------------------------------------------------------------------------------------


def test_only_whole_films_of_the_folder_itself_are_seen(root: Path) -> None:
    for name in (
        "film.mkv", "Film.MP4", "notes.txt", ".hidden.mkv", "film.mkv.part", "film.part.mkv",
        "x.tmp.mp4", "~$x.mkv", "ffcluster-watch.toml", "sub/film.mkv", "done/old.mkv",
    ):  # fmt: skip
        write(root / name)
    (root / "link.mkv").symlink_to(write(root.parent / "secret.mkv"))
    (root / "folder.mkv").mkdir()
    os.mkfifo(root / "pipe.mkv")
    assert sorted(seen(files_of(root))) == ["Film.MP4", "film.mkv"]


def test_subdirectories_are_entered_where_that_is_wanted_but_links_and_our_own_are_not(
    root: Path,
) -> None:
    for name in ("a/b/film.mkv", "done/old.mkv", "failed/x.mkv", ".trash/x.mkv", "a/done/y.mkv"):
        write(root / name)
    write(root.parent / "elsewhere" / "secret.mkv")
    (root / "link").symlink_to(root.parent / "elsewhere")
    files = files_of(root, subfolders=Subfolders.MIRROR)
    assert sorted(seen(files)) == ["a/b/film.mkv", "a/done/y.mkv"]


def test_suffixes_can_be_chosen(root: Path) -> None:
    write(root / "a.mkv")
    write(root / "a.xyz")
    assert list(seen(files_of(root, suffixes=frozenset({".xyz"})))) == ["a.xyz"]


def test_look_ends_at_a_bound_and_says_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchfiles, "_MOST_ENTRIES", 10)
    for number in range(20):
        write(root / f"{number}.mkv")
    look = files_of(root).look()
    assert len(look.found) == 10
    assert "entries" in look.problems[0]


def test_folder_that_is_gone_is_an_error_and_one_below_it_is_not(root: Path) -> None:
    files = files_of(root, subfolders=Subfolders.FLAT)
    write(root / "film.mkv")
    files.prepare()
    root.rename(root.with_name("away"))
    with pytest.raises(FileNotFoundError):
        files.look()


# --- take --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("ending", [DONE, FAILED])
def test_any_name_is_taken_and_comes_back_as_it_was(root: Path, name: str, ending: Ending) -> None:
    write(root / name)
    files = files_of(root)
    claim = take(files, name)
    source = files.source_of(claim)
    assert source.name.isprintable()
    source.name.encode()
    claim.sha256 = files.sha256(claim)[0]
    (again,) = files_of(root).prepare()
    assert (again.name, again.stamp) == (name, claim.stamp)
    files.settle(again, ending)
    where = "done" if ending is DONE else "failed"
    assert (root / where / name).read_bytes() == b"a film"
    assert not list((root / ".ffcluster" / "taken" / "me").iterdir())
    if ending is FAILED:
        assert (root / where / f"{name}.reason.txt").read_text().startswith("It is no video.")


def test_name_too_long_for_its_reason_is_shortened(root: Path) -> None:
    name = "x" * 251 + ".mkv"
    write(root / name)
    files = files_of(root)
    files.settle(take(files, name), FAILED)
    moved, reason = sorted(everything(root), key=len)
    assert moved.endswith(".mkv")
    assert reason == f"{moved}.reason.txt"


def test_file_that_changed_since_the_look_is_put_back(root: Path) -> None:
    path = write(root / "film.mkv")
    files = files_of(root)
    files.prepare()
    stamp = seen(files)["film.mkv"]
    write(path, b"another film")
    with pytest.raises(NotTaken):
        files.take("film.mkv", stamp)
    assert path.read_bytes() == b"another film"
    assert not files.prepare()


def test_link_put_in_place_of_a_file_is_not_followed(root: Path) -> None:
    path = write(root / "film.mkv")
    secret = write(root.parent / "secret.mkv", b"secret")
    files = files_of(root)
    files.prepare()
    stamp = seen(files)["film.mkv"]
    path.unlink()
    path.symlink_to(secret)
    with pytest.raises(NotTaken):
        files.take("film.mkv", stamp)
    assert secret.read_bytes() == b"secret"


def test_link_put_in_place_of_a_folder_takes_nothing_from_outside(root: Path) -> None:
    write(root / "sub" / "film.mkv")
    outside = write(root.parent / "outside" / "film.mkv", b"mine")
    files = files_of(root, subfolders=Subfolders.FLAT)
    files.prepare()
    stamp = seen(files)["sub/film.mkv"]
    (root / "sub").rename(root.parent / "old")
    (root / "sub").symlink_to(outside.parent)
    with pytest.raises(NotTaken):
        files.take("sub/film.mkv", stamp)
    assert outside.read_bytes() == b"mine"


def test_only_one_of_two_coordinators_takes_a_file(root: Path) -> None:
    write(root / "film.mkv")
    one, other = files_of(root, "one"), files_of(root, "other")
    one.prepare()
    other.prepare()
    stamp = seen(one)["film.mkv"]
    one.take("film.mkv", stamp)
    with pytest.raises(NotTaken):
        other.take("film.mkv", stamp)
    assert len(one.prepare()) == 1
    assert not other.prepare()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says who writes")
def test_file_that_somebody_has_open_for_writing_is_left(root: Path) -> None:
    path = write(root / "film.mkv")
    files = files_of(root)
    files.prepare()
    with path.open("ab"), pytest.raises(NotTaken):
        files.take("film.mkv", seen(files)["film.mkv"])
    assert files.take("film.mkv", seen(files)["film.mkv"]).name == "film.mkv"


def test_file_that_cannot_be_noted_is_not_taken(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root / "film.mkv")
    files = files_of(root)
    files.prepare()
    stamp = seen(files)["film.mkv"]

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(watchfiles, "write_note", full)
    with pytest.raises(OSError, match="No space"):
        files.take("film.mkv", stamp)
    assert everything(root) == ["film.mkv"]


# --- read --------------------------------------------------------------------------------------


def test_file_that_is_written_to_after_it_was_taken_is_given_back(root: Path) -> None:
    write(root / "film.mkv")
    files = files_of(root)
    claim = take(files, "film.mkv")
    with files.source_of(claim).open("ab") as late:
        late.write(b" and more")
    with pytest.raises(Returned):
        files.sha256(claim)
    assert (root / "film.mkv").read_bytes() == b"a film and more"
    assert not files.prepare()


def test_claim_whose_file_is_gone_is_dropped(root: Path) -> None:
    write(root / "film.mkv")
    files = files_of(root)
    claim = take(files, "film.mkv")
    files.source_of(claim).unlink()
    with pytest.raises(Returned):
        files.sha256(claim)
    assert not files.prepare()


def test_reading_ends_when_the_coordinator_stops(root: Path) -> None:
    write(root / "film.mkv")
    stopping = threading.Event()
    files = FolderFiles(WatchFolder(path=root), "me", stopping)
    claim = take(files, "film.mkv")
    stopping.set()
    with pytest.raises(Stopped):
        files.sha256(claim)


def test_film_that_was_done_before_is_known_again_by_what_it_holds(root: Path) -> None:
    write(root / "film.mkv")
    files = files_of(root)
    first = take(files, "film.mkv")
    first.sha256, twin = files.sha256(first)
    assert not twin
    files.settle(first, DONE)
    write(root / "copy.mkv")
    second = take(files, "copy.mkv")
    second.sha256, twin = files.sha256(second)
    assert twin == "It holds the same as 'film.mkv', which became /out/film.mkv"
    files.settle(second, Ending(Verdict.TWIN, twin))
    assert everything(root) == ["done/copy.mkv", "done/copy.mkv.note.txt", "done/film.mkv"]


# --- the end -----------------------------------------------------------------------------------


def test_source_can_be_deleted_or_left_where_it_was(root: Path) -> None:
    write(root / "film.mkv")
    files = files_of(root, after=After.LEAVE)
    claim = take(files, "film.mkv")
    left = files.settle(claim, DONE)
    assert left == ("film.mkv", seen(files)["film.mkv"])
    assert files_of(root, after=After.LEAVE).left() == {left[0]: left[1]}
    files = files_of(root, after=After.DELETE)
    files.settle(take(files, "film.mkv"), DONE)
    assert everything(root) == []


def test_source_to_be_left_gives_way_to_a_newer_one(root: Path) -> None:
    write(root / "film.mkv")
    files = files_of(root, after=After.LEAVE)
    claim = take(files, "film.mkv")
    write(root / "film.mkv", b"newer")
    assert files.settle(claim, DONE) is None
    assert everything(root) == ["done/film.mkv", "film.mkv"]
    assert (root / "film.mkv").read_bytes() == b"newer"


def test_nothing_is_overwritten(root: Path) -> None:
    write(root / "done" / "film.mkv", b"older")
    write(root / "sub" / "film.mkv")
    write(root / "film.mkv", b"b")
    files = files_of(root, subfolders=Subfolders.FLAT)
    files.settle(take(files, "film.mkv"), DONE)
    files.settle(take(files, "sub/film.mkv"), DONE)
    assert everything(root) == ["done/film-2.mkv", "done/film.mkv", "done/sub/film.mkv"]
    assert (root / "done" / "film.mkv").read_bytes() == b"older"


class Crash(BaseException):
    """The process ends here."""


_STEPS: list[tuple[object, str]] = [
    (os, "fsync"),
    (os, "link"),
    (os, "replace"),
    (os, "rename"),
    (os, "unlink"),
    (os, "rmdir"),
]


@pytest.fixture
def crash_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Let the process end at the n-th step that changes anything durable, before or after it."""
    left = [0]

    def wrapped(real: Callable[..., object]) -> Callable[..., object]:
        def step(*args: object, **named: object) -> object:
            left[0] -= 1
            if left[0] == 0:
                raise Crash
            done = real(*args, **named)
            left[0] -= 1
            if left[0] == 0:
                raise Crash
            return done

        return step

    def arm(number: int) -> None:
        left[0] = number

    for module, name in _STEPS:
        monkeypatch.setattr(module, name, wrapped(getattr(module, name)))
    yield arm
    left[0] = 0


@pytest.mark.parametrize("after", list(After))
@pytest.mark.parametrize("ending", [DONE, FAILED])
def test_crash_at_any_step_loses_no_file_and_doubles_none(
    root: Path, crash_at: Callable[[int], None], after: After, ending: Ending
) -> None:
    expected = {
        (DONE, After.DONE): ["done/film.mkv"],
        (DONE, After.DELETE): [],
        (DONE, After.LEAVE): ["film.mkv"],
    }.get((ending, after), ["failed/film.mkv", "failed/film.mkv.reason.txt"])
    for number in range(1, 400):
        write(root / "film.mkv")
        crash_at(number)
        try:
            files = files_of(root, after=after)
            claim = take(files, "film.mkv")
            claim.sha256 = files.sha256(claim)[0]
            files.note(claim)
            files.settle(claim, ending)
            crashed = False
        except Crash:
            crashed = True
        crash_at(0)
        _go_on(root, after, ending)
        assert everything(root) == expected, f"crash at step {number}"
        for name in expected:
            if name.endswith(".mkv"):
                assert (root / name).read_bytes() == b"a film"
        if not crashed:
            assert number > 20
            return
        _clean(root)
    raise AssertionError("it has no end")


def _go_on(root: Path, after: After, ending: Ending) -> None:
    """What a restarted coordinator does: finish what was taken, then take what lies there."""
    files = files_of(root, after=after)
    for claim in files.prepare():
        files.settle(claim, claim.ending or ending)
    left = files.left()
    for name, stamp in files.look().found:
        if left.get(name) != stamp:
            claim = files.take(name, stamp)
            claim.sha256 = files.sha256(claim)[0]
            files.settle(claim, ending)


def _clean(root: Path) -> None:
    for path in sorted(root.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


@pytest.mark.parametrize("name", [*HOSTILE, "..", ".mkv", "a/b", "\\", "x" * 300])
def test_plain_names_can_be_shown_stored_and_used(name: str) -> None:
    plain = plain_name(name)
    assert plain.isprintable()
    assert 0 < len(plain.encode()) <= 140
    assert not set(plain) & set('/\\:*?"<>|')
    assert not plain.startswith(".")


def test_stamp_is_what_is_noted(root: Path) -> None:
    write(root / "film.mkv")
    files = files_of(root)
    claim = take(files, "film.mkv")
    (again,) = files.prepare()
    assert attrs.asdict(again) == attrs.asdict(claim)
