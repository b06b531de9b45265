"""New jobs and their sources: from what a client asks for to a job that is stored.

The source of a job is a file that the coordinator may read, or an upload, which becomes a blob of
the coordinator's own before the job exists.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import attrs
from twisted.internet.defer import DeferredLock
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from ffcluster.core.durable import KeyEntry, WebhookEntry
from ffcluster.core.events import Event, JobSubmitted
from ffcluster.core.model import JobId, JobRequest, Source
from ffcluster.encoders.registry import Registry
from ffcluster.errors import DiskFull, IdempotencyConflict, Refused
from ffcluster.services.jobs.submission import check_key, make_spec, request_sha256
from ffcluster.services.keeping.holdings import source_owner
from ffcluster.services.keeping.past import Reader
from ffcluster.services.keeping.shelf import TicketShelf
from ffcluster.services.settings.config import ServerSettings
from ffcluster.web.webhooks import WantedWebhook

log = Logger()


@attrs.frozen
class InHouse:
    """What the coordinator adds to a request of its own, whose path needs no leave.

    Attributes:
        origin: See `JobSpec.origin`.
        output_folder: See `JobSpec.output_folder`.
    """

    origin: str
    output_folder: str = ""


class Intake:
    """Takes in new jobs and their sources.

    Args:
        settings: The coordinator's settings.
        registry: The plugins, which check what a profile asks for.
        shelf: Where uploads arrive.
        reader: Where idempotency keys of earlier requests are looked up.
        seconds: The coordinator's clock.
        settled: Takes an event in, with keys and webhooks to store, and waits until that is
            durable.
        hook_of: Makes a job's own webhook of what is asked for.
        source_of: The source of a job that is remembered, or None.
        room_for: Why there is no room for an upload of so many bytes, or "".
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
        settled: Callable[[Event, Sequence[KeyEntry], Sequence[WebhookEntry]], Awaitable[None]],
        hook_of: Callable[[WantedWebhook, JobId], WebhookEntry],
        source_of: Callable[[JobId], Source | None],
        room_for: Callable[[int], Awaitable[str]],
        short_of: Callable[[], str],
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._shelf = shelf
        self._room_for = room_for
        self._reader = reader
        self._seconds = seconds
        self._settled = settled
        self._hook_of = hook_of
        self._source_of = source_of
        self._short_of = short_of
        # Two requests with one key must not both find that it was never used.
        self._keyed = DeferredLock()

    async def begin_upload(self, name: str, size_bytes: int) -> tuple[str, str]:
        """Make room for an upload; return its id and path.

        Raises:
            DiskFull: There is too little room.
            Refused: It is too large, or too many uploads wait already.
        """
        self._shelf.check_size(name, size_bytes)
        self._need_room(await self._room_for(size_bytes))
        upload = await self._shelf.begin_upload(name, size_bytes, self._seconds())
        return upload.id, f"/v1/uploads/{upload.id}"

    async def submit(
        self,
        request: JobRequest,
        house: InHouse | None = None,
        webhook: WantedWebhook | None = None,
    ) -> JobId:
        """Make a job, durably; a request that was made before under the same key is that job.

        Args:
            request: What is asked for.
            house: What the coordinator adds to it, if it asks itself.
            webhook: Who is to be told what becomes of it, or None.

        Raises:
            InvalidOption, ContainerUnsuitable: The settings contradict each other or the container,
                or the webhook cannot be used.
            NotFound, Refused: The upload or the path cannot be used.
            IdempotencyConflict: Its key was used for another request.
            DiskFull: There is too little room.
        """
        if not request.idempotency_key:
            return await self._make(request, house, webhook)
        check_key(request.idempotency_key)
        await self._keyed.acquire()
        try:
            found = await self._find(request, webhook)
            return found or await self._make(request, house, webhook)
        finally:
            self._keyed.release()

    async def _find(self, request: JobRequest, webhook: WantedWebhook | None) -> JobId | None:
        """The job that the same request made before, or None."""
        name = request.idempotency_key
        known = await self._reader.read(lambda store: store.key(name))
        if known is None:
            return None
        same = known.request_sha256 == request_sha256(request, webhook)
        if same and request.upload_id is not None:
            same = await self._same_upload(request.upload_id, self._source_of(known.job_id))
        if not same:
            raise IdempotencyConflict(
                message=f"The key {name} belongs to job {known.job_id}, which was asked for "
                "with other settings or another source.",
                advice="Use another key for another job.",
            )
        return known.job_id

    async def _same_upload(self, upload_id: str, source: Source | None) -> bool:
        """Whether a source that was sent again is the one that the job has; it is dropped then.

        One that is not here any more is what the job was made of.
        """
        sent = self._shelf.uploads.get(upload_id)
        if sent is None:
            return True
        if source is None or not source.uploaded or sent.file.sha256 != source.location:
            return False
        del self._shelf.uploads[upload_id]
        await deferToThread(sent.file.discard)
        return True

    def _key(self, request: JobRequest, webhook: WantedWebhook | None, job_id: JobId) -> KeyEntry:
        name = request.idempotency_key
        return KeyEntry(name, request_sha256(request, webhook), job_id, self._seconds())

    async def _make(
        self, request: JobRequest, house: InHouse | None, webhook: WantedWebhook | None
    ) -> JobId:
        self._need_room()
        job_id = JobId(secrets.token_hex(6))
        spec = make_spec(request, self._settings, self._registry)
        if house is not None:
            spec = attrs.evolve(spec, origin=house.origin, output_folder=house.output_folder)
        hooks = [self._hook_of(webhook, job_id)] if webhook is not None else []
        source = await self._source(job_id, request, trusted=house is not None)
        keys = [self._key(request, webhook, job_id)] if request.idempotency_key else []
        await self._settled(JobSubmitted(job_id, spec, source, request.priority), keys, hooks)
        log.info("job {job}: {source} submitted", job=job_id, source=spec.source_name)
        return job_id

    async def _source(self, job_id: JobId, request: JobRequest, *, trusted: bool) -> Source:
        """Where the film is; an upload becomes a blob that the job holds."""
        if request.upload_id is not None:
            blob = await self._shelf.adopt_upload(request.upload_id, source_owner(job_id))
            return Source(blob.sha256, uploaded=True)
        path = await self._readable(request, trusted=trusted)
        return Source(str(path))

    async def film(self, request: JobRequest) -> Path:
        """Where the film of a request is, for a look at it before there is a job.

        Raises:
            NotFound: There is no such upload.
            Refused: The upload is not whole, or the path may not be read.
        """
        if request.upload_id is None:
            return await self._readable(request, trusted=False)
        return self._shelf.whole_upload(request.upload_id).path

    async def _readable(self, request: JobRequest, *, trusted: bool) -> Path:
        """The file that a request names, if it may be read."""
        path = Path(request.server_path or "")
        if not path.is_absolute():
            raise Refused(
                message=f"{path} is not an absolute path on the coordinator.",
                advice="Say it from the root of its file system, as /films/name.mkv.",
            )
        if not trusted and not await deferToThread(self._settings.may_read, path):
            raise Refused(
                message=f"The coordinator may not read {path} for a client.",
                advice="Allow its directory with --source-dir on the coordinator, or upload it.",
            )
        return path

    def _need_room(self, reason: str = "") -> None:
        reason = self._short_of() or reason
        if reason:
            raise DiskFull(
                message=f"The coordinator takes nothing in now: {reason}.",
                advice="Free some space there, or try again later.",
            )
