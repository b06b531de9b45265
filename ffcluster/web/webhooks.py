"""Webhooks over HTTP: what is asked for and shown of them. A secret is shown once, never again."""

from __future__ import annotations

from typing import Protocol

import attrs

from ffcluster.core.model import JobId
from ffcluster.errors import Code, InvalidOption
from ffcluster.net.access import Scope
from ffcluster.web.paging import NAME, PageQuery
from ffcluster.web.routing import Answer, Call, Route, Taken

USUAL_KINDS = ("job.completed", "job.failed", "job.cancelled")


@attrs.frozen
class WantedWebhook:
    """Somewhere that is to be told of events.

    Attributes:
        url: Where they are posted to.
        kinds: Kinds of events; `*` is every one.
        secret: What they are signed with: `whsec_` and base64 of 24 to 64 bytes. Without it one is
            made for a webhook of all jobs, and what a job's own webhook is told is not signed.
    """

    url: str
    kinds: tuple[str, ...] = USUAL_KINDS
    secret: str | None = attrs.field(default=None, repr=False)


@attrs.frozen
class Webhook:
    """A webhook as it is shown.

    Attributes:
        id: Its name.
        url: Where events are posted to.
        kinds: Kinds of events that it is told of.
        job_id: The only job that it is told of, or None.
        signed: Whether what it is told is signed.
        disabled: Why nothing is sent to it any more, or empty.
        waiting: Events that it is still to be told of.
        created_at: Since when it is there.
    """

    id: str
    url: str
    kinds: tuple[str, ...]
    job_id: str | None
    signed: bool
    disabled: str
    waiting: int
    created_at: str


@attrs.frozen
class CreatedWebhook:
    """A new webhook, with the secret that is not shown again.

    Attributes:
        webhook: The webhook.
        secret: What it is told is signed with this.
    """

    webhook: Webhook
    secret: str = attrs.field(repr=False)


@attrs.frozen
class WebhookPage:
    """Webhooks, in the order in which they were made.

    Attributes:
        items: The webhooks.
        next_cursor: Always None: there are not many.
    """

    items: tuple[Webhook, ...]
    next_cursor: str | None = None


@attrs.frozen
class Delivery:
    """An event that a webhook is, or was, to be told of.

    Attributes:
        id: What is sent as `webhook-id`; the same for every try.
        event: Number of the event.
        kind: What is sent as `type`.
        at: When it happened.
        state: `waiting`, `delivered` or `given_up`.
        tries: How often it was sent.
        status: What the last try was answered with, or None.
        error: Why the last try failed, or empty.
        tried_at: When it was sent last, or None.
        next_at: When it is sent again at the soonest, or None.
    """

    id: str
    event: int
    kind: str
    at: str
    state: str
    tries: int
    status: int | None
    error: str
    tried_at: str | None
    next_at: str | None


@attrs.frozen
class DeliveryPage:
    """Deliveries of a webhook, the latest first.

    Attributes:
        items: The deliveries.
        next_cursor: What to give as `cursor` for the next page, or None at the end.
    """

    items: tuple[Delivery, ...]
    next_cursor: str | None


@attrs.frozen
class WebhooksQuery:
    """Which webhooks.

    Attributes:
        job_id: That of this job; without it, those of all jobs.
    """

    job_id: str | None = attrs.field(default=None, validator=NAME)


class WebhookDesk(Protocol):
    """Keeps the webhooks; see `ffcluster.services.webhooks.outbox`."""

    async def create(self, wanted: WantedWebhook) -> CreatedWebhook:
        """Make a webhook of all jobs, durably.

        Raises:
            InvalidOption: Its URL, a kind or its secret cannot be used.
            TooMany: There are as many as there may be.
        """

    def listed(self, job_id: JobId | None) -> tuple[Webhook, ...]:
        """The webhooks of all jobs, or that of one."""

    def show(self, webhook_id: str) -> Webhook:
        """One of them.

        Raises:
            NotFound: There is none.
        """

    async def remove(self, webhook_id: str) -> None:
        """Tell a webhook nothing more and forget it, durably.

        Raises:
            NotFound: There is none.
        """

    async def deliveries(
        self, webhook_id: str, before: int | None, limit: int
    ) -> tuple[Delivery, ...]:
        """What it was and is to be told, the latest first.

        Raises:
            NotFound: There is none.
        """


def webhook_routes(desk: WebhookDesk) -> tuple[Route, ...]:
    """The routes of webhooks."""

    async def create(call: Call) -> Answer | Taken:
        made = await desk.create(call.body)
        return Answer(
            made,
            headers={"location": f"/api/v1/webhooks/{made.webhook.id}"},
        )

    async def listed(call: Call) -> Answer | Taken:
        job_id = call.query.job_id
        return Answer(WebhookPage(desk.listed(None if job_id is None else JobId(job_id))))

    async def show(call: Call) -> Answer | Taken:
        return Answer(desk.show(call.path["webhook_id"]))

    async def remove(call: Call) -> Answer | Taken:
        await desk.remove(call.path["webhook_id"])
        return Answer()

    async def deliveries(call: Call) -> Answer | Taken:
        query: PageQuery = call.query
        before = _before(query)
        items = await desk.deliveries(call.path["webhook_id"], before, query.limit)
        more = str(items[-1].event) if len(items) == query.limit else None
        return Answer(DeliveryPage(items, more))

    one = "/webhooks/{webhook_id}"
    return (
        Route(
            method="GET",
            path="/webhooks",
            name="list_webhooks",
            summary="List the webhooks.",
            tag="webhooks",
            scope=Scope.ADMIN,
            serve=listed,
            query=WebhooksQuery,
            response=WebhookPage,
        ),
        Route(
            method="POST",
            path="/webhooks",
            name="create_webhook",
            summary="Have a URL told of events of all jobs.",
            tag="webhooks",
            scope=Scope.ADMIN,
            serve=create,
            body=WantedWebhook,
            response=CreatedWebhook,
            status=201,
            problems=(Code.INVALID_OPTION, Code.TOO_MANY),
        ),
        Route(
            method="GET",
            path=one,
            name="show_webhook",
            summary="Show a webhook, without its secret.",
            tag="webhooks",
            scope=Scope.ADMIN,
            serve=show,
            response=Webhook,
            problems=(Code.NOT_FOUND,),
        ),
        Route(
            method="DELETE",
            path=one,
            name="remove_webhook",
            summary="Tell a webhook nothing more.",
            tag="webhooks",
            scope=Scope.ADMIN,
            serve=remove,
            status=204,
            problems=(Code.NOT_FOUND,),
        ),
        Route(
            method="GET",
            path=f"{one}/deliveries",
            name="list_deliveries",
            summary="Show what a webhook was and is to be told, the latest first.",
            tag="webhooks",
            scope=Scope.ADMIN,
            serve=deliveries,
            query=PageQuery,
            response=DeliveryPage,
            problems=(Code.NOT_FOUND,),
        ),
    )


def _before(query: PageQuery) -> int | None:
    text = query.cursor
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise InvalidOption(message="The cursor is not one of ours.", option="cursor")
    return int(text)
