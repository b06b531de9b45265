"""The public client of a coordinator, for other programs: see `docs/client.md`.

`Client` waits for its answers, `AsyncClient` is for asyncio, and `DeferredClient` for Twisted. The
three have the same methods. Errors are the classes of `ffcluster.errors`.
"""

from __future__ import annotations

from ffcluster.client.aio import AsyncClient
from ffcluster.client.blocking import Client
from ffcluster.client.core import DEFAULT_URL, DeferredClient, OnBytes, OnJob
from ffcluster.client.stream import Stream
from ffcluster.core.model import Fallback, JobOutcome, JobRequest, PluginSummary
from ffcluster.core.profile import Profile
from ffcluster.core.receipts import JobReceipt
from ffcluster.core.views import JobView, SegmentView, ShareView, WorkerView
from ffcluster.encoders.params import ProfileOptions
from ffcluster.errors import ErrorReport, FfclusterError
from ffcluster.net.access import Scope, TokenView
from ffcluster.net.outage import OnOutage
from ffcluster.web.filmstrip import Filmstrip
from ffcluster.web.gantt import AttemptDetail, Gantt
from ffcluster.web.models.catalogue import NamedProfile
from ffcluster.web.models.plans import Plan
from ffcluster.web.models.segments import SegmentDetail
from ffcluster.web.models.status import Me, Status
from ffcluster.web.pictures import Side
from ffcluster.web.stream import LoggedEvent
from ffcluster.web.tokens import Link
from ffcluster.web.webhooks import CreatedWebhook, Delivery, WantedWebhook, Webhook

__all__ = [
    "DEFAULT_URL",
    "AsyncClient",
    "AttemptDetail",
    "Client",
    "CreatedWebhook",
    "DeferredClient",
    "Delivery",
    "ErrorReport",
    "Fallback",
    "FfclusterError",
    "Filmstrip",
    "Gantt",
    "JobOutcome",
    "JobReceipt",
    "JobRequest",
    "JobView",
    "Link",
    "LoggedEvent",
    "Me",
    "NamedProfile",
    "OnBytes",
    "OnJob",
    "OnOutage",
    "Plan",
    "PluginSummary",
    "Profile",
    "ProfileOptions",
    "Scope",
    "SegmentDetail",
    "SegmentView",
    "ShareView",
    "Side",
    "Status",
    "Stream",
    "TokenView",
    "WantedWebhook",
    "Webhook",
    "WorkerView",
]
