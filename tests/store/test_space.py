"""Room: said in words when there is too little, and not taken back too soon."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffcluster.errors import OutputUnwritable
from ffcluster.store.space import Reserve, size_text, tree_bytes

MIB, GIB = 2**20, 2**30


class Disk:
    """A file system whose room the test decides about."""

    free = 10 * GIB
    used = 0


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10 * GIB, 0, made.free))
    return made


def reserve(disk: Disk, max_disk: int | None, min_free: int) -> Reserve:
    return Reserve(Path("/state"), max_disk, min_free, lambda: disk.used)


def test_enough_room_is_nothing_to_speak_of(disk: Disk) -> None:
    kept = reserve(disk, 5 * GIB, GIB)
    assert kept.check() == ""
    assert kept.room_for(4 * GIB) == ""


def test_too_little_free_room_is_said_with_what_is_kept(disk: Disk) -> None:
    disk.free = 312 * MIB
    assert reserve(disk, None, GIB).check() == (
        "the state directory has 312 MiB free; 1 GiB are kept free (--min-free)"
    )


def test_too_much_use_is_said_with_what_is_allowed(disk: Disk) -> None:
    disk.used = 5 * GIB + 1
    assert reserve(disk, 5 * GIB, GIB).check() == (
        "the state directory holds 5.0 GiB; 5 GiB are allowed (--max-disk)"
    )


def test_new_work_waits_until_there_is_clearly_more_room(disk: Disk) -> None:
    kept = reserve(disk, None, GIB)
    disk.free = GIB
    assert kept.check() == ""
    disk.free = GIB - 1
    assert kept.check() != ""
    disk.free = GIB + 50 * MIB
    assert "1.1 GiB are awaited" in kept.check()
    disk.free = GIB + 103 * MIB
    assert kept.check() == ""
    disk.free = GIB
    assert kept.check() == ""


def test_new_work_waits_until_clearly_less_is_used(disk: Disk) -> None:
    kept = reserve(disk, 10 * GIB, 0)
    disk.used = 10 * GIB + 1
    assert kept.check() != ""
    disk.used = 9 * GIB + 1
    assert "no more than 9 GiB" in kept.check()
    disk.used = 9 * GIB
    assert kept.check() == ""


def test_nothing_kept_free_needs_no_room_to_go_on(disk: Disk) -> None:
    kept = reserve(disk, None, 0)
    disk.free = 0
    assert kept.check() == ""
    assert kept.room_for(1) != ""


def test_file_that_does_not_fit_is_refused_with_its_size(disk: Disk) -> None:
    kept = reserve(disk, 5 * GIB, GIB)
    disk.free, disk.used = 2 * GIB, 4 * GIB
    assert kept.room_for(GIB) == ""
    assert "1.5 GiB are needed" in kept.room_for(GIB + 512 * MIB)
    disk.free = 10 * GIB
    assert "(--max-disk)" in kept.room_for(2 * GIB)


def test_asking_for_room_decides_nothing_about_other_work(disk: Disk) -> None:
    kept = reserve(disk, None, GIB)
    assert kept.room_for(100 * GIB) != ""
    disk.free = GIB + 1
    assert kept.check() == ""


@given(st.lists(st.integers(0, 4 * GIB), max_size=30))
def test_it_never_says_enough_when_there_is_too_little(frees: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk()
        patch.setattr(shutil, "disk_usage", lambda _: Usage(10 * GIB, 0, disk.free))
        kept = reserve(disk, None, GIB)
        for disk.free in frees:
            reason = kept.check()
            assert reason or disk.free >= GIB
            assert not reason or disk.free < GIB * 1.1 + 1


def test_state_directory_that_is_gone_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(OutputUnwritable):
        Reserve(tmp_path / "none", None, 1).check()


def test_use_is_counted_over_all_files(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_bytes(bytes(100))
    (tmp_path / "file").write_bytes(bytes(11))
    (tmp_path / "link").symlink_to(tmp_path / "a")
    found = tree_bytes(tmp_path)
    assert found >= 111
    assert found < 111 + 4096
    assert tree_bytes(tmp_path / "none") == 0
    assert "(--max-disk)" in Reserve(tmp_path, 100, 0).check()


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (312 * MIB + 17, "312 MiB"),
        (GIB, "1 GiB"),
        (5000 * GIB, "4.9 TiB"),
        (5000 * 1024 * GIB, "5000 TiB"),
    ],
)
def test_sizes_are_told_in_binary_units(size: int, text: str) -> None:
    assert size_text(size) == text
