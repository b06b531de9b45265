"""Look at the machine without opening a device: nodes, vendors, drivers. Proves nothing.

What is found decides which devices backends try, and tells when a driver changed, so that what
was detected before no longer counts.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from platform import machine as processor
from platform import release

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from ffcluster.encoders.backend import DeviceNode, Machine

_NVIDIA = "0x10de"
_NVIDIA_VERSION = re.compile(r"NVRM version:.*?\s(\d+\.\d+(?:\.\d+)?)\s")
_FIELD = re.compile(r"^([^:\n]+):[ \t]*(.*)$", re.MULTILINE)
_PCI_NUMBER = re.compile(r"0x[0-9a-f]{4}")
_NUMBER = re.compile(r"(\d+)$")
# Files of /proc, /sys and the libraries' directories are small; what is longer is none of them.
_LONGEST_BYTES = 64 * 1024
_PCI_IDS = ("usr/share/misc/pci.ids", "usr/share/hwdata/pci.ids")
_LONGEST_NAME = 120
_LARGEST_PCI_IDS_BYTES = 8 * 1024 * 1024
_VENDOR_NAMES = {"0x8086": "Intel", "0x1002": "AMD", _NVIDIA: "NVIDIA"}
_LIBRARY_FOLDERS = (
    "usr/lib", "usr/lib64", "usr/local/lib", "lib64", "usr/lib/wsl/lib", "usr/local/nvidia/lib64",
    "opt/amf/lib", "run/opengl-driver/lib",
)  # fmt: skip
_LIBRARIES = (
    "libcuda.so.1", "libnvidia-encode.so.1", "libmfx-gen.so.1.2", "libmfxhw64.so.1", "libvpl.so.2",
    "libamfrt64.so.1", "libva.so.2",
)  # fmt: skip
_WINDOWS_LIBRARIES = (
    "nvcuda.dll", "nvEncodeAPI64.dll", "amfrt64.dll", "libmfxhw64.dll", "libvpl.dll",
    "libmfx64-gen.dll",
)  # fmt: skip


def usable_cpus() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@attrs.frozen(kw_only=True)
class Whereabouts:
    """Where to look; tests put trees of their own here.

    Attributes:
        platform: As `sys.platform`.
        root: The file system's root.
        environ: Environment that ffmpeg will get.
        release: Release of the system, as `platform.release`.
    """

    platform: str = sys.platform
    root: Path = Path("/")
    environ: Mapping[str, str] = attrs.field(factory=lambda: dict(os.environ))
    release: str = attrs.field(factory=release)


def look_at_machine(cpus: int | None = None, where: Whereabouts | None = None) -> Deferred[Machine]:
    """Look at the machine, in a thread.

    Args:
        cpus: Cores to use, or None for all that this process may use.
        where: Where to look, for tests.
    """
    return deferToThread(read_machine, cpus or usable_cpus(), where or Whereabouts())


def read_machine(cpus: int, where: Whereabouts) -> Machine:
    """Look at the machine. Blocks, and opens no device; what cannot be read is left out."""
    if where.platform.startswith("linux"):
        devices, drivers = _linux_devices(where.root), _linux_drivers(where)
    elif where.platform == "win32":
        devices, drivers = [], [("windows", where.release), *_windows_drivers(where)]
    else:
        devices, drivers = [], [(where.platform, where.release), ("machine", processor())]
    return Machine(
        cpus=cpus,
        platform="linux" if where.platform.startswith("linux") else where.platform,
        devices=tuple(sorted(devices, key=lambda node: _by_number(node.path))),
        drivers=tuple(sorted(set(drivers))),
    )


# --- Linux -------------------------------------------------------------------------------------


def _linux_devices(root: Path) -> list[DeviceNode]:
    gpus = _nvidia_gpus(root)
    nodes: list[DeviceNode] = []
    for path in _entries(root / "dev/dri"):
        if not path.name.startswith("renderD"):
            continue
        about = root / "sys/class/drm" / path.name / "device"
        vendor, device = _pci_number(about / "vendor"), _pci_number(about / "device")
        gpu = gpus.pop(_link_name(about), None)
        nodes.append(
            DeviceNode(
                path=f"/dev/dri/{path.name}",
                vendor=vendor,
                driver=_link_name(about / "driver"),
                name=gpu.name if gpu else _pci_name(root, vendor, device),
                usable=os.access(path, os.R_OK | os.W_OK),
            )
        )
    return nodes + list(gpus.values())


def _pci_number(path: Path) -> str:
    text = _text(path).strip()
    return text if _PCI_NUMBER.fullmatch(text) else ""


def _nvidia_gpus(root: Path) -> dict[str, DeviceNode]:
    """NVIDIA GPUs by PCI address; the driver lists them even where there is no render node."""
    found: dict[str, DeviceNode] = {}
    for folder in _entries(root / "proc/driver/nvidia/gpus"):
        facts = dict(_FIELD.findall(_text(folder / "information")))
        minor = facts.get("Device Minor", "").strip()
        node = root / "dev" / f"nvidia{minor}"
        if minor.isdecimal() and node.exists():
            found[folder.name] = DeviceNode(
                path=f"/dev/nvidia{minor}",
                vendor=_NVIDIA,
                driver="nvidia",
                name=facts.get("Model", "").strip()[:_LONGEST_NAME],
                usable=os.access(node, os.R_OK | os.W_OK),
            )
    return found


def _linux_drivers(where: Whereabouts) -> list[tuple[str, str]]:
    drivers = [("linux", where.release)]
    version = _NVIDIA_VERSION.search(_text(where.root / "proc/driver/nvidia/version"))
    if version:
        drivers.append(("nvidia", version[1]))
    folders = list(_library_folders(where))
    for name in _LIBRARIES:
        there = [folder / name for folder in folders if (folder / name).exists()]
        drivers += [(name, _identity(path)) for path in there[:1]]
    for folder in _va_folders(where, folders):
        found = [path for path in _entries(folder) if path.name.endswith("_drv_video.so")]
        drivers += [(path.name, _identity(path)) for path in found]
    return drivers


def _library_folders(where: Whereabouts) -> Iterator[Path]:
    """Where the dynamic linker looks, the user's own folders first."""
    yield from _listed(where.environ.get("LD_LIBRARY_PATH", ""))
    for name in _LIBRARY_FOLDERS:
        folder = where.root / name
        yield folder
        if name == "usr/lib":
            yield from (path for path in _entries(folder) if path.name.endswith("-linux-gnu"))


def _va_folders(where: Whereabouts, folders: Iterable[Path]) -> list[Path]:
    """Where libva looks for drivers; a folder that the user named stands for all."""
    named = list(_listed(where.environ.get("LIBVA_DRIVERS_PATH", "")))
    return named or [folder / "dri" for folder in folders]


def _pci_name(root: Path, vendor: str, device: str) -> str:
    """A PCI device's name from the system's list of them, or what its numbers say."""
    maker = _VENDOR_NAMES.get(vendor, "")
    if not device:
        return maker
    for listed in _PCI_IDS:
        text = _text(root / listed, _LARGEST_PCI_IDS_BYTES)
        _, found, rest = text.partition(f"\n{vendor.removeprefix('0x')}  ")
        row = re.search(
            rf"^\t{re.escape(device.removeprefix('0x'))}  (.+)$",
            re.split(r"\n(?=[0-9a-f]{4}  )", rest, maxsplit=1)[0],
            re.MULTILINE,
        )
        if found and row:
            return f"{maker} {row[1].strip()}".strip()[:_LONGEST_NAME]
    return f"{maker} {device}".strip()


# --- Windows -----------------------------------------------------------------------------------


def _windows_drivers(where: Whereabouts) -> list[tuple[str, str]]:
    system = where.root / where.environ.get("SYSTEMROOT", "C:/Windows") / "System32"
    paths = [system / name for name in _WINDOWS_LIBRARIES]
    return [(path.name, _identity(path)) for path in paths if path.exists()]


# --- files -------------------------------------------------------------------------------------


def _identity(path: Path) -> str:
    """What tells a library's version apart without opening it: its real name, day and size."""
    try:
        real = path.resolve()
        about = real.stat()
    except OSError:
        return ""
    day = time.strftime("%Y-%m-%d", time.gmtime(about.st_mtime))
    return f"{real.name} of {day}, {about.st_size} bytes"


def _listed(paths: str) -> Iterator[Path]:
    yield from (Path(part) for part in paths.split(os.pathsep) if part)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _text(path: Path, limit_bytes: int = _LONGEST_BYTES) -> str:
    try:
        with path.open("rb") as file:
            return file.read(limit_bytes).decode("utf-8", "replace")
    except OSError:
        return ""


def _link_name(path: Path) -> str:
    """Name of what a link of /sys leads to, or "" when it is none."""
    try:
        return path.readlink().name
    except OSError:
        return ""


def _by_number(path: str) -> tuple[str, int]:
    """Sort `renderD9` before `renderD128`."""
    number = _NUMBER.search(path)
    return (path[: number.start()], int(number[1])) if number else (path, -1)
