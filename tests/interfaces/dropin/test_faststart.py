"""An index that is put first: the same packets at the same times, and nothing else is touched."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

from ffcluster.errors import JoinFailed
from ffcluster.interfaces.dropin import faststart
from ffcluster.interfaces.dropin.faststart import put_index_first
from tests.inputs import ffmpeg, ffmpeg_path, pictures, tone


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    ffmpeg(*pictures(50), *tone(2), "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac",
           str(path))  # fmt: skip
    return path


def packets(path: Path) -> str:
    done = subprocess.run(
        [ffmpeg_path(), "-v", "error", "-i", str(path), "-map", "0", "-c", "copy",
         "-f", "framemd5", "-"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout


def kinds(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        return [kind for kind, _, _ in faststart._boxes(file, path.stat().st_size)]


@pytest.mark.parametrize("limit", [1 << 32, 1000])
def test_index_comes_first_and_the_packets_are_the_same(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    # With a low limit places become wide ones, as in a file of more than 4 GiB.
    monkeypatch.setattr(faststart, "_LIMIT", limit)
    target = tmp_path / "fast.mp4"
    assert put_index_first(film, target)
    assert kinds(target).index(b"moov") < kinds(target).index(b"mdat")
    assert packets(target) == packets(film)
    assert (b"co64" in target.read_bytes()) is (limit == 1000)
    assert not put_index_first(target, tmp_path / "again.mp4")
    assert not (tmp_path / "again.mp4").exists()


def test_it_is_what_ffmpeg_makes_of_it(film: Path, tmp_path: Path) -> None:
    ffmpeg("-i", str(film), "-map", "0", "-c", "copy", str(tmp_path / "plain.mp4"))
    ffmpeg("-i", str(film), "-map", "0", "-c", "copy", "-movflags", "+faststart",
           str(tmp_path / "fast.mp4"))  # fmt: skip
    put_index_first(tmp_path / "plain.mp4", tmp_path / "ours.mp4")
    assert (tmp_path / "ours.mp4").read_bytes() == (tmp_path / "fast.mp4").read_bytes()


def box(kind: bytes, body: bytes = b"", size: int | None = None) -> bytes:
    return struct.pack(">I4s", 8 + len(body) if size is None else size, kind) + body


FTYP, MDAT = box(b"ftyp", b"isom"), box(b"mdat", b"x" * 10)


@pytest.mark.parametrize(
    "data",
    [
        b"text, no film at all",
        FTYP + MDAT,
        FTYP + MDAT + box(b"moov", size=9999),
        FTYP + MDAT + box(b"moov", box(b"trak", size=4)),
        FTYP + MDAT + box(b"moov", box(b"stco", b"\0" * 4 + b"\0\0\0\7")),
        FTYP + MDAT + box(b"moov", box(b"stco")),
        FTYP + MDAT + box(b"moov") + box(b"moov"),
        FTYP + MDAT + box(b"moov") + b"\0\0\0",
        FTYP + box(b"moov") + box(b"moof") + MDAT,
    ],
)
def test_anything_else_is_refused(tmp_path: Path, data: bytes) -> None:
    source = tmp_path / "x.mp4"
    source.write_bytes(data)
    with pytest.raises(JoinFailed, match="cannot be put first"):
        put_index_first(source, tmp_path / "y.mp4")
