"""The contract on SQLite; files that are foreign, damaged, locked, or on a full disk."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from ffcluster.core.durable import Changes
from ffcluster.errors import (
    Conflict,
    DiskFull,
    OutputUnwritable,
    StoreDamaged,
    StoreForeign,
    StoreUnavailable,
)
from ffcluster.store.relational import RelationalStore
from ffcluster.store.sqlite import SqliteDatabase
from tests.store.crashing import small_disk
from tests.store.entries import job
from tests.store.store_contract import StoreContract


@attrs.frozen
class FilePlace:
    path: Path

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"

    def database(self) -> SqliteDatabase:
        return SqliteDatabase(self.path)

    def clear(self) -> None:
        for path in self.path.parent.glob(f"{self.path.name}*"):
            path.unlink()


@pytest.fixture
def place(tmp_path: Path) -> FilePlace:
    return FilePlace(tmp_path / "state" / "jobs.db")


class TestSqlite(StoreContract):
    pass


def opened(path: Path) -> RelationalStore:
    store = RelationalStore(SqliteDatabase(path))
    store.open()
    return store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
def filled(path: Path) -> Iterator[Path]:
    store = opened(path)
    store.apply([Changes(jobs=tuple(job(f"job{n}") for n in range(500)))])
    store.close()
    return path


def test_every_transaction_waits_for_the_disk(path: Path) -> None:
    database = SqliteDatabase(path)
    database.open()
    database.prepare()
    assert database.query("PRAGMA journal_mode") == [("wal",)]
    assert database.query("PRAGMA synchronous") == [(2,)]
    database.close()


def test_database_of_another_program_is_refused_and_left_as_it_is(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE songs (name TEXT)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(StoreForeign):
        opened(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"not a database", b"SQLite format 3\0" + b"x" * 4096])
def test_file_that_is_no_database_is_refused_and_left_as_it_is(path: Path, content: bytes) -> None:
    path.write_bytes(content * 100)
    with pytest.raises(StoreDamaged):
        opened(path)
    assert path.read_bytes() == content * 100


def test_damaged_file_is_refused(filled: Path) -> None:
    content = bytearray(filled.read_bytes())
    for offset in range(4096 * 2, len(content), 4096):
        content[offset : offset + 64] = b"\xa5" * 64
    filled.write_bytes(content)
    with pytest.raises(StoreDamaged) as caught:
        opened(filled)
    assert "backup" in caught.value.advice


def test_truncated_file_is_refused(filled: Path) -> None:
    content = filled.read_bytes()
    filled.write_bytes(content[: len(content) // 2 // 4096 * 4096])
    with pytest.raises(StoreDamaged):
        opened(filled)


def test_empty_file_becomes_a_database(path: Path) -> None:
    path.touch()
    opened(path).close()


def test_directory_in_its_place_is_named(path: Path) -> None:
    path.mkdir()
    with pytest.raises(OutputUnwritable, match=r"jobs\.db"):
        opened(path)


def test_refused_file_is_not_kept_locked(path: Path) -> None:
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(StoreDamaged):
        opened(path)
    path.unlink()
    opened(path).close()


def test_file_locked_by_another_program_is_tried_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ffcluster.store.sqlite._BUSY_TIMEOUT_S", 0.01)
    store = opened(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable) as caught:
        store.apply([Changes(jobs=(job("a"),))])
    assert caught.value.retryable
    other.close()
    store.apply([Changes(jobs=(job("a"),))])
    assert store.load().jobs == (job("a"),)
    store.close()


def test_programs_may_read_while_a_coordinator_writes(path: Path) -> None:
    store = opened(path)
    store.apply([Changes(jobs=(job("a"),))])
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as other:
        assert other.execute("SELECT id FROM jobs").fetchall() == [("a",)]
    other.close()
    store.close()


def test_opening_in_one_directory_locks_only_that_file(tmp_path: Path) -> None:
    one, other = opened(tmp_path / "one.db"), opened(tmp_path / "other.db")
    with pytest.raises(Conflict):
        opened(tmp_path / "one.db")
    one.close()
    other.close()


def test_full_disk_is_said_and_survived(tmp_path: Path) -> None:
    try:
        disk = small_disk(tmp_path / "disk", 2 * 1024 * 1024)
        folder = disk.__enter__()
    except (subprocess.CalledProcessError, OSError) as error:
        pytest.skip(f"no file system of its own here: {error}")
    try:
        store = opened(folder / "jobs.db")
        store.apply([Changes(jobs=(job("a"),))])
        ballast = folder / "ballast"
        with pytest.raises(OSError, match="No space"):
            ballast.write_bytes(b"x" * 4 * 1024 * 1024)
        many = Changes(jobs=tuple(job(f"job{n}") for n in range(500)))
        for _ in range(2):
            with pytest.raises(DiskFull) as caught:
                store.apply([many])
            assert caught.value.retryable
        assert store.load().jobs == (job("a"),)
        ballast.unlink()
        store.apply([many])
        store.close()
        store = opened(folder / "jobs.db")
        assert len(store.load().jobs) == 501
        store.close()
    finally:
        disk.__exit__(None, None, None)
