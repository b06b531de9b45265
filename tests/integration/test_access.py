"""Every path and method of a real coordinator, asked by everybody who may not: nothing is done,
nothing is shown, and the status says why.
"""

from __future__ import annotations

import itertools
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs
import orjson
from twisted.internet import defer, endpoints, reactor
from twisted.trial.unittest import TestCase

from ffcluster.core.model import Epoch, JobRequest
from ffcluster.errors import Conflict
from ffcluster.net.access import Need, Scope, need_at
from ffcluster.net.bulk_server import Readable
from ffcluster.net.client import CoordinatorClient
from ffcluster.net.door import path_segments
from ffcluster.net.tokens import make_token
from ffcluster.services.coordinator.service import CoordinatorService
from ffcluster.services.settings.config import ServerSettings
from ffcluster.web.routing import Route
from tests.inputs import ffmpeg, pictures
from tests.net.loopback import Collector, until

METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS")
OPEN = ("/", "/static/app.js", "/favicon.ico", "/livez", "/readyz", "/api/v1/docs")
ELSEWHERE = (
    "/api/v1/openapi.json",
    "/v1",
    "/v1/pieces",
    "/v1/nothing/x",
    "/api",
    "/api/v1",
    "/nothing",
    "/ws/x",
)
API = "/api/v1"
_NAME = re.compile(r"\{(\w+)\}")
EVIL = "http://evil.example"
# What no answer to a stranger may hold.
HIDDEN = (b"secret-film", b"secret-piece")


@attrs.frozen
class Attempt:
    """A request that must be refused: its headers, and the status of the refusal."""

    who: str
    status: int
    headers: tuple[str, ...] = ()
    host: str = "localhost"


def bearer(secret: str) -> str:
    return f"Authorization: Bearer {secret}"


class AccessCase(TestCase):
    """A coordinator with a job, an upload that has begun, an attempt and an output."""

    timeout = 120
    own: str | None = None

    async def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="ffcluster-test-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.service = CoordinatorService(
            reactor,
            ServerSettings(
                port=0,
                token=self.own,
                state_dir=self.directory / "state",
                output_dir=self.directory / "output",
                min_free_bytes=0,
            ),
        )
        self.service.startService()
        await self.service.started
        self.addCleanup(self.service.stopService)
        self.client = await CoordinatorClient.connect(
            reactor,
            f"ws://127.0.0.1:{self.service.port}",
            token=self.own,
        )
        self.addCleanup(lambda: defer.ensureDeferred(self.client.close()))
        await self.fill()

    async def fill(self) -> None:
        """Put something behind every door."""
        assert self.service._parts is not None
        self.shelf = self.service._parts.shelf
        film = self.directory / "secret-film.mkv"
        ffmpeg(*pictures(20, size="64x64"), "-c:v", "libx264", str(film))
        self.job = await self.client.submit(JobRequest(film.name, server_path=str(film)))
        piece = self.directory / "piece"
        piece.write_bytes(b"secret-piece")
        readable = Readable(piece, 12, "0" * 64)
        self.piece, self.result = self.shelf.open_attempt(Epoch(999), readable, 100)
        self.upload = await self.shelf.begin_upload(
            "secret-film.mkv", 12, self.service._parts.clock.seconds()
        )
        self.shelf.show_output(self.job.id, readable)
        self.before = await self.everything()

    async def everything(self) -> list[Any]:
        """All that a stranger could have changed."""
        job = await self.client.job(self.job.id)
        return [
            [
                (view.id, view.priority, view.paused, view.ended)
                for view in await self.client.jobs()
            ],
            job.spec,
            await self.client.workers(),
            await self.client.tokens(),
            [(u.id, u.file.offset, u.file.whole) for u in self.shelf.uploads.values()],
            self.shelf.result(Epoch(999)) is not None,
            sorted(path.name for path in self.directory.rglob("*.mkv")),
        ]

    def paths(self) -> Iterable[str]:
        """A path of every kind that is there, and some that are not."""
        bulk = (
            self.piece,
            self.result,
            f"/v1/uploads/{self.upload.id}",
            f"/v1/outputs/{self.job.id}",
        )
        return (*bulk, "/ws", "/metrics", *OPEN, *ELSEWHERE)

    def routes(self) -> dict[tuple[str, str], Route]:
        """Every route of the REST API, by its method and a path to what is there."""
        assert self.service._display is not None
        values = {"job_id": self.job.id, "first_frame": "0", "frame": "0", "epoch": "999"}
        return {
            (
                route.method,
                API + _NAME.sub(lambda name: values.get(name[1], "x"), route.path),
            ): route
            for route in self.service._display.routes()
        }

    async def ask(self, method: str, path: str, attempt: Attempt) -> bytes:
        """The whole answer to a request with a body that would do something."""
        body = b"" if method in ("GET", "HEAD", "OPTIONS") else b"secret-bytes"
        extra = []
        if path == "/ws":
            extra = [
                "Upgrade: websocket",
                "Connection: Upgrade",
                "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                "Sec-WebSocket-Protocol: ffcluster.v1",
            ]
        elif path.startswith(API) and method in ("POST", "PUT", "PATCH"):
            body, extra = b"{}", [] if "form" in attempt.who else ["Content-Type: application/json"]
        elif path.startswith(API):
            body = b""
        elif body:
            extra = ["Content-Range: bytes 0-11/12"]
        lines = [
            f"{method} {path} HTTP/1.1",
            f"Host: {attempt.host}",
            f"Content-Length: {len(body)}",
            *([] if path == "/ws" else ["Connection: close"]),
            *extra,
            *attempt.headers,
        ]
        connection = await self.dial()
        connection.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        answer: bytes = await connection.ended
        return answer

    async def dial(self) -> Collector:
        """A connection to the coordinator."""
        where = endpoints.TCP4ClientEndpoint(reactor, "127.0.0.1", self.service.port)
        connection = await endpoints.connectProtocol(where, Collector())
        self.addCleanup(connection.close)
        return connection

    def outsiders(self) -> Iterable[Attempt]:
        """Everybody who may not ask whatever token they show."""
        own = (bearer(self.own),) if self.own else ()
        yield Attempt("a page of another site", 403, (*own, f"Origin: {EVIL}"))
        yield Attempt("a hidden page", 403, (*own, "Origin: null"))
        yield Attempt("a page on another port", 403, (*own, "Sec-Fetch-Site: same-site"))
        yield Attempt(
            "a form of another site",
            403,
            ("Sec-Fetch-Site: cross-site", "Content-Type: application/x-www-form-urlencoded"),
        )
        yield Attempt("a foreign name", 421, own, host="evil.example")
        yield Attempt("a name that looks like ours", 421, own, host="localhost.evil.example")

    async def refuse(self, method: str, path: str, attempt: Attempt) -> None:
        """Ask, and make sure that nothing is shown."""
        answer = await self.ask(method, path, attempt)
        what = f"{method} {path} by {attempt.who}: {answer[:200]!r}"
        assert int(answer.split(b" ", 2)[1]) == attempt.status, what
        assert not any(word in answer for word in HIDDEN), what
        assert (b"www-authenticate" in answer) is (attempt.status == 401), what


class Guarded(AccessCase):
    """It asks for tokens."""

    own = make_token()

    async def fill(self) -> None:
        """Give out a token of each scope, and one that is revoked."""
        self.secrets: dict[Scope, str] = {Scope.ADMIN: str(self.own)}
        for scope in (Scope.WORKER, Scope.CLIENT, Scope.VIEWER):
            self.secrets[scope] = (await self.client.add_token(scope.value, scope))[1]
        revoked, self.revoked = await self.client.add_token("revoked", Scope.CLIENT)
        await self.client.revoke_token(revoked.id)
        await super().fill()

    def strangers(self, need: Scope | Need) -> Iterable[Attempt]:
        """Everybody who may not ask where `need` is asked for."""
        yield from self.outsiders()
        if need is Need.NOTHING:
            return
        yield Attempt("nobody", 401)
        yield Attempt("a wrong token", 401, (bearer(make_token()),))
        yield Attempt("a revoked token", 401, (bearer(self.revoked),))
        yield Attempt("a token in another form", 401, (f"Authorization: Basic {self.own}",))
        yield Attempt("a cookie", 401, (f"Cookie: token={self.own}",))
        if isinstance(need, Scope):
            for scope, secret in self.secrets.items():
                if not scope.opens(need):
                    yield Attempt(f"a token for {scope.value}", 403, (bearer(secret),))

    async def test_nobody_gets_in_who_may_not(self) -> None:
        asked = 0
        for path, method in itertools.product(self.paths(), METHODS):
            for attempt in self.strangers(need_at(path_segments(path.encode()))):
                await self.refuse(method, path, attempt)
                asked += 1
        assert asked > 1000
        assert await self.everything() == self.before

    async def test_no_route_of_the_api_answers_who_may_not(self) -> None:
        routes = self.routes()
        scopes = set()
        for path, method in itertools.product({path for _, path in routes}, METHODS):
            route = routes.get(("GET" if method == "HEAD" else method, path))
            # Whoever may come in at all is told which methods there are.
            need = route.scope if route is not None else Need.TOKEN
            for attempt in self.strangers(need):
                await self.refuse(method, path, attempt)
            scopes.add(need)
        assert scopes == {Scope.VIEWER, Scope.CLIENT, Scope.ADMIN, Need.TOKEN}
        assert await self.everything() == self.before

    async def test_everybody_gets_in_who_may(self) -> None:
        """The same doors, so that the test above does not praise a wall."""
        for path, scope in (
            (self.piece, Scope.WORKER),
            (f"/v1/outputs/{self.job.id}", Scope.VIEWER),
            (f"/v1/outputs/{self.job.id}", Scope.CLIENT),
            (self.piece, Scope.ADMIN),
        ):
            answer = await self.ask("GET", path, Attempt("", 200, (bearer(self.secrets[scope]),)))
            assert answer.startswith(b"HTTP/1.1 200 "), answer
            assert answer.endswith(b"secret-piece")
        upload = f"/v1/uploads/{self.upload.id}"
        client = Attempt("", 204, (bearer(self.secrets[Scope.CLIENT]),))
        assert (await self.ask("PUT", upload, client)).startswith(b"HTTP/1.1 204 ")

    async def call(self, method: str, path: str, secret: str | None, body: Any = None) -> Any:
        """Status and document of an answer of the API."""
        data = b"" if body is None else orjson.dumps(body)
        lines = [
            f"{method} {path} HTTP/1.1",
            "Host: localhost",
            "Connection: close",
            "Content-Type: application/json",
            f"Content-Length: {len(data)}",
            *([bearer(secret)] if secret else []),
        ]
        connection = await self.dial()
        connection.transport.write("\r\n".join([*lines, "", ""]).encode() + data)
        head, _, rest = (await connection.ended).partition(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]), orjson.loads(rest) if rest else None

    async def test_token_and_its_links_and_streams_live_and_end_together(self) -> None:
        wanted = {"name": "wall", "scope": "viewer"}
        status, made = await self.call("POST", f"{API}/tokens", self.own, wanted)
        assert status == 201
        secret, token_id = made["secret"], made["token"]["id"]
        receipt = f"{API}/jobs/{self.job.id}/receipt"
        status, link = await self.call("POST", f"{API}/links", secret, {"path": receipt})
        assert status == 200
        assert (await self.call("GET", link["url"], None))[0] == 200
        other = link["url"].replace("/receipt", "/report")
        assert (await self.call("GET", other, None))[0] == 401
        assert (await self.call("DELETE", link["url"], None))[0] == 401

        stream = await self.dial()
        lines = (f"GET {API}/events HTTP/1.1", "Host: localhost", bearer(secret))
        stream.transport.write("\r\n".join([*lines, "", ""]).encode())
        await until(lambda: b"event: hello" in stream.received)
        assert (await self.call("DELETE", f"{API}/tokens/{token_id}", self.own))[0] == 204
        await stream.ended
        assert (await self.call("GET", link["url"], None))[0] == 401
        assert (await self.call("GET", f"{API}/jobs", secret))[0] == 401
        _, listed = await self.call("GET", f"{API}/tokens", self.own)
        shown = {token["id"]: token for token in listed["items"]}
        assert shown[token_id]["revoked_at"] is not None
        assert secret not in str(listed)

    async def test_bad_tokens_and_links_are_refused_with_what_is_wrong(self) -> None:
        for wanted, pointer in (
            ({"name": "", "scope": "viewer"}, "/name"),
            ({"name": "x", "scope": "king"}, "/scope"),
            ({"name": "x"}, "/scope"),
            ({"name": "x", "scope": "viewer", "more": 1}, "/more"),
        ):
            status, problem = await self.call("POST", f"{API}/tokens", self.own, wanted)
            assert status == 400
            assert pointer in [fault["pointer"] for fault in problem["errors"]]
        for wanted in ({"name": "x", "scope": "admin"}, {"name": "\x1b[2J", "scope": "viewer"}):
            assert (await self.call("POST", f"{API}/tokens", self.own, wanted))[0] == 400
        path = {"path": f"{API}/tokens"}
        assert (await self.call("POST", f"{API}/links", self.own, path))[0] == 400
        assert (await self.call("DELETE", f"{API}/tokens/none", self.own))[0] == 404


class Unguarded(AccessCase):
    """It listens on loopback and asks nobody for a token."""

    async def test_pages_of_other_sites_and_foreign_names_get_nothing(self) -> None:
        for path, method in itertools.product(self.paths(), METHODS):
            for attempt in self.outsiders():
                await self.refuse(method, path, attempt)
        assert await self.everything() == self.before

    async def test_neither_do_they_of_the_api_nor_a_form_that_hides_where_it_is_from(self) -> None:
        form = Attempt("a form", 415, ("Content-Type: application/x-www-form-urlencoded",))
        text = Attempt("a form", 415, ("Content-Type: text/plain",))
        for method, path in self.routes():
            for attempt in self.outsiders():
                await self.refuse(method, path, attempt)
            if method in ("POST", "PUT", "PATCH"):
                for attempt in (form, text, Attempt("a form", 415)):
                    await self.refuse(method, path, attempt)
        assert await self.everything() == self.before

    async def test_no_token_can_be_given_out(self) -> None:
        adding = defer.ensureDeferred(self.client.add_token("attic", Scope.WORKER))
        error = await self.assertFailure(adding, Conflict)
        assert "--token-file" in error.advice
        assert await self.client.tokens() == []

    async def test_a_token_that_is_shown_all_the_same_does_no_harm(self) -> None:
        answer = await self.ask("GET", self.piece, Attempt("", 200, (bearer("whatever"),)))
        assert answer.endswith(b"secret-piece")
