"""What sessions of each scope may do, and how they end when their token is revoked."""

from __future__ import annotations

import typing
from typing import Any

import pytest

from ffcluster.core.model import JobRequest
from ffcluster.errors import Code
from ffcluster.net import messages
from ffcluster.net.access import Caller, Scope
from ffcluster.net.messages import NEEDS, PROTOCOL_VERSIONS
from ffcluster.net.websocket import CLOSE_FORBIDDEN
from ffcluster.services.coordinator.gateway import Session
from tests.services.desks import FakeConnection, FakeDesk, say, view

LOOKING = {
    messages.GetJob, messages.ListJobs, messages.WatchJob, messages.GetReceipt,
    messages.ListWorkers,
}  # fmt: skip
ABOUT_TOKENS = {messages.AddToken, messages.ListTokens, messages.RevokeToken}
REQUESTS = [kind for kind in typing.get_args(messages.FromClient) if kind.TYPE != "heartbeat"]
EXAMPLES: dict[type, dict[str, Any]] = {
    messages.BeginUpload: {"name": "in.mkv", "size_bytes": 1},
    messages.Submit: {"job": JobRequest("in.mkv", server_path="/in.mkv")},
    messages.PrioritiseJob: {"job_id": "f00d", "priority": 1},
    messages.AddToken: {"name": "attic", "scope": Scope.WORKER},
    messages.RevokeToken: {"token_id": "ab12"},
}


def example(kind: Any, number: int = 7) -> Any:
    """A request of this kind that is in order."""
    fields = EXAMPLES.get(kind)
    if fields is None:
        names = kind.__annotations__
        fields = {name: "f00d" for name in ("job_id", "worker_id") if name in names}
    return kind(request=number, **fields)


def opened(scope: Scope) -> tuple[FakeDesk, Session, FakeConnection]:
    desk, connection = FakeDesk(known_jobs={"f00d": view("f00d")}), FakeConnection()
    session = Session(desk, Caller("attic", scope, "ab12"))
    session.opened(connection)  # type: ignore[arg-type]
    return desk, session, connection


def greet(session: Session, role: str) -> None:
    say(session, messages.Hello(PROTOCOL_VERSIONS, role, worker_id="w1" * (role == "worker")))


@pytest.mark.parametrize("scope", Scope)
@pytest.mark.parametrize("role", ["worker", "client"])
def test_role_needs_its_scope(scope: Scope, role: str) -> None:
    desk, session, connection = opened(scope)
    greet(session, role)
    (answer,) = connection.sent
    if scope.opens(Scope.WORKER if role == "worker" else Scope.VIEWER):
        assert isinstance(answer, messages.Welcome)
        return
    assert answer.error.code is Code.FORBIDDEN
    assert "attic" in answer.error.message
    assert connection.closed_with is not None
    assert connection.closed_with[0] == CLOSE_FORBIDDEN
    assert desk.opened == []
    assert desk.events == []
    assert desk.closed == [session]


def test_every_request_has_its_scope() -> None:
    assert set(NEEDS) == set(REQUESTS)
    for kind in REQUESTS:
        expected = Scope.VIEWER if kind in LOOKING else Scope.CLIENT
        assert NEEDS[kind] is (Scope.ADMIN if kind in ABOUT_TOKENS else expected)


@pytest.mark.parametrize("kind", REQUESTS, ids=lambda kind: kind.TYPE)
@pytest.mark.parametrize("scope", [Scope.ADMIN, Scope.CLIENT, Scope.VIEWER])
def test_request_beyond_the_scope_is_refused_and_never_reaches_the_desk(
    kind: Any, scope: Scope
) -> None:
    desk, session, connection = opened(scope)
    greet(session, "client")
    connection.sent.clear()
    say(session, example(kind))
    (answer,) = connection.sent
    assert answer.reply_to == 7
    if scope.opens(NEEDS[kind]):
        assert not isinstance(answer, messages.Failure)
    else:
        assert answer.error.code is Code.FORBIDDEN
        assert NEEDS[kind].value in answer.error.message
        assert desk.asked == []
    # However often it is refused: it is no breach of the protocol.
    for number in range(20):
        say(session, example(kind, 100 + number))
    assert connection.closed_with is None


def test_worker_cannot_ask_as_a_client() -> None:
    desk, session, connection = opened(Scope.WORKER)
    greet(session, "worker")
    connection.sent.clear()
    say(session, messages.ListJobs(1))
    (answer,) = connection.sent
    assert answer.error.code is Code.PROTOCOL
    assert desk.asked == []


def test_secret_does_not_appear_in_what_is_printed_of_a_message() -> None:
    from ffcluster.net.access import TokenView

    token = messages.Token(1, TokenView("ab12", "attic", Scope.WORKER, 1.0), "ffc_ab12_secret")
    assert "secret" not in repr(token)
