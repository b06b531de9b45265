"""Entries as JSON: nothing is lost, later versions are understood, nonsense is named."""

from __future__ import annotations

import math
from array import array
from typing import Any

import attrs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffcluster.core.durable import Changes, JobEntry, SegmentEntry, WebhookEntry
from ffcluster.core.media import MediaSummary, VideoFormat
from ffcluster.core.model import ResultReport
from ffcluster.core.timeline import TimeBase
from ffcluster.errors import Code, ErrorReport, StoreDamaged
from ffcluster.store.documents import from_document, latest_time, to_document
from tests.store.entries import KINDS, job, of_type, segment

SUMMARY = MediaSummary(VideoFormat("h264", 4, 4, "yuv420p", TimeBase(1, 25)), 9, 0, 9, array("q"))


@given(st.one_of([of_type(kind) for kind in KINDS]))
def test_every_entry_comes_back_as_it_was(entry: Any) -> None:
    # Summaries have no equality of their own, so all that they show is compared.
    assert repr(from_document(to_document(entry), type(entry))) == repr(entry)


def test_cut_frames_come_back_as_an_array() -> None:
    entry = attrs.evolve(job("a"), summary=attrs.evolve(SUMMARY, cut_frames=[0, 2**40]))
    found = from_document(to_document(entry), JobEntry)
    assert found.summary is not None
    assert found.summary.cut_frames == array("q", [0, 2**40])


@pytest.mark.parametrize("psnr", [math.inf, -math.inf, 40.0, None])
def test_quality_of_equal_pictures_is_infinite(psnr: float | None) -> None:
    report = ResultReport(1, 1, "h264", 4, 4, "yuv420p", "", 0, psnr)
    assert from_document(to_document(report), ResultReport) == report


def test_names_that_are_no_text_are_kept_exactly() -> None:
    entry = attrs.evolve(segment("a\0\udc80\\", 0), state="\ud800é")
    assert from_document(to_document(entry), SegmentEntry) == entry
    to_document(entry).encode("utf-8")


def test_texts_may_be_longer_than_on_the_wire() -> None:
    entry = attrs.evolve(job("a"), error=ErrorReport(Code.INTERNAL, "x" * 200_000))
    assert from_document(to_document(entry), JobEntry) == entry


def test_detail_that_json_cannot_hold_is_put_in_words() -> None:
    report = ErrorReport(Code.INTERNAL, "", detail={"path": {1, 2}, "big": 2**70, "nan": math.nan})
    found = from_document(to_document(report), ErrorReport)
    assert found.detail["path"] == "{1, 2}"
    assert str(found.detail["big"]) == str(2**70)


def test_keys_of_later_versions_are_ignored_and_new_fields_have_defaults() -> None:
    document = orjson.loads(to_document(job("a")))
    document["later"] = {"a": [1]}
    document["spec"]["later"] = 1
    del document["priority"]
    assert from_document(orjson.dumps(document).decode(), JobEntry) == job("a")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", "Expecting value"),
        ("[]", "expected an object"),
        ("{}", "required field missing"),
        ('{"id": 1}', "expected a string"),
        ("[" * 100_000, ""),
    ],
)
def test_document_that_cannot_be_read_is_named(text: str, shown: str) -> None:
    with pytest.raises(StoreDamaged, match="JobEntry") as caught:
        from_document(text, JobEntry)
    assert shown in str(caught.value)


def test_secret_of_a_webhook_is_in_no_error() -> None:
    with pytest.raises(StoreDamaged) as caught:
        from_document('{"id": "wh_1", "secret": "whsec_hunter2"}', WebhookEntry)
    assert "hunter2" not in f"{caught.value.message} {caught.value.detail}"


def test_latest_time_is_the_last_at_which_anything_happened() -> None:
    ended = attrs.evolve(job("a", at=3.0), history=(("Queued", 7.5),), ended_at=7.0)
    assert latest_time([]) == 0.0
    assert latest_time([Changes(), Changes(segments=(segment("a", 0),))]) == 0.0
    assert latest_time([Changes(jobs=(job("a", at=3.0),)), Changes(jobs=(ended,))]) == 7.5
