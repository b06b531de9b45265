"""The routes of single pictures: `/jobs/{job_id}/thumbnails/{frame}` and `/jobs/{job_id}/preview`.

They are taken when they are asked for. The same path shows the same picture for as long as the job
is the same, so a browser may keep it.
"""

from __future__ import annotations

import enum
from typing import Any, Protocol

import attrs
from attrs import validators

from ffcluster.errors import Code
from ffcluster.net.access import Scope
from ffcluster.web.gantt import number
from ffcluster.web.routing import Answer, Call, Route

_JPEG = "image/jpeg"
# Heights at which pictures are kept; what is asked for is taken in the next larger one.
_THUMBNAIL_HEIGHTS = (45, 90, 135, 180, 270, 360)
_PREVIEW_HEIGHTS = (180, 360, 540, 720, 1080, 1440, 2160)
_KEPT = {"cache-control": "private, max-age=3600"}
_PROBLEMS = (
    Code.NOT_FOUND,
    Code.CONFLICT,
    Code.TOO_MANY,
    Code.SOURCE_UNREADABLE,
    Code.SOURCE_DAMAGED,
    Code.HELPER_DIED,
    Code.DISK_FULL,
)


class Side(enum.StrEnum):
    """Which film a picture is taken from: what was encoded, or what came of it."""

    SOURCE = "source"
    RESULT = "result"


def _height(largest: int) -> Any:
    return validators.and_(validators.ge(16), validators.le(largest))


@attrs.frozen
class ThumbnailQuery:
    """How large a thumbnail should be.

    Attributes:
        height: Height in pixels; the picture may be up to twice as high, or as its film.
    """

    height: int = attrs.field(default=90, validator=_height(_THUMBNAIL_HEIGHTS[-1]))


@attrs.frozen
class PreviewQuery:
    """Which picture to show.

    Attributes:
        side: `source` or `result`; of both the same frame is shown.
        at_s: Seconds since the film's first frame; the frame that is shown then is taken.
        height: Height in pixels; the picture may be up to twice as high, or as its film.
    """

    side: Side = Side.SOURCE
    at_s: float = attrs.field(
        default=0.0, validator=validators.and_(validators.ge(0.0), validators.le(1e7))
    )
    height: int = attrs.field(default=720, validator=_height(_PREVIEW_HEIGHTS[-1]))


class PictureDesk(Protocol):
    """Has pictures taken; see `ffcluster.services.viewing.pictures`."""

    async def thumbnail(self, job_id: str, frame: int, height: int) -> bytes:
        """A frame of a job's film, or one a little before it, as JPEG.

        Raises:
            NotFound: There is no such job or frame, or the film is gone.
            Conflict: The film is not indexed yet, or not looked at for now.
            TooMany: Too many pictures wait to be taken.
            SourceError, HelperDied, DiskFull: It cannot be taken.
        """

    async def preview(self, job_id: str, side: Side, at_s: float, height: int) -> bytes:
        """The frame that is shown at a time, as JPEG; see `thumbnail`.

        Raises:
            Conflict: Also where there is no result yet.
        """


def picture_routes(desk: PictureDesk) -> tuple[Route, ...]:
    """The routes of thumbnails and previews."""
    serving = _Serving(desk)
    common: dict[str, Any] = {
        "method": "GET",
        "tag": "jobs",
        "scope": Scope.VIEWER,
        "media_type": _JPEG,
        "problems": _PROBLEMS,
    }
    return (
        Route(
            path="/jobs/{job_id}/thumbnails/{frame}",
            name="show_thumbnail",
            summary="Show a small picture of about this frame of the source.",
            serve=serving.thumbnail,
            query=ThumbnailQuery,
            **common,
        ),
        Route(
            path="/jobs/{job_id}/preview",
            name="show_preview",
            summary="Show the frame of this time, of the source or of the result.",
            serve=serving.preview,
            query=PreviewQuery,
            **common,
        ),
    )


class _Serving:
    """Answers with pictures."""

    def __init__(self, desk: PictureDesk) -> None:
        self._desk = desk

    async def thumbnail(self, call: Call) -> Answer:
        frame = number(call.path["frame"], "frame")
        height = _next_larger(_THUMBNAIL_HEIGHTS, call.query.height)
        data = await self._desk.thumbnail(call.path["job_id"], frame, height)
        return Answer(data, headers=_KEPT)

    async def preview(self, call: Call) -> Answer:
        query: PreviewQuery = call.query
        height = _next_larger(_PREVIEW_HEIGHTS, query.height)
        data = await self._desk.preview(call.path["job_id"], query.side, query.at_s, height)
        return Answer(data, headers=_KEPT)


def _next_larger(heights: tuple[int, ...], height: int) -> int:
    return next(one for one in heights if one >= height)
