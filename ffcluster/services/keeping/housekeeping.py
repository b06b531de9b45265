"""What a coordinator does from time to time: look after its disk, and forget what is old.

Decides nothing about jobs: what it finds is posted as events.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from ffcluster.core.cluster import ClusterState
from ffcluster.core.events import Event, JobRemoved, ResultsExpired, SpaceChanged
from ffcluster.errors import FfclusterError
from ffcluster.services.keeping.ledger import Ledger
from ffcluster.services.keeping.shelf import TicketShelf
from ffcluster.services.keeping.uploads import KeptUploads
from ffcluster.services.settings.config import ServerSettings
from ffcluster.store.blobs import BlobStore

log = Logger()

_LOOK_EVERY_S = 2.0
_TIDY_EVERY_S = 600.0
_JOBS_REMEMBERED = 1000
# Nobody asks for the same job again after so long.
_KEYS_KEPT_S = 30 * 86_400.0
_DELIVERIES_KEPT_S = 7 * 86_400.0


class Housekeeping:
    """The coordinator's regular duties.

    Args:
        state: The cluster's state; only read here.
        blobs: Where nobody's blobs are removed.
        shelf: Which incoming files are expected.
        uploads: Sources of ended jobs, which make room first.
        ledger: Whether what changes can be stored, and where old events are removed.
        seconds: The coordinator's clock.
        post: Takes an event in.

    Attributes:
        short_of: Why nothing new can be taken in, or "".
        no_room: Why there is too little room on the disk, or "".
    """

    def __init__(
        self,
        reactor: Any,
        settings: ServerSettings,
        state: ClusterState,
        blobs: BlobStore,
        shelf: TicketShelf,
        uploads: KeptUploads,
        ledger: Ledger,
        *,
        seconds: Callable[[], float],
        post: Callable[[Event], None],
    ) -> None:
        self.short_of = self.no_room = ""
        self._settings = settings
        self._state = state
        self._blobs = blobs
        self._shelf = shelf
        self._uploads = uploads
        self._ledger = ledger
        self._seconds = seconds
        self._post = post
        self._sweeps = True
        self._loops = [
            (_loop(reactor, self._look), _LOOK_EVERY_S),
            (_loop(reactor, self._tidy), _TIDY_EVERY_S),
        ]

    async def clean_up(self) -> None:
        """Remove what an earlier process left and nobody needs; called before anything arrives."""
        used_bytes: int = await deferToThread(self._blobs.usage_bytes)
        if used_bytes and not self._state.jobs:
            # Perhaps they belong to another database than the one that was named.
            self._sweeps = False
            log.warn(
                "{folder} holds files of jobs that this database does not know; they are kept",
                folder=self._settings.state_dir,
            )
            return
        removed = await deferToThread(self._blobs.sweep, self._expected(), at_once=True)
        if removed:
            log.info("{removed} files that nobody needs any more were removed", removed=removed)

    async def start(self) -> None:
        """Begin."""
        await self._look()
        for loop, every_s in self._loops:
            loop.start(every_s, now=False)

    def stop(self) -> None:
        """Do nothing any more."""
        for loop, _ in self._loops:
            if loop.running:
                loop.stop()

    async def _look(self) -> None:
        """See whether there is room, and what has been kept for long enough."""
        self.no_room = await self._room()
        reason = self._ledger.trouble or self.no_room
        if reason != self.short_of:
            self.short_of = reason
            if reason:
                log.warn("nothing new is begun: {reason}", reason=reason)
            else:
                log.info("there is room again")
            self._post(SpaceChanged(reason))
        self._expire()

    async def _room(self) -> str:
        try:
            return await self._uploads.check_room()
        except FfclusterError as error:
            return error.message

    def _expire(self) -> None:
        self._uploads.expire()
        ended = [job for job in self._state.jobs.values() if job.ended]
        kept_since = self._seconds() - self._settings.keep_failed_s
        for job in ended:
            if job.kept and job.ended_at is not None and job.ended_at <= kept_since:
                self._post(ResultsExpired(job.id))
        for job in ended[:-_JOBS_REMEMBERED]:
            self._post(JobRemoved(job.id))

    async def _tidy(self) -> None:
        """Remove files and entries that nobody needs any more."""
        if self._sweeps:
            await deferToThread(self._blobs.sweep, self._expected())
        first_kept = self._state.counters.next_event - self._settings.events_kept
        keys_since = self._seconds() - _KEYS_KEPT_S
        told_since = self._seconds() - _DELIVERIES_KEPT_S
        await self._ledger.read(lambda store: store.prune(first_kept, keys_since, told_since))

    def _expected(self) -> frozenset[str]:
        """Incoming files that somebody goes on with, or may come back to."""
        return self._shelf.expected() | {f"result-{epoch}" for epoch in self._state.attempts}


def _loop(reactor: Any, duty: Callable[[], Coroutine[Any, Any, None]]) -> LoopingCall:
    def run() -> Deferred[None]:
        doing = ensureDeferred(duty())
        # The next time may go better; a loop that failed would never run again.
        return doing.addErrback(lambda failure: log.failure("housekeeping failed", failure))

    loop = LoopingCall(run)
    loop.clock = reactor
    return loop
