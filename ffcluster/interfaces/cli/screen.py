"""Lays a board out for a terminal of any size, and says which keys were pressed on it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ffcluster.interfaces.cli.board import Board, JobRow, Snapshot, WorkerRow
from ffcluster.interfaces.cli.output import clock, table

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

KEYS = (
    "up/down select   p pause/resume job   c cancel job   d drain/resume worker   ? help   q quit"
)
_HELP = """
  up, down (or k, j)   select a job or a worker
  p                    pause the job: what runs is finished, nothing more is started; or resume it
  c                    cancel the job: nothing of it is kept; asks first
  d                    drain the worker: it finishes what it has and gets nothing more; or resume it
  q, Ctrl-C            leave; jobs and workers go on

  Any key goes back.
"""
_BAR_CELLS = 12
# Columns that are left out where the terminal is narrower than this.
_RATE_FROM, _BAR_FROM, _SPEED_FROM, _DEVICES_FROM, _WHY_FROM = 60, 78, 84, 96, 110
_NUMBERS = ("DONE", "FRAMES/S", "SPEED", "ETA", "SLOTS", "FAILED")
_Row = TypeVar("_Row", bound=JobRow | WorkerRow)


def headline(snapshot: Snapshot) -> str:
    """The cluster on one line."""
    still_open = sum(not row.ended for row in snapshot.jobs)
    present = sum(not row.state.startswith("Disconnected") for row in snapshot.workers)
    return (
        f"{snapshot.fps:.1f} frames/s  {_counted(still_open, 'open job')}  "
        f"{_counted(present, 'worker')}, "
        f"{snapshot.busy} busy  ETA {clock(snapshot.eta_s)}"
    )


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def text_of(snapshot: Snapshot) -> str:
    """A snapshot for a log or a pipe."""
    jobs = [
        (r.id, r.state, f"{r.percent:.0f} %", f"{r.fps:.1f}", f"{r.speed:.2f}", clock(r.eta_s),
         r.encoder or "-", r.name, r.why)
        for r in snapshot.jobs
    ]  # fmt: skip
    workers = [
        (r.name, r.id, r.state, r.encoders or "-", f"{r.fps:.1f}", f"{r.running}/{r.slots}",
         r.failures, r.devices or "-")
        for r in snapshot.workers
    ]  # fmt: skip
    job_head = ("JOB", "STATE", "DONE", "FRAMES/S", "SPEED", "ETA", "ENCODER", "SOURCE", "WHY")
    worker_head = ("WORKER", "ID", "STATE", "ENCODER", "FRAMES/S", "SLOTS", "FAILED", "DEVICES")
    parts = [headline(snapshot)]
    parts += [table(job_head, jobs)] if jobs else ["No jobs."]
    parts += [table(worker_head, workers)] if workers else ["No workers."]
    return "\n".join(parts)


def _clock_time(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))


def layout(board: Board, width: int, height: int) -> Group:
    """The whole screen, no higher than `height`."""
    from rich.console import Group
    from rich.text import Text

    snapshot = board.snapshot
    if board.helping:
        return Group(Text("ffcluster top", style="bold"), Text(_HELP))
    if snapshot is None:
        return Group(Text("Asking the coordinator ..."))
    top = [Text(headline(snapshot), style="bold", no_wrap=True, overflow="ellipsis")]
    if board.stale:
        since = f"STALE since {_clock_time(snapshot.at)}: {board.stale}"
        top.append(Text(since, style="bold reverse", no_wrap=True, overflow="ellipsis"))
    # Two headings, two lines that say how much is hidden, and the line of keys.
    room = max(2, height - len(top) - 5)
    for_jobs = max(1, min(len(snapshot.jobs), max(room // 2, room - len(snapshot.workers))))
    parts: list[Any] = [*top]
    parts += _part(snapshot.jobs, board, for_jobs, width, _jobs, "jobs")
    parts += _part(snapshot.workers, board, max(1, room - for_jobs), width, _workers, "workers")
    return Group(*parts, _last_line(board))


def _part(
    rows: Sequence[_Row],
    board: Board,
    room: int,
    width: int,
    draw: Callable[[Sequence[_Row], Board, int], list[Text]],
    what: str,
) -> list[Text]:
    """As many rows as there is room for, those around the selected one."""
    from rich.text import Text

    if not rows:
        return [Text(f"No {what}.", style="dim")]
    place = next((n for n, row in enumerate(rows) if row.id == board.selected), 0)
    first = max(0, min(place - room // 2, len(rows) - room))
    shown = rows[first : first + room]
    hidden = len(rows) - len(shown)
    more = [Text(f"  ... and {hidden} more {what}", style="dim")] if hidden else []
    return [*draw(shown, board, width), *more]


def _grid(
    headings: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], width: int
) -> list[Text]:
    """Rows of a style each, in columns; the last one gets what the others leave."""
    from rich.text import Text

    columns = range(len(headings) - 1)
    widths = [max(len(headings[n]), *(len(cells[n]) for _, cells in rows)) for n in columns]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(space) if heading in _NUMBERS else cell.ljust(space)
            for heading, cell, space in zip(headings, cells, widths, strict=False)
        ]
        whole = " ".join([*padded, cells[-1]])
        return whole if len(whole) <= width else f"{whole[: width - 1]}~"

    return [Text(line(headings), "dim"), *(Text(line(cells), style) for style, cells in rows)]


def _jobs(rows: Sequence[JobRow], board: Board, width: int) -> list[Text]:
    bar, rate = width >= _BAR_FROM, width >= _RATE_FROM
    speed, why = width >= _SPEED_FROM, width >= _WHY_FROM
    headings = ["", "JOB", "STATE", *["PROGRESS"] * bar, "DONE", *["FRAMES/S"] * rate,
                *["SPEED"] * speed, "ETA", "SOURCE", *["WHY"] * why]  # fmt: skip
    lines = []
    for row in rows:
        # Where there is no room for both, why it waits matters more than what it is called.
        name = row.name if why or not row.why or row.ended else row.why
        cells = [
            _mark(row.id, board), row.id, row.state, *[_bar(row.percent)] * bar,
            f"{row.percent:.0f} %", *[f"{row.fps:.1f}"] * rate, *[f"{row.speed:.2f}x"] * speed,
            clock(row.eta_s), name, *[row.why] * why,
        ]  # fmt: skip
        lines.append((_style(row.id, board, row.state), cells))
    return _grid(headings, lines, width)


def _workers(rows: Sequence[WorkerRow], board: Board, width: int) -> list[Text]:
    devices, failures = width >= _DEVICES_FROM, width >= _RATE_FROM
    headings = ["", "WORKER", "STATE", "FRAMES/S", "SLOTS", *["FAILED"] * failures, "ENCODER",
                *["DEVICES"] * devices]  # fmt: skip
    lines = [
        (
            _style(row.id, board, row.state),
            [
                _mark(row.id, board), row.name, row.state, f"{row.fps:.1f}",
                f"{row.running}/{row.slots}", *[str(row.failures)] * failures,
                row.encoders or "-", *[row.devices or "-"] * devices,
            ],
        )
        for row in rows
    ]  # fmt: skip
    return _grid(headings, lines, width)


def _mark(id_: str, board: Board) -> str:
    return ">" if id_ == board.selected else " "


def _bar(percent: float) -> str:
    """A bar that is seen without colours, and by old terminals."""
    full = int(_BAR_CELLS * min(100.0, percent) / 100.0)
    return f"[{'#' * full}{'.' * (_BAR_CELLS - full)}]"


def _style(id_: str, board: Board, state: str) -> str:
    if id_ == board.selected:
        return "reverse"
    if state.startswith(("Failed", "Absent")):
        return "red"
    if state.startswith(("Completed", "Cancelled", "Disconnected")):
        return "dim"
    return "yellow" if "paused" in state or "drain" in state else ""


def _last_line(board: Board) -> Text:
    from rich.text import Text

    if board.asking is not None:
        ask = f"Cancel job {board.asking.id} ({board.asking.name})? y: yes, any other key: no"
        return Text(ask, style="bold reverse", no_wrap=True, overflow="ellipsis")
    return Text(board.said or KEYS, style="dim", no_wrap=True, overflow="ellipsis")


_SEQUENCES = {b"\x1b[A": "up", b"\x1b[B": "down", b"\x1bOA": "up", b"\x1bOB": "down"}


def keys_of(data: bytes) -> tuple[list[str], bytes]:
    """Which keys some bytes of a terminal are, and the beginning of one that is not whole yet."""
    keys: list[str] = []
    while data:
        if data in (b"\x1b", b"\x1b[", b"\x1bO"):
            break
        sequence = data[:3]
        if sequence in _SEQUENCES:
            keys.append(_SEQUENCES[sequence])
            data = data[3:]
        elif data[:2] in (b"\x1b[", b"\x1bO"):
            data = data[3:]
        else:
            character = data[:1].decode("ascii", "ignore")
            keys += [character] if character.isprintable() and character else []
            data = data[1:]
    return keys, data


class Keyboard:
    """Reads single keys off the terminal, without waiting for the Enter key and without echo."""

    def __init__(self, reactor: Any, on_key: Callable[[str], None]) -> None:
        self._reactor = reactor
        self._on_key = on_key
        self._fd = sys.stdin.fileno()
        self._rest = b""
        self._before: Any = None

    def start(self) -> None:
        """Take the keys over, where that is possible (not on Windows: there Ctrl-C ends it)."""
        try:
            import termios
            import tty
        except ImportError:
            return
        if sys.stdin.isatty():
            self._before = termios.tcgetattr(self._fd)
            tty.setcbreak(self._fd)
            self._reactor.addReader(self)

    def stop(self) -> None:
        """Leave the terminal as it was."""
        if self._before is not None:
            import termios

            self._reactor.removeReader(self)
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)
            self._before = None

    def fileno(self) -> int:
        """The terminal, for the reactor."""
        return self._fd

    def doRead(self) -> None:
        """Some keys can be read."""
        data = os.read(self._fd, 1024)
        if not data:
            self._reactor.removeReader(self)
            self._on_key("q")
        keys, self._rest = keys_of(self._rest + data)
        for key in keys:
            self._on_key(key)

    def connectionLost(self, reason: object) -> None:
        """The terminal is gone."""
        self._on_key("q")

    def logPrefix(self) -> str:
        """A name, for the reactor's log."""
        return "keyboard"
