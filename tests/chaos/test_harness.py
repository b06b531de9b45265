"""The harness itself: a proxy that changes what it must not, or an oracle that sees nothing, would
prove nothing.
"""

from __future__ import annotations

import random

import attrs
import pytest

from tests.chaos.film import (
    CUTS,
    FRAMES,
    ODD_SEGMENT,
    SEGMENTS,
    Shown,
    Wrong,
    compare,
    segment_frames,
)
from tests.chaos.proxy import Http, Messages, Orders, Passed, Truncate
from tests.chaos.rows import SCENARIOS

_BODY = bytes(range(200))
_PUT = b"PUT /v1/results/x HTTP/1.1\r\nHost: h\r\nContent-Length: 200\r\n\r\n" + _BODY
_GET = b"GET /v1/pieces/x HTTP/1.1\r\nHost: h\r\n\r\n"
_UPGRADE = b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"


def frame(payload: bytes, mask: bytes = b"") -> bytes:
    length = len(payload)
    assert length < 2**16
    flag = 0x80 if mask else 0
    head = bytes([0x81, length | flag]) if length < 126 else (
        bytes([0x81, 126 | flag]) + length.to_bytes(2, "big")
    )  # fmt: skip
    return head + mask + payload


def through(http: Http, data: bytes, step: int) -> bytes:
    out = b""
    for start in range(0, len(data), step):
        head, behind = http.feed(data[start : start + step])
        assert not behind
        out += head
    return out


@pytest.mark.parametrize("step", [1, 7, 64, 10_000])
def test_requests_pass_unchanged_however_they_are_cut(step: int) -> None:
    http = Http(Orders(), Passed(), requests=True)
    data = _GET + _PUT + _GET + _PUT
    assert through(http, data, step) == data


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_one_bit_of_one_body_is_flipped(step: int) -> None:
    orders, passed = Orders(flip=1, chance=random.Random(3)), Passed()
    http = Http(orders, passed, requests=True)
    data = _GET + _PUT + _PUT
    found = through(http, data, step)
    assert len(found) == len(data)
    different = [n for n, (a, b) in enumerate(zip(data, found, strict=True)) if a != b]
    assert len(different) == 1
    assert len(_GET) + len(_PUT) - len(_BODY) <= different[0] < len(_GET) + len(_PUT)
    assert passed.flipped == 1


def test_a_truncated_body_ends_within_it() -> None:
    http = Http(Orders(truncate=1, chance=random.Random(3)), Passed(), requests=True)
    with pytest.raises(Truncate) as ended:
        http.feed(_PUT)
    passed = ended.value.args[0]
    assert _PUT.startswith(passed)
    assert len(_PUT) - len(_BODY) <= len(passed) < len(_PUT)


def test_what_follows_an_upgrade_is_handed_on() -> None:
    http = Http(Orders(), Passed(), requests=True)
    assert http.feed(_UPGRADE + b"frames") == (_UPGRADE, b"frames")
    assert http.upgraded


def test_messages_are_doubled_but_for_the_greeting() -> None:
    orders = Orders(repeat=1.0)
    messages = Messages(orders, Passed())
    one, two = frame(b"hello"), frame(b"x" * 300, b"mask")
    data = one + two
    found = b"".join(messages.feed(data[n : n + 1]) for n in range(len(data)))
    assert found == one + two + two


def test_two_messages_change_places() -> None:
    messages = Messages(Orders(swap=1.0), Passed())
    greeting, one, two, three = (frame(text) for text in (b"g", b"1", b"2", b"3"))
    assert messages.feed(greeting + one + two + three) == greeting + two + one


FILM = Shown(tuple((n * 40, f"p{n}") for n in range(10)), ((0, "a"), (20, "b")))


@pytest.mark.parametrize(
    "pictures",
    [
        FILM.pictures[:-1],
        (*FILM.pictures[:4], FILM.pictures[5], FILM.pictures[4], *FILM.pictures[6:]),
        (*FILM.pictures[:4], (160, "other"), *FILM.pictures[5:]),
        (*FILM.pictures[:4], (161, "p4"), *FILM.pictures[5:]),
        (*FILM.pictures, FILM.pictures[-1]),
    ],
)
def test_the_oracle_sees_pictures_that_differ(pictures: tuple[tuple[int, str], ...]) -> None:
    with pytest.raises(Wrong):
        compare(FILM, attrs.evolve(FILM, pictures=pictures))


def test_the_oracle_sees_sound_that_differs() -> None:
    with pytest.raises(Wrong):
        compare(FILM, attrs.evolve(FILM, sound=FILM.sound[:1]))


def test_frames_may_be_missing_where_they_must() -> None:
    rest = FILM.pictures[:3] + FILM.pictures[5:]
    compare(FILM, attrs.evolve(FILM, pictures=rest), range(3, 5))
    with pytest.raises(Wrong):
        compare(FILM, FILM, range(3, 5))


def test_segments_cover_the_film_and_one_is_longer() -> None:
    assert [n for k in range(SEGMENTS) for n in segment_frames(k)] == list(range(FRAMES))
    longest = max(range(SEGMENTS), key=lambda k: len(segment_frames(k)))
    assert longest == ODD_SEGMENT
    assert len(CUTS) == SEGMENTS - 1


def test_every_scenario_has_a_name_of_its_own() -> None:
    names = [(scenario.row, scenario.name) for scenario in SCENARIOS]
    assert len(set(names)) == len(names)
