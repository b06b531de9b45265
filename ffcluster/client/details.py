"""What can be seen of one job besides its view: segments, attempts, drawings, pictures, links."""

from __future__ import annotations

from urllib.parse import quote

import attrs

from ffcluster.client.model import read
from ffcluster.net.api_client import PREFIX, ApiClient, Query
from ffcluster.web.filmstrip import Filmstrip
from ffcluster.web.gantt import AttemptDetail, Gantt
from ffcluster.web.models.segments import SegmentDetail
from ffcluster.web.pictures import Side
from ffcluster.web.tokens import Link


def job_path(job_id: str, *parts: object) -> str:
    """The path of a job, or of something below it, whatever is in its name."""
    return "/".join(["/jobs", *(quote(str(part), safe="") for part in (job_id, *parts))])


class DetailMethods:
    """The part of `DeferredClient` that looks closely at one job."""

    _api: ApiClient

    async def segment(self, job_id: str, first_frame: int) -> SegmentDetail:
        """The segment that begins at a frame, with every attempt at it.

        Raises:
            NotFound: There is no such job, or no segment begins there.
        """
        return read(SegmentDetail, await self._api.get(job_path(job_id, "segments", first_frame)))

    async def attempt(self, job_id: str, epoch: int) -> AttemptDetail:
        """One attempt: its command, the end of its log, its times.

        Raises:
            NotFound: There is no such job or attempt.
        """
        return read(AttemptDetail, await self._api.get(job_path(job_id, "attempts", epoch)))

    async def filmstrip(
        self, job_id: str, *, first: int = 0, stop: int | None = None, buckets: int = 200
    ) -> Filmstrip:
        """A job's film, or a part of it, in buckets by the state of its segments.

        Args:
            job_id: The job.
            first: The first frame.
            stop: The frame after the last; None for the film's end.
            buckets: How many at most; one for each segment where they fit.

        Raises:
            NotFound: There is no such job.
            InvalidOption: There are no such frames.
        """
        query: Query = {"first": first, "stop": stop, "buckets": buckets}
        return read(Filmstrip, await self._api.get(job_path(job_id, "filmstrip"), query))

    async def gantt(
        self, job_id: str, *, from_s: float = 0.0, to_s: float | None = None, bars: int = 1000
    ) -> Gantt:
        """Which worker did what of a job when.

        Args:
            job_id: The job.
            from_s: Begin, in seconds since the job was submitted.
            to_s: End; None for now, or for the job's end.
            bars: How many attempts at most; neighbours share one bar where there are more.

        Raises:
            NotFound: There is no such job.
            InvalidOption: The time ends before it begins.
        """
        query: Query = {"from_s": from_s, "to_s": to_s, "bars": bars}
        return read(Gantt, await self._api.get(job_path(job_id, "gantt"), query))

    async def thumbnail(self, job_id: str, frame: int, *, height: int = 90) -> bytes:
        """A small picture of about this frame of the source, as JPEG.

        Args:
            job_id: The job.
            frame: The frame; the picture may be of one a little before it.
            height: In pixels; the picture may be up to twice as high.

        Raises:
            NotFound: There is no such job or frame, or the film is gone.
            Conflict: The film is not indexed yet.
            TooMany: Too many pictures wait to be taken.
        """
        path = job_path(job_id, "thumbnails", frame)
        return await self._api.get_bytes(path, {"height": height})

    async def preview(
        self, job_id: str, at_s: float = 0.0, *, side: Side = Side.SOURCE, height: int = 720
    ) -> bytes:
        """The frame that is shown at a time, as JPEG.

        Args:
            job_id: The job.
            at_s: Seconds since the film's first frame.
            side: Of the source or of the result; of both the same frame is shown.
            height: In pixels; the picture may be up to twice as high.

        Raises:
            NotFound: There is no such job or frame, or the film is gone.
            Conflict: The film is not indexed yet, or there is no result yet.
            TooMany: Too many pictures wait to be taken.
        """
        query: Query = {"side": side.value, "at_s": at_s, "height": height}
        return await self._api.get_bytes(job_path(job_id, "preview"), query)

    async def link(self, job_id: str, what: str = "result") -> Link:
        """A URL that works for a while without a token, for a browser or a player.

        Whoever has it can fetch what it leads to.

        Args:
            job_id: The job.
            what: `result`, `receipt`, `report`, `preview?side=...&at_s=...` or `thumbnails/FRAME`,
                as below `/api/v1/jobs/ID/`.

        Raises:
            InvalidOption: No link can lead there.
        """
        path = f"{PREFIX}{job_path(job_id)}/{what}"
        made = read(Link, await self._api.post("/links", {"path": path}))
        return attrs.evolve(made, url=self._api.url(made.url))
