"""A receiver of webhooks for tests: a real HTTP server that checks every signature by itself."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable
from typing import Any

import trustme
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.ssl import ContextFactory
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def is_signed(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """Verify a message as the specification of Standard Webhooks describes it."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    given = headers["webhook-signature"].split(" ")
    return any(hmac.compare_digest(one, f"v1,{expected}") for one in given)


def signed_headers(body: bytes) -> tuple[dict[str, str], bytes]:
    """What a sender of `body` sends."""
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    digest = hmac.new(key, b"msg_1.1." + body, hashlib.sha256).digest()
    signature = "v1," + base64.b64encode(digest).decode()
    headers = {"webhook-id": "msg_1", "webhook-timestamp": "1", "webhook-signature": signature}
    return headers, body


class _Shown(ContextFactory):
    """Shows a certificate to whoever connects."""

    def __init__(self, certificate: trustme.LeafCert) -> None:
        self._context = SSL.Context(SSL.TLS_SERVER_METHOD)
        certificate.configure_cert(self._context)

    def getContext(self) -> SSL.Context:
        return self._context


class Receiver(Resource):
    """Answers with the statuses that the test prepares, then with 204.

    Args:
        statuses: What is answered first.
        secret: What everything that comes must be signed with, or None for unsigned.
        certificate: Makes it listen for https, and shows this.

    Attributes:
        got: Each message that came: id, parsed body, and the status that it was answered with.
    """

    isLeaf = True

    def __init__(
        self,
        statuses: Iterable[int] = (),
        secret: str | None = SECRET,
        certificate: trustme.LeafCert | None = None,
    ) -> None:
        super().__init__()
        self.statuses = list(statuses)
        self.got: list[tuple[str, Any, int]] = []
        self.bodies: list[bytes] = []
        self.location = b""
        self.silent = False
        self._secret = secret
        listening: Any = reactor
        self._scheme = "https" if certificate else "http"
        site, here = Site(self), "127.0.0.1"
        if certificate is None:
            self._port = listening.listenTCP(0, site, interface=here)
        else:
            self._port = listening.listenSSL(0, site, _Shown(certificate), interface=here)

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._port.getHost().port}/hook?key=1"

    def render_POST(self, request: Any) -> Any:
        headers = {
            name.decode().lower(): values[0].decode()
            for name, values in request.requestHeaders.getAllRawHeaders()
        }
        body = request.content.read()
        if self._secret is None:
            assert "webhook-signature" not in headers
        else:
            assert is_signed(self._secret, headers, body)
        status = self.statuses.pop(0) if self.statuses else 204
        self.got.append((headers["webhook-id"], json.loads(body), status))
        self.bodies.append(body)
        if self.silent:
            return NOT_DONE_YET
        request.setResponseCode(status)
        if self.location:
            request.setHeader("location", self.location)
        return b""

    def numbers(self) -> list[int]:
        """Numbers of the events that came, in order."""
        return [message["data"]["number"] for _, message, _ in self.got]

    def close(self) -> Deferred[None]:
        closed: Deferred[None] = self._port.stopListening()
        return closed
