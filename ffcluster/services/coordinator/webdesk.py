"""Answers the REST API: what there is of jobs, workers and settings, by the functions of requests.

See `ffcluster.web.desk.Desk`. Nothing here takes long for one item, however large the cluster is.
"""

from __future__ import annotations

import platform
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Mapping

import attrs
from twisted.internet.threads import deferToThread

from ffcluster import __version__
from ffcluster.core import reporting
from ffcluster.core.durable import AttemptEntry
from ffcluster.core.job import Job
from ffcluster.core.model import JobId, JobRequest, PluginSummary, WorkerId
from ffcluster.core.profile import Container, Profile
from ffcluster.core.segment import SegmentState
from ffcluster.core.timeline import FrameRange
from ffcluster.core.views import JobView, SegmentView
from ffcluster.core.worker import Worker
from ffcluster.encoders.registry import Registry
from ffcluster.errors import Conflict, NotFound
from ffcluster.net.bulk_server import Readable
from ffcluster.services.coordinator.requests import ClientRequests
from ffcluster.services.jobs.intake import Intake
from ffcluster.services.jobs.planner import Planner
from ffcluster.services.jobs.submission import derived_name
from ffcluster.services.keeping.past import Past
from ffcluster.services.keeping.shelf import OUTPUTS, TicketShelf
from ffcluster.services.settings.config import ServerSettings
from ffcluster.web.models.plans import Plan, Upload
from ffcluster.web.models.status import Disk, Status
from ffcluster.web.stream import timestamp
from ffcluster.web.webhooks import WantedWebhook

# Of more workers a job shows those that did most.
MOST_SHARES = 100
_DISK_FRESH_S = 5.0
_CHECKING = "checking"
_EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - nothing is bound here


@attrs.frozen
class Home:
    """What the coordinator knows of itself.

    Attributes:
        settings: Its settings.
        ffmpeg: Version of its ffmpeg.
        started_at: When it started, on its clock.
        usage_bytes: Bytes in uploads and results (blocks).
        short_of: Why nothing new is taken in, or "".
        last_event: Number of the latest durable event.
    """

    settings: ServerSettings
    ffmpeg: str
    started_at: float
    usage_bytes: Callable[[], int]
    short_of: Callable[[], str]
    last_event: Callable[[], int]


class WebDesk:
    """The desk behind the REST API.

    Args:
        home: What the coordinator knows of itself.
        jobs: All jobs.
        workers: All workers.
        requests: Does what clients ask for.
        intake: Takes in new jobs.
        shelf: Where uploads and outputs are.
        planner: Plans films.
        registry: The plugins.
        past: What is stored of jobs.
        seconds: The coordinator's clock.

    Attributes:
        port: Where the coordinator listens.
    """

    def __init__(
        self,
        home: Home,
        jobs: Mapping[JobId, Job],
        workers: Mapping[WorkerId, Worker],
        *,
        requests: ClientRequests,
        intake: Intake,
        shelf: TicketShelf,
        planner: Planner,
        registry: Registry,
        past: Past,
        seconds: Callable[[], float],
    ) -> None:
        self.port = home.settings.port
        self._home = home
        self._jobs = jobs
        self._workers = workers
        self._requests = requests
        self._intake = intake
        self._shelf = shelf
        self._planner = planner
        self._registry = registry
        self._past = past
        self._seconds = seconds
        self._disk: tuple[float, int | None, int | None] = (-_DISK_FRESH_S, None, None)
        # Who changes something; the same functions as those of sessions.
        self.cancel = requests.cancel
        self.pause = requests.pause
        self.resume = requests.resume
        self.retry = requests.retry
        self.prioritise = requests.prioritise
        self.remove = requests.remove
        self.worker = requests.worker
        self.drain = requests.drain
        self.resume_worker = requests.resume_worker
        self.forget = requests.forget

    # --- jobs ----------------------------------------------------------------------------------

    def jobs(self) -> Collection[Job]:
        """All jobs."""
        return self._jobs.values()

    def job(self, job_id: str) -> JobView:
        """Describe a job."""
        return self._requests.job(job_id, MOST_SHARES)

    def output_name(self, source_name: str, container: Container) -> str:
        """A file name for the output of a film."""
        return derived_name(source_name, f".{container.value}")

    async def submit(self, request: JobRequest, webhook: WantedWebhook | None) -> str:
        """Make a job; return its id."""
        await self._settle(request)
        return await self._intake.submit(request, webhook=webhook)

    async def _settle(self, request: JobRequest) -> None:
        if request.upload_id is not None:
            await self._shelf.settle_upload(request.upload_id)

    async def segments(
        self, job_id: str, states: Collection[str], after: int, limit: int
    ) -> list[SegmentView]:
        """At most `limit` segments of a job behind frame `after`, in order."""
        job = self._requests.find(job_id)
        if job.ended and not job.segments:
            return await self._past.segments_behind(job.id, states, after, limit)
        # Most of many are left out before anything is worked out of them.
        raw = {SegmentState.ASSIGNED if state == _CHECKING else state for state in states}
        found: list[SegmentView] = []
        for first in sorted(first for first in job.segments if first > after):
            segment = job.segments[first]
            if raw and segment.state not in raw:
                continue
            view = reporting.segment_view(job, segment)
            if not states or view.state in states:
                found.append(view)
                if len(found) == limit:
                    break
        return found

    async def segment(
        self, job_id: str, first_frame: int
    ) -> tuple[SegmentView, tuple[AttemptEntry, ...]]:
        """A segment with the attempts at it."""
        job = self._requests.find(job_id)
        segment = job.segments.get(first_frame)
        view = None if segment is None else reporting.segment_view(job, segment)
        if view is None and job.ended and not job.segments:
            behind = await self._past.segments_behind(job.id, (), first_frame - 1, 1)
            view = behind[0] if behind and behind[0].first_frame == first_frame else None
        if view is None:
            raise NotFound(message=f"No segment of job {job.id} begins at frame {first_frame}.")
        stop = first_frame + view.frame_count
        attempts = await self._past.attempts_at(job.id, FrameRange(first_frame, stop))
        return view, attempts

    async def receipt(self, job_id: str) -> bytes:
        """How a job was made, as JSON."""
        return await self._past.receipt_document(self._requests.find(job_id))

    async def result(self, job_id: str) -> Readable:
        """The file of a completed job."""
        job = self._requests.find(job_id)
        if job.outcome is None:
            raise Conflict(message=f"Job {job.id} is {job.state.value}: there is no result.")
        found = self._shelf.readable(OUTPUTS, job.id)
        if found is None or not await deferToThread(_is_there, found):
            raise NotFound(
                message=f"The result of job {job.id} is not where it was published any more.",
                advice=f"It was {job.outcome.path}; put it back to fetch it from here.",
            )
        return found

    # --- workers -------------------------------------------------------------------------------

    def workers(self) -> Collection[Worker]:
        """All workers."""
        return self._workers.values()

    # --- what the coordinator was set to -------------------------------------------------------

    def profiles(self) -> Mapping[str, Profile]:
        """Profiles by name."""
        return self._home.settings.profiles

    def default_profile(self) -> Profile | None:
        """What jobs get that ask for none."""
        return self._home.settings.profile

    def plugins(self) -> tuple[PluginSummary, ...]:
        """The coordinator's plugins."""
        return self._registry.summaries

    # --- the cluster ---------------------------------------------------------------------------

    async def begin_upload(self, name: str, size_bytes: int) -> Upload:
        """Make room for an upload."""
        upload_id, path = await self._intake.begin_upload(name, size_bytes)
        return Upload(upload_id, path, self._home.settings.block_bytes)

    async def plan(self, request: JobRequest) -> Plan:
        """Find out what would become of a film."""
        await self._settle(request)
        return await self._planner.plan(request)

    async def fresh_status(self) -> Status:
        """How the cluster is doing, its disk too."""
        if self._seconds() - self._disk[0] >= _DISK_FRESH_S:
            used, free = await deferToThread(self._measured)
            self._disk = (self._seconds(), used, free)
        return self.status()

    def _measured(self) -> tuple[int | None, int | None]:
        try:
            free = shutil.disk_usage(self._home.settings.state_dir).free
        except OSError:
            return None, None
        return self._home.usage_bytes(), free

    def status(self) -> Status:
        """How the cluster is doing; of its disk what was found last."""
        home, settings = self._home, self._home.settings
        now = self._seconds()
        _, used, free = self._disk
        return Status(
            version=__version__,
            started_at=timestamp(home.started_at),
            uptime_s=now - home.started_at,
            ffmpeg=home.ffmpeg,
            required_workers=settings.required_workers,
            jobs=dict(Counter(job.state.value for job in self._jobs.values())),
            workers=dict(Counter(worker.state.value for worker in self._workers.values())),
            fps=sum((w.fps for w in self._workers.values() if w.attempts), 0.0),
            warnings=(*settings.warnings, *self._short()),
            token_required=settings.token is not None,
            last_event=home.last_event(),
            disk=Disk(used, settings.max_disk_bytes, free, home.short_of()),
            worker_command=self._worker_command(),
        )

    def _short(self) -> tuple[str, ...]:
        reason = self._home.short_of()
        return (f"Nothing new is begun: {reason}.",) if reason else ()

    def _worker_command(self) -> str:
        """What starts a worker; the secret itself is never told."""
        words = ["twistd -n ffcluster-worker"]
        words += [f"--server-ip={self._address}", f"--server-port={self.port}"]
        words += ["--token-file=FILE"] if self._home.settings.token is not None else []
        return " ".join(words)

    @property
    def _address(self) -> str:
        """Where others find this machine."""
        interface = self._home.settings.interface
        return (platform.node() or "ADDRESS") if interface in _EVERYWHERE else interface

    @property
    def dashboard_url(self) -> str:
        """What a person opens in a browser."""
        address = f"[{self._address}]" if ":" in self._address else self._address
        return f"http://{address}:{self.port}/"


def _is_there(file: Readable) -> bool:
    """Whether the file is where it was, and not another one (blocks)."""
    try:
        return file.path.is_file() and file.path.stat().st_size == file.size_bytes
    except OSError:
        return False
