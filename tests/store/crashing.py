"""Children that kill themselves at a named step, and file systems that are soon full."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ffcluster.steps import Step

_PRELUDE = """
import os, signal
from pathlib import Path
from ffcluster import steps
from ffcluster.store import files
from ffcluster.store.blobs import FileBlobs

def observe(step):
    if step.value == {step!r}:
        os.kill(os.getpid(), signal.SIGKILL)

steps.observer = observe
"""


def killed_at(step: Step, script: str) -> bool:
    """Run `script` in a process that is killed when it reaches `step`; whether it was."""
    code = _PRELUDE.format(step=step.value) + textwrap.dedent(script)
    child = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    return child.returncode == -signal.SIGKILL


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """A file system of its own with `size_bytes`; fails with CalledProcessError without rights."""
    folder.mkdir()
    size = f"size={size_bytes}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
