"""The route `/jobs/{job_id}/filmstrip`: a film in buckets, each with the state of its frames."""

from __future__ import annotations

from typing import Protocol

import attrs
from attrs import validators

from ffcluster.core.picturing import MAX_BUCKETS, Bucket
from ffcluster.errors import Code
from ffcluster.net.access import Scope
from ffcluster.web.routing import Answer, Call, Route

_FRAME = validators.and_(validators.ge(0), validators.lt(2**53))


@attrs.frozen
class FilmstripQuery:
    """Which part of a film to show, and how finely.

    Attributes:
        first: The first frame.
        stop: The frame after the last; the film's end by default.
        buckets: Most buckets.
    """

    first: int = attrs.field(default=0, validator=_FRAME)
    stop: int | None = attrs.field(default=None, validator=validators.optional(_FRAME))
    buckets: int = attrs.field(
        default=200, validator=validators.and_(validators.ge(1), validators.le(MAX_BUCKETS))
    )


@attrs.frozen
class Filmstrip:
    """A film, or a part of it, in buckets that follow each other.

    Attributes:
        frame_count: Frames of the whole film; 0 before it is indexed.
        duration_s: Its length in seconds; 0 before it is indexed.
        first: The first frame that is shown.
        stop: The frame after the last that is shown.
        buckets: One for each segment where they fit; otherwise neighbours share one.
    """

    frame_count: int
    duration_s: float
    first: int
    stop: int
    buckets: tuple[Bucket, ...]


class FilmDesk(Protocol):
    """Knows films; see `ffcluster.services.viewing.pictures`."""

    async def filmstrip(self, job_id: str, query: FilmstripQuery) -> Filmstrip:
        """Show a part of a job's film.

        Raises:
            NotFound: There is no such job.
            InvalidOption: There are no such frames.
        """


def filmstrip_routes(desk: FilmDesk) -> tuple[Route, ...]:
    """The route of filmstrips."""

    async def show(call: Call) -> Answer:
        return Answer(await desk.filmstrip(call.path["job_id"], call.query))

    return (
        Route(
            method="GET",
            path="/jobs/{job_id}/filmstrip",
            name="show_filmstrip",
            summary="Show a job's film in buckets, by the state of its segments.",
            tag="jobs",
            scope=Scope.VIEWER,
            serve=show,
            query=FilmstripQuery,
            response=Filmstrip,
            problems=(Code.NOT_FOUND, Code.INVALID_OPTION),
        ),
    )
