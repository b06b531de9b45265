"""Put the coordinator's parts together, around one state that was restored from a store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs
from twisted.internet.threads import deferToThread

from ffcluster import __version__
from ffcluster.core.cluster import ClusterState, Policy
from ffcluster.core.durable import Saved
from ffcluster.core.events import Event, Ticked
from ffcluster.core.job import Job
from ffcluster.core.judge import Judge
from ffcluster.core.model import Diagnosis, JobId, Source, WorkerId
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.registry import Registry
from ffcluster.media.runner import Runner
from ffcluster.media.thumbnailer import Thumbnailer
from ffcluster.net.outgoing import Outgoing
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
from ffcluster.services.jobsource import INDEX_NAME
from ffcluster.services.ledger import Ledger
from ffcluster.services.load import Loads
from ffcluster.services.logs import EventLog
from ffcluster.services.loop import DecisionLoop
from ffcluster.services.metrics import Around, Metrics
from ffcluster.services.openjobs import OpenJobs
from ffcluster.services.past import Past
from ffcluster.services.picturefiles import PictureFiles, picture_limit
from ffcluster.services.pictures import Pictures
from ffcluster.services.planner import Planner
from ffcluster.services.reception import Reception
from ffcluster.services.recovery import StateDirectory
from ffcluster.services.requests import ClientRequests
from ffcluster.services.shelf import TicketShelf
from ffcluster.services.spans import Spans
from ffcluster.services.stills import Stills
from ffcluster.services.tokens import TokenBook
from ffcluster.services.viewers import Viewers
from ffcluster.services.watching import Jobs, WatchService
from ffcluster.services.webdesk import Home, WebDesk
from ffcluster.services.webhooks import Webhooks
from ffcluster.services.window import DeskWindow
from ffcluster.store.blobs import BlobStore
from ffcluster.store.space import Reserve
from ffcluster.web.api import desk_routes
from ffcluster.web.filmstrip import filmstrip_routes
from ffcluster.web.gantt import gantt_routes
from ffcluster.web.health import Check
from ffcluster.web.pictures import picture_routes
from ffcluster.web.report import report_routes
from ffcluster.web.routing import Route
from ffcluster.web.stream import stream_routes
from ffcluster.web.tokens import token_routes
from ffcluster.web.webhooks import webhook_routes


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
        tokens: Who may come in; nobody but the coordinator's own token until it is loaded.
        state: The cluster's state.
        shelf: What can be fetched and put.
        jobs: The media side of every job.
        holdings: Who needs which blob.
        background: Where work goes on.
        assembly: Joins and publishes.
        webhooks: Who is told of events.
        loop: Takes events in.
        housekeeping: Its regular duties.
        intake: Takes new jobs in.
        watching: The watch folders.
        loads: What workers say of their machines.
        reception: Every session.
        pictures: How jobs look.
        metrics: What is measured.
        viewers: Everybody who watches.
        web: Answers the REST API.
    """

    def __init__(self, outside: Outside, saved: Saved, ended: Callable[[Job], None]) -> None:
        settings, ledger, reactor = outside.settings, outside.ledger, outside.runner.reactor
        self._outside = outside
        self.clock = CoordinatorClock(reactor, saved.clock_s)
        self.tokens = TokenBook(settings.token, ledger, self.clock.seconds)
        judge = RegistryJudge(outside.registry, self._diagnoses)
        self.state = ClusterState.restored(_policy(settings), judge, saved)
        self.shelf = TicketShelf(outside.blobs, settings.upload_limit_bytes)
        self.background = Background(self._post)
        self.jobs = OpenJobs(self._media, outside.directory.remove_job)
        self.holdings = Holdings(outside.blobs, self.background.aside)
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
            hook_of=self.webhooks.for_job,
            source_of=self._source_of,
            short_of=lambda: self.housekeeping.short_of,
        )
        self.watching = WatchService(
            reactor,
            settings.watch_folders,
            settings.state_dir,
            Jobs(self.intake, self.state.jobs.get, self.state.jobs.values, settings.output_dir),
        )
        self.loads = Loads(
            self.clock.seconds, lambda worker_id: self.viewers.worker_changed(worker_id)
        )
        ledger.listen(self.loads.stored)
        past = Past(ledger)
        requests = self._requests(past)
        self.web = self._web(requests, past, judge)
        self.reception = self._reception(requests)
        self.pictures = self._pictures()
        ledger.listen(self.pictures.stored)
        self.viewers = Viewers(
            reactor,
            self.state,
            DeskWindow(self.web),
            ledger,
            seconds=self.clock.seconds,
            last_event=saved.counters.next_event - 1,
        )
        ledger.listen(self.viewers.stored)
        self.metrics = self._metrics(saved)
        ledger.listen(self.metrics.tallies.stored)
        ledger.time_writes(self.metrics.tallies.written)
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
            self.assembly.show(job)

    async def stop(self) -> None:
        """Take nothing in any more, and end every process; all that was stored stays."""
        self.metrics.stop()
        self.watching.stop()
        self.housekeeping.stop()
        self.webhooks.stop()
        self.background.stop()
        self.loop.stop()
        self.viewers.close()
        self.reception.close("the coordinator stops")
        await self.pictures.close()
        await self.jobs.stop_all()

    def _requests(self, past: Past) -> ClientRequests:
        return ClientRequests(
            self.state,
            self.clock.seconds,
            settled=self.loop.settled,
            submissions=self.intake,
            past=past,
            loads=self.loads,
            tokens=self.tokens,
            output_path=self.shelf.output_path,
        )

    def _web(self, requests: ClientRequests, past: Past, judge: Judge) -> WebDesk:
        outside = self._outside
        home = Home(
            outside.settings,
            outside.build.version,
            self.clock.seconds(),
            lambda: outside.blobs.usage_bytes() + self.pictures.used_bytes,
            short_of=lambda: self.housekeeping.short_of,
            last_event=lambda: self.viewers.last_event,
        )
        planner = Planner(
            outside.runner,
            outside.settings,
            outside.registry,
            judge,
            workers=lambda: [w for w in self.state.workers.values() if w.available],
            film=self.intake.film,
        )
        return WebDesk(
            home,
            self.state.jobs,
            self.state.workers,
            requests=requests,
            intake=self.intake,
            shelf=self.shelf,
            planner=planner,
            registry=outside.registry,
            past=past,
            seconds=self.clock.seconds,
        )

    def routes(self) -> tuple[Route, ...]:
        """All routes of the REST API."""
        return (
            *desk_routes(self.web, self._outside.runner.reactor),
            *token_routes(self.tokens),
            *stream_routes(self.viewers),
            *webhook_routes(self.webhooks),
            *filmstrip_routes(self.pictures),
            *gantt_routes(self.pictures),
            *picture_routes(self.pictures),
            *report_routes(self.pictures),
        )

    def _metrics(self, saved: Saved) -> Metrics:
        outside = self._outside
        around = Around(
            self.web.fresh_status,
            version=__version__,
            ffmpeg=outside.build.version,
            min_free_bytes=outside.settings.min_free_bytes,
            max_disk_bytes=outside.settings.max_disk_bytes,
            accepts=lambda: not self.housekeeping.short_of,
            reachable=lambda: not outside.ledger.trouble,
            viewers=lambda: len(self.viewers),
        )
        return Metrics(
            outside.runner.reactor,
            self.state,
            saved.counters,
            outside.registry.schemas,
            around,
        )

    def checks(self) -> tuple[Check, ...]:
        """What must be well for the coordinator to do its work."""
        return (
            Check("store", not self._outside.ledger.trouble, "what changes cannot be stored"),
            Check("disk", not self.housekeeping.no_room, "there is too little room on the disk"),
        )

    def _name_of(self, worker_id: WorkerId) -> str | None:
        worker = self.state.workers.get(worker_id)
        return worker.facts.name if worker is not None else None

    def _reception(self, requests: ClientRequests) -> Reception:
        outside, seconds = self._outside, self.clock.seconds
        deliveries = Deliveries(
            self.state, self.shelf, outside.blobs, self.holdings, self.background
        )
        return Reception(
            self.state,
            self.loop,
            deliveries,
            requests,
            seconds=seconds,
            loads=self.loads,
            block_bytes=outside.settings.block_bytes,
            output_path=self.shelf.output_path,
        )

    def _pictures(self) -> Pictures:
        outside = self._outside
        files = PictureFiles(
            outside.settings.state_dir / "pictures", picture_limit(outside.settings.max_disk_bytes)
        )
        thumbnailer = Thumbnailer(outside.runner)
        stills = Stills(
            thumbnailer,
            files,
            source_path=lambda job: self.holdings.source_path(job.source),
            index_path=self._index_path,
            short_of=lambda: self.housekeeping.short_of,
            seconds=self.clock.seconds,
        )
        return Pictures(
            self.state,
            Spans(outside.ledger),
            stills,
            files,
            reactor=outside.runner.reactor,
            seconds=self.clock.seconds,
            aside=self.background.aside,
            index_path=self._index_path,
        )

    def _index_path(self, job_id: JobId) -> Path:
        return self._outside.directory.job(job_id) / INDEX_NAME

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
            changed=self._job_changed,
            worker_changed=lambda worker_id: self.viewers.worker_changed(worker_id),
            closed=ended,
        )

    def _job_changed(self, job_id: JobId) -> None:
        self.reception.changed(job_id)
        self.viewers.job_changed(job_id)

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
