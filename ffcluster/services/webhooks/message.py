"""What a webhook is sent: kinds of events, the message and its signature. Sends nothing.

Follows the specification of Standard Webhooks, version 1 of its symmetric signatures.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence

import orjson

from ffcluster.converting import in_words
from ffcluster.core.durable import DeliveryEntry, EventEntry, WebhookEntry
from ffcluster.core.job import JobState
from ffcluster.core.kinds import KINDS
from ffcluster.errors import InvalidOption
from ffcluster.web.stream import timestamp

EVERYTHING = "*"
STATE_KINDS = {
    state.value: "job." + re.sub(r"(?<=[a-z])(?=[A-Z])", "_", state.value).lower()
    for state in JobState
}
# What tells of a webhook is told to none: it would never end.
UNTOLD = "webhook."
_TELLABLE = frozenset(
    {kind for kind in KINDS if not kind.startswith(UNTOLD)} | {*STATE_KINDS.values(), EVERYTHING}
)


def told_kind(event: EventEntry) -> str:
    """What a webhook is told that an event is: each state of a job has a kind of its own."""
    if event.kind != "job.state":
        return event.kind
    return STATE_KINDS.get(str(dict(event.data).get("state")), event.kind)


def delivery_id(delivery: DeliveryEntry) -> str:
    """What names a delivery to its receiver: the same for every try."""
    return f"msg_{delivery.webhook_id.removeprefix('wh_')}_{delivery.event.number}"


def payload(delivery: DeliveryEntry) -> bytes:
    """What is posted: the same bytes for every try."""
    event = delivery.event
    about = {"job_id": event.job_id, "worker_id": event.worker_id, "epoch": event.epoch}
    named = {name: value for name, value in about.items() if value is not None}
    data = {"number": event.number, **named, **dict(event.data)}
    return orjson.dumps(
        in_words({"type": delivery.kind, "timestamp": timestamp(event.at), "data": data})
    )


def signed(webhook: WebhookEntry, message_id: str, sent_at: int, body: bytes) -> dict[str, str]:
    """The headers of a message; see the specification of Standard Webhooks, "Signature scheme"."""
    headers = {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(sent_at),
    }
    if webhook.secret:
        content = b"%s.%d.%s" % (message_id.encode(), sent_at, body)
        digest = hmac.new(key_of(webhook.secret), content, hashlib.sha256).digest()
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers


def new_secret() -> str:
    """A secret to sign with."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def key_of(secret: str) -> bytes:
    """The bytes of a secret.

    Raises:
        InvalidOption: It is not one.
    """
    prefix, _, text = secret.partition("_")
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if prefix != "whsec" or not 24 <= len(key) <= 64:
        raise InvalidOption(
            message="A secret is whsec_ and base64 of 24 to 64 bytes.", option="secret"
        )
    return key


def check_kinds(kinds: Sequence[str]) -> None:
    """Refuse kinds that nobody can be told of.

    Raises:
        InvalidOption: Naming the first of them.
    """
    unknown = [kind for kind in kinds if kind not in _TELLABLE]
    if unknown or not kinds:
        known = ", ".join(sorted(_TELLABLE))
        wrong = f"{unknown[0][:40]!r} is no kind of event" if unknown else "No kind is given"
        raise InvalidOption(message=f"{wrong}.", advice=f"Known: {known}.", option="kinds")
