"""The public client of a coordinator, for other programs: see `docs/client.md`.

`Client` waits for its answers, `AsyncClient` is for asyncio, and `DeferredClient` for Twisted. The
three have the same methods. Errors are the classes of `ffcluster.errors`.
"""

from __future__ import annotations

from ffcluster.client.aio import AsyncClient
from ffcluster.client.blocking import Client
from ffcluster.client.core import DEFAULT_URL, DeferredClient, OnBytes, OnJob
from ffcluster.client.stream import Stream
from ffcluster.core.model import Fallback, JobOutcome, JobRequest
from ffcluster.core.profile import Profile
from ffcluster.core.receipts import JobReceipt
from ffcluster.core.views import JobView, SegmentView, ShareView, WorkerView
from ffcluster.encoders.params import ProfileOptions
from ffcluster.errors import ErrorReport, FfclusterError
from ffcluster.net.access import Scope, TokenView
from ffcluster.net.outage import OnOutage
from ffcluster.web.models import NamedProfile, Status
from ffcluster.web.stream import LoggedEvent
from ffcluster.web.webhooks import CreatedWebhook, Delivery, Webhook

__all__ = [
    "DEFAULT_URL",
    "AsyncClient",
    "Client",
    "CreatedWebhook",
    "DeferredClient",
    "Delivery",
    "ErrorReport",
    "Fallback",
    "FfclusterError",
    "JobOutcome",
    "JobReceipt",
    "JobRequest",
    "JobView",
    "LoggedEvent",
    "NamedProfile",
    "OnBytes",
    "OnJob",
    "OnOutage",
    "Profile",
    "ProfileOptions",
    "Scope",
    "SegmentView",
    "ShareView",
    "Status",
    "Stream",
    "TokenView",
    "Webhook",
    "WorkerView",
]
