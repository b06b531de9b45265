"""The rows of `ffcluster top`, its keys, and how it fits into terminals of any size."""

from __future__ import annotations

import io

import attrs
import pytest
from rich.console import Console

from ffcluster.core.views import JobView, WorkerView
from ffcluster.errors import EncodeFailed
from ffcluster.interfaces.cli.board import Board, Order, Snapshot, Verb
from ffcluster.interfaces.cli.screen import keys_of, layout, text_of
from tests.interfaces.fakes import failed, job_view, worker_view


def board_of(jobs: list[JobView], workers: list[WorkerView] | None = None) -> Board:
    board = Board()
    board.show(Snapshot.of(1_700_000_000.0, jobs, workers or []))
    return board


def drawn(board: Board, width: int = 120, height: int = 24) -> str:
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    console.print(layout(board, width, height))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_open_jobs_come_first_and_of_the_ended_ones_the_newest() -> None:
    ended = [job_view("Completed", id=f"old{n}") for n in range(30)]
    snapshot = Snapshot.of(0.0, [*ended, job_view(id="now")], [])
    assert [row.id for row in snapshot.jobs[:3]] == ["now", "old29", "old28"]
    assert len(snapshot.jobs) == 21
    assert snapshot.counts == {"Completed": 30, "Processing": 1}


def test_worker_shows_the_encoders_that_jobs_say_it_runs() -> None:
    busy = attrs.evolve(worker_view(), running=1, fps=25.0)
    (row,) = Snapshot.of(0.0, [job_view()], [busy]).workers
    assert (row.encoders, row.running, row.slots) == ("libx264", 1, 8)
    (idle,) = Snapshot.of(0.0, [job_view("Completed")], [busy]).workers
    assert idle.encoders == ""


def test_eta_is_that_of_the_last_job_and_fps_of_all() -> None:
    jobs = [job_view(id="a", eta_s=5.0), job_view(id="b", eta_s=60.0), job_view(id="c", eta_s=None)]
    snapshot = Snapshot.of(0.0, jobs, [])
    assert (snapshot.eta_s, snapshot.fps) == (60.0, 75.0)
    assert Snapshot.of(0.0, [], []).eta_s is None


def test_selection_moves_over_jobs_and_workers_and_outlives_a_new_look() -> None:
    board = board_of([job_view(id="a"), job_view(id="b")], [worker_view()])
    assert board.selected == "a"
    for key in ("down", "j", "j"):
        board.press(key)
    assert board.selected == "w1"
    board.press("up")
    board.show(Snapshot.of(1.0, [job_view(id="x"), job_view(id="b")], [worker_view()]))
    assert board.selected == "b"
    board.show(Snapshot.of(2.0, [job_view(id="x")], []))
    assert board.selected == "x"
    board.show(Snapshot.of(3.0, [], []))
    assert board.selected == ""
    assert board.press("down") is None


def test_p_pauses_a_job_and_resumes_a_paused_one() -> None:
    board = board_of([job_view(id="a"), job_view(id="b", paused=True)])
    assert board.press("p") == Order(Verb.PAUSE, "a", "in.mkv")
    board.press("down")
    assert board.press("p") == Order(Verb.RESUME, "b", "in.mkv")


@pytest.mark.parametrize("answer", ["n", "c", "up", "?"])
def test_cancel_asks_and_takes_only_y_for_yes(answer: str) -> None:
    board = board_of([job_view(id="a")])
    assert board.press("c") is None
    assert "Cancel job a (in.mkv)?" in drawn(board)
    assert board.press(answer) is None
    assert board.asking is None
    assert board.press("c") is None
    assert board.press("y") == Order(Verb.CANCEL, "a", "in.mkv")


def test_d_drains_a_worker_and_lets_a_drained_one_work_again() -> None:
    board = board_of([], [worker_view()])
    assert board.press("d") == Order(Verb.DRAIN, "w1", "attic")
    board = board_of([], [attrs.evolve(worker_view(), draining=True, drained_by_operator=True)])
    assert board.press("d") == Order(Verb.RESUME_WORKER, "w1", "attic")


def test_keys_that_do_not_fit_the_selection_say_so() -> None:
    board = board_of([job_view("Completed", id="a")], [worker_view()])
    assert board.press("c") is None
    assert "has ended" in drawn(board)
    assert board.press("d") is None
    assert "Select a worker first" in drawn(board)
    board.press("down")
    assert board.press("p") is None
    assert "Select a job first" in drawn(board)


def test_screen_shows_what_matters() -> None:
    waiting = job_view("WaitingForClients", id="w", fps=0.0, reason="waiting for 2 more workers")
    error = failed(EncodeFailed(message="the encoder broke"))
    text = drawn(board_of([job_view(), waiting, error], [worker_view()]), width=160)
    for wanted in (
        "[####........]", "40 %", "25.0", "1.00x", "0:02", "waiting for 2 more workers",
        "the encoder broke", "attic", "0/8", "q quit",
    ):  # fmt: skip
        assert wanted in text, text


def test_stale_board_says_since_when_and_why() -> None:
    board = board_of([job_view()])
    board.stale = "No coordinator answers"
    assert "STALE since" in drawn(board)
    assert "No coordinator answers" in drawn(board)
    board.show(Snapshot.of(1.0, [], []))
    assert "STALE" not in drawn(board)


@pytest.mark.parametrize("width", [30, 45, 59, 60, 77, 80, 100, 120, 250])
@pytest.mark.parametrize("height", [8, 12, 24, 60])
def test_board_fits_any_terminal(width: int, height: int) -> None:
    jobs = [job_view(id=f"job{n:08}", reason="a reason " * 20) for n in range(50)]
    workers = [attrs.evolve(worker_view(), id=f"w{n}", name=f"worker-{n}") for n in range(50)]
    board = board_of(jobs, workers)
    for _ in range(30):
        board.press("down")
    lines = drawn(board, width, height).splitlines()
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)
    assert any(line.startswith(">") for line in lines)


def test_names_from_outside_do_not_command_the_terminal() -> None:
    spec = attrs.evolve(job_view().spec, source_name="a\x1b[2J\nb[red]")
    snapshot = Snapshot.of(0.0, [job_view(spec=spec)], [])
    assert "a?[2J?b[red]" in text_of(snapshot)
    assert "\x1b[2J" not in drawn(board_of([job_view(spec=spec)]))


def test_bytes_of_a_terminal_become_keys() -> None:
    assert keys_of(b"q\x1b[Aj\x1bOB") == (["q", "up", "j", "down"], b"")
    assert keys_of(b"p\x1b[") == (["p"], b"\x1b[")
    assert keys_of(b"\x1b[Cx\x1bq") == (["x", "q"], b"")
    assert keys_of(b"\x03\xff") == ([], b"")
