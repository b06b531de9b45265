"""From what a client asks for to a stored job. Refuses what cannot be done at all.

The source of a job is a file that the coordinator may read, or an upload, which becomes a blob of
the coordinator's own before the job exists.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import attrs
import orjson
from twisted.internet.defer import DeferredLock
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from ffcluster.converting import to_jsonable
from ffcluster.core.durable import KeyEntry
from ffcluster.core.events import Event, JobSubmitted
from ffcluster.core.model import JobId, JobRequest, JobSpec, Source
from ffcluster.core.profile import Profile
from ffcluster.encoders.params import check_container, checked_profile, container_for
from ffcluster.encoders.registry import Registry
from ffcluster.errors import DiskFull, IdempotencyConflict, InvalidOption, Refused
from ffcluster.net.messages import MAX_PRIORITY
from ffcluster.services.config import ServerSettings
from ffcluster.services.past import Reader
from ffcluster.services.shelf import TicketShelf

log = Logger()

_LONGEST_NAME = 200
_LONGEST_KEY = 200
_DEFAULT_SUFFIX = ".mkv"


class Submissions:
    """Takes in new jobs and their sources.

    Args:
        settings: The coordinator's settings.
        registry: The plugins, which check what a profile asks for.
        shelf: Where uploads arrive.
        reader: Where idempotency keys of earlier requests are looked up.
        seconds: The coordinator's clock.
        settled: Takes an event in, with keys to store, and waits until that is durable.
        source_of: The source of a job that is remembered, or None.
        short_of: Why there is no room for anything new, or "".
    """

    def __init__(
        self,
        settings: ServerSettings,
        registry: Registry,
        shelf: TicketShelf,
        reader: Reader,
        *,
        seconds: Callable[[], float],
        settled: Callable[[Event, Sequence[KeyEntry]], Awaitable[None]],
        source_of: Callable[[JobId], Source | None],
        short_of: Callable[[], str],
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._shelf = shelf
        self._reader = reader
        self._seconds = seconds
        self._settled = settled
        self._source_of = source_of
        self._short_of = short_of
        # Two requests with one key must not both find that it was never used.
        self._keyed = DeferredLock()

    def begin_upload(self, name: str, size_bytes: int) -> tuple[str, str]:
        """Make room for an upload; return its id and path.

        Raises:
            DiskFull: There is too little room.
            Refused: It is too large, or too many uploads wait already.
        """
        self._need_room()
        upload = self._shelf.begin_upload(name, size_bytes, self._seconds())
        return upload.id, f"/v1/uploads/{upload.id}"

    async def submit(self, request: JobRequest) -> JobId:
        """Make a job, durably; a request that was made before under the same key is that job.

        Raises:
            InvalidOption, ContainerUnsuitable: The settings contradict each other or the container.
            NotFound, Refused: The upload or the path cannot be used.
            IdempotencyConflict: Its key was used for another request.
            DiskFull: There is too little room.
        """
        if not request.idempotency_key:
            return await self._make(request, ())
        _check_key(request.idempotency_key)
        await self._keyed.acquire()
        try:
            return await self._find(request) or await self._make(request, (self._key(request),))
        finally:
            self._keyed.release()

    async def _find(self, request: JobRequest) -> JobId | None:
        """The job that the same request made before, or None."""
        name = request.idempotency_key
        known = await self._reader.read(lambda store: store.key(name))
        if known is None:
            return None
        same = known.request_sha256 == request_sha256(request)
        if same and request.upload_id is not None:
            same = await self._same_upload(request.upload_id, self._source_of(known.job_id))
        if not same:
            raise IdempotencyConflict(
                message=f"The key {name} belongs to job {known.job_id}, which was asked for "
                "with other settings or another source.",
                advice="Use another key for another job.",
            )
        return known.job_id
