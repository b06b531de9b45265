from __future__ import annotations

import types
from collections.abc import Sequence
from importlib.metadata import EntryPoint

import attrs
import pytest

from ffcluster.core.media import VideoFormat
from ffcluster.core.model import Capability
from ffcluster.core.profile import Codec, Profile, RateControl, RateMode
from ffcluster.encoders.backend import Diagnosis, Machine, Probe, ProbeOutcome
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.detection import Detection
from ffcluster.encoders.registry import Registry
from ffcluster.encoders.schema import EncoderSchema
from ffcluster.errors import NoUsableEncoder
from ffcluster.testing import FakeBackend, entry_point
from tests.encoders.builds import video

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
        (lambda: [FakeBackend], "the class FakeBackend"),
        (lambda: [FakeBackend(name="")], "the name"),
        (lambda: [FakeBackend("own", schemas=("h264",))], "EncoderSchema"),
        (lambda: [FakeBackend("software")], "second backend"),
        (lambda: 3, "could not be loaded"),
    ],
)
def test_plugin_that_fails_is_kept_as_an_error_and_the_others_load(
    offer: types.FunctionType, cause: str
) -> None:
    points = [entry_point("zbad", offer), SOFTWARE, entry_point("agood", lambda: [FakeBackend()])]
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
    points = [entry_point(name, lambda name=name: [FakeBackend(name)]) for name in ("a", "b")]
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
    return Registry.of([SOFTWARE, entry_point("fake", lambda: [backend])])


def test_rank_is_the_backends_or_that_of_a_capability_nobody_here_knows() -> None:
    assert registry(score=7).rank(FAKE, Profile()) == 7
    assert Registry.of([SOFTWARE]).rank(FAKE, Profile()) == FAKE.rank


def test_profile_that_pins_another_encoder_is_refused_unless_it_was_fitted() -> None:
    loaded = registry()
    pinned = Profile(encoder="h264_fake")
    assert loaded.refusal(X264, pinned) == "h264_fake is asked for"
    assert loaded.refusal(X264, loaded.fitted(X264, pinned)) is None


def test_profile_is_judged_on_the_encoders_own_scales() -> None:
    schema = EncoderSchema(
        encoder="h264_fake",
        codec=Codec.H264,
        quality=(1, 100),
        default_quality=60,
        reference_quality=((0, 100), (51, 1)),
        presets=("speed", "quality"),
    )
    seen: list[Profile] = []

    def veto(profile: Profile) -> None:
        seen.append(profile)

    fake = entry_point("fake", lambda: [FakeBackend(schemas=(schema,))], ffcluster_veto=veto)
    capability = attrs.evolve(FAKE, presets=schema.presets)
    neutral = Profile(rate=RateControl(quality=0), preset="veryslow")
    assert Registry.of([SOFTWARE, fake]).refusal(capability, neutral, video()) is None
    (judged,) = seen
    assert (judged.encoder, judged.rate.quality, judged.preset) == ("h264_fake", 100, "quality")


@pytest.mark.parametrize(
    "profile",
    [
        Profile(rate=RateControl(RateMode.LOSSLESS)),
        Profile(encoder="h264_fake", preset="slow"),
        Profile(encoder="libx264"),
        Profile(codec=Codec.HEVC),
        Profile(bit_depth=12),
    ],
)
def test_capability_that_cannot_do_the_profile_is_refused(profile: Profile) -> None:
    for loaded in (registry(), Registry.of([SOFTWARE])):
        assert loaded.refusal(FAKE, profile)


def test_preset_for_an_encoder_that_is_not_known_here_is_left_to_its_worker() -> None:
    assert Registry.of([SOFTWARE]).refusal(FAKE, Profile(preset="slow")) is None


def test_veto_and_size_limits_are_obeyed() -> None:
    source = video()
    assert registry(reason="no").refusal(FAKE, Profile(), source) == "no"
    assert registry(reason="no").refusal(FAKE, Profile()) is None
    for limits in ({"min_size": (145, 49)}, {"max_size": (64, 64)}, {"max_size": (0, 64)}):
        assert registry().refusal(attrs.evolve(FAKE, **limits), Profile(), source)
    assert registry().refusal(attrs.evolve(FAKE, max_size=(0, 4096)), Profile(), source) is None


@pytest.mark.parametrize(
    ("profile", "kept"),
    [
        (Profile(), False),
        (Profile(bit_depth=8), True),
        (Profile(pix_fmt="yuv420p"), True),
        (Profile(encoder="h264_fake"), True),
    ],
)
def test_hardware_takes_no_bits_away_unasked(profile: Profile, kept: bool) -> None:
    gpu = attrs.evolve(FAKE, device="cuda:0")
    deep = video(pix_fmt="yuv420p10le")
    assert (registry().refusal(gpu, profile, deep) is None) is kept
    assert registry().refusal(attrs.evolve(gpu, bit_depths=(8, 10)), profile, deep) is None
    assert registry().refusal(gpu, profile, video()) is None


def test_nothing_usable_says_what_there_is_and_what_is_missing() -> None:
    error = registry().why_none(Profile(codec=Codec.HEVC), [X264, FAKE])
    assert "hevc" in str(error)
    assert "libx264 writes h264" in error.advice
    assert "no worker offers" in registry().why_none(Profile(), []).advice
    quality = Profile(encoder="libx264", rate=RateControl(quality=99))
    assert "quality 99" in registry().why_none(quality, [X264]).advice
    absent = registry().why_none(Profile(encoder="h264_nvenc"), [X264, FAKE])
    assert "there is: h264_fake, libx264." in absent.advice


# --- hooks of plugins about any capability


def test_any_plugin_may_veto_and_is_named_with_its_reason() -> None:
    def refuse(capability: Capability, video: VideoFormat) -> str | None:
        return "not on this one" if capability.encoder == "libx264" else None

    loaded = Registry.of([SOFTWARE, entry_point("rules", ffcluster_veto=refuse)])
    reason = loaded.refusal(X264, Profile(), video())
    assert reason == "not on this one (says the plugin rules)"
    assert loaded.refusal(FAKE, Profile(), video()) is None
    assert not loaded.errors


def test_plugins_change_a_rank_one_after_the_other() -> None:
    points = [
        SOFTWARE,
        entry_point("b", ffcluster_rank=lambda rank: rank * 2),
        entry_point("a", ffcluster_rank=lambda rank: rank + 1),
        entry_point("c", ffcluster_rank=lambda capability: None),
    ]
    assert Registry.of(points).rank(X264, Profile()) == (X264.rank + 1) * 2


@pytest.mark.parametrize(
    ("opinions", "expected"),
    [
        ([None, None], None),
        ([None, True], True),
        ([True, False], False),
        ([False, True], False),
    ],
)
def test_one_plugin_that_says_no_keeps_two_encoders_apart(
    opinions: list[bool | None], expected: bool | None
) -> None:
    first, second = opinions
    points = [
        entry_point("fake", lambda: [FakeBackend(joined=first)]),
        entry_point("rules", ffcluster_joins=lambda one, other: second),
    ]
    assert Registry.of(points).joins(FAKE, X264, Profile()) is expected


def test_names_that_no_plugin_has_are_reported_with_what_was_meant() -> None:
    points = [SOFTWARE, entry_point("nvenc", lambda: [FakeBackend("nvenc")])]
    loaded = Registry.of(points, disabled={"nvnec"}, allow={"nvenc", "software", "zzz"})
    assert loaded.warnings == (
        "no plugin is called 'nvnec', which is to be disabled: did you mean 'nvenc'?",
        "no plugin is called 'zzz', which is to be allowed",
    )


def test_two_plugins_of_one_name_are_told_apart_and_the_second_is_left_out() -> None:
    first, second = (entry_point("x", lambda n=n: [FakeBackend(n)]) for n in ("one", "two"))
    loaded = Registry.of([first, second])
    assert [b.name for b in loaded.backends] == ["one"]
    assert "second plugin" in str(loaded.errors[0])


def test_summaries_say_what_went_wrong_at_load_and_later() -> None:
    def fail(rank: int) -> int:
        raise ValueError("no rank today")

    points = [SOFTWARE, entry_point("late", ffcluster_rank=fail), entry_point("zbad", broken)]
    loaded = Registry.of(points, disabled={"software"})
    loaded.rank(FAKE, Profile())
    shown = {summary.name: summary for summary in loaded.summaries}
    assert not shown["software"].enabled
    assert "no driver" in shown["zbad"].error
    assert "no rank today" in shown["late"].error


def test_detection_runs_probes_until_nothing_is_left_to_ask() -> None:
    first = Probe("fake", ("-version",), device="0")
    second = attrs.evolve(first, without=("spatial-aq",))

    def answer(probe: Probe, outcome: ProbeOutcome) -> Sequence[object]:
        return [FAKE] if probe.without else [second, Diagnosis("fake", "1", "no NVENC")]

    backend = FakeBackend(found=(first,), answer=answer)
    loaded = Registry.of([entry_point("fake", lambda: [backend])])
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
    points = [SOFTWARE, entry_point("fake", lambda: [FakeBackend(found=found)])]
    detection = Detection(Registry.of(points), BUILD, MACHINE)
    assert [e.plugin for e in detection.errors] == ["fake"]
    probes = detection.take_probes()
    assert len(probes) <= 502
    assert "libx264" in {p.encoder for p in probes}


def test_backend_that_raises_is_an_error_of_its_plugin() -> None:
    def fail(probe: Probe, outcome: ProbeOutcome) -> Sequence[object]:
        raise ValueError("unexpected")

    probe = Probe("fake", ())
    loaded = Registry.of([entry_point("fake", lambda: [FakeBackend(found=(probe,), answer=fail)])])
    detection = Detection(loaded, BUILD, MACHINE)
    detection.feed(*detection.take_probes(), ProbeOutcome(0))
    assert "unexpected" in str(detection.errors[0])
    assert detection.finished
