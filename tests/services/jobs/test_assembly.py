"""Publishing on behalf of a job: in which order what follows can be seen."""

from __future__ import annotations

from collections.abc import Awaitable
from pathlib import Path
from typing import Any, cast

from ffcluster.core.effects import Publish
from ffcluster.core.events import Event, JobPublished
from ffcluster.core.model import JobId, JobOutcome
from ffcluster.services.background import Background
from ffcluster.services.jobs.assembly import Assembly
from ffcluster.services.keeping.shelf import TicketShelf
from ffcluster.store.blobs import FileBlobs

JOB = JobId("film")


class Media:
    """The media side of a job, which publishes at once."""

    async def within(self, work: Awaitable[JobOutcome]) -> JobOutcome:
        return await work

    async def publish(self, outcome: JobOutcome) -> JobOutcome:
        return outcome


def test_file_can_be_fetched_before_anybody_sees_that_its_job_is_completed(tmp_path: Path) -> None:
    shelf = TicketShelf(FileBlobs(tmp_path), 1000)
    seen: list[tuple[Event, str]] = []
    background = Background(lambda event: seen.append((event, shelf.output_path(JOB))))
    assembly = Assembly(
        cast(Any, None), cast(Any, {JOB: Media()}), shelf, cast(Any, None), background
    )
    outcome = JobOutcome(str(tmp_path / "film.mp4"), 1, "0" * 64, 10, True)
    assembly.publish(Publish(JOB, outcome))
    assert seen == [(JobPublished(JOB, outcome), "/v1/outputs/film")]
