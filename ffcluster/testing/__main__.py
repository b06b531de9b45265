"""Helpers for authors: `python -m ffcluster.testing record` makes a recording of detection."""

from __future__ import annotations

import argparse
import getpass
import os
import platform
import shutil
import socket
import sys
from pathlib import Path

from ffcluster.encoders.backend import Probe, ProbeOutcome
from ffcluster.encoders.registry import Registry
from ffcluster.errors import FfclusterError
from ffcluster.media.machine import Whereabouts, read_machine, usable_cpus
from ffcluster.testing.recording import record, save_recording
from ffcluster.testing.running import read_build, run_ffmpeg


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code is 0 when the recording was written."""
    parser = argparse.ArgumentParser(prog="python -m ffcluster.testing", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    recorder = commands.add_parser(
        "record", help="detect with one backend and keep what ffmpeg answered"
    )
    recorder.add_argument("--backend", required=True, help="name of the backend (nvenc)")
    recorder.add_argument("--ffmpeg", default="ffmpeg", help="the ffmpeg to ask")
    recorder.add_argument("--output", required=True, type=Path, help="the file to write")
    recorder.add_argument("--about", default="", help="one line: which machine this is")
    given = parser.parse_args(argv)
    try:
        found = _record(given.backend, given.ffmpeg, given.about, given.output)
    except (FfclusterError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{given.output}: {found}. Read it before you publish it.")
    return 0


def _record(name: str, ffmpeg: str, about: str, output: Path) -> str:
    path = shutil.which(ffmpeg)
    if path is None:
        raise ValueError(f"{ffmpeg} is not a program that can be run")
    build = read_build(str(Path(path).absolute()))

    def run(probe: Probe) -> ProbeOutcome:
        return run_ffmpeg(build.path, *probe.argv, timeout_s=probe.timeout_s, env=dict(probe.env))

    recording = record(
        Registry.load().backend(name),
        build,
        read_machine(usable_cpus(), Whereabouts()),
        run,
        about=about or f"ffmpeg {build.version}, {platform.system()} {platform.machine()}",
        secrets=_secrets(build.path),
    )
    save_recording(output, recording)
    expect = recording.expect
    counts = (len(expect.capabilities), len(expect.diagnoses)) if expect else (0, 0)
    return f"{len(recording.commands)} commands, {counts[0]} encoders, {counts[1]} diagnoses"


def _secrets(ffmpeg: str) -> dict[str, str]:
    """What tells who and where this is, and what to write instead."""
    words = {ffmpeg: "ffmpeg", str(Path.home()): "~", socket.gethostname(): "machine"}
    user = getpass.getuser() if hasattr(os, "getuid") or os.environ.get("USERNAME") else ""
    # The administrator's name says nothing, and is part of many words.
    if user not in ("", "root"):
        words[user] = "user"
    return {secret: word for secret, word in words.items() if len(secret) > 2}


if __name__ == "__main__":
    sys.exit(main())
