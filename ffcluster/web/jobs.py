"""The routes of jobs: submit, list, show, steer, their segments, their files."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import PurePath
from typing import Any, NoReturn

import attrs
from attrs import validators

from ffcluster.core.job import Job as JobRecord
from ffcluster.core.job import JobState
from ffcluster.core.model import JobRequest
from ffcluster.core.profile import Profile
from ffcluster.errors import Code, NotFound
from ffcluster.net.access import Scope
from ffcluster.web.bodies import JobChanges, NewJob
from ffcluster.web.desk import Desk
from ffcluster.web.gantt import number
from ffcluster.web.models.jobs import Job, JobPage
from ffcluster.web.models.segments import SegmentDetail, SegmentPage
from ffcluster.web.paging import (
    CURSOR,
    LIMIT,
    USUAL_ITEMS,
    Key,
    page,
    read_cursor,
    write_cursor,
)
from ffcluster.web.problems import BadRequest, Fault
from ffcluster.web.resource import Pauses, check_match
from ffcluster.web.routing import PREFIX, Answer, Call, Route, Serve
from ffcluster.web.showing import job_etag, job_resource, segment_detail, segment_resource

_SEGMENT_STATES = ("pending", "assigned", "checking", "committed", "missing")
_SUBMISSION = (
    Code.INVALID_OPTION,
    Code.UNSUPPORTED_OPTION,
    Code.CONTAINER_UNSUITABLE,
    Code.NOT_FOUND,
    Code.REFUSED,
    Code.DISK_FULL,
)

# What jobs can be sorted by; each key ends in the id, so that no two are the same.
_ORDERS: dict[str, Callable[[JobRecord], Key]] = {
    "-submitted_at": lambda job: (-job.submitted_at, job.id),
    "submitted_at": lambda job: (job.submitted_at, job.id),
    "-priority": lambda job: (-job.priority, job.submitted_at, job.id),
    "name": lambda job: (job.spec.source_name, job.submitted_at, job.id),
}


@attrs.frozen
class JobsQuery:
    """Which page of the jobs.

    Attributes:
        state: Only jobs in one of these states.
        sort: What they are ordered by; `-` turns it round.
        limit: How many items at most.
        cursor: `next_cursor` of the page before.
    """

    state: tuple[JobState, ...] = ()
    sort: str = attrs.field(default="-submitted_at", validator=validators.in_(tuple(_ORDERS)))
    limit: int = attrs.field(default=USUAL_ITEMS, validator=LIMIT)
    cursor: str | None = attrs.field(default=None, validator=CURSOR)


@attrs.frozen
class SegmentsQuery:
    """Which page of a job's segments.

    Attributes:
        state: Only segments in one of these states: `pending`, `assigned`, `checking`,
            `committed`, `missing`.
        limit: How many items at most.
        cursor: `next_cursor` of the page before.
    """

    state: tuple[str, ...] = attrs.field(
        default=(), validator=validators.deep_iterable(validators.in_(_SEGMENT_STATES))
    )
    limit: int = attrs.field(default=USUAL_ITEMS, validator=LIMIT)
    cursor: str | None = attrs.field(default=None, validator=CURSOR)


def job_routes(desk: Desk, reactor: Any) -> tuple[Route, ...]:
    """The routes below `/jobs`."""
    serving = _Serving(desk, reactor)
    return (*_list_routes(serving), *_steering_routes(serving, desk), *_segment_routes(serving))


def _list_routes(serving: _Serving) -> Iterator[Route]:
    yield Route(
        method="GET",
        path="/jobs",
        name="list_jobs",
        summary="List jobs.",
        tag="jobs",
        scope=Scope.VIEWER,
        serve=serving.list,
        query=JobsQuery,
        response=JobPage,
    )
    yield Route(
        method="POST",
        path="/jobs",
        name="submit_job",
        summary="Have a film encoded.",
        tag="jobs",
        scope=Scope.CLIENT,
        serve=serving.submit,
        body=NewJob,
        response=Job,
        status=202,
        problems=(*_SUBMISSION, Code.IDEMPOTENCY_CONFLICT),
        keyed=True,
    )
    yield Route(
        method="GET",
        path="/jobs/{job_id}",
        name="show_job",
        summary="Show a job.",
        tag="jobs",
        scope=Scope.VIEWER,
        serve=serving.show,
        response=Job,
        problems=(Code.NOT_FOUND,),
    )


def _steering_routes(serving: _Serving, desk: Desk) -> Iterator[Route]:
    common: dict[str, Any] = {
        "tag": "jobs",
        "scope": Scope.CLIENT,
        "problems": (Code.NOT_FOUND, Code.CONFLICT),
        "matches": True,
    }
    yield Route(
        method="PATCH",
        path="/jobs/{job_id}",
        name="change_job",
        summary="Give a job another priority.",
        serve=serving.change,
        body=JobChanges,
        response=Job,
        **common,
    )
    yield Route(
        method="DELETE",
        path="/jobs/{job_id}",
        name="remove_job",
        summary="Forget an ended job; its published file stays.",
        serve=serving.remove,
        status=204,
        **common,
    )
    actions: tuple[tuple[str, str, int, Callable[[str], Awaitable[None]]], ...] = (
        ("pause", "Start nothing more of a job.", 200, desk.pause),
        ("resume", "Go on with a paused job.", 200, desk.resume),
        ("cancel", "End a job.", 202, desk.cancel),
        ("retry", "Go on with a job that failed or was cancelled.", 202, desk.retry),
    )
    for name, summary, status, act in actions:
        yield Route(
            method="POST",
            path=f"/jobs/{{job_id}}/{name}",
            name=f"{name}_job",
            summary=summary,
            serve=serving.action(act),
            response=Job,
            status=status,
            **common,
        )


def _segment_routes(serving: _Serving) -> Iterator[Route]:
    common: dict[str, Any] = {
        "method": "GET",
        "tag": "jobs",
        "scope": Scope.VIEWER,
        "problems": (Code.NOT_FOUND,),
    }
    yield Route(
        path="/jobs/{job_id}/segments",
        name="list_segments",
        summary="List the segments of a job, in order.",
        serve=serving.segments,
        query=SegmentsQuery,
        response=SegmentPage,
        **common,
    )
    yield Route(
        path="/jobs/{job_id}/segments/{first_frame}",
        name="show_segment",
        summary="Show a segment with all attempts at it.",
        serve=serving.segment,
        response=SegmentDetail,
        **common,
    )
    yield Route(
        path="/jobs/{job_id}/receipt",
        name="show_receipt",
        summary="Tell everything about how a job was made, as `ffcluster reproduce` takes it.",
        serve=serving.receipt,
        **common,
    )


class _Serving:
    """Answers what is asked about jobs."""

    def __init__(self, desk: Desk, reactor: Any) -> None:
        self._desk = desk
        self._reactor = reactor

    async def list(self, call: Call) -> Answer:
        query: JobsQuery = call.query
        jobs = self._desk.jobs()
        if query.state:
            jobs = [job for job in jobs if job.state in query.state]
        chosen, cursor = page(jobs, _ORDERS[query.sort], query.sort, query.limit, query.cursor)
        pauses, items = Pauses(self._reactor), []
        for job in chosen:
            try:
                items.append(job_resource(self._desk.job(job.id)))
            except NotFound:
                # It was removed since the page was begun.
                continue
            await pauses.due()
        return Answer(JobPage(tuple(items), cursor))

    async def show(self, call: Call) -> Answer:
        return self._shown(call.path["job_id"])

    def _shown(self, job_id: str) -> Answer:
        job = job_resource(self._desk.job(job_id))
        return Answer(job, etag=job.etag)

    async def submit(self, call: Call) -> Answer:
        wanted: NewJob = call.body
        request = requested(wanted, self._desk, call.idempotency_key)
        job_id = await self._desk.submit(request, wanted.webhook)
        return self._going_on(job_id)

    def _going_on(self, job_id: str) -> Answer:
        job = job_resource(self._desk.job(job_id))
        return Answer(job, etag=job.etag, headers={"location": f"{PREFIX}/jobs/{job_id}"})

    async def change(self, call: Call) -> Answer:
        job_id = self._matched(call)
        await self._desk.prioritise(job_id, call.body.priority)
        return self._shown(job_id)

    async def remove(self, call: Call) -> Answer:
        await self._desk.remove(self._matched(call))
        return Answer()

    def action(self, act: Callable[[str], Awaitable[None]]) -> Serve:
        """Serves what changes the state of a job."""

        async def serve(call: Call) -> Answer:
            job_id = self._matched(call)
            await act(job_id)
            return self._going_on(job_id)

        return serve

    def _matched(self, call: Call) -> str:
        """The job that is meant, which is as the caller saw it last."""
        job_id = call.path["job_id"]
        check_match(call, job_etag(self._desk.job(job_id)))
        return job_id

    async def segments(self, call: Call) -> Answer:
        query, job_id = call.query, call.path["job_id"]
        after = -1 if query.cursor is None else _frame(query.cursor)
        found = await self._desk.segments(job_id, query.state, after, query.limit + 1)
        more = len(found) > query.limit
        found = found[: query.limit]
        cursor = write_cursor((found[-1].first_frame,), "segments") if more else None
        return Answer(SegmentPage(tuple(segment_resource(view) for view in found), cursor))

    async def segment(self, call: Call) -> Answer:
        first_frame = number(call.path["first_frame"], "segment")
        view, attempts = await self._desk.segment(call.path["job_id"], first_frame)
        return Answer(segment_detail(view, attempts))

    async def receipt(self, call: Call) -> Answer:
        return Answer(await self._desk.receipt(call.path["job_id"]))


def _frame(cursor: str) -> int:
    (first, *_) = read_cursor(cursor, "segments")
    if type(first) is not int or not 0 <= first < 2**53:
        detail = "The cursor is none that this list gave."
        raise BadRequest(message=detail, faults=(Fault("?cursor", detail),))
    return first


def requested(wanted: NewJob, desk: Desk, key: str = "") -> JobRequest:
    """What the coordinator is asked for by a body.

    Raises:
        BadRequest: Members of it do not fit together.
    """
    source = wanted.source
    if (source.server_path is None) == (source.upload_id is None):
        _refuse("/source", "exactly one of server_path and upload_id must be given")
    name = wanted.name or PurePath(source.server_path or "an upload").name or "film"
    return JobRequest(
        source_name=name,
        server_path=source.server_path,
        upload_id=source.upload_id,
        profile=_profile(wanted, desk),
        output_name=_output_name(wanted, name, desk),
        exactly=wanted.exactly,
        allow_damaged=wanted.allow_damaged,
        cut_frames=wanted.cut_frames,
        mix=wanted.mix,
        fallback=wanted.fallback,
        hardware_decode=wanted.hardware_decode,
        allow_missing=wanted.allow_missing,
        priority=wanted.priority,
        idempotency_key=key,
    )


def _profile(wanted: NewJob, desk: Desk) -> Profile | None:
    if wanted.profile_name is None:
        return wanted.profile
    if wanted.profile is not None:
        _refuse("/profile_name", "profile and profile_name were both given; one is allowed")
    found = desk.profiles().get(wanted.profile_name)
    if found is None:
        _refuse("/profile_name", "there is no profile of this name")
    return found


def _output_name(wanted: NewJob, name: str, desk: Desk) -> str | None:
    container = wanted.container
    if container is None or wanted.output_name is None:
        return desk.output_name(name, container) if container else wanted.output_name
    if PurePath(wanted.output_name).suffix.lower() != f".{container.value}":
        _refuse("/container", f"{wanted.output_name[:80]} has another suffix")
    return wanted.output_name


def _refuse(pointer: str, detail: str) -> NoReturn:
    raise BadRequest(message=f"{pointer}: {detail}.", faults=(Fault(pointer, detail),))
