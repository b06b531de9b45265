"""Looking at a machine: trees of files stand in for /sys, /proc and /dev."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ffcluster.encoders.backend import DeviceNode, Machine
from ffcluster.media.machine import Whereabouts, read_machine

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs symbolic links")


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def look(root: Path, platform: str = "linux", **environ: str) -> Machine:
    where = Whereabouts(platform=platform, root=root, environ=environ, release="6.1")
    return read_machine(4, where)


def render_node(
    root: Path, number: int, address: str, vendor: str, device: str, driver: str
) -> None:
    write(root / f"dev/dri/renderD{number}")
    pci = root / "sys/devices" / address
    write(pci / "vendor", f"{vendor}\n")
    write(pci / "device", f"{device}\n")
    (root / "sys/drivers" / driver).mkdir(parents=True, exist_ok=True)
    (pci / "driver").symlink_to(root / "sys/drivers" / driver)
    link = root / f"sys/class/drm/renderD{number}/device"
    link.parent.mkdir(parents=True)
    link.symlink_to(pci)


def nvidia(root: Path, address: str, minor: int, model: str) -> None:
    write(root / f"dev/nvidia{minor}")
    write(
        root / "proc/driver/nvidia/gpus" / address / "information",
        f"Model: \t\t {model}\nIRQ:   \t\t 99\nDevice Minor: \t {minor}\n",
    )


def test_machine_without_devices_has_none_and_is_no_error(tmp_path: Path) -> None:
    assert look(tmp_path) == Machine(4, "linux", (), (("linux", "6.1"),))


def test_render_nodes_are_told_with_vendor_and_driver_in_order_of_number(tmp_path: Path) -> None:
    render_node(tmp_path, 129, "0000:03:00.0", "0x1002", "0x744c", "amdgpu")
    render_node(tmp_path, 128, "0000:00:02.0", "0x8086", "0x46a6", "i915")
    write(tmp_path / "dev/dri/card0")
    assert look(tmp_path).devices == (
        DeviceNode("/dev/dri/renderD128", "0x8086", "i915", "Intel 0x46a6"),
        DeviceNode("/dev/dri/renderD129", "0x1002", "amdgpu", "AMD 0x744c"),
    )


def test_names_come_from_the_systems_list_of_pci_devices(tmp_path: Path) -> None:
    render_node(tmp_path, 128, "0000:00:02.0", "0x8086", "0x46a6", "i915")
    write(
        tmp_path / "usr/share/misc/pci.ids",
        "# list\n1002  AMD/ATI\n\t46a6  not this\n"
        "8086  Intel Corporation\n\t1234  another\n\t46a6  Alder Lake-P GT2 [Iris Xe Graphics]\n"
        "\t\t1028 0b19  a subsystem\n9999  last\n\t46a6  nor this\n",
    )
    assert look(tmp_path).devices[0].name == "Intel Alder Lake-P GT2 [Iris Xe Graphics]"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may open everything")
def test_node_without_permission_is_told(tmp_path: Path) -> None:
    render_node(tmp_path, 128, "0000:00:02.0", "0x8086", "0x46a6", "i915")
    (tmp_path / "dev/dri/renderD128").chmod(0)
    assert not look(tmp_path).devices[0].usable


def test_nvidia_gpu_is_named_by_its_driver_with_and_without_a_render_node(tmp_path: Path) -> None:
    render_node(tmp_path, 128, "0000:01:00.0", "0x10de", "0x2786", "nvidia")
    nvidia(tmp_path, "0000:01:00.0", 0, "NVIDIA GeForce RTX 4070")
    nvidia(tmp_path, "0000:02:00.0", 1, "NVIDIA H100 PCIe")
    assert look(tmp_path).devices == (
        DeviceNode("/dev/dri/renderD128", "0x10de", "nvidia", "NVIDIA GeForce RTX 4070"),
        DeviceNode("/dev/nvidia1", "0x10de", "nvidia", "NVIDIA H100 PCIe"),
    )


def test_nvidia_gpu_that_a_container_was_not_given_is_left_out(tmp_path: Path) -> None:
    nvidia(tmp_path, "0000:01:00.0", 0, "NVIDIA GeForce RTX 4070")
    (tmp_path / "dev/nvidia0").unlink()
    assert look(tmp_path).devices == ()


@pytest.mark.parametrize(
    "text",
    [
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19\n",
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  535.104.05  Release Build\n",
    ],
)
def test_version_of_nvidias_driver_is_read(tmp_path: Path, text: str) -> None:
    write(tmp_path / "proc/driver/nvidia/version", text + "GCC version:  gcc version 12.2.0\n")
    assert ("nvidia", "535.104.05") in look(tmp_path).drivers


def test_libraries_are_told_apart_by_their_real_name_and_a_users_folder_comes_first(
    tmp_path: Path,
) -> None:
    system = tmp_path / "usr/lib/x86_64-linux-gnu"
    write(system / "libcuda.so.535.104.05", "system")
    (system / "libcuda.so.1").symlink_to("libcuda.so.535.104.05")
    drivers = dict(look(tmp_path).drivers)
    assert drivers["libcuda.so.1"].startswith("libcuda.so.535.104.05 of ")
    own = write(tmp_path / "own/libcuda.so.1", "my own").parent
    assert dict(look(tmp_path, LD_LIBRARY_PATH=str(own)).drivers) != drivers


def test_va_driver_that_was_updated_makes_another_machine(tmp_path: Path) -> None:
    driver = write(tmp_path / "usr/lib/x86_64-linux-gnu/dri/iHD_drv_video.so", "1")
    before = look(tmp_path)
    assert any(name == "iHD_drv_video.so" for name, _ in before.drivers)
    assert look(tmp_path) == before
    driver.write_text("22")
    assert look(tmp_path) != before


def test_named_folder_of_va_drivers_stands_for_all(tmp_path: Path) -> None:
    write(tmp_path / "usr/lib/x86_64-linux-gnu/dri/iHD_drv_video.so")
    own = write(tmp_path / "own/fake_drv_video.so").parent
    names = [name for name, _ in look(tmp_path, LIBVA_DRIVERS_PATH=str(own)).drivers]
    assert names == ["fake_drv_video.so", "linux"]


def test_hostile_files_of_a_strange_sys_are_survived(tmp_path: Path) -> None:
    render_node(tmp_path, 128, "0000:00:02.0", "0x8086", "0x46a6(", "i915")
    (tmp_path / "sys/devices/0000:00:02.0/vendor").write_bytes(b"\xff\xfe" * 200_000)
    write(tmp_path / "usr/share/misc/pci.ids", "\n  \n")
    (tmp_path / "proc/driver/nvidia/gpus/x/information").mkdir(parents=True)
    (tmp_path / "proc/driver/nvidia/version").mkdir()
    (device,) = look(tmp_path).devices
    assert (device.vendor, device.name) == ("", "")


def test_other_systems_are_told_by_their_release(tmp_path: Path) -> None:
    assert ("darwin", "6.1") in look(tmp_path, "darwin").drivers
    write(tmp_path / "Windows/System32/nvcuda.dll", "x")
    windows = look(tmp_path, "win32", SYSTEMROOT="Windows")
    assert [name for name, _ in windows.drivers] == ["nvcuda.dll", "windows"]
