"""Every difference between operating systems that running a process meets. Starts no process.

Linux has all that is wanted: a session of its own for each process, so that a terminal's Ctrl-C
does not reach it and the whole group can be ended, and a death signal, so that it does not
outlive the one that started it. What another platform lacks is said by `limitations`.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs

# Variables that ffmpeg or Python need; of the rest only what chooses devices and drivers is kept.
_KEPT_NAMES = frozenset({
    "PATH", "HOME", "TMPDIR", "TEMP", "TMP", "PYTHONPATH",
    "SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "LOCALAPPDATA", "APPDATA", "PROGRAMDATA", "USERPROFILE",
    "PATHEXT", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME",
})  # fmt: skip
_DEVICE_NAMES = frozenset({
    # Where the dynamic linker looks for libcuda, libnvidia-encode, libva, libvpl and the like.
    "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH",
    # Where Vulkan's loader looks for its drivers.
    "XDG_CONFIG_DIRS", "XDG_CONFIG_HOME", "XDG_DATA_DIRS", "XDG_DATA_HOME",
    # Which of several GPUs Mesa takes, and where its drivers lie.
    "DRI_PRIME", "LIBGL_DRIVERS_PATH", "GBM_BACKENDS_PATH",
})  # fmt: skip
_DEVICE_PREFIXES = (
    # CUDA_VISIBLE_DEVICES, CUDA_DEVICE_ORDER ...; NVIDIA_VISIBLE_DEVICES and
    # NVIDIA_DRIVER_CAPABILITIES, which say what a container was given.
    "CUDA_", "NVIDIA_",
    # LIBVA_DRIVER_NAME, LIBVA_DRIVERS_PATH; VK_ICD_FILENAMES, VK_DRIVER_FILES.
    "LIBVA_", "VK_",
    # Intel's and AMD's runtimes: which implementation, which device, where it lies.
    "ONEVPL_", "MFX_", "INTEL_MEDIA_", "AMF_", "ROCR_", "HIP_", "GPU_DEVICE_",
    # Mesa's drivers, some of which encode only when told to (RADV_PERFTEST=video_encode).
    "MESA_", "RADV_", "ANV_", "AMD_",
)  # fmt: skip


def chooses_device(name: str) -> bool:
    """Whether the variable `name` decides which devices and drivers ffmpeg finds."""
    return name.upper() in _DEVICE_NAMES or name.upper().startswith(_DEVICE_PREFIXES)


@attrs.frozen
class Platform:
    """What one operating system offers for running processes.

    Attributes:
        name: `sys.platform` of the system.
        setsid: Path of `setsid`, or "" where there is none.
        setpriv: Path of util-linux's `setpriv`, or "" where there is none.
        nice: Path of `nice`, or "" where there is none.
    """

    name: str
    setsid: str = ""
    setpriv: str = ""
    nice: str = ""

    @property
    def is_windows(self) -> bool:
        """Whether processes have no signals, groups or inherited descriptors."""
        return self.name == "win32"

    @property
    def progress_fd(self) -> int:
        """Descriptor for ffmpeg's `-progress`: its own where a child can be given one."""
        return 1 if self.is_windows else 3

    def prefix(self, niceness: int = 0) -> tuple[str, ...]:
        """Words to put before a command so that it can be ended whole and dies with its parent."""
        words: list[str] = []
        if self.setsid:
            words += [self.setsid]
        if self.setpriv:
            words += [self.setpriv, "--pdeathsig", "KILL", "--"]
        if self.nice and niceness > 0:
            words += [self.nice, "-n", str(niceness)]
        return tuple(words)

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The part of `environ` that a child needs, in the C locale and without colours."""
        kept = {
            key: value
            for key, value in environ.items()
            if key.upper() in _KEPT_NAMES or chooses_device(key)
        }
        return kept | {"LC_ALL": "C", "AV_LOG_FORCE_NOCOLOR": "1", "PYTHONUTF8": "1"}

    def send(self, pid: int, name: str, kill: Callable[[str], None]) -> None:
        """Send signal `name` (`TERM` or `KILL`) to process `pid` and all that it started.

        Args:
            pid: The process, leader of its own group where `setsid` is there.
            name: `TERM` asks it to end, `KILL` ends it.
            kill: Sends a signal to the process alone; used where there are no groups. On
                Windows either signal ends the process at once.
        """
        if not self.setsid or self.is_windows:
            kill(name)
            return
        try:
            group = os.getpgid(pid)
        except ProcessLookupError:
            # It has ended, and something that it started still holds its output.
            group = pid
        try:
            # Before setsid has run the group does not exist yet, and only the process can be hit.
            if group == pid:
                os.killpg(pid, getattr(signal, f"SIG{name}"))
                return
        except (ProcessLookupError, PermissionError):
            return
        kill(name)

    def limitations(self) -> tuple[str, ...]:
        """What this platform lacks, as sentences for the user."""
        lacks: list[str] = []
        if self.is_windows:
            lacks.append(
                "An ffmpeg that is told to stop is ended at once: Windows has no signal for it."
            )
        elif not self.setsid:
            lacks.append(
                "Ctrl-C in the terminal also reaches a running ffmpeg: there is no setsid here."
            )
        if not self.setpriv:
            lacks.append(
                "A worker that is killed hard leaves its ffmpeg running until its segment is "
                "done: this system has no signal for the death of a parent process."
            )
        if not self.nice:
            lacks.append("ffmpeg runs with normal priority: there is no nice here.")
        return tuple(lacks)


def detect(name: str, which: Callable[[str], str | None]) -> Platform:
    """Find out what the platform called `name` offers; `which` looks a program up."""
    if name == "win32":
        return Platform(name)
    linux = name.startswith("linux")
    return Platform(
        name,
        setsid=(which("setsid") or "") if linux else "",
        setpriv=(which("setpriv") or "") if linux else "",
        nice=which("nice") or "",
    )


@functools.cache
def here() -> Platform:
    """The platform of this process."""
    return detect(sys.platform, shutil.which)


def remove(path: Path) -> None:
    """Remove a file that may be gone already, or that another process still holds (Windows)."""
    with contextlib.suppress(FileNotFoundError, PermissionError):
        path.unlink()
