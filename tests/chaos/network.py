"""A worker's own network namespace, joined to the coordinator by a link that can be cut.

Needs root and `ip`; `available` says why not. One-way loss is made with a wrong hardware address
for the other end: what is sent that way arrives at nobody, what comes the other way does.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import ClassVar

import attrs

# Two harnesses on one machine do not meet.
_BRIDGE = f"ffchaos{os.getpid()}"
_SUBNET = f"10.213.{os.getpid() % 250}"
_NOBODY = "02:00:00:00:00:99"


def outside() -> str:
    """The coordinator's address on every link."""
    return f"{_SUBNET}.1"


def _ip(*words: str, check: bool = True) -> str:
    done = subprocess.run(["ip", *words], check=False, capture_output=True, text=True)
    if check and done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def available() -> str:
    """Why there are no namespaces here, or ""."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "there is no ip command"
    try:
        _ip("netns", "add", "ffchaos-try")
        _ip("netns", "del", "ffchaos-try")
    except RuntimeError as error:
        return str(error)
    return ""


@attrs.frozen
class Namespace:
    """One namespace, and its end of the link."""

    _numbers: ClassVar[Iterator[int]] = itertools.cycle(range(2, 250))
    name: str
    link: str
    inside: str

    @classmethod
    def make(cls) -> Namespace:
        """Make one, on the bridge that `make_bridge` made."""
        number = next(cls._numbers)
        made = cls(f"{_BRIDGE}-{number}", f"fc{os.getpid()}-{number}", f"{_SUBNET}.{number}")
        _ip("netns", "add", made.name)
        _ip("link", "add", made.link, "type", "veth", "peer", "name", "eth0", "netns", made.name)
        _ip("link", "set", made.link, "master", _BRIDGE, "up")
        inside = ("-n", made.name)
        _ip(*inside, "link", "set", "lo", "up")
        _ip(*inside, "link", "set", "eth0", "up")
        _ip(*inside, "addr", "add", f"{made.inside}/24", "dev", "eth0")
        return made

    @property
    def prefix(self) -> list[str]:
        """Words before a command that shall live in it."""
        return ["ip", "netns", "exec", self.name]

    def cut(self) -> None:
        """Nothing passes any more; nobody is told."""
        _ip("link", "set", self.link, "down")

    def deafen(self) -> None:
        """What the coordinator sends is lost; what the worker sends arrives."""
        _ip("neigh", "replace", self.inside, "lladdr", _NOBODY, "dev", _BRIDGE, "nud", "permanent")

    def silence(self) -> None:
        """What the worker sends is lost; what the coordinator sends arrives."""
        _ip("-n", self.name, "neigh", "replace", outside(), "lladdr", _NOBODY, "dev", "eth0",
            "nud", "permanent")  # fmt: skip

    def heal(self) -> None:
        """Everything passes again."""
        _ip("link", "set", self.link, "up")
        _ip("neigh", "del", self.inside, "dev", _BRIDGE, check=False)
        _ip("-n", self.name, "neigh", "del", outside(), "dev", "eth0", check=False)

    def remove(self) -> None:
        _ip("link", "del", self.link, check=False)
        _ip("netns", "del", self.name, check=False)


def make_bridge() -> None:
    """Make the coordinator's end of all links."""
    _ip("link", "add", _BRIDGE, "type", "bridge", check=False)
    _ip("addr", "replace", f"{outside()}/24", "dev", _BRIDGE)
    _ip("link", "set", _BRIDGE, "up")


def remove_bridge() -> None:
    _ip("link", "del", _BRIDGE, check=False)
