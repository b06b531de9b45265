"""Tickets, uploads and outputs on the coordinator's shelf."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ffcluster.core.model import Epoch
from ffcluster.errors import NotFound, Refused
from ffcluster.net.bulk_server import Readable
from ffcluster.services import shelf as shelf_module
from ffcluster.services.shelf import (
    OUTPUTS,
    PIECES,
    RESULTS,
    UPLOAD_PATIENCE_S,
    UPLOADS,
    TicketShelf,
)

PIECE = Readable(Path("/pieces/1.mkv"), 5, "0" * 64)


@pytest.fixture
def shelf(tmp_path: Path) -> TicketShelf:
    return TicketShelf(tmp_path, 1000)


def name_of(path: str, kind: str) -> str:
    prefix = f"/v1/{kind}/"
    assert path.startswith(prefix)
    return path.removeprefix(prefix)


def send(shelf: TicketShelf, upload_id: str, data: bytes) -> None:
    incoming = shelf.writable(UPLOADS, upload_id)
    assert incoming is not None
    incoming.take(0, data, hashlib.sha256(data).hexdigest())


def test_attempt_has_a_piece_to_fetch_and_a_result_to_put(
    shelf: TicketShelf, tmp_path: Path
) -> None:
    piece, result = shelf.open_attempt(Epoch(1), PIECE, tmp_path / "1.mkv", 10)
    ticket = name_of(piece, PIECES)
    assert shelf.readable(PIECES, ticket) is PIECE
    incoming = shelf.writable(RESULTS, name_of(result, RESULTS))
    assert incoming is not None
    assert incoming.path == tmp_path / "1.mkv"
    assert incoming is shelf.result(Epoch(1))


def test_ticket_of_one_kind_opens_no_other(shelf: TicketShelf, tmp_path: Path) -> None:
    ticket = name_of(shelf.open_attempt(Epoch(1), PIECE, tmp_path / "1", 10)[0], PIECES)
    assert shelf.readable(RESULTS, ticket) is None
    assert shelf.readable(OUTPUTS, ticket) is None
    assert shelf.writable(PIECES, ticket) is None
    assert shelf.writable(UPLOADS, ticket) is None


def test_tickets_are_unlike_each_other_and_unlike_epochs(
    shelf: TicketShelf, tmp_path: Path
) -> None:
    paths = {shelf.open_attempt(Epoch(n), PIECE, tmp_path / str(n), 10)[0] for n in range(50)}
    assert len(paths) == 50
    assert shelf.readable(PIECES, "1") is None


def test_closed_attempt_takes_and_gives_nothing(shelf: TicketShelf, tmp_path: Path) -> None:
    ticket = name_of(shelf.open_attempt(Epoch(1), PIECE, tmp_path / "1", 10)[0], PIECES)
    closed = shelf.close_attempt(Epoch(1))
    assert closed is not None
    assert closed.path == tmp_path / "1"
    assert shelf.readable(PIECES, ticket) is None
    assert shelf.writable(RESULTS, ticket) is None
    assert shelf.result(Epoch(1)) is None
    assert shelf.close_attempt(Epoch(1)) is None


def test_whole_upload_is_handed_over_once(shelf: TicketShelf) -> None:
    upload = shelf.begin_upload("film.mkv", 4, now=0.0)
    with pytest.raises(Refused, match="0 of 4"):
        shelf.take_upload(upload.id)
    send(shelf, upload.id, b"film")
    assert shelf.take_upload(upload.id).file.path.read_bytes() == b"film"
    with pytest.raises(NotFound):
        shelf.take_upload(upload.id)


def test_upload_is_stored_under_a_name_of_our_own(shelf: TicketShelf, tmp_path: Path) -> None:
    upload = shelf.begin_upload("../../etc/passwd", 4, now=0.0)
    assert upload.file.path.parent == tmp_path
    assert "passwd" not in upload.file.path.name


def test_upload_has_exactly_the_announced_size(shelf: TicketShelf) -> None:
    upload = shelf.begin_upload("film.mkv", 4, now=0.0)
    with pytest.raises(Refused):
        upload.file.expect(5)
    with pytest.raises(Refused):
        upload.file.expect(3)


def test_too_large_and_too_many_uploads_are_refused(
    shelf: TicketShelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Refused, match="allowed"):
        shelf.begin_upload("film.mkv", 1001, now=0.0)
    monkeypatch.setattr(shelf_module, "_MAX_UPLOADS", 2)
    shelf.begin_upload("a", 1, now=0.0)
    shelf.begin_upload("b", 1, now=0.0)
    with pytest.raises(Refused, match="2 uploads wait"):
        shelf.begin_upload("c", 1, now=0.0)


def test_upload_is_given_up_after_silence_and_not_while_it_moves(shelf: TicketShelf) -> None:
    slow = shelf.begin_upload("slow", 4, now=0.0)
    silent = shelf.begin_upload("silent", 4, now=0.0)
    slow.file.take(0, b"fi", None)
    assert shelf.abandoned(UPLOAD_PATIENCE_S - 1) == []
    assert shelf.abandoned(UPLOAD_PATIENCE_S + 1) == [silent]
    assert shelf.writable(UPLOADS, silent.id) is None
    slow.file.take(2, b"l", None)
    assert shelf.abandoned(2 * UPLOAD_PATIENCE_S) == []
    assert shelf.abandoned(4 * UPLOAD_PATIENCE_S) == [slow]


def test_output_can_be_fetched_until_its_job_is_forgotten(shelf: TicketShelf) -> None:
    assert shelf.output_path("job1") == ""
    shelf.show_output("job1", PIECE)
    assert shelf.readable(OUTPUTS, name_of(shelf.output_path("job1"), OUTPUTS)) is PIECE
    shelf.hide_output("job1")
    assert shelf.output_path("job1") == ""
    shelf.hide_output("job1")
