"""Bound what a helper may use while it looks at a file that a peer sent. Runs in helpers only.

A file can ask for more than it is: packets that unpack to gigabytes, pictures that never end. Where
the system has no such limits (Windows) nothing is bounded; where macOS ignores one, so does this.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

_MEMORY_BYTES = 2 << 30
# Pictures that a decoder holds at once, at 8 bytes a pixel.
_PICTURE_BYTES = 24 * 8
_LEAST_S = 60.0
_BYTES_PER_S = 10_000_000


def time_limit_s(*paths: Path) -> float:
    """Seconds within which files must have been looked at, even on a slow and busy machine."""
    return _LEAST_S + sum(path.stat().st_size for path in paths) / _BYTES_PER_S


@contextlib.contextmanager
def confined(limit_s: float, pixels: int) -> Iterator[None]:
    """Limit time and memory; a helper that is over time ends, which its owner sees.

    Args:
        limit_s: Seconds.
        pixels: Pixels of one picture.

    Raises:
        MemoryError: In the block: it asked for more memory than pictures of this size need.
    """
    if sys.platform == "win32":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = _used_bytes() + _MEMORY_BYTES + pixels * _PICTURE_BYTES
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _used_bytes() -> int:
    """Address space in use, or a guess that is high enough where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return 1 << 40
    return pages * os.sysconf("SC_PAGESIZE")
