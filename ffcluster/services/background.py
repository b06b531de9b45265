"""Work that takes time on behalf of the loop: what comes of it is posted as an event."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import Logger

from ffcluster.core.events import Event
from ffcluster.errors import Cancelled, ErrorReport, FfclusterError

log = Logger()


class Background:
    """Drives coroutines.

    Args:
        post: Takes an event in.
    """

    def __init__(self, post: Callable[[Event], None]) -> None:
        self._post = post
        self._stopping = False

    def stop(self) -> None:
        """Post nothing any more."""
        self._stopping = True

    def start(
        self,
        work: Coroutine[Any, Any, Event | None],
        failed: Callable[[ErrorReport], Event | None],
    ) -> None:
        """Drive a coroutine and post the event that it ends in.

        Args:
            work: What is to be done; `Cancelled` means that nobody wants to know any more.
            failed: Makes an event of what went wrong.
        """
        ensureDeferred(work).addCallbacks(self._tell, lambda failure: self._broke(failure, failed))

    def aside(self, work: Deferred[Any]) -> None:
        """Let something go on that nobody waits for."""
        work.addErrback(lambda failure: log.failure("cleaning up failed", failure))

    def _tell(self, event: Event | None) -> None:
        if event is not None and not self._stopping:
            self._post(event)

    def _broke(self, failure: Any, failed: Callable[[ErrorReport], Event | None]) -> None:
        if self._stopping or failure.check(Cancelled):
            return
        if not failure.check(FfclusterError):
            log.failure("the coordinator's own work failed", failure)
        self._tell(failed(ErrorReport.of(failure.value)))
