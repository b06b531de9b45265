"""Check built wheels: their contents, and that they work in a fresh environment.

Run by `.ci/run` with the folder that holds them.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

REQUIRED = (
    "ffcluster/py.typed",
    "ffcluster/interfaces/tap.py",
    "ffcluster/testing/contract.py",
    "ffcluster/interfaces/cli/main.py",
    "twisted/plugins/ffcluster_plugin.py",
)
# Twisted's own package would be shadowed by either of the first two.
FORBIDDEN = ("twisted/__init__.py", "twisted/plugins/__init__.py", "tests/")


def check_contents(wheel: Path) -> None:
    """Make sure that the wheel holds what it must and nothing that it must not."""
    names = zipfile.ZipFile(wheel).namelist()
    missing = [name for name in REQUIRED if name not in names]
    unwanted = [
        name
        for name in names
        if name.startswith(FORBIDDEN) or name.endswith(("dropin.cache", ".pyc"))
    ]
    if missing or unwanted:
        raise SystemExit(f"{wheel.name}: missing {missing}, unwanted {unwanted}")


def check_installed(wheels: list[Path]) -> None:
    """Install all wheels into a fresh environment and call what they bring."""
    with tempfile.TemporaryDirectory(prefix="ffcluster-wheels-") as folder:
        venv.create(folder, with_pip=True)
        scripts = Path(folder) / ("Scripts" if sys.platform == "win32" else "bin")
        python = str(scripts / "python")
        install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*install, *map(str, wheels)], check=True, cwd=folder)
        shown = {
            command: subprocess.run(
                [str(scripts / command), "--help"],
                check=True, capture_output=True, text=True, cwd=folder,
            ).stdout
            for command in ("ffcluster", "twistd")
        }  # fmt: skip
        for command, word in (
            ("ffcluster", "encode"),
            ("twistd", "ffcluster-server"),
            ("twistd", "ffcluster-worker"),
        ):
            if word not in shown[command]:
                raise SystemExit(f"{command} --help does not mention {word}")
        # Authors of plugins may use it without having pytest.
        subprocess.run([python, "-c", "import ffcluster.testing"], check=True, cwd=folder)


def main() -> None:
    """Check every wheel in the folder given as argument."""
    wheels = sorted(Path(sys.argv[1]).resolve().glob("*.whl"))
    ours = [wheel for wheel in wheels if wheel.name.startswith("ffcluster-")]
    if len(ours) != 1:
        raise SystemExit(f"one wheel of ffcluster is needed, found {[w.name for w in ours]}")
    check_contents(ours[0])
    check_installed(wheels)
    print(f"{len(wheels)} wheels are complete and work")


if __name__ == "__main__":
    main()
