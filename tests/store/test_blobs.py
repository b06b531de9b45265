"""Blobs: what is adopted is kept, what is damaged is found, what nobody needs is removed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ffcluster.core.model import BlobRef
from ffcluster.errors import BlobDamaged, BlobLost, DiskFull, OutputUnwritable, TransferFailed
from ffcluster.steps import Step
from ffcluster.store import blobs as blobs_module
from ffcluster.store.blobs import FileBlobs
from ffcluster.store.files import IncomingFile
from tests.store.crashing import killed_at, small_disk

DATA = bytes(range(256)) * 4
SHA = hashlib.sha256(DATA).hexdigest()
REF = BlobRef(SHA, len(DATA))


@pytest.fixture
def blobs(tmp_path: Path) -> FileBlobs:
    made = FileBlobs(tmp_path)
    made.prepare()
    return made


def arrive(blobs: FileBlobs, name: str, data: bytes = DATA) -> Path:
    path = blobs.incoming(name)
    path.write_bytes(data)
    return path


def adopt(blobs: FileBlobs, data: bytes = DATA, owner: str = "one") -> BlobRef:
    arrived = arrive(blobs, f"result-{owner}", data)
    return blobs.adopt(arrived, hashlib.sha256(data).hexdigest(), len(data), owner=owner)


def test_adopted_file_is_found_by_its_hash_and_is_not_incoming_any_more(blobs: FileBlobs) -> None:
    assert adopt(blobs) == REF
    blobs.verify(REF)
    path = blobs.path(REF)
    assert path.read_bytes() == DATA
    assert path.parts[-3:] == ("blobs", SHA[:2], SHA)
    assert blobs.arrivals() == ()


def test_equal_file_is_kept_once_until_nobody_holds_it(blobs: FileBlobs) -> None:
    adopt(blobs, owner="one")
    before = blobs.path(REF).stat().st_ino
    adopt(blobs, owner="two")
    assert blobs.path(REF).stat().st_ino == before
    assert blobs.arrivals() == ()
    blobs.release(REF, "one")
    blobs.verify(REF)
    blobs.release(REF, "two")
    with pytest.raises(BlobLost, match=SHA):
        blobs.verify(REF)


def test_holding_twice_is_holding_once_and_releasing_twice_is_no_error(blobs: FileBlobs) -> None:
    adopt(blobs)
    blobs.hold(REF, "one")
    blobs.release(REF, "one")
    blobs.release(REF, "one")
    assert not blobs.path(REF).exists()


def test_releasing_what_one_does_not_hold_removes_nothing(blobs: FileBlobs) -> None:
    adopt(blobs, owner="one")
    blobs.release(REF, "two")
    blobs.verify(REF)


def test_damaged_blob_is_replaced_by_an_equal_file_that_is_right(blobs: FileBlobs) -> None:
    adopt(blobs, owner="one")
    blobs.path(REF).write_bytes(DATA[:-1] + b"!")
    adopt(blobs, owner="two")
    blobs.verify(REF)


def test_adopting_again_what_was_adopted_is_no_error(blobs: FileBlobs) -> None:
    adopt(blobs)
    gone = blobs.incoming("result-one")
    assert blobs.adopt(gone, SHA, len(DATA), owner="one") == REF
    blobs.verify(REF)


def test_file_that_is_gone_is_not_adopted_and_not_held(blobs: FileBlobs) -> None:
    with pytest.raises(TransferFailed, match="gone"):
        blobs.adopt(blobs.incoming("none"), SHA, len(DATA), owner="one")
    adopt(blobs, owner="two")
    blobs.release(REF, "two")
    assert not blobs.path(REF).exists()


def test_file_of_another_size_is_not_adopted(blobs: FileBlobs) -> None:
    arrived = arrive(blobs, "result", DATA + b"!")
    with pytest.raises(TransferFailed, match="1024 bytes"):
        blobs.adopt(arrived, SHA, len(DATA), owner="one")
    assert not blobs.path(REF).exists()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, len(DATA) - 1), bit=st.integers(0, 7))
def test_any_flipped_bit_is_found(blobs: FileBlobs, position: int, bit: int) -> None:
    adopt(blobs)
    altered = bytearray(DATA)
    altered[position] ^= 1 << bit
    blobs.path(REF).write_bytes(altered)
    with pytest.raises(BlobDamaged, match="altered") as caught:
        blobs.verify(REF)
    assert caught.value.detail["sha256"] == SHA
    assert caught.value.retryable


@pytest.mark.parametrize("data", [b"", DATA[:-1], DATA + b"!"])
def test_blob_of_another_length_is_damaged(blobs: FileBlobs, data: bytes) -> None:
    adopt(blobs)
    blobs.path(REF).write_bytes(data)
    with pytest.raises(BlobDamaged, match=f"has {len(data)} bytes instead of 1024"):
        blobs.verify(REF)


def test_deleted_blob_is_lost(blobs: FileBlobs) -> None:
    adopt(blobs)
    blobs.path(REF).unlink()
    with pytest.raises(BlobLost, match="gone") as caught:
        blobs.verify(REF)
    assert caught.value.retryable


def test_blob_that_cannot_be_read_is_lost(blobs: FileBlobs) -> None:
    blobs.path(REF).mkdir(parents=True)
    with pytest.raises(BlobLost, match="cannot be read"):
        blobs.verify(BlobRef(SHA, blobs.path(REF).stat().st_size))


def test_empty_file_can_be_a_blob(blobs: FileBlobs) -> None:
    ref = adopt(blobs, b"")
    blobs.verify(ref)
    assert ref.size_bytes == 0


@pytest.mark.parametrize("name", ["", "../../etc/passwd", SHA.upper(), SHA[:-1], SHA + "\n"])
def test_nothing_but_a_hash_names_a_blob(blobs: FileBlobs, name: str) -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        blobs.path(BlobRef(name, 0))


def test_blobs_are_readable_by_this_user_only(blobs: FileBlobs) -> None:
    adopt(blobs)
    folders = [blobs.path(REF).parent, blobs.path(REF).parents[1], blobs.incoming("x").parent]
    assert [folder.stat().st_mode & 0o777 for folder in folders] == [0o700] * 3


# --- the janitor ---------------------------------------------------------------------------------


def test_sweep_after_a_restart_removes_what_nobody_named(blobs: FileBlobs, tmp_path: Path) -> None:
    kept, other = adopt(blobs, b"kept"), adopt(blobs, b"other")
    arrive(blobs, "result-7")
    arrive(blobs, "result-8")
    again = FileBlobs(tmp_path)
    again.prepare()
    again.hold(kept, "one")
    assert again.sweep({"result-7"}, at_once=True) == 2
    again.verify(kept)
    assert not again.path(other).exists()
    assert again.arrivals() == ("result-7",)


def test_incoming_file_goes_when_two_sweeps_find_it_unexpected_and_unchanged(
    blobs: FileBlobs,
) -> None:
    arrive(blobs, "still")
    arrive(blobs, "growing")
    assert blobs.sweep(()) == 0
    arrive(blobs, "growing", DATA + DATA)
    arrive(blobs, "fresh")
    assert blobs.sweep(()) == 1
    assert blobs.arrivals() == ("fresh", "growing")
    assert blobs.sweep({"fresh"}) == 1
    assert blobs.arrivals() == ("fresh",)


def test_file_that_is_expected_again_begins_its_time_anew(blobs: FileBlobs) -> None:
    arrive(blobs, "result-7")
    blobs.sweep(())
    blobs.sweep({"result-7"})
    assert blobs.sweep(()) == 0
    assert blobs.sweep(()) == 1


def test_held_blob_is_never_swept(blobs: FileBlobs) -> None:
    adopt(blobs)
    assert blobs.sweep((), at_once=True) == 0
    blobs.verify(REF)


def test_foreign_files_among_the_blobs_are_left_alone(blobs: FileBlobs, tmp_path: Path) -> None:
    foreign = tmp_path / "blobs" / "note.txt"
    foreign.write_text("mine")
    (tmp_path / "blobs" / "ab").mkdir()
    (tmp_path / "blobs" / "ab" / "note.txt").write_text("mine")
    assert blobs.sweep((), at_once=True) == 0
    assert foreign.exists()


def test_sweep_without_directories_is_no_error(tmp_path: Path) -> None:
    assert FileBlobs(tmp_path).sweep((), at_once=True) == 0


def test_equal_files_that_are_adopted_and_released_at_the_same_time_are_never_lost(
    blobs: FileBlobs,
) -> None:
    lost: list[str] = []

    def work(owner: str) -> None:
        for _ in range(30):
            adopt(blobs, owner=owner)
            try:
                blobs.verify(REF)
            except BlobLost as error:
                lost.append(error.message)
            blobs.release(REF, owner)

    threads = [threading.Thread(target=work, args=(f"owner{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lost == []
    assert not blobs.path(REF).exists()
    assert blobs.usage_bytes() == 0


# --- room ----------------------------------------------------------------------------------------


def test_usage_is_that_of_blobs_and_incoming_files(blobs: FileBlobs, tmp_path: Path) -> None:
    assert blobs.usage_bytes() == 0
    adopt(blobs, owner="one")
    adopt(blobs, owner="two")
    adopt(blobs, b"more", owner="three")
    arrive(blobs, "result-9", b"12345")
    assert blobs.usage_bytes() == len(DATA) + 4 + 5
    again = FileBlobs(tmp_path)
    again.prepare()
    assert again.usage_bytes() == len(DATA) + 4 + 5
    blobs.release(REF, "one")
    blobs.release(REF, "two")
    assert blobs.usage_bytes() == 4 + 5


def test_full_disk_is_said_and_the_incoming_file_stays(
    blobs: FileBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived = arrive(blobs, "result-one")

    def full(_path: Path) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(blobs_module, "sync", full)
    with pytest.raises(DiskFull):
        blobs.adopt(arrived, SHA, len(DATA), owner="one")
    monkeypatch.undo()
    assert arrived.read_bytes() == DATA
    assert blobs.adopt(arrived, SHA, len(DATA), owner="one") == REF


def test_preparing_where_a_file_is_fails_in_words(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_text("x")
    with pytest.raises(OutputUnwritable):
        FileBlobs(tmp_path).prepare()


def test_a_disk_that_is_full_takes_the_rest_when_there_is_room_again(tmp_path: Path) -> None:
    try:
        with small_disk(tmp_path / "disk", 256 * 1024) as disk:
            _fill_and_free(disk)
    except (subprocess.CalledProcessError, FileNotFoundError):
        pytest.skip("only root may mount a small file system here")


def _fill_and_free(disk: Path) -> None:
    blobs = FileBlobs(disk)
    blobs.prepare()
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(128 * 1024))
    data = os.urandom(160 * 1024)
    incoming = IncomingFile(blobs.incoming("result-1"), len(data))
    incoming.expect(len(data))
    incoming.take(0, data[:65536], None)
    with pytest.raises(DiskFull):
        incoming.take(65536, data[65536:], hashlib.sha256(data).hexdigest())
    assert not incoming.whole
    ballast.unlink()
    incoming.take(65536, data[65536:], hashlib.sha256(data).hexdigest())
    assert incoming.sha256 is not None
    ref = blobs.adopt(incoming.path, incoming.sha256, incoming.offset, owner="one")
    blobs.verify(ref)


# --- kill -9 -------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [Step.RESULT_ARRIVED, Step.RESULT_KEPT])
def test_file_is_incoming_or_a_blob_wherever_the_process_dies(
    blobs: FileBlobs, tmp_path: Path, step: Step
) -> None:
    arrived = arrive(blobs, "result-1")
    script = f"""
        blobs = FileBlobs(Path({str(tmp_path)!r}))
        blobs.prepare()
        blobs.adopt(blobs.incoming("result-1"), {SHA!r}, {len(DATA)}, owner="one")
    """
    assert killed_at(step, script)
    assert (blobs.path(REF) if step is Step.RESULT_KEPT else arrived).read_bytes() == DATA
    again = FileBlobs(tmp_path)
    again.prepare()
    assert again.adopt(arrived, SHA, len(DATA), owner="one") == REF
    again.verify(REF)
    assert again.sweep((), at_once=True) == 0
