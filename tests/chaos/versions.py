"""The version before this one, to run beside it."""

from __future__ import annotations

import subprocess
from pathlib import Path

# The last one that spoke only the first version of the protocol and kept nothing over restarts.
EARLIER = "79bfcf9"
_ROOT = Path(__file__).parents[2]


def unfit() -> str:
    """Why it cannot be had here, or ""."""
    try:
        found = subprocess.run(
            ["git", "cat-file", "-e", f"{EARLIER}^{{commit}}"],
            cwd=_ROOT, check=False, capture_output=True,
        )  # fmt: skip
    except OSError:
        return "there is no git"
    return f"the history does not go back to {EARLIER}" if found.returncode else ""


def check_out(target: Path) -> Path:
    """Write the earlier version's source tree to `target`, unless it is there."""
    if not target.exists():
        target.mkdir()
        archive = target / "tree.tar"
        with archive.open("wb") as file:
            subprocess.run(
                ["git", "archive", EARLIER, "ffcluster", "twisted"],
                cwd=_ROOT, check=True, stdout=file,
            )  # fmt: skip
        subprocess.run(["tar", "-xf", str(archive), "-C", str(target)], check=True)
        archive.unlink()
    return target
