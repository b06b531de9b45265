"""Reads how busy this machine is, every few seconds: processors, memory, GPUs.

What blocks happens in threads, and NVIDIA's program in a process with a time limit. What cannot be
read is left out; a program that fails again and again is asked no more.
"""

from __future__ import annotations

import contextlib
import csv
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from ffcluster.core.load import MAX_GPUS, GpuLoad, WorkerLoad
from ffcluster.media.command import Command
from ffcluster.media.runner import Runner

log = Logger()

_EVERY_S = 5.0
_NVIDIA = "nvidia-smi"
_NVIDIA_FIELDS = ("name", "utilization.gpu", "memory.used", "memory.total", "temperature.gpu")
_NVIDIA_TIMEOUT_S = 10.0
_NVIDIA_FAILURES = 3
# Where the driver is loaded for every question it takes seconds: then it is asked less often.
_PAUSE_FACTOR = 20.0
_DRM = Path("/sys/class/drm")
_MEBIBYTE = 2**20


class Gauges:
    """Reads this machine's load while it is wanted.

    Args:
        runner: Starts processes.
        drm: Where Linux shows its graphics cards.
        which: Looks a program up.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        drm: Path = _DRM,
        which: Callable[[str], str | None] = shutil.which,
    ) -> None:
        self._runner = runner
        self._drm = drm
        self._which = which
        self._clock = runner.reactor
        self._fresh: WorkerLoad | None = None
        self._loop = LoopingCall(self._read)
        self._loop.clock = runner.reactor
        self._failures = 0
        self._ask_again_s = 0.0
        self._nvidia: tuple[GpuLoad, ...] = ()

    def start(self) -> None:
        """Begin to read; nothing happens when that is done already."""
        if not self._loop.running:
            self._loop.start(_EVERY_S).addErrback(
                lambda failure: log.failure("the machine's load is not read any more", failure)
            )

    def stop(self) -> None:
        """Read no more."""
        if self._loop.running:
            self._loop.stop()
        self._fresh = None

    def take(self) -> WorkerLoad | None:
        """The load, if it was read since this was asked last."""
        fresh, self._fresh = self._fresh, None
        return fresh

    def _read(self) -> Deferred[None]:
        return ensureDeferred(self._look())

    async def _look(self) -> None:
        system: WorkerLoad
        cards: tuple[GpuLoad, ...]
        system, cards = await deferToThread(_system, self._drm)
        await self._ask_nvidia()
        if self._loop.running:
            gpus = (*self._nvidia, *cards)[:MAX_GPUS]
            self._fresh = WorkerLoad(
                system.cpu_percent, system.memory_used_bytes, system.memory_total_bytes, gpus
            )

    async def _ask_nvidia(self) -> None:
        now = self._clock.seconds()
        if self._failures >= _NVIDIA_FAILURES or now < self._ask_again_s:
            return
        path = self._which(_NVIDIA)
        if path is None:
            self._failures = _NVIDIA_FAILURES
            return
        command = Command(
            (path, f"--query-gpu={','.join(_NVIDIA_FIELDS)}", "--format=csv,noheader,nounits"),
            "question",
        )
        finished = await self._runner.run(command, timeout_s=_NVIDIA_TIMEOUT_S).done
        self._ask_again_s = self._clock.seconds() + _PAUSE_FACTOR * finished.elapsed_s
        if finished.returncode == 0:
            self._failures = 0
            self._nvidia = nvidia_gpus(finished.stdout.decode("utf-8", "replace"))
        else:
            self._failures += 1
            self._nvidia = ()


def nvidia_gpus(text: str) -> tuple[GpuLoad, ...]:
    """The GPUs in what nvidia-smi printed; a line that is not understood is left out."""
    found = []
    for row in csv.reader(text.splitlines(), skipinitialspace=True):
        if len(row) != len(_NVIDIA_FIELDS):
            continue
        name, busy, used, total, temperature = row
        with contextlib.suppress(ValueError, OverflowError):
            found.append(
                GpuLoad(
                    name[:256],
                    _number(busy),
                    _scaled(used, _MEBIBYTE),
                    _scaled(total, _MEBIBYTE),
                    _number(temperature),
                )
            )
    return tuple(found)


def _system(drm: Path) -> tuple[WorkerLoad, tuple[GpuLoad, ...]]:
    """Processors and memory, and the cards whose drivers tell their load in files (blocks)."""
    memory = psutil.virtual_memory()
    busy = min(100.0, max(0.0, psutil.cpu_percent(interval=None)))
    used = max(0, memory.total - memory.available)
    return WorkerLoad(busy, used, memory.total), sysfs_gpus(drm)


def sysfs_gpus(drm: Path) -> tuple[GpuLoad, ...]:
    """The cards that Linux tells the load or the temperature of (blocks)."""
    try:
        devices = sorted(drm.glob("card[0-9]*/device"))
    except OSError:
        return ()
    # Connectors have a `device` too, which is the card again.
    found = [_card(device) for device in devices if "-" not in device.parent.name]
    return tuple(card for card in found if card is not None)


def _card(device: Path) -> GpuLoad | None:
    temperatures = sorted(device.glob("hwmon/hwmon*/temp1_input"))
    millidegrees = _first(temperatures[:1])
    busy = _first([device / "gpu_busy_percent"])
    used = _first([device / "mem_info_vram_used"])
    total = _first([device / "mem_info_vram_total"])
    if busy is None and used is None and millidegrees is None:
        return None
    try:
        driver = (device / "driver").resolve().name
        return GpuLoad(
            f"{driver} {device.parent.name}",
            busy,
            None if used is None else int(used),
            None if total is None else int(total),
            None if millidegrees is None else millidegrees / 1000,
        )
    except (OSError, ValueError, OverflowError):
        return None


def _first(paths: Sequence[Path]) -> float | None:
    for path in paths:
        with contextlib.suppress(OSError):
            return _number(path.read_text(encoding="ascii", errors="replace").strip())
    return None


def _number(text: str) -> float | None:
    """A number, or None for `[N/A]` and the like."""
    try:
        return float(text)
    except ValueError:
        return None


def _scaled(text: str, unit: int) -> int | None:
    value = _number(text)
    return None if value is None else round(value * unit)
