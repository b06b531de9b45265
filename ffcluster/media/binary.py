"""Find the ffmpeg to use and read once what it is. Downloads nothing."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Mapping
from pathlib import Path

from twisted.internet import defer
from twisted.internet.defer import Deferred

from ffcluster.encoders.build import FfmpegBuild
from ffcluster.errors import FfmpegMissing
from ffcluster.media.command import Command
from ffcluster.media.runner import Finished, Runner

ENVIRONMENT_VARIABLE = "FFCLUSTER_FFMPEG"
_ADVICE = (
    "Install ffmpeg (for example `apt install ffmpeg`, `brew install ffmpeg` or "
    "`pip install imageio-ffmpeg`), or name its path with --ffmpeg or FFCLUSTER_FFMPEG."
)
_TIMEOUT_S = 20.0


def find_ffmpeg(explicit: str | None, environ: Mapping[str, str]) -> Path:
    """Give the absolute path of the ffmpeg to use.

    Looks at `explicit`, the variable FFCLUSTER_FFMPEG, PATH and the imageio-ffmpeg wheel, in
    this order. What was named but is not there is an error: another one is not taken instead.

    Raises:
        FfmpegMissing: None was found, or the named one cannot be run.
    """
    named = explicit or environ.get(ENVIRONMENT_VARIABLE)
    path = environ.get("PATH")
    if named:
        found = shutil.which(named, path=path)
        if found is None:
            raise FfmpegMissing(message=f"{named} is not a program that can be run", advice=_ADVICE)
        return Path(found).absolute()
    found = shutil.which("ffmpeg", path=path) or _from_wheel()
    if found is None:
        raise FfmpegMissing(message="No ffmpeg was found on this machine", advice=_ADVICE)
    return Path(found).absolute()


def _from_wheel() -> str | None:
    try:
        wheel = importlib.import_module("imageio_ffmpeg")
        return str(wheel.get_ffmpeg_exe())
    except (ImportError, RuntimeError, OSError):
        return None


def inspect(path: Path, runner: Runner) -> Deferred[FfmpegBuild]:
    """Ask the binary at `path` for its version, encoders and filters.

    Raises:
        FfmpegMissing: It does not run, or is not ffmpeg.
    """
    return Deferred.fromCoroutine(_inspect(path, runner))


async def _inspect(path: Path, runner: Runner) -> FfmpegBuild:
    questions = (("-version",), ("-hide_banner", "-encoders"), ("-hide_banner", "-filters"))
    asked = [
        runner.run(Command((str(path), *words), "question"), timeout_s=_TIMEOUT_S).done
        for words in questions
    ]
    answers: list[Finished] = await defer.gatherResults(asked, consumeErrors=True)
    for answer in answers:
        if answer.returncode != 0:
            raise FfmpegMissing(
                message=f"{path} does not work as ffmpeg",
                advice=_ADVICE,
                detail={"returncode": answer.returncode, "stderr": answer.stderr_tail},
            )
    version, encoders, filters = (a.stdout.decode("utf-8", "replace") for a in answers)
    if not version.startswith("ffmpeg version"):
        raise FfmpegMissing(message=f"{path} is not ffmpeg", advice=_ADVICE)
    return FfmpegBuild.parse(str(path), version, encoders, filters)
