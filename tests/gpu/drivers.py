"""GPUs for tests on machines without one: stub drivers, built once, and ffmpegs that load them.

A `Gpu` says which drivers there are and what they get wrong; `Gpu.ffmpeg` writes a script that
runs a real ffmpeg with them. Product code is given that script's path as `--ffmpeg` and needs to
know nothing else. What each fault is, is said in stubs/fake.h.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Mapping
from pathlib import Path

import attrs

SOURCES = Path(__file__).with_name("stubs")
# Render nodes that ffmpeg can open although the machine has none.
NODES = ("/dev/dri/renderD128", "/dev/dri/renderD129")
_HEADERS = ("ffnvcodec/nvEncodeAPI.h", "va/va.h", "x264.h", "x265.h")
_PACKAGES = "gcc libc6-dev libffmpeg-nvenc-dev libva-dev libx264-dev libx265-dev"
_FLAGS = (
    "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-shared", "-fPIC",
)  # fmt: skip
# What each library is made of: (its path below the build, its sources, what only it needs).
_LIBRARIES = (
    ("cuda/libcuda.so.1", ("cuda.c",), ()),
    (
        "nvenc/libnvidia-encode.so.1",
        ("nvenc.c", "x264.c", "x265.c", "placeholder.c"),
        ("-fvisibility=hidden", "-ldl", "-lm"),
    ),
    ("va/fake_drv_video.so", ("va.c",), ("-fvisibility=hidden", "-lpthread")),
    ("drm/libfakedrm.so", ("drm.c",), ("-ldl",)),
    ("libva/libfakelibva.so", ("libva.c",), ("-ldl",)),
)


@attrs.frozen
class Gpu:
    """The GPU drivers of a machine, as far as ffmpeg can see them.

    Attributes:
        cuda: Whether there is a libcuda.
        nvenc: Whether there is a libnvidia-encode.
        va: Whether there is a VA driver.
        new_libva: Whether libva has what ffmpeg from 8.0 on needs of it; Debian 12's has not.
        faults: Variables for the drivers; see stubs/fake.h.
    """

    cuda: bool = False
    nvenc: bool = False
    va: bool = False
    new_libva: bool = True
    faults: Mapping[str, str] = attrs.field(factory=dict)

    def environment(self) -> dict[str, str]:
        """Variables with which an ffmpeg finds these drivers."""
        built = drivers()
        paths = [str(built / name) for name in ("cuda", "nvenc") if getattr(self, name)]
        preloads = [str(built / "drm/libfakedrm.so")]
        if self.new_libva:
            preloads.append(str(built / "libva/libfakelibva.so"))
        return {
            "LD_LIBRARY_PATH": ":".join(paths),
            "LD_PRELOAD": ":".join(preloads),
            "LIBVA_DRIVERS_PATH": str(built / ("va" if self.va else "cuda")),
            "LIBVA_DRIVER_NAME": "fake",
            **self.faults,
        }

    def ffmpeg(self, real: str, directory: Path) -> Path:
        """Write a script into `directory` that runs the ffmpeg at `real` with these drivers."""
        directory.mkdir(parents=True, exist_ok=True)
        script = directory / "ffmpeg"
        settings = " ".join(
            f"{name}={shlex.quote(value)}" for name, value in self.environment().items()
        )
        # env gives the variables to ffmpeg alone: the shell must not load the stubs.
        script.write_text(f'#!/bin/sh\nexec env {settings} {shlex.quote(real)} "$@"\n')
        script.chmod(0o755)
        return script


def nvidia(**faults: object) -> Gpu:
    """A machine with an NVIDIA driver: `nvidia(GPUS=2)` sets FAKE_CUDA_GPUS or FAKE_NV_..."""
    return Gpu(cuda=True, nvenc=True, faults=_variables(faults, ("FAKE_CUDA_", "FAKE_NV_")))


def vaapi(*, new_libva: bool = True, **faults: object) -> Gpu:
    """A machine with a VA driver and `NODES`; faults are named without FAKE_VA_ or FAKE_DRM_."""
    return Gpu(
        va=True,
        new_libva=new_libva,
        faults=_variables({"NODES": ",".join(NODES), **faults}, ("FAKE_VA_", "FAKE_DRM_")),
    )


def dump_of(path: Path) -> list[tuple[str, dict[str, str]]]:
    """What drivers wrote to FAKE_DUMP: ("nvenc init", {"gop": "48", ...}) for each line."""
    lines = path.read_text().splitlines() if path.exists() else []
    found = []
    for line in lines:
        words = line.removeprefix("FAKE ").split()
        named = [word for word in words if "=" in word]
        kind = " ".join(word for word in words if "=" not in word)
        found.append((kind, dict(word.split("=", 1) for word in named)))
    return found


@functools.cache
def why_not() -> str:
    """Why the stubs cannot be built here; "" when they can."""
    if sys.platform != "linux":
        return "they are made for Linux"
    if not shutil.which("gcc"):
        return f"there is no gcc: apt-get install {_PACKAGES}"
    includes = "".join(f"#include <{name}>\n" for name in ("stdint.h", *_HEADERS))
    done = subprocess.run(
        ["gcc", "-E", "-xc", "-o", os.devnull, "-"],
        input=includes, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if done.returncode:
        return f"headers are missing ({done.stderr.splitlines()[0]}): apt-get install {_PACKAGES}"
    return ""


@functools.cache
def drivers() -> Path:
    """The directory of the built stubs, shared by all test processes of this user.

    Raises:
        unittest.SkipTest: There is no compiler, or a header is missing.
        AssertionError: They do not compile.
    """
    if reason := why_not():
        raise unittest.SkipTest(f"no stub GPU drivers: {reason}")
    digest = hashlib.sha256(repr((_FLAGS, _LIBRARIES)).encode())
    for source in sorted(SOURCES.iterdir()):
        digest.update(source.read_bytes())
    name = f"ffcluster-gpu-stubs-{os.getuid()}-{digest.hexdigest()[:16]}"
    built = Path(tempfile.gettempdir(), name)
    if not built.exists():
        _build(built)
    return built


def _build(to: Path) -> None:
    # Another process may build the same at the same time: whoever is first stays.
    with tempfile.TemporaryDirectory(dir=to.parent) as scratch:
        at = Path(scratch, "built")
        for name, sources, extra in _LIBRARIES:
            library = at / name
            library.parent.mkdir(parents=True, exist_ok=True)
            paths = [str(SOURCES / source) for source in sources]
            done = subprocess.run(
                ["gcc", *_FLAGS, "-o", str(library), *paths, *extra],
                capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
        try:
            at.rename(to)
        except OSError:
            assert to.exists()


def _variables(faults: Mapping[str, object], prefixes: tuple[str, ...]) -> dict[str, str]:
    header = (SOURCES / "fake.h").read_text()
    found: dict[str, str] = {}
    for name, value in faults.items():
        names = [name, *(prefix + name for prefix in prefixes)]
        known = [full for full in names if full.startswith("FAKE_") and full in header]
        assert known, f"stubs/fake.h documents no {name}"
        found[known[0]] = str(value)
    return found
