"""Webhooks: told in order, at least once, whatever the receiver answers."""

from __future__ import annotations

import base64
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase

from ffcluster.core.durable import Changes, DeliveryEntry, EventEntry, WebhookEntry
from ffcluster.core.events import WebhookGaveUp
from ffcluster.core.model import JobId
from ffcluster.errors import InvalidOption, NotFound, TooMany, Unreachable
from ffcluster.net.outgoing import Outgoing
from ffcluster.services.keeping.ledger import Ledger
from ffcluster.services.webhooks import outbox as module
from ffcluster.services.webhooks.message import payload, signed
from ffcluster.services.webhooks.outbox import GIVEN_UP_AFTER_S, MOST_WEBHOOKS, Webhooks
from ffcluster.store.opening import open_store
from ffcluster.web.webhooks import USUAL_KINDS, WantedWebhook
from tests.integration.media_case import asynchronous
from tests.services.receiver import SECRET, Receiver, is_signed

A = JobId("a")


def state_event(number: int, state: str = "Completed", job_id: JobId = A) -> EventEntry:
    return EventEntry(number, 100.0, "job.state", job_id, data=(("state", state), ("reason", "")))


def test_signature_is_that_of_the_specification() -> None:
    hook = WebhookEntry("wh_1", "https://example.org", SECRET, USUAL_KINDS, 1.0)
    headers = signed(hook, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    # From the test vectors of the reference libraries.
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert is_signed(SECRET, headers, b'{"test": 2432232314}')
    assert not is_signed(SECRET, headers, b'{"test": 2432232315}')


def test_payload_names_what_it_is_about_and_survives_any_name() -> None:
    event = attrs.evolve(state_event(7), data=(("source_name", "\udc80.mkv"),))
    assert payload(DeliveryEntry("wh_1", event, "job.completed")) == (
        b'{"type":"job.completed","timestamp":"1970-01-01T00:01:40.000Z",'
        b'"data":{"number":7,"job_id":"a","source_name":"?.mkv"}}'
    )


def test_pauses_grow_up_to_four_hours_and_differ() -> None:
    for failures in (1, 2, 5, 9, 10_000):
        usual_s = min(4.0 ** min(failures - 1, 50), 4 * 3600.0)
        pauses = [module._delay_s(failures) for _ in range(50)]
        assert all(0.8 * usual_s <= pause <= 1.2 * usual_s for pause in pauses)
        assert len(set(pauses)) > 1


class WebhooksCase(TestCase):
    timeout = 60

    def setUp(self) -> Deferred[None]:
        self.directory = Path(tempfile.mkdtemp(prefix="ffcluster-test-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.clock = Clock()
        self.clock.advance(100.0)
        self.jobs = {A}
        self.notes: list[WebhookGaveUp] = []
        self.receiver = Receiver()
        self.addCleanup(self.receiver.close)
        self.sender: Any = Outgoing(reactor, private=True)
        return Deferred.fromCoroutine(self.start())

    async def start(self) -> None:
        """Begin as a new process does."""
        self.ledger = Ledger(open_store("sqlite:///jobs.db", self.directory), reactor)
        saved = await self.ledger.open()
        self.webhooks = Webhooks(
            self.clock, self.ledger, self.sender, self.jobs, saved,
            seconds=self.clock.seconds, post=self.notes.append, private=True,  # type: ignore[arg-type]
        )  # fmt: skip
        self.ledger.listen(self.webhooks.stored)
        self.webhooks.begin()
        self.addCleanup(lambda ledger=self.ledger: Deferred.fromCoroutine(ledger.close()))
        self.addCleanup(self.webhooks.stop)

    async def restart(self) -> None:
        self.webhooks.stop()
        await self.ledger.close()
        await self.start()

    async def until(self, happened: Callable[[], object]) -> None:
        while not happened():
            await deferLater(reactor, 0.005, lambda: None)  # type: ignore[arg-type]

    async def after_pause(self, happened: Callable[[], object]) -> None:
        """Let waiting times pass until something is so."""
        while not happened():
            self.clock.advance(1.0)
            await deferLater(reactor, 0.005, lambda: None)  # type: ignore[arg-type]

    def put(self, *events: EventEntry, **changes: Any) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        told = self.webhooks.complete(Changes(events=events, **changes))
        self.ledger.put(told, lambda: done.callback(None))
        return done

    async def hook(self, *kinds: str) -> str:
        wanted = WantedWebhook(self.receiver.url, kinds or USUAL_KINDS, SECRET)
        return (await self.webhooks.create(wanted)).webhook.id

    async def states(self, webhook_id: str) -> list[str]:
        rows = await self.webhooks.deliveries(webhook_id, None, 500)
        return [row.state for row in reversed(rows)]

    def tries(self, webhook_id: str) -> int:
        """How often what comes next was sent."""
        return self.webhooks._lines[webhook_id].waiting[0].tries

    # --- telling -------------------------------------------------------------------------------

    @asynchronous
    async def test_only_wanted_kinds_are_told_and_signed(self) -> None:
        hook = await self.hook()
        await self.put(
            state_event(1, "WaitingForClients"), state_event(2), EventEntry(3, 1.0, "worker.left")
        )
        await self.put(state_event(4, "Failed"))
        await self.until(lambda: not self.webhooks.show(hook).waiting)
        (name, first, _), (other, second, _) = self.receiver.got
        assert (first["type"], second["type"]) == ("job.completed", "job.failed")
        assert name.endswith("_2")
        assert other.endswith("_4")
        await self.ledger.idle()
        assert await self.states(hook) == ["delivered", "delivered"]

    @asynchronous
    async def test_every_kind_but_those_about_webhooks(self) -> None:
        await self.hook("*")
        states = ["Queued", "WaitingForClients"]
        await self.put(*(state_event(n, state) for n, state in enumerate(states, 1)))
        await self.put(EventEntry(3, 1.0, "webhook.given_up"), EventEntry(4, 1.0, "worker.left"))
        await self.until(lambda: len(self.receiver.got) == 3)
        kinds = [message["type"] for _, message, _ in self.receiver.got]
        assert kinds == ["job.queued", "job.waiting_for_clients", "worker.left"]

    @asynchronous
    async def test_failures_are_tried_again_in_order_with_the_same_bytes(self) -> None:
        self.receiver.statuses = [500, 302, 429, 200]
        hook = await self.hook()
        await self.put(state_event(1), state_event(2))
        await self.until(lambda: self.tries(hook) == 1)
        await self.ledger.idle()
        assert await self.states(hook) == ["waiting", "waiting"]
        await self.after_pause(lambda: len(self.receiver.got) == 5)
        assert self.receiver.numbers() == [1, 1, 1, 1, 2]
        assert len({name for name, _, _ in self.receiver.got}) == 2
        assert len(set(self.receiver.bodies)) == 2
        # 1 s, 4 s and 16 s, each a fifth more or less.
        assert self.clock.seconds() >= 100 + 0.8 * 21
        assert self.notes == []

    @asynchronous
    async def test_what_waits_outlives_the_process(self) -> None:
        self.receiver.statuses = [503, 503]
        hook = await self.hook()
        await self.put(state_event(1), state_event(2), state_event(3))
        await self.until(lambda: self.tries(hook) == 1)
        await self.ledger.idle()
        await self.restart()
        assert self.webhooks.show(hook).waiting == 3
        await self.after_pause(lambda: not self.webhooks.show(hook).waiting)
        assert self.receiver.numbers() == [1, 1, 1, 2, 3]
        await self.ledger.idle()
        await self.restart()
        assert self.webhooks.show(hook).waiting == 0
        assert await self.states(hook) == ["delivered"] * 3

    @asynchronous
    async def test_given_up_after_a_day_with_a_note(self) -> None:
        self.receiver.statuses = [500]
        hook = await self.hook()
        self.clock.advance(GIVEN_UP_AFTER_S)
        await self.put(state_event(1), attrs.evolve(state_event(2), at=self.clock.seconds()))
        await self.after_pause(lambda: not self.webhooks.show(hook).waiting)
        assert self.notes == [WebhookGaveUp(hook, 1, "answered 500")]
        await self.ledger.idle()
        assert await self.states(hook) == ["given_up", "delivered"]

    @asynchronous
    async def test_gone_disables(self) -> None:
        self.receiver.statuses = [410]
        hook = await self.hook()
        await self.put(state_event(1), state_event(2))
        await self.until(lambda: self.notes)
        await self.put(state_event(3))
        await self.ledger.idle()
        assert self.notes == [WebhookGaveUp(hook, None, "it answered 410 Gone")]
        assert await self.states(hook) == ["given_up", "given_up"]
        await self.restart()
        assert "410" in self.webhooks.show(hook).disabled
        assert len(self.receiver.got) == 1

    @asynchronous
    async def test_too_much_that_waits_disables(self) -> None:
        self.patch(module, "MOST_WAITING", 3)
        self.receiver.statuses = [500]
        hook = await self.hook()
        await self.put(*(state_event(number) for number in range(1, 6)))
        await self.after_pause(lambda: self.notes)
        await self.ledger.idle()
        assert set(await self.states(hook)) == {"given_up"}

    @asynchronous
    async def test_what_breaks_while_it_is_sent_is_a_try_that_failed(self) -> None:
        class Broken:
            async def post(self, *_: Any) -> int:
                raise ZeroDivisionError

        self.webhooks._sender = Broken()
        hook = await self.hook()
        await self.put(state_event(1))
        await self.until(lambda: self.tries(hook) == 1)
        await self.ledger.idle()
        (delivery,) = await self.webhooks.deliveries(hook, None, 1)
        assert delivery.error == "it could not be sent; the coordinator's log says why"
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1
        self.webhooks._sender = self.sender
        await self.after_pause(lambda: self.receiver.got)

    # --- who is told ---------------------------------------------------------------------------

    @asynchronous
    async def test_a_job_has_its_own_webhook_which_goes_with_it_when_all_was_told(self) -> None:
        wanted = WantedWebhook(self.receiver.url, ("job.state", "job.removed"), SECRET)
        entry = self.webhooks.for_job(wanted, A)
        self.receiver.statuses = [500]
        await self.put(state_event(1, "Queued"), webhooks=(entry,))
        await self.put(state_event(2, "Queued", JobId("b")))
        self.jobs.clear()
        await self.put(EventEntry(3, 100.0, "job.removed", A), removed_jobs=(A,))
        assert self.webhooks.listed(None) == ()
        assert [hook.id for hook in self.webhooks.listed(A)] == [entry.id]
        await self.after_pause(lambda: not self.webhooks.listed(A))
        assert self.receiver.numbers() == [1, 1, 3]
        await self.restart()
        assert self.webhooks.listed(A) == ()

    @asynchronous
    async def test_removed_webhook_is_told_nothing_more(self) -> None:
        self.receiver.statuses = [500]
        hook = await self.hook()
        await self.put(state_event(1))
        await self.until(lambda: self.receiver.got)
        await self.webhooks.remove(hook)
        await self.put(state_event(2))
        self.clock.advance(100)
        await self.restart()
        assert (self.webhooks.listed(None), len(self.receiver.got)) == ((), 1)
        with pytest.raises(NotFound):
            self.webhooks.show(hook)
        with pytest.raises(NotFound):
            await self.webhooks.remove(hook)

    @asynchronous
    async def test_secret_is_shown_once(self) -> None:
        made = await self.webhooks.create(WantedWebhook("https://example.org/hook"))
        assert len(base64.b64decode(made.secret.removeprefix("whsec_"))) == 32
        (entry,) = (line.entry for line in self.webhooks._lines.values())
        for shown in (repr(made), repr(entry), repr(self.webhooks.listed(None))):
            assert made.secret not in shown
        assert made.webhook.signed
        unsigned = self.webhooks.for_job(WantedWebhook("https://example.org"), A)
        assert unsigned.secret == ""

    @asynchronous
    async def test_what_cannot_be_used_is_refused(self) -> None:
        url = "https://example.org"
        for wanted in (
            WantedWebhook("ftp://example.org"),
            WantedWebhook(url, ("job.done",)),
            WantedWebhook(url, ()),
            WantedWebhook(url, ("webhook.disabled",)),
            WantedWebhook(url, secret="no secret"),
            WantedWebhook(url, secret="whsec_c2hvcnQ="),
            WantedWebhook(url, secret="whsec_" + "!" * 40),
        ):
            with pytest.raises(InvalidOption) as refused:
                await self.webhooks.create(wanted)
            assert not wanted.secret or wanted.secret not in str(refused.value)
        for _ in range(MOST_WEBHOOKS):
            await self.webhooks.create(WantedWebhook(url))
        with pytest.raises(TooMany):
            await self.webhooks.create(WantedWebhook(url))

    @asynchronous
    async def test_who_does_not_answer_is_tried_again(self) -> None:
        class Nobody:
            async def post(self, *_: Any) -> int:
                raise Unreachable(message="no answer within 15 s")

        self.webhooks._sender = Nobody()
        hook = await self.hook()
        await self.put(state_event(1))
        await self.until(lambda: self.tries(hook) == 1)
        (delivery,) = await self.webhooks.deliveries(hook, None, 1)
        assert (delivery.state, delivery.error) == ("waiting", "no answer within 15 s")
        self.webhooks._sender = self.sender
        await self.after_pause(lambda: self.receiver.got)
