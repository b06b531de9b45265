"""The index file."""

from __future__ import annotations

from array import array
from pathlib import Path

import pytest

from ffcluster.media.index import (
    FRAME,
    KEY,
    NO_TIME,
    IndexFormatError,
    IndexTables,
    MediaIndex,
    presentation_order,
)

# Two open groups of pictures, I B B P | I B B P as decoded: I P B B I B B P, and a hidden packet.
PTS = [0, 3, 1, 2, 6, 4, 5, 7, NO_TIME]
KEYS = {0, 4}


def _write(path: Path, *, gradual: bool = False) -> None:
    tables = IndexTables()
    tables.pts = array("q", PTS)
    tables.dts = array("q", range(-1, 8))
    tables.pos = array("q", range(100, 109))
    tables.size = array("i", [10] * 9)
    flags = [FRAME | (KEY if n in KEYS else 0) for n in range(8)]
    tables.flags = array("B", [*flags, 0])
    tables.order = presentation_order(tables.pts, tables.flags)
    tables.shown = array("q", range(8))
    tables.write(path, {"end_pts_ticks": 8, "gradual": gradual})


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "film.index"
    _write(path)
    index = MediaIndex(path)
    assert (index.packets, index.frames, index.end_ticks) == (9, 8, 8)
    assert list(index.pts) == PTS
    assert list(index.order) == [0, 2, 3, 1, 5, 6, 4, 7]
    assert list(index.shown) == list(range(8))
    assert index.pos[3] == 103
    index.close()
    assert [p.name for p in tmp_path.iterdir()] == ["film.index"]


def test_piece_of_a_keyframe_cut_starts_at_it_and_ends_with_leading_pictures(
    tmp_path: Path,
) -> None:
    _write(tmp_path / "i")
    index = MediaIndex(tmp_path / "i")
    # Frames 4 and 5 are shown before the keyframe of frame 6, yet decoded after it.
    assert index.start_packet(6, 8, 1) == 4
    assert index.last_packet(0, 6) == 6
    # They need the group before as well.
    assert index.start_packet(4, 6, 1) == 0
    assert index.start_packet(6, 8, 2) == 0
    assert index.start_packet(6, 8, None) == 0


def test_packets_that_hold_no_frame_follow_the_last_frame(tmp_path: Path) -> None:
    _write(tmp_path / "i")
    assert MediaIndex(tmp_path / "i").last_packet(6, 8) == 8


def test_intra_refresh_goes_back_one_keyframe_more(tmp_path: Path) -> None:
    _write(tmp_path / "i", gradual=True)
    assert MediaIndex(tmp_path / "i").start_packet(6, 8, 1) == 0


@pytest.mark.parametrize("part", [4, 20, 200])
def test_cut_off_index_is_refused(tmp_path: Path, part: int) -> None:
    _write(tmp_path / "i")
    whole = (tmp_path / "i").read_bytes()
    (tmp_path / "j").write_bytes(whole[:part])
    with pytest.raises(IndexFormatError):
        MediaIndex(tmp_path / "j")


def test_other_files_and_versions_are_refused(tmp_path: Path) -> None:
    _write(tmp_path / "i")
    whole = bytearray((tmp_path / "i").read_bytes())
    whole[8] = 99
    (tmp_path / "j").write_bytes(whole)
    with pytest.raises(IndexFormatError):
        MediaIndex(tmp_path / "j")
