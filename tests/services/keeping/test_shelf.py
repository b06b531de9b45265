"""Tickets, uploads and outputs on the coordinator's shelf."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import TestCase

from ffcluster.core.model import BlobRef, Epoch
from ffcluster.errors import Cancelled, DiskFull, NotFound, OutputUnwritable, Refused
from ffcluster.net.bulk_server import Readable
from ffcluster.services.keeping import shelf as shelf_module
from ffcluster.services.keeping.shelf import (
    OUTPUTS,
    PIECES,
    RESULTS,
    UPLOAD_PATIENCE_S,
    UPLOADS,
    TicketShelf,
    Upload,
)
from ffcluster.store.blobs import FileBlobs
from ffcluster.store.files import IncomingFile

PIECE = Readable(Path("/pieces/1.mkv"), 5, "0" * 64)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def name_of(path: str, kind: str) -> str:
    prefix = f"/v1/{kind}/"
    assert path.startswith(prefix)
    return path.removeprefix(prefix)


class ShelfCase(TestCase):
    """Each test gets a shelf over real files."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ffcluster-test-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.blobs, self.shelf = self.begin()

    def begin(self) -> tuple[FileBlobs, TicketShelf]:
        """What a coordinator begins with, on what is there."""
        blobs = FileBlobs(self.folder)
        blobs.prepare()
        return blobs, TicketShelf(blobs, 1000)

    def result(self, path: str, shelf: TicketShelf | None = None) -> IncomingFile:
        incoming = (shelf or self.shelf).writable(RESULTS, name_of(path, RESULTS))
        assert incoming is not None
        return incoming

    async def upload(self, name: str = "film.mkv", size: int = 4, now: float = 0.0) -> Upload:
        return await self.shelf.begin_upload(name, size, now)

    def send(self, upload_id: str, data: bytes, start: int = 0) -> None:
        incoming = self.shelf.writable(UPLOADS, upload_id)
        assert incoming is not None
        whole = start + len(data) == incoming.size_bytes
        incoming.take(start, data, sha(b"film") if whole else None)


class AttemptTests(ShelfCase):
    def test_attempt_has_a_piece_to_fetch_and_a_result_to_put(self) -> None:
        piece, result = self.shelf.open_attempt(Epoch(1), PIECE, 10)
        assert self.shelf.readable(PIECES, name_of(piece, PIECES)) is PIECE
        incoming = self.result(result)
        assert incoming.path == self.blobs.incoming("result-1")
        assert incoming is self.shelf.result(Epoch(1))

    def test_ticket_of_one_kind_opens_no_other(self) -> None:
        ticket = name_of(self.shelf.open_attempt(Epoch(1), PIECE, 10)[0], PIECES)
        assert self.shelf.readable(RESULTS, ticket) is None
        assert self.shelf.readable(OUTPUTS, ticket) is None
        assert self.shelf.writable(PIECES, ticket) is None
        assert self.shelf.writable(UPLOADS, ticket) is None

    def test_tickets_are_unlike_each_other_and_unlike_epochs(self) -> None:
        paths = {self.shelf.open_attempt(Epoch(n), PIECE, 10)[0] for n in range(50)}
        assert len(paths) == 50
        assert self.shelf.readable(PIECES, "1") is None
        assert self.shelf.writable(RESULTS, "") is None

    def test_closed_attempt_takes_and_gives_nothing(self) -> None:
        ticket = name_of(self.shelf.open_attempt(Epoch(1), PIECE, 10)[0], PIECES)
        closed = self.shelf.close_attempt(Epoch(1))
        assert closed is not None
        assert closed.path == self.blobs.incoming("result-1")
        assert self.shelf.readable(PIECES, ticket) is None
        assert self.shelf.writable(RESULTS, ticket) is None
        assert self.shelf.result(Epoch(1)) is None
        assert self.shelf.close_attempt(Epoch(1)) is None

    async def test_resumed_attempt_goes_on_with_a_ticket_of_its_own(self) -> None:
        piece, first = self.shelf.open_attempt(Epoch(1), PIECE, 10)
        incoming = self.result(first)
        incoming.expect(4)
        incoming.take(0, b"fi", None)
        again = await self.shelf.resume_attempt(Epoch(1), 10)
        assert again != first
        assert self.result(again) is incoming
        assert self.shelf.writable(RESULTS, name_of(first, RESULTS)) is None
        assert self.shelf.readable(PIECES, name_of(piece, PIECES)) is None

    async def test_result_that_another_process_took_in_goes_on_where_it_stopped(self) -> None:
        incoming = self.result(self.shelf.open_attempt(Epoch(1), PIECE, 10)[1])
        incoming.expect(4)
        incoming.take(0, b"fi", None)
        _, shelf = self.begin()
        resumed = self.result(await shelf.resume_attempt(Epoch(1), 10), shelf)
        assert resumed.offset == 2
        resumed.expect(4)
        resumed.take(2, b"lm", sha(b"film"))
        assert resumed.path.read_bytes() == b"film"

    async def test_attempt_that_is_closed_while_it_is_resumed_stays_closed(self) -> None:
        resuming = ensureDeferred(self.shelf.resume_attempt(Epoch(1), 10))
        closed = self.shelf.close_attempt(Epoch(1))
        assert closed is not None
        await self.assertFailure(resuming, Cancelled)
        assert self.shelf.result(Epoch(1)) is None

    async def test_of_two_that_resume_an_attempt_the_later_one_counts(self) -> None:
        earlier = ensureDeferred(self.shelf.resume_attempt(Epoch(1), 10))
        later = ensureDeferred(self.shelf.resume_attempt(Epoch(1), 10))
        await self.assertFailure(earlier, Cancelled)
        assert self.result(await later) is self.shelf.result(Epoch(1))

    async def test_result_that_cannot_be_read_is_said(self) -> None:
        self.blobs.incoming("result-1").mkdir()
        await self.assertFailure(
            ensureDeferred(self.shelf.resume_attempt(Epoch(1), 10)), OutputUnwritable
        )

    async def test_incoming_files_of_all_that_is_on_its_way_are_expected(self) -> None:
        self.shelf.open_attempt(Epoch(1), PIECE, 10)
        await self.shelf.resume_attempt(Epoch(2), 10)
        upload = await self.upload()
        self.shelf.open_attempt(Epoch(3), PIECE, 10)
        self.shelf.close_attempt(Epoch(3))
        assert self.shelf.expected() == {"result-1", "result-2", f"upload-{upload.id}-4"}


class UploadTests(ShelfCase):
    async def test_whole_upload_becomes_a_blob_once(self) -> None:
        upload = await self.upload()
        await self.fails(Refused, self.shelf.adopt_upload(upload.id, "source"), "0 of 4")
        self.send(upload.id, b"film")
        ref = await self.shelf.adopt_upload(upload.id, "source")
        assert ref == BlobRef(sha(b"film"), 4)
        assert self.blobs.path(ref).read_bytes() == b"film"
        assert self.blobs.arrivals() == ()
        await self.fails(NotFound, self.shelf.adopt_upload(upload.id, "source"))

    async def test_upload_that_cannot_be_kept_stays_one(self) -> None:
        upload = await self.upload()
        self.send(upload.id, b"film")
        (self.folder / "blobs" / sha(b"film")[:2]).write_text("in the way")
        await self.fails(OutputUnwritable, self.shelf.adopt_upload(upload.id, "source"))
        (self.folder / "blobs" / sha(b"film")[:2]).unlink()
        ref = await self.shelf.adopt_upload(upload.id, "source")
        self.blobs.verify(ref)

    async def test_upload_is_stored_under_a_name_of_our_own(self) -> None:
        upload = await self.upload("../../etc/passwd")
        assert upload.file.path.parent == self.blobs.incoming("x").parent
        assert "passwd" not in upload.file.path.name

    async def test_upload_has_exactly_the_announced_size(self) -> None:
        upload = await self.upload()
        for size in (3, 5):
            with pytest.raises(Refused):
                upload.file.expect(size)

    async def test_too_large_and_too_many_uploads_are_refused(self) -> None:
        await self.fails(Refused, self.upload(size=1001), "allowed")
        self.patch(shelf_module, "_MAX_UPLOADS", 2)
        await self.upload("a")
        await self.upload("b")
        await self.fails(Refused, self.upload("c"), "2 uploads wait")

    async def test_upload_without_room_for_its_first_byte_is_refused_and_forgotten(self) -> None:
        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        self.patch(Path, "touch", full)
        await self.fails(DiskFull, self.upload())
        assert self.shelf.uploads == {}

    async def test_upload_is_given_up_after_silence_and_not_while_it_moves(self) -> None:
        slow, silent = await self.upload("slow"), await self.upload("silent")
        slow.file.take(0, b"fi", None)
        assert self.shelf.abandoned(UPLOAD_PATIENCE_S - 1) == []
        assert self.shelf.abandoned(UPLOAD_PATIENCE_S + 1) == [silent]
        assert self.shelf.writable(UPLOADS, silent.id) is None
        slow.file.take(2, b"l", None)
        assert self.shelf.abandoned(2 * UPLOAD_PATIENCE_S) == []
        assert self.shelf.abandoned(4 * UPLOAD_PATIENCE_S) == [slow]

    async def test_upload_goes_on_under_its_id_after_a_restart(self) -> None:
        upload, untouched = await self.upload(), await self.upload("other", 7)
        self.send(upload.id, b"fi")
        self.blobs, self.shelf = self.begin()
        found = await self.shelf.recover_uploads(5.0)
        assert {(u.id, u.file.offset, u.touched_at) for u in found} == {
            (upload.id, 2, 5.0),
            (untouched.id, 0, 5.0),
        }
        self.send(upload.id, b"lm", start=2)
        self.blobs.verify(await self.shelf.adopt_upload(upload.id, "source"))

    async def test_upload_that_was_whole_must_be_proven_again_after_a_restart(self) -> None:
        upload = await self.upload()
        self.send(upload.id, b"film")
        self.blobs, self.shelf = self.begin()
        await self.shelf.recover_uploads(0.0)
        await self.fails(Refused, self.shelf.adopt_upload(upload.id, "source"), "not proven yet")
        self.send(upload.id, b"m", start=3)
        await self.shelf.adopt_upload(upload.id, "source")

    async def test_other_incoming_files_are_no_uploads(self) -> None:
        for name in ("result-1", "upload-x-1", "upload-" + "a" * 24, "note"):
            self.blobs.incoming(name).write_text("x")
        assert await self.shelf.recover_uploads(0.0) == []

    async def test_upload_that_cannot_be_read_is_forgotten(self) -> None:
        self.blobs.incoming(f"upload-{'a' * 24}-4").mkdir()
        await self.shelf.recover_uploads(0.0)
        assert self.shelf.uploads == {}

    async def fails(
        self, error: type[Exception], work: Coroutine[Any, Any, Any], text: str = ""
    ) -> None:
        caught = await self.assertFailure(ensureDeferred(work), error)
        assert text in str(caught)


class OutputTests(ShelfCase):
    def test_output_can_be_fetched_until_its_job_is_forgotten(self) -> None:
        assert self.shelf.output_path("job1") == ""
        self.shelf.show_output("job1", PIECE)
        path = self.shelf.output_path("job1")
        assert self.shelf.readable(OUTPUTS, name_of(path, OUTPUTS)) is PIECE
        self.shelf.hide_output("job1")
        assert self.shelf.output_path("job1") == ""
        self.shelf.hide_output("job1")
