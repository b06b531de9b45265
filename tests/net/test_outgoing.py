"""Requests to named addresses: nothing private is reached, no answer is too long or too late."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import KeyPair
from twisted.trial.unittest import TestCase
from twisted.web.server import Site

from ffcluster.errors import InvalidOption, Refused, Unreachable
from ffcluster.net.outgoing import Outgoing, check_url, is_public
from tests.integration.media_case import asynchronous
from tests.services.receiver import Receiver, signed_headers


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
        "100.64.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1", "192.0.2.1", "240.0.0.1",
        "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fec0::1", "ff02::1", "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "::127.0.0.1",
        "2002:a00:1::1", "2001::1", "no address", "",
    ],
)  # fmt: skip
def test_private_and_special_addresses_are_told(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_public_addresses_are_told(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org", "https://127.0.0.1/", "https://[::1]/", "https://10.0.0.1:8443/x",
        "https://user:hunter2@example.org/", "ftp://example.org", "example.org", "", "https://",
        "https://example.org/ a", "https://ex\u00e4mple.org", "https://example.org/\n", "https://a:b/",
        "https://example.org:0/", "https://example.org/" + "x" * 2000, "file:///etc/passwd",
    ],
)  # fmt: skip
def test_urls_that_lead_astray_are_refused(url: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        check_url(url, private=False)
    assert "hunter2" not in str(refused.value)


def test_private_urls_are_taken_where_they_are_allowed() -> None:
    check_url("https://example.org/hook?token=1", private=False)
    check_url("https://8.8.8.8/hook", private=False)
    check_url("http://127.0.0.1:8000/hook", private=True)
    check_url("http://[::1]:8000/hook", private=True)
    with pytest.raises(InvalidOption):
        check_url("file:///etc/passwd", private=True)


class OutgoingTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.receiver = Receiver()
        self.addCleanup(self.receiver.close)

    async def post(self, outgoing: Outgoing, url: str | None = None) -> int:
        headers, body = signed_headers(b'{"data": {"number": 1}}')
        return await outgoing.post(url or self.receiver.url, headers, body)

    @asynchronous
    async def test_status_is_told_and_redirects_are_not_followed(self) -> None:
        self.receiver.statuses = [204, 302, 410]
        self.receiver.location = self.receiver.url.encode()
        outgoing = Outgoing(reactor, private=True)
        assert [await self.post(outgoing) for _ in range(3)] == [204, 302, 410]
        assert len(self.receiver.got) == 3

    @asynchronous
    async def test_name_that_leads_into_a_private_network_is_refused_when_it_connects(self) -> None:
        stands_for = [["8.8.8.8"], ["127.0.0.1"], ["::ffff:127.0.0.1", "10.0.0.1"], []]

        async def resolve(host: str, port: int) -> list[str]:
            assert host == "example.org"
            return stands_for.pop(0)

        url = self.receiver.url.replace("127.0.0.1", "example.org")
        # What it stood for when the webhook was made says nothing about now.
        assert await resolve("example.org", 80) == ["8.8.8.8"]
        while stands_for:
            with pytest.raises(Refused):
                await self.post(Outgoing(reactor, resolve=resolve), url)
        with pytest.raises(Refused):
            await self.post(Outgoing(reactor))
        assert self.receiver.got == []

    @asynchronous
    async def test_name_that_is_not_known_or_nobody_there_is_unreachable(self) -> None:
        async def unknown(host: str, port: int) -> list[str]:
            raise OSError("there is no such name")

        outgoing = Outgoing(reactor, private=True, resolve=unknown)
        with pytest.raises(Unreachable) as failed:
            await self.post(outgoing)
        assert str(failed.value) == "there is no such name"
        url = self.receiver.url
        await self.receiver.close()
        with pytest.raises(Unreachable):
            await self.post(Outgoing(reactor, private=True), url)

    @asynchronous
    async def test_answer_that_does_not_come_is_not_awaited_for_ever(self) -> None:
        self.receiver.silent = True
        outgoing = Outgoing(reactor, private=True, answer_within_s=0.2)
        with pytest.raises(Unreachable) as failed:
            await self.post(outgoing)
        assert str(failed.value) == "no answer within 0.2 s"

    @asynchronous
    async def test_certificate_that_nobody_vouches_for_is_refused(self) -> None:
        certificate = KeyPair.generate().selfSignedCert(1, CN="localhost")
        site = Site(self.receiver)
        port: Any = reactor.listenSSL(0, site, certificate.options(), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        with pytest.raises(Unreachable):
            await self.post(
                Outgoing(reactor, private=True), f"https://127.0.0.1:{port.getHost().port}/"
            )
        assert self.receiver.got == []
        # Twisted says why, too.
        self.flushLoggedErrors()

    @asynchronous
    async def test_endless_answer_is_cut_off(self) -> None:
        class Flood(Protocol):
            def dataReceived(self, data: bytes) -> None:
                transport: Any = self.transport
                transport.write(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20_000)

        port: Any = reactor.listenTCP(0, Factory.forProtocol(Flood), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        with pytest.raises(Unreachable):
            await self.post(
                Outgoing(reactor, private=True), f"http://127.0.0.1:{port.getHost().port}/"
            )
