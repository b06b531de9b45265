"""Secrets: how they are made, carried, recognised, and written down only as their SHA-256."""

from __future__ import annotations

import hashlib
import secrets

_SCHEME = "bearer "
_MARK = "ffc"
_ID_BYTES = 6


def make_token() -> str:
    """A fresh secret of 256 bits, safe in headers and files."""
    return secrets.token_urlsafe(32)


def make_issued_token() -> tuple[str, str]:
    """A fresh secret that names its own public id: `ffc_ID_SECRET`; return the id and it."""
    token_id = secrets.token_hex(_ID_BYTES)
    return token_id, f"{_MARK}_{token_id}_{make_token()}"


def id_in(secret: str) -> str:
    """The public id that an issued secret names, or "" for a secret of another form."""
    mark, _, rest = secret.partition("_")
    token_id, separator, _ = rest.partition("_")
    return token_id if mark == _MARK and separator else ""


def digest(secret: str) -> str:
    """SHA-256 of a secret, hexadecimal: what may be stored of it and compared."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def authorization(token: str | None) -> dict[str, str]:
    """HTTP headers that show `token`; none without one."""
    return {"Authorization": f"Bearer {token}"} if token else {}


def shown_in(header: str | None) -> str | None:
    """The secret that an Authorization header shows, or None."""
    if header is None or header[: len(_SCHEME)].lower() != _SCHEME:
        return None
    return header[len(_SCHEME) :].strip() or None
