"""Real processes that can be hurt: their signals, their descendants, what they leave behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs
from twisted.internet import reactor as _reactor
from twisted.internet.task import deferLater

from tests.chaos.film import Wrong
from tests.e2e.cluster import descendants, is_alive

reactor: Any = _reactor
Found = TypeVar("Found")


async def sleep(seconds: float) -> None:
    """Let everything else go on."""
    await deferLater(reactor, max(0.0, seconds))


async def until(
    what: str, look: Callable[[], Found | None], limit_s: float, every_s: float = 0.02
) -> Found:
    """Wait until `look` finds something.

    Raises:
        Wrong: It found nothing in time.
    """
    deadline = time.monotonic() + limit_s
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise Wrong(f"{what} did not come within {limit_s:g} s")
        await sleep(every_s)


@attrs.define
class Process:
    """One process of a cluster, which may be started again and again.

    Attributes:
        name: What its log is called.
        command: How it is started.
        log: Its log; every start goes on with the same file.
        started_at_byte: Where the log of the present start begins.
    """

    name: str
    command: Sequence[str]
    log: Path
    env: Mapping[str, str]
    cwd: Path
    started_at_byte: int = 0
    _running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.started_at_byte = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._running = subprocess.Popen(
                list(self.command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.cwd,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self.env},
            )  # fmt: skip

    @property
    def pid(self) -> int:
        assert self._running is not None
        return self._running.pid

    @property
    def alive(self) -> bool:
        return self._running is not None and self._running.poll() is None

    @property
    def exit_code(self) -> int | None:
        return self._running.poll() if self._running else None

    def said(self) -> str:
        """What it logged since it was started last."""
        with self.log.open("rb") as log:
            log.seek(self.started_at_byte)
            return log.read().decode(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        if self.alive:
            assert self._running is not None
            self._running.send_signal(number)

    def children(self, *words: str) -> list[int]:
        """Processes below it whose command lines hold all of `words`."""
        if not self.alive:
            return []
        found = []
        for pid in descendants(self.pid):
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
                if line and all(word in line for word in words):
                    found.append(pid)
        return found

    async def ended(self, limit_s: float = 20.0) -> int:
        """Wait for its end; answers its exit code."""
        await until(f"the end of {self.name}", lambda: not self.alive, limit_s)
        assert self.exit_code is not None
        return self.exit_code

    async def stop(self) -> None:
        """End it, whatever state it is in."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            await self.ended(10)
        except Wrong:
            self.signal(signal.SIGKILL)
            await self.ended()


def mentioning(text: str) -> dict[int, str]:
    """Every living process whose command line holds `text`, by pid; not this one."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if text in line and is_alive(int(entry.name)):
                found[int(entry.name)] = line.strip()
    return found
