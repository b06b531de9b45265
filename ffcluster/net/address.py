"""Addresses of a coordinator as people give them, and the rules about hosts and origins."""

from __future__ import annotations

from urllib.parse import urlsplit

import attrs

from ffcluster.errors import InvalidOption

_HTTP_OF = {"ws": "http", "wss": "https", "http": "http", "https": "https"}
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
DEFAULT_PORT = 5001


@attrs.frozen
class CoordinatorAddress:
    """Where a coordinator listens."""

    host: str
    port: int
    secure: bool = False

    @classmethod
    def parse(cls, url: str) -> CoordinatorAddress:
        """Read `ws://host:5001`, `http://host:5001`, `host:5001` or `host`.

        Raises:
            InvalidOption: It is none of these.
        """
        text = url.strip()
        try:
            parts = urlsplit(text if "://" in text else f"ws://{text}")
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
            parts = urlsplit("")
        if not host or parts.scheme not in _HTTP_OF or parts.path not in ("", "/", "/ws"):
            raise InvalidOption(
                message=f"{url!r} is not the address of a coordinator.",
                advice=f"Write it as ws://HOST:PORT, for example ws://localhost:{DEFAULT_PORT}.",
                option="--coordinator",
            )
        return cls(host, port or DEFAULT_PORT, parts.scheme in ("wss", "https"))

    @property
    def authority(self) -> str:
        """`host:port`, with brackets around an IPv6 address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def websocket_url(self) -> str:
        """URL of the control channel."""
        return f"{'wss' if self.secure else 'ws'}://{self.authority}/ws"

    def http_url(self, path: str) -> str:
        """URL of a bulk resource; `path` begins with a slash."""
        return f"{'https' if self.secure else 'http'}://{self.authority}{path}"


def is_loopback_host(host_header: str) -> bool:
    """Whether a Host header names this machine by a loopback name.

    A page of a foreign site can make a browser send requests to 127.0.0.1 under that site's name
    (DNS rebinding); the Host header gives it away.
    """
    try:
        name = urlsplit(f"//{host_header}").hostname
    except ValueError:
        return False
    return name in _LOOPBACK_NAMES
