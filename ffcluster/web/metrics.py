"""`/metrics`: what was measured, as Prometheus reads it. Knows no metric by name."""

from __future__ import annotations

from typing import Any, Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from twisted.internet.defer import ensureDeferred
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

log = Logger()


class Measured(Protocol):
    """What there is to show; see `ffcluster.services.viewing.metrics`.

    Attributes:
        registry: Everything that is measured.
    """

    registry: CollectorRegistry

    async def refresh(self) -> None:
        """Look at what is not counted as it happens, letting others go on meanwhile."""


class MetricsResource(Resource):
    """Shows everything, in OpenMetrics where the caller takes that, else in Prometheus' format.

    Args:
        measured: What there is to show.
    """

    isLeaf = True

    def __init__(self, measured: Measured) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._measured = measured

    def render_GET(self, request: Request) -> int:
        """Look at everything, and show it."""
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)
        answering = ensureDeferred(self._answer(request, gone))
        answering.addErrback(lambda failure: _failed(request, failure, gone))
        return NOT_DONE_YET

    async def _answer(self, request: Any, gone: list[object]) -> None:
        await self._measured.refresh()
        if gone:
            return
        try:
            encoder, media_type = choose_encoder(request.getHeader("accept") or "")
        except TypeError:
            # A version that is no number.
            encoder, media_type = choose_encoder("")
        body = encoder(self._measured.registry)
        request.setHeader("content-type", media_type)
        request.setHeader("cache-control", "no-store")
        request.setHeader("vary", "accept")
        request.setHeader("content-length", str(len(body)))
        request.write(body)
        request.finish()


def _failed(request: Any, failure: Any, gone: list[object]) -> None:
    log.failure("cannot show what was measured", failure)
    if gone or request.channel is None:
        return
    request.setResponseCode(500)
    request.setHeader("content-type", "text/plain; charset=utf-8")
    request.responseHeaders.removeHeader("content-length")
    request.write(b"It cannot be shown; the log says why.\n")
    request.finish()
