"""Check built wheels: their contents, and that they work in fresh environments.

Run by `.ci/run` with the folder that holds them. What is installed beside them is the newest that
they allow, as for anybody who uses pip; with this Python, and with the newest that is found.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
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
NEWER = ("python3.14", "python3.13", "python3.12")
FILM = ("-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=2", "-g", "10")


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


def newest() -> str | None:
    """The newest Python here that is newer than this one, or None."""
    for name in NEWER:
        if sys.version_info >= tuple(map(int, name.removeprefix("python").split("."))):
            return None
        try:
            subprocess.run([name, "-c", "import venv"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return name
    return None


def check_installed(ours: Path, wheels: list[Path], interpreter: str) -> None:
    """Install all wheels into a fresh environment, call what they bring, and encode a film."""
    names = [f"{wheel}[ffmpeg]" if wheel == ours else str(wheel) for wheel in wheels]
    with tempfile.TemporaryDirectory(prefix="ffcluster-wheels-") as folder:
        subprocess.run([interpreter, "-m", "venv", folder], check=True)
        scripts = Path(folder) / ("Scripts" if sys.platform == "win32" else "bin")
        python = str(scripts / "python")
        install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*install, *names], check=True, cwd=folder)
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
        ffmpeg = subprocess.run(
            [python, "-c", "import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())"],
            check=True, capture_output=True, text=True, cwd=folder,
        ).stdout.strip()  # fmt: skip
        subprocess.run([ffmpeg, "-v", "error", *FILM, "film.mkv"], check=True, cwd=folder)
        encode = [str(scripts / "ffcluster"), "encode", "film.mkv", "done.mkv", "--quiet"]
        subprocess.run(encode, check=True, cwd=folder)


def main() -> None:
    """Check every wheel in the folder given as argument."""
    wheels = sorted(Path(sys.argv[1]).resolve().glob("*.whl"))
    ours = [wheel for wheel in wheels if wheel.name.startswith("ffcluster-")]
    if len(ours) != 1:
        raise SystemExit(f"one wheel of ffcluster is needed, found {[w.name for w in ours]}")
    check_contents(ours[0])
    for interpreter in filter(None, (sys.executable, newest())):
        check_installed(ours[0], wheels, interpreter)
        version = subprocess.check_output([interpreter, "--version"], text=True).strip()
        print(f"{len(wheels)} wheels are complete and work with {version}")


if __name__ == "__main__":
    main()
