"""`/livez` and `/readyz`: whether the process runs, and whether it can do its work now.

Asked without a token, so they name no file, host, job or worker: the log says more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

import attrs
import orjson
from twisted.web.resource import Resource
from twisted.web.server import Request


@attrs.frozen
class Check:
    """One thing that must be well.

    Attributes:
        name: What is looked at.
        ok: Whether it is well.
        problem: What it means when it is not, in fixed words.
    """

    name: str
    ok: bool
    problem: str


class LiveResource(Resource):
    """Answers whoever asks: then the reactor turns."""

    isLeaf = True

    def render_GET(self, request: Request) -> bytes:
        """Say so."""
        return _answer(request, HTTPStatus.OK, {"live": True})


class ReadyResource(Resource):
    """Answers 200 when every check is well, else 503; both with all checks.

    Args:
        checks: Looks at everything; must not block.
    """

    isLeaf = True

    def __init__(self, checks: Callable[[], Sequence[Check]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._checks = checks

    def render_GET(self, request: Request) -> bytes:
        """Look, and say what was seen."""
        found = self._checks()
        ready = all(check.ok for check in found)
        status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
        shown = [
            {"name": check.name, "ok": check.ok, "problem": "" if check.ok else check.problem}
            for check in found
        ]
        return _answer(request, status, {"ready": ready, "checks": shown})


def _answer(request: Any, status: HTTPStatus, document: object) -> bytes:
    body = orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
    request.setResponseCode(status)
    request.setHeader("content-type", "application/json")
    request.setHeader("cache-control", "no-store")
    request.setHeader("content-length", str(len(body)))
    return body
