"""Submitting over the REST API what the control channel has no words for: webhooks, plans."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from twisted.internet.task import deferLater

from ffcluster.client.model import members
from ffcluster.converting import to_jsonable
from ffcluster.core.model import JobRequest
from ffcluster.errors import ProtocolError, Unreachable
from ffcluster.net.api_client import ApiClient
from ffcluster.net.outage import Outage, nobody
from ffcluster.web.webhooks import WantedWebhook

_PATIENCE_S = 30.0
# What a request has that is called otherwise, or sent otherwise, over HTTP.
_ELSEWHERE = frozenset({"source_name", "server_path", "upload_id", "idempotency_key"})


def job_body(request: JobRequest) -> dict[str, Any]:
    """A request as the body of `POST /jobs` and `POST /plan`."""
    asked: dict[str, Any] = to_jsonable(request)
    where = {name: asked[name] for name in ("server_path", "upload_id") if asked[name] is not None}
    rest = {name: value for name, value in asked.items() if name not in _ELSEWHERE}
    return {"source": where, "name": request.source_name, **rest}


async def submit_told(
    reactor: Any, api: ApiClient, request: JobRequest, webhook: WantedWebhook
) -> str:
    """Have a job made, once, that a webhook is told of; answers its id.

    When the answer is lost it is asked for again, under the same key.

    Raises:
        FfclusterError: The coordinator does not accept it, and why.
    """
    wanted = {"url": webhook.url, "kinds": list(webhook.kinds)}
    wanted |= {"secret": webhook.secret} if webhook.secret is not None else {}
    body = {**job_body(request), "webhook": wanted}
    key = request.idempotency_key or secrets.token_hex(16)
    outage = Outage(_PATIENCE_S, nobody)
    while True:
        try:
            return _id_of(members(await api.post("/jobs", body, key=key)))
        except Unreachable as error:
            delay_s = outage.failed(error, reactor.seconds())
        await deferLater(reactor, delay_s)


def _id_of(job: Mapping[str, Any]) -> str:
    found = job.get("id")
    if isinstance(found, str):
        return found
    raise ProtocolError(message="The coordinator's answer is no job.")
