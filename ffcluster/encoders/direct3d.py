"""Windows' display adapters, as the hardware families of several vendors find and open them.

An adapter is `dx:N`, numbered as Windows does. One command lists all: ffmpeg opens them in order
and names each until there is no further one, where it fails. Not run on Windows yet.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ffcluster.encoders.backend import ProbeOutcome
from ffcluster.encoders.hardware_trials import Device, Scout

_MOST_ADAPTERS = 8
_ADAPTER = re.compile(r"Using device ([0-9a-f]{4}):[0-9a-f]{4} \(([^\r\n]*)\)")


def adapter_scout() -> Scout:
    """A command that names all adapters; it is expected to fail at the first that is not there."""
    opened = [
        word for n in range(_MOST_ADAPTERS) for word in ("-init_hw_device", f"d3d11va=dx{n}:{n}")
    ]
    source = ("-f", "lavfi", "-i", "nullsrc=s=16x16:d=0.04", "-f", "null", "-")
    return Scout(("-hide_banner", "-nostdin", "-loglevel", "verbose", *opened, *source))


def adapters(outcome: ProbeOutcome, vendor: str) -> Sequence[Device]:
    """The adapters of `vendor` (its PCI number, `0x8086`) among those that were listed."""
    found = enumerate(_ADAPTER.findall(outcome.stderr))
    return [Device(f"dx:{n}", name) for n, (number, name) in found if f"0x{number}" == vendor]


def adapter_args(device: str) -> tuple[str, ...]:
    """Arguments that open adapter `dx:N` under the name `dx`."""
    return ("-init_hw_device", f"d3d11va={device}")


__all__ = ["adapter_args", "adapter_scout", "adapters"]
