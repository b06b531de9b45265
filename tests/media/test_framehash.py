"""Hashes of pictures."""

from __future__ import annotations

from pathlib import Path

from ffcluster.media.framehash import first_difference, read_hashes

TEXT = """#format: frame checksums
#tb 0: 1/25
0,          0,          0,        1,    86400, 0123456789abcdef0123456789abcdef
0,          1,          1,        1,    86400, ffffffffffffffffffffffffffffffff
"""


def test_hashes_are_read_without_their_times(tmp_path: Path) -> None:
    path = tmp_path / "x.md5"
    path.write_text(TEXT, encoding="ascii")
    assert read_hashes(path) == [bytes.fromhex("0123456789abcdef" * 2), b"\xff" * 16]


def test_first_difference_is_a_picture_or_a_missing_one() -> None:
    assert first_difference([b"a", b"b"], [b"a", b"b"]) is None
    assert first_difference([b"a", b"b"], [b"a", b"c"]) == 1
    assert first_difference([b"a"], [b"a", b"c"]) == 1
