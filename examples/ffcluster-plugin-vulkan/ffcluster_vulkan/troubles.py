"""What ffmpeg's messages about Vulkan mean and what helps. Rules are tried in order."""

from __future__ import annotations

from collections.abc import Sequence

from ffcluster.core.model import Trouble
from ffcluster.encoders.troubles import About, Rule

_DRIVERS = (
    "update the GPU's driver (NVIDIA 550, Mesa 24.1 and newer encode; RADV may need "
    "RADV_PERFTEST=video_encode), or use the plugin of the GPU's vendor"
)

RULES: Sequence[Rule] = (
    Rule(
        r"Unable to open the libvulkan library",
        Trouble.MISSING,
        "the Vulkan loader (libvulkan.so.1) is not here",
        "install libvulkan1 or vulkan-loader",
        about=About.FAMILY,
    ),
    Rule(
        r"VK_ERROR_INCOMPATIBLE_DRIVER|No devices found: ",
        Trouble.MISSING,
        "no GPU has a Vulkan driver here",
        "install the GPU's Vulkan driver (mesa-vulkan-drivers, or NVIDIA's with "
        "NVIDIA_DRIVER_CAPABILITIES=graphics,video in a container)",
        about=About.FAMILY,
    ),
    Rule(
        r"GPU listing:[\s\S]*\(software\) \(0x",
        Trouble.MISSING,
        "Vulkan reaches only a software renderer",
        "install the GPU's Vulkan driver, and check that this user may open /dev/dri/renderD*",
        about=About.FAMILY,
    ),
    Rule(
        r"Device does not support the VK_KHR_video(?:_encode)?_queue extension",
        Trouble.UNSUPPORTED,
        "the GPU's driver has no Vulkan video encoding",
        _DRIVERS,
        about=About.DEVICE,
    ),
    Rule(
        r"Device does not support the (\w+) extension|Device does not support encoding (\w+)"
        r"|Encoding of (\w+) is not supported by this device",
        Trouble.UNSUPPORTED,
        "the GPU's driver does not encode this codec ({0}{1}{2})",
        _DRIVERS,
    ),
    Rule(
        r"Unable to initialize encoding: ([^\n]+?) not supported",
        Trouble.UNSUPPORTED,
        "the GPU's driver does not encode this: {0}",
        _DRIVERS,
    ),
    Rule(
        r"Unsupported rate control mode (\w+)",
        Trouble.UNSUPPORTED,
        "the GPU's driver has no rate control {0}",
        _DRIVERS,
        drops="{0}",
    ),
    Rule(
        r"Driver does not support required encode feedback flags",
        Trouble.UNSUPPORTED,
        "the GPU's driver does not say how much it has written",
        _DRIVERS,
        about=About.DEVICE,
    ),
    Rule(
        r"too large for encoder limits: (\d+)x(\d+) max",
        Trouble.UNSUPPORTED,
        "the GPU encodes no more than {0}x{1}",
        "scale the picture down, or use another encoder",
    ),
    Rule(
        r"VK_ERROR_DEVICE_LOST",
        Trouble.BROKEN,
        "the GPU was lost while it encoded",
        "look into the system's log; update the driver",
        about=About.DEVICE,
    ),
    Rule(
        r"VK_ERROR_(?:OUT_OF_(?:HOST|DEVICE)_MEMORY|TOO_MANY_OBJECTS)",
        Trouble.BUSY,
        "the GPU has no room for another encode",
        "wait, or give this worker fewer slots",
        about=About.DEVICE,
    ),
)

__all__ = ["RULES"]
