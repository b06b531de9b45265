"""The outer structure of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from ffcluster.media.sniff import describe_foreign, has_movie_index, missing_part


def _box(kind: bytes, content: bytes) -> bytes:
    return (len(content) + 8).to_bytes(4, "big") + kind + content


FTYP, MOOV, MDAT = _box(b"ftyp", b"isom"), _box(b"moov", b"x" * 40), _box(b"mdat", b"y" * 100)
MKV = b"\x1a\x45\xdf\xa3\x83abc" + b"\x18\x53\x80\x67\x88" + b"z" * 8
AVI = b"RIFF" + (100).to_bytes(4, "little") + b"AVI " + bytes(96)
TS = (b"\x47" + bytes(187)) * 6


def _write(directory: Path, data: bytes) -> Path:
    path = directory / "file"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("data", [FTYP + MOOV + MDAT, FTYP + MDAT + MOOV, MKV, AVI, TS, b"other"])
def test_whole_files_lack_nothing(tmp_path: Path, data: bytes) -> None:
    path = _write(tmp_path, data)
    assert missing_part(path) == ""
    assert has_movie_index(path)


@pytest.mark.parametrize("data", [FTYP + MOOV + MDAT, MKV, AVI, TS])
def test_files_that_were_cut_off_lack_their_end(tmp_path: Path, data: bytes) -> None:
    assert missing_part(_write(tmp_path, data[:-3]))


def test_mp4_without_its_index_is_recognised(tmp_path: Path) -> None:
    path = _write(tmp_path, (FTYP + MDAT + MOOV)[:60])
    assert "moov" in missing_part(path)
    assert not has_movie_index(path)


def test_live_matroska_has_no_known_end(tmp_path: Path) -> None:
    live = b"\x1a\x45\xdf\xa3\x83abc" + b"\x18\x53\x80\x67\x01" + b"\xff" * 7 + b"z"
    assert missing_part(_write(tmp_path, live)) == ""


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"#EXTM3U\n#EXTINF:1\na.ts\n", "playlist"),
        (b"\xef\xbb\xbfffconcat version 1.0\n", "playlist"),
        (b"Hello\nworld\n", "text"),
        (bytes(range(256)), ""),
    ],
)
def test_foreign_files_are_named(tmp_path: Path, data: bytes, word: str) -> None:
    found = describe_foreign(_write(tmp_path, data))
    assert word in found
    assert bool(found) == bool(word)
