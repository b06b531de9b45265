"""What completes a word of a command line: jobs, workers, encoders and profiles that there are.

The coordinator is asked in a moment or not at all: a shell that waits for a key must not hang, and
whatever fails offers nothing and says nothing.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from ffcluster.errors import FfclusterError
from ffcluster.interfaces.cli.named import DEFAULT_COORDINATOR, profiles_from, read_token
from ffcluster.interfaces.cli.output import Output, printable

if TYPE_CHECKING:
    from ffcluster.client import Client, JobView, WorkerView

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
_Seen = TypeVar("_Seen")
_PATIENCE_S = 2.0
# Shells read what completes a word as part of a command line: nothing else may get there.
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def _ask(ctx: click.Context, look: Callable[[Client], Sequence[_Seen]]) -> Sequence[_Seen]:
    """What `look` sees at the coordinator that the command line means; () when there is none."""
    seen: list[Sequence[_Seen]] = []
    given: dict[str, Any] = ctx.params

    def ask() -> None:
        from ffcluster.client import Client

        url = given.get("coordinator") or os.environ.get("FFCLUSTER_COORDINATOR")
        try:
            token = read_token(given.get("token_file"), Output(quiet=True))
            with Client(url or DEFAULT_COORDINATOR, token=token, timeout_s=_PATIENCE_S) as client:
                seen.append(look(client))
        except Exception:  # noqa: BLE001 - a shell's prompt is no place for errors
            return

    # A coordinator that takes its time is left to its own.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_PATIENCE_S)
    return seen[0] if seen else ()


def _items(found: Iterable[tuple[str, str]], incomplete: str) -> list[CompletionItem]:
    return [
        CompletionItem(value, help=printable(text))
        for value, text in found
        if value.startswith(incomplete) and _SAFE.fullmatch(value)
    ]


def _jobs(wanted: Callable[[JobView], bool]) -> Complete:
    def complete(
        ctx: click.Context, _param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        views = _ask(ctx, lambda client: client.jobs())
        found = ((v.id, f"{v.state}: {v.spec.source_name}") for v in reversed(views) if wanted(v))
        return _items(found, incomplete)

    return complete


any_job = _jobs(lambda view: True)
open_job = _jobs(lambda view: not view.ended)
paused_job = _jobs(lambda view: view.paused and not view.ended)
ended_job = _jobs(lambda view: view.ended)
failed_job = _jobs(lambda view: view.state in ("Failed", "Cancelled"))


def worker(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of workers; ids where a name belongs to several or cannot stand in a command line."""
    views = _ask(ctx, lambda client: client.workers())
    names = [view.name for view in views]

    def word(view: WorkerView) -> str:
        return view.name if names.count(view.name) == 1 and _SAFE.fullmatch(view.name) else view.id

    return _items(((word(v), f"{v.name}: {v.state}") for v in views), incomplete)


def encoder(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Encoders that some worker has."""
    views = _ask(ctx, lambda client: client.workers())
    workers: dict[str, list[str]] = {}
    for view in views:
        for name in {capability.encoder for capability in view.capabilities}:
            workers.setdefault(name, []).append(view.name)
    return _items(((name, ", ".join(workers[name])) for name in sorted(workers)), incomplete)


def profile(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Profiles of the profiles file."""
    try:
        _, known = profiles_from(ctx.params.get("profiles"))
    except FfclusterError:
        return []
    return _items(((name, known[name].codec.value) for name in sorted(known)), incomplete)


def file(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Files, which the shell itself knows."""
    return [CompletionItem(incomplete, type="file")]
