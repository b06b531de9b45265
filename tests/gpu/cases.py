"""What tests with stub GPUs share: stubbed builds, detection on them, and one encode's dump."""

from __future__ import annotations

import functools
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import attrs
from twisted.internet import reactor

from ffcluster.core.model import Capability, Diagnosis
from ffcluster.core.profile import Profile
from ffcluster.encoders.backend import DeviceNode, Machine, ProbeOutcome
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.detection import Detection
from ffcluster.encoders.registry import Registry
from ffcluster.media.command import Command
from ffcluster.media.detect import detect
from ffcluster.media.runner import Runner, Running
from tests.encoders.builds import build_at, build_id, builds, run, video
from tests.gpu.drivers import NODES, Gpu, dump_of, nvidia, vaapi

BUILDS = {build_id(build).replace(".", "_"): build for build in builds()}
HEALTHY: dict[str, tuple[Gpu, tuple[str, ...]]] = {
    "nvenc": (nvidia(GPUS=2), ()),
    "vaapi": (vaapi(), NODES),
}
DRAWN = "testsrc2=s=640x480:r=25:d=1"


@functools.cache
def scratch() -> Path:
    """A directory of this test process, deleted when it ends."""
    holder = tempfile.TemporaryDirectory(prefix="ffcluster-gpu-")
    _HOLDERS.append(holder)
    return Path(holder.name)


_HOLDERS: list[tempfile.TemporaryDirectory[str]] = []


def stubbed(build: FfmpegBuild, gpu: Gpu) -> FfmpegBuild:
    """The same ffmpeg on a machine with `gpu`."""
    directory = Path(tempfile.mkdtemp(dir=scratch()))
    return build_at(str(gpu.ffmpeg(build.path, directory)))


def machine(nodes: tuple[str, ...] = ()) -> Machine:
    """A Linux machine with these render nodes."""
    devices = tuple(DeviceNode(path, vendor="0x8086", driver="i915") for path in nodes)
    return Machine(2, "linux", devices=tuple(sorted(devices, key=lambda node: node.path)))


class Impatient(Runner):
    """Waits for a probe no longer than a test may."""

    def run(self, command: Command, **options: Any) -> Running:
        return super().run(command, **{**options, "timeout_s": 2.0})


async def detection(
    build: FfmpegBuild,
    gpu: Gpu,
    backend: str,
    nodes: tuple[str, ...] = (),
    runner: type[Runner] = Runner,
) -> Detection:
    """What one plugin finds out on a machine with `gpu`, by the product's own detection."""
    registry = Registry.load(allow={backend})
    found = await detect(registry, stubbed(build, gpu), machine(nodes), runner(reactor))
    assert not found.errors, found.errors
    return found


@functools.cache
def proven(release: str, backend: str) -> Detection:
    """The same on a machine whose two GPUs can do everything; once for each test process."""
    gpu, nodes = HEALTHY[backend]
    build = stubbed(BUILDS[release], gpu)
    found = Detection(Registry.load(allow={backend}), build, machine(nodes))
    while not found.finished:
        for probe in found.take_probes():
            done = run(build.path, *probe.argv)
            found.feed(probe, ProbeOutcome(done.returncode, done.stdout, done.stderr))
    return found


def encoders(found: Detection, device: str | None = None) -> set[str]:
    """Names of the encoders that were proven (on `device`)."""
    return {c.encoder for c in found.capabilities if device in (None, c.device)}


def capability(found: Detection, encoder: str, device: str | None = None) -> Capability:
    """The proven capability of that encoder (on `device`)."""
    matching = [
        c for c in found.capabilities if c.encoder == encoder and device in (None, c.device)
    ]
    assert len(matching) == 1, (encoder, found.capabilities, found.diagnoses)
    return matching[0]


def told(found: Detection, text: str, device: str | None = None) -> list[Diagnosis]:
    """Diagnoses whose cause or hint has `text` in it."""
    return [
        d for d in found.diagnoses if text in f"{d.cause}\n{d.hint}" and device in (None, d.device)
    ]


@attrs.frozen
class Asked:
    """What reached the driver in one encode.

    Attributes:
        returncode: ffmpeg's exit code.
        stderr: What ffmpeg reported.
        lines: See `drivers.dump_of`.
    """

    returncode: int
    stderr: str
    lines: list[tuple[str, dict[str, str]]]

    def one(self, kind: str) -> dict[str, str]:
        """The only line of that kind, or the first where it is said for every picture."""
        found = [values for name, values in self.lines if name == kind]
        assert found, (kind, self.lines, self.stderr)
        return found[0]

    def every(self, kind: str) -> list[dict[str, str]]:
        """All lines of that kind."""
        return [values for name, values in self.lines if name == kind]


def ask(
    release: str,
    backend: str,
    encoder: str,
    *options: str,
    device: str | None = None,
    pix_fmt: str = "yuv420p",
    gpu: Gpu | None = None,
    without: tuple[str, ...] = (),
    fails: bool = False,
    **settings: object,
) -> Asked:
    """Encode a second of a drawn picture with a backend's arguments; say what the driver heard.

    Args:
        release: Which ffmpeg of `BUILDS`.
        backend: Whose arguments.
        encoder: With which of its encoders, as detection proved it on the healthy machine.
        options: Options of the output before the encoder's, as the media layer sets them.
        device: On which device; None for the first.
        pix_fmt: Pixel format of the source.
        gpu: The drivers, if not the healthy ones.
        without: Extras that are taken for refused.
        fails: Whether ffmpeg must fail rather than succeed.
        settings: Fields of the `Profile`, on the encoder's own scales.
    """
    found = proven(release, backend)
    device = device or min(c.device for c in found.capabilities)
    able = attrs.evolve(capability(found, encoder, device), without=without)
    dump = Path(tempfile.mkdtemp(dir=scratch())) / "dump"
    drivers = gpu or HEALTHY[backend][0]
    drivers = attrs.evolve(drivers, faults={**drivers.faults, "FAKE_DUMP": str(dump)})
    build = stubbed(BUILDS[release], drivers)
    profile = Profile(codec=able.codec, encoder=encoder, **settings)  # type: ignore[arg-type]
    source = video(width=640, height=480, pix_fmt=pix_fmt)
    made = found.registry.backend(backend).arguments(build, able, profile, source, threads=0)
    chain = ",".join((f"format={pix_fmt}", *made.context_filters, *made.filters))
    done = run(
        build.path, "-hide_banner", "-nostdin", "-y", "-v", "warning", *made.global_args,
        *made.input_args, "-f", "lavfi", "-i", DRAWN, "-vf", chain, *options, *made.output_args,
        "-f", "null", "-",
    )  # fmt: skip
    assert (done.returncode != 0) is fails, done.stderr
    assert "has not been used for any stream" not in done.stderr
    return Asked(done.returncode, done.stderr, dump_of(dump))


def hashes(path: Path, *options: str) -> list[str]:
    """MD5 of every decoded picture, by an ffmpeg without stubs."""
    real = next(iter(BUILDS.values())).path
    done = subprocess.run(
        [real, "-v", "error", *options, "-i", str(path), "-map", "0:v", "-f", "framemd5", "-"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line and not line.startswith("#")]
    return [line.rpartition(",")[2].strip() for line in lines]


__all__ = [
    "BUILDS",
    "DRAWN",
    "NODES",
    "Asked",
    "Gpu",
    "Impatient",
    "ask",
    "capability",
    "detection",
    "encoders",
    "hashes",
    "machine",
    "nvidia",
    "proven",
    "scratch",
    "stubbed",
    "told",
    "vaapi",
]
