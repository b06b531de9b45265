"""Incoming blobs and places: nothing is overwritten, nothing half-written counts."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffcluster.errors import DiskFull, OutputUnwritable, Refused, TransferFailed
from ffcluster.steps import Step
from ffcluster.store import files
from ffcluster.store.files import IncomingFile, Placed
from tests.store.crashing import killed_at

DATA = bytes(range(256)) * 4
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def incoming(tmp_path: Path) -> IncomingFile:
    return IncomingFile(tmp_path / "blob", 10_000)


def test_blocks_in_order_make_the_whole_file(incoming: IncomingFile) -> None:
    incoming.expect(len(DATA))
    assert incoming.write(0, DATA[:600]) == 600
    assert not incoming.whole
    assert incoming.write(600, DATA[600:]) == len(DATA)
    incoming.finish(SHA)
    assert incoming.whole
    assert incoming.path.read_bytes() == DATA


def test_file_without_an_announced_hash_is_settled_only_when_every_byte_is_there(
    incoming: IncomingFile,
) -> None:
    incoming.expect(len(DATA))
    incoming.write(0, DATA[:600])
    incoming.settle()
    assert not incoming.whole
    incoming.write(600, DATA[600:])
    incoming.settle()
    assert incoming.sha256 == SHA
    incoming.settle()
    assert incoming.whole


@given(st.lists(st.tuples(st.integers(0, 1024), st.integers(0, 1024)), max_size=20))
def test_any_blocks_in_any_order_give_the_right_file_or_none(
    tmp_path_factory: pytest.TempPathFactory, spans: list[tuple[int, int]]
) -> None:
    incoming = IncomingFile(tmp_path_factory.mktemp("blob") / "blob", 10_000)
    incoming.expect(len(DATA))
    for one, other in [*spans, (0, len(DATA))]:
        start, stop = sorted((one, other))
        before = incoming.offset
        try:
            assert incoming.write(start, DATA[start:stop]) == max(before, stop)
        except TransferFailed:
            assert start > before
            assert incoming.offset == before
    incoming.finish(SHA)
    assert incoming.path.read_bytes() == DATA


def test_repeated_and_overlapping_blocks_are_written_once(incoming: IncomingFile) -> None:
    incoming.expect(len(DATA))
    incoming.write(0, DATA[:500])
    assert incoming.write(0, DATA[:500]) == 500
    assert incoming.write(300, DATA[300:700]) == 700
    incoming.write(700, DATA[700:])
    incoming.finish(SHA)
    assert incoming.path.read_bytes() == DATA


def test_gap_is_refused_and_changes_nothing(incoming: IncomingFile) -> None:
    incoming.expect(len(DATA))
    with pytest.raises(TransferFailed, match="does not follow"):
        incoming.write(1, DATA[1:10])
    assert incoming.offset == 0
    assert not incoming.path.exists()


def test_block_past_the_end_is_refused(incoming: IncomingFile) -> None:
    incoming.expect(10)
    with pytest.raises(TransferFailed):
        incoming.write(0, DATA[:11])


def test_block_before_the_size_is_known_is_refused(incoming: IncomingFile) -> None:
    with pytest.raises(TransferFailed):
        incoming.write(0, b"x")


def test_wrong_hash_starts_from_scratch_and_the_right_bytes_then_pass(
    incoming: IncomingFile,
) -> None:
    incoming.expect(len(DATA))
    incoming.write(0, b"\0" * len(DATA))
    with pytest.raises(TransferFailed, match="SHA-256"):
        incoming.finish(SHA)
    assert (incoming.offset, incoming.whole) == (0, False)
    incoming.write(0, DATA)
    incoming.finish(SHA)
    assert incoming.path.read_bytes() == DATA


def test_finish_before_all_bytes_is_refused(incoming: IncomingFile) -> None:
    incoming.expect(len(DATA))
    incoming.write(0, DATA[:5])
    with pytest.raises(TransferFailed, match="5 of 1024"):
        incoming.finish(SHA)


def test_empty_file_is_whole_after_an_empty_block(incoming: IncomingFile) -> None:
    incoming.expect(0)
    incoming.take(0, b"", hashlib.sha256(b"").hexdigest())
    assert incoming.whole
    assert incoming.path.read_bytes() == b""


def test_size_beyond_the_limit_or_other_than_before_is_refused(incoming: IncomingFile) -> None:
    with pytest.raises(Refused, match="allowed"):
        incoming.expect(10_001)
    incoming.expect(10_000)
    incoming.expect(10_000)
    with pytest.raises(Refused, match="announced before"):
        incoming.expect(9_999)


def test_take_finishes_with_the_last_block_only(incoming: IncomingFile) -> None:
    incoming.expect(len(DATA))
    incoming.take(0, DATA[:10], SHA)
    assert not incoming.whole
    incoming.take(10, DATA[10:], None)
    assert not incoming.whole
    incoming.take(10, DATA[10:], SHA)
    assert incoming.whole
    incoming.take(0, b"\0" * 10, None)
    assert incoming.path.read_bytes() == DATA


def test_take_after_discard_writes_nothing(incoming: IncomingFile) -> None:
    incoming.expect(len(DATA))
    incoming.take(0, DATA[:10], None)
    incoming.discard()
    with pytest.raises(TransferFailed):
        incoming.take(10, DATA[10:], SHA)
    assert not incoming.path.exists()


def test_threads_that_take_the_same_blocks_do_not_spoil_the_file(incoming: IncomingFile) -> None:
    incoming.expect(len(DATA))

    def send() -> None:
        for start in range(0, len(DATA), 16):
            incoming.take(start, DATA[start : start + 16], SHA)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert incoming.whole
    assert incoming.path.read_bytes() == DATA


def test_failed_write_leaves_the_offset_so_that_the_block_can_come_again(
    incoming: IncomingFile,
) -> None:
    incoming.expect(len(DATA))
    incoming.path.symlink_to("/dev/full")
    with pytest.raises(DiskFull, match="No space"):
        incoming.take(0, DATA, SHA)
    incoming.path.unlink()
    incoming.take(0, DATA, SHA)
    assert incoming.path.read_bytes() == DATA


def test_write_into_a_directory_that_is_gone_does_not_make_it_again(tmp_path: Path) -> None:
    incoming = IncomingFile(tmp_path / "gone" / "blob", 10)
    incoming.expect(1)
    with pytest.raises(OutputUnwritable):
        incoming.take(0, b"x", None)
    assert not (tmp_path / "gone").exists()


# --- what an earlier process left ----------------------------------------------------------------


def interrupted(path: Path, data: bytes) -> IncomingFile:
    """A file of which an earlier process took `data` in."""
    earlier = IncomingFile(path, 10_000)
    earlier.expect(len(DATA))
    earlier.write(0, data)
    return IncomingFile(path, 10_000, resumes=True)


@given(st.integers(1, len(DATA)), st.integers(1, len(DATA)))
def test_reopened_file_goes_on_where_it_stopped(
    tmp_path_factory: pytest.TempPathFactory, stopped: int, resent: int
) -> None:
    incoming = interrupted(tmp_path_factory.mktemp("blob") / "blob", DATA[:stopped])
    incoming.reopen()
    assert incoming.offset == stopped
    incoming.expect(len(DATA))
    start = min(stopped, resent, len(DATA) - 1)
    incoming.take(start, DATA[start:], SHA)
    assert incoming.whole
    assert incoming.path.read_bytes() == DATA


def test_reopened_file_with_other_bytes_is_found_out_and_sent_again(tmp_path: Path) -> None:
    incoming = interrupted(tmp_path / "blob", b"\0" * 600)
    incoming.reopen()
    incoming.expect(len(DATA))
    with pytest.raises(TransferFailed, match="SHA-256"):
        incoming.take(600, DATA[600:], SHA)
    incoming.take(0, DATA, SHA)
    assert incoming.path.read_bytes() == DATA


def test_all_bytes_of_a_reopened_file_are_not_whole_before_their_hash_is_known(
    tmp_path: Path,
) -> None:
    incoming = interrupted(tmp_path / "blob", DATA)
    incoming.reopen()
    assert (incoming.offset, incoming.whole) == (len(DATA), False)
    incoming.expect(len(DATA))
    incoming.take(len(DATA) - 1, DATA[-1:], SHA)
    assert incoming.whole


def test_partial_that_is_longer_than_announced_starts_anew(tmp_path: Path) -> None:
    incoming = interrupted(tmp_path / "blob", DATA)
    incoming.reopen()
    incoming.expect(10)
    assert incoming.offset == 0
    incoming.take(0, DATA[:10], hashlib.sha256(DATA[:10]).hexdigest())
    assert incoming.path.read_bytes() == DATA[:10]


@pytest.mark.parametrize("sizes", [(100, None), (10_000, 100)])
def test_partial_that_is_longer_than_allowed_starts_anew(
    tmp_path: Path, sizes: tuple[int, int | None]
) -> None:
    (tmp_path / "blob").write_bytes(DATA)
    incoming = IncomingFile(tmp_path / "blob", *sizes, resumes=True)
    incoming.reopen()
    assert incoming.offset == 0


def test_reopening_what_is_not_there_begins_at_the_start(incoming: IncomingFile) -> None:
    made = IncomingFile(incoming.path, 10_000, resumes=True)
    made.reopen()
    assert made.offset == 0
    assert not made.path.exists()


def test_reopening_what_cannot_be_read_fails_in_words(tmp_path: Path) -> None:
    (tmp_path / "blob").mkdir()
    with pytest.raises(OutputUnwritable):
        IncomingFile(tmp_path / "blob", 10, resumes=True).reopen()


def test_block_that_comes_before_the_file_was_read_does_not_overwrite_it(tmp_path: Path) -> None:
    incoming = interrupted(tmp_path / "blob", DATA[:600])
    incoming.expect(len(DATA))
    incoming.take(0, DATA[:10], None)
    assert incoming.offset == 600
    incoming.reopen()
    incoming.take(600, DATA[600:], SHA)
    assert incoming.path.read_bytes() == DATA


def test_file_that_does_not_resume_is_written_from_the_start(tmp_path: Path) -> None:
    interrupted(tmp_path / "blob", b"\0" * 600)
    incoming = IncomingFile(tmp_path / "blob", 10)
    incoming.reopen()
    incoming.expect(10)
    incoming.take(0, DATA[:10], None)
    assert incoming.path.read_bytes() == DATA[:10]


# --- the place of a finished file ----------------------------------------------------------------


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    path = tmp_path / ".film.partial"
    path.write_bytes(DATA)
    return path


@pytest.fixture(params=["links", "no links"])
def links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "no links":
        monkeypatch.setattr(os, "link", no_links)


def no_links(_finished: Path, target: Path) -> None:
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, "File exists")
    raise OSError(errno.EPERM, "Operation not permitted")


def written(path: Path) -> tuple[int, int, int]:
    """What tells whether it is the same file, not written to; reading changes other times."""
    found = path.lstat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def place(finished: Path, target: Path, *, proven: bool = False) -> Placed:
    return files.place(finished, target, SHA, len(DATA), proven=proven)


@pytest.mark.usefixtures("links")
@pytest.mark.parametrize("proven", [False, True])
def test_placed_file_has_its_name_and_the_partial_is_gone(
    tmp_path: Path, finished: Path, proven: bool
) -> None:
    target = files.choose_place(tmp_path, "film.mp4")
    assert target == tmp_path / "film.mp4"
    assert not target.exists()
    assert place(finished, target, proven=proven) is Placed.DONE
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]
    assert target.read_bytes() == DATA


def test_taken_names_are_numbered(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_text("mine")
    (tmp_path / "film-2.mp4").symlink_to("nowhere")
    (tmp_path / "film-3.mp4").mkdir()
    assert files.choose_place(tmp_path, "film.mp4").name == "film-4.mp4"


def test_too_many_files_of_one_name_are_an_error_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_MOST_NAMES", 2)
    (tmp_path / "film.mp4").touch()
    (tmp_path / "film-2.mp4").touch()
    with pytest.raises(OutputUnwritable, match="2 files named like"):
        files.choose_place(tmp_path, "film.mp4")


def take_by_file(target: Path) -> None:
    target.write_text("mine")


def take_by_equal_file(target: Path) -> None:
    target.write_bytes(DATA)


def take_by_empty_file(target: Path) -> None:
    target.touch()


def take_by_directory(target: Path) -> None:
    target.mkdir()


def take_by_dangling_link(target: Path) -> None:
    target.symlink_to("nowhere")


@pytest.mark.usefixtures("links")
@pytest.mark.parametrize(
    "take",
    [
        take_by_file,
        take_by_equal_file,
        take_by_empty_file,
        take_by_directory,
        take_by_dangling_link,
    ],
)
def test_place_that_somebody_else_took_is_left_alone(
    tmp_path: Path, finished: Path, take: Callable[[Path], None]
) -> None:
    target = tmp_path / "film.mp4"
    take(target)
    before = written(target)
    assert place(finished, target) is Placed.TAKEN
    assert finished.read_bytes() == DATA
    assert written(target) == before


def test_place_that_was_linked_before_is_recognised(tmp_path: Path, finished: Path) -> None:
    target = tmp_path / "film.mp4"
    os.link(finished, target)
    assert place(finished, target) is Placed.DONE
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


@pytest.mark.usefixtures("links")
def test_placing_again_what_is_placed_changes_nothing(tmp_path: Path, finished: Path) -> None:
    target = tmp_path / "film.mp4"
    place(finished, target)
    before = written(target)
    assert place(finished, target) is Placed.DONE
    assert written(target) == before


def test_place_that_was_only_reserved_before_is_filled(tmp_path: Path, finished: Path) -> None:
    target = tmp_path / "film.mp4"
    assert files._reserve(finished, target)
    assert place(finished, target) is Placed.DONE
    assert target.read_bytes() == DATA
    assert not finished.exists()


def test_place_that_another_job_reserved_is_left_alone(tmp_path: Path, finished: Path) -> None:
    target = tmp_path / "film.mp4"
    assert files._reserve(tmp_path / ".other.partial", target)
    assert place(finished, target) is Placed.TAKEN


def test_file_that_is_nowhere_is_gone(tmp_path: Path) -> None:
    assert place(tmp_path / ".film.partial", tmp_path / "film.mp4") is Placed.GONE
    (tmp_path / "film.mp4").write_bytes(DATA[:-1] + b"!")
    assert place(tmp_path / ".film.partial", tmp_path / "film.mp4") is Placed.GONE


@pytest.mark.parametrize("altered", [DATA[:-1], DATA + b"!", DATA[:-1] + b"!", b""])
def test_file_that_was_altered_is_not_placed(
    tmp_path: Path, finished: Path, altered: bytes
) -> None:
    finished.write_bytes(altered)
    assert place(finished, tmp_path / "film.mp4") is Placed.DIFFERS
    assert not (tmp_path / "film.mp4").exists()


@pytest.mark.usefixtures("links")
def test_of_several_that_want_one_name_each_gets_a_name_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()

    def publish(number: int) -> None:
        partial = folder / f".{number}.partial"
        partial.write_bytes(DATA)
        placed = Placed.TAKEN
        while placed is Placed.TAKEN:
            placed = place(partial, files.choose_place(folder, "film.mkv"))
        assert placed is Placed.DONE

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wanted = {"film.mkv", *(f"film-{number}.mkv" for number in range(2, 9))}
    assert {path.name for path in folder.iterdir()} == wanted
    assert all(path.read_bytes() == DATA for path in folder.iterdir())


def test_failed_placing_leaves_nothing_behind(
    tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OutputUnwritable):
        place(finished, tmp_path / "film.mp4")
    assert [path.name for path in tmp_path.iterdir()] == [finished.name]


def test_placing_into_a_missing_directory_fails_in_words(tmp_path: Path, finished: Path) -> None:
    with pytest.raises(OutputUnwritable, match=r"film\.mp4"):
        place(finished, tmp_path / "none" / "film.mp4")
    assert finished.exists()


@pytest.mark.usefixtures("links")
def test_process_that_dies_once_the_file_is_placed_has_placed_it(tmp_path: Path) -> None:
    finished, target = tmp_path / ".film.partial", tmp_path / "film.mp4"
    finished.write_bytes(DATA)
    without_links = os.link is no_links
    script = f"""
        import errno, os
        if {without_links}:
            def no_links(*_):
                raise OSError(errno.EPERM, "Operation not permitted")
            os.link = no_links
        files.place(Path({str(finished)!r}), Path({str(target)!r}), {SHA!r}, {len(DATA)})
    """
    assert killed_at(Step.OUTPUT_PLACED, script)
    assert target.read_bytes() == DATA
    assert finished.exists() is not without_links
    assert place(finished, target) is Placed.DONE
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


# --- the rest ------------------------------------------------------------------------------------


def test_storage_errors_are_told_apart(tmp_path: Path) -> None:
    assert isinstance(files.storage_error(OSError(errno.ENOSPC, ""), tmp_path), DiskFull)
    assert isinstance(files.storage_error(OSError(errno.EDQUOT, ""), tmp_path), DiskFull)
    assert isinstance(files.storage_error(OSError(errno.EACCES, "no"), tmp_path), OutputUnwritable)


def test_private_directory_is_made_once_and_only_for_this_user(tmp_path: Path) -> None:
    directory = files.make_private(tmp_path / "a" / "b")
    assert directory.stat().st_mode & 0o777 == 0o700
    assert files.make_private(directory) == directory


def test_private_directory_where_a_file_is_fails_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputUnwritable):
        files.make_private(tmp_path / "file" / "below")


def test_removing_a_tree_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "tree" / "below").mkdir(parents=True)
    files.remove_tree(tmp_path / "tree")
    files.remove_tree(tmp_path / "tree")
    assert list(tmp_path.iterdir()) == []


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(DATA)
    assert files.sha256_of(tmp_path / "f") == SHA
