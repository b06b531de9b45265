"""What can be fetched from and put to the coordinator, by unguessable names.

Owns what is on its way: results in `incoming/result-EPOCH`, uploads in `incoming/upload-ID-SIZE`.
Both names outlive the coordinator, so that an interrupted transfer goes on where it stopped.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from pathlib import Path

import attrs
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from ffcluster.core.model import BlobRef, Epoch
from ffcluster.errors import Cancelled, FfclusterError, NotFound, Refused
from ffcluster.net.bulk_server import Readable
from ffcluster.store.blobs import BlobStore
from ffcluster.store.files import IncomingFile, storage_error

log = Logger()

PIECES, RESULTS, UPLOADS, OUTPUTS = "pieces", "results", "uploads", "outputs"
KINDS = (PIECES, RESULTS, UPLOADS, OUTPUTS)

# Uploads that may wait for their job at the same time.
_MAX_UPLOADS = 100
# An upload without a new block for this long is given up.
UPLOAD_PATIENCE_S = 3600.0
_UPLOAD_NAME = re.compile(r"upload-([\w-]{24})-(\d{1,16})")


@attrs.define
class Upload:
    """A source on its way from a client."""

    id: str
    name: str
    file: IncomingFile
    touched_at: float
    seen_offset: int = 0


@attrs.define
class _Attempt:
    """What an attempt may fetch and put, and the ticket that opens it."""

    result: IncomingFile
    piece: Readable | None = None
    ticket: str = ""


class TicketShelf:
    """The coordinator's `Shelf`: tickets for attempts, uploads of clients, finished outputs."""

    def __init__(self, blobs: BlobStore, upload_limit_bytes: int) -> None:
        self._blobs = blobs
        self._upload_limit_bytes = upload_limit_bytes
        self._attempts: dict[Epoch, _Attempt] = {}
        self._tickets: dict[str, _Attempt] = {}
        self._outputs: dict[str, Readable] = {}
        self.uploads: dict[str, Upload] = {}

    def readable(self, kind: str, name: str) -> Readable | None:
        """The file to fetch at `/v1/KIND/NAME`, or None."""
        if kind == PIECES:
            attempt = self._tickets.get(name)
            return attempt.piece if attempt else None
        return self._outputs.get(name) if kind == OUTPUTS else None

    def writable(self, kind: str, name: str) -> IncomingFile | None:
        """The blob to put at `/v1/KIND/NAME`, or None."""
        if kind == RESULTS:
            attempt = self._tickets.get(name)
            return attempt.result if attempt else None
        upload = self.uploads.get(name) if kind == UPLOADS else None
        return upload.file if upload else None

    def expected(self) -> frozenset[str]:
        """Names of the incoming files that somebody goes on with; the janitor keeps them."""
        results = [attempt.result for attempt in self._attempts.values()]
        uploads = [upload.file for upload in self.uploads.values()]
        return frozenset(file.path.name for file in (*results, *uploads))

    # --- attempts ------------------------------------------------------------------------------

    def open_attempt(self, epoch: Epoch, piece: Readable, limit_bytes: int) -> tuple[str, str]:
        """Let an attempt's piece be fetched and its result be put; return both paths."""
        attempt = _Attempt(IncomingFile(self._result_path(epoch), limit_bytes), piece)
        self._attempts[epoch] = attempt
        result_path = self._admit(attempt)
        return f"/v1/{PIECES}/{attempt.ticket}", result_path

    async def resume_attempt(self, epoch: Epoch, limit_bytes: int) -> str:
        """Let a result be put that a worker kept; return the path, with a ticket of its own.

        What arrived before is gone on with, also if it was another process that took it in.

        Raises:
            Cancelled: The attempt was closed or resumed again meanwhile.
            OutputUnwritable: What arrived before cannot be read.
        """
        attempt = self._attempts.get(epoch)
        if attempt is None:
            result = IncomingFile(self._result_path(epoch), limit_bytes, resumes=True)
            attempt = self._attempts[epoch] = _Attempt(result)
        path, ticket = self._admit(attempt), attempt.ticket
        await deferToThread(attempt.result.reopen)
        if self._tickets.get(ticket) is not attempt:
            raise Cancelled(message=f"Attempt {epoch} is over, or was resumed again.")
        return path

    def _admit(self, attempt: _Attempt) -> str:
        self._tickets.pop(attempt.ticket, None)
        attempt.ticket = secrets.token_urlsafe(18)
        self._tickets[attempt.ticket] = attempt
        return f"/v1/{RESULTS}/{attempt.ticket}"

    def _result_path(self, epoch: Epoch) -> Path:
        return self._blobs.incoming(f"result-{epoch}")

    def result(self, epoch: Epoch) -> IncomingFile | None:
        """What arrived so far of an attempt's result."""
        attempt = self._attempts.get(epoch)
        return attempt.result if attempt else None

    def close_attempt(self, epoch: Epoch) -> IncomingFile | None:
        """Nothing more is fetched or put for this attempt; return what arrived of its result."""
        attempt = self._attempts.pop(epoch, None)
        if attempt is None:
            return None
        self._tickets.pop(attempt.ticket, None)
        attempt.result.close()
        return attempt.result

    # --- uploads -------------------------------------------------------------------------------

    def check_size(self, name: str, size_bytes: int) -> None:
        """Refuse a source that is too large, whatever room there is.

        Raises:
            Refused: It is.
        """
        if size_bytes > self._upload_limit_bytes:
            raise Refused(
                message=f"{name} has {size_bytes} bytes; {self._upload_limit_bytes} are allowed.",
                advice="Raise --upload-limit on the coordinator, or use --on-server.",
            )

    async def begin_upload(self, name: str, size_bytes: int, now: float) -> Upload:
        """Make room for a source.

        Raises:
            Refused: It is too large, or too many uploads wait already.
            DiskFull, OutputUnwritable: There is no room even for an empty file.
        """
        self.check_size(name, size_bytes)
        if len(self.uploads) >= _MAX_UPLOADS:
            raise Refused(message=f"{_MAX_UPLOADS} uploads wait for their job already.")
        upload_id = secrets.token_urlsafe(18)
        upload = self._add_upload(upload_id, name, size_bytes, now)
        try:
            # From now on a restart of the coordinator does not forget it.
            await deferToThread(upload.file.path.touch, 0o600)
        except OSError as error:
            del self.uploads[upload_id]
            raise storage_error(error, upload.file.path) from error
        return upload

    def _add_upload(self, upload_id: str, name: str, size_bytes: int, now: float) -> Upload:
        path = self._blobs.incoming(f"upload-{upload_id}-{size_bytes}")
        file = IncomingFile(path, size_bytes, size_bytes, resumes=True)
        upload = Upload(upload_id, name, file, now)
        self.uploads[upload_id] = upload
        return upload

    async def recover_uploads(self, now: float) -> Sequence[Upload]:
        """Expect the uploads again that an earlier process left, whole or not.

        They are read one after the other, which may take minutes: nobody needs to wait for it. A
        block that comes in between waits until the file was read.
        """
        names: tuple[str, ...] = await deferToThread(self._blobs.arrivals)
        found = [match for name in names if (match := _UPLOAD_NAME.fullmatch(name))]
        uploads = [self._add_upload(m[1], "an upload", int(m[2]), now) for m in found]
        for upload in uploads:
            try:
                await deferToThread(upload.file.reopen)
            except FfclusterError as error:
                self.uploads.pop(upload.id, None)
                log.warn("an upload is lost: {reason}", reason=error.message)
        return uploads

    async def settle_upload(self, upload_id: str) -> None:
        """Take an upload for whole when every byte arrived, without a SHA-256 of its sender's.

        A browser cannot work one out for a large file; the connection guards its bytes.
        """
        upload = self.uploads.get(upload_id)
        if upload is not None:
            await deferToThread(upload.file.settle)

    def whole_upload(self, upload_id: str) -> IncomingFile:
        """An upload that is whole and proven.

        Raises:
            NotFound: There is none of that id.
            Refused: It is not whole yet.
        """
        upload = self.uploads.get(upload_id)
        if upload is None:
            raise NotFound(
                message="There is no such upload.",
                advice="Uploads are given up after an hour of silence; send the file again.",
            )
        file = upload.file
        if file.sha256 is None:
            raise Refused(
                message=f"Of {upload.name} only {file.offset} of {file.size_bytes} bytes arrived."
                if file.offset != file.size_bytes
                else f"All bytes of {upload.name} arrived, and are not proven yet.",
                advice="Send what is missing, at the least the last byte with the file's SHA-256.",
            )
        return file

    async def adopt_upload(self, upload_id: str, owner: str) -> BlobRef:
        """Make a whole upload a blob that `owner` holds; it is no upload any more then.

        Raises:
            NotFound: There is none of that id.
            Refused: It is not whole yet.
            DiskFull, OutputUnwritable: It cannot be kept; it stays an upload.
        """
        file = self.whole_upload(upload_id)
        upload = self.uploads.pop(upload_id)
        try:
            ref: BlobRef = await deferToThread(
                self._blobs.adopt, file.path, file.sha256 or "", file.offset, owner=owner
            )
        except FfclusterError:
            self.uploads[upload_id] = upload
            raise
        return ref

    def abandoned(self, now: float) -> list[Upload]:
        """Take out and return the uploads that nobody goes on with."""
        given_up = []
        for upload in list(self.uploads.values()):
            if upload.file.offset != upload.seen_offset:
                upload.seen_offset, upload.touched_at = upload.file.offset, now
            elif now - upload.touched_at > UPLOAD_PATIENCE_S:
                given_up.append(self.uploads.pop(upload.id))
        return given_up

    # --- outputs -------------------------------------------------------------------------------

    def show_output(self, job_id: str, output: Readable) -> None:
        """Let a completed job's file be fetched."""
        self._outputs[job_id] = output

    def output_path(self, job_id: str) -> str:
        """Where a completed job's file can be fetched, or ""."""
        return f"/v1/{OUTPUTS}/{job_id}" if job_id in self._outputs else ""

    def hide_output(self, job_id: str) -> None:
        """The job is forgotten."""
        self._outputs.pop(job_id, None)
