"""A worker's directory: its lock, its lasting id, and what is removed when."""

from __future__ import annotations

from pathlib import Path

import pytest

from ffcluster.errors import Conflict
from ffcluster.services.worker.workdir import WorkDir


def test_id_lasts_over_restarts(tmp_path: Path) -> None:
    first = WorkDir(tmp_path)
    known = first.open()
    first.close()
    assert WorkDir(tmp_path).open() == known


def test_id_of_an_earlier_version_is_kept(tmp_path: Path) -> None:
    (tmp_path / "worker-id").write_text("0123456789abcdef")
    assert WorkDir(tmp_path).open() == "0123456789abcdef"


@pytest.mark.parametrize("damaged", [b"", b"0123456789", b"\xff" * 16, b"0123456789abcdef" * 2])
def test_damaged_id_is_replaced_by_a_whole_one_for_good(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "worker-id").write_bytes(damaged)
    first = WorkDir(tmp_path)
    known = first.open()
    assert len(known) == 16
    assert known.encode() != damaged
    first.close()
    assert WorkDir(tmp_path).open() == known
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_second_worker_is_refused_and_removes_nothing_of_the_first(tmp_path: Path) -> None:
    first, second = WorkDir(tmp_path), WorkDir(tmp_path)
    first.open()
    piece = first.attempts / "7.piece.mkv"
    piece.write_bytes(b"piece")
    with pytest.raises(Conflict, match="Another worker uses") as raised:
        second.open()
    assert "--work-dir" in raised.value.advice
    second.close()
    assert piece.exists()


def test_leftovers_of_a_killed_worker_are_removed_at_the_next_start(tmp_path: Path) -> None:
    (tmp_path / "attempts").mkdir()
    (tmp_path / "attempts" / "7.result.mkv").write_bytes(b"half a result")
    directory = WorkDir(tmp_path)
    directory.open()
    assert list(directory.attempts.iterdir()) == []


def test_end_removes_the_files_of_attempts_and_frees_the_directory(tmp_path: Path) -> None:
    directory = WorkDir(tmp_path)
    directory.open()
    (directory.attempts / "7.result.mkv").write_bytes(b"result")
    directory.close()
    assert not directory.attempts.exists()
    WorkDir(tmp_path).open()


def test_directory_that_was_closed_before_it_was_open_is_not_taken(tmp_path: Path) -> None:
    stopped = WorkDir(tmp_path)
    stopped.close()
    with pytest.raises(Conflict):
        stopped.open()
    WorkDir(tmp_path).open()


def test_workers_that_nobody_named_take_the_next_free_directory(tmp_path: Path) -> None:
    first, second = WorkDir(tmp_path / "host", spares=2), WorkDir(tmp_path / "host", spares=2)
    ids = {first.open(), second.open()}
    assert len(ids) == 2
    assert (first.number, second.number) == (1, 2)
    assert second.attempts == tmp_path / "host-2" / "attempts"
    second.close()
    again = WorkDir(tmp_path / "host", spares=2)
    assert again.open() in ids
    assert again.number == 2
