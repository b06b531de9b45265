"""Small file systems in memory, which can be full. They need root; `available` says why not."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path


def _run(*words: str) -> str:
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    return done.stderr.strip() if done.returncode else ""


def available() -> str:
    """Why no volumes can be made here, or ""."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return "mounting a small disk needs root and a mount command"
    with tempfile.TemporaryDirectory() as directory:
        refused = mount(Path(directory), 1)
        if not refused:
            unmount(Path(directory))
        return refused


def mount(directory: Path, mebibytes: int) -> str:
    """Put an empty volume at `directory`; answers why that failed, or ""."""
    directory.mkdir(parents=True, exist_ok=True)
    return _run("mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=700", "none", str(directory))


def unmount(directory: Path) -> None:
    _run("umount", "--lazy", str(directory))
