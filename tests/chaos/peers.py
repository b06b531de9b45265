"""A scripted worker: speaks the protocol as a real one does, and lies as it is told.

It encodes with the real machinery, so that what it delivers is right but for the lie.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred, ensureDeferred

from ffcluster.core.model import Capability, EncodeOrder, SegmentProof
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.registry import Registry
from ffcluster.errors import ErrorReport, FfclusterError
from ffcluster.media.binary import inspect
from ffcluster.media.encode import encode_piece
from ffcluster.media.runner import Runner
from ffcluster.net import codec, messages
from ffcluster.net.address import CoordinatorAddress
from ffcluster.net.bulk_client import BulkClient
from ffcluster.net.websocket import Connection, dial
from tests.chaos.film import SEGMENT_FRAMES
from tests.chaos.processes import reactor, sleep
from tests.inputs import ffmpeg_path

_decode = codec.decoder(messages.ToWorker | messages.Welcome)
NAME = "liar"


@attrs.frozen
class Made:
    """A result that lies on the scripted worker's disk, and how it was proven."""

    path: Path
    proof: SegmentProof


class Workshop:
    """What scripted workers encode with; shared by all of them."""

    def __init__(self) -> None:
        self.runner = Runner(reactor)
        self.registry = Registry.load((), ("software",))
        self._build: FfmpegBuild | None = None

    async def encode(
        self, capability: Capability, order: EncodeOrder, piece: Path, result: Path
    ) -> Made:
        if self._build is None:
            self._build = await inspect(Path(ffmpeg_path()), self.runner)
        arguments = self.registry.backend(capability.backend).arguments(
            self._build,
            capability,
            self.registry.fitted(capability, order.profile),
            order.video,
            threads=capability.threads,
            hardware_decode=False,
        )
        proof = await encode_piece(self.runner, self._build, arguments, order, piece, result)
        return Made(result, attrs.evolve(proof, encoder=capability.encoder))

    async def close(self) -> None:
        await self.runner.close()


Lie = Callable[["Liar", messages.Offer], Coroutine[Any, Any, None]]


class Liar:
    """One session of a scripted worker.

    Attributes:
        offers: Every offer that came, in order.
        lied: Epochs for which something false was delivered: none of them may count.
        revoked: Epochs that the coordinator took back.
        silent: Whether it says nothing by itself.
        told: Errors that the coordinator answered.
    """

    def __init__(
        self,
        workshop: Workshop,
        directory: Path,
        port: int,
        capability: Capability,
        lie: Lie,
    ) -> None:
        self.workshop = workshop
        self.directory = directory
        # Another one each time: what a liar did before must not keep the next one from work.
        self.worker_id = f"{NAME}{secrets.token_hex(4)}"
        self.capability = capability
        self.offers: list[messages.Offer] = []
        self.kept: list[tuple[messages.Offer, Made]] = []
        self.lied: set[int] = set()
        self.silent = False
        self.revoked: set[int] = set()
        self.told: list[str] = []
        self.closed_because = ""
        self._lie = lie
        self._address = CoordinatorAddress("127.0.0.1", port)
        self.bulk = BulkClient(reactor, self._address, None)
        self._connection: Connection | None = None
        self._work: set[Deferred[None]] = set()
        self._welcomed: Deferred[None] = Deferred()
        self.block_bytes = 2**20

    async def join(self, *held: messages.Held) -> None:
        """Connect and greet, naming what is still `held` of an earlier session."""
        self.directory.mkdir(exist_ok=True)
        self._welcomed = Deferred()
        await dial(reactor, self._address, self)
        self.say(
            messages.Hello(
                protocols=messages.PROTOCOL_VERSIONS,
                role="worker",
                worker_id=self.worker_id,
                name=NAME,
                capabilities=(self.capability,),
                builds=(self.capability.ffmpeg,),
                ffmpeg=self.capability.ffmpeg,
                held=held,
            )
        )
        await self._welcomed.addTimeout(10, reactor)
        ensureDeferred(self._beat())

    async def leave(self) -> None:
        for work in list(self._work):
            work.cancel()
        if self._connection is not None:
            self._connection.close()
        await sleep(0.1)
        await self.bulk.close()

    async def hang_up(self) -> None:
        """End the session, if the coordinator did not."""
        if self._connection is not None:
            self._connection.close()
        while self._connection is not None:
            await sleep(0.02)

    # --- what the connection tells -------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        self._connection = connection

    def received(self, payload: bytes) -> None:
        message = _decode(payload)
        if isinstance(message, messages.Welcome):
            self.block_bytes = message.block_bytes
            if not self._welcomed.called:
                self._welcomed.callback(None)
        elif isinstance(message, messages.Offer):
            self.offers.append(message)
            work = ensureDeferred(self._take(message))
            self._work.add(work)
            work.addBoth(lambda _: self._work.discard(work))
        elif isinstance(message, messages.Revoke):
            self.revoked.add(message.epoch)
        elif isinstance(message, messages.Failure):
            self.told.append(message.error.message)
            if not self._welcomed.called:
                self._welcomed.errback(message.error.to_error())

    def closed(self, reason: str) -> None:
        self._connection = None
        self.closed_because = reason

    async def _beat(self) -> None:
        while self._connection is not None:
            if not self.silent:
                self.say(messages.Heartbeat())
            await sleep(0.4)

    # --- what it does --------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        return self._connection is not None

    def say(self, message: messages.Message) -> None:
        self.say_raw(codec.encode(message))

    def say_raw(self, payload: bytes) -> None:
        if self._connection is not None:
            self._connection.send(payload)

    async def _take(self, offer: messages.Offer) -> None:
        self.say(messages.Accepted(offer.epoch))
        self.say(messages.Started(offer.epoch))
        try:
            # A trial that fails would only keep the liar from the segments.
            await (honest if _is_trial(offer) else self._lie)(self, offer)
        except FfclusterError as error:
            self.say(messages.Failed(offer.epoch, ErrorReport.of(error)))

    async def make(self, offer: messages.Offer, order: EncodeOrder | None = None) -> Made:
        """Fetch the piece and encode it, by the offer's order or another one."""
        piece = self.directory / f"{offer.epoch}.piece.mkv"
        await self.bulk.fetch(
            offer.piece.path, piece, size_bytes=offer.piece.size_bytes, sha256=offer.piece.sha256
        )
        result = self.directory / f"{offer.epoch}.result.mkv"
        return await self.workshop.encode(self.capability, order or offer.order, piece, result)

    async def deliver(self, offer: messages.Offer, made: Made, **false: Any) -> None:
        """Put a result and announce it; `false` replaces what the announcement says."""
        size, sha256 = await self.bulk.put(offer.upload, made.path, block_bytes=self.block_bytes)
        result = messages.Result(offer.epoch, size, sha256, made.proof)
        self.say(attrs.evolve(result, **false))

    def lies_about(self, offer: messages.Offer) -> None:
        self.lied.add(offer.epoch)


def _is_trial(offer: messages.Offer) -> bool:
    return offer.order.frames.first == 0 and len(offer.order.frames) < SEGMENT_FRAMES


async def honest(liar: Liar, offer: messages.Offer) -> None:
    """What a good worker does."""
    await liar.deliver(offer, await liar.make(offer))


def truncated(made: Made, target: Path, share: float) -> Made:
    """The beginning of a result, with the proof of all of it."""
    data = made.path.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])
    return attrs.evolve(made, path=target)


def noise(made: Made, target: Path) -> Made:
    target.write_bytes(os.urandom(made.path.stat().st_size))
    return attrs.evolve(made, path=target)


@contextlib.asynccontextmanager
async def joined(liar: Liar) -> Any:
    """A liar for as long as the block lasts."""
    await liar.join()
    try:
        yield liar
    finally:
        await liar.leave()
