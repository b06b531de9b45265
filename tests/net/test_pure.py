"""Ranges, digests, sessions, addresses and tokens: all without I/O."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffcluster.errors import InvalidOption, ProtocolError
from ffcluster.net.address import CoordinatorAddress, is_loopback_host
from ffcluster.net.messages import PROTOCOL_VERSIONS, Hello
from ffcluster.net.ranges import Block, digest_header, parse_digest, parse_range
from ffcluster.net.session import HEARTBEAT_S, SILENCE_LIMIT_S, BackOff, Liveness, negotiate
from ffcluster.net.tokens import (
    authorization,
    digest,
    id_in,
    make_issued_token,
    make_token,
    shown_in,
)

SIZES = st.integers(0, 10**15)


# --- ranges --------------------------------------------------------------------------------------


@given(SIZES, SIZES, st.integers(0, 10**6))
def test_block_header_is_read_back_as_the_same_block(start: int, length: int, rest: int) -> None:
    block = Block(start, start + length + 1, start + length + 1 + rest)
    assert Block.parse(block.header) == block


def test_block_of_an_empty_file_is_read_back() -> None:
    assert Block.parse(Block(0, 0, 0).header) == Block(0, 0, 0)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "bytes",
        "bytes 0-1",
        "bytes 0-1/*",
        "bytes */5",
        "bytes 1-0/5",
        "bytes 0-5/5",
        "bytes -1-3/5",
        "bytes 0-1/5 ",
        "bytes 0-1/5\n",
        "bytes 0-99999999999999999/5",
        "chars 0-1/5",
        "bytes 0-0/0x",
        "bytes 1-1/0",
    ],
)
def test_contradicting_block_header_is_refused(header: str) -> None:
    with pytest.raises(ProtocolError):
        Block.parse(header)


@given(st.text(max_size=40))
def test_any_text_as_a_block_header_gives_a_block_or_a_protocol_error(text: str) -> None:
    try:
        block = Block.parse(text)
    except ProtocolError:
        return
    assert 0 <= block.start <= block.stop <= block.total


@given(st.integers(1, 10**12), st.data())
def test_range_within_a_file_is_what_was_asked_for(size: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, size - 1))
    last = data.draw(st.integers(start, size + 10))
    assert parse_range(f"bytes={start}-{last}", size) == (start, min(last + 1, size))
    assert parse_range(f"bytes={start}-", size) == (start, size)


@pytest.mark.parametrize(("header", "size"), [("bytes=5-", 5), ("bytes=0-", 0), ("bytes=3-2", 9)])
def test_range_outside_a_file_is_refused(header: str, size: int) -> None:
    with pytest.raises(ProtocolError):
        parse_range(header, size)


@pytest.mark.parametrize("header", [None, "", "bytes=-5", "bytes=1-2,4-5", "lines=1-2"])
def test_range_of_another_form_means_the_whole_file(header: str | None) -> None:
    assert parse_range(header, 10) is None


@given(st.binary())
def test_digest_header_is_read_back(data: bytes) -> None:
    sha256 = hashlib.sha256(data).hexdigest()
    assert parse_digest(digest_header(sha256)) == sha256


@given(st.text(max_size=80) | st.text("sha-256=:A/+", max_size=60).map("sha-256=:{}:".format))
def test_any_other_digest_is_a_protocol_error(text: str) -> None:
    try:
        assert len(parse_digest(text)) == 64
    except ProtocolError:
        return


# --- sessions ------------------------------------------------------------------------------------


def hello(*protocols: int) -> Hello:
    return Hello(protocols, "client")


def test_highest_common_version_is_spoken() -> None:
    assert negotiate(hello(*PROTOCOL_VERSIONS, 98, 99)) == max(PROTOCOL_VERSIONS)


@pytest.mark.parametrize("protocols", [(), (99,), (0, 98)])
def test_no_common_version_is_an_error_that_names_both(protocols: tuple[int, ...]) -> None:
    with pytest.raises(ProtocolError, match="No common protocol version"):
        negotiate(hello(*protocols))


def test_heartbeat_is_due_after_silence_of_this_side_only() -> None:
    liveness = Liveness(heard_at=0.0, said_at=0.0)
    assert not liveness.must_speak(HEARTBEAT_S - 0.01)
    assert liveness.must_speak(HEARTBEAT_S)
    liveness.said(HEARTBEAT_S)
    liveness.heard(HEARTBEAT_S + 1)
    assert not liveness.must_speak(HEARTBEAT_S + 1)


def test_peer_is_given_up_after_silence_and_not_before() -> None:
    liveness = Liveness(heard_at=100.0, said_at=100.0)
    assert not liveness.given_up(100.0 + SILENCE_LIMIT_S - 0.01)
    assert liveness.given_up(100.0 + SILENCE_LIMIT_S)
    liveness.heard(110.0)
    assert not liveness.given_up(100.0 + SILENCE_LIMIT_S)


@given(st.floats(0.2, 60))
def test_several_heartbeats_fit_into_the_silence_that_is_borne(heartbeat_s: float) -> None:
    liveness = Liveness(heard_at=0.0, said_at=0.0)
    liveness.agree(heartbeat_s)
    # A heartbeat is sent when it is due or one look later.
    assert liveness.must_speak(heartbeat_s)
    assert not liveness.given_up(3 * (heartbeat_s + liveness.look_every_s))
    assert liveness.given_up(liveness.limit_s)


@pytest.mark.parametrize("heartbeat_s", [0.0, 1e-9, 0.01])
def test_no_welcome_makes_the_sides_talk_without_pause(heartbeat_s: float) -> None:
    liveness = Liveness(heard_at=0.0, said_at=0.0)
    liveness.agree(heartbeat_s)
    assert not liveness.must_speak(0.05)
    assert liveness.look_every_s > 0.02


def test_back_off_of_one_who_is_awaited_stays_short_and_grows_again_afterwards() -> None:
    back_off = BackOff(1.0, lambda: 0.5)
    assert [back_off.failed(within_s=3.0) for _ in range(5)] == [1.0, 2.0, 3.0, 3.0, 3.0]
    assert back_off.failed() == 32.0


@given(st.floats(0.01, 100), st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=80))
def test_back_off_stays_between_half_and_one_and_a_half_of_its_mean(
    base_s: float, chances: list[float]
) -> None:
    back_off = BackOff(base_s, iter(chances).__next__)
    for failures in range(len(chances)):
        mean_s = min(base_s * 2.0**failures, back_off.limit_s)
        delay_s = back_off.failed()
        assert mean_s * 0.5 <= delay_s <= min(mean_s * 1.5, back_off.limit_s)


def test_back_off_starts_anew_after_a_success() -> None:
    back_off = BackOff(3.0, lambda: 0.5)
    assert [back_off.failed() for _ in range(6)] == [3.0, 6.0, 12.0, 24.0, 48.0, 60.0]
    back_off.succeeded()
    assert back_off.failed() == 3.0


# --- addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "host", "port", "secure"),
    [
        ("films", "films", 5001, False),
        ("films:6000", "films", 6000, False),
        ("ws://films", "films", 5001, False),
        ("ws://films:6000/ws", "films", 6000, False),
        ("wss://films/", "films", 5001, True),
        ("https://films:1", "films", 1, True),
        (" http://[::1]:7 ", "::1", 7, False),
        ("10.0.0.1:5001", "10.0.0.1", 5001, False),
    ],
)
def test_address_is_read_in_every_form_that_people_write(
    text: str, host: str, port: int, secure: bool
) -> None:
    assert CoordinatorAddress.parse(text) == CoordinatorAddress(host, port, secure)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "ftp://films",
        "ws://",
        "ws://films:x",
        "ws://films:99999",
        "films/else",
        "ws://[::1",
    ],
)
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        CoordinatorAddress.parse(text)
    assert "ws://" in caught.value.advice


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_an_invalid_option(text: str) -> None:
    try:
        address = CoordinatorAddress.parse(text)
    except InvalidOption:
        return
    assert address.host


def test_urls_have_brackets_around_ipv6() -> None:
    address = CoordinatorAddress("::1", 5001, secure=True)
    assert address.websocket_url == "wss://[::1]:5001/ws"
    assert address.http_url("/v1/x") == "https://[::1]:5001/v1/x"
    assert CoordinatorAddress.parse(address.websocket_url) == address


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:5001", "127.0.0.1:1", "[::1]", "LocalHost"]
)
def test_loopback_names_are_known(host: str) -> None:
    assert is_loopback_host(host)


@pytest.mark.parametrize(
    "host", ["", "evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "x@evil", "[", "::1"]
)
def test_other_names_are_not_loopback(host: str) -> None:
    assert not is_loopback_host(host)


# --- tokens --------------------------------------------------------------------------------------


def test_header_shows_the_token_that_it_was_made_of() -> None:
    token = make_token()
    header = authorization(token)["Authorization"]
    assert shown_in(header) == token
    assert shown_in(header.replace("Bearer", "bearer")) == token


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic secret", "secret"])
def test_missing_or_other_header_shows_nothing(header: str | None) -> None:
    assert shown_in(header) is None


@given(st.text(max_size=40))
def test_any_header_is_read_without_an_error(header: str) -> None:
    for text in (header, f"Bearer {header}"):
        digest(shown_in(text) or "")
        id_in(shown_in(text) or "")


def test_issued_secret_names_its_id_and_fits_into_a_header() -> None:
    token_id, secret = make_issued_token()
    assert id_in(secret) == token_id
    assert secret.startswith(f"ffc_{token_id}_")
    assert secret.isascii()
    assert secret.isprintable()
    assert len(secret.removeprefix(f"ffc_{token_id}_")) >= 43
    assert make_issued_token() != (token_id, secret)


@pytest.mark.parametrize("other", ["", "ffc", "ffc_", "ffc_id", "abc_id_secret", "hzOGg19l"])
def test_other_secrets_name_no_id(other: str) -> None:
    assert id_in(other) == ""


def test_without_a_token_nothing_is_shown() -> None:
    assert authorization(None) == {}
