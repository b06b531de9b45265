"""The pages: static files in the package, read once, served with caching and a strict policy.

Pages name their files by a path that holds a fingerprint of all of them, so browsers may keep those
for ever. They hold no data: what they show they ask the API for.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request

_FOLDER = Path(__file__).with_name("static")
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
_PACKED = frozenset({".css", ".html", ".js", ".json", ".svg"})
_FOR_EVER = "public, max-age=31536000, immutable"
_ASK_FIRST = "no-cache"
_POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
_SAFE = {
    "content-security-policy": _POLICY,
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@attrs.frozen
class StaticFile:
    """A file as it is sent.

    Attributes:
        data: What it holds.
        packed: The same for browsers that take gzip, or b"" where that does not pay off.
        media_type: Its type.
        etag: Names what it holds.
    """

    data: bytes
    packed: bytes
    media_type: str
    etag: str


@attrs.frozen
class StaticFiles:
    """All files by their path below the folder; `version` is a fingerprint of all of them."""

    files: Mapping[str, StaticFile]
    version: str

    @classmethod
    def load(cls, folder: Path = _FOLDER) -> StaticFiles:
        """Read the folder (blocks)."""
        found = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.suffix in _TYPES
        }
        together = hashlib.sha256()
        for name, data in found.items():
            together.update(f"{name}\0{len(data)}\0".encode() + data)
        version = together.hexdigest()[:16]
        prefix = f'"/static/{version}/'.encode()
        files = {}
        for name, data in found.items():
            if name.endswith(".html"):
                data = data.replace(b'"/static/', prefix)
            files[name] = _file(name, data)
        return cls(files, version)


def _file(name: str, data: bytes) -> StaticFile:
    suffix = Path(name).suffix
    packed = gzip.compress(data, mtime=0) if suffix in _PACKED else b""
    if len(packed) >= len(data):
        packed = b""
    return StaticFile(data, packed, _TYPES[suffix], hashlib.sha256(data).hexdigest()[:32])


class _Served(Resource):
    """One file at one path."""

    isLeaf = True

    def __init__(self, file: StaticFile, *, for_ever: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._file = file
        self._caching = _FOR_EVER if for_ever else _ASK_FIRST

    def render_GET(self, request: Any) -> bytes:
        """Send it, unless the browser has it."""
        file = self._file
        for name, value in _SAFE.items():
            request.setHeader(name, value)
        request.setHeader("cache-control", self._caching)
        request.setHeader("vary", "accept-encoding")
        request.setHeader("content-type", file.media_type)
        data = file.data
        etag = file.etag
        if file.packed and "gzip" in (request.getHeader("accept-encoding") or ""):
            request.setHeader("content-encoding", "gzip")
            data, etag = file.packed, f"{etag}-gzip"
        if request.setETag(f'"{etag}"'.encode()):
            return b""
        request.setHeader("content-length", str(len(data)))
        return data


class StaticTree(Resource):
    """`/static/...`: a path with the fingerprint is the same for ever, one without is asked for."""

    isLeaf = True

    def __init__(self, files: StaticFiles) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._files = files

    def render(self, request: Request) -> Any:
        """Find the file, and send it."""
        parts = [part.decode("utf-8", "replace") for part in request.postpath or []]
        for_ever = bool(parts) and parts[0] == self._files.version
        file = self._files.files.get("/".join(parts[1:] if for_ever else parts))
        if file is None:
            return _nothing(request)
        return _Served(file, for_ever=for_ever).render(request)  # type: ignore[no-untyped-call]


def _nothing(request: Any) -> bytes:
    request.setResponseCode(404)
    request.setHeader("content-type", "text/plain; charset=utf-8")
    return b"There is no such file.\n"


def mount_pages(root: Resource, files: StaticFiles) -> None:
    """Put the dashboard at `/`, its files at `/static/`, the icon where browsers look for it."""
    root.putChild(b"", page(files, "index.html"))
    root.putChild(b"static", StaticTree(files))
    root.putChild(b"favicon.ico", page(files, "icon.svg"))


def page(files: StaticFiles, name: str) -> IResource:
    """One file as a page of its own."""
    return _Served(files.files[name], for_ever=False)
