"""What can be asked of a cluster besides its jobs: workers, tokens, events, webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from ffcluster.client.events import EventFeed
from ffcluster.client.model import members, read
from ffcluster.client.stream import Stream
from ffcluster.core.model import PluginSummary
from ffcluster.core.views import WorkerView
from ffcluster.errors import Conflict, NotFound
from ffcluster.net.access import Scope, TokenView
from ffcluster.net.api_client import ApiClient, Query
from ffcluster.net.client import CoordinatorClient
from ffcluster.net.outage import OnOutage, Outage, nobody
from ffcluster.web.models.catalogue import NamedProfile, PluginPage, ProfilePage
from ffcluster.web.models.status import Me, Status
from ffcluster.web.stream import LoggedEvent
from ffcluster.web.webhooks import CreatedWebhook, Delivery, DeliveryPage, Webhook, WebhookPage

_LONGEST_PAGE = 500


class ClusterMethods:
    """The part of `DeferredClient` that is not about jobs."""

    _reactor: Any
    _session: CoordinatorClient
    _api: ApiClient

    # --- workers -------------------------------------------------------------------------------

    async def workers(self) -> list[WorkerView]:
        """All workers that are connected or were."""
        return list(await self._session.workers())

    async def worker(self, name: str) -> WorkerView:
        """The worker that is called `name`, or has that id; of several, the only one that is there.

        Raises:
            NotFound: There is none.
            Conflict: There are several.
        """
        found = [view for view in await self.workers() if name in (view.id, view.name)]
        present = [view for view in found if view.state != "Disconnected"]
        if not found:
            raise NotFound(
                message=f"There is no worker {name}.", advice="`ffcluster workers` lists them all."
            )
        if len(present) != 1 and len(found) > 1:
            ids = ", ".join(f"{view.id} ({view.state}, {view.address})" for view in found)
            raise Conflict(
                message=f"{len(found)} workers are called {name}.",
                advice=f"Give the id of one: {ids}.",
            )
        return (present or found)[0]

    async def drain_worker(self, worker_id: str) -> WorkerView:
        """Give a worker nothing more, and let it finish what it has.

        Raises:
            NotFound: There is none.
        """
        return await self._session.drain_worker(worker_id)

    async def resume_worker(self, worker_id: str) -> WorkerView:
        """Let a drained or quarantined worker work again.

        Raises:
            NotFound: There is none.
        """
        return await self._session.resume_worker(worker_id)

    async def remove_worker(self, worker_id: str) -> None:
        """Forget a worker; what it has is given to others.

        Raises:
            NotFound: There is none.
        """
        await self._session.remove_worker(worker_id)

    # --- tokens --------------------------------------------------------------------------------

    async def tokens(self) -> list[TokenView]:
        """All tokens that are good, and the latest that were revoked; never their secrets.

        Raises:
            Forbidden: This client may not see them.
        """
        return await self._session.tokens()

    async def add_token(self, name: str, scope: Scope) -> tuple[TokenView, str]:
        """Make a token for `name`; answers it and its secret, which is never told again.

        Raises:
            InvalidOption: The name or the scope cannot be used.
            Conflict: The coordinator asks nobody for a token.
            Forbidden: This client may not make tokens.
        """
        return await self._session.add_token(name, scope)

    async def revoke_token(self, token_id: str) -> TokenView:
        """Let a token open nothing any more; what was begun with it ends.

        Raises:
            NotFound: There is none.
            Forbidden: This client may not revoke tokens.
        """
        return await self._session.revoke_token(token_id)

    # --- the cluster ---------------------------------------------------------------------------

    async def status(self) -> Status:
        """How the cluster is doing as a whole."""
        return read(Status, await self._api.get("/status"))

    async def me(self) -> Me:
        """Who this client is to the coordinator, and what its token opens."""
        return read(Me, await self._api.get("/me"))

    async def profiles(self) -> list[NamedProfile]:
        """The profiles that the coordinator knows by name."""
        return list(read(ProfilePage, await self._api.get("/profiles")).items)

    async def plugins(self) -> list[PluginSummary]:
        """The coordinator's own plugins, and whether they work."""
        return list(read(PluginPage, await self._api.get("/plugins")).items)

    def events(
        self,
        *,
        job_id: str | None = None,
        after: int | None = None,
        follow: bool = True,
        on_outage: OnOutage | None = None,
        patience_s: float = 0.0,
    ) -> Stream[LoggedEvent]:
        """Iterate over what happens in the cluster, in order and without gaps.

        Args:
            job_id: Only events of this job.
            after: Begin after the event of this number; None: with what happens from now on, or
                without `follow` with the oldest that is kept.
            follow: Go on for ever; else end with the newest event.
            on_outage: Told when the coordinator cannot be reached, and when it can again.
            patience_s: How long to look for a coordinator that went away before giving up.

        Raises:
            EventsGone: Events after `after` are not kept any more.
            Unreachable: The coordinator was away for longer than `patience_s`.
        """

        async def produce(stream: Stream[LoggedEvent]) -> None:
            feed = EventFeed(self._reactor, self._api, stream, job_id, after)
            if follow:
                await feed.live(Outage(patience_s, on_outage or nobody))
            else:
                await feed.kept()

        return Stream(self._reactor, produce)

    # --- webhooks ------------------------------------------------------------------------------

    async def webhooks(self, *, job_id: str | None = None) -> list[Webhook]:
        """The webhooks of all jobs, or that of one."""
        return list(read(WebhookPage, await self._api.get("/webhooks", {"job_id": job_id})).items)

    async def add_webhook(
        self, url: str, *, kinds: Sequence[str] = (), secret: str | None = None
    ) -> CreatedWebhook:
        """Have a URL told of events of all jobs; answers the webhook and its secret.

        Args:
            url: Where events are posted to.
            kinds: Kinds of events, `*` for every one; () for the coordinator's usual ones.
            secret: What they are signed with, `whsec_...`; None has one made.

        Raises:
            InvalidOption: The URL, a kind or the secret cannot be used.
            TooMany: There are as many as there may be.
            Forbidden: This client may not add webhooks.
        """
        wanted: dict[str, Any] = {"url": url}
        wanted |= {"kinds": list(kinds)} if kinds else {}
        wanted |= {"secret": secret} if secret is not None else {}
        return read(CreatedWebhook, members(await self._api.post("/webhooks", wanted)))

    async def remove_webhook(self, webhook_id: str) -> None:
        """Tell a webhook nothing more.

        Raises:
            NotFound: There is none.
        """
        await self._api.delete(f"/webhooks/{_quoted(webhook_id)}")

    async def deliveries(self, webhook_id: str) -> list[Delivery]:
        """What a webhook was and is to be told, as far as it is kept, the latest first.

        Raises:
            NotFound: There is none.
        """
        path, found = f"/webhooks/{_quoted(webhook_id)}/deliveries", list[Delivery]()
        cursor: str | None = None
        while True:
            query: Query = {"cursor": cursor, "limit": _LONGEST_PAGE}
            page = read(DeliveryPage, await self._api.get(path, query))
            found += page.items
            # A page that is empty cannot lead on, whatever it says.
            cursor = page.next_cursor if page.items else None
            if cursor is None:
                return found


def _quoted(name: str) -> str:
    """A name as one part of a path, whatever is in it."""
    return quote(name, safe="")
