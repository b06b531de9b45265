"""Bulk data on the coordinator: GET with Range, PUT in blocks that may be interrupted and go on.

Files are read and written in threads. Who may ask at all is decided by `ffcluster.net.site`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO, Protocol

import attrs
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.web import http
from twisted.web.pages import notFound
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from ffcluster.errors import (
    DiskFull,
    ErrorReport,
    FfclusterError,
    OutputUnwritable,
    ProtocolError,
    TransferFailed,
)
from ffcluster.net.ranges import Block, digest_header, parse_digest, parse_range

log = Logger()

_UNPROCESSABLE = 422
SEND_BYTES = 256 * 1024


@attrs.frozen
class Readable:
    """A file that may be fetched."""

    path: Path
    size_bytes: int
    sha256: str


class Writable(Protocol):
    """A blob that arrives in blocks (see `ffcluster.store.files.IncomingFile`)."""

    offset: int

    @property
    def whole(self) -> bool:
        """Whether it arrived and its SHA-256 was right."""

    def expect(self, total: int) -> None:
        """Take in the announced size, or raise `Refused`."""

    def take(self, start: int, data: bytes, sha256: str | None) -> None:
        """Append a block, and finish when it was the last one (blocks the thread)."""


class Shelf(Protocol):
    """Where the services keep what is fetched and put, by kind and unguessable id."""

    def readable(self, kind: str, name: str) -> Readable | None:
        """The file to fetch at `/v1/KIND/NAME`, or None."""

    def writable(self, kind: str, name: str) -> Writable | None:
        """The blob to put at `/v1/KIND/NAME`, or None."""


@implementer(IPushProducer)
class _FileSender:
    """Sends a stretch of a file, read in threads, as fast as the peer takes it."""

    def __init__(self, request: Request, file: BinaryIO, length: int) -> None:
        self._request = request
        self._file = file
        self._left = length
        self._going = True
        self._reading = False
        self.done: Deferred[None] = Deferred()  # fails when not all was sent

    def start(self) -> Deferred[None]:
        self._request.registerProducer(self, True)
        self._read()
        return self.done

    def pauseProducing(self) -> None:
        self._going = False

    def resumeProducing(self) -> None:
        self._going = True
        self._read()

    def stopProducing(self) -> None:
        self._going = False
        self._left = 0
        if not self._reading:
            self._end("the peer went away")

    def _read(self) -> None:
        if self._reading or not self._going:
            return
        self._reading = True
        reading = deferToThread(self._file.read, min(SEND_BYTES, self._left))
        reading.addCallbacks(self._send, self._fail)

    def _send(self, data: bytes) -> None:
        self._reading = False
        if not self._left:
            self._end("the peer went away")
            return
        if not data:
            self._end("the file is shorter than it was")
            return
        self._left -= len(data)
        self._request.write(data)
        if not self._left:
            self._end(None)
        else:
            self._read()

    def _fail(self, failure: Any) -> None:
        self._reading = False
        self._end(str(failure.value))

    def _end(self, reason: str | None) -> None:
        if self.done.called:
            return
        self._file.close()
        if self._request.channel is not None:
            self._request.unregisterProducer()
        if reason is None:
            self.done.callback(None)
        else:
            self.done.errback(TransferFailed(message=f"It was not sent whole: {reason}."))


class _Blob(Resource):
    """`/v1/KIND/NAME`."""

    isLeaf = True

    def __init__(self, shelf: Shelf, kind: str, name: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._shelf, self._kind, self._name = shelf, kind, name

    def render_GET(self, request: Request) -> int | bytes:
        found = self._shelf.readable(self._kind, self._name)
        if found is None:
            return _refuse(request, http.NOT_FOUND, "there is no such file")
        try:
            wanted = parse_range(request.getHeader("range"), found.size_bytes)
        except ProtocolError as error:
            request.setHeader("content-range", f"bytes */{found.size_bytes}")
            return _refuse(request, http.REQUESTED_RANGE_NOT_SATISFIABLE, error.message)
        request.setHeader("content-type", "application/octet-stream")
        _run(request, _send(request, found, wanted))
        return NOT_DONE_YET

    def render_HEAD(self, request: Request) -> int | bytes:
        incoming = self._shelf.writable(self._kind, self._name)
        if incoming is None:
            return self.render_GET(request)
        request.setHeader("upload-offset", str(incoming.offset))
        request.setHeader("upload-complete", "?1" if incoming.whole else "?0")
        return b""

    def render_PUT(self, request: Request) -> int | bytes:
        incoming = self._shelf.writable(self._kind, self._name)
        if incoming is None:
            return _refuse(request, http.NOT_FOUND, "nothing is expected there")
        _run(request, self._put(request, incoming))
        return NOT_DONE_YET

    async def _put(self, request: Request, incoming: Writable) -> None:
        block = Block.parse(request.getHeader("content-range") or "")
        data = request.content.read() if request.content else b""
        if len(data) != block.stop - block.start:
            raise ProtocolError(message=f"{block.header} announces another size than came.")
        incoming.expect(block.total)
        header = request.getHeader("repr-digest")
        digest = parse_digest(header) if header is not None else None
        await deferToThread(incoming.take, block.start, data, digest)
        request.setHeader("upload-offset", str(incoming.offset))
        request.setHeader("upload-complete", "?1" if incoming.whole else "?0")
        request.setResponseCode(http.CREATED if incoming.whole else http.NO_CONTENT)


async def send_file(request: Request, found: Readable, wanted: tuple[int, int] | None) -> None:
    """Answer a GET or HEAD with a file, and finish it; type and name are set by the caller.

    Args:
        request: What is answered.
        found: The file.
        wanted: The bytes (start, stop) that are asked for, or None for all.

    Raises:
        OSError: It cannot be opened; nothing was answered yet.
        TransferFailed: The answer was begun, and is not whole.
    """
    await _send(request, found, wanted)
    if request.channel is not None:
        request.finish()


async def _send(request: Request, found: Readable, wanted: tuple[int, int] | None) -> None:
    start, stop = wanted or (0, found.size_bytes)
    empty = request.method == b"HEAD" or stop == start
    file = None if empty else await deferToThread(_open_at, found.path, start)
    request.setResponseCode(http.PARTIAL_CONTENT if wanted else http.OK)
    if wanted:
        request.setHeader("content-range", f"bytes {start}-{stop - 1}/{found.size_bytes}")
    request.setHeader("content-length", str(stop - start))
    request.setHeader("accept-ranges", "bytes")
    request.setHeader("repr-digest", digest_header(found.sha256))
    if file is None:
        request.write(b"")
    elif request.channel is None:
        file.close()
    else:
        await _FileSender(request, file, stop - start).start()


def _open_at(path: Path, offset: int) -> BinaryIO:
    file = path.open("rb")
    file.seek(offset)
    return file


def _abort(request: Request) -> None:
    channel: Any = request.channel
    if channel is not None:
        channel.transport.abortConnection()


def _refuse(request: Request, code: int, reason: str) -> bytes:
    request.setResponseCode(code)
    request.setHeader("content-type", "text/plain; charset=utf-8")
    return f"{reason}\n".encode()


def _run(request: Request, work: Any) -> None:
    """Drive a coroutine that answers `request`; the peer may go away at any moment."""
    gone: list[object] = []
    request.notifyFinish().addErrback(gone.append)

    def failed(failure: Any) -> None:
        if gone:
            return
        error = failure.value
        report = ErrorReport.of(error)
        if isinstance(error, DiskFull):
            code = http.INSUFFICIENT_STORAGE_SPACE
        elif isinstance(error, OutputUnwritable):
            code = http.INTERNAL_SERVER_ERROR
        elif isinstance(error, FfclusterError):
            code = _UNPROCESSABLE if error.retryable else http.BAD_REQUEST
        elif isinstance(error, FileNotFoundError):
            code = http.NOT_FOUND
        else:
            code = http.INTERNAL_SERVER_ERROR
            log.failure("a bulk request failed", failure)
        if request.startedWriting:
            # Only the end of the connection tells the peer that no more comes.
            log.warn("an answer was cut short: {reason}", reason=report.message)
            _abort(request)
            return
        for header in ("content-length", "content-range", "repr-digest"):
            request.responseHeaders.removeHeader(header)
        body = _refuse(request, code, report.message)
        request.setHeader("content-length", str(len(body)))
        request.write(body)
        request.finish()

    def finished(_: object) -> None:
        if not gone and request.channel is not None:
            request.finish()

    ensureDeferred(work).addCallbacks(finished, failed)


class _Kind(Resource):
    """`/v1/KIND/`."""

    def __init__(self, shelf: Shelf, kind: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._shelf, self._kind = shelf, kind

    def getChild(self, path: bytes, request: Request) -> IResource:
        if request.postpath:
            return notFound()
        return _Blob(self._shelf, self._kind, path.decode("ascii", "replace"))


def bulk_tree(shelf: Shelf, kinds: tuple[str, ...]) -> Resource:
    """The resource `/v1`, with one branch for each kind of blob."""
    root = Resource()
    for kind in kinds:
        root.putChild(kind.encode(), _Kind(shelf, kind))
    return root
