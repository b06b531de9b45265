"""Requests to named addresses: nothing private is reached, no answer is too long or too late."""

from __future__ import annotations

import datetime
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import trustme
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

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
        "https://a..b/", "https://under_score.example.org/", "https://*.example.org/", "https://./",
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
    check_url("http://my_service:8000/hook", private=True)
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
    async def test_who_answers_nothing_or_nonsense_is_told_in_words(self) -> None:
        class Silent(Protocol):
            says = b""

            def dataReceived(self, data: bytes) -> None:
                transport: Any = self.transport
                transport.write(self.says)
                transport.loseConnection()

        class Strange(Silent):
            says = b"SSH-2.0-OpenSSH\r\n\r\n"

        class Flood(Silent):
            says = b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20_000

        outgoing = Outgoing(reactor, private=True)
        for kind, words in (
            (Silent, "it ended the connection without an answer"),
            (Strange, "what it answered is no HTTP"),
            (Flood, "its answer is longer than 64 KiB"),
        ):
            port: Any = reactor.listenTCP(0, Factory.forProtocol(kind), interface="127.0.0.1")  # type: ignore[attr-defined]
            self.addCleanup(port.stopListening)
            with pytest.raises(Unreachable) as failed:
                await self.post(outgoing, f"http://127.0.0.1:{port.getHost().port}/")
            assert str(failed.value) == words
        with pytest.raises(Unreachable) as failed:
            await self.post(outgoing, "https://under_score.example.org/")
        assert str(failed.value) == "its host has a name that cannot be looked up"


class EncryptedTests(TestCase):
    """Over https: this process trusts one authority, and what that vouches for."""

    timeout = 60

    def setUp(self) -> None:
        self.trusted = trustme.CA()
        directory = Path(tempfile.mkdtemp(prefix="ffcluster-test-"))
        self.addCleanup(shutil.rmtree, directory)
        self.trusted.cert_pem.write_to_path(str(directory / "trusted.pem"))
        was = {name: os.environ.pop(name, None) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")}
        self.addCleanup(os.environ.update, {k: v for k, v in was.items() if v is not None})
        self.addCleanup(os.environ.pop, "SSL_CERT_FILE", None)
        os.environ["SSL_CERT_FILE"] = str(directory / "trusted.pem")
        self.outgoing = Outgoing(reactor, private=True, resolve=self.resolve)

    async def resolve(self, host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    async def post(self, certificate: trustme.LeafCert, host: str) -> tuple[int | str, int]:
        """The status of the answer, or why there is none; and how often it was received."""
        receiver = Receiver(certificate=certificate)
        self.addCleanup(receiver.close)
        headers, body = signed_headers(b'{"data": {"number": 1}}')
        url = receiver.url.replace("127.0.0.1", host)
        try:
            return await self.outgoing.post(url, headers, body), len(receiver.got)
        except Unreachable as failed:
            return str(failed), len(receiver.got)

    @asynchronous
    async def test_certificate_that_somebody_trusted_vouches_for_is_enough(self) -> None:
        named = self.trusted.issue_cert("hook.example.org")
        assert await self.post(named, "hook.example.org") == (204, 1)
        # Another receiver at the same host, and one without a name.
        assert await self.post(named, "hook.example.org") == (204, 1)
        assert await self.post(self.trusted.issue_cert("127.0.0.1"), "127.0.0.1") == (204, 1)
        between = self.trusted.create_child_ca()
        assert await self.post(between.issue_cert("a.example.org"), "a.example.org") == (204, 1)

    @asynchronous
    async def test_nothing_is_sent_to_whom_nobody_trusted_vouches_for(self) -> None:
        name = "hook.example.org"
        untrusted = "its certificate has expired, or no authority that is trusted here made it"
        assert await self.post(trustme.CA().issue_cert(name), name) == (untrusted, 0)
        long_ago = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)
        expired = self.trusted.issue_cert(name, not_before=long_ago, not_after=long_ago)
        assert await self.post(expired, name) == (untrusted, 0)
        other = self.trusted.issue_cert("other.example.org", "*.hook.example.org", "127.0.0.2")
        for host in (name, "127.0.0.1", "a.b.hook.example.org"):
            told = await self.post(other, host)
            assert told == ("its certificate is for another name", 0), host

    @asynchronous
    async def test_receiver_that_speaks_no_tls_is_sent_nothing(self) -> None:
        class Plain(Protocol):
            def dataReceived(self, data: bytes) -> None:
                got.append(data)
                transport: Any = self.transport
                transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        got: list[bytes] = []
        port: Any = reactor.listenTCP(0, Factory.forProtocol(Plain), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        with pytest.raises(Unreachable) as failed:
            await self.outgoing.post(f"https://127.0.0.1:{port.getHost().port}/", {}, b"{secret}")
        assert str(failed.value).startswith("no encrypted connection came about: ")
        assert b"secret" not in b"".join(got)
