"""The shared secret: how it is carried, and how it is compared."""

from __future__ import annotations

import hmac
import secrets

_SCHEME = "bearer "


def make_token() -> str:
    """A fresh secret of 256 bits, safe in headers and files."""
    return secrets.token_urlsafe(32)


def authorization(token: str | None) -> dict[str, str]:
    """HTTP headers that show `token`; none without one."""
    return {"Authorization": f"Bearer {token}"} if token else {}


def authorized(expected: str | None, header: str | None) -> bool:
    """Whether an Authorization header shows the expected token, compared in constant time."""
    if expected is None:
        return True
    if header is None or header[: len(_SCHEME)].lower() != _SCHEME:
        return False
    shown = header[len(_SCHEME) :].strip()
    return hmac.compare_digest(shown.encode("utf-8", "replace"), expected.encode())
