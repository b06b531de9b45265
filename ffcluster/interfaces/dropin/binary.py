"""Find the real ffmpeg, never ourselves, and become it.

We may be called `ffmpeg` and stand first in PATH, as a link, a copy or behind somebody's script.
What was tried is handed on in the environment, so that no chain of programs goes in a circle.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ffcluster.errors import FfmpegMissing
from ffcluster.media.binary import ENVIRONMENT_VARIABLE, find_ffmpeg

TRIED = "FFCLUSTER_FFMPEG_TRIED"
_PROGRAM = "ffmpeg.exe" if os.name == "nt" else "ffmpeg"
# What the script that pip writes for us says; a binary has no such line near its start.
_OURS = b"ffcluster.interfaces.dropin"
_SCRIPT_BYTES = 4096


def real_ffmpeg(environ: Mapping[str, str], own: str) -> Path:
    """The ffmpeg to use: FFCLUSTER_FFMPEG, else the first in PATH that is not this program.

    Args:
        environ: The environment.
        own: How this program was called.

    Raises:
        FfmpegMissing: There is none.
    """
    tried = set(filter(None, environ.get(TRIED, "").split(os.pathsep)))
    named = environ.get(ENVIRONMENT_VARIABLE)
    candidates: Iterator[Path]
    if named:
        candidates = iter([find_ffmpeg(named, environ)])
    else:
        folders = environ.get("PATH", os.defpath).split(os.pathsep)
        candidates = (Path(folder or ".") / _PROGRAM for folder in folders)
    for candidate in (path.absolute() for path in candidates):
        if str(candidate) not in tried and _is_program(candidate) and not _is_ours(candidate, own):
            return candidate
    bare = {name: value for name, value in environ.items() if name != ENVIRONMENT_VARIABLE}
    with contextlib.suppress(FfmpegMissing):
        found = find_ffmpeg(None, {**bare, "PATH": ""})
        if str(found) not in tried:
            return found
    raise FfmpegMissing(
        message="There is no ffmpeg here but ffcluster-ffmpeg itself.",
        advice=f"Install ffmpeg, or name its path in {ENVIRONMENT_VARIABLE}.",
    )


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _is_ours(path: Path, own: str) -> bool:
    try:
        if Path(own).is_file() and path.samefile(own):
            return True
        with path.open("rb") as file:
            return _OURS in file.read(_SCRIPT_BYTES)
    except OSError:
        return True


def become(ffmpeg: Path, argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run `ffmpeg` in place of this process; where that is not possible, beside it.

    Returns:
        Its exit code, if this process is still there.
    """
    tried = filter(None, [environ.get(TRIED, ""), str(ffmpeg)])
    variables = {**environ, TRIED: os.pathsep.join(tried)}
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name == "nt":
        return subprocess.run([str(ffmpeg), *argv], env=variables, check=False).returncode
    # Python leaves this one out, and what is left out stays so in the next program.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execve(ffmpeg, [str(ffmpeg), *argv], variables)  # noqa: S606
    return 1


def header(ffmpeg: Path, source: str, *, banner: bool) -> str:
    """What ffmpeg itself says of a source before it begins, as other programs read it."""
    argv = [str(ffmpeg), *([] if banner else ["-hide_banner"]), "-nostdin", "-i", source]
    try:
        done = subprocess.run(argv, capture_output=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = done.stderr.decode("utf-8", "surrogateescape").splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("At least one output file"))
