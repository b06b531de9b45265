"""Batches: what is merged leaves the same in a store as every change by itself."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ffcluster.core.durable import Changes, Counters
from ffcluster.core.model import JobId, WorkerId
from ffcluster.store.batching import Batch
from tests.store.entries import job, segment
from tests.store.store_contract import attempt, delivery, event, key, webhook, worker

_NAMES = st.sampled_from("ab")


def batch_of(*changes: Changes) -> Batch:
    batch = Batch()
    for one in changes:
        batch.add(one)
    return batch


def effect(*changes: Changes) -> dict[str, Any]:
    """What a store that applied `changes` would hold: a model of one, in memory."""
    held: dict[str, dict[Any, Any]] = {
        name: {} for name in ("jobs", "segments", "workers", "events", "keys", "attempts")
    }
    held |= {"webhooks": {}, "deliveries": {}}
    counters = None
    for one in changes:
        for entry in one.jobs:
            held["jobs"][entry.id] = entry
        for part in one.segments:
            held["segments"][part.job_id, part.frames.first] = part
        for person in one.workers:
            held["workers"][person.id] = person
        for happening in one.events:
            held["events"][happening.number] = happening
        for name in one.keys:
            held["keys"][name.key] = name
        for tried in one.attempts:
            held["attempts"][tried.epoch] = tried
        for hook in one.webhooks:
            held["webhooks"][hook.id] = hook
        for told in one.deliveries:
            held["deliveries"][told.webhook_id, told.event.number] = told
        counters = one.counters or counters
        for identity in one.removed_segments:
            held["segments"].pop(identity, None)
        for worker_id in one.removed_workers:
            held["workers"].pop(worker_id, None)
        for hook_id in one.removed_webhooks:
            held["webhooks"].pop(hook_id, None)
            left = {k: v for k, v in held["deliveries"].items() if v.webhook_id != hook_id}
            held["deliveries"] = left
        for job_id in one.removed_jobs:
            held["jobs"].pop(job_id, None)
            for name_of in ("segments", "keys", "attempts"):
                rows = held[name_of]
                held[name_of] = {k: v for k, v in rows.items() if v.job_id != job_id}
    return held | {"counters": counters}


@st.composite
def change(draw: st.DrawFn) -> Changes:
    """A few entries and removals; entries that belong to a job come with that job."""
    name, other = draw(_NAMES), draw(_NAMES)
    number = draw(st.integers(0, 3))
    drawn: dict[str, Any] = {
        "jobs": (job(name, at=float(number)),),
        "segments": tuple(
            segment(name, first, tried=number) for first in range(0, number * 10, 10)
        ),
        "attempts": (attempt(name, number + 1, started_at=float(number)),),
        "workers": (worker(other),),
        "events": (event(number, other),),
        "keys": (key(other, name, float(number)),),
        "webhooks": (webhook(other),),
        "deliveries": (delivery(other, number),),
        "removed_webhooks": (name,),
        "counters": Counters(number + 1, 1),
        "removed_jobs": (JobId(other),),
        "removed_workers": (WorkerId(name),),
        "removed_segments": ((JobId(other), 10 * number),),
    }
    chosen = draw(st.sets(st.sampled_from(sorted(drawn)), max_size=4))
    if chosen & {"segments", "attempts", "keys"}:
        chosen.add("jobs")
    if "deliveries" in chosen:
        chosen.add("webhooks")
    return Changes(**{field: drawn[field] for field in chosen})


@given(st.lists(change(), max_size=8))
def test_merged_changes_have_the_effect_of_all_in_order(changes: list[Changes]) -> None:
    assert effect(*batch_of(*changes).changes()) == effect(*changes)


def test_empty_batch_has_nothing_to_store() -> None:
    assert not Batch()
    assert not batch_of(Changes())
    assert batch_of(Changes()).changes() == ()
    assert batch_of(Changes(counters=Counters()))


def test_only_the_last_of_one_identity_is_kept() -> None:
    batch = batch_of(
        *(Changes(jobs=(job("a", at=float(n)),), events=(event(n),)) for n in range(100))
    )
    (merged,) = batch.changes()
    assert merged.jobs == (job("a", at=99.0),)
    assert [one.number for one in merged.events] == list(range(100))


def test_removal_and_what_comes_anew_under_its_name_stay_in_order() -> None:
    removal = Changes(removed_jobs=(JobId("a"),))
    first, second = batch_of(removal, Changes(jobs=(job("a"),))).changes()
    assert first == removal
    assert second == Changes(jobs=(job("a"),))


def test_what_still_arrives_of_a_removed_job_is_removed_with_it() -> None:
    batch = batch_of(
        Changes(jobs=(job("a"),)),
        Changes(removed_jobs=(JobId("a"),)),
        Changes(attempts=(attempt("a", 1),)),
    )
    (merged,) = batch.changes()
    assert merged.attempts == (attempt("a", 1),)
    assert merged.removed_jobs == (JobId("a"),)
