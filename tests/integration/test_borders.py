"""Results are compared with the source: wrong pictures are refused, right ones never."""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import attrs
import pytest

from ffcluster.core.model import EncodeOrder, PreRoll
from ffcluster.core.profile import Codec, Profile
from ffcluster.core.timeline import FrameRange
from ffcluster.encoders.filters import parse_filters
from ffcluster.errors import ResultInvalid
from ffcluster.media.borders import Borders, Segment
from ffcluster.media.index import MediaIndex
from ffcluster.media.opening import HelperError
from ffcluster.media.results import examine
from ffcluster.media.scan import scan
from ffcluster.media.source import SourceHelper
from tests import inputs
from tests.integration.media_case import MediaCase, asynchronous

_X264_FAST = ("libx264", "-preset", "ultrafast", "-crf", "30")
_CODECS = {
    "libx264": "h264",
    "libx265": "hevc",
    "libsvtav1": "av1",
    "libvpx-vp9": "vp9",
    "mpeg4": "mpeg4",
    "ffv1": "ffv1",
}
# As bad as each can be told to be.
_TERRIBLE: dict[str, tuple[str, ...]] = {
    "x264": ("libx264", "-crf", "51", "-preset", "veryfast"),
    "x264-50k": ("libx264", "-b:v", "50k", "-preset", "ultrafast"),
    "x264-10bit": ("libx264", "-crf", "61", "-preset", "veryfast", "-pix_fmt", "yuv420p10le"),
    "x265": ("libx265", "-crf", "51", "-preset", "ultrafast", "-x265-params", "log-level=error"),
    "x265-10bit": (
        *("libx265", "-crf", "51", "-preset", "ultrafast", "-x265-params", "log-level=error"),
        *("-pix_fmt", "yuv420p10le"),
    ),
    "svt": ("libsvtav1", "-crf", "63", "-preset", "12"),
    "svt-10bit": ("libsvtav1", "-crf", "63", "-preset", "12", "-pix_fmt", "yuv420p10le"),
    "vp9": ("libvpx-vp9", "-crf", "63", "-b:v", "0", "-cpu-used", "8", "-deadline", "realtime"),
    "vp9-50k": ("libvpx-vp9", "-b:v", "50k", "-cpu-used", "5", "-lag-in-frames", "16"),
    "mpeg4": ("mpeg4", "-q:v", "31", "-bf", "2"),
}


@attrs.frozen
class Film:
    """A source and its index."""

    path: Path
    index_path: Path
    frames: int

    @classmethod
    def of(cls, path: Path) -> Film:
        index_path = path.with_suffix(".index")
        summary = scan(path, index_path, allow_damaged=False, report=lambda _: None)
        return cls(path, index_path, summary["frame_count"])

    def encode(
        self, first: int, stop: int, settings: Sequence[str], *, chain: str = "null"
    ) -> Path:
        """Encode frames [first, stop) as one ffmpeg would, whatever they are called later."""
        result = self.path.with_name(f"{first}-{stop}.mkv")
        command = [
            inputs.ffmpeg_path(), "-v", "error", "-nostdin", "-y", "-noautorotate",
            "-i", str(self.path), "-map", "0:v:0", "-map_metadata", "-1",
            "-vf", f"{chain},trim=start_frame={first}:end_frame={stop},setpts=N/25/TB",
            "-fps_mode", "passthrough", "-c:v", *settings, str(result),
        ]  # fmt: skip
        quiet = {**os.environ, "SVT_LOG": "0"}
        subprocess.run(command, check=True, capture_output=True, env=quiet)
        return result

    def compare(
        self,
        result: Path,
        first: int,
        frames: int,
        settings: Sequence[str],
        *,
        chain: str = "",
        others: tuple[int, ...] = (),
    ) -> float | None:
        """Check `result` as the helper does."""
        filters = parse_filters(chain) if chain else ()
        segment = Segment(
            first,
            frames,
            [(f.name, dict(f.options)) for f in filters],
            sum(f.context_frames for f in filters),
            others,
        )
        borders = Borders(self.path, self.index_path)
        codec = _CODECS[settings[0]]
        report = examine(result, codec, frames, partial(borders.compare, segment=segment))
        psnr_db = report["border_psnr_db"]
        assert psnr_db is None or isinstance(psnr_db, float)
        return psnr_db


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Film:
    """Cyclists: real pictures with cuts, or made-up ones that move as much."""
    clip, path = inputs.real_clip(), tmp_path_factory.mktemp("moving") / "film.mp4"
    if clip is not None:
        path.write_bytes(clip.read_bytes())
    else:
        inputs.ffmpeg("-f", "lavfi", "-i", "mandelbrot=s=640x272:r=25,trim=end_frame=250",
                      "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "48", str(path))  # fmt: skip
    return Film.of(path)


@pytest.mark.parametrize("shift", [-3, -2, -1, 1, 2, 3])
@pytest.mark.parametrize("codec", ["libx264", "libx265", "libsvtav1", "libvpx-vp9"])
def test_shift_is_refused_at_a_moving_scene(moving: Film, codec: str, shift: int) -> None:
    settings = {
        "libx264": _X264_FAST,
        "libx265": ("libx265", "-preset", "ultrafast", "-x265-params", "log-level=error"),
        "libsvtav1": ("libsvtav1", "-preset", "12"),
        "libvpx-vp9": ("libvpx-vp9", "-cpu-used", "8", "-deadline", "realtime", "-b:v", "2M"),
    }[codec]
    result = moving.encode(100 + shift, 130 + shift, settings)
    with pytest.raises(HelperError, match="is not the source's picture") as refused:
        moving.compare(result, 100, 30, settings)
    assert refused.value.code == "result_invalid"
    assert isinstance(refused.value.detail["psnr_db"], float)


def test_segment_of_another_scene_is_refused(moving: Film) -> None:
    result = moving.encode(190, 220, _X264_FAST)
    with pytest.raises(HelperError, match="is not the source's picture"):
        moving.compare(result, 30, 30, _X264_FAST)


def test_exchanged_segments_of_one_scene_are_told_apart(moving: Film) -> None:
    result = moving.encode(160, 175, _X264_FAST)
    assert moving.compare(result, 145, 15, _X264_FAST) is not None, "they are too much alike"
    with pytest.raises(HelperError, match="looks like its frame 160"):
        moving.compare(result, 145, 15, _X264_FAST, others=(200, 160))
    right = moving.encode(145, 160, _X264_FAST)
    assert moving.compare(right, 145, 15, _X264_FAST, others=(200, 160)) is not None


def test_black_pictures_are_refused(moving: Film) -> None:
    result = moving.encode(30, 60, _X264_FAST, chain="lutyuv=y=16:u=128:v=128")
    with pytest.raises(HelperError, match="is not the source's picture"):
        moving.compare(result, 30, 30, _X264_FAST)


def test_picture_lost_in_the_middle_and_one_doubled_at_the_end_is_refused(moving: Film) -> None:
    chain = r"select=not(eq(n\,152)),tpad=stop=1:stop_mode=clone"
    result = moving.encode(140, 170, _X264_FAST, chain=chain)
    with pytest.raises(HelperError, match=r"frame 166 .* looks like its frame 167"):
        moving.compare(result, 140, 30, _X264_FAST)


@pytest.mark.parametrize("how", list(_TERRIBLE))
@pytest.mark.parametrize("frames", [(30, 76), (101, 125), (240, 250), (75, 76)])
def test_right_result_is_taken_at_terrible_quality(
    moving: Film, how: str, frames: tuple[int, int]
) -> None:
    first, stop = frames
    result = moving.encode(first, stop, _TERRIBLE[how])
    assert moving.compare(result, first, stop - first, _TERRIBLE[how]) is not None


_PICTURES = {
    "grain": "testsrc2=s=176x144:r=25,noise=alls=80:allf=t",
    "snow": r"nullsrc=s=176x144:r=25,geq=random(1)*255:128:128",
    "black": "color=black:s=320x180:r=25",
    "tiny": "mandelbrot=s=32x18:r=25",
    "block": "testsrc=s=16x16:r=25",
    "narrow": "testsrc2=s=16x360:r=25",
    "life": "life=s=320x180:mold=10:r=25:ratio=0.1:seed=7",
    "fades": "testsrc2=s=320x180:r=25,fade=in:0:20,fade=out:28:12",
    "flashes": "testsrc2=s=320x180:r=25,"
    r"geq=lum='if(eq(mod(N\,7)\,0)\,235\,lum(X\,Y))':cb='cb(X\,Y)':cr='cr(X\,Y)'",
    "strobe": r"mandelbrot=s=320x180:r=25,geq=lum='if(mod(N\,2)\,lum(X\,Y)\,16)':cb=128:cr=128",
    "still": "testsrc2=s=320x180:r=25,select=eq(n\\,0),loop=-1:1:0",
}


@functools.cache
def _made(directory: Path, pictures: str) -> Film:
    path = directory / f"{pictures}.mkv"
    inputs.ffmpeg("-f", "lavfi", "-i", f"{_PICTURES[pictures]},trim=end_frame=40,setpts=N/25/TB",
                  "-c:v", "ffv1", "-pix_fmt", "yuv420p", str(path))  # fmt: skip
    return Film.of(path)


@pytest.mark.parametrize("how", list(_TERRIBLE))
@pytest.mark.parametrize("pictures", list(_PICTURES))
def test_hard_pictures_are_taken_at_terrible_quality(
    tmp_path_factory: pytest.TempPathFactory, pictures: str, how: str
) -> None:
    film = _made(tmp_path_factory.getbasetemp(), pictures)
    if how.startswith("svt") and pictures in ("tiny", "block", "narrow"):
        pytest.skip("the encoder takes no such size")
    result = film.encode(5, 30, _TERRIBLE[how])
    assert film.compare(result, 5, 25, _TERRIBLE[how]) is not None


@pytest.mark.parametrize("off", [-1, 1, 8])
def test_still_pictures_are_alike_and_are_not_refused(
    tmp_path_factory: pytest.TempPathFactory, off: int
) -> None:
    film = _made(tmp_path_factory.getbasetemp(), "still")
    result = film.encode(5 + off, 15 + off, _X264_FAST)
    assert film.compare(result, 5, 10, _X264_FAST) is not None


_KINDS = [
    "vfr_mkv", "vfr_90k_mp4", "h264_interlaced_mp4", "mpeg2_interlaced_ps", "rotated_mp4",
    "anamorphic_mp4", "hdr10_mkv", "hevc_open_ts", "h264_intra_refresh_b_ts", "edit_list_mp4",
    "mpeg2_soft_telecine_ts", "vp9_hidden_webm", "av1_mkv", "prores_422_10_mov", "h264_raw",
    "h264_single_gop_mp4", "ts_starts_in_mid_gop", "h264_odd_size_mkv", "mpeg4_asp_avi",
]  # fmt: skip


@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize("how", ["x264", "vp9"])
def test_every_kind_of_source_is_compared_frame_for_frame(
    tmp_path: Path, kind: str, how: str
) -> None:
    settings = _TERRIBLE[how] if kind != "h264_odd_size_mkv" else ("ffv1",)
    film = Film.of(inputs.make(kind, tmp_path))
    for first, stop in ((7, 31), (20, 36)):
        # Where times have gaps of their own, ffmpeg's count of the frames is the index's too.
        result = film.encode(first, stop, settings)
        assert film.compare(result, first, stop - first, settings) is not None


_CHAINS = [
    "crop=400:200:100:20,scale=320:160",
    "scale=w=iw/2:h=-2:flags=lanczos",
    "transpose=1",
    "hflip,negate",
    "pad=720:400:40:60:color=white",
    "format=yuv444p10le,lutyuv=y=val/2",
    "yadif,scale=160:68",
    "atadenoise=s=5",
    "hue=s=0,gblur=sigma=3",
]


@pytest.mark.parametrize("chain", _CHAINS)
def test_filters_are_repeated_before_comparing(moving: Film, chain: str) -> None:
    result = moving.encode(100, 124, _X264_FAST, chain=chain)
    likeness = moving.compare(result, 100, 24, _X264_FAST, chain=chain)
    assert likeness is not None
    assert likeness > 24
    wrong = moving.encode(101, 125, _X264_FAST, chain=chain)
    with pytest.raises(HelperError, match="is not the source's picture"):
        moving.compare(wrong, 100, 24, _X264_FAST, chain=chain)


def test_filter_that_was_left_out_is_noticed_by_its_size(moving: Film) -> None:
    result = moving.encode(100, 110, _X264_FAST)
    with pytest.raises(HelperError, match="its pictures are 640 x 272, not 320 x 136"):
        moving.compare(result, 100, 10, _X264_FAST, chain="scale=320:136")


def test_filter_that_cannot_be_repeated_leaves_the_comparison_out(moving: Film) -> None:
    result = moving.encode(100, 110, _X264_FAST, chain="eq=gamma=2")
    assert moving.compare(result, 100, 10, _X264_FAST, chain="eq=gamma=2") is None


def test_full_range_source_is_compared_with_a_limited_result(tmp_path: Path) -> None:
    path = tmp_path / "full.mkv"
    inputs.ffmpeg(*inputs.pictures(40), "-vf", "scale=out_range=pc,format=yuvj420p", "-c:v",
                  "libx264", "-preset", "ultrafast", "-qp", "0", str(path))  # fmt: skip
    film = Film.of(path)
    for settings in (("mpeg4", "-q:v", "2", "-pix_fmt", "yuv420p"), _X264_FAST):
        result = film.encode(4, 30, settings, chain="scale=in_range=pc:out_range=tv,format=yuv420p")
        likeness = film.compare(result, 4, 26, settings)
        assert likeness is not None
        assert likeness > 25


def test_last_picture_of_the_film_needs_no_frame_after_it(moving: Film) -> None:
    result = moving.encode(230, moving.frames, _X264_FAST)
    assert moving.compare(result, 230, moving.frames - 230, _X264_FAST) is not None


def test_source_without_keyframes_is_left_out_far_in(tmp_path: Path) -> None:
    path = tmp_path / "endless.mp4"
    inputs.ffmpeg(*inputs.pictures(400, size="64x36"), "-c:v", "libx264", "-preset", "ultrafast",
                  "-pix_fmt", "yuv420p", "-x264-params", "keyint=infinite:scenecut=0",
                  str(path))  # fmt: skip
    film = Film.of(path)
    result = film.encode(340, 380, _X264_FAST)
    assert film.compare(result, 340, 40, _X264_FAST) is None


class CheckedResults(MediaCase):
    """The same through a helper process."""

    async def _order(self, helper: SourceHelper, profile: Profile, first: int) -> EncodeOrder:
        source = inputs.make("h264_closed_mp4", self.directory)
        summary = await helper.index(source, self.directory / "index", allow_damaged=False)
        frames = FrameRange(first, first + 10)
        await helper.cut(frames, PreRoll.KEYFRAME, 0, self.directory / "piece")
        return EncodeOrder(frames=frames, profile=profile, encoder="libx264", video=summary.video)

    def _result(self, first: int, *settings: str) -> Path:
        film = Film.of(self.directory / "h264_closed_mp4.mp4")
        return film.encode(first, first + 10, settings or _X264_FAST)

    @asynchronous
    async def test_likeness_is_reported(self) -> None:
        helper = SourceHelper(self.runner)
        self.addCleanup(helper.close)
        order = await self._order(helper, Profile(), 40)
        report = await helper.check(self._result(40), order)
        assert report.border_psnr_db is not None
        assert 20 < report.border_psnr_db < 100

    @asynchronous
    async def test_nothing_is_decoded_where_frames_need_not_be_proven(self) -> None:
        helper = SourceHelper(self.runner)
        self.addCleanup(helper.close)
        order = await self._order(helper, Profile(), 40)
        film = Film.of(self.directory / "h264_closed_mp4.mp4")
        wrong = film.encode(40, 50, _X264_FAST, chain="negate")
        unproven = attrs.evolve(order, decoded_check=False)
        assert (await helper.check(wrong, unproven)).border_psnr_db is None
        await self.assertFailure(helper.check(wrong, order), ResultInvalid)

    @asynchronous
    async def test_filters_that_need_the_whole_film_are_not_repeated(self) -> None:
        helper = SourceHelper(self.runner)
        self.addCleanup(helper.close)
        profile = Profile(filters=parse_filters("deflicker"))
        order = await self._order(helper, profile, 40)
        assert (await helper.check(self._result(40), order)).border_psnr_db is None

    @asynchronous
    async def test_segments_given_out_are_known_when_one_is_checked(self) -> None:
        helper = SourceHelper(self.runner)
        self.addCleanup(helper.close)
        order = await self._order(helper, Profile(), 40)
        await helper.cut(FrameRange(80, 90), PreRoll.KEYFRAME, 0, self.directory / "other")
        poor = ("libx264", "-crf", "34", "-preset", "ultrafast")
        refused = await self.assertFailure(
            helper.check(self._result(80, *poor), order), ResultInvalid
        )
        assert refused.detail["psnr_db"] < 36

    @asynchronous
    async def test_other_pixel_format_than_the_profile_names_is_refused(self) -> None:
        helper = SourceHelper(self.runner)
        self.addCleanup(helper.close)
        for profile in (Profile(pix_fmt="yuv420p10le"), Profile(bit_depth=10)):
            order = await self._order(helper, profile, 40)
            refused = await self.assertFailure(helper.check(self._result(40), order), ResultInvalid)
            assert "it is yuv420p, not" in refused.message
        order = await self._order(helper, Profile(codec=Codec.H264, pix_fmt="yuv420p"), 40)
        await helper.check(self._result(40), order)


def test_index_tells_square_pixels_from_others(tmp_path: Path) -> None:
    film = Film.of(inputs.make("anamorphic_mp4", tmp_path))
    index = MediaIndex(film.index_path)
    assert index.header["video"]["sample_aspect_ratio"] != [1, 1]
    index.close()
    chain = "scale=w=iw*sar:h=ih"
    result = film.encode(5, 20, _X264_FAST, chain="null")
    # The graph here does not know the pixels' shape, so nothing can be said.
    assert film.compare(result, 5, 15, _X264_FAST, chain=chain) is None
