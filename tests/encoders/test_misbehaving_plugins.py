"""Plugins that raise or answer nonsense, in every hook and every method that is asked."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any

import attrs
import pytest

from ffcluster.core.model import Capability, Diagnosis
from ffcluster.core.profile import Codec, Profile
from ffcluster.encoders.backend import Probe, ProbeOutcome
from ffcluster.encoders.detection import Detection
from ffcluster.encoders.registry import Registry
from ffcluster.testing import FakeBackend, entry_point, fake_build, fake_machine, sample_video

SOFTWARE = EntryPoint("software", "ffcluster.encoders.software", "ffcluster")
X264 = Capability("libx264", Codec.H264, "software", pix_fmts=("yuv420p",), rank=50)
FAKE = Capability("h264_fake", Codec.H264, "fake", "fake:0", pix_fmts=("nv12",), rank=110)
GOOD = FakeBackend("good", found=(attrs.evolve(FAKE, backend="good"),))


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("not even this")


def fail(*_: object, **__: object) -> Any:
    raise RuntimeError("out of order")


def leave(*_: object, **__: object) -> Any:
    raise SystemExit(3)


def nonsense(*_: object, **__: object) -> Any:
    return Unprintable()


# Each answers every question wrongly.
WAYS = pytest.mark.parametrize("way", [fail, leave, nonsense], ids=["raises", "exits", "nonsense"])


def misbehaving(method: str, way: Callable[..., Any]) -> Registry:
    """Two good plugins, and one whose backend fails in `method`."""
    backend = type("Bad", (FakeBackend,), {"__slots__": (), method: way})()
    return Registry.of([
        SOFTWARE, entry_point("bad", lambda: [backend]), entry_point("good", lambda: [GOOD]),
    ])  # fmt: skip


def hooked(hook: str, way: Callable[..., Any]) -> Registry:
    """A good plugin, and one that fails in `hook`."""

    def veto(capability: Capability) -> Any:
        return way()

    def rank(rank: int) -> Any:
        return way()

    def joins(one: Capability) -> Any:
        return way()

    function = {"ffcluster_veto": veto, "ffcluster_rank": rank, "ffcluster_joins": joins}[hook]
    return Registry.of([SOFTWARE, entry_point("bad", **{hook: function})])


def blamed(registry: Registry, what: str) -> None:
    (error,) = registry.errors
    assert error.plugin == "bad"
    assert what in error.message
    assert "'bad'" in error.advice
    (summary,) = (s for s in registry.summaries if s.name == "bad")
    assert summary.error == error.message


@WAYS
@pytest.mark.parametrize("hook", ["ffcluster_veto", "ffcluster_rank", "ffcluster_joins"])
def test_hook_that_misbehaves_counts_as_no_opinion(hook: str, way: Callable[..., Any]) -> None:
    registry = hooked(hook, way)
    for _ in range(3):
        assert registry.refusal(X264, Profile(), sample_video()) is None
        assert registry.rank(X264, Profile()) == X264.rank
        assert registry.joins(X264, X264, Profile()) is None
    blamed(registry, hook)


@WAYS
def test_backend_that_cannot_judge_itself_is_not_used_and_others_are(
    way: Callable[..., Any],
) -> None:
    registry = misbehaving("veto", way)
    assert "failed" in str(registry.refusal(FAKE, Profile(), sample_video()))
    assert registry.refusal(X264, Profile(), sample_video()) is None
    blamed(registry, "fake.veto")


@WAYS
def test_backend_that_cannot_rank_itself_comes_last(way: Callable[..., Any]) -> None:
    registry = misbehaving("rank", way)
    assert registry.rank(FAKE, Profile()) < registry.rank(X264, Profile())
    blamed(registry, "fake.rank")


@WAYS
def test_backend_that_misbehaves_about_joins_and_errors_has_no_opinion(
    way: Callable[..., Any],
) -> None:
    registry = misbehaving("joins", way)
    assert registry.joins(FAKE, X264, Profile()) is None
    blamed(registry, "fake.joins")
    registry = misbehaving("explain", way)
    assert registry.explain(FAKE, ProbeOutcome(1)) is None
    blamed(registry, "fake.explain")


@pytest.mark.parametrize("way", [fail, nonsense], ids=["raises", "nonsense"])
@pytest.mark.parametrize("method", ["detect", "interpret"])
def test_detection_goes_on_with_the_other_backends(method: str, way: Callable[..., Any]) -> None:
    backend = type("Bad", (FakeBackend,), {"__slots__": (), method: way})
    bad = backend(found=(Probe("fake", ("-version",)),))
    registry = Registry.of([entry_point("bad", lambda: [bad]), entry_point("good", lambda: [GOOD])])
    detection = Detection(registry, fake_build("h264_fake"), fake_machine())
    while not detection.finished:
        for probe in detection.take_probes():
            detection.feed(probe, ProbeOutcome(0))
    assert [c.backend for c in detection.capabilities] == ["good"]
    assert detection.errors


@pytest.mark.parametrize("found", [3, "text", None, Unprintable()], ids=type)
def test_finding_that_is_none_is_an_error(found: object) -> None:
    bad = FakeBackend(found=(found, FAKE))
    registry = Registry.of([entry_point("bad", lambda: [bad])])
    detection = Detection(registry, fake_build("h264_fake"), fake_machine())
    assert detection.errors
    assert [c.encoder for c in detection.capabilities] == ["h264_fake"]


@WAYS
def test_plugin_that_fails_when_it_is_asked_for_backends_is_left_out(
    way: Callable[..., Any],
) -> None:
    def offer() -> Any:
        return way()

    registry = Registry.of([SOFTWARE, entry_point("bad", offer)])
    assert [b.name for b in registry.backends] == ["software"]
    assert [e.plugin for e in registry.errors] == ["bad"]


def test_hook_that_does_not_exist_is_an_error_of_its_plugin() -> None:
    registry = Registry.of([SOFTWARE, entry_point("bad", ffcluster_vetto=lambda capability: None)])
    (error,) = registry.errors
    assert "ffcluster_vetto" in error.message


def test_plugin_without_any_hook_is_an_error() -> None:
    registry = Registry.of([SOFTWARE, entry_point("bad")])
    assert "implements no hook" in str(registry.errors[0])


def test_what_fails_again_and_again_is_kept_once_and_bounded() -> None:
    numbers = iter(range(10_000))

    def rank(rank: int) -> int:
        raise RuntimeError(f"failure {next(numbers)}")

    registry = Registry.of([SOFTWARE, entry_point("bad", ffcluster_rank=rank)])
    for _ in range(500):
        assert registry.rank(X264, Profile()) == X264.rank
    assert len(registry.errors) < 100


def test_explanation_of_a_good_backend_comes_through() -> None:
    told = Diagnosis("fake", "fake:0", "it is busy", "wait")
    registry = Registry.of([entry_point("fake", lambda: [FakeBackend(explained=told)])])
    assert registry.explain(FAKE, ProbeOutcome(1)) == told
    assert registry.explain(X264, ProbeOutcome(1)) is None
