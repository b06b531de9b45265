"""Show ffcluster at work: a coordinator and two workers encode a film, which is then verified.

Run by `make demo`. Takes one optional argument, a film; without it, makes one with sound.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ffcluster.errors import FfmpegMissing
from ffcluster.media.binary import find_ffmpeg

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "demo"
BIN = Path(sys.executable).parent
WORKERS = 2
SAMPLE_S = 30
# Best first; what the installed ffmpeg has decides. Every build has mpeg4 and ffv1.
SAMPLE_ENCODERS = (
    ("libx264", ("-preset", "veryfast", "-crf", "20", "-g", "120")),
    ("mpeg4", ("-q:v", "3", "-g", "60")),
)
OUTPUTS = (
    ("libx264", "h264", ".mp4"),
    ("libx265", "hevc", ".mp4"),
    ("libsvtav1", "av1", ".mp4"),
    ("libvpx-vp9", "vp9", ".webm"),
    ("ffv1", "ffv1", ".mkv"),
)


class DemoFailed(Exception):
    """Something did not work; the text says what."""


def step(text: str) -> None:
    """Announce what happens next."""
    print(f"\n==> {text}", flush=True)


def encoders_of(ffmpeg: Path) -> set[str]:
    """Name the encoders that this ffmpeg was built with."""
    asked = subprocess.run(
        [str(ffmpeg), "-hide_banner", "-encoders"], capture_output=True, text=True, check=True
    )
    return {words[1] for line in asked.stdout.splitlines() if len(words := line.split()) > 1}


def make_sample(ffmpeg: Path, encoders: set[str], target: Path) -> None:
    """Make a film with sound, noise and movement, unless an earlier run did."""
    if target.exists():
        return
    encoder, options = next(choice for choice in SAMPLE_ENCODERS if choice[0] in encoders)
    partial = target.with_suffix(".partial.mkv")
    picture = f"testsrc2=size=1280x720:rate=24000/1001:duration={SAMPLE_S}"
    sound = f"sine=frequency=220:beep_factor=4:sample_rate=48000:duration={SAMPLE_S}"
    command = [
        str(ffmpeg), "-hide_banner", "-v", "error", "-nostdin", "-y",
        "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound,
        "-vf", "noise=alls=3:allf=t,format=yuv420p",
        "-c:v", encoder, *options, "-c:a", "aac", "-b:a", "128k",
        "-metadata:s:a:0", "language=eng", str(partial),
    ]  # fmt: skip
    subprocess.run(command, check=True)
    partial.replace(target)


def free_port() -> int:
    """Find a TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(name: str, arguments: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a twistd program, and end it by its process id however the block ends."""
    with log.open("wb") as file:
        command = [str(BIN / "twistd"), "--nodaemon", "--pidfile=", *arguments]
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, cwd=log.parent)
    print(f"    {name}: process {process.pid}, log {shown(log)}")
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_listening(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the coordinator answers."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise DemoFailed(f"the coordinator ended at once:\n{log.read_text()[-2000:]}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise DemoFailed(f"the coordinator does not listen on port {port}")


def ffcluster(*arguments: str) -> dict[str, Any]:
    """Run the command line with its bars on the screen; answers the last object of its NDJSON."""
    command = [str(BIN / "ffcluster"), *arguments, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    lines = done.stdout.splitlines()
    last: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    if done.returncode != 0:
        raise DemoFailed(f"ffcluster {arguments[0]} ended with exit code {done.returncode}")
    return last


def shown(path: Path) -> str:
    """Write a path relative to the project where that is shorter."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def encode(source: Path, target: Path, codec: str, state: Path) -> dict[str, Any]:
    """Encode with a coordinator and two workers, each a process of its own."""
    port = free_port()
    cpus = max(1, (os.cpu_count() or 1) // WORKERS)
    server = [
        "ffcluster-server", f"--port={port}", f"--required-clients={WORKERS}",
        f"--state-dir={state / 'state'}", f"--output-dir={state}",
    ]  # fmt: skip
    with contextlib.ExitStack() as stack:
        log = FOLDER / "coordinator.log"
        coordinator = stack.enter_context(running("coordinator", server, log))
        wait_until_listening(port, coordinator, log)
        for number in range(1, WORKERS + 1):
            name = f"worker-{number}"
            worker = [
                "ffcluster-worker", f"--server-port={port}", f"--name={name}", f"--cpus={cpus}",
                f"--work-dir={state / name}",
            ]  # fmt: skip
            stack.enter_context(running(name, worker, FOLDER / f"{name}.log"))
        step(f"encoding {shown(source)} to {codec}")
        return ffcluster(
            "encode", str(source), str(target), "--codec", codec, "--overwrite",
            "--coordinator", f"ws://127.0.0.1:{port}",
        )  # fmt: skip


def print_summary(result: dict[str, Any], proof: dict[str, Any], target: Path) -> None:
    """Say what came out, and how it is known to be right."""
    print("\n==> done")
    print(f"    file           {target}")
    print(f"    size           {target.stat().st_size / 1e6:.1f} MB")
    for worker in result["workers"]:
        print(
            f"    {worker['worker']:<14} {worker['segments']} segments, {worker['frames']} frames, "
            f"{worker['encoder']}"
        )
    print(f"    frames/s       {result['fps']:.1f}")
    print(f"    real time      {result['speed']:.2f} x")
    print(f"    retries        {result['retries']}")
    print(
        f"    segments       every frame proven by decoding: {'yes' if result['proven'] else 'no'}"
    )
    for line in proof["proof"]:
        print(f"    verified       {line}")


def run(source: Path | None) -> None:
    """Make or take a film, encode it, verify it, and say how it went."""
    FOLDER.mkdir(exist_ok=True)
    ffmpeg = find_ffmpeg(None, os.environ)
    encoders = encoders_of(ffmpeg)
    step(f"ffmpeg: {ffmpeg}")
    if source is None:
        source = FOLDER / "sample.mkv"
        step(f"sample film: {shown(source)} ({SAMPLE_S} s of 720p with sound)")
        make_sample(ffmpeg, encoders, source)
    _, codec, suffix = next(choice for choice in OUTPUTS if choice[0] in encoders)
    target = FOLDER / f"{source.stem}-encoded{suffix}"
    step(f"starting a coordinator and {WORKERS} workers")
    state = Path(tempfile.mkdtemp(prefix="ffcluster-demo-"))
    try:
        result = encode(source, target, codec, state)
    finally:
        shutil.rmtree(state, ignore_errors=True)
    step("verifying the file against its source")
    proof = ffcluster("verify", str(source), str(target))
    print_summary(result, proof, target)


def main() -> int:
    """Run the demo; answers the exit code."""
    source = Path(sys.argv[1]).expanduser().absolute() if len(sys.argv) > 1 else None
    try:
        run(source)
    except (DemoFailed, FfmpegMissing, subprocess.CalledProcessError) as error:
        print(f"\nThe demo did not work: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
