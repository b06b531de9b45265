"""Results that workers say they have delivered: believed only when they are here, and then kept.

A result becomes a blob before anybody decides about it, so that no crash can lose one that was
counted. What arrives for an attempt that has ended meanwhile is let go.
"""

from __future__ import annotations

import attrs
from twisted.internet.threads import deferToThread

from ffcluster.core.cluster import ClusterState
from ffcluster.core.events import AttemptDelivered, AttemptFailed, Event
from ffcluster.core.model import BlobRef, Epoch
from ffcluster.errors import Code, ErrorReport, TransferFailed
from ffcluster.net import messages
from ffcluster.services.background import Background
from ffcluster.services.keeping.holdings import Holdings, result_owner
from ffcluster.services.keeping.shelf import TicketShelf
from ffcluster.store.blobs import BlobStore


class Deliveries:
    """Takes results in.

    Args:
        state: The cluster's state; only read here.
        shelf: Where results arrive.
        blobs: Where they are kept.
        holdings: Who needs which blob.
        background: Where work goes on.
    """

    def __init__(
        self,
        state: ClusterState,
        shelf: TicketShelf,
        blobs: BlobStore,
        holdings: Holdings,
        background: Background,
    ) -> None:
        self._state = state
        self._shelf = shelf
        self._blobs = blobs
        self._holdings = holdings
        self._background = background
        self._adopting: set[Epoch] = set()

    def take(self, result: messages.Result) -> None:
        """A worker says that the result of its live attempt is here; again, perhaps."""
        epoch = Epoch(result.epoch)
        attempt = self._state.attempts.get(epoch)
        if attempt is None or not attempt.holds_slot or epoch in self._adopting:
            return
        self._adopting.add(epoch)
        self._background.start(self._adopt(epoch, result), lambda error: _not_kept(epoch, error))

    async def _adopt(self, epoch: Epoch, result: messages.Result) -> Event | None:
        try:
            incoming = self._shelf.result(epoch)
            if (
                incoming is None
                or incoming.sha256 is None
                or incoming.sha256 != result.sha256
                or incoming.offset != result.size_bytes
            ):
                raise TransferFailed(message="The result did not arrive whole.")
            ref: BlobRef = await deferToThread(
                self._blobs.adopt,
                incoming.path,
                incoming.sha256,
                incoming.offset,
                owner=result_owner(epoch),
            )
        finally:
            self._adopting.discard(epoch)
        attempt = self._state.attempts.get(epoch)
        if attempt is None:
            await deferToThread(self._blobs.release, ref, result_owner(epoch))
            return None
        self._holdings.add_result(attempt.job_id, epoch, ref)
        return AttemptDelivered(epoch, result.proof, ref)


def _not_kept(epoch: Epoch, error: ErrorReport) -> Event:
    """A result that cannot be kept here is not the worker's failure, whatever the reason is."""
    return AttemptFailed(epoch, attrs.evolve(error, code=Code.TRANSFER_FAILED, retryable=True))
