"""Incoming blobs and publication: nothing is overwritten, nothing half-written counts."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffcluster.errors import DiskFull, OutputUnwritable, Refused, TransferFailed
from ffcluster.store import files
from ffcluster.store.files import IncomingFile

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


# --- publication ---------------------------------------------------------------------------------


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    path = tmp_path / ".film.partial"
    path.write_bytes(DATA)
    return path


@pytest.fixture(params=["links", "no links"])
def links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "no links":

        def refuse(*_: object) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)


@pytest.mark.usefixtures("links")
def test_published_file_has_its_name_and_the_partial_is_gone(
    tmp_path: Path, finished: Path
) -> None:
    assert files.publish(finished, tmp_path, "film.mp4") == tmp_path / "film.mp4"
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]
    assert (tmp_path / "film.mp4").read_bytes() == DATA


@pytest.mark.usefixtures("links")
def test_taken_names_are_numbered_and_never_overwritten(tmp_path: Path, finished: Path) -> None:
    (tmp_path / "film.mp4").write_text("mine")
    (tmp_path / "film-2.mp4").symlink_to("nowhere")
    assert files.publish(finished, tmp_path, "film.mp4").name == "film-3.mp4"
    assert (tmp_path / "film.mp4").read_text() == "mine"
    assert (tmp_path / "film-2.mp4").is_symlink()


@pytest.mark.usefixtures("links")
def test_several_publications_of_one_name_lose_none(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()

    def publish(number: int) -> None:
        partial = folder / f".{number}.partial"
        partial.write_text(str(number))
        files.publish(partial, folder, "film.mkv")

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.read_text() for path in folder.iterdir()) == [str(n) for n in range(8)]


def test_failed_publication_leaves_no_empty_file(
    tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OutputUnwritable):
        files.publish(finished, tmp_path, "film.mp4")
    assert [path.name for path in tmp_path.iterdir()] == [finished.name]


def test_publication_into_a_missing_directory_fails_in_words(
    tmp_path: Path, finished: Path
) -> None:
    with pytest.raises(OutputUnwritable, match=r"film\.mp4"):
        files.publish(finished, tmp_path / "none", "film.mp4")
    assert finished.exists()


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
