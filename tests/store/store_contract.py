"""What every store must do; inherited by the tests of each."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import attrs
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from ffcluster.core.durable import (
    AttemptEnd,
    AttemptEntry,
    Changes,
    Counters,
    DeliveryEntry,
    EventEntry,
    KeyEntry,
    Saved,
    ShareEntry,
    TokenEntry,
    WebhookEntry,
    WorkerEntry,
)
from ffcluster.core.model import Capability, Epoch, JobId, WorkerId
from ffcluster.core.profile import Codec
from ffcluster.core.timeline import FrameRange
from ffcluster.core.worker import WorkerFacts
from ffcluster.errors import Conflict, StoreDamaged, StoreFailed, StoreTooNew
from ffcluster.store.copying import copy_store
from ffcluster.store.database import Database
from ffcluster.store.documents import latest_time
from ffcluster.store.migrating import MIGRATIONS, Migration, version_of, write_meta
from ffcluster.store.opening import open_store
from ffcluster.store.relational import RelationalStore
from tests.store.entries import everything, job, segment

X264 = Capability("libx264", Codec.H264)
FULL = settings(
    max_examples=10,
    # A database is too slow to look for the smallest example.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    # Each example clears its place, and any example suits every store.
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.differing_executors,
        HealthCheck.too_slow,
    ],
)
# Opens the store that it is told, and makes transactions until it is killed.
WRITER = """
import sys
from pathlib import Path
from ffcluster.core.durable import Changes, Counters
from ffcluster.store.opening import open_store
from tests.store.entries import job, segment

store = open_store(sys.argv[1], Path("."))
store.open()
number = store.load().counters.next_epoch
while True:
    name = f"job{number}"
    number += 1
    store.apply([
        Changes(jobs=(job(name),)),
        Changes(
            segments=tuple(segment(name, first) for first in (0, 10, 20)),
            counters=Counters(number, 1),
        ),
    ])
    print(number, flush=True)
"""


class Place(Protocol):
    """Where a database may be made."""

    url: str

    def database(self) -> Database:
        """Another connection to it."""

    def clear(self) -> None:
        """Remove all that is in it."""


def attempt(name: str, epoch: int, **fields: Any) -> AttemptEntry:
    return AttemptEntry(
        Epoch(epoch), JobId(name), FrameRange(0, 10), WorkerId("w"), "w", X264, "running", 1.0,
        **fields,
    )  # fmt: skip


def event(number: int, name: str | None = None) -> EventEntry:
    return EventEntry(number, 1.0, "job.state", None if name is None else JobId(name))


def key(name: str, job_name: str, at: float = 1.0) -> KeyEntry:
    return KeyEntry(name, "0" * 64, JobId(job_name), at)


def webhook(name: str) -> WebhookEntry:
    return WebhookEntry(name, "https://example.org/", "whsec_c2VjcmV0", ("job.completed",), 1.0)


def delivery(name: str, number: int, state: str = "waiting", at: float = 1.0) -> DeliveryEntry:
    return DeliveryEntry(name, attrs.evolve(event(number), at=at), "job.completed", state)


def worker(name: str) -> WorkerEntry:
    return WorkerEntry(WorkerId(name), WorkerFacts(name, (X264,)), 1.0)


def expected(changes: Changes) -> Saved:
    """What must be loaded when `changes` are all that was ever stored."""
    places = {one.id: n for n, one in enumerate(changes.jobs)}
    open_jobs = {one.id for one in changes.jobs if one.state != "Completed"}
    segments = [s for s in changes.segments if s.job_id in open_jobs]
    hooks = {one.id: n for n, one in enumerate(changes.webhooks)}
    waiting = [d for d in changes.deliveries if d.state == "waiting"]
    attempts = [
        a
        for a in changes.attempts
        if a.job_id in open_jobs
        and (
            a.end is AttemptEnd.LIVE
            or any(s.job_id == a.job_id and s.committed == a.epoch for s in segments)
        )
    ]
    return Saved(
        jobs=changes.jobs,
        segments=tuple(sorted(segments, key=lambda s: (places[s.job_id], s.frames.first))),
        attempts=tuple(sorted(attempts, key=lambda a: a.epoch)),
        shares=changes.shares,
        workers=changes.workers,
        webhooks=changes.webhooks,
        deliveries=tuple(sorted(waiting, key=lambda d: (hooks[d.webhook_id], d.event.number))),
        counters=changes.counters or Counters(),
        clock_s=latest_time([changes]),
    )


@contextmanager
def opened(place: Place, steps: Sequence[Migration] = MIGRATIONS) -> Iterator[RelationalStore]:
    """The store there, as a new process would see it."""
    store = RelationalStore(place.database(), steps)
    store.open()
    try:
        yield store
    finally:
        store.close()


def same(one: Saved, other: Saved) -> bool:
    """Whether the two are equal, shares in whatever order."""
    drawn = [attrs.evolve(saved, shares=tuple(sorted(saved.shares, key=repr)))
             for saved in (one, other)]  # fmt: skip
    # Summaries have no equality of their own, so all that they show is compared.
    return repr(drawn[0]) == repr(drawn[1])


class StoreContract:
    """Inherit this and provide the fixture `place`."""

    @pytest.fixture
    def store(self, place: Place) -> Iterator[RelationalStore]:
        with opened(place) as store:
            yield store

    def loaded(self, place: Place) -> Saved:
        with opened(place) as store:
            return store.load()

    # --- entries -------------------------------------------------------------------------------

    def test_empty_store_gives_nothing(self, store: RelationalStore) -> None:
        assert store.load() == Saved()
        assert store.segments(JobId("a")) == ()
        assert store.attempts(JobId("a")) == ()
        assert store.events(0, 10) == ()
        assert store.key("k") is None
        assert store.tokens() == ()
        assert store.deliveries("w", 10, 10) == ()

    @FULL
    @given(changes=everything())
    def test_everything_comes_back_after_reopening(self, place: Place, changes: Changes) -> None:
        place.clear()
        with opened(place) as store:
            store.apply([changes])
            # Once more: nobody knows whether a transaction that failed at its end was kept.
            store.apply([changes])
        with opened(place) as store:
            assert same(store.load(), expected(changes))
            assert store.tokens() == changes.tokens
            events = tuple(sorted(changes.events, key=lambda e: e.number))
            assert repr(store.events(-1, 100)) == repr(events)
            for one in changes.keys:
                assert store.key(one.key) == one
            for hook in changes.webhooks:
                told = [d for d in changes.deliveries if d.webhook_id == hook.id]
                told.sort(key=lambda d: -d.event.number)
                assert repr(store.deliveries(hook.id, 2**63 - 1, 9)) == repr(tuple(told))
            for entry in changes.jobs:
                segments = [s for s in changes.segments if s.job_id == entry.id]
                attempts = [a for a in changes.attempts if a.job_id == entry.id]
                segments.sort(key=lambda s: s.frames.first)
                attempts.sort(key=lambda a: a.epoch)
                assert repr(store.segments(entry.id)) == repr(tuple(segments))
                assert repr(store.attempts(entry.id)) == repr(tuple(attempts))

    def test_entries_replace_those_of_the_same_identity_and_keep_their_place(
        self, store: RelationalStore
    ) -> None:
        store.apply([Changes(jobs=(job("b"), job("a")), segments=(segment("a", 0),))])
        changed = attrs.evolve(job("b"), priority=3)
        store.apply([
            Changes(jobs=(changed,), segments=(segment("a", 0, tried=2),)),
            Changes(jobs=(job("c"),), counters=Counters(5, 6)),
        ])  # fmt: skip
        saved = store.load()
        assert saved.jobs == (changed, job("a"), job("c"))
        assert saved.segments == (segment("a", 0, tried=2),)
        assert saved.counters == Counters(5, 6)

    def test_only_live_and_committed_attempts_of_unfinished_jobs_are_loaded(
        self, store: RelationalStore
    ) -> None:
        lost = attempt("a", 1, end=AttemptEnd.FAILED)
        made = attempt("a", 2, end=AttemptEnd.COMMITTED)
        live, old = attempt("a", 3), attempt("done", 4, end=AttemptEnd.COMMITTED)
        store.apply([
            Changes(
                jobs=(job("a", "Failed"), job("done", "Completed")),
                segments=(segment("a", 0, committed=2), segment("done", 0, committed=4)),
                attempts=(lost, made, live, old),
            )
        ])  # fmt: skip
        saved = store.load()
        assert saved.attempts == (made, live)
        assert [s.job_id for s in saved.segments] == ["a"]
        assert store.attempts(JobId("a")) == (lost, made, live)
        assert store.attempts(JobId("done")) == (old,)
        assert store.segments(JobId("done")) == (segment("done", 0, committed=4),)

    def test_segments_and_attempts_of_a_job_can_be_read_in_pages(
        self, store: RelationalStore
    ) -> None:
        segments = tuple(segment("a", number) for number in (0, 10, 20))
        tried = tuple(attempt("a", epoch) for epoch in (3, 5, 6))
        others = (attempt("b", 4),)
        store.apply([
            Changes(jobs=(job("a"), job("b")), segments=segments, attempts=(*tried, *others))
        ])  # fmt: skip
        assert store.segments(JobId("a"), after=0, limit=1) == segments[1:2]
        assert store.segments(JobId("a"), after=10) == segments[2:]
        assert store.attempts(JobId("a"), limit=2) == tried[:2]
        assert store.attempts(JobId("a"), after=3, limit=2) == tried[1:]
        assert store.attempts(JobId("a"), after=6, limit=2) == ()

    def test_removed_job_goes_with_all_but_its_events(self, store: RelationalStore) -> None:
        share = ShareEntry(JobId("a"), WorkerId("w"), "w")
        store.apply([
            Changes(
                jobs=(job("a"), job("b")),
                segments=(segment("a", 0), segment("b", 0)),
                attempts=(attempt("a", 1), attempt("b", 2)),
                shares=(share,),
                keys=(key("k", "a"), key("l", "b")),
                events=(event(1, "a"),),
            )
        ])  # fmt: skip
        store.apply([Changes(removed_jobs=(JobId("a"),))])
        saved = store.load()
        assert (saved.jobs, saved.segments, saved.shares) == ((job("b"),), (segment("b", 0),), ())
        assert saved.attempts == (attempt("b", 2),)
        assert store.attempts(JobId("a")) == ()
        assert store.key("k") is None
        assert store.key("l") == key("l", "b")
        assert store.events(0, 10) == (event(1, "a"),)

    def test_removals_come_after_entries_and_new_changes_after_removals(
        self, store: RelationalStore
    ) -> None:
        old, cut = segment("a", 0), segment("a", 10)
        store.apply([Changes(jobs=(job("a"),), segments=(old, cut), workers=(worker("w"),))])
        store.apply([
            Changes(workers=(worker("w"),), removed_workers=(WorkerId("w"),)),
            Changes(removed_segments=((JobId("a"), 0), (JobId("a"), 10))),
            Changes(segments=(old,)),
        ])  # fmt: skip
        saved = store.load()
        assert saved.workers == ()
        assert saved.segments == (old,)

    def test_events_are_read_in_pages_of_all_or_of_one_job(self, store: RelationalStore) -> None:
        events = (*(event(n, "ab"[n % 2]) for n in range(1, 8)), event(8))
        store.apply([Changes(events=events)])
        assert store.events(0, 3) == events[:3]
        assert store.events(3, 100) == events[3:]
        assert store.events(3, 2, JobId("b")) == (events[4], events[6])
        assert store.events(8, 5) == ()

    def test_old_events_and_keys_are_forgotten(self, store: RelationalStore) -> None:
        events = tuple(event(n) for n in range(1, 5))
        keys = (key("old", "a", 1.0), key("new", "a", 2.0))
        store.apply([Changes(jobs=(job("a"),), events=events, keys=keys)])
        store.prune(3, 2.0)
        assert store.events(0, 10) == events[2:]
        assert store.key("old") is None
        assert store.key("new") == keys[1]

    def test_revoked_tokens_stay_where_they_were(self, store: RelationalStore) -> None:
        first = TokenEntry("z", "attic", "worker", "0" * 64, 1.0)
        second = TokenEntry("a", "cellar", "client", "1" * 64, 1.0)
        store.apply([Changes(tokens=(first, second))])
        revoked = attrs.evolve(first, revoked_at=5.0)
        store.apply([Changes(tokens=(revoked,))])
        assert store.tokens() == (revoked, second)

    def test_webhooks_keep_their_secrets_and_go_with_their_deliveries(
        self, store: RelationalStore
    ) -> None:
        told = (delivery("b", 1), delivery("a", 2), delivery("a", 1), delivery("a", 3, "delivered"))
        store.apply([Changes(webhooks=(webhook("b"), webhook("a")), deliveries=told)])
        saved = store.load()
        assert saved.webhooks == (webhook("b"), webhook("a"))
        assert saved.deliveries == (told[0], told[2], told[1])
        assert store.deliveries("a", 3, 1) == (told[1],)
        assert store.deliveries("a", 9, 9) == (told[3], told[1], told[2])
        store.apply([Changes(deliveries=(delivery("a", 4),), removed_webhooks=("a",))])
        saved = store.load()
        assert (saved.webhooks, saved.deliveries) == ((webhook("b"),), (told[0],))
        assert store.deliveries("a", 9, 9) == ()

    def test_old_deliveries_are_forgotten_unless_they_wait(self, store: RelationalStore) -> None:
        waiting, new = delivery("a", 1), delivery("a", 3, "given_up", 5.0)
        old = delivery("a", 2, "delivered")
        store.apply([Changes(webhooks=(webhook("a"),), deliveries=(waiting, old, new))])
        store.prune(0, 0.0, 5.0)
        assert store.deliveries("a", 9, 9) == (new, waiting)

    def test_clock_is_the_latest_time_ever_stored(
        self, store: RelationalStore, place: Place
    ) -> None:
        store.apply([Changes(jobs=(job("a", at=1e9 + 0.123456789),))])
        store.apply([Changes(jobs=(job("b", at=7.0),), removed_jobs=(JobId("a"),))])
        assert store.load().clock_s == 1e9 + 0.123456789
        store.close()
        assert self.loaded(place).clock_s == 1e9 + 0.123456789

    def test_identities_of_any_length_and_letters_are_told_apart(
        self, store: RelationalStore
    ) -> None:
        names = ["", "\0", "\\0", "\\", "\udc80", "\\udc80", "é" * 3000, "é" * 3001, "%s?", "'"]
        keys = tuple(key(name, "a") for name in names)
        store.apply([Changes(jobs=(job("a"),), keys=keys)])
        assert [store.key(name) for name in names] == list(keys)

    # --- transactions --------------------------------------------------------------------------

    def test_changes_are_stored_together_or_not_at_all(self, store: RelationalStore) -> None:
        with pytest.raises(StoreFailed):
            store.apply([
                Changes(jobs=(job("a", at=9.0),), counters=Counters(7, 7)),
                Changes(segments=(segment("there is no such job", 0),)),
            ])  # fmt: skip
        assert store.load() == Saved()
        store.apply([Changes(jobs=(job("b"),))])
        assert store.load().jobs == (job("b"),)

    def test_what_a_killed_process_acknowledged_is_there_and_nothing_half(
        self, place: Place
    ) -> None:
        acknowledged = 0
        for lines in (1, 7, 20, 33):
            with subprocess.Popen(
                [sys.executable, "-c", WRITER, place.url], stdout=subprocess.PIPE, text=True
            ) as child:
                assert child.stdout is not None
                told = [int(line) for line in itertools.islice(child.stdout, lines)]
                child.kill()
                told += [int(line) for line in child.stdout.read().split("\n")[:-1]]
            assert child.returncode == -signal.SIGKILL
            assert told[0] > acknowledged
            acknowledged = told[-1]
            saved = self.loaded(place)
            # One more may have been kept without anybody having been told.
            assert saved.counters.next_epoch - acknowledged in (0, 1)
            names = [f"job{n}" for n in range(1, saved.counters.next_epoch)]
            assert [one.id for one in saved.jobs] == names
            found = [(s.job_id, s.frames.first) for s in saved.segments]
            assert found == list(itertools.product(names, (0, 10, 20)))

    # --- one at a time -------------------------------------------------------------------------

    def test_second_coordinator_is_refused_until_the_first_is_gone(
        self, store: RelationalStore, place: Place
    ) -> None:
        other = RelationalStore(place.database())
        with pytest.raises(Conflict, match="Another coordinator"):
            other.open()
        store.apply([Changes(jobs=(job("a"),))])
        store.close()
        other.open()
        assert other.load().jobs == (job("a"),)
        other.close()

    def test_closed_store_may_be_closed_again_and_opened(self, store: RelationalStore) -> None:
        store.apply([Changes(jobs=(job("a"),))])
        store.close()
        store.close()
        store.open()
        assert store.load().jobs == (job("a"),)

    # --- the schema ----------------------------------------------------------------------------

    @pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
    def test_every_older_version_is_brought_up_with_its_data(
        self, place: Place, version: int
    ) -> None:
        changes = Changes(
            jobs=(job("b"), job("a")),
            segments=(segment("a", 0, committed=1),),
            attempts=(attempt("a", 1, end=AttemptEnd.COMMITTED),),
            shares=(ShareEntry(JobId("a"), WorkerId("w"), "w"),),
            workers=(worker("w"),),
            counters=Counters(2, 2),
        )
        if version >= 2:
            token = TokenEntry("t", "attic", "worker", "0" * 64, 1.0)
            changes = attrs.evolve(
                changes, events=(event(1, "a"),), keys=(key("k", "a"),), tokens=(token,)
            )
        with opened(place, MIGRATIONS[:version]) as old:
            old.apply([changes])
        with opened(place) as new:
            assert new.load() == expected(changes)
            assert (new.events(0, 9), new.tokens()) == (changes.events, changes.tokens)
            assert new.key("k") == (changes.keys[0] if changes.keys else None)
            new.apply([Changes(events=(event(9, "a"),), keys=(key("l", "a"),))])
            new.apply([Changes(webhooks=(webhook("v"),), deliveries=(delivery("v", 9),))])
        database = place.database()
        database.open()
        assert version_of(database) == len(MIGRATIONS)
        database.close()

    def test_migration_that_fails_leaves_the_older_version(self, place: Place) -> None:
        with opened(place, MIGRATIONS[:1]) as old:
            old.apply([Changes(jobs=(job("a"),))])
        broken = Migration("a fault", ("CREATE TABLE more (id TEXT)", "NO SUCH STATEMENT"))
        new = RelationalStore(place.database(), (*MIGRATIONS, broken))
        with pytest.raises(StoreFailed):
            new.open()
        database = place.database()
        database.open()
        assert version_of(database) == 1
        assert not database.has_table("more")
        assert not database.has_table("events")
        database.close()
        assert self.loaded(place).jobs == (job("a"),)

    def test_later_version_is_refused_and_left_as_it_is(
        self, store: RelationalStore, place: Place
    ) -> None:
        store.apply([Changes(jobs=(job("a"),))])
        store.close()
        later = (*MIGRATIONS, Migration("later", ()))
        with opened(place, later):
            pass
        with pytest.raises(StoreTooNew, match=rf"version {len(MIGRATIONS) + 1}.*{len(MIGRATIONS)}"):
            store.open()
        with opened(place, later) as found:
            assert found.load().jobs == (job("a"),)

    def test_database_that_does_not_say_its_version_is_refused(
        self, store: RelationalStore, place: Place
    ) -> None:
        store.close()
        database = place.database()
        database.open()
        write_meta(database, "schema", "three")
        database.close()
        with pytest.raises(StoreDamaged):
            store.open()

    def test_entry_that_cannot_be_read_is_named(self, store: RelationalStore, place: Place) -> None:
        store.apply([Changes(jobs=(job("a"),))])
        store.close()
        database = place.database()
        database.open()
        database.prepare()
        database.run("UPDATE jobs SET document = '{}'")
        database.close()
        store.open()
        with pytest.raises(StoreDamaged, match="JobEntry"):
            store.load()

    # --- moving --------------------------------------------------------------------------------

    @FULL
    @given(first=everything(), second=everything())
    def test_copy_holds_all_that_the_original_holds(
        self, place: Place, tmp_path_factory: Any, first: Changes, second: Changes
    ) -> None:
        place.clear()
        url = "sqlite:///copy.db"
        copy = open_store(url, tmp_path_factory.mktemp("copy"))
        with opened(place) as original:
            original.apply([first, second])
            copy.open()
            try:
                copy_store(original, copy)
                # The copy's clock begins at the latest time that was copied; what was replaced in
                # the original may have been later.
                there, here = original.load(), copy.load()
                assert here.clock_s <= there.clock_s
                assert same(attrs.evolve(here, clock_s=there.clock_s), there)
                assert repr(list(copy.everything())) == repr(list(original.everything()))
                if original.load().jobs:
                    with pytest.raises(Conflict, match="not empty"):
                        copy_store(original, copy)
            finally:
                copy.close()
