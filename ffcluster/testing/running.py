"""Run real ffmpegs for tests, one command at a time. Blocks, so it belongs into no daemon."""

from __future__ import annotations

import functools
import importlib
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from ffcluster.encoders.backend import Backend, Machine, Probe, ProbeOutcome
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.detection import Detection
from ffcluster.encoders.registry import Registry
from ffcluster.media.machine import Whereabouts, read_machine, usable_cpus
from ffcluster.media.platform import here

_TAIL_LINES = 40
_TIMEOUT_S = 120.0


def run_ffmpeg(
    path: str,
    *args: str,
    timeout_s: float = _TIMEOUT_S,
    env: Mapping[str, str] | None = None,
) -> ProbeOutcome:
    """Run the ffmpeg at `path` as a worker would: scrubbed environment, C locale, last lines."""
    variables = here().environment(os.environ) | dict(env or {})
    try:
        done = subprocess.run(
            [path, *args],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=variables,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as expired:
        return ProbeOutcome(None, stderr=_tail(expired.stderr or b""), timed_out=True)
    except OSError as error:
        return ProbeOutcome(None, stderr=f"cannot start: {error}")
    return ProbeOutcome(done.returncode, done.stdout.decode("utf-8", "replace"), _tail(done.stderr))


@functools.cache
def read_build(path: str) -> FfmpegBuild:
    """What the ffmpeg at `path` says about itself.

    Raises:
        ValueError: It is no ffmpeg, or does not run.
    """
    version = run_ffmpeg(path, "-version")
    if version.returncode != 0 or not version.stdout.startswith("ffmpeg version"):
        raise ValueError(f"{path} does not work as ffmpeg: {version.stderr.strip()}")
    return FfmpegBuild.parse(
        path,
        version.stdout,
        run_ffmpeg(path, "-hide_banner", "-encoders").stdout,
        run_ffmpeg(path, "-hide_banner", "-filters").stdout,
    )


@functools.cache
def builds() -> tuple[FfmpegBuild, ...]:
    """The ffmpegs at hand: on PATH, of the imageio-ffmpeg wheel, and in FFCLUSTER_TEST_FFMPEGS.

    The variable holds paths as PATH does.
    """
    named = os.environ.get("FFCLUSTER_TEST_FFMPEGS", "").split(os.pathsep)
    paths = [shutil.which("ffmpeg"), _from_wheel(), *named]
    found = [str(Path(path).resolve()) for path in paths if path]
    return tuple(read_build(path) for path in dict.fromkeys(found))


def _from_wheel() -> str | None:
    try:
        return str(importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe())
    except (ImportError, RuntimeError, OSError):
        return None


def detect_here(backend: Backend, build: FfmpegBuild, machine: Machine | None = None) -> Detection:
    """What `backend` really finds with `build` on this machine; runs its probes."""
    machine = machine or read_machine(usable_cpus(), Whereabouts())
    return drive(
        backend,
        build,
        machine,
        lambda probe: run_ffmpeg(
            build.path, *probe.argv, timeout_s=probe.timeout_s, env=dict(probe.env)
        ),
    )


def drive(
    backend: Backend,
    build: FfmpegBuild,
    machine: Machine,
    answer: Callable[[Probe], ProbeOutcome],
) -> Detection:
    """Detect with `backend` alone, where `answer` says what becomes of each probe."""
    detection = Detection(Registry((), (backend,)), build, machine)
    while not detection.finished:
        for probe in detection.take_probes():
            detection.feed(probe, answer(probe))
    return detection


def _tail(data: bytes) -> str:
    lines = data.replace(b"\r", b"\n").split(b"\n")
    return b"\n".join(line[:512] for line in lines[-_TAIL_LINES:]).decode("utf-8", "replace")
