"""Put together what does the coordinator's work, around one state that was restored from a store.

Shows nothing: that is put together around this one.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.threads import deferToThread

from ffcluster.core.cluster import ClusterState, Policy
from ffcluster.core.durable import Saved
from ffcluster.core.events import Event, Ticked
from ffcluster.core.job import Job
from ffcluster.core.model import Diagnosis, JobId, Source, WorkerId
from ffcluster.net.outgoing import Outgoing
from ffcluster.services.background import Background
from ffcluster.services.choice import RegistryJudge
from ffcluster.services.clock import CoordinatorClock
from ffcluster.services.coordinator.effects import EffectRunner
from ffcluster.services.coordinator.loop import DecisionLoop
from ffcluster.services.coordinator.outside import Outside
from ffcluster.services.coordinator.reception import Reception
from ffcluster.services.coordinator.requests import ClientRequests
from ffcluster.services.jobs.assembly import Assembly
from ffcluster.services.jobs.delivery import Deliveries
from ffcluster.services.jobs.intake import Intake
from ffcluster.services.jobs.jobmedia import JobMedia
from ffcluster.services.jobs.openjobs import OpenJobs
from ffcluster.services.keeping import recovery
from ffcluster.services.keeping.holdings import Holdings
from ffcluster.services.keeping.housekeeping import Housekeeping
from ffcluster.services.keeping.past import Past
from ffcluster.services.keeping.shelf import TicketShelf
from ffcluster.services.keeping.tokens import TokenBook
from ffcluster.services.keeping.uploads import KeptUploads
from ffcluster.services.logs import EventLog
from ffcluster.services.settings.config import ServerSettings
from ffcluster.services.viewing.load import Loads
from ffcluster.services.watch.service import Jobs, WatchService
from ffcluster.services.webhooks.outbox import Webhooks
from ffcluster.store.space import Reserve


class Parts:
    """What does the coordinator's work.

    Args:
        outside: What they are put together from.
        saved: What was stored.
        ended: Told of every job that ended and was cleaned up.

    Attributes:
        clock: Its clock.
        judge: Decides what encoders can do.
        tokens: Who may come in; nobody but the coordinator's own token until it is loaded.
        state: The cluster's state.
        shelf: What can be fetched and put.
        jobs: The media side of every job.
        holdings: Who needs which blob.
        uploads: How long uploaded sources stay.
        background: Where work goes on.
        assembly: Joins and publishes.
        webhooks: Who is told of events.
        loop: Takes events in.
        housekeeping: Its regular duties.
        intake: Takes new jobs in.
        watching: The watch folders.
        loads: What workers say of their machines.
        past: What was written down and is not in the state any more.
        requests: Answers clients.
        reception: Every session.
    """

    def __init__(self, outside: Outside, saved: Saved, ended: Callable[[Job], None]) -> None:
        settings, ledger, reactor = outside.settings, outside.ledger, outside.runner.reactor
        self._outside = outside
        self._told_of_jobs: list[Callable[[JobId], None]] = []
        self._told_of_workers: list[Callable[[WorkerId], None]] = []
        self.clock = CoordinatorClock(reactor, saved.clock_s)
        self.tokens = TokenBook(settings.token, ledger, self.clock.seconds)
        self.judge = RegistryJudge(outside.registry, self._diagnoses)
        self.state = ClusterState.restored(_policy(settings), self.judge, saved)
        self.shelf = TicketShelf(outside.blobs, settings.upload_limit_bytes)
        self.background = Background(self._post)
        self.jobs = OpenJobs(self._media, outside.directory.remove_job)
        self.holdings = Holdings(outside.blobs, self.background.aside)
        self.uploads = self._uploads()
        self.assembly = Assembly(
            self.state, self.jobs, self.shelf, outside.registry, self.background
        )
        self.webhooks = Webhooks(
            reactor,
            ledger,
            Outgoing(reactor, private=settings.webhook_allow_private),
            self.state.jobs,
            saved,
            seconds=self.clock.seconds,
            post=self._post,
            private=settings.webhook_allow_private,
        )
        ledger.listen(self.webhooks.stored)
        self.loop = DecisionLoop(
            reactor,
            self.clock,
            self.state,
            ledger,
            self._effects(ended).carry_out,
            self.webhooks.complete,
        )
        self.housekeeping = Housekeeping(
            reactor,
            settings,
            self.state,
            outside.blobs,
            self.shelf,
            self.uploads,
            ledger,
            seconds=self.clock.seconds,
            post=self.loop.post,
        )
        self.intake = Intake(
            settings,
            outside.registry,
            self.shelf,
            ledger,
            seconds=self.clock.seconds,
            settled=self.loop.settled,
            hook_of=self.webhooks.for_job,
            source_of=self._source_of,
            room_for=self.uploads.room_for,
            short_of=lambda: self.housekeeping.short_of,
        )
        self.watching = WatchService(
            reactor,
            settings.watch_folders,
            settings.state_dir,
            Jobs(self.intake, self.state.jobs.get, self.state.jobs.values, settings.output_dir),
        )
        self.loads = Loads(self.clock.seconds, self._worker_changed)
        ledger.listen(self.loads.stored)
        self.past = Past(ledger)
        self.requests = self._requests()
        self.reception = self._reception()
        ledger.listen(EventLog(self._name_of).stored)
        self.tokens.when_revoked(self.reception.end_for)

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
            if job.outcome is not None:
                self.assembly.show(job.id, job.outcome)

    def tell(self, job: Callable[[JobId], None], worker: Callable[[WorkerId], None]) -> None:
        """Tell somebody of every job and every worker that changed."""
        self._told_of_jobs.append(job)
        self._told_of_workers.append(worker)

    async def stop(self) -> None:
        """Take nothing in any more, and end every process; all that was stored stays."""
        self.watching.stop()
        self.housekeeping.stop()
        self.webhooks.stop()
        self.background.stop()
        self.loop.stop()
        self.reception.close("the coordinator stops")
        await self.jobs.stop_all()

    def _uploads(self) -> KeptUploads:
        outside, settings = self._outside, self._outside.settings
        reserve = Reserve(
            settings.state_dir,
            settings.max_disk_bytes,
            settings.min_free_bytes,
            outside.blobs.usage_bytes,
        )
        return KeptUploads(
            settings,
            self.state,
            self.holdings,
            reserve,
            seconds=self.clock.seconds,
            changed=self._job_changed,
        )

    def _requests(self) -> ClientRequests:
        return ClientRequests(
            self.state,
            self.clock.seconds,
            settled=self.loop.settled,
            submissions=self.intake,
            past=self.past,
            loads=self.loads,
            tokens=self.tokens,
            output_path=self.shelf.output_path,
            kept_until=self.uploads.until,
        )

    def _name_of(self, worker_id: WorkerId) -> str | None:
        worker = self.state.workers.get(worker_id)
        return worker.facts.name if worker is not None else None

    def _reception(self) -> Reception:
        outside, seconds = self._outside, self.clock.seconds
        deliveries = Deliveries(
            self.state, self.shelf, outside.blobs, self.holdings, self.background
        )
        return Reception(
            self.state,
            self.loop,
            deliveries,
            self.requests,
            seconds=seconds,
            loads=self.loads,
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
            self.uploads,
            self.assembly,
            registry,
            self.background,
            session_of=lambda worker_id: self.reception.session_of(worker_id),
            changed=self._job_changed,
            worker_changed=self._worker_changed,
            closed=ended,
        )

    def _job_changed(self, job_id: JobId) -> None:
        self.reception.changed(job_id)
        for tell in self._told_of_jobs:
            tell(job_id)

    def _worker_changed(self, worker_id: WorkerId) -> None:
        for tell in self._told_of_workers:
            tell(worker_id)

    def _post(self, event: Event) -> None:
        self.loop.post(event)

    def _media(self, job: Job) -> JobMedia:
        outside = self._outside
        return JobMedia(
            job.id,
            job.spec,
            self.holdings.source_path(job.source),
            outside.directory.job(job.id),
            output_dir=outside.settings.output_dir / job.spec.output_folder,
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
