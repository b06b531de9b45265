"""A trial TestCase with a runner, a directory and the ffmpegs of this machine."""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from ffcluster.encoders.build import FfmpegBuild
from ffcluster.media.runner import Runner
from tests import inputs


@functools.cache
def all_builds() -> tuple[FfmpegBuild, ...]:
    """Every ffmpeg at hand that can make H.264, the one that makes the inputs first."""
    paths = dict.fromkeys([inputs.ffmpeg_path(), shutil.which("ffmpeg") or inputs.ffmpeg_path()])
    builds = []
    for path in paths:
        version, encoders, filters = (
            subprocess.run([path, *words], check=True, capture_output=True, text=True).stdout
            for words in (["-version"], ["-hide_banner", "-encoders"], ["-hide_banner", "-filters"])
        )
        build = FfmpegBuild.parse(path, version, encoders, filters)
        if "libx264" in build.encoders:
            builds.append(build)
    return tuple(builds)


def asynchronous(
    test: Callable[..., Coroutine[Any, Any, None]],
) -> Callable[..., Deferred[None]]:
    """Let trial wait for a coroutine."""

    @functools.wraps(test)
    def run(*arguments: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(test(*arguments))

    return run


class MediaCase(TestCase):
    """Each test gets `self.runner`, `self.directory` and `self.build`."""

    timeout = 180

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="ffcluster-test-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.runner = Runner(reactor)
        self.addCleanup(self.runner.close)
        self.build = all_builds()[0]
