"""Put the coordinator's parts together, around one state that was restored from a store."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.threads import deferToThread

from ffcluster.core.cluster import ClusterState, Policy
from ffcluster.core.durable import Saved
from ffcluster.core.events import Event, Ticked
from ffcluster.core.job import Job
from ffcluster.core.model import Diagnosis, JobId, Source
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.registry import Registry
from ffcluster.media.runner import Runner
from ffcluster.services import recovery
from ffcluster.services.assembly import Assembly
from ffcluster.services.background import Background
from ffcluster.services.choice import RegistryJudge
from ffcluster.services.clock import CoordinatorClock
from ffcluster.services.config import ServerSettings
from ffcluster.services.delivery import Deliveries
from ffcluster.services.effects import EffectRunner
from ffcluster.services.holdings import Holdings
from ffcluster.services.housekeeping import Housekeeping
from ffcluster.services.intake import Intake
from ffcluster.services.jobmedia import JobMedia
from ffcluster.services.ledger import Ledger
from ffcluster.services.loop import DecisionLoop
from ffcluster.services.openjobs import OpenJobs
from ffcluster.services.past import Past
from ffcluster.services.reception import Reception
from ffcluster.services.recovery import StateDirectory
from ffcluster.services.requests import ClientRequests
from ffcluster.services.shelf import TicketShelf
from ffcluster.store.blobs import BlobStore
from ffcluster.store.space import Reserve


@attrs.frozen
class Outside:
    """What the parts are put together from.

    Attributes:
        settings: The coordinator's settings.
        registry: The plugins.
        runner: Starts processes.
        build: The coordinator's ffmpeg.
        directory: The state directory.
        blobs: Where results and uploaded sources are kept.
        ledger: Where everything is written down.
    """

    settings: ServerSettings
    registry: Registry
    runner: Runner
    build: FfmpegBuild
    directory: StateDirectory
    blobs: BlobStore
    ledger: Ledger


class Parts:
    """The coordinator's parts.

    Args:
        outside: What they are put together from.
        saved: What was stored.
        ended: Told of every job that ended and was cleaned up.

    Attributes:
        clock: Its clock.
        state: The cluster's state.
        shelf: What can be fetched and put.
        jobs: The media side of every job.
        holdings: Who needs which blob.
        background: Where work goes on.
        assembly: Joins and publishes.
        loop: Takes events in.
        housekeeping: Its regular duties.
        intake: Takes new jobs in.
        reception: Every session.
    """

    def __init__(self, outside: Outside, saved: Saved, ended: Callable[[Job], None]) -> None:
        settings, ledger, reactor = outside.settings, outside.ledger, outside.runner.reactor
        self._outside = outside
        self.clock = CoordinatorClock(reactor, saved.clock_s)
        judge = RegistryJudge(outside.registry, self._diagnoses)
        self.state = ClusterState.restored(_policy(settings), judge, saved)
        self.shelf = TicketShelf(outside.blobs, settings.upload_limit_bytes)
        self.background = Background(self._post)
        self.jobs = OpenJobs(self._media, outside.directory.remove_job)
        self.holdings = Holdings(outside.blobs, self.background.aside)
        self.assembly = Assembly(
            self.state, self.jobs, self.shelf, outside.registry, self.background
        )
        self.loop = DecisionLoop(
            reactor, self.clock, self.state, ledger, self._effects(ended).carry_out
        )
        reserve = Reserve(
            settings.state_dir,
            settings.max_disk_bytes,
            settings.min_free_bytes,
            outside.blobs.usage_bytes,
        )
        self.housekeeping = Housekeeping(
            reactor,
            settings,
            self.state,
            outside.blobs,
            self.shelf,
            reserve,
            ledger,
            seconds=self.clock.seconds,
            post=self.loop.post,
        )
        self.intake = Intake(
            settings,
            outside.registry,
            self.shelf,
            reserve,
            ledger,
            seconds=self.clock.seconds,
            settled=self.loop.settled,
            source_of=self._source_of,
            short_of=lambda: self.housekeeping.short_of,
        )
        self.reception = self._reception()

    def tend(self) -> None:
        """Give up uploads that nobody goes on with, and let idle workers look."""
        for upload in self.shelf.abandoned(self.clock.seconds()):
            self.background.aside(deferToThread(upload.file.discard))
        # Idle workers look again whether a second attempt at something overdue pays off.
        self.loop.post(Ticked())

    async def show_outputs(self) -> None:
        """Let the files of jobs that were completed earlier be fetched, where they still are."""
        ended = [job for job in self.state.jobs.values() if job.outcome is not None]
        for job in await deferToThread(recovery.found_outputs, ended):
            self.assembly.show(job)

    async def stop(self) -> None:
        """Take nothing in any more, and end every process; all that was stored stays."""
        self.housekeeping.stop()
        self.background.stop()
        self.loop.stop()
        self.reception.close("the coordinator stops")
        await self.jobs.stop_all()

    def _reception(self) -> Reception:
        outside, seconds = self._outside, self.clock.seconds
        requests = ClientRequests(
            self.state,
            seconds,
            settled=self.loop.settled,
            submissions=self.intake,
            past=Past(outside.ledger),
            output_path=self.shelf.output_path,
        )
        deliveries = Deliveries(
            self.state, self.shelf, outside.blobs, self.holdings, self.background
        )
        return Reception(
            self.state,
            self.loop,
            deliveries,
            requests,
            seconds=seconds,
            block_bytes=outside.settings.block_bytes,
            output_path=self.shelf.output_path,
        )

    def _effects(self, ended: Callable[[Job], None]) -> EffectRunner:
        registry = self._outside.registry
        return EffectRunner(
            self.state,
            self.jobs,
            self.shelf,
            self.holdings,
            self.assembly,
            registry,
            self.background,
            session_of=lambda worker_id: self.reception.session_of(worker_id),
            changed=lambda job_id: self.reception.changed(job_id),
            closed=ended,
        )

    def _post(self, event: Event) -> None:
        self.loop.post(event)

    def _media(self, job: Job) -> JobMedia:
        outside = self._outside
        return JobMedia(
            job.id,
            job.spec,
            self.holdings.source_path(job.source),
            outside.directory.job(job.id),
            output_dir=outside.settings.output_dir,
            blobs=outside.blobs,
            runner=outside.runner,
            build=outside.build,
            stall_timeout_s=outside.settings.stall_timeout_s,
        )

    def _diagnoses(self) -> list[Diagnosis]:
        """What the connected workers say of encoders that do not work."""
        workers = [worker for worker in self.state.workers.values() if worker.available]
        return [diagnosis for worker in workers for diagnosis in worker.facts.diagnoses]

    def _source_of(self, job_id: JobId) -> Source | None:
        job = self.state.jobs.get(job_id)
        return job.source if job is not None else None


def _policy(settings: ServerSettings) -> Policy:
    return Policy(
        required_workers=settings.required_workers,
        benchmark_duration_s=settings.benchmark_duration_s,
        max_retries=settings.max_retries,
        retry_delay_s=settings.retry_delay_s,
        fixed_crew=settings.fixed_crew,
        lease_s=settings.lease_s,
        poison_after=settings.poison_after,
        quarantine_after=settings.quarantine_after,
        quarantine_s=settings.quarantine_s,
    )
