"""How the coordinator is doing, and what the one who asks may do."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from ffcluster.net.access import Scope


@attrs.frozen
class Disk:
    """The coordinator's disk.

    Attributes:
        used_bytes: What uploads, results and pictures take up; null before it was counted.
        limit_bytes: What they may take up, or null.
        free_bytes: What is left on the file system; null before it was asked.
        short_of: Why nothing new is taken in, or "".
    """

    used_bytes: int | None
    limit_bytes: int | None
    free_bytes: int | None
    short_of: str


@attrs.frozen
class Status:
    """The cluster as a whole.

    Attributes:
        version: The coordinator's version of ffcluster.
        ffmpeg: Version of its ffmpeg.
        required_workers: Workers that a job waits for before it starts.
        jobs: Number of jobs in each state.
        workers: Number of workers in each state.
        fps: Frames per second over all workers now.
        warnings: What a person should know about the settings and the disk.
        token_required: Whether callers must show a token.
        last_event: Number of the latest durable event.
        worker_command: What starts a worker on another machine.
    """

    version: str
    started_at: str
    uptime_s: float
    ffmpeg: str
    required_workers: int
    jobs: Mapping[str, int]
    workers: Mapping[str, int]
    fps: float
    warnings: tuple[str, ...]
    token_required: bool
    last_event: int
    disk: Disk
    worker_command: str


@attrs.frozen
class Me:
    """Who asks, and what that opens.

    Attributes:
        name: Of the token that was shown; `coordinator` is the coordinator's own, and "" is
            everybody, where no token is asked for.
        scope: Its scope.
        scopes: Every scope that it opens, its own included; a route answers whoever opens the
            scope that the route names.
        token_id: Id of the token; "" for the coordinator's own, and where none is asked for.
    """

    name: str
    scope: Scope
    scopes: tuple[Scope, ...]
    token_id: str
