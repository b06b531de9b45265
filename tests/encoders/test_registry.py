from __future__ import annotations

import inspect
import types
from collections.abc import Sequence
from importlib.metadata import EntryPoint

import attrs
import pytest

from ffcluster.core.model import Capability
from ffcluster.core.profile import Codec, Profile, RateControl, RateMode
from ffcluster.encoders import hookspecs
from ffcluster.encoders.backend import Diagnosis, Machine, Probe, ProbeOutcome
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.detection import Detection
from ffcluster.encoders.registry import Registry
from ffcluster.errors import NoUsableEncoder
from tests.encoders.builds import video
from tests.encoders.fakes import FakeBackend, plugin

SOFTWARE = EntryPoint("software", "ffcluster.encoders.software", "ffcluster")
BUILD = FfmpegBuild("ffmpeg", "9.0", 9, 0, frozenset({"libx264", "ffv1"}))
MACHINE = Machine(4, "linux")
X264 = Capability("libx264", Codec.H264, rate_modes=tuple(RateMode), presets=("slow",), rank=50)
FAKE = Capability("h264_fake", Codec.H264, backend="fake", rank=110)


def broken() -> Sequence[object]:
    raise RuntimeError("no driver")


def test_software_is_a_plugin_like_any_other() -> None:
    registry = Registry.load(allow={"software"})
    assert [b.name for b in registry.backends] == ["software"]
    assert "libx264" in registry.schemas


@pytest.mark.parametrize(
    ("offer", "cause"),
    [
        (broken, "no driver"),
        (lambda: ["no backend"], "no backend"),
        (lambda: [FakeBackend(api_version=99)], "version 99"),
        (lambda: [FakeBackend("software")], "second backend"),
        (lambda: 3, "could not be loaded"),
    ],
)
def test_plugin_that_fails_is_kept_as_an_error_and_the_others_load(
    offer: types.FunctionType, cause: str
) -> None:
    points = [plugin("zbad", offer), SOFTWARE, plugin("agood", lambda: [FakeBackend()])]
    registry = Registry.of(points)
    assert [b.name for b in registry.backends] == ["fake", "software"]
    (error,) = registry.errors
    assert error.plugin == "zbad"
    assert cause in str(error)
    assert [p.error for p in registry.plugins if p.name == "zbad"] == [error]


def test_plugin_that_cannot_be_imported_is_an_error() -> None:
    registry = Registry.of([EntryPoint("gone", "no_such_module_anywhere", "ffcluster"), SOFTWARE])
    assert [e.plugin for e in registry.errors] == ["gone"]
    assert registry.backends


def test_plugins_are_switched_off_by_name_or_allowlist() -> None:
    points = [plugin("a", lambda: [FakeBackend("a")]), plugin("b", lambda: [FakeBackend("b")])]
    assert [b.name for b in Registry.of(points, disabled={"a"}).backends] == ["b"]
    assert [b.name for b in Registry.of(points, allow={"a"}).backends] == ["a"]
    switched_off = Registry.of(points, disabled={"a"}).plugins[0]
    assert (switched_off.name, switched_off.enabled, switched_off.backends) == ("a", False, ())


def test_plugins_are_listed_with_distribution_and_version() -> None:
    listed = {p.name: p for p in Registry.load().plugins}
    assert listed["software"].distribution in ("ffcluster", "")
    assert listed["software"].backends == ("software",)


def test_missing_backend_is_named() -> None:
    with pytest.raises(NoUsableEncoder, match="nvenc"):
        Registry.of([SOFTWARE]).backend("nvenc")


def registry(**changes: object) -> Registry:
    backend = FakeBackend(**changes)  # type: ignore[arg-type]
    return Registry.of([SOFTWARE, plugin("fake", lambda: [backend])])


def test_best_rank_is_chosen() -> None:
    assert registry().choose(Profile(), [X264, FAKE]) == FAKE
    assert registry(score=1).choose(Profile(), [X264, FAKE]) == X264


def test_pinned_encoder_is_chosen_whatever_its_rank() -> None:
    assert registry().choose(Profile(encoder="libx264"), [X264, FAKE]) == X264


def test_capability_of_a_plugin_that_is_not_loaded_is_judged_by_itself() -> None:
    assert Registry.of([SOFTWARE]).choose(Profile(), [X264, FAKE]) == FAKE


@pytest.mark.parametrize(
    "profile",
    [
        Profile(rate=RateControl(RateMode.LOSSLESS)),
        Profile(preset="slow"),
        Profile(pix_fmt="yuv420p", encoder="libx264"),
    ],
)
def test_capabilities_that_cannot_do_the_profile_are_passed_over(profile: Profile) -> None:
    assert registry().choose(profile, [FAKE, X264]) == X264


def test_veto_and_size_limits_are_obeyed() -> None:
    source = video()
    assert registry(reason="no").choose(Profile(), [FAKE, X264], source) == X264
    small = attrs.evolve(FAKE, min_size=(145, 49))
    assert registry().choose(Profile(), [small, X264], source) == X264
    large = attrs.evolve(FAKE, max_size=(64, 64))
    assert registry().choose(Profile(), [large, X264], source) == X264


def test_nothing_usable_says_what_there_is_and_what_is_missing() -> None:
    with pytest.raises(NoUsableEncoder) as caught:
        registry().choose(Profile(codec=Codec.HEVC), [X264, FAKE])
    assert "hevc" in str(caught.value)
    assert "libx264 writes h264" in caught.value.advice
    with pytest.raises(NoUsableEncoder) as empty:
        registry().choose(Profile(), [])
    assert "no worker offers" in empty.value.advice
    with pytest.raises(NoUsableEncoder) as quality:
        registry().choose(Profile(encoder="libx264", rate=RateControl(quality=99)), [X264])
    assert "quality 99" in quality.value.advice


def test_detection_runs_probes_until_nothing_is_left_to_ask() -> None:
    first = Probe("fake", ("-version",), device="0")
    second = attrs.evolve(first, without=("spatial-aq",))

    def answer(probe: Probe, outcome: ProbeOutcome) -> Sequence[object]:
        return [FAKE] if probe.without else [second, Diagnosis("fake", "1", "no NVENC")]

    loaded = Registry.of([plugin("fake", lambda: [FakeBackend(found=(first,), answer=answer)])])
    detection = Detection(loaded, BUILD, MACHINE)
    assert detection.take_probes() == (first,)
    assert not detection.finished
    assert detection.take_probes() == ()
    detection.feed(first, ProbeOutcome(1))
    assert detection.take_probes() == (second,)
    detection.feed(second, ProbeOutcome(0))
    assert detection.finished
    assert detection.capabilities == [FAKE]
    assert [d.cause for d in detection.diagnoses] == ["no NVENC"]
    assert detection.errors == []


@pytest.mark.parametrize(
    "found", [(3,), (Probe("other", ()),), tuple(Probe("fake", (str(n),)) for n in range(600))]
)
def test_nonsense_from_one_backend_is_an_error_and_the_others_are_asked(
    found: tuple[object, ...],
) -> None:
    points = [SOFTWARE, plugin("fake", lambda: [FakeBackend(found=found)])]
    detection = Detection(Registry.of(points), BUILD, MACHINE)
    assert [e.plugin for e in detection.errors] == ["fake"]
    probes = detection.take_probes()
    assert len(probes) <= 502
    assert "libx264" in {p.encoder for p in probes}


def test_backend_that_raises_is_an_error_of_its_plugin() -> None:
    def fail(probe: Probe, outcome: ProbeOutcome) -> Sequence[object]:
        raise ValueError("unexpected")

    probe = Probe("fake", ())
    loaded = Registry.of([plugin("fake", lambda: [FakeBackend(found=(probe,), answer=fail)])])
    detection = Detection(loaded, BUILD, MACHINE)
    detection.feed(*detection.take_probes(), ProbeOutcome(0))
    assert "unexpected" in str(detection.errors[0])
    assert detection.finished


def test_every_hook_is_documented_with_an_example() -> None:
    hooks = [f for name, f in vars(hookspecs).items() if name.startswith("ffcluster_")]
    assert hooks
    for hook in hooks:
        assert "Example:" in (inspect.getdoc(hook) or "")
