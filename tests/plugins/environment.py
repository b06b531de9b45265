"""An environment of its own, with all of ours in reach, to install plugins into."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import attrs

_LIMIT_S = 120.0
_ENTER = "import sys; from ffcluster.interfaces.cli.main import main; sys.exit(main())"


@attrs.frozen
class Environment:
    """A virtual environment that sees what this one has; what it installs stays in it."""

    root: Path

    @classmethod
    def make(cls, root: Path) -> Environment:
        venv.create(root, with_pip=False, symlinks=os.name != "nt")
        found = cls(root)
        (packages,) = root.rglob("site-packages")
        ours = sysconfig.get_path("purelib")
        (packages / "ours.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
        return found

    @property
    def python(self) -> str:
        return str(self.root / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))

    def pip(self, *arguments: object) -> None:
        command = [sys.executable, "-m", "pip", "--python", self.python, *map(str, arguments)]
        done = subprocess.run(
            [*command, "-q", "--disable-pip-version-check"],
            capture_output=True, text=True, timeout=_LIMIT_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    def install(self, project: Path) -> None:
        self.pip("install", "--no-deps", "--no-build-isolation", "--no-index", project)

    def uninstall(self, distribution: str) -> None:
        self.pip("uninstall", "-y", distribution)

    def command(self, *arguments: object) -> list[str]:
        """The command line of `ffcluster` in this environment."""
        return [self.python, "-c", _ENTER, *map(str, arguments)]

    def ask(self, *arguments: object) -> list[dict[str, Any]]:
        """What `ffcluster ... --json` prints here."""
        done = self._run(self.command(*arguments, "--json"), self.root)
        assert done.returncode == 0, done.stdout + done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def plugins(self) -> dict[str, dict[str, Any]]:
        """What `ffcluster plugins --json` lists, by name."""
        rows = [row["plugin"] for row in self.ask("plugins") if row["type"] == "plugin"]
        return {row["name"]: row for row in rows}

    def run_tests(self, project: Path) -> str:
        """Run a plugin's own tests; answers what pytest printed last."""
        command = [self.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
        done = self._run([*command, "-c", str(project / "pyproject.toml"), "tests"], project)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()[-1]

    def _run(self, command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, timeout=_LIMIT_S, check=False,
            stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
