"""A terminal without a person: a program on a pseudo-terminal, its screen as lines, and keys."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_SEQUENCE = re.compile(r"\x1b\[([?]?)([0-9;]*)([A-Za-z])")
_LIMIT_S = 60.0


class Screen:
    """What is on a screen after so many characters; of the sequences only what rich uses."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.colours: set[str] = set()
        self.alternate = False
        self.cursor_hidden = False
        self._clear()

    def _clear(self) -> None:
        self._cells = [[" "] * self.width for _ in range(self.height)]
        self._row = self._column = 0

    @property
    def lines(self) -> list[str]:
        return ["".join(row).rstrip() for row in self._cells]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def feed(self, text: str) -> None:
        while text:
            found = _SEQUENCE.match(text)
            if found is not None:
                self._obey(*found.groups())
                text = text[found.end() :]
                continue
            self._write(text[0])
            text = text[1:]

    def _write(self, character: str) -> None:
        if character == "\r":
            self._column = 0
        elif character == "\n":
            self._row = min(self.height - 1, self._row + 1)
        elif character.isprintable() and self._column < self.width:
            self._cells[self._row][self._column] = character
            self._column += 1

    def _obey(self, private: str, parameters: str, what: str) -> None:
        numbers = [int(number or 1) for number in parameters.split(";")]
        if what == "m":
            self.colours |= {n for n in parameters.split(";") if n[:1] in "349" and len(n) == 2}
        elif what == "H":
            self._row, self._column = (n - 1 for n in (*numbers, 1)[:2])
        elif what == "J":
            self._clear()
        elif what == "K":
            self._cells[self._row][self._column :] = [" "] * (self.width - self._column)
        elif private and parameters == "1049":
            self.alternate = what == "h"
            self._clear()
        elif private and parameters == "25":
            self.cursor_hidden = what == "l"


class Terminal:
    """A program that runs on a pseudo-terminal of a size."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], *, width: int = 120, height: int = 24
    ) -> None:
        self.ours, self.theirs = pty.openpty()
        self.resize(width, height)
        self.before = self.settings()
        # GNU readline, where something loaded it, tells children a size of its own.
        inherited = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            command, stdin=self.theirs, stdout=self.theirs, stderr=subprocess.DEVNULL,
            env={**inherited, "TERM": "xterm-256color", **env},
        )  # fmt: skip

    def settings(self) -> list[Any]:
        return termios.tcgetattr(self.theirs)

    def resize(self, width: int, height: int) -> None:
        self.screen = Screen(width, height)
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def press(self, keys: str) -> None:
        os.write(self.ours, keys.encode())

    def read(self, limit_s: float = 0.1) -> None:
        """Take what was written meanwhile."""
        if select.select([self.ours], [], [], limit_s)[0]:
            with contextlib.suppress(OSError):
                # Sequences that end in the middle of a read are completed by the next one.
                data = os.read(self.ours, 65536)
                while data.rpartition(b"\x1b")[1] and not _SEQUENCE.match(
                    "\x1b" + data.rpartition(b"\x1b")[2].decode("utf-8", "replace")
                ):
                    data += os.read(self.ours, 65536)
                self.screen.feed(data.decode("utf-8", "replace"))

    def shows(self, *wanted: str | Callable[[str], object]) -> str:
        """Wait until the screen shows all of it, by text or by test; answers what it shows."""
        deadline = time.monotonic() + _LIMIT_S
        while time.monotonic() < deadline:
            self.read()
            text = self.screen.text
            if all(w in text if isinstance(w, str) else w(text) for w in wanted):
                return text
            assert self.process.poll() is None, text
        raise AssertionError(f"{wanted} did not come; there is:\n{self.screen.text}")

    def ends(self) -> int:
        """Wait for the program's end; answers its exit code."""
        deadline = time.monotonic() + _LIMIT_S
        while self.process.poll() is None and time.monotonic() < deadline:
            self.read()
        self.read()
        return self.process.wait(1)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.ours)
        os.close(self.theirs)
