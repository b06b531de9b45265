"""What the one port lets in: hosts, tokens, lengths, deadlines, numbers of connections."""

from __future__ import annotations

import hashlib
from typing import Any

from twisted.web.resource import Resource

from ffcluster.net import site
from ffcluster.net.access import Caller, Scope
from ffcluster.net.ranges import digest_header
from tests.net.loopback import BLOCK, TOKEN, LoopbackCase, payload, until

FILM = payload(3 * BLOCK)


def request(line: str, *headers: str, body: bytes = b"", host: str = "localhost") -> bytes:
    lines = [f"{line} HTTP/1.1", f"Host: {host}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def header(answer: bytes, name: str) -> str | None:
    for line in answer.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]:
        key, _, value = line.partition(": ")
        if key.lower() == name:
            return value
    return None


def body_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def site_digest(data: bytes) -> str:
    return digest_header(hashlib.sha256(data).hexdigest())


def block_header(start: int, stop: int, total: int) -> str:
    return f"Content-Range: bytes {start}-{stop - 1}/{total}"


class Open(LoopbackCase):
    async def test_get_sends_the_file_with_its_size_and_hash(self) -> None:
        self.offer(FILM)
        answer = await self.raw(request("GET /v1/pieces/film"))
        assert status(answer) == 200
        assert body_of(answer) == FILM
        assert header(answer, "content-length") == str(len(FILM))
        assert header(answer, "accept-ranges") == "bytes"
        assert header(answer, "x-content-type-options") == "nosniff"
        assert header(answer, "repr-digest") is not None

    async def test_range_is_answered_in_part(self) -> None:
        self.offer(FILM)
        answer = await self.raw(request("GET /v1/pieces/film", "Range: bytes=10-19"))
        assert status(answer) == 206
        assert body_of(answer) == FILM[10:20]
        assert header(answer, "content-range") == f"bytes 10-19/{len(FILM)}"

    async def test_open_range_goes_to_the_end(self) -> None:
        self.offer(FILM)
        answer = await self.raw(request("GET /v1/pieces/film", f"Range: bytes={len(FILM) - 3}-"))
        assert status(answer) == 206
        assert body_of(answer) == FILM[-3:]

    async def test_range_outside_the_file_is_416_with_its_size(self) -> None:
        self.offer(FILM)
        answer = await self.raw(request("GET /v1/pieces/film", f"Range: bytes={len(FILM)}-"))
        assert status(answer) == 416
        assert header(answer, "content-range") == f"bytes */{len(FILM)}"

    async def test_unknown_forms_of_range_get_the_whole_file(self) -> None:
        self.offer(FILM)
        for form in ("bytes=0-1,5-6", "bytes=-5", "lines=1-2", "bytes=x"):
            answer = await self.raw(request("GET /v1/pieces/film", f"Range: {form}"))
            assert status(answer) == 200
            assert body_of(answer) == FILM

    async def test_head_of_a_file_has_headers_and_no_body(self) -> None:
        self.offer(FILM)
        answer = await self.raw(request("HEAD /v1/pieces/film"))
        assert status(answer) == 200
        assert header(answer, "content-length") == str(len(FILM))
        assert body_of(answer) == b""

    async def test_head_of_an_upload_says_how_much_is_there(self) -> None:
        incoming = self.await_file()
        incoming.expect(10)
        incoming.take(0, b"12345", None)
        answer = await self.raw(request("HEAD /v1/results/film"))
        assert status(answer) == 200
        assert header(answer, "upload-offset") == "5"
        assert header(answer, "upload-complete") == "?0"

    async def test_unknown_names_kinds_and_longer_paths_are_404(self) -> None:
        self.offer(FILM)
        for path in (
            "/",
            "/v1/",
            "/v1/pieces/",
            "/v1/pieces/none",
            "/v1/other/film",
            "/v1/pieces/film/more",
            "/v1/pieces/..%2f..%2fetc%2fpasswd",
            "/etc/passwd",
        ):
            assert status(await self.raw(request(f"GET {path}"))) == 404, path

    async def test_lines_that_are_too_long_are_told_so(self) -> None:
        much = b"x" * 20_000
        for line, said in (
            (b"GET /v1/pieces/" + much, 414),
            (b"GET /v1/pieces/" + much + b" HTTP/1.1\r\n", 414),
            (b"GET /api/v1/jobs?state=" + much, 414),
            (b"GET /v1/pieces/film HTTP/1.1\r\nIf-Match: " + much, 431),
        ):
            answer = await self.raw(line)
            assert status(answer) == said, line[:60]
            as_problem = header(answer, "content-type") == "application/problem+json"
            assert as_problem is line.startswith(b"GET /api/")

    async def test_headers_of_any_bytes_are_answered(self) -> None:
        self.offer(FILM)
        for name in ("Range", "Authorization", "Host", "Origin", "If-Match", "Content-Type"):
            line = f"{name}: ".encode() + b"\xfa[P\xc2\x84\xff"
            answer = await self.raw(b"GET /v1/pieces/film HTTP/1.1\r\n" + line + b"\r\n\r\n")
            assert 200 <= status(answer) < 500, name

    async def test_nothing_but_the_known_methods_is_allowed(self) -> None:
        self.offer(FILM)
        for method in ("POST", "DELETE", "PATCH", "OPTIONS"):
            assert status(await self.raw(request(f"{method} /v1/pieces/film"))) in (405, 501)

    async def test_block_is_taken_and_the_last_one_completes_the_file(self) -> None:
        incoming = self.await_file()
        first = await self.raw(
            request(
                "PUT /v1/results/film", block_header(0, 4, 6), "Content-Length: 4", body=b"abcd"
            )
        )
        assert status(first) == 204
        assert header(first, "upload-offset") == "4"
        digest = site_digest(b"abcdef")
        last = await self.raw(
            request(
                "PUT /v1/results/film",
                block_header(4, 6, 6),
                f"Repr-Digest: {digest}",
                "Content-Length: 2",
                body=b"ef",
            )
        )
        assert status(last) == 201
        assert header(last, "upload-complete") == "?1"
        assert incoming.path.read_bytes() == b"abcdef"

    async def test_gap_and_wrong_hash_are_422(self) -> None:
        incoming = self.await_file()
        gap = await self.raw(
            request("PUT /v1/results/film", block_header(2, 4, 6), "Content-Length: 2", body=b"cd")
        )
        assert status(gap) == 422
        digest = site_digest(b"other")
        wrong = await self.raw(
            request(
                "PUT /v1/results/film",
                block_header(0, 6, 6),
                f"Repr-Digest: {digest}",
                "Content-Length: 6",
                body=b"abcdef",
            )
        )
        assert status(wrong) == 422
        assert incoming.offset == 0

    async def test_malformed_block_headers_are_400(self) -> None:
        self.await_file()
        for headers in (
            ("Content-Range: bytes 5-2/6",),
            ("Content-Range: bytes 0-1/1",),
            ("Content-Range: nonsense",),
            (block_header(0, 1, 6),),
            (block_header(0, 2, 6), "Repr-Digest: md5=:AAAA:"),
            (block_header(0, 2, 2), "Repr-Digest: sha-256=:AAAA:"),
        ):
            answer = await self.raw(
                request("PUT /v1/results/film", *headers, "Content-Length: 2", body=b"ab")
            )
            assert status(answer) == 400, headers

    async def test_put_without_content_range_is_400(self) -> None:
        self.await_file()
        answer = await self.raw(request("PUT /v1/results/film", "Content-Length: 2", body=b"ab"))
        assert status(answer) == 400

    async def test_body_longer_than_a_block_is_413_and_never_reaches_the_file(self) -> None:
        incoming = self.await_file()
        data = payload(BLOCK + 1)
        answer = await self.raw(
            request(
                "PUT /v1/results/film",
                block_header(0, len(data), len(data)),
                f"Content-Length: {len(data)}",
                body=data,
            )
        )
        assert status(answer) == 413
        assert incoming.offset == 0
        assert incoming.size_bytes is None

    async def test_announced_huge_body_is_refused_before_it_is_sent(self) -> None:
        self.await_file()
        answer = await self.raw(
            request(
                "PUT /v1/results/film", block_header(0, 2**40, 2**40), f"Content-Length: {2**40}"
            )
        )
        assert status(answer) == 413

    async def test_chunked_body_is_411(self) -> None:
        self.await_file()
        answer = await self.raw(
            request(
                "PUT /v1/results/film",
                block_header(0, 2, 2),
                "Transfer-Encoding: chunked",
                body=b"2\r\nab\r\n0\r\n\r\n",
            )
        )
        assert status(answer) == 411

    async def test_foreign_host_is_421_on_loopback(self) -> None:
        self.offer(FILM)
        for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", ""):
            answer = await self.raw(request("GET /v1/pieces/film", host=host))
            assert status(answer) == 421
            assert FILM not in answer
            assert body_of(answer).startswith(b"This coordinator is not asked under that name")

    async def test_loopback_names_are_answered(self) -> None:
        self.offer(FILM)
        for host in ("localhost", f"127.0.0.1:{self.port}", "[::1]:5001", "LOCALHOST:1"):
            assert status(await self.raw(request("GET /v1/pieces/film", host=host))) == 200

    async def test_garbage_is_answered_or_dropped_and_the_site_lives_on(self) -> None:
        self.offer(FILM)
        for garbage in (
            b"\x16\x03\x01\x02\x00",
            b"GET\r\n\r\n",
            b"\r\n\r\n\r\n",
            b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 600 + b"\r\n",
        ):
            connection = await self.dial()
            connection.transport.write(garbage)
        assert status(await self.raw(request("GET /v1/pieces/film"))) == 200

    async def test_vanished_reader_is_forgotten(self) -> None:
        self.offer(payload(8 * 2**20))
        connection = await self.dial()
        connection.transport.write(request("GET /v1/pieces/film"))
        await until(lambda: connection.received)
        connection.transport.abortConnection()
        await until(lambda: not self.guard.protocols)

    async def test_client_that_vanishes_in_mid_block_leaves_the_upload_as_it_was(self) -> None:
        incoming = self.await_file()
        connection = await self.dial()
        connection.transport.write(
            request(
                "PUT /v1/results/film",
                block_header(0, 99, 99),
                "Content-Length: 99",
                body=b"x" * 50,
            )
        )
        await until(lambda: self.guard.protocols)
        connection.transport.abortConnection()
        await until(lambda: not self.guard.protocols)
        assert incoming.offset == 0


class Deadlines(LoopbackCase):
    def setUp(self) -> object:
        self.patch(site, "_HEADER_DEADLINE_S", 0.1)
        self.patch(site, "_BODY_DEADLINE_S", 0.1)
        return super().setUp()

    async def test_connection_that_says_nothing_is_dropped(self) -> None:
        assert await (await self.dial()).ended == b""

    async def test_sender_of_slow_headers_is_dropped(self) -> None:
        connection = await self.dial()
        connection.transport.write(b"GET / HTTP/1.1\r\n")
        await until(lambda: connection.transport.write(b"X: y\r\n") or connection.ended.called)

    async def test_slow_headers_of_a_second_request_are_dropped_too(self) -> None:
        self.offer(FILM)
        connection = await self.dial()
        connection.transport.write(b"GET /v1/pieces/film HTTP/1.1\r\nhost: localhost\r\n\r\n")
        await until(lambda: connection.received.endswith(FILM))
        connection.transport.write(b"GET /v1/pieces/film HTTP/1.1\r\n")
        await until(lambda: connection.ended.called)

    async def test_slow_body_is_dropped(self) -> None:
        self.await_file()
        connection = await self.dial()
        connection.transport.write(
            request("PUT /v1/results/film", block_header(0, 9, 9), "Content-Length: 9", body=b"x")
        )
        await until(lambda: connection.ended.called)

    async def test_slow_answer_is_not_dropped(self) -> None:
        film = payload(4 * 2**20)
        self.offer(film)
        connection = await self.dial()
        connection.transport.write(request("GET /v1/pieces/film"))
        connection.transport.pauseProducing()
        waited: list[int] = []
        await until(lambda: waited.append(1) or len(waited) > 30)
        connection.transport.resumeProducing()
        assert body_of(await connection.ended) == film


class Guarded(LoopbackCase):
    token = TOKEN
    loopback_only = False

    async def test_request_without_the_token_is_401_and_gets_nothing_else(self) -> None:
        self.offer(FILM)
        for shown in (
            (),
            ("Authorization: Bearer wrong",),
            (f"Authorization: {TOKEN}",),
            (f"Authorization: Basic {TOKEN}",),
            ("Authorization:",),
        ):
            answer = await self.raw(request("GET /v1/pieces/film", *shown))
            assert status(answer) == 401
            assert header(answer, "www-authenticate") == "Bearer"
            assert body_of(answer) == b"A valid token is needed.\n"

    async def test_refused_put_in_one_packet_with_its_body_writes_nothing(self) -> None:
        incoming = self.await_file()
        answer = await self.raw(
            request("PUT /v1/results/film", block_header(0, 2, 2), "Content-Length: 2", body=b"ab")
        )
        assert status(answer) == 401
        assert answer.count(b"HTTP/1.1") == 1
        assert incoming.size_bytes is None

    async def test_request_behind_a_refused_one_is_not_answered(self) -> None:
        self.offer(FILM)
        refused = b"GET /v1/pieces/film HTTP/1.1\r\nHost: x\r\n\r\n"
        allowed = request("GET /v1/pieces/film", f"Authorization: Bearer {TOKEN}")
        answer = await self.raw(refused + allowed)
        assert answer.count(b"HTTP/1.1") == 1

    async def test_any_host_is_answered_with_the_token(self) -> None:
        self.offer(FILM)
        shown = f"Authorization: bearer {TOKEN}"
        assert status(await self.raw(request("GET /v1/pieces/film", shown, host="films"))) == 200


class Scoped(LoopbackCase):
    """Tokens that open less than everything."""

    token = TOKEN

    async def given(self, scope: Scope) -> tuple[str, str]:
        """A token of this scope: its id, and the header that shows it."""
        made, secret = await self.book.add("attic", scope)
        return made.id, f"Authorization: Bearer {secret}"

    async def test_only_the_right_scope_gets_a_file_or_puts_one(self) -> None:
        self.offer(FILM)
        incoming = self.await_file()
        block = (block_header(0, 2, 2), "Content-Length: 2")
        for scope in (Scope.CLIENT, Scope.VIEWER):
            _, shown = await self.given(scope)
            answer = await self.raw(request("GET /v1/pieces/film", shown))
            assert status(answer) == 403
            assert FILM not in answer
            assert b"this needs worker" in body_of(answer)
            answer = await self.raw(request("PUT /v1/results/film", shown, *block, body=b"ab"))
            assert status(answer) == 403
        assert incoming.size_bytes is None
        _, shown = await self.given(Scope.WORKER)
        assert body_of(await self.raw(request("GET /v1/pieces/film", shown))) == FILM

    async def test_foreign_origin_gets_nothing_whatever_it_shows(self) -> None:
        self.offer(FILM)
        shown = f"Authorization: Bearer {TOKEN}"
        for tell in ("Origin: https://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site"):
            answer = await self.raw(request("GET /v1/pieces/film", shown, tell))
            assert status(answer) == 403
            assert FILM not in answer

    async def test_resource_is_told_who_asks(self) -> None:
        seen: list[Caller | None] = []

        class Told(Resource):
            isLeaf = True

            def render_GET(self, request: Any) -> bytes:
                seen.append(request.caller)
                return b"ok"

        for name in (b"api", b"static"):
            self.root.putChild(name, Told())
        token_id, shown = await self.given(Scope.VIEWER)
        assert status(await self.raw(request("GET /api/v1/jobs", shown))) == 200
        assert status(await self.raw(request("GET /static/app.js", shown))) == 200
        assert seen == [Caller("attic", Scope.VIEWER, token_id), None]

    async def test_refusal_below_api_is_a_problem_document(self) -> None:
        answer = await self.raw(request("GET /api/v1/jobs"))
        assert header(answer, "content-type") == "application/problem+json"
        assert b'"code":"unauthorized"' in body_of(answer)
        assert body_of(await self.raw(request("HEAD /api/v1/jobs"))) == b""

    async def test_transfer_ends_when_its_token_is_revoked_and_others_go_on(self) -> None:
        film = payload(16 * 2**20)
        self.offer(film)
        revoked, shown = await self.given(Scope.WORKER)
        _, other = await self.given(Scope.WORKER)
        connections = []
        for header_line in (shown, other):
            connection = await self.dial()
            connection.transport.write(request("GET /v1/pieces/film", header_line))
            await until(lambda connection=connection: connection.received)
            connection.transport.pauseProducing()
            connections.append(connection)
        await self.book.revoke(revoked)
        for connection in connections:
            connection.transport.resumeProducing()
        assert len(await connections[0].ended) < len(film)
        assert body_of(await connections[1].ended) == film
        assert status(await self.raw(request("GET /v1/pieces/film", shown))) == 401

    async def test_connection_between_two_requests_outlives_a_token(self) -> None:
        self.offer(FILM)
        revoked, shown = await self.given(Scope.WORKER)
        lines = ("GET /v1/pieces/film HTTP/1.1", "Host: localhost")
        connection = await self.dial()
        connection.transport.write("\r\n".join([*lines, shown, "", ""]).encode())
        await until(lambda: connection.received.endswith(FILM))
        await self.book.revoke(revoked)
        last = ("Connection: close", f"Authorization: Bearer {TOKEN}")
        connection.transport.write("\r\n".join([*lines, *last, "", ""]).encode())
        assert (await connection.ended).count(FILM) == 2


class Named(LoopbackCase):
    allowed_hosts = ("films.example",)

    async def test_allowed_host_is_answered_and_no_other(self) -> None:
        self.offer(FILM)
        for host, code in (("films.example:443", 200), ("localhost", 200), ("evil.example", 421)):
            assert status(await self.raw(request("GET /v1/pieces/film", host=host))) == code


class Crowded(LoopbackCase):
    max_connections = 2

    async def test_connection_beyond_the_limit_is_closed_and_one_that_ends_makes_room(self) -> None:
        self.offer(FILM)
        held = [await self.dial() for _ in range(2)]
        await until(lambda: len(self.guard.protocols) == 2)
        assert await self.raw(request("GET /v1/pieces/film")) == b""
        held[0].transport.abortConnection()
        await until(lambda: len(self.guard.protocols) == 1)
        assert status(await self.raw(request("GET /v1/pieces/film"))) == 200
