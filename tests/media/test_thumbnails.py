"""Single pictures out of films: the right one, upright, of a sensible size, at a bounded cost."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from ffcluster.media import thumbnails
from ffcluster.media.opening import HelperError
from ffcluster.media.scan import scan
from tests.inputs import ffmpeg, pictures

FRAMES = 60


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film without loss, of frames that all differ, with long groups and B-frames."""
    path = tmp_path_factory.mktemp("film") / "film.mkv"
    ffmpeg(
        *pictures(FRAMES, size="160x90"), "-c:v", "libx264", "-qp", "0", "-g", "30", "-bf", "2",
        "-pix_fmt", "yuv444p", str(path),
    )  # fmt: skip
    return path


def indexed(film: Path, directory: Path) -> Path:
    path = directory / "index"
    scan(film, path, allow_damaged=False, report=lambda part: None)
    return path


def take(film: Path, index: Path | None, **changes: Any) -> bytes:
    target = (index or film).with_name("picture.jpg")
    call = {
        "file": str(film), "index": index and str(index), "is_source": True, "frame": None,
        "at_s": "0", "exact": True, "height": 90, "pixels": 160 * 90, "target": str(target),
    }  # fmt: skip
    taken = thumbnails.PictureSession().take(call | changes, lambda part: None)
    data = target.read_bytes()
    assert taken == {"size_bytes": len(data)}
    return data


def picture(data: bytes) -> av.VideoFrame:
    with av.open(io.BytesIO(data), format="jpeg_pipe") as container:
        return next(container.decode(video=0))


def truth(film: Path) -> list[bytes]:
    """Every frame as JPEG, decoded from the film's start."""
    with av.open(str(film)) as container:
        return [
            thumbnails.as_jpeg(thumbnails.Found(frame), 90) for frame in container.decode(video=0)
        ]


def test_each_frame_is_exactly_that_frame(film: Path, tmp_path: Path) -> None:
    index, frames = indexed(film, tmp_path), truth(film)
    assert len(set(frames)) == FRAMES
    for number in (0, 1, 28, 29, 30, 31, 59):
        assert take(film, index, frame=number) == frames[number]


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts"])
def test_result_shows_the_frame_that_the_source_shows(
    film: Path, tmp_path: Path, suffix: str
) -> None:
    index, result = indexed(film, tmp_path), tmp_path / f"result.{suffix}"
    ffmpeg("-i", str(film), "-c", "copy", str(result))
    for at_s in ("0", "0.04", "0.5", "1.16", "1.2", "1.239", "2.36", "1000"):
        of_source = take(film, index, at_s=at_s)
        assert take(result, index, at_s=at_s, is_source=False) == of_source


def test_result_of_uneven_times_shows_the_same_frames(tmp_path: Path) -> None:
    film, result = tmp_path / "film.mkv", tmp_path / "result.mp4"
    slower = "settb=1/1000,setpts='N*40+N*N+7000'"
    ffmpeg(
        *pictures(40, size="160x90"), "-vf", slower, "-fps_mode", "vfr", "-c:v", "libx264",
        "-qp", "0", "-pix_fmt", "yuv444p", str(film),
    )  # fmt: skip
    ffmpeg("-i", str(film), "-c", "copy", str(result))
    index = indexed(film, tmp_path)
    frames = truth(film)
    for number in (0, 1, 2, 17, 38, 39):
        assert take(film, index, frame=number) == frames[number]
        assert take(result, index, frame=number, is_source=False) == frames[number]


def test_picture_is_found_without_an_index(film: Path) -> None:
    frames = truth(film)
    for number in (0, 7, 30, 59):
        assert take(film, None, at_s=str(Fraction(number, 25))) == frames[number]


def test_time_between_two_frames_means_the_one_that_is_shown(film: Path, tmp_path: Path) -> None:
    index, frames = indexed(film, tmp_path), truth(film)
    assert take(film, index, at_s="0.079") == frames[1]
    # Rounded to milliseconds on its way; frame 1 of 24000/1001 per second begins at 0.0417083.
    assert take(film, index, at_s="0.0796") == frames[2]


def test_cheap_picture_is_the_keyframe_before_it(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, frames = indexed(film, tmp_path), truth(film)
    monkeypatch.setattr(thumbnails, "_CHEAP_PIXELS", 5 * 160 * 90)
    assert take(film, index, frame=45, exact=False) == frames[30]
    assert take(film, index, frame=45) == frames[45]
    assert take(film, index, frame=31, exact=False) == frames[31]


def test_frame_behind_the_end_is_refused(film: Path, tmp_path: Path) -> None:
    index = indexed(film, tmp_path)
    with pytest.raises(HelperError, match="no frame 60") as refused:
        take(film, index, frame=60)
    assert refused.value.code == "not_found"


@pytest.mark.parametrize("content", [b"", b"not a film", b"#EXTM3U\nhttp://x/\n"])
def test_file_that_is_no_film_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "film.mkv"
    path.write_bytes(content)
    with pytest.raises(HelperError) as refused:
        take(path, None)
    assert refused.value.code == "source_unreadable"


def test_source_that_is_another_file_now_is_refused(film: Path, tmp_path: Path) -> None:
    index, other = indexed(film, tmp_path), tmp_path / "other.mkv"
    ffmpeg(*pictures(FRAMES, size="160x90"), "-c:v", "libx264", "-g", "7", str(other))
    with pytest.raises(HelperError) as refused:
        take(other, index, frame=40)
    assert refused.value.code == "source_damaged"


@pytest.mark.parametrize(
    ("size", "options", "shown"),
    [
        ("160x90", [], (160, 90)),
        ("320x180", [], (160, 90)),
        ("64x36", [], (64, 36)),
        ("160x90", ["-vf", "setsar=4/3"], (213, 90)),
        ("90x160", [], (51, 90)),
        ("320x180", ["-pix_fmt", "yuv420p10le", "-c:v", "libx265"], (160, 90)),
        ("320x180", ["-pix_fmt", "gray"], (160, 90)),
        ("320x180", ["-c:v", "ffv1", "-pix_fmt", "yuva444p"], (160, 90)),
        ("320x180", ["-c:v", "ffv1", "-pix_fmt", "gbrp16le"], (160, 90)),
    ],
)
def test_odd_pictures_are_shown_in_a_sensible_size(
    tmp_path: Path, size: str, options: list[str], shown: tuple[int, int]
) -> None:
    path = tmp_path / "film.mkv"
    ffmpeg(*pictures(3, size=size), "-c:v", "libx264", *options, str(path))
    found = picture(take(path, indexed(path, tmp_path), frame=1))
    assert (found.width, found.height) == shown


def _mean(frame: av.VideoFrame, left: float, top: float) -> list[float]:
    """Mean R, G and B of the tenth of the picture that begins there."""
    plane = frame.reformat(format="rgb24").planes[0]
    data, line = bytes(plane), plane.line_size
    rows = range(int(top * frame.height), int((top + 0.1) * frame.height))
    columns = range(int(left * frame.width), int((left + 0.1) * frame.width))
    pixels = [data[y * line + 3 * x :][:3] for y in rows for x in columns]
    return [sum(pixel[c] for pixel in pixels) / len(pixels) for c in range(3)]


@pytest.mark.parametrize(
    ("rotation", "size", "left", "top"),
    [(0, (160, 90), 0.1, 0.1), (90, (50, 90), 0.1, 0.8), (180, (160, 90), 0.8, 0.8),
     (-90, (50, 90), 0.8, 0.1)],
)  # fmt: skip
def test_turned_film_is_shown_upright(
    tmp_path: Path, rotation: int, size: tuple[int, int], left: float, top: float
) -> None:
    """Its red corner, top left in the stream, is where a player shows it."""
    plain, film = tmp_path / "plain.mp4", tmp_path / "film.mp4"
    red = "drawbox=x=0:y=0:w=iw/3:h=ih/3:color=red:t=fill"
    ffmpeg("-f", "lavfi", "-i", f"color=white:s=160x90:d=1,{red}", "-c:v", "libx264", str(plain))
    ffmpeg("-display_rotation", str(rotation), "-i", str(plain), "-c", "copy", str(film))
    found = picture(take(film, indexed(film, tmp_path), frame=3))
    assert abs(found.width - size[0]) <= 1
    assert found.height == size[1]
    red_value, green_value, _ = _mean(found, left, top)
    assert red_value > 200
    assert green_value < 80


def test_hdr_is_as_bright_as_it_is_meant_to_be(tmp_path: Path) -> None:
    """58 % of PQ's code range is 203 cd/m2, the white of standard range; without mapping: grey."""
    path = tmp_path / "film.mkv"
    tags = "setparams=color_trc=smpte2084:color_primaries=bt2020:colorspace=bt2020nc:range=tv"
    ffmpeg(
        "-f", "lavfi", "-i", "color=black:s=64x64:d=0.2,format=yuv420p10le,"
        f"lutyuv=y=64+0.58*876:u=512:v=512,{tags}",
        "-c:v", "libx265", "-x265-params", "lossless=1:log-level=none", str(path),
    )  # fmt: skip
    found = picture(take(path, indexed(path, tmp_path), frame=1, height=64))
    values = _mean(found, 0.4, 0.4)
    assert min(values) > 190
    assert max(values) - min(values) < 12
