"""Put together what shows the coordinator's work: REST API, live events, pictures and metrics.

Everything is drawn from parts that work without it.
"""

from __future__ import annotations

from pathlib import Path

from ffcluster import __version__
from ffcluster.core.durable import Saved
from ffcluster.core.model import JobId
from ffcluster.media.thumbnailer import Thumbnailer
from ffcluster.services.coordinator.outside import Outside
from ffcluster.services.coordinator.webdesk import Home, WebDesk
from ffcluster.services.coordinator.wiring import Parts
from ffcluster.services.jobs.jobsource import INDEX_NAME
from ffcluster.services.jobs.planner import Planner
from ffcluster.services.viewing.metrics import Around, Metrics
from ffcluster.services.viewing.picturefiles import PictureFiles, picture_limit
from ffcluster.services.viewing.pictures import Pictures
from ffcluster.services.viewing.spans import Spans
from ffcluster.services.viewing.stills import Stills
from ffcluster.services.viewing.viewers import Viewers
from ffcluster.services.viewing.window import DeskWindow
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


class Display:
    """What shows the coordinator's work.

    Args:
        outside: What it is put together from.
        saved: What was stored.
        parts: What does the work.

    Attributes:
        web: Answers the REST API.
        pictures: How jobs look.
        viewers: Everybody who watches.
        metrics: What is measured.
    """

    def __init__(self, outside: Outside, saved: Saved, parts: Parts) -> None:
        ledger = outside.ledger
        self._outside = outside
        self._parts = parts
        self.web = self._web()
        self.pictures = self._pictures()
        ledger.listen(self.pictures.stored)
        self.viewers = Viewers(
            outside.runner.reactor,
            parts.state,
            DeskWindow(self.web),
            ledger,
            seconds=parts.clock.seconds,
            last_event=saved.counters.next_event - 1,
        )
        ledger.listen(self.viewers.stored)
        parts.tell(self.viewers.job_changed, self.viewers.worker_changed)
        self.metrics = self._metrics(saved)
        ledger.listen(self.metrics.tallies.stored)
        ledger.time_writes(self.metrics.tallies.written)

    def routes(self) -> tuple[Route, ...]:
        """All routes of the REST API."""
        parts = self._parts
        return (
            *desk_routes(self.web, self._outside.runner.reactor),
            *token_routes(parts.tokens),
            *stream_routes(self.viewers),
            *webhook_routes(parts.webhooks),
            *filmstrip_routes(self.pictures),
            *gantt_routes(self.pictures),
            *picture_routes(self.pictures),
            *report_routes(self.pictures),
        )

    def checks(self) -> tuple[Check, ...]:
        """What must be well for the coordinator to do its work."""
        parts = self._parts
        return (
            Check("store", not self._outside.ledger.trouble, "what changes cannot be stored"),
            Check("disk", not parts.housekeeping.no_room, "there is too little room on the disk"),
        )

    async def stop(self) -> None:
        """Send everybody who watches away, and end every process that makes a picture."""
        self.metrics.stop()
        self.viewers.close()
        await self.pictures.close()

    def _web(self) -> WebDesk:
        outside, parts = self._outside, self._parts
        home = Home(
            outside.settings,
            outside.build.version,
            parts.clock.seconds(),
            lambda: outside.blobs.usage_bytes() + self.pictures.used_bytes,
            short_of=lambda: parts.housekeeping.short_of,
            last_event=lambda: self.viewers.last_event,
        )
        planner = Planner(
            outside.runner,
            outside.settings,
            outside.registry,
            parts.judge,
            workers=lambda: [w for w in parts.state.workers.values() if w.available],
            film=parts.intake.film,
        )
        return WebDesk(
            home,
            parts.state.jobs,
            parts.state.workers,
            requests=parts.requests,
            intake=parts.intake,
            shelf=parts.shelf,
            planner=planner,
            registry=outside.registry,
            past=parts.past,
            seconds=parts.clock.seconds,
        )

    def _pictures(self) -> Pictures:
        outside, parts = self._outside, self._parts
        files = PictureFiles(
            outside.settings.state_dir / "pictures", picture_limit(outside.settings.max_disk_bytes)
        )
        thumbnailer = Thumbnailer(outside.runner)
        stills = Stills(
            thumbnailer,
            files,
            source_path=lambda job: parts.holdings.source_path(job.source),
            index_path=self._index_path,
            short_of=lambda: parts.housekeeping.short_of,
            seconds=parts.clock.seconds,
        )
        return Pictures(
            parts.state,
            Spans(outside.ledger),
            stills,
            files,
            reactor=outside.runner.reactor,
            seconds=parts.clock.seconds,
            aside=parts.background.aside,
            index_path=self._index_path,
        )

    def _metrics(self, saved: Saved) -> Metrics:
        outside, parts = self._outside, self._parts
        around = Around(
            self.web.fresh_status,
            version=__version__,
            ffmpeg=outside.build.version,
            min_free_bytes=outside.settings.min_free_bytes,
            max_disk_bytes=outside.settings.max_disk_bytes,
            accepts=lambda: not parts.housekeeping.short_of,
            reachable=lambda: not outside.ledger.trouble,
            viewers=lambda: len(self.viewers),
        )
        return Metrics(
            outside.runner.reactor,
            parts.state,
            saved.counters,
            outside.registry.schemas,
            around,
        )

    def _index_path(self, job_id: JobId) -> Path:
        return self._outside.directory.job(job_id) / INDEX_NAME
