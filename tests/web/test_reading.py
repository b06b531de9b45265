"""Bodies and queries: read strictly, every fault named by its place, never an exception else."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffcluster.web.bodies import NewJob, NewUpload
from ffcluster.web.jobs import JobsQuery
from ffcluster.web.problems import BadRequest
from ffcluster.web.reading import read_body, read_query

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


def pointers(data: Any, model: type = NewJob) -> list[str]:
    with pytest.raises(BadRequest) as caught:
        read_body(orjson.dumps(data), model)
    return [fault.pointer for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, ["/source"]),
        ([], [""]),
        ("x", [""]),
        ({"source": []}, ["/source"]),
        ({"source": {}, "a/b~c": 1}, ["/a~1b~0c"]),
        ({"source": {}, "priority": 1.5}, ["/priority"]),
        ({"source": {}, "priority": 1001}, ["/priority"]),
        ({"source": {}, "cut_frames": [1, "2"]}, ["/cut_frames/1"]),
        ({"source": {}, "profile": {"filters": [{"name": "scale", "x": 1}]}},
         ["/profile/filters/0/x"]),
        ({"source": {"upload_id": "a b"}}, ["/source/upload_id"]),
    ],
)  # fmt: skip
def test_fault_is_named_by_its_pointer(data: Any, expected: list[str]) -> None:
    assert pointers(data) == expected


def test_several_faults_are_all_named() -> None:
    assert set(pointers({"name": 1, "size_bytes": "x", "z": 0}, NewUpload)) == {
        "/name",
        "/size_bytes",
        "/z",
    }


@given(st.binary(max_size=50))
def test_no_bytes_do_harm(data: bytes) -> None:
    with pytest.raises(BadRequest):
        read_body(data, NewJob)


@given(st.dictionaries(st.sampled_from([f for f in NewJob.__annotations__]) | st.text(), JSON))  # noqa: C416
def test_no_object_does_harm(data: dict[str, Any]) -> None:
    with contextlib.suppress(BadRequest):
        read_body(orjson.dumps(data), NewJob)


def test_depth_does_no_harm() -> None:
    for data in (b"[" * 20_000, b'{"source":' * 20_000, b'{"a":' * 500 + b"1" + b"}" * 500):
        with pytest.raises(BadRequest):
            read_body(data, NewJob)


@given(
    st.dictionaries(
        st.sampled_from(["limit", "state", "sort", "cursor", "x"]),
        st.lists(st.text(max_size=10), min_size=1, max_size=3),
    )
)
def test_no_query_does_harm(arguments: dict[str, list[str]]) -> None:
    found: Any
    try:
        found = read_query(arguments, JobsQuery)
    except BadRequest as error:
        found = error
    if isinstance(found, BadRequest):
        assert all(fault.pointer.startswith("?") for fault in found.faults)
    else:
        assert 1 <= found.limit <= 500


def test_query_is_read() -> None:
    found = read_query({"state": ["Failed,Queued", "Cancelled"], "limit": ["7"]}, JobsQuery)
    assert found.limit == 7
    assert [state.value for state in found.state] == ["Failed", "Queued", "Cancelled"]
    assert read_query({}, None) is None
