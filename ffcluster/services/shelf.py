"""What can be fetched from and put to the coordinator, by unguessable names."""

from __future__ import annotations

import secrets
from pathlib import Path

import attrs

from ffcluster.core.model import Epoch
from ffcluster.errors import NotFound, Refused
from ffcluster.net.bulk_server import Readable
from ffcluster.store.files import IncomingFile

PIECES, RESULTS, UPLOADS, OUTPUTS = "pieces", "results", "uploads", "outputs"
KINDS = (PIECES, RESULTS, UPLOADS, OUTPUTS)

# Uploads that may wait for their job at the same time.
_MAX_UPLOADS = 100
# An upload without a new block for this long is given up.
UPLOAD_PATIENCE_S = 3600.0


@attrs.define
class Upload:
    """A source on its way from a client."""

    id: str
    name: str
    file: IncomingFile
    touched_at: float
    seen_offset: int = 0


class TicketShelf:
    """The coordinator's `Shelf`: tickets for attempts, uploads of clients, finished outputs."""

    def __init__(self, uploads_dir: Path, upload_limit_bytes: int) -> None:
        self._uploads_dir = uploads_dir
        self._upload_limit_bytes = upload_limit_bytes
        self._pieces: dict[str, Readable] = {}
        self._results: dict[str, IncomingFile] = {}
        self._tickets: dict[Epoch, str] = {}
        self._outputs: dict[str, Readable] = {}
        self.uploads: dict[str, Upload] = {}

    def readable(self, kind: str, name: str) -> Readable | None:
        """The file to fetch at `/v1/KIND/NAME`, or None."""
        if kind == PIECES:
            return self._pieces.get(name)
        return self._outputs.get(name) if kind == OUTPUTS else None

    def writable(self, kind: str, name: str) -> IncomingFile | None:
        """The blob to put at `/v1/KIND/NAME`, or None."""
        if kind == RESULTS:
            return self._results.get(name)
        upload = self.uploads.get(name) if kind == UPLOADS else None
        return upload.file if upload else None

    def open_attempt(
        self, epoch: Epoch, piece: Readable, result: Path, limit_bytes: int
    ) -> tuple[str, str]:
        """Let an attempt's piece be fetched and its result be put; return both paths."""
        ticket = secrets.token_urlsafe(18)
        self._tickets[epoch] = ticket
        self._pieces[ticket] = piece
        self._results[ticket] = IncomingFile(result, limit_bytes)
        return f"/v1/{PIECES}/{ticket}", f"/v1/{RESULTS}/{ticket}"

    def result(self, epoch: Epoch) -> IncomingFile | None:
        """What arrived so far of an attempt's result."""
        return self._results.get(self._tickets.get(epoch, ""))

    def close_attempt(self, epoch: Epoch) -> IncomingFile | None:
        """Nothing more is fetched or put for this attempt; return what arrived of its result."""
        ticket = self._tickets.pop(epoch, None)
        if ticket is None:
            return None
        del self._pieces[ticket]
        result = self._results.pop(ticket)
        result.close()
        return result

    def begin_upload(self, name: str, size_bytes: int, now: float) -> Upload:
        """Make room for a source.

        Raises:
            Refused: It is too large, or too many uploads wait already.
        """
        if size_bytes > self._upload_limit_bytes:
            raise Refused(
                message=f"{name} has {size_bytes} bytes; {self._upload_limit_bytes} are allowed.",
                advice="Raise --upload-limit on the coordinator, or use --on-server.",
            )
        if len(self.uploads) >= _MAX_UPLOADS:
            raise Refused(message=f"{_MAX_UPLOADS} uploads wait for their job already.")
        upload_id = secrets.token_urlsafe(18)
        file = IncomingFile(self._uploads_dir / upload_id, size_bytes, size_bytes)
        self.uploads[upload_id] = Upload(upload_id, name, file, now)
        return self.uploads[upload_id]

    def take_upload(self, upload_id: str) -> Upload:
        """Hand a whole upload over to a job.

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
        if not upload.file.whole:
            raise Refused(
                message=f"Of {upload.name} only {upload.file.offset} of "
                f"{upload.file.size_bytes} bytes arrived."
            )
        return self.uploads.pop(upload_id)

    def abandoned(self, now: float) -> list[Upload]:
        """Take out and return the uploads that nobody goes on with."""
        given_up = []
        for upload in list(self.uploads.values()):
            if upload.file.offset != upload.seen_offset:
                upload.seen_offset, upload.touched_at = upload.file.offset, now
            elif now - upload.touched_at > UPLOAD_PATIENCE_S:
                given_up.append(self.uploads.pop(upload.id))
        return given_up

    def show_output(self, job_id: str, output: Readable) -> None:
        """Let a completed job's file be fetched."""
        self._outputs[job_id] = output

    def output_path(self, job_id: str) -> str:
        """Where a completed job's file can be fetched, or ""."""
        return f"/v1/{OUTPUTS}/{job_id}" if job_id in self._outputs else ""

    def hide_output(self, job_id: str) -> None:
        """The job is forgotten."""
        self._outputs.pop(job_id, None)
