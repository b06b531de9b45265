"""Tells systemd how this process is doing, by its notify protocol (sd_notify(3)).

Each message is a datagram to the socket that `NOTIFY_SOCKET` names; with `WATCHDOG_USEC` the
process says twice in that time that its reactor turns. Without them nothing is done.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from typing import Any

from twisted.internet.task import LoopingCall

_MICROSECONDS_PER_S = 1_000_000


class Supervision:
    """The supervisor of this process, if it has one that listens.

    Args:
        reactor: Shows by its turning that the process is alive.
        environ: Where the supervisor says what it wants.
        pid: The process that it means.
    """

    def __init__(
        self, reactor: Any, environ: Mapping[str, str] = os.environ, pid: int | None = None
    ) -> None:
        name = environ.get("NOTIFY_SOCKET", "")
        # A name in the abstract namespace is written with an @.
        self._address = f"\0{name[1:]}" if name.startswith("@") else name
        self._every_s = _watchdog_s(environ, os.getpid() if pid is None else pid) / 2
        self._loop = LoopingCall(self._tell, "WATCHDOG=1")
        self._loop.clock = reactor

    def begin(self) -> None:
        """The reactor turns from now on; say so as often as is asked for, to the very end."""
        if self._address and self._every_s and not self._loop.running:
            self._loop.start(self._every_s)

    def ready(self) -> None:
        """The process does its work."""
        self._tell("READY=1")

    def stopping(self) -> None:
        """The process ends, or drains."""
        self._tell("STOPPING=1")

    def end(self) -> None:
        """Say nothing any more."""
        if self._loop.running:
            self._loop.stop()

    def _tell(self, message: str) -> None:
        if not self._address:
            return
        # A supervisor that does not listen must not stop the work.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
            to.setblocking(False)
            to.sendto(message.encode("ascii"), self._address)


def _watchdog_s(environ: Mapping[str, str], pid: int) -> float:
    """How often the process must be heard of, in seconds; 0.0: it need not be."""
    wanted, whose = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not (wanted.isascii() and wanted.isdigit()) or whose not in ("", str(pid)):
        return 0.0
    return int(wanted) / _MICROSECONDS_PER_S
