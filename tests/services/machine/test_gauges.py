"""Reading a machine's load: what is there is told, what is not is left out, nothing blocks."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from ffcluster.core.load import GpuLoad, WorkerLoad
from ffcluster.media.runner import Runner
from ffcluster.services.machine import gauges as module
from ffcluster.services.machine.gauges import Gauges, nvidia_gpus, sysfs_gpus
from tests.integration.media_case import asynchronous

GIB = 2**30
NVIDIA = "NVIDIA H100 80GB HBM3, 37, 1024, 81920, 41\n"


def test_each_gpu_of_nvidia_is_told_with_what_it_tells() -> None:
    text = NVIDIA + "Tesla K20, [N/A], 5, 4742, [Not Supported]\nodd line\n"
    assert nvidia_gpus(text) == (
        GpuLoad("NVIDIA H100 80GB HBM3", 37.0, GIB, 80 * GIB, 41.0),
        GpuLoad("Tesla K20", None, 5 * 2**20, 4742 * 2**20, None),
    )


@pytest.mark.parametrize(
    "row", ["x, 140, 1, 2, 3", "x, 1, -5, 2, 3", "x, nan, 1, 2, 3", "x, 1, inf, 2, 3", ""]
)
def test_nonsense_of_nvidia_is_left_out(row: str) -> None:
    assert nvidia_gpus(row) == ()


def card(drm: Path, name: str, **files: str) -> None:
    device = drm / name / "device"
    for path, text in files.items():
        file = device / path.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def test_cards_are_told_as_far_as_their_drivers_tell(tmp_path: Path) -> None:
    card(
        tmp_path, "card0", gpu_busy_percent="12\n", mem_info_vram_used="1000\n",
        mem_info_vram_total="4000\n", hwmon__hwmon3__temp1_input="55500\n",
    )  # fmt: skip
    card(tmp_path, "card1", hwmon__hwmon4__temp1_input="40000\n")
    card(tmp_path, "card2", vendor="0x1234")
    card(tmp_path, "card0-HDMI-A-1", gpu_busy_percent="12\n")
    first, second = sysfs_gpus(tmp_path)
    assert first.name.endswith("card0")
    assert (first.utilisation_percent, first.temperature_c) == (12.0, 55.5)
    assert (first.memory_used_bytes, first.memory_total_bytes) == (1000, 4000)
    assert (second.utilisation_percent, second.temperature_c) == (None, 40.0)
    assert sysfs_gpus(tmp_path / "nothing") == ()


class GaugesTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="ffcluster-test-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.runner = Runner(reactor)
        self.addCleanup(self.runner.close)
        self.program = self.directory / "nvidia-smi"
        self.log = self.directory / "log"
        self.patch(module, "_EVERY_S", 0.02)
        self.patch(module, "_PAUSE_FACTOR", 0.0)
        self.gauges = Gauges(self.runner, drm=self.directory, which=lambda name: str(self.program))
        self.addCleanup(self.ended)

    def ended(self) -> Deferred[None]:
        self.gauges.stop()
        return deferLater(reactor, 0.05, lambda: None)

    def script(self, text: str) -> None:
        self.program.write_text(f"#!/bin/sh\necho asked >>{self.log}\n{text}\n")
        self.program.chmod(0o755)

    async def reading(self) -> WorkerLoad:
        self.gauges.start()
        while (load := self.gauges.take()) is None:
            await deferLater(reactor, 0.01)
        return load

    @asynchronous
    async def test_machine_is_read_with_its_gpus(self) -> None:
        self.script(f"echo '{NVIDIA.strip()}'")
        load = await self.reading()
        assert 0 <= load.cpu_percent <= 100
        assert 0 < load.memory_used_bytes < load.memory_total_bytes
        assert [gpu.utilisation_percent for gpu in load.gpus] == [37.0]

    @asynchronous
    async def test_program_that_fails_again_and_again_is_asked_no_more(self) -> None:
        self.script("exit 9")
        for _ in range(6):
            assert (await self.reading()).gpus == ()
        assert self.log.read_text().count("asked") == 3

    @asynchronous
    async def test_machine_without_such_a_program_is_read_all_the_same(self) -> None:
        self.gauges = Gauges(self.runner, drm=self.directory, which=lambda name: None)
        assert (await self.reading()).memory_total_bytes > 0
