"""The contract on a PostgreSQL server of our own; lost connections and foreign databases."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import pytest

from ffcluster.core.durable import Changes
from ffcluster.errors import (
    Conflict,
    InvalidOption,
    StoreFailed,
    StoreForeign,
    StoreUnavailable,
)
from ffcluster.store.relational import RelationalStore
from tests.store import postgres_server
from tests.store.entries import job
from tests.store.postgres_server import PostgresServer
from tests.store.store_contract import StoreContract

_REASON = postgres_server.missing()
pytestmark = pytest.mark.skipif(bool(_REASON), reason=_REASON or "it is there")

if not _REASON:
    import psycopg

    from ffcluster.store.postgres import PostgresDatabase


@attrs.frozen
class ServerPlace:
    url: str

    def database(self) -> PostgresDatabase:
        return PostgresDatabase(self.url, patience_s=0.2)

    def clear(self) -> None:
        self.run("DROP SCHEMA IF EXISTS ffcluster CASCADE")

    def run(self, statement: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def cut_connections(self) -> None:
        """End all of ours, as a network that fails would."""
        self.run(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE application_name = 'ffcluster'"
        )


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    with postgres_server.postgres_server() as server:
        yield server


@pytest.fixture
def place(server: PostgresServer) -> ServerPlace:
    place = ServerPlace(server.url())
    place.clear()
    return place


@pytest.fixture
def store(place: ServerPlace) -> Iterator[RelationalStore]:
    store = RelationalStore(place.database())
    store.open()
    yield store
    store.close()


def one(name: str) -> list[Changes]:
    return [Changes(jobs=(job(name),))]


class TestPostgres(StoreContract):
    pass


def test_store_goes_on_after_the_server_restarted(
    server: PostgresServer, store: RelationalStore
) -> None:
    store.apply(one("a"))
    server.restart()
    with pytest.raises(StoreUnavailable) as caught:
        store.apply(one("b"))
    assert caught.value.retryable
    store.apply(one("b"))
    assert store.load().jobs == (job("a"), job("b"))


def test_server_that_is_away_is_said_and_tried_again(
    server: PostgresServer, place: ServerPlace, store: RelationalStore
) -> None:
    server.stop()
    try:
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                store.apply(one("a"))
        with pytest.raises(StoreUnavailable):
            RelationalStore(place.database()).open()
    finally:
        server.start()
    store.apply(one("a"))
    assert store.load().jobs == (job("a"),)


def test_lost_connection_that_still_holds_the_lock_is_waited_for(
    place: ServerPlace, store: RelationalStore
) -> None:
    place.cut_connections()
    # Something else holds the lock for now, as a connection that the server believes alive.
    with psycopg.connect(place.url, autocommit=True) as other:
        number = int.from_bytes(b"ffcluste")
        other.execute("SELECT pg_advisory_lock(%s::bigint)", (number,))
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                store.apply(one("a"))
    store.apply(one("a"))


def test_coordinator_that_was_replaced_while_cut_off_stores_nothing_more(
    place: ServerPlace, store: RelationalStore
) -> None:
    store.apply(one("a"))
    place.cut_connections()
    other = RelationalStore(place.database())
    other.open()
    other.apply(one("b"))
    other.close()
    for _ in range(3):
        with pytest.raises((Conflict, StoreUnavailable)):
            store.apply(one("c"))
    with pytest.raises(Conflict, match="out of reach"):
        store.apply(one("c"))
    other.open()
    assert other.load().jobs == (job("a"), job("b"))
    other.close()


def test_schema_of_another_program_is_refused_and_left_as_it_is(place: ServerPlace) -> None:
    place.run("CREATE SCHEMA ffcluster")
    place.run("CREATE TABLE ffcluster.songs (name TEXT)")
    with pytest.raises(StoreForeign):
        RelationalStore(place.database()).open()
    tables = place.run("SELECT tablename FROM pg_tables WHERE schemaname = 'ffcluster'")
    assert tables == [("songs",)]


def test_tables_of_others_in_the_same_database_do_no_harm(place: ServerPlace) -> None:
    place.run("CREATE TABLE IF NOT EXISTS public.jobs (id TEXT)")
    store = RelationalStore(place.database())
    store.open()
    store.apply(one("a"))
    assert store.load().jobs == (job("a"),)
    store.close()
    assert place.run("SELECT * FROM public.jobs") == []


def test_database_that_does_not_hold_every_letter_is_refused(server: PostgresServer) -> None:
    url = server.create("latin", "--encoding", "LATIN1", "--template", "template0")
    with pytest.raises(StoreFailed, match="LATIN1"):
        RelationalStore(PostgresDatabase(url)).open()


def test_commits_wait_for_the_disk_even_where_the_server_is_set_not_to(
    place: ServerPlace,
) -> None:
    place.run("ALTER ROLE CURRENT_USER SET synchronous_commit = off")
    try:
        database = place.database()
        database.open()
        assert database.query("SHOW synchronous_commit") == [("on",)]
        database.close()
    finally:
        place.run("ALTER ROLE CURRENT_USER RESET synchronous_commit")


def test_role_without_rights_is_refused_in_the_server_s_words(
    server: PostgresServer, place: ServerPlace
) -> None:
    place.run("CREATE ROLE guest LOGIN")
    guest = "postgresql://guest@" + place.url.partition("@")[2]
    with pytest.raises(StoreFailed, match="permission denied"):
        RelationalStore(PostgresDatabase(guest)).open()


@pytest.mark.parametrize("url", ["postgresql://u:secret@[::1/x", "postgresql://u:secret@h/x?no=1"])
def test_malformed_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        PostgresDatabase(url)
    shown = f"{caught.value!r} {caught.value.__cause__!r}"
    assert "secret" not in shown


def test_password_is_not_shown_when_nobody_answers() -> None:
    store = RelationalStore(PostgresDatabase("postgresql://u:secret@127.0.0.1:1/x"))
    with pytest.raises(StoreUnavailable) as caught:
        store.open()
    assert "secret" not in f"{caught.value!r} {caught.value.__cause__!r}"
