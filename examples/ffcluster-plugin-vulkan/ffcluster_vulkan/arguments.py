"""Vulkan's own options. Takes only what its schema has accepted."""

from __future__ import annotations

from ffcluster.core.profile import RateMode
from ffcluster.encoders.hardware import HardwareOrder


def device_args(device: str) -> tuple[str, ...]:
    """Open the GPU for the upload and the encoder; `vulkan:1` is the second in ffmpeg's list."""
    number = device.rpartition(":")[2]
    return ("-init_hw_device", f"vulkan=vk:{number}", "-filter_hw_device", "vk")


def options(order: HardwareOrder) -> list[str]:
    """Everything after `-c:v NAME`."""
    profile, rate = order.profile, order.profile.rate
    if rate.mode is RateMode.QUALITY:
        args = ["-rc_mode", "cqp", "-qp", f"{order.quality:g}"]
    elif order.refused("vbr"):
        args = ["-rc_mode", "cbr", "-b:v", str(rate.target_bps)]
    else:
        args = ["-rc_mode", "vbr", "-b:v", str(rate.target_bps), *order.peak()]
    if profile.tune is not None:
        args += ["-tune", profile.tune]
    return [*args, "-idr_interval", "0", *order.structure()]


__all__ = ["device_args", "options"]
