"""The one loop: effects wait for what their events changed, and keep their order."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import attrs
import pytest
from twisted.internet.task import Clock

from ffcluster.core.cluster import ClusterState
from ffcluster.core.durable import (
    Changes,
    DeliveryEntry,
    EventEntry,
    JobEntry,
    KeyEntry,
    WebhookEntry,
)
from ffcluster.core.effects import Effect, IndexSource, JobChanged
from ffcluster.core.events import Event, JobCancelled, JobSubmitted, Ticked
from ffcluster.core.model import JobId, JobSpec, Source
from ffcluster.core.profile import Container, Profile
from ffcluster.services.clock import CoordinatorClock, keep_steady
from ffcluster.services.coordinator.loop import DecisionLoop

A, B = JobId("a"), JobId("b")
SPEC = JobSpec(Profile(), Container.MKV, "film.mkv", "film.mkv")
HOOK = WebhookEntry("wh_1", "https://example.org/", "", ("*",), 1.0, A)
KEY = KeyEntry("mine", "0" * 64, A, 1.0)


def entry(job_id: JobId) -> JobEntry:
    return JobEntry(job_id, SPEC, Source("/films/a.mkv"), "Queued", 0.0)


@attrs.define(eq=False)
class FakeState(ClusterState):
    """Answers with the effects and changes that a test prepared for an event."""

    answers: dict[Event, tuple[Sequence[Effect], Changes]] = attrs.field(factory=dict)
    handled: list[tuple[Event, float]] = attrs.field(factory=list)
    changes: Changes = attrs.field(factory=Changes)
    wake: float | None = None

    def handle(self, event: Event, now: float) -> tuple[Effect, ...]:
        self.handled.append((event, now))
        effects, self.changes = self.answers.get(event, ((), Changes()))
        return tuple(effects)

    def resume(self, now: float) -> tuple[Effect, ...]:
        return (IndexSource(A),)

    def take_changes(self) -> Changes:
        changes, self.changes = self.changes, Changes()
        return changes

    def next_wake(self, now: float) -> float | None:
        return self.wake


@attrs.define(eq=False)
class SlowWriter:
    """Stores nothing until it is told to; without anything outstanding it is done at once."""

    waiting: list[tuple[Changes, Callable[[], None]]] = attrs.field(factory=list)

    def put(self, changes: Changes, then: Callable[[], None]) -> None:
        if changes or self.waiting:
            self.waiting.append((changes, then))
        else:
            then()

    def store(self) -> Changes:
        changes, then = self.waiting.pop(0)
        then()
        return changes


@attrs.define(eq=False)
class Bench:
    clock: Clock = attrs.field(factory=Clock)
    state: FakeState = attrs.field(factory=FakeState)
    writer: SlowWriter = attrs.field(factory=SlowWriter)
    done: list[Effect] = attrs.field(factory=list)
    loop: DecisionLoop = attrs.field(init=False)
    react: Callable[[Effect], None] = lambda effect: None

    def __attrs_post_init__(self) -> None:
        clock = CoordinatorClock(self.clock, wall=lambda: 1000.0)
        self.loop = DecisionLoop(self.clock, clock, self.state, self.writer, self._carry_out)

    def _carry_out(self, effect: Effect) -> None:
        self.done.append(effect)
        self.react(effect)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_effect_waits_until_what_its_event_changed_is_stored(bench: Bench) -> None:
    submitted = JobSubmitted(A, SPEC)
    bench.state.answers[submitted] = [IndexSource(A)], Changes(jobs=(entry(A),))
    bench.loop.post(submitted)
    assert bench.done == []
    bench.writer.store()
    assert bench.done == [IndexSource(A)]


def test_event_without_changes_acts_at_once_when_nothing_is_outstanding(bench: Bench) -> None:
    bench.state.answers[Ticked()] = [JobChanged(A)], Changes()
    bench.loop.post(Ticked())
    assert bench.done == [JobChanged(A)]


def test_event_without_changes_waits_for_those_before_it(bench: Bench) -> None:
    submitted = JobSubmitted(A, SPEC)
    bench.state.answers[submitted] = [IndexSource(A)], Changes(jobs=(entry(A),))
    bench.state.answers[Ticked()] = [JobChanged(A)], Changes()
    bench.loop.post(submitted)
    bench.loop.post(Ticked())
    assert bench.done == []
    bench.writer.store()
    bench.writer.store()
    assert bench.done == [IndexSource(A), JobChanged(A)]


def test_event_that_an_effect_causes_is_handled_after_the_effects_in_hand(bench: Bench) -> None:
    bench.state.answers[Ticked()] = [IndexSource(A), IndexSource(B)], Changes()
    bench.state.answers[JobCancelled(A)] = [JobChanged(A)], Changes()
    bench.react = lambda effect: (
        bench.loop.post(JobCancelled(A)) if effect == IndexSource(A) else None
    )
    bench.loop.post(Ticked())
    assert bench.done == [IndexSource(A), IndexSource(B), JobChanged(A)]


def test_event_that_a_late_effect_causes_keeps_the_order_too(bench: Bench) -> None:
    submitted = JobSubmitted(A, SPEC)
    bench.state.answers[submitted] = (
        [IndexSource(A), IndexSource(B)], Changes(jobs=(entry(A),)),
    )  # fmt: skip
    bench.state.answers[JobCancelled(A)] = [JobChanged(A)], Changes()
    bench.react = lambda effect: (
        bench.loop.post(JobCancelled(A)) if effect == IndexSource(A) else None
    )
    bench.loop.post(submitted)
    bench.writer.store()
    assert bench.done == [IndexSource(A), IndexSource(B), JobChanged(A)]


def test_who_waits_for_an_event_is_told_when_its_effects_have_begun(bench: Bench) -> None:
    submitted = JobSubmitted(A, SPEC)
    bench.state.answers[submitted] = [IndexSource(A)], Changes(jobs=(entry(A),))
    told: list[list[Effect]] = []
    bench.loop.settled(submitted).addCallback(lambda _: told.append(list(bench.done)))
    assert told == []
    bench.writer.store()
    assert told == [[IndexSource(A)]]


def test_idempotency_key_is_stored_together_with_its_job(bench: Bench) -> None:
    submitted = JobSubmitted(A, SPEC)
    bench.state.answers[submitted] = [IndexSource(A)], Changes(jobs=(entry(A),))
    bench.loop.settled(submitted, [KEY])
    assert bench.writer.store() == Changes(jobs=(entry(A),), keys=(KEY,))


def test_what_completes_changes_is_stored_together_with_them() -> None:
    bench = Bench()
    state, writer = bench.state, bench.writer
    event = EventEntry(1, 1.0, "job.state", A)
    told = DeliveryEntry("wh_1", event, "job.queued")
    seen: list[Changes] = []

    def complete(changes: Changes) -> Changes:
        seen.append(changes)
        return attrs.evolve(changes, deliveries=(told,))

    clock = CoordinatorClock(bench.clock, wall=lambda: 1000.0)
    loop = DecisionLoop(bench.clock, clock, state, writer, bench.done.append, complete)
    state.answers[JobCancelled(A)] = [JobChanged(A)], Changes(events=(event,))
    loop.settled(JobCancelled(A), [KEY], [HOOK])
    assert seen == [Changes(events=(event,), keys=(KEY,), webhooks=(HOOK,))]
    assert writer.store() == attrs.evolve(seen[0], deliveries=(told,))
    assert bench.done == [JobChanged(A)]


def test_effect_that_breaks_does_not_keep_the_others_from_being_carried_out(bench: Bench) -> None:
    bench.state.answers[Ticked()] = [IndexSource(A), IndexSource(B)], Changes()

    def break_once(effect: Effect) -> None:
        if effect == IndexSource(A):
            raise KeyError("gone")

    bench.react = break_once
    bench.loop.post(Ticked())
    assert bench.done == [IndexSource(A), IndexSource(B)]


def test_nothing_is_taken_in_and_nothing_acts_after_the_end(bench: Bench) -> None:
    submitted = JobSubmitted(A, SPEC)
    bench.state.answers[submitted] = [IndexSource(A)], Changes(jobs=(entry(A),))
    bench.loop.post(submitted)
    bench.loop.stop()
    bench.writer.store()
    bench.loop.post(Ticked())
    assert bench.done == []
    assert len(bench.state.handled) == 1
    assert not bench.clock.getDelayedCalls()


def test_loop_wakes_when_the_next_thing_is_due(bench: Bench) -> None:
    bench.state.wake = 1007.0
    bench.loop.post(Ticked())
    bench.state.wake = None
    bench.clock.advance(6.9)
    assert len(bench.state.handled) == 1
    bench.clock.advance(0.1)
    assert bench.state.handled[1:] == [(Ticked(), 1007.0)]


def test_what_was_restored_is_taken_up_first(bench: Bench) -> None:
    bench.loop.begin()
    assert bench.done == [IndexSource(A)]


def test_clock_never_says_less_than_what_was_stored() -> None:
    reactor = Clock()
    clock = CoordinatorClock(reactor, stored_s=5000.0, wall=lambda: 1000.0)
    assert clock.seconds() == 5000.0
    reactor.advance(2.5)
    assert clock.seconds() == 5002.5


def test_reactor_that_is_kept_steady_does_not_ask_the_wall_clock() -> None:
    reactor = Clock()
    keep_steady(reactor)
    assert reactor.seconds is time.monotonic
