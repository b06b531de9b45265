"""Bulk data on workers and clients: fetch a file, put a file; both go on where they stopped."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectError, ConnectionLost, DNSLookupError
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.client import (
    Agent,
    HTTPConnectionPool,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
    ResponseNeverReceived,
    readBody,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer, IResponse
from zope.interface import implementer

from ffcluster import __version__
from ffcluster.errors import (
    NotFound,
    Refused,
    TransferFailed,
    Unauthorized,
    Unreachable,
)
from ffcluster.net.address import CoordinatorAddress
from ffcluster.net.ranges import Block, digest_header
from ffcluster.net.tokens import authorization

_UNPROCESSABLE = 422
OnBytes = Callable[[int, int], None]

# A transfer is taken up again this often before it fails; progress starts the count anew.
_TRIES = 5
_PAUSE_S = 0.5
_WRITE_BYTES = 2**20
_BROKEN = (
    ConnectError,
    ConnectionLost,
    DNSLookupError,
    ResponseFailed,
    ResponseNeverReceived,
    RequestTransmissionFailed,
    OSError,
)


@implementer(IBodyProducer)
class _Bytes:
    """A request body that is in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        consumer.write(self._data)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Nothing to pause: the one block was handed over."""

    def resumeProducing(self) -> None:
        """Nothing to resume."""

    def stopProducing(self) -> None:
        """Nothing to stop."""


class _FileReceiver(Protocol):
    """Writes a response's body in threads; the sender is paused while the disk is behind."""

    def __init__(self, file: BinaryIO, on_bytes: Callable[[bytes], None]) -> None:
        self._file = file
        self._on_bytes = on_bytes
        self._waiting = bytearray()
        self.transport: Any = None
        self._writing = False
        self._ended: Failure | None = None
        self.done: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self._waiting += data
        if len(self._waiting) >= _WRITE_BYTES and not self._writing:
            self._flush()

    def connectionLost(self, reason: Any = None) -> None:
        self._ended = reason
        if not self._writing:
            self._flush()

    def _flush(self) -> None:
        data = bytes(self._waiting)
        self._waiting.clear()
        if not data and self._ended is not None:
            self._finish(self._ended)
            return
        self._writing = True
        if self._ended is None and self.transport is not None:
            self.transport.pauseProducing()
        deferToThread(self._file.write, data).addCallbacks(
            lambda _: self._written(data), self._failed
        )

    def _written(self, data: bytes) -> None:
        self._writing = False
        self._on_bytes(data)
        if self._ended is not None:
            self._flush()
        elif self.transport is not None:
            self.transport.resumeProducing()

    def _failed(self, failure: Failure) -> None:
        self._writing = False
        if self.transport is not None:
            self.transport.loseConnection()
        self._finish(failure)

    def _finish(self, reason: Failure) -> None:
        if self.done.called:
            return
        if reason.check(ResponseDone):
            self.done.callback(None)
        else:
            self.done.errback(reason)


class BulkClient:
    """Fetches from and puts to one coordinator over persistent connections."""

    def __init__(self, reactor: Any, address: CoordinatorAddress, token: str | None) -> None:
        self._reactor = reactor
        self._address = address
        self._headers = authorization(token)
        self._pool = HTTPConnectionPool(reactor, persistent=True)
        self._pool.maxPersistentPerHost = 8
        # The pool would repeat a request by itself; here every retry looks at the offset first.
        self._pool.retryAutomatically = False
        self._agent = Agent(reactor, connectTimeout=10, pool=self._pool)

    async def fetch(
        self,
        path: str,
        target: Path,
        *,
        size_bytes: int,
        sha256: str,
        on_bytes: OnBytes | None = None,
    ) -> None:
        """Fetch a file and prove it by its SHA-256.

        What an earlier call left of `target` is kept and completed.

        Raises:
            TransferFailed: It did not arrive whole, or is not what was announced.
            NotFound, Unauthorized, Refused, Unreachable: The coordinator's answer, or none.
        """
        digest = hashlib.sha256()
        file = await deferToThread(_open_to_append, target, digest, size_bytes)
        try:
            await self._fetch_rest(path, file, digest, size_bytes, on_bytes)
            if digest.hexdigest() != sha256:
                await deferToThread(file.truncate, 0)
                raise TransferFailed(
                    message=f"{path} arrived with the SHA-256 {digest.hexdigest()}, "
                    f"{sha256} was announced."
                )
        finally:
            await deferToThread(file.close)

    async def _fetch_rest(
        self, path: str, file: BinaryIO, digest: Any, size_bytes: int, on_bytes: OnBytes | None
    ) -> None:
        offset = file.tell()
        tries = 0

        def arrived(data: bytes) -> None:
            nonlocal offset
            digest.update(data)
            offset += len(data)
            if on_bytes is not None:
                on_bytes(offset, size_bytes)

        while offset < size_bytes:
            before = offset
            wanted = {"Range": f"bytes={offset}-"} if offset else {}
            try:
                response = await self._request("GET", path, wanted)
                if offset and response.code != http.PARTIAL_CONTENT:
                    raise TransferFailed(message=f"{path} cannot be fetched from byte {offset}.")
                receiver = _FileReceiver(file, arrived)
                response.deliverBody(receiver)
                await receiver.done
            except (*_BROKEN, Unreachable) as error:
                tries = 0 if offset > before else tries + 1
                await self._pause_or_give_up(path, tries, error)
            else:
                if offset < size_bytes:
                    tries += 1
                    await self._pause_or_give_up(path, tries, None)
        if offset > size_bytes:
            raise TransferFailed(message=f"{path} is longer than the {size_bytes} bytes announced.")

    async def put(
        self, path: str, source: Path, *, block_bytes: int, on_bytes: OnBytes | None = None
    ) -> tuple[int, str]:
        """Put a file in blocks; return its size in bytes and its SHA-256 (hex).

        Goes on from the offset that the coordinator has.

        Raises:
            TransferFailed: It could not be put whole, or the file changed meanwhile.
            NotFound, Unauthorized, Refused, Unreachable: The coordinator's answer, or none.
        """
        file = await deferToThread(source.open, "rb")
        try:
            size = (await deferToThread(os.fstat, file.fileno())).st_size
            digest = hashlib.sha256()
            hashed = tries = 0
            offset = 0
            while True:
                try:
                    stop = min(offset + block_bytes, size)
                    hashed = await deferToThread(_hash_up_to, file, digest, hashed, stop)
                    data = await deferToThread(_read_at, file, offset, stop - offset)
                    reached, whole = await self._put_block(path, offset, data, size, digest, hashed)
                except (*_BROKEN, Unreachable) as error:
                    tries += 1
                    await self._pause_or_give_up(path, tries, error)
                    reached, whole = await self._offset(path)
                else:
                    tries = 0 if reached > offset else tries + 1
                    if tries:
                        await self._pause_or_give_up(path, tries, None)
                offset = reached
                if on_bytes is not None:
                    on_bytes(offset, size)
                if whole:
                    await deferToThread(_hash_up_to, file, digest, hashed, size)
                    return size, digest.hexdigest()
        finally:
            await deferToThread(file.close)

    async def _put_block(
        self, path: str, offset: int, data: bytes, size: int, digest: Any, hashed: int
    ) -> tuple[int, bool]:
        headers = {"Content-Range": Block(offset, offset + len(data), size).header}
        if hashed == size:
            headers["Repr-Digest"] = digest_header(digest.hexdigest())
        response = await self._request("PUT", path, headers, _Bytes(data))
        await readBody(response)
        return _upload_state(response)

    async def _offset(self, path: str) -> tuple[int, bool]:
        try:
            response = await self._request("HEAD", path, {})
        except (*_BROKEN, Unreachable):
            return 0, False
        return _upload_state(response)

    async def _request(
        self, method: str, path: str, headers: dict[str, str], body: _Bytes | None = None
    ) -> IResponse:
        every = {**self._headers, **headers, "User-Agent": f"ffcluster/{__version__}"}
        url = self._address.http_url(path).encode()
        response: IResponse = await self._agent.request(
            method.encode(), url, Headers({k: [v] for k, v in every.items()}), body
        )
        if response.code < 300:
            return response
        said = (await readBody(response))[:500].decode("utf-8", "replace").strip()
        raise _refusal(response.code, path, said)

    async def _pause_or_give_up(self, path: str, tries: int, error: Exception | None) -> None:
        if tries >= _TRIES:
            cause = f": {error}" if error else ""
            raise TransferFailed(message=f"{path} could not be transferred{cause}") from error
        await deferLater(self._reactor, _PAUSE_S * max(1, tries), lambda: None)

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.closeCachedConnections()


def _refusal(code: int, path: str, said: str) -> Exception:
    what = f"{path}: {code} {said}".strip()
    if code == http.UNAUTHORIZED:
        return Unauthorized(message=what, advice="Give the coordinator's token.")
    if code == http.NOT_FOUND:
        return NotFound(message=what)
    if code in (_UNPROCESSABLE, http.INSUFFICIENT_STORAGE_SPACE):
        return TransferFailed(message=what)
    if code >= 500:
        return Unreachable(message=what)
    return Refused(message=what)


def _upload_state(response: IResponse) -> tuple[int, bool]:
    def header(name: str) -> str:
        values = response.headers.getRawHeaders(name)
        return values[0] if values else ""

    offset = header("upload-offset")
    if not offset.isdigit():
        raise TransferFailed(message="The coordinator did not say how much it has.")
    return int(offset), header("upload-complete") == "?1"


def _open_to_append(target: Path, digest: Any, size_bytes: int) -> BinaryIO:
    target.parent.mkdir(parents=True, exist_ok=True)
    file = target.open("a+b")
    file.seek(0, os.SEEK_END)
    if file.tell() > size_bytes:
        file.truncate(0)
    file.seek(0)
    while block := file.read(_WRITE_BYTES):
        digest.update(block)
    return file


def _hash_up_to(file: BinaryIO, digest: Any, hashed: int, offset: int) -> int:
    """Bring the running hash up to `offset`; it never goes back, blocks before it are known."""
    file.seek(hashed)
    while hashed < offset:
        block = file.read(min(_WRITE_BYTES, offset - hashed))
        if not block:
            raise TransferFailed(message="The file became shorter while it was sent.")
        digest.update(block)
        hashed += len(block)
    return hashed


def _read_at(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    data = file.read(length)
    if len(data) != length:
        raise TransferFailed(message="The file became shorter while it was sent.")
    return data
