"""A small site that answers as the REST API does, for tests of whoever asks it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet import defer, endpoints, reactor
from twisted.protocols.policies import WrappingFactory
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from ffcluster.net.address import CoordinatorAddress
from tests.net.loopback import until

Answering = Callable[[Request], Any]


class Answers(Resource):
    """Answers every path below it by the function that is named for `METHOD path`."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, Answering] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []

    def render(self, request: Request) -> Any:
        path = request.path.decode().removeprefix("/api/v1")
        query = {k.decode(): v[0].decode() for k, v in request.args.items()}
        self.asked.append((f"{request.method.decode()} {path}", query))
        answer = self.answers.get(self.asked[-1][0])
        if answer is None:
            return problem(request, 404, "not_found", f"There is no {path}.")
        return answer(request)


def in_json(body: object) -> Answering:
    def answer(request: Request) -> bytes:
        request.setHeader(b"content-type", b"application/json")
        return json.dumps(body).encode()

    return answer


def problem(request: Request, status: int, code: str, detail: str, **more: Any) -> bytes:
    request.setResponseCode(status)
    request.setHeader(b"content-type", b"application/problem+json")
    about = {"type": f"urn:ffcluster:problem:{code}", "title": code, "status": status}
    return json.dumps({**about, "code": code, "detail": detail, **more}).encode()


def event(kind: str, data: dict[str, Any], number: int | None = None) -> bytes:
    name = "" if number is None else f"id: {number}\n"
    return f"{name}event: {kind}\ndata: {json.dumps(data)}\n\n".encode()


def written(number: int, kind: str = "job.state", job_id: str = "job1") -> bytes:
    data = {"number": number, "at": "2026-01-02T03:04:05.678Z", "kind": kind, "job_id": job_id,
            "worker_id": None, "epoch": None, "data": {"to": "Processing"}}  # fmt: skip
    return event(kind, data, number)


def streamed(*parts: bytes, ends: bool = False) -> Answering:
    """Answers with a stream that stays open unless it `ends`."""

    def answer(request: Request) -> int:
        request.setHeader(b"content-type", b"text/event-stream")
        for part in parts:
            request.write(part)
        if ends:
            request.finish()
        else:
            request.notifyFinish().addErrback(lambda _: None)
        return NOT_DONE_YET

    return answer


class ApiCase(TestCase):
    """A site on a real loopback port."""

    timeout = 20

    async def setUp(self) -> None:
        self.site = Answers()
        self.factory = WrappingFactory(Site(self.site))
        listening = await endpoints.TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(
            self.factory
        )
        self.addCleanup(lambda: defer.ensureDeferred(self._close()))
        self.addCleanup(listening.stopListening)
        self.address = CoordinatorAddress("127.0.0.1", listening.getHost().port)

    async def _close(self) -> None:
        for connection in list(self.factory.protocols):
            connection.transport.abortConnection()
        await until(lambda: not self.factory.protocols)
