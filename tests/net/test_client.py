"""A client and its sessions over real loopback sockets: answers, control, lost sessions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet import endpoints, protocol, reactor
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred

from ffcluster.core.model import JobRequest
from ffcluster.errors import Conflict, NotFound, Refused, SourceMissing, Unreachable
from ffcluster.net import client_session, codec, messages, outage
from ffcluster.net.access import Caller
from ffcluster.net.client import CoordinatorClient
from ffcluster.net.client_session import ClientSession
from ffcluster.net.session import SILENCE_LIMIT_S
from ffcluster.services.coordinator.gateway import Session
from tests.interfaces.fakes import a_receipt, worker_view
from tests.net.loopback import until
from tests.net.test_websocket import SocketCase
from tests.services.desks import view

_decode = codec.decoder(messages.FromClient | messages.Hello)


def session_of(client: CoordinatorClient) -> ClientSession:
    assert client._session is not None
    return client._session


class Client(SocketCase):
    async def test_parallel_requests_get_their_own_answers(self) -> None:
        submitted: Deferred[messages.Job] = Deferred()
        self.desk.answers = {
            1: submitted,
            2: messages.Job(2, view("job1")),
            3: messages.Job(3, view("job2")),
            4: NotFound(message="There is no job none."),
        }
        client = await self.connect()
        submitting = ensureDeferred(client.submit(JobRequest("film", server_path="/film")))
        one, two, none = (ensureDeferred(client.job(name)) for name in ("job1", "job2", "none"))
        await self.assertFailure(none, NotFound)
        assert ((await two).id, (await one).id) == ("job2", "job1")
        assert not submitting.called
        submitted.callback(messages.Job(1, view("job1")))
        assert (await submitting).id == "job1"

    async def test_watch_follows_a_job_to_its_end(self) -> None:
        self.desk.known_jobs = {"job1": view("job1")}
        client = await self.connect()
        states: list[str] = []
        watching = ensureDeferred(client.watch("job1", lambda job: states.append(job.state)))
        await until(lambda: states)
        for state in ("Processing", "Completed"):
            self.desk.known_jobs["job1"] = view("job1", state)
            self.sessions[0].show_job(self.desk.known_jobs["job1"])
        assert (await watching).state == "Completed"
        assert states == ["Queued", "Processing", "Completed"]

    async def test_watch_without_patience_fails_when_the_coordinator_goes_away(self) -> None:
        self.desk.known_jobs = {"job1": view("job1")}
        client = await self.connect()
        watching = ensureDeferred(client.watch("job1", lambda job: None))
        await until(lambda: self.sessions[0].watches)
        self.sessions[0].close(1000, "the coordinator stops")
        error = await self.assertFailure(watching, Unreachable)
        assert "the coordinator stops" in error.message

    async def test_next_question_after_a_lost_session_opens_a_new_one(self) -> None:
        client = await self.connect()
        self.sessions[0].close(1000, "the coordinator stops")
        await until(lambda: not session_of(client).is_open)
        self.desk.answers = {1: messages.Jobs(1, ())}
        assert await client.jobs() == []
        assert len(self.sessions) == 2

    async def test_closed_client_opens_no_session(self) -> None:
        client = await self.connect()
        await client.close()
        await self.assertFailure(ensureDeferred(client.jobs()), Unreachable)
        assert len(self.sessions) == 1

    async def test_client_is_heard_as_often_as_the_coordinator_asks(self) -> None:
        self.desk.heartbeat_s = 0.25
        client = await self.connect()
        said_at = session_of(client)._liveness.said_at
        await until(lambda: session_of(client)._liveness.said_at > said_at)
        assert session_of(client)._liveness.limit_s == 1.0

    async def test_refusals_come_back_as_their_own_class(self) -> None:
        self.desk.answers = {
            1: Conflict(message="It has ended."),
            2: NotFound(message="There is no job none."),
            3: messages.Job(3, view("job1", "Failed")),
        }
        client = await self.connect()
        await self.assertFailure(ensureDeferred(client.cancel("job1")), Conflict)
        await self.assertFailure(ensureDeferred(client.cancel("none")), NotFound)
        missing = client.download("job1", self.folder / "film.mkv")
        await self.assertFailure(ensureDeferred(missing), Conflict)

    async def test_cancelled_request_is_forgotten(self) -> None:
        submitted: Deferred[messages.Job] = Deferred()
        self.desk.answers = {1: submitted, 2: messages.Jobs(2, ())}
        client = await self.connect()
        submitting = ensureDeferred(client.submit(JobRequest("film", server_path="/film")))
        await until(lambda: session_of(client)._replies)
        submitting.cancel()
        await self.assertFailure(submitting, CancelledError)
        submitted.callback(messages.Job(1, view("job1")))
        assert await client.jobs() == []
        assert session_of(client)._replies == {}

    async def test_answer_that_is_not_understood_fails_its_request(self) -> None:
        client = await self.connect()
        asking = ensureDeferred(client.jobs())
        await until(lambda: session_of(client)._replies)
        (number,) = session_of(client)._replies
        session_of(client).received(b'{"type": "jobs", "reply_to": %d, "jobs": 5}' % number)
        await self.assertFailure(asking, Refused)

    async def test_silent_coordinator_is_given_up(self) -> None:
        self.patch(client_session, "_TEND_EVERY_S", 0.01)
        client = await self.connect()
        self.patch(self.sessions[0], "received", lambda payload: None)
        asking = ensureDeferred(client.jobs())
        session_of(client)._liveness.heard_at -= SILENCE_LIMIT_S
        error = await self.assertFailure(asking, Unreachable)
        assert "nothing was heard" in error.message
        await until(lambda: self.desk.closed)

    async def test_nobody_there_is_unreachable(self) -> None:
        url = "ws://127.0.0.1:1"
        connecting = CoordinatorClient.connect(reactor, url, token=None)  # type: ignore[arg-type]
        await self.assertFailure(ensureDeferred(connecting), Unreachable)

    async def test_coordinator_that_does_not_greet_is_unreachable(self) -> None:
        self.patch(Session, "received", lambda self, payload: None)
        connecting = CoordinatorClient.connect(
            reactor,
            self.address.websocket_url,
            token=None,
            timeout_s=0.05,  # type: ignore[arg-type]
        )
        await self.assertFailure(ensureDeferred(connecting), Unreachable)
        await until(lambda: self.desk.closed)

    async def test_web_server_of_another_kind_is_refused(self) -> None:
        self.root.delEntity(b"ws")
        connecting = CoordinatorClient.connect(reactor, self.address.websocket_url, token=None)  # type: ignore[arg-type]
        await self.assertFailure(ensureDeferred(connecting), Refused)

    async def test_upload_of_a_missing_file_is_refused_before_anything_is_asked(self) -> None:
        client = await self.connect()
        missing = client.upload(self.folder / "none.mkv")
        error = await self.assertFailure(ensureDeferred(missing), SourceMissing)
        assert "none.mkv" in error.message


class Outages(SocketCase):
    """The coordinator goes away while a job is watched."""

    async def setUp(self) -> None:
        await super().setUp()
        self.patch(outage, "_RETRY_BASE_S", 0.01)
        self.desk.known_jobs = {"job1": view("job1", "Processing")}
        self.states: list[str] = []
        self.outages: list[Unreachable | None] = []

    async def watch(self, patience_s: float) -> Deferred[Any]:
        client = await self.connect()
        watching = ensureDeferred(
            client.watch(
                "job1",
                lambda job: self.states.append(job.state),
                on_outage=self.outages.append,
                patience_s=patience_s,
            )
        )
        await until(lambda: self.states)
        return watching

    async def test_watch_goes_on_in_the_next_session(self) -> None:
        watching = await self.watch(60.0)
        self.sessions[0].close(1000, "the coordinator stops")
        await until(lambda: len(self.sessions) == 2 and self.sessions[1].watches)
        self.desk.known_jobs["job1"] = view("job1", "Completed")
        self.sessions[1].show_job(self.desk.known_jobs["job1"])
        assert (await watching).state == "Completed"
        assert self.states == ["Processing", "Processing", "Completed"]
        told = [outage and outage.message for outage in self.outages]
        assert told == ["The coordinator closed the session: the coordinator stops", None]

    async def test_coordinator_that_stays_away_is_looked_for_until_it_is_back(self) -> None:
        watching = await self.watch(60.0)
        port = self.port
        await self.stop_listening()
        self.sessions[0].close(1000, "the coordinator stops")
        await until(lambda: len(self.outages) > 3)
        assert None not in self.outages
        self.desk.known_jobs["job1"] = view("job1", "Completed")
        await self.listen_again(port)
        assert (await watching).state == "Completed"
        assert self.outages[-1] is None

    async def test_patience_ends(self) -> None:
        watching = await self.watch(0.1)
        await self.stop_listening()
        self.sessions[0].close(1000, "the coordinator stops")
        error = await self.assertFailure(watching, Unreachable)
        assert "No coordinator answers" in error.message

    async def test_job_that_is_gone_afterwards_ends_the_watch(self) -> None:
        watching = await self.watch(60.0)
        self.desk.known_jobs.clear()
        self.sessions[0].close(1000, "the coordinator stops")
        await self.assertFailure(watching, NotFound)

    async def test_watch_can_be_cancelled_while_nobody_is_there(self) -> None:
        watching = await self.watch(60.0)
        await self.stop_listening()
        self.sessions[0].close(1000, "the coordinator stops")
        await until(lambda: self.outages)
        watching.cancel()
        await self.assertFailure(watching, CancelledError)

    async def listen(self, factory: protocol.ServerFactory) -> int:
        self.factory = factory
        return await self.listen_again(0)

    async def listen_again(self, port: int) -> int:
        endpoint = endpoints.TCP4ServerEndpoint(reactor, port, interface="127.0.0.1")
        self.listening = await endpoint.listen(self.factory)
        self.addCleanup(self.listening.stopListening)
        found: int = self.listening.getHost().port
        return found

    async def stop_listening(self) -> None:
        await self.listening.stopListening()


class ScriptedPeer:
    """A coordinator that answers requests out of a table, and notes them."""

    def __init__(self, answers: dict[str, Callable[[int], Any]], protocols: int) -> None:
        self.answers = answers
        self.protocol = protocols
        self.heard: list[Any] = []
        self.connection: Any = None

    def opened(self, connection: Any) -> None:
        self.connection = connection

    def received(self, payload: bytes) -> None:
        message = _decode(payload)
        if isinstance(message, messages.Hello):
            self.say(messages.Welcome(self.protocol, "9.9", 5.0, 4096))
            return
        self.heard.append(message)
        answer = self.answers.get(message.TYPE)
        if answer is None:
            self.connection.close(1000, "lost on the way")
        else:
            self.say(answer(message.request))

    def closed(self, reason: str) -> None:
        pass

    def say(self, message: Any) -> None:
        self.connection.send(codec.encode(message))


class Control(SocketCase):
    """What operators ask; the coordinator is a table of answers."""

    protocols = 2

    async def setUp(self) -> None:
        self.peers: list[ScriptedPeer] = []
        self.answers: dict[str, Callable[[int], Any]] = {}
        await super().setUp()
        self.patch(outage, "_RETRY_BASE_S", 0.01)

    def make_session(self, caller: Caller) -> Any:
        self.peers.append(ScriptedPeer(self.answers, self.protocols))
        return self.peers[-1]

    @property
    def heard(self) -> list[Any]:
        return [message for peer in self.peers for message in peer.heard]

    async def test_jobs_are_controlled_by_id(self) -> None:
        for kind in ("pause_job", "resume_job", "retry_job", "prioritise_job"):
            self.answers[kind] = lambda number: messages.Job(number, view("job1"))
        self.answers["remove_job"] = messages.Done
        client = await self.connect()
        for asked in (client.pause("job1"), client.resume("job1"), client.retry("job1")):
            assert (await asked).id == "job1"
        await client.prioritise("job1", -7)
        await client.remove("job1")
        assert [message.TYPE for message in self.heard] == list(self.answers)
        assert {message.job_id for message in self.heard} == {"job1"}
        assert self.heard[3].priority == -7

    async def test_workers_are_controlled_by_id(self) -> None:
        for kind in ("drain_worker", "resume_worker"):
            self.answers[kind] = lambda number: messages.Worker(number, worker_view())
        self.answers["remove_worker"] = messages.Done
        client = await self.connect()
        assert (await client.drain_worker("w1")).name == "attic"
        assert (await client.resume_worker("w1")).name == "attic"
        await client.remove_worker("w1")
        assert [message.worker_id for message in self.heard] == ["w1"] * 3

    async def test_receipt_arrives_as_it_was_written(self) -> None:
        written = a_receipt()
        self.answers["get_receipt"] = lambda number: messages.Receipt(number, written)
        client = await self.connect()
        assert await client.receipt("job1") == written

    async def test_submission_whose_answer_was_lost_is_asked_again_with_its_key(self) -> None:
        client = await self.connect()
        submitting = ensureDeferred(client.submit(JobRequest("film", server_path="/film")))
        await until(lambda: len(self.heard) >= 2)
        self.answers["submit"] = lambda number: messages.Job(number, view("job1"))
        assert (await submitting).id == "job1"
        keys = {message.job.idempotency_key for message in self.heard}
        assert len(keys) == 1
        assert "" not in keys

    async def test_key_of_the_user_is_left_alone(self) -> None:
        self.answers["submit"] = lambda number: messages.Job(number, view("job1"))
        client = await self.connect()
        await client.submit(JobRequest("film", server_path="/film", idempotency_key="mine"))
        assert self.heard[0].job.idempotency_key == "mine"


class OldCoordinator(Control):
    """One that speaks version 1 only."""

    protocols = 1

    async def test_jobs_are_controlled_by_id(self) -> None:
        client = await self.connect()
        error = await self.assertFailure(ensureDeferred(client.pause("job1")), Refused)
        assert "9.9" in error.message
        assert "pausing jobs" in error.message
        assert self.heard == []

    async def test_workers_are_controlled_by_id(self) -> None:
        client = await self.connect()
        await self.assertFailure(ensureDeferred(client.drain_worker("w1")), Refused)

    async def test_receipt_arrives_as_it_was_written(self) -> None:
        client = await self.connect()
        await self.assertFailure(ensureDeferred(client.receipt("job1")), Refused)

    async def test_submission_whose_answer_was_lost_is_asked_again_with_its_key(self) -> None:
        """It knows no keys: asking again could make the job twice."""
        client = await self.connect()
        asked = ensureDeferred(client.submit(JobRequest("film", server_path="/film")))
        await self.assertFailure(asked, Unreachable)
        assert len(self.heard) == 1

    async def test_key_of_the_user_is_left_alone(self) -> None:
        client = await self.connect()
        for wish in ({"idempotency_key": "mine"}, {"priority": 3}, {"allow_missing": True}):
            request = attrs.evolve(JobRequest("film", server_path="/film"), **wish)
            await self.assertFailure(ensureDeferred(client.submit(request)), Refused)
        assert self.heard == []
