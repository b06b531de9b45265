"""Webhooks: URLs that are told of events as Standard Webhooks asks: signed, in order, no loss.

What a webhook is to be told is stored together with the event that causes it, and each answer
before anything else is sent to it. Owns when something is sent again, and when that ends.
"""

from __future__ import annotations

import random
import secrets
import time
from collections import deque
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import attrs
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredSemaphore,
    ensureDeferred,
)
from twisted.logger import Logger
from twisted.python.failure import Failure

from ffcluster.core.durable import Changes, DeliveryEntry, EventEntry, Saved, WebhookEntry
from ffcluster.core.events import Event, WebhookGaveUp
from ffcluster.core.model import JobId
from ffcluster.errors import FfclusterError, NotFound, TooMany
from ffcluster.net.outgoing import check_url
from ffcluster.services.webhooks.message import (
    EVERYTHING,
    UNTOLD,
    check_kinds,
    delivery_id,
    key_of,
    new_secret,
    payload,
    signed,
    told_kind,
)
from ffcluster.store.interface import JobStore
from ffcluster.web.stream import timestamp
from ffcluster.web.webhooks import CreatedWebhook, Delivery, WantedWebhook, Webhook

log = Logger()

T = TypeVar("T")

MOST_WEBHOOKS = 20
MOST_WAITING = 5000
GIVEN_UP_AFTER_S = 86_400.0
_FIRST_DELAY_S = 1.0
_LONGEST_DELAY_S = 4 * 3600.0
_TIMES_LONGER = 4.0
_JITTER = 0.2
_AT_ONCE = 16
_GONE = 410


class Ledger(Protocol):
    """Makes changes durable; see `ffcluster.services.keeping.ledger.Ledger`."""

    def put(self, changes: Changes, then: Callable[[], None]) -> None:
        """Store `changes`; call `then` when they are durable."""

    def read(self, question: Callable[[JobStore], T]) -> Deferred[T]:
        """Ask the store."""


class Sender(Protocol):
    """Sends; see `ffcluster.net.outgoing.Outgoing`."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """Post `body`; give the status of the answer, or raise an `FfclusterError`."""


@attrs.define(eq=False)
class _Line:
    """A webhook and what it is still to be told, in order.

    Attributes:
        coming: Deliveries that are being stored.
        failures: Tries in a row that failed.
        rests_until: Nothing is sent before this.
        busy: Whether something is being sent, or what came of it stored.
        removed: Whether it is no longer there.
    """

    entry: WebhookEntry
    waiting: deque[DeliveryEntry] = attrs.field(factory=deque)
    coming: int = 0
    failures: int = 0
    rests_until: float = 0.0
    busy: bool = False
    removed: bool = False
    timer: Any = None


class Webhooks:
    """All webhooks; see `ffcluster.web.webhooks.WebhookDesk`.

    Args:
        reactor: Wakes them up.
        ledger: Makes changes durable.
        sender: Sends.
        jobs: The jobs that are remembered.
        saved: What was stored.
        seconds: The coordinator's clock.
        post: Takes an event in.
        private: Whether URLs may lead into private networks.
    """

    def __init__(
        self,
        reactor: Any,
        ledger: Ledger,
        sender: Sender,
        jobs: Container[JobId],
        saved: Saved,
        *,
        seconds: Callable[[], float],
        post: Callable[[Event], None],
        private: bool = False,
    ) -> None:
        self._reactor = reactor
        self._ledger = ledger
        self._sender = sender
        self._jobs = jobs
        self._seconds = seconds
        self._post = post
        self._private = private
        self._lines: dict[str, _Line] = {}
        self._of_job: dict[JobId, _Line] = {}
        self._running = False
        self._turns = DeferredSemaphore(_AT_ONCE)
        self._sending: set[Deferred[None]] = set()
        for entry in saved.webhooks:
            self._know(entry)
        for delivery in saved.deliveries:
            line = self._lines[delivery.webhook_id]
            if not line.entry.disabled:
                line.waiting.append(delivery)
                line.failures = max(line.failures, delivery.tries)

    def begin(self) -> None:
        """Go on with what an earlier process did not send."""
        self._running = True
        for line in list(self._lines.values()):
            self._next(line)

    def stop(self) -> None:
        """Send nothing more; what waits is sent after the next start."""
        self._running = False
        for line in self._lines.values():
            _disarm(line)
        for sending in list(self._sending):
            sending.cancel()

    # --- what happens --------------------------------------------------------------------------

    def complete(self, changes: Changes) -> Changes:
        """Add what webhooks are to be told of these changes, to be stored together with them."""
        for entry in changes.webhooks:
            self._know(entry)
        if not self._lines or not changes.events:
            return changes
        told = tuple(delivery for event in changes.events for delivery in self._told(event))
        return attrs.evolve(changes, deliveries=(*changes.deliveries, *told)) if told else changes

    def _told(self, event: EventEntry) -> Iterator[DeliveryEntry]:
        if event.kind.startswith(UNTOLD):
            return
        kind = told_kind(event)
        everywhere = [line for line in self._lines.values() if line.entry.job_id is None]
        own = self._of_job.get(event.job_id) if event.job_id is not None else None
        for line in [*everywhere, own] if own is not None else everywhere:
            wanted = line.entry.kinds
            if not line.entry.disabled and {kind, event.kind, EVERYTHING} & set(wanted):
                line.coming += 1
                yield DeliveryEntry(line.entry.id, event, kind)

    def stored(self, batch: Sequence[Changes]) -> None:
        """These changes are durable now: what they tell is sent."""
        for changes in batch:
            for delivery in changes.deliveries:
                line = self._lines.get(delivery.webhook_id)
                if line is None or delivery.tries or delivery.state != "waiting":
                    continue
                line.coming -= 1
                line.waiting.append(delivery)
                if line.entry.disabled:
                    self._give_up_waiting(line, ())
                else:
                    self._next(line)
            for job_id in changes.removed_jobs:
                own = self._of_job.get(job_id)
                if own is not None:
                    self._next(own)

    # --- sending -------------------------------------------------------------------------------

    def _next(self, line: _Line) -> None:
        """Send what comes next, now or when it is time."""
        if not self._running or line.busy or line.removed:
            return
        _disarm(line)
        if len(line.waiting) > MOST_WAITING:
            self._disable(line, f"more than {MOST_WAITING} events wait to be sent")
            return
        if not line.waiting:
            self._forget_if_done(line)
            return
        head = line.waiting[0]
        due_in_s = max(head.next_at, line.rests_until) - self._seconds()
        if due_in_s > 0:
            line.timer = self._reactor.callLater(due_in_s, self._next, line)
            return
        line.busy = True
        sending = ensureDeferred(self._send(line, head))
        self._sending.add(sending)
        sending.addBoth(self._sent, sending)

    def _sent(self, result: Any, sending: Deferred[None]) -> None:
        self._sending.discard(sending)
        if isinstance(result, Failure) and not result.check(CancelledError):
            log.failure("a webhook failed", result)

    def _forget_if_done(self, line: _Line) -> None:
        """A job's own webhook goes with the job, once it was told everything."""
        job_id = line.entry.job_id
        if job_id is not None and job_id not in self._jobs and not line.coming:
            self._drop(line)
            self._ledger.put(Changes(removed_webhooks=(line.entry.id,)), lambda: None)

    async def _send(self, line: _Line, delivery: DeliveryEntry) -> None:
        status, error = None, ""
        await self._turns.acquire()
        try:
            if line.removed or not self._running:
                return
            body = payload(delivery)
            headers = signed(line.entry, delivery_id(delivery), int(time.time()), body)
            status = await self._sender.post(line.entry.url, headers, body)
            error = "" if 200 <= status < 300 else f"answered {status}"
        except FfclusterError as failed:
            error = failed.message
        except CancelledError:
            raise
        except Exception:  # noqa: BLE001 - what waits behind it would wait for ever
            log.failure("webhook {id} failed", id=line.entry.id)
            error = "it could not be sent; the coordinator's log says why"
        finally:
            self._turns.release()
        if not line.removed:
            self._answered(line, delivery, status, error)

    def _answered(
        self, line: _Line, delivery: DeliveryEntry, status: int | None, error: str
    ) -> None:
        now = self._seconds()
        tried = attrs.evolve(
            delivery, tries=delivery.tries + 1, status=status, error=error, tried_at=now
        )
        if not error:
            line.failures, line.rests_until = 0, 0.0
            self._settle(line, attrs.evolve(tried, state="delivered", next_at=0.0))
            return
        line.failures += 1
        line.rests_until = now + _delay_s(line.failures)
        log.info(
            "webhook {id} at {host}: {reason}",
            id=line.entry.id,
            host=urlsplit(line.entry.url).hostname,
            reason=error,
        )
        if status == _GONE:
            line.waiting[0] = tried
            self._disable(line, "it answered 410 Gone")
        elif now - delivery.event.at >= GIVEN_UP_AFTER_S:
            self._post(WebhookGaveUp(line.entry.id, delivery.event.number, error))
            self._settle(line, attrs.evolve(tried, state="given_up", next_at=0.0))
        else:
            self._settle(line, attrs.evolve(tried, next_at=line.rests_until))

    def _settle(self, line: _Line, delivery: DeliveryEntry) -> None:
        """Write down what came of a try, and only then go on."""
        if delivery.state == "waiting":
            line.waiting[0] = delivery
        else:
            line.waiting.popleft()
        self._ledger.put(Changes(deliveries=(delivery,)), lambda: self._go_on(line))

    def _go_on(self, line: _Line) -> None:
        line.busy = False
        self._next(line)

    def _disable(self, line: _Line, reason: str) -> None:
        """Send nothing more to a webhook, whatever waits."""
        log.warn("webhook {id} is disabled: {reason}", id=line.entry.id, reason=reason)
        line.entry = attrs.evolve(line.entry, disabled=reason)
        self._give_up_waiting(line, (line.entry,))
        self._post(WebhookGaveUp(line.entry.id, None, reason))

    def _give_up_waiting(self, line: _Line, entries: tuple[WebhookEntry, ...]) -> None:
        ended = tuple(attrs.evolve(d, state="given_up", next_at=0.0) for d in line.waiting)
        line.waiting.clear()
        changes = Changes(webhooks=entries, deliveries=ended)
        self._ledger.put(changes, lambda: self._go_on(line))

    # --- who is told ---------------------------------------------------------------------------

    def _know(self, entry: WebhookEntry) -> _Line:
        line = self._lines[entry.id] = _Line(entry)
        if entry.job_id is not None:
            self._of_job[entry.job_id] = line
        return line

    def _drop(self, line: _Line) -> None:
        line.removed = True
        line.waiting.clear()
        _disarm(line)
        del self._lines[line.entry.id]
        if line.entry.job_id is not None:
            self._of_job.pop(line.entry.job_id, None)

    def for_job(self, wanted: WantedWebhook, job_id: JobId) -> WebhookEntry:
        """A new job's own webhook, to be stored together with the job; see `complete`.

        Raises:
            InvalidOption: Its URL, a kind or its secret cannot be used.
        """
        return self._entry(wanted, wanted.secret or "", job_id)

    def _entry(self, wanted: WantedWebhook, secret: str, job_id: JobId | None) -> WebhookEntry:
        check_url(wanted.url, private=self._private)
        check_kinds(wanted.kinds)
        if secret:
            key_of(secret)
        return WebhookEntry(
            id=f"wh_{secrets.token_hex(8)}",
            url=wanted.url,
            secret=secret,
            kinds=tuple(dict.fromkeys(wanted.kinds)),
            created_at=self._seconds(),
            job_id=job_id,
        )

    async def create(self, wanted: WantedWebhook) -> CreatedWebhook:
        """See `WebhookDesk.create`."""
        if len(self.listed(None)) >= MOST_WEBHOOKS:
            raise TooMany(
                message=f"There are {MOST_WEBHOOKS} webhooks already.", advice="Remove one first."
            )
        entry = self._entry(wanted, wanted.secret or new_secret(), None)
        line = self._know(entry)
        await self._durable(Changes(webhooks=(entry,)))
        return CreatedWebhook(_shown(line), entry.secret)

    def listed(self, job_id: JobId | None) -> tuple[Webhook, ...]:
        """See `WebhookDesk.listed`."""
        return tuple(_shown(line) for line in self._lines.values() if line.entry.job_id == job_id)

    def show(self, webhook_id: str) -> Webhook:
        """See `WebhookDesk.show`."""
        return _shown(self._line(webhook_id))

    async def remove(self, webhook_id: str) -> None:
        """See `WebhookDesk.remove`."""
        self._drop(self._line(webhook_id))
        await self._durable(Changes(removed_webhooks=(webhook_id,)))

    async def deliveries(
        self, webhook_id: str, before: int | None, limit: int
    ) -> tuple[Delivery, ...]:
        """See `WebhookDesk.deliveries`."""
        self._line(webhook_id)
        below = 2**62 if before is None else before
        rows = await self._ledger.read(lambda store: store.deliveries(webhook_id, below, limit))
        return tuple(_delivery_shown(row) for row in rows)

    def _line(self, webhook_id: str) -> _Line:
        line = self._lines.get(webhook_id)
        if line is None:
            raise NotFound(message=f"There is no webhook {webhook_id[:80]}.")
        return line

    def _durable(self, changes: Changes) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self._ledger.put(changes, lambda: done.callback(None))
        return done


def _delay_s(failures: int) -> float:
    delay_s = min(_LONGEST_DELAY_S, _FIRST_DELAY_S * _TIMES_LONGER ** min(failures - 1, 20))
    # Many that were sent at one time are not sent again at one time.
    return delay_s * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - no secret


def _disarm(line: _Line) -> None:
    if line.timer is not None and line.timer.active():
        line.timer.cancel()
    line.timer = None


def _shown(line: _Line) -> Webhook:
    entry = line.entry
    return Webhook(
        id=entry.id,
        url=entry.url,
        kinds=entry.kinds,
        job_id=entry.job_id,
        signed=bool(entry.secret),
        disabled=entry.disabled,
        waiting=len(line.waiting),
        created_at=timestamp(entry.created_at),
    )


def _delivery_shown(delivery: DeliveryEntry) -> Delivery:
    waits = delivery.state == "waiting" and delivery.next_at
    return Delivery(
        id=delivery_id(delivery),
        event=delivery.event.number,
        kind=delivery.kind,
        at=timestamp(delivery.event.at),
        state=delivery.state,
        tries=delivery.tries,
        status=delivery.status,
        error=delivery.error,
        tried_at=None if delivery.tried_at is None else timestamp(delivery.tried_at),
        next_at=timestamp(delivery.next_at) if waits else None,
    )
