"""Byte ranges and digests as HTTP writes them (RFC 9110, RFC 9530). Pure parsing."""

from __future__ import annotations

import base64
import binascii
import re

import attrs

from ffcluster.errors import ProtocolError

_CONTENT_RANGE = re.compile(r"bytes (\d{1,16})-(\d{1,16})/(\d{1,16})\Z")
_RANGE = re.compile(r"bytes=(\d{1,16})-(\d{0,16})\Z")
_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/=]{1,64}):\Z")


@attrs.frozen
class Block:
    """A block of an upload: bytes `start` (included) to `stop` (excluded) of `total`."""

    start: int
    stop: int
    total: int

    @classmethod
    def parse(cls, header: str) -> Block:
        """Read a Content-Range header; an empty file is sent as `bytes 0-0/0`.

        Raises:
            ProtocolError: It is none, or contradicts itself.
        """
        match = _CONTENT_RANGE.match(header)
        if match is None:
            raise ProtocolError(message=f"Content-Range {header[:80]!r} is not understood.")
        first, last, total = (int(group) for group in match.groups())
        if total == 0 and first == last == 0:
            return cls(0, 0, 0)
        if not first <= last < total:
            raise ProtocolError(message=f"Content-Range {header[:80]!r} contradicts itself.")
        return cls(first, last + 1, total)

    @property
    def header(self) -> str:
        """The Content-Range header."""
        return f"bytes {self.start}-{max(self.start, self.stop - 1)}/{self.total}"


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """The one range that a Range header asks for, as (start, stop); None: the whole file.

    Raises:
        ProtocolError: The range lies outside the file.
    """
    match = _RANGE.match(header) if header else None
    if match is None:
        # Other forms may be ignored (RFC 9110, 14.2): the whole file answers them too.
        return None
    start = int(match[1])
    stop = min(int(match[2]) + 1, size) if match[2] else size
    if start >= size or stop <= start:
        raise ProtocolError(message=f"Range {header!r} lies outside a file of {size} bytes.")
    return start, stop


def digest_header(sha256_hex: str) -> str:
    """A Repr-Digest header of a SHA-256."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256_hex)).decode()}:"


def parse_digest(header: str) -> str:
    """The SHA-256 (hex) of a Repr-Digest header.

    Raises:
        ProtocolError: It holds none.
    """
    match = _DIGEST.match(header)
    try:
        raw = base64.b64decode(match[1], validate=True) if match else b""
    except binascii.Error:
        raw = b""
    if len(raw) != 32:
        raise ProtocolError(message=f"Repr-Digest {header[:100]!r} holds no SHA-256.")
    return raw.hex()
