"""Real shells that complete what a test types, each with the script that we print for it."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.e2e.cluster import run

SHELLS = ("bash", "zsh", "fish")
_PROMPT = "what now? "
_LIMIT_S = 60.0
# Keys: ^T has all that is offered inserted, ^G writes down what the line then is, and empties it.
_BASH = f"""
PS1='{_PROMPT}'; HISTFILE=; source ./completion
bind 'set bell-style none'; bind 'set completion-query-items 0'; bind 'set page-completions off'
shown() {{ printf '%s\\n' "$READLINE_LINE" >> shown; READLINE_LINE=; READLINE_POINT=0; }}
bind -x '"\\C-g": shown'; bind '"\\C-t": insert-completions'
"""
_ZSH = f"""
PS1='{_PROMPT}'; HISTFILE=; setopt nobeep nopromptcr nopromptsp
fpath=($ZDOTDIR/functions $fpath); autoload -Uz compinit; compinit -u -D
shown() {{ print -r -- "$BUFFER" >> shown; BUFFER= }}
zle -N shown; bindkey '^G' shown
zle -C all-matches complete-word _generic; bindkey '^T' all-matches
zstyle ':completion:all-matches::::' completer _all_matches _complete
zstyle ':completion:all-matches:*' insert true
"""


class Shell:
    """A shell in which somebody types `ffcluster` commands.

    Args:
        name: One of `SHELLS`; the test is skipped where there is none.
        folder: Where it runs.
        env: Variables beside those of this process.
    """

    def __init__(self, name: str, folder: Path, env: Mapping[str, str] | None = None) -> None:
        if shutil.which(name) is None:
            pytest.skip(f"there is no {name}")
        self._name, self._folder = name, folder
        home = folder / "home"
        (home / "functions").mkdir(parents=True, exist_ok=True)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        own = {"PATH": path, "HOME": str(home), "ZDOTDIR": str(home), "TERM": "xterm"}
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("FFCLUSTER_")}
        self._env = {**inherited, **own, "XDG_CONFIG_HOME": str(home), **(env or {})}
        script = run("completion", name).stdout
        for target in ("completion", "home/functions/_ffcluster"):
            (folder / target).write_text(script)
        self._shown = folder / "shown"
        self._shown.write_text("")
        self._process: subprocess.Popen[bytes] | None = None
        if name != "fish":
            self._begin()

    def _begin(self) -> None:
        (self._folder / "bashrc").write_text(_BASH)
        (self._folder / "home" / ".zshrc").write_text(_ZSH)
        self._ours, theirs = pty.openpty()
        command = {"bash": ["bash", "--rcfile", "bashrc", "-i"], "zsh": ["zsh", "-d", "-i"]}
        self._process = subprocess.Popen(
            command[self._name], stdin=theirs, stdout=theirs, stderr=theirs,
            cwd=self._folder, env=self._env, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self.screen = ""
        self._until(lambda: _PROMPT in self.screen)

    def _until(self, happened: object) -> None:
        deadline = time.monotonic() + _LIMIT_S
        while not happened():  # type: ignore[operator]
            assert time.monotonic() < deadline, self.screen
            if select.select([self._ours], [], [], 0.05)[0]:
                self.screen += os.read(self._ours, 65536).decode("utf-8", "replace")

    def _press(self, keys: str) -> str:
        before = self._shown.read_text()
        os.write(self._ours, (keys + "\x07").encode())
        self._until(lambda: self._shown.read_text()[len(before) :].endswith("\n"))
        return self._shown.read_text()[len(before) :].rstrip("\n")

    def runs(self, command: str) -> None:
        """Have the shell run a command."""
        prompts = self.screen.count(_PROMPT)
        os.write(self._ours, f"{command}\r".encode())
        self._until(lambda: self.screen.count(_PROMPT) > prompts)

    def offers(self, line: str) -> list[str]:
        """What is offered for the last word of `line`."""
        if self._name == "fish":
            return sorted(self.described(line))
        become = self._press(line + "\x14")
        head = line.rpartition(" ")[0]
        assert become.startswith(head), become
        # Nothing is offered where the word stays as it was.
        return [] if become == line else sorted(become.removeprefix(head).split())

    def becomes(self, line: str) -> str:
        """What `line` is when its only completion was taken."""
        if self._name == "fish":
            (word,) = self.described(line)
            return f"{line.rpartition(' ')[0]} {word}"
        return self._press(line + "\t").rstrip(" ")

    def described(self, line: str) -> dict[str, str]:
        """What fish offers for the last word of `line`, each with its description."""
        asked = subprocess.run(
            ["fish", "-N", "-c", 'source completion; complete -C "$argv[1]"', line],
            cwd=self._folder, env=self._env, capture_output=True, text=True, check=True,
            timeout=_LIMIT_S,
        )  # fmt: skip
        assert asked.stderr == ""
        rows = (row.partition("\t") for row in asked.stdout.splitlines())
        return {word: text for word, _, text in rows}

    def close(self) -> None:
        """End the shell."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            os.close(self._ours)
