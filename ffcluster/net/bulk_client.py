"""Bulk data on workers and clients: fetch a file, put a file; both go on where they stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.client import (
    Agent,
    HTTPConnectionPool,
    ResponseDone,
    readBody,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from ffcluster import __version__
from ffcluster.errors import (
    Forbidden,
    NotFound,
    PeerFull,
    Refused,
    TransferFailed,
    Unauthorized,
    Unreachable,
)
from ffcluster.net.address import CoordinatorAddress
from ffcluster.net.asking import BROKEN, MemoryBody
from ffcluster.net.bulk_files import FetchedFile, SentFile
from ffcluster.net.patience import bounded
from ffcluster.net.ranges import Block, digest_header
from ffcluster.net.threads import in_thread
from ffcluster.net.tokens import authorization

_UNPROCESSABLE = 422
OnBytes = Callable[[int, int], None]

# A transfer is taken up again this often before it fails; progress starts the count anew.
_TRIES = 5
_PAUSE_S = 0.5
# A file whose bytes arrive changed is put again this often.
_REJECTIONS = 2
# A peer that says nothing for this long is taken for lost; an answer to a block may take as much
# longer as the slowest useful line needs for the block.
_SILENCE_LIMIT_S = 60.0
_SLOWEST_BYTES_PER_S = 4096
_WRITE_BYTES = 2**20


class _Rejected(TransferFailed):
    """The coordinator got other bytes than were announced, or at another place."""


class _FileReceiver(Protocol):
    """Writes a response's body in threads; the sender is paused while the disk is behind."""

    def __init__(self, reactor: Any, target: FetchedFile, on_written: Callable[[], None]) -> None:
        self._target = target
        self._on_written = on_written
        self._waiting = bytearray()
        self.transport: Any = None
        self._writing = False
        self._ended: Failure | None = None
        self._reactor = reactor
        self._silence = reactor.callLater(_SILENCE_LIMIT_S, self._too_silent)
        self.done: Deferred[None] = Deferred(lambda _: self._stop())

    def dataReceived(self, data: bytes) -> None:
        if self.done.called:
            return
        self._waiting += data
        self._silence.reset(_SILENCE_LIMIT_S)
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
        in_thread(self._reactor, self._target.append, data).addCallbacks(
            self._written, self._failed
        )

    def _written(self, _: object) -> None:
        self._writing = False
        if self.done.called:
            return
        self._on_written()
        if self._ended is not None:
            self._flush()
        elif self.transport is not None:
            self._silence.reset(_SILENCE_LIMIT_S)
            self.transport.resumeProducing()

    def _failed(self, failure: Failure) -> None:
        self._writing = False
        self._stop()
        self._finish(failure)

    def _too_silent(self) -> None:
        if self._writing:
            self._silence = self._reactor.callLater(_SILENCE_LIMIT_S, self._too_silent)
            return
        self._stop()
        self._finish(Failure(ConnectionLost(f"nothing came for {_SILENCE_LIMIT_S:g} s")))

    def _stop(self) -> None:
        """No further byte is wanted."""
        if self._silence.active():
            self._silence.cancel()
        if self.transport is not None and self._ended is None:
            self.transport.loseConnection()

    def _finish(self, reason: Failure) -> None:
        if self._silence.active():
            self._silence.cancel()
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
        path_on_disk: Path,
        *,
        size_bytes: int,
        sha256: str,
        on_bytes: OnBytes | None = None,
    ) -> None:
        """Fetch a file and prove it by its SHA-256.

        What an earlier call left at `path_on_disk` is kept and completed.

        Raises:
            TransferFailed: It did not arrive whole, is not what was announced, or cannot be kept.
            DiskFull: There is no room for it.
            NotFound, Unauthorized, Refused, Unreachable: The coordinator's answer, or none.
        """
        target = FetchedFile(path_on_disk, size_bytes)
        try:
            await in_thread(self._reactor, target.open)
            await self._fetch_rest(path, target, size_bytes, on_bytes)
            await in_thread(self._reactor, target.prove, sha256)
        finally:
            await in_thread(self._reactor, target.close)

    async def _fetch_rest(
        self, path: str, target: FetchedFile, size_bytes: int, on_bytes: OnBytes | None
    ) -> None:
        tries = 0

        def written() -> None:
            if on_bytes is not None:
                on_bytes(target.offset, size_bytes)

        while target.offset < size_bytes:
            before = target.offset
            error: Exception | None = None
            try:
                await self._fetch_stretch(path, target, written)
            except (*BROKEN, Unreachable) as broken:
                error = broken
            if target.offset < size_bytes:
                tries = 0 if target.offset > before else tries + 1
                await self._pause_or_give_up(path, tries, error)

    async def _fetch_stretch(
        self, path: str, target: FetchedFile, written: Callable[[], None]
    ) -> None:
        offset = target.offset
        wanted = {"Range": f"bytes={offset}-"} if offset else {}
        response = await self._request("GET", path, wanted)
        receiver = _FileReceiver(self._reactor, target, written)
        response.deliverBody(receiver)
        if offset and not _begins_at(response, offset):
            receiver.done.cancel()
            raise TransferFailed(message=f"{path} cannot be fetched from byte {offset}.")
        await receiver.done

    async def put(
        self,
        path: str,
        source: Path,
        *,
        block_bytes: int,
        on_bytes: OnBytes | None = None,
        resumed: bool = False,
    ) -> tuple[int, str]:
        """Put a file in blocks; return its size in bytes and its SHA-256 (hex).

        Goes on from the offset that the coordinator has; with `resumed` it is asked for that
        before anything is sent.

        Raises:
            TransferFailed: It could not be put whole, or the file changed meanwhile.
            PeerFull: The coordinator has no room for it.
            NotFound, Unauthorized, Refused, Unreachable: The coordinator's answer, or none.
        """
        try:
            file = await in_thread(self._reactor, source.open, "rb")
        except OSError as error:
            raise TransferFailed(message=f"Cannot read {source}: {error.strerror}.") from error
        try:
            sent = SentFile(file)
            offset, whole = await self._offset(path) if resumed else (0, False)
            if whole:
                return await in_thread(self._reactor, sent.proof)
            return await self._put_rest(path, sent, offset, block_bytes, on_bytes)
        finally:
            await in_thread(self._reactor, file.close)

    async def _put_rest(
        self,
        path: str,
        source: SentFile,
        offset: int,
        block_bytes: int,
        on_bytes: OnBytes | None,
    ) -> tuple[int, str]:
        tries = rejections = 0
        while True:
            before = offset
            # All bytes may be there and yet not proven, when an earlier connection broke meanwhile:
            # the last one is sent once more, with the hash.
            offset = min(offset, max(0, source.size_bytes - 1))
            error: Exception | None = None
            # A file that cannot be read fails at once: trying again is for the way, not the disk.
            data = await in_thread(self._reactor, source.block, offset, block_bytes)
            try:
                offset, whole = await self._put_block(path, offset, data, source)
            except _Rejected as rejected:
                rejections += 1
                if rejections > _REJECTIONS:
                    raise
                await in_thread(self._reactor, source.restart)
                error, (offset, whole) = rejected, await self._offset(path)
                tries = -1  # it counts as a rejection
            except (*BROKEN, Unreachable) as broken:
                error, (offset, whole) = broken, await self._offset(path)
            if on_bytes is not None:
                on_bytes(offset, source.size_bytes)
            if whole:
                return await in_thread(self._reactor, source.proof)
            tries = 0 if offset > before else tries + 1
            if error is not None or tries:
                await self._pause_or_give_up(path, tries, error)

    async def _put_block(
        self, path: str, offset: int, data: bytes, source: SentFile
    ) -> tuple[int, bool]:
        block = Block(offset, offset + len(data), source.size_bytes)
        headers = {"Content-Range": block.header}
        if source.sha256 is not None:
            headers["Repr-Digest"] = digest_header(source.sha256)
        response = await self._request("PUT", path, headers, MemoryBody(data))
        await readBody(response)
        return _upload_state(response)

    async def _offset(self, path: str) -> tuple[int, bool]:
        try:
            response = await self._request("HEAD", path, {})
        except (*BROKEN, Unreachable):
            return 0, False
        await readBody(response)
        return _upload_state(response)

    async def _request(
        self, method: str, path: str, headers: dict[str, str], body: MemoryBody | None = None
    ) -> IResponse:
        every = {**self._headers, **headers, "User-Agent": f"ffcluster/{__version__}"}
        url = self._address.http_url(path).encode()
        answering = self._agent.request(
            method.encode(), url, Headers({k: [v] for k, v in every.items()}), body
        )
        # A peer that vanished without a word would never answer.
        patience_s = _SILENCE_LIMIT_S + (body.length if body else 0) / _SLOWEST_BYTES_PER_S
        response: IResponse = await bounded(self._reactor, answering, patience_s)
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
    if code == http.FORBIDDEN:
        return Forbidden(message=what)
    if code == http.NOT_FOUND:
        return NotFound(message=what)
    if code == _UNPROCESSABLE:
        return _Rejected(message=what)
    if code == http.INSUFFICIENT_STORAGE_SPACE:
        return PeerFull(message=what, advice="Free some space on the coordinator's machine.")
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


def _begins_at(response: IResponse, offset: int) -> bool:
    stretch: str = (response.headers.getRawHeaders("content-range") or [""])[0]
    return bool(response.code == http.PARTIAL_CONTENT) and stretch.startswith(f"bytes {offset}-")
