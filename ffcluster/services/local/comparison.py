"""Compare a finished file with its source from outside, as anybody may at any time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ffcluster.media.binary import find_ffmpeg, inspect
from ffcluster.media.runner import Runner
from ffcluster.media.verify import ComparisonReport, compare_files


async def compare(
    reactor: Any, source: Path, output: Path, *, ffmpeg: str | None, pictures: bool
) -> ComparisonReport:
    """Compare frames, times and streams, and with `pictures` every decoded picture.

    Raises:
        SourceError: One of the files cannot be read.
        VerificationFailed: One of the files cannot be decoded.
        FfmpegMissing: There is no ffmpeg, or it does not run.
    """
    runner = Runner(reactor)
    try:
        build = await inspect(find_ffmpeg(ffmpeg, os.environ), runner)
        return await compare_files(runner, build, source, output, decoded=pictures)
    finally:
        await runner.close()
