"""`ffcluster top`: a cluster on one screen, kept up to date, with keys that steer it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, Protocol

import click

from ffcluster.errors import FfclusterError, Unauthorized, Unreachable
from ffcluster.interfaces.cli.board import Board, Order, Snapshot, Verb
from ffcluster.interfaces.cli.named import read_token
from ffcluster.interfaces.cli.options import FfclusterCommand, coordinator_options
from ffcluster.interfaces.cli.output import Exit, Output
from ffcluster.interfaces.cli.runtime import Client, Runtime
from ffcluster.interfaces.cli.screen import Keyboard, layout, text_of

# The coordinator is asked so seldom that answering takes it at most a tenth of the time.
_REST_PER_ANSWER = 9.0
# After so long without an answer what is on the screen counts as stale.
_LATE_S = 5.0
_DONE = {
    Verb.PAUSE: "paused: what runs is finished, nothing more is started",
    Verb.RESUME: "goes on",
    Verb.CANCEL: "cancelled",
    Verb.DRAIN: "drained: it finishes what it has",
    Verb.RESUME_WORKER: "works again",
}


@click.command(cls=FfclusterCommand, short_help="Watch the cluster, and steer it by keys.")
@click.option(
    "--interval",
    "interval_s",
    type=click.FloatRange(0.2, 3600.0),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How often to look, at most.",
)
@click.option("--once", is_flag=True, help="Show it once, as text or JSON, and return.")
@coordinator_options()
@click.pass_obj
def top(
    runtime: Runtime,
    /,
    output: Output,
    interval_s: float,
    once: bool,
    coordinator: str,
    token_file: Path | None,
) -> Exit:
    """Watch jobs and workers on one screen, and pause, cancel and drain them by single keys.

    A coordinator that goes away is looked for; meanwhile the screen says since when it is stale.
    Without a terminal, or with --once, it is printed as text; with --json each look is one
    `snapshot` object.

    \b
    ffcluster top --coordinator ws://HOST:5001
    ffcluster top --once --json
    """
    token = read_token(token_file, output)

    async def main(reactor: Any) -> Exit:
        client = await runtime.connect(reactor, coordinator, token)
        on_screen = sys.stdout.isatty() and not once and not output.json
        face: Face = Screen() if on_screen else Lines(output)
        try:
            return await Watching(reactor, client, face, interval_s, once=once).run(output)
        finally:
            await client.close()

    return runtime.run(main, output)


class Face(Protocol):
    """Where a board is shown."""

    def start(self, reactor: Any, watching: Watching) -> None:
        """Begin."""

    def draw(self, board: Board, *, fresh: bool) -> None:
        """Show it; `fresh` when it was just looked, whether in vain or not."""

    def stop(self) -> None:
        """Leave the terminal as it was."""


class Lines:
    """Text or NDJSON on stdout, once for every look."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def start(self, reactor: Any, watching: Watching) -> None:
        """Nothing to begin."""

    def draw(self, board: Board, *, fresh: bool) -> None:
        """Write what was seen."""
        if not fresh or board.snapshot is None:
            return
        if board.stale:
            since = time.strftime("%H:%M:%S", time.localtime(board.snapshot.at))
            self._output.emit(
                "stale", since=board.snapshot.at, reachable=False, message=board.stale
            )
            self._output.show(f"Stale since {since}: {board.stale}\n")
            return
        self._output.emit("snapshot", **board.snapshot.document())
        self._output.show(text_of(board.snapshot) + "\n")

    def stop(self) -> None:
        """Nothing to leave."""


class Screen:
    """The whole terminal, redrawn in place."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console()
        # A thread that redraws in between would gain nothing: keys and looks do.
        self._live = Live(console=self._console, screen=True, auto_refresh=False)
        self._keyboard: Keyboard | None = None

    def start(self, reactor: Any, watching: Watching) -> None:
        """Take the terminal over."""
        self._live.start()
        self._keyboard = Keyboard(reactor, watching.press)
        self._keyboard.start()

    def draw(self, board: Board, *, fresh: bool) -> None:
        """Redraw."""
        size = self._console.size
        self._live.update(layout(board, size.width, size.height), refresh=True)

    def stop(self) -> None:
        """Give the terminal back."""
        if self._keyboard is not None:
            self._keyboard.stop()
        self._live.stop()


class Watching:
    """Looks, draws, and does what keys say, until the user leaves."""

    def __init__(
        self, reactor: Any, client: Client, face: Face, interval_s: float, *, once: bool
    ) -> None:
        from twisted.internet.defer import Deferred

        self._reactor = reactor
        self._client = client
        self._face = face
        self._interval_s = interval_s
        self._once = once
        self._looks = 0
        self._looked_at = reactor.seconds()
        self._left: Deferred[None] = Deferred()
        self.board = Board()

    async def run(self, output: Output) -> Exit:
        """Watch until `q`, or once."""
        from twisted.internet.defer import Deferred
        from twisted.internet.task import LoopingCall

        self._face.start(self._reactor, self)
        ticking = LoopingCall(self._tick)
        ticking.clock = self._reactor
        ticking.start(self._interval_s, now=False)
        looking: Deferred[None] = Deferred.fromCoroutine(self._look_again_and_again())
        looking.addCallbacks(self._leave, self._fail)
        try:
            await self._left
        finally:
            ticking.stop()
            looking.cancel()
            self._face.stop()
        output.emit("result", snapshots=self._looks)
        return Exit.DONE

    def _leave(self, _: object = None) -> None:
        if not self._left.called:
            self._left.callback(None)

    def _fail(self, failure: Any) -> None:
        if not self._left.called:
            self._left.errback(failure)

    async def _look_again_and_again(self) -> None:
        from twisted.internet.task import deferLater

        while True:
            began = self._reactor.seconds()
            await self._look()
            self._face.draw(self.board, fresh=True)
            if self._once:
                return
            took_s = self._reactor.seconds() - began
            await deferLater(self._reactor, max(self._interval_s, took_s * _REST_PER_ANSWER))

    def _tick(self) -> None:
        """Redraw for a terminal of another size, and say so when an answer does not come."""
        waited_s = self._reactor.seconds() - self._looked_at
        if self._looks and not self.board.stale and waited_s > _LATE_S + 2 * self._interval_s:
            self.board.stale = "the coordinator does not answer"
        self._face.draw(self.board, fresh=False)

    async def _look(self) -> None:
        try:
            jobs, workers = await self._client.jobs(), await self._client.workers()
        except Unauthorized:
            raise
        except Unreachable as error:
            if self._once or self.board.snapshot is None:
                raise
            self.board.stale = error.message
            return
        self._looks += 1
        self._looked_at = self._reactor.seconds()
        self.board.show(Snapshot.of(time.time(), jobs, workers))

    def press(self, key: str) -> None:
        """A key was pressed."""
        from twisted.internet.defer import Deferred

        if key == "q" and self.board.asking is None:
            self._leave()
            return
        order = self.board.press(key)
        if order is not None:
            Deferred.fromCoroutine(self._do(order)).addErrback(self._fail)
        self._face.draw(self.board, fresh=False)

    async def _do(self, order: Order) -> None:
        try:
            await getattr(self._client, order.verb.value)(order.id)
            self.board.said = f"{order.name}: {_DONE[order.verb]}"
            await self._look()
        except FfclusterError as error:
            self.board.said = f"{error.message} {error.advice}".strip()
        if not self._left.called:
            self._face.draw(self.board, fresh=False)
