"""A state file is written whole and believed only when it is valid."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import orjson
import pytest

from ffcluster.core.model import Measurement
from ffcluster.errors import OutputUnwritable
from ffcluster.services.machine.measurements import (
    MEASUREMENTS_NAME,
    load_measurements,
    store_measurements,
)
from ffcluster.services.statefile import StateFile
from tests.integration.media_case import MediaCase, asynchronous

HD = Measurement("libx264", "", "", 1280, 720, 50.0, 2.0, 2, ((1, 30.0), (2, 50.0)), 95.5, 4e6)


def state_file(folder: Path) -> StateFile[Measurement]:
    return StateFile(folder / "state" / "one.json", Measurement)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    file = state_file(tmp_path)
    assert file.load() is None
    file.save(HD)
    assert file.load() == HD
    assert [path.name for path in file.path.parent.iterdir()] == ["one.json"]
    if os.name == "posix":
        assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\x00\xff",
        b"[]",
        b"{}",
        b'{"format": 1}',
        b'{"format": 2, "content": {}}',
        b'{"format": 1, "content": []}',
        b'{"format": 1, "content": {"encoder": 1}}',
        b'{"format": 1, "content": {"encoder": "libx264"}}',
        b"[" * 200_000,
        b'{"format": 1, "content": ' + b'{"a":' * 5_000 + b"1" + b"}" * 5_001,
        b" " * (9 * 1024 * 1024),
    ],
)
def test_file_that_is_not_one_of_these_counts_for_nothing(tmp_path: Path, text: bytes) -> None:
    file = state_file(tmp_path)
    file.path.parent.mkdir()
    file.path.write_bytes(text)
    assert file.load() is None
    file.save(HD)
    assert file.load() == HD


def test_directory_in_its_place_is_no_file_and_cannot_be_replaced(tmp_path: Path) -> None:
    file = state_file(tmp_path)
    (file.path / "x").mkdir(parents=True)
    assert file.load() is None
    with pytest.raises(OutputUnwritable):
        file.save(HD)
    assert [path.name for path in file.path.parent.iterdir()] == ["one.json"]


def change(folder: Path, **fields: object) -> None:
    path = folder / MEASUREMENTS_NAME
    document = orjson.loads(path.read_bytes())
    document["content"]["measurements"][0].update(fields)
    path.write_bytes(orjson.dumps(document))


class Measurements(MediaCase):
    @asynchronous
    async def test_newer_measurements_replace_those_of_the_same_thing_and_come_first(self) -> None:
        slow = Measurement("libx264", "", "slow", 1280, 720, 9.0, 0.4, 1)
        again = Measurement("libx264", "", "", 1280, 720, 60.0, 2.4, 2)
        assert await load_measurements(self.directory) == ()
        await store_measurements(self.directory, [HD])
        await store_measurements(self.directory, [slow])
        assert await load_measurements(self.directory) == (slow, HD)
        await store_measurements(self.directory, [again])
        assert await load_measurements(self.directory) == (again, slow)

    @asynchronous
    async def test_as_many_are_kept_as_a_worker_may_tell(self) -> None:
        many = [Measurement("e", "", str(n), 64, 64, 1.0, 1.0, 1) for n in range(1100)]
        await store_measurements(self.directory, many)
        assert len(await load_measurements(self.directory)) == 1024

    @asynchronous
    async def test_figures_that_no_machine_has_are_left_out(self) -> None:
        hostile: list[dict[str, object]] = [
            {"fps": 0.0}, {"fps": -1.0}, {"fps": 1e9}, {"speed": 0.0}, {"sessions": 0},
            {"sessions": 10**9}, {"session_fps": [[1, -5.0]]}, {"session_fps": [[10**9, 5.0]]},
            {"vmaf": 101.0}, {"vmaf": -1.0}, {"bitrate_bps": -1.0}, {"width": 0},
        ]  # fmt: skip
        for fields in hostile:
            await store_measurements(self.directory, [HD])
            change(self.directory, **fields)
            assert await load_measurements(self.directory) == (), fields
