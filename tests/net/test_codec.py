"""The wire's codec: what goes out comes back, and nothing hostile gets further than an error."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import attrs
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ffcluster.core.model import JobRequest
from ffcluster.errors import Code, ErrorReport, ProtocolError
from ffcluster.net import codec, messages
from tests.net.strategies import EVERY_MESSAGE, MESSAGES

decode = codec.decoder(messages.Message, messages.MAX_REPLY_BYTES)
OFFER: dict[str, Any] = {
    "type": "offer",
    "epoch": 7,
    "job_id": "job1",
    "order": {
        "frames": {"first": 0, "stop": 10},
        "profile": {},
        "encoder": "libx264",
        "video": {
            "codec": "h264",
            "width": 4,
            "height": 4,
            "pix_fmt": "yuv420p",
            "time_base": {"num": 1, "den": 25},
        },
        "trim_start_s": "1/25",
    },
    "piece": {"path": "/v1/pieces/a", "size_bytes": 1, "sha256": "0" * 64},
    "upload": "/v1/results/a",
}
_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


def changed(path: str, value: Any) -> bytes:
    """The offer with one value replaced."""
    document = orjson.loads(orjson.dumps(OFFER))
    *parents, last = path.split(".")
    inner = document
    for name in parents:
        inner = inner[name]
    inner[last] = value
    return orjson.dumps(document)


def refusal(payload: bytes) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        decode(payload)
    return caught.value


@given(EVERY_MESSAGE)
@settings(max_examples=300, suppress_health_check=_SLOW)
def test_every_message_comes_back_as_it_was_sent(message: Any) -> None:
    assert decode(codec.encode(message)) == message


@given(EVERY_MESSAGE, st.dictionaries(st.text("qz", min_size=3), st.integers(0, 9), min_size=1))
@settings(max_examples=50, suppress_health_check=_SLOW)
def test_unknown_keys_are_ignored(message: Any, extra: dict[str, int]) -> None:
    document = extra | orjson.loads(codec.encode(message))
    assert decode(orjson.dumps(document)) == message


def test_types_are_unique_and_each_class_has_one() -> None:
    names = [cls.TYPE for cls in MESSAGES]  # type: ignore[attr-defined]
    assert len(set(names)) == len(names)
    assert all(attrs.has(cls) for cls in MESSAGES)


def test_offer_is_understood() -> None:
    offer = decode(orjson.dumps(OFFER))
    assert offer.order.trim_start_s == Fraction(1, 25)
    assert offer.order.frames.stop == 10


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("epoch", "7"),
        ("epoch", 7.0),
        ("epoch", True),
        ("epoch", None),
        ("epoch", -1),
        ("epoch", 2**60),
        ("job_id", "../x"),
        ("job_id", "a\n"),
        ("job_id", 5),
        ("upload", "/etc/passwd"),
        ("upload", "/v1/../x"),
        ("piece.sha256", "0" * 63),
        ("piece.sha256", "G" * 64),
        ("piece.sha256", "0" * 64 + "\n"),
        ("piece.size_bytes", 1.5),
        ("order.frames", {"first": 5, "stop": 5}),
        ("order.frames", {"first": -1, "stop": 5}),
        ("order.frames.stop", "10"),
        ("order.profile", []),
        ("order.profile", {"codec": "h263"}),
        ("order.profile", {"rate": {"mode": "magic"}}),
        ("order.profile", {"filters": [{"name": "scale", "options": [["w"]]}]}),
        ("order.profile", {"gop_frames": "12"}),
        ("order.video.time_base.den", 0),
        ("order.video.color", [["a", "b", "c"]]),
        ("order.trim_start_s", "1/0"),
        ("order.trim_start_s", "1/²"),
        ("order.trim_start_s", "1" * 100),
        ("order.trim_start_s", 0.5),
        ("order.decoded_check", "yes"),
        ("order.decoded_check", 1),
        ("order.encoder", "x" * 70_000),
    ],
)
def test_wrong_value_is_refused_and_its_place_is_named(path: str, value: Any) -> None:
    error = refusal(changed(path, value))
    assert "'offer'" in error.message
    assert "@ $" in error.message
    # A validator's complaint stands at the object and names the field itself.
    assert path.split(".")[-1] in error.message or path.split(".")[-2] in error.message
    assert error.detail["type"] == "offer"


def test_missing_field_is_refused_by_name() -> None:
    document = {key: value for key, value in OFFER.items() if key != "upload"}
    assert "upload" in refusal(orjson.dumps(document)).message


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"[]",
        b"5",
        b'"hello"',
        b"null",
        b"true",
        b"NaN",
        b'{"type": NaN}',
        b'{"type": "heartbeat", "x": Infinity}',
        b"\xff\xfe",
        b"{} {}",
        b'{"type": "heartbeat"',
        b'{"a": "\\ud800"}',
        b"[" * 100_000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
    ],
)
def test_what_is_no_json_object_is_refused(payload: bytes) -> None:
    refusal(payload)


@pytest.mark.parametrize("name", ["nonsense", "", None, 5, ["hello"], {"a": 1}, "x" * 10_000])
def test_unknown_type_is_named_with_the_request_that_it_belongs_to(name: Any) -> None:
    error = refusal(orjson.dumps({"type": name, "request": 12, "reply_to": 3}))
    assert error.detail["request"] == 12
    assert error.detail["reply_to"] == 3
    assert len(error.message) < 200


@pytest.mark.parametrize("request_number", ["1", -1, 0, True, 2**60, None, [1]])
def test_nonsense_request_number_counts_as_none(request_number: Any) -> None:
    error = refusal(orjson.dumps({"type": "nonsense", "request": request_number}))
    assert error.detail["request"] == 0


def test_message_of_another_direction_is_not_known() -> None:
    from_worker = codec.decoder(messages.FromWorker)
    with pytest.raises(ProtocolError, match="not known here"):
        from_worker(codec.encode(messages.Drain()))


def test_message_over_the_size_limit_is_refused_unread() -> None:
    payload = codec.encode(messages.Heartbeat())
    padded = payload[:-1] + b" " * messages.MAX_MESSAGE_BYTES + b"}"
    with pytest.raises(ProtocolError, match="bytes"):
        codec.decoder(messages.Heartbeat)(padded)


def test_deep_nesting_is_refused() -> None:
    deep: Any = 1
    for _ in range(13):
        deep = [deep]
    assert "nested" in refusal(orjson.dumps({"type": "heartbeat", "x": deep})).message


def test_infinite_number_is_refused() -> None:
    document = b'{"type": "progress", "attempts": [{"epoch": 1, "frames": 1, "fps": 1e999}]}'
    refusal(document)


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8"), max_size=30),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text("abc_", max_size=8), inner, max_size=4)
    ),
    max_leaves=15,
)


@given(st.binary(max_size=200))
def test_random_bytes_give_nothing_but_protocol_errors(payload: bytes) -> None:
    try:
        decode(payload)
    except ProtocolError:
        return


@given(EVERY_MESSAGE, st.data())
@settings(max_examples=300, suppress_health_check=_SLOW)
def test_spoiled_messages_give_nothing_but_protocol_errors(
    message: Any, data: st.DataObject
) -> None:
    document = orjson.loads(codec.encode(message))
    place, key = document, data.draw(st.sampled_from(sorted(document)))
    for _ in range(data.draw(st.integers(0, 4))):
        inner = place[key]
        if isinstance(inner, dict) and inner:
            place, key = inner, data.draw(st.sampled_from(sorted(inner)))
        elif isinstance(inner, list) and inner:
            place, key = inner, data.draw(st.integers(0, len(inner) - 1))
    place[key] = data.draw(_JSON)
    try:
        decode(orjson.dumps(document))
    except ProtocolError as refused:
        error = refused
    else:
        return
    assert len(error.message) < 3000


def test_what_json_cannot_hold_is_put_in_words() -> None:
    report = ErrorReport(
        Code.INTERNAL, "bad \udcff name", detail={"huge": 2**80, "object": object, 5: b"\xff"}
    )
    sent = decode(codec.encode(messages.Failure(report)))
    assert sent.error.message == "bad ? name"
    assert sent.error.detail["huge"] == str(2**80)


def test_source_name_that_is_no_text_still_arrives() -> None:
    request = messages.Submit(1, JobRequest("film\udcff.mkv", server_path="/films/a.mkv"))
    assert decode(codec.encode(request)).job.source_name == "film?.mkv"
