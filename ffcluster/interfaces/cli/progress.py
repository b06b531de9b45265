"""Show a job's way to its end: live bars on a terminal, lines in a log, NDJSON for programs.

Draws only what a view says; measures nothing itself.
"""

from __future__ import annotations

import sys
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Protocol

from ffcluster.core.views import JobView
from ffcluster.errors import Unreachable
from ffcluster.interfaces.cli.output import Output, clock, megabytes
from ffcluster.interfaces.cli.report import used_by

if TYPE_CHECKING:
    from rich.console import RenderableType

# In a log one line for every so many percent is enough.
_PLAIN_STEP_PERCENT = 10


def percent_of(view: JobView) -> float:
    """Share of the film that is encoded, 0 to 100."""
    return 100.0 * min(1.0, view.frames_done / view.frame_count) if view.frame_count else 0.0


class Progress(Protocol):
    """Where a command sends what happens."""

    def job(self, view: JobView) -> None:
        """Show how far a job is."""

    def transfer(self, what: str, done_bytes: int, total_bytes: int) -> None:
        """Show how far an upload or a download is; `what` is `upload` or `download`."""

    def outage(self, error: Unreachable | None) -> None:
        """Show that the coordinator cannot be reached and is looked for; None: it can again."""

    def stop(self) -> None:
        """Leave the screen as it is."""


class JsonProgress:
    """One `progress`, `upload` or `download` object for every update."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def job(self, view: JobView) -> None:
        """Write a `progress` object."""
        self._output.emit(
            "progress",
            job=view.id,
            state=view.state,
            reason=view.reason,
            percent=round(percent_of(view), 2),
            frames_done=view.frames_done,
            frame_count=view.frame_count,
            fps=round(view.fps, 2),
            speed=round(view.speed, 3),
            eta_s=view.eta_s,
            elapsed_s=view.elapsed_s,
            retries=view.retries,
            encoder=view.encoder,
            workers=view.shares,
            paused=view.paused,
            priority=view.priority,
        )

    def transfer(self, what: str, done_bytes: int, total_bytes: int) -> None:
        """Write an `upload` or `download` object."""
        self._output.emit(what, done_bytes=done_bytes, total_bytes=total_bytes)

    def outage(self, error: Unreachable | None) -> None:
        """Write a `coordinator` object."""
        self._output.emit("coordinator", reachable=error is None, message=_outage_line(error))

    def stop(self) -> None:
        """Nothing to leave."""


class PlainProgress:
    """A line on stderr whenever the state changes or a tenth of the film is done."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._shown: tuple[str, int] = ("", -1)
        self._away = False

    def job(self, view: JobView) -> None:
        """Write a line when there is something new to say."""
        step = int(percent_of(view)) // _PLAIN_STEP_PERCENT
        state = f"{state_in_words(view)}: {view.reason}"
        if (state, step) == self._shown:
            return
        self._shown = (state, step)
        self._output.say(headline(view))

    def transfer(self, what: str, done_bytes: int, total_bytes: int) -> None:
        """Write a line for every tenth."""
        step = 10 * done_bytes // max(1, total_bytes)
        if (what, step) == self._shown:
            return
        self._shown = (what, step)
        self._output.say(f"{what}: {megabytes(done_bytes)} of {megabytes(total_bytes)}")

    def outage(self, error: Unreachable | None) -> None:
        """Write a line when it begins and when it ends."""
        if self._away != (error is not None):
            self._away = error is not None
            self._output.say(_outage_line(error))

    def stop(self) -> None:
        """Nothing to leave."""


class EveryProgress:
    """Shows the same in several ways, or in none."""

    def __init__(self, *ways: Progress) -> None:
        self._ways = ways

    def job(self, view: JobView) -> None:
        """Show how far a job is."""
        for way in self._ways:
            way.job(view)

    def transfer(self, what: str, done_bytes: int, total_bytes: int) -> None:
        """Show how far a transfer is."""
        for way in self._ways:
            way.transfer(what, done_bytes, total_bytes)

    def outage(self, error: Unreachable | None) -> None:
        """Show that the coordinator cannot be reached."""
        for way in self._ways:
            way.outage(error)

    def stop(self) -> None:
        """Leave the screen as it is."""
        for way in self._ways:
            way.stop()


class LiveProgress:
    """A bar for the whole film and a line per worker, redrawn in place on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        # The views arrive a few times a second; a thread that redraws in between gains nothing.
        self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
        self._live.start()
        self._percent = 0.0

    def job(self, view: JobView) -> None:
        """Redraw."""
        self._percent = percent_of(view)
        self._draw(percent_of(view), headline(view), [_share_line(s) for s in view.shares])

    def transfer(self, what: str, done_bytes: int, total_bytes: int) -> None:
        """Redraw."""
        text = f"{what}: {megabytes(done_bytes)} of {megabytes(total_bytes)}"
        self._draw(100.0 * done_bytes / max(1, total_bytes), text, [])

    def outage(self, error: Unreachable | None) -> None:
        """Redraw."""
        self._draw(self._percent, _outage_line(error), [])

    def _draw(self, percent: float, text: str, lines: list[str]) -> None:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        rows: list[RenderableType] = [ProgressBar(total=100.0, completed=percent), Text(text)]
        rows += [Text(line, style="dim") for line in lines]
        self._live.update(Group(*rows), refresh=True)

    def stop(self) -> None:
        """Clear the bars."""
        self._live.stop()


def state_in_words(view: JobView) -> str:
    """The name of a job's state, and whether it is paused."""
    return f"{view.state}, paused" if view.paused and not view.ended else view.state


def fps_of(view: JobView) -> str:
    """The rate now; of a job that has ended there is none."""
    return "-" if view.ended else f"{view.fps:.1f}"


def output_of(view: JobView) -> str:
    """The file's name: what it became, once it is published, or what was asked for."""
    return PurePath(view.outcome.path).name if view.outcome else view.spec.output_name


def headline(view: JobView) -> str:
    """Say on one line how a job is doing."""
    state = state_in_words(view)
    why = f": {view.reason}" if view.reason and view.reason not in state else ""
    if view.state in ("Processing", "Benchmarking", "Combining"):
        return (
            f"{state} {percent_of(view):5.1f} %  {view.fps:.1f} frames/s  "
            f"{view.speed:.2f}x  ETA {clock(view.eta_s)}{why}"
        )
    return f"{state}{why}"


def _outage_line(error: Unreachable | None) -> str:
    if error is None:
        return "The coordinator can be reached again."
    return f"The coordinator cannot be reached; trying again. {error.message}"


def _share_line(share: Any) -> str:
    doing = f"{share.running} running" if share.running else "idle"
    failures = f", {share.failures} failed" if share.failures else ""
    return (
        f"  {share.worker:<20} {used_by(share):<12} {share.segments} segments, "
        f"{share.frames} frames, {share.fps:.1f} frames/s, {doing}{failures}"
    )


def progress_for(output: Output) -> Progress:
    """Choose how: NDJSON for `--json`, and bars or lines on stderr unless `--quiet`."""
    ways: list[Progress] = [JsonProgress(output)] if output.json else []
    if not output.quiet:
        ways.append(LiveProgress() if sys.stderr.isatty() else PlainProgress(output))
    return EveryProgress(*ways)
