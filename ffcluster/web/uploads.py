"""The routes of files: `/uploads` makes room for one, `/jobs/{job_id}/result` gives one back."""

from __future__ import annotations

from http import HTTPStatus
from typing import Protocol
from urllib.parse import quote

from ffcluster.core.views import JobView
from ffcluster.errors import Code, ProtocolError
from ffcluster.net.access import Scope
from ffcluster.net.bulk_server import Readable, send_file
from ffcluster.net.ranges import parse_range
from ffcluster.web.bodies import NewUpload
from ffcluster.web.desk import Desk
from ffcluster.web.models.plans import Upload
from ffcluster.web.problems import HttpRefusal
from ffcluster.web.routing import TAKEN, Answer, Call, Route, Taken

_TYPES = {
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
    ".mkv": "video/matroska",
    ".webm": "video/webm",
}


class _Results(Protocol):
    """The part of the desk that knows results."""

    def job(self, job_id: str) -> JobView:
        """Describe a job, or raise `NotFound`."""

    async def result(self, job_id: str) -> Readable:
        """The file of a completed job."""


def upload_routes(desk: Desk) -> tuple[Route, ...]:
    """The routes of files."""

    async def begin(call: Call) -> Answer:
        upload = await desk.begin_upload(call.body.name, call.body.size_bytes)
        return Answer(upload, headers={"location": upload.path})

    async def result(call: Call) -> Taken:
        return await _send(call, desk)

    return (
        Route(
            method="POST",
            path="/uploads",
            name="begin_upload",
            summary="Make room for a film; its bytes are put to `path` in blocks.",
            tag="jobs",
            scope=Scope.CLIENT,
            serve=begin,
            body=NewUpload,
            response=Upload,
            status=201,
            problems=(Code.REFUSED, Code.DISK_FULL),
        ),
        Route(
            method="GET",
            path="/jobs/{job_id}/result",
            name="fetch_result",
            summary="Fetch the file of a completed job, or a part of it (`Range`).",
            tag="jobs",
            scope=Scope.VIEWER,
            serve=result,
            media_type="video/*",
            problems=(Code.NOT_FOUND, Code.CONFLICT),
        ),
    )


async def _send(call: Call, desk: _Results) -> Taken:
    """Answer with a job's file, or the part of it that is asked for."""
    request, job_id = call.request, call.path["job_id"]
    found, view = await desk.result(job_id), desk.job(job_id)
    etag = f'"{found.sha256}"'
    wanted = None
    # A part of another file than the caller has would be of no use to it.
    if request.getHeader("if-range") in (None, etag):
        try:
            wanted = parse_range(request.getHeader("range"), found.size_bytes)
        except ProtocolError as error:
            raise HttpRefusal(
                message=error.message,
                status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
                headers={"content-range": f"bytes */{found.size_bytes}"},
            ) from None
    name = view.spec.output_name
    request.setHeader("etag", etag)
    request.setHeader("cache-control", "private, no-cache")
    request.setHeader("content-type", _TYPES.get(f".{view.spec.container.value}", "video/mp4"))
    request.setHeader("content-disposition", _disposition(name))
    await send_file(request, found, wanted)
    return TAKEN


def _disposition(name: str) -> str:
    """How browsers save it (RFC 6266): any name whole, and one of ASCII for the others."""
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else "_" for c in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
