"""How hardware is proven: a made-up family whose driver is a table of answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import attrs
import pytest

from ffcluster.core.media import VideoFormat
from ffcluster.core.model import Capability, Diagnosis, Trouble
from ffcluster.core.profile import Codec, Profile, RateControl, RateMode
from ffcluster.encoders.backend import DeviceNode, Finding, Machine, Probe, ProbeOutcome
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.detection import Detection
from ffcluster.encoders.filters import parse_filters
from ffcluster.encoders.hardware import (
    BITRATE,
    DECODE,
    LOSSLESS,
    TEN_BIT,
    Device,
    DeviceDecode,
    HardwareBackend,
    HardwareOrder,
    Scout,
    Step,
    scaled_size,
)
from ffcluster.encoders.registry import Registry
from ffcluster.encoders.rules import FLAG
from ffcluster.encoders.schema import EncoderSchema
from ffcluster.encoders.troubles import About, Rule
from ffcluster.errors import UnsupportedOption
from ffcluster.testing import entry_point
from tests.encoders.builds import builds, run, video

MACHINE = Machine(4, "linux", (DeviceNode("/dev/fake0"), DeviceNode("/dev/fake1")))
FINE = ProbeOutcome(0)
REFUSES = Trouble.UNSUPPORTED
RULES = (
    Rule("no session", Trouble.BUSY, "no session", "wait", about=About.DEVICE),
    Rule("no runtime", Trouble.MISSING, "no runtime", "install it", about=About.FAMILY),
    Rule("no aq", REFUSES, "it has no aq", drops="aq"),
    Rule("guess", REFUSES, "maybe aq", drops="aq"),
    Rule("guess", REFUSES, "maybe look", drops="look"),
    Rule("no (vbr|cbr)", REFUSES, "no {0}", drops="{0}"),
    Rule("no quality", REFUSES, "no quality", drops="quality"),
    Rule("unknown chip", REFUSES, "unknown chip", "buy another"),
)


def schema(encoder: str = "h264_fake", **changes: object) -> EncoderSchema:
    fields: dict[str, object] = {
        "encoder": encoder,
        "codec": Codec.H264,
        "quality": (1, 51),
        "default_quality": 25,
        "rate_modes": tuple(RateMode),
        "options": {"aq": FLAG, "look": FLAG, "new": FLAG},
        "max_b_frames": 2,
    }
    return EncoderSchema(**{**fields, **changes})  # type: ignore[arg-type]


def options(order: HardwareOrder) -> list[str]:
    mode = order.profile.rate.mode
    args = {"lossless": ["-lossless", "1"], "quality": ["-q", f"{order.quality:g}"]}.get(mode, [])
    if mode is RateMode.BITRATE:
        args = ["-rc", "cbr" if order.refused("vbr") else "vbr"]
    return [*args, *order.extras(("aq", "1"), ("look", "1")), *order.structure()]


def family(**changes: object) -> HardwareBackend:
    fields: dict[str, object] = {
        "name": "fake",
        "schemas": (schema(),),
        "platforms": frozenset({"linux"}),
        "options": options,
        "rules": RULES,
        "look": lambda _build, machine: [Device(n.path, "Fake", "1.0") for n in machine.devices],
        "device_args": lambda device: ("-init_hw_device", f"fake={device}"),
        "upload": ("hwupload",),
        "slots": 3,
    }
    return HardwareBackend(**{**fields, **changes})  # type: ignore[arg-type]


def build(*encoders: str) -> FfmpegBuild:
    names = frozenset(encoders or ("h264_fake",))
    return FfmpegBuild("ffmpeg", "9.0.2", 9, 0, names, frozenset({"scale_fake"}))


@attrs.define
class Bench:
    """Drives a detection with a driver that fails where a pattern is found in the arguments."""

    backend: HardwareBackend
    answers: Mapping[str, str | ProbeOutcome | Callable[[], str]] = attrs.field(factory=dict)
    build: FfmpegBuild = attrs.field(factory=build)
    machine: Machine = MACHINE
    asked: list[Probe] = attrs.field(factory=list)

    def detect(self) -> Detection:
        registry = Registry.of([entry_point("fake", lambda: [self.backend])])
        found = Detection(registry, self.build, self.machine)
        while not found.finished:
            for probe in found.take_probes():
                self.asked.append(probe)
                found.feed(probe, self._answer(probe))
        assert not found.errors, found.errors
        return found

    def _answer(self, probe: Probe) -> ProbeOutcome:
        line = " ".join(probe.argv)
        for pattern, answer in self.answers.items():
            if re.search(pattern, line):
                answer = answer() if callable(answer) else answer
                if isinstance(answer, ProbeOutcome):
                    return answer
                return ProbeOutcome(1, stderr=answer) if answer else FINE
        return FINE


def one(found: Detection, device: str = "/dev/fake0") -> Capability:
    (capability,) = [c for c in found.capabilities if c.device == device]
    return capability


def test_every_device_is_proven_by_the_arguments_that_jobs_use() -> None:
    bench = Bench(family())
    found = bench.detect()
    assert [c.device for c in found.capabilities] == ["/dev/fake0", "/dev/fake1"]
    capability = one(found)
    assert capability.ffmpeg == "9.0.2"
    assert (capability.device_name, capability.driver) == ("Fake", "1.0")
    assert capability.slots == 3
    assert capability.rank >= 100
    assert not found.diagnoses
    argv = bench.asked[0].argv
    assert argv[argv.index("-i") + 1] == "testsrc2=s=640x480:r=25:d=0.4"
    assert argv[argv.index("-vf") + 1] == "format=nv12,hwupload"
    made = bench.backend.arguments(
        bench.build, capability, Profile(encoder="h264_fake"), video(), threads=0
    )
    trial = argv[argv.index("-c:v") : -3]
    assert made.output_args[: len(trial)] == trial


def test_only_what_was_tried_is_claimed() -> None:
    steps = [BITRATE, TEN_BIT, LOSSLESS]
    bench = Bench(family(steps=lambda _build, _schema: steps), {"p010le": "no", "-lossless": "no"})
    found = bench.detect()
    capability = one(found)
    assert capability.pix_fmts == ("nv12",)
    assert capability.bit_depths == (8,)
    assert capability.rate_modes == (RateMode.QUALITY, RateMode.BITRATE)
    causes = [d.cause for d in found.diagnoses if d.device == "/dev/fake0"]
    assert [cause.partition(":")[0] for cause in causes] == ["10 bit", "lossless"]
    everything = one(Bench(bench.backend).detect())
    assert everything.pix_fmts == ("nv12", "p010le")
    assert everything.bit_depths == (8, 10)
    assert everything.rate_modes == tuple(RateMode)


def test_refused_extra_is_dropped_and_reported_and_the_rest_kept() -> None:
    bench = Bench(family(steps=lambda _build, _schema: [TEN_BIT]), {"-aq 1": "no aq"})
    found = bench.detect()
    capability = one(found)
    assert capability.without == ("aq",)
    assert capability.bit_depths == (8, 10)
    (dropped,) = [d for d in found.diagnoses if d.device == "/dev/fake0"]
    assert dropped == Diagnosis(
        "fake",
        "/dev/fake0",
        "it has no aq",
        "h264_fake is used without aq there",
        "h264_fake",
        Trouble.DROPPED,
        "aq",
        "9.0.2",
    )
    made = bench.backend.arguments(bench.build, capability, Profile(), video(), threads=0)
    assert "-aq" not in made.output_args
    assert "-look" in made.output_args


def test_extras_are_guessed_one_by_one_where_the_text_names_none() -> None:
    found = Bench(family(), {"-look 1": "guess"}).detect()
    assert one(found).without == ("aq", "look")


def test_refusal_that_nothing_can_be_dropped_for_ends_the_encoder() -> None:
    bench = Bench(family(steps=lambda _build, _schema: [TEN_BIT]), {"fake0": "unknown chip"})
    found = bench.detect()
    assert [c.device for c in found.capabilities] == ["/dev/fake1"]
    (told,) = found.diagnoses
    assert (told.device, told.encoder, told.hint) == ("/dev/fake0", "h264_fake", "buy another")


def test_refusal_of_what_is_not_in_the_arguments_does_not_go_round_in_circles() -> None:
    bench = Bench(family(options=lambda _order: []), {"-c:v": "no aq"})
    assert not bench.detect().capabilities
    assert len(bench.asked) == 2


def test_what_was_dropped_in_vain_is_not_left_out_later() -> None:
    steps = [BITRATE, TEN_BIT]
    bench = Bench(
        family(steps=lambda _build, _schema: steps), {"-rc vbr": "no vbr", "-rc cbr": "no cbr"}
    )
    capability = one(bench.detect())
    assert capability.without == ()
    assert capability.rate_modes == (RateMode.QUALITY,)
    assert capability.bit_depths == (8, 10)


def test_encoder_without_constant_quality_is_proven_with_a_bit_rate() -> None:
    bench = Bench(family(steps=lambda _build, _schema: [BITRATE]), {" -q ": "no quality"})
    capability = one(bench.detect())
    assert capability.rate_modes == (RateMode.BITRATE,)
    assert capability.without == ("quality",)


def test_busy_device_is_asked_again_and_then_told_as_busy() -> None:
    often = iter(["no session", ""])
    bench = Bench(family(), {"fake0": lambda: next(often)})
    assert one(bench.detect()).device == "/dev/fake0"
    always = Bench(family(), {"fake0": "no session"})
    found = always.detect()
    assert [d.trouble for d in found.diagnoses] == [Trouble.BUSY]
    assert len([p for p in always.asked if p.device == "/dev/fake0"]) == 3


def test_one_cause_for_all_encoders_is_told_once() -> None:
    encoders = ("h264_fake", "h264_other")
    backend = family(schemas=tuple(schema(name) for name in encoders))
    found = Bench(backend, {"-c:v": "no runtime"}, build(*encoders)).detect()
    assert [(d.device, d.encoder, d.cause) for d in found.diagnoses] == [("", "", "no runtime")]


def test_no_encoder_opens_two_sessions_on_a_device_at_a_time() -> None:
    backend = family(steps=lambda _build, _schema: [BITRATE, TEN_BIT, LOSSLESS])
    found = Detection(Registry.of([entry_point("fake", lambda: [backend])]), build(), MACHINE)
    while not found.finished:
        probes = found.take_probes()
        assert len({(p.encoder, p.device) for p in probes}) == len(probes)
        for probe in probes:
            found.feed(probe, FINE)


def test_scout_that_fails_is_the_only_probe() -> None:
    scouting = family(look=lambda _build, _machine: [Scout(("-list",))])
    bench = Bench(scouting, {"-list": "no runtime"})
    found = bench.detect()
    assert len(bench.asked) == 1
    assert [d.cause for d in found.diagnoses] == ["no runtime"]
    silent = Bench(scouting).detect()
    assert [d.trouble for d in silent.diagnoses] == [Trouble.MISSING]


def test_scout_that_opens_a_device_leads_to_its_trials() -> None:
    scout = Scout.opening(Device("/dev/fake7"), ("-open", "/dev/fake7"))
    bench = Bench(family(look=lambda _build, _machine: [scout]))
    assert [c.device for c in bench.detect().capabilities] == ["/dev/fake7"]
    assert "/dev/fake7" in bench.asked[0].argv


def test_devices_and_diagnoses_of_a_family_stand_beside_each_other() -> None:
    closed = Diagnosis("fake", "/dev/fake1", "closed")

    def look(_build: FfmpegBuild, _machine: Machine) -> Sequence[Device | Diagnosis]:
        return [Device("/dev/fake0"), closed]

    found = Bench(family(look=look)).detect()
    assert [c.device for c in found.capabilities] == ["/dev/fake0"]
    assert found.diagnoses == [attrs.evolve(closed, ffmpeg="9.0.2")]


def test_build_without_the_encoders_is_told_shortly_and_other_platforms_say_nothing() -> None:
    (told,) = Bench(family(), build=build("libx264")).detect().diagnoses
    assert told.cause == "this ffmpeg was built without fake encoders"
    assert not Bench(family(), machine=Machine(1, "plan9")).detect().diagnoses
    both = family(schemas=(schema(), schema("av1_fake", codec=Codec.AV1)))
    missing = [d for d in Bench(both).detect().diagnoses if d.encoder == "av1_fake"]
    assert [d.cause for d in missing] == ["this ffmpeg was built without av1_fake"]


def test_crash_and_time_out_of_a_trial_are_told() -> None:
    crash = Bench(family(), {"fake0": ProbeOutcome(-11), "fake1": ProbeOutcome(None, "", "", True)})
    found = crash.detect()
    assert not found.capabilities
    assert [d.trouble for d in found.diagnoses] == [Trouble.BROKEN, Trouble.BROKEN]
    assert "SIGSEGV" in found.diagnoses[0].cause
    assert "in time" in found.diagnoses[1].cause


def test_size_limits_are_learnt_from_refusals() -> None:
    limits = [
        Step("width", size=(16384, 64), finds_limits=True),
        Step("height", size=(64, 16384), finds_limits=True),
    ]
    backend = family(steps=lambda _build, _schema: limits, least_size=(32, 16))
    both = {"s=16384x64": "Width 16384 exceeds 4096", "s=64x16384": "Height 16384 exceeds 2304"}
    capability = one(Bench(backend, both).detect())
    assert capability.min_size == (32, 16)
    assert capability.max_size == (4096, 2304)
    half = one(Bench(backend, {"s=16384x64": "Width 16384 exceeds 4096"}).detect())
    assert half.max_size == (4096, 4096)
    none = one(Bench(backend, {"s=16384x64": "nothing is known of this"}).detect())
    assert none.max_size == (0, 0)


def test_refusal_of_something_rare_is_not_worth_a_word() -> None:
    rare = attrs.evolve(TEN_BIT, rare=True)
    backend = family(steps=lambda _build, _schema: [rare])
    assert not Bench(backend, {"p010le": "unknown chip"}).detect().diagnoses
    assert Bench(backend, {"p010le": ProbeOutcome(-11)}).detect().diagnoses


DEVICE_DECODE = DeviceDecode(
    devices=lambda device: (("-init", device), ("-hwaccel", "fake")),
    scaler="scale_fake",
    scale=lambda _build, fmt, size: f"scale_fake={size or 'same'}:{fmt}",
    codecs=frozenset({"h264", "hevc"}),
)
SOURCE = video(codec="h264", width=640, height=480)


def decoding(profile: Profile, source: VideoFormat = SOURCE) -> tuple[tuple[str, ...], str]:
    """(filters, note about the decoder or "") with decoding on the device asked for."""
    capability = Capability("h264_fake", Codec.H264, "fake", "/dev/fake0", ("nv12", "p010le"))
    made = family(decode=DEVICE_DECODE).arguments(
        build(), capability, profile, source, threads=0, hardware_decode=True
    )
    notes = [note for note in made.notes if note.startswith("decoded in software")]
    assert bool(made.input_args) is not bool(notes)
    return made.filters, notes[0] if notes else ""


def filtered(text: str) -> Profile:
    return Profile(filters=parse_filters(text))


def test_pictures_stay_on_the_device_when_it_decodes() -> None:
    filters, note = decoding(Profile())
    assert filters[0] == "scale_fake=same:nv12"
    assert "hwupload" not in filters
    assert filters[-1].startswith("setparams=")
    assert not note
    assert decoding(filtered("scale=w=-2:h=240"))[0][0] == "scale_fake=(320, 240):nv12"


@pytest.mark.parametrize(
    ("profile", "source", "reason"),
    [
        (filtered("hflip"), SOURCE, "the filters (hflip) run in software"),
        (filtered("scale=w=iw/2:h=240"), SOURCE, "expression"),
        (filtered("scale=w=320:h=240:flags=lanczos"), SOURCE, "flags"),
        (filtered("scale=w=320:h=240,hflip"), SOURCE, "hflip"),
        (filtered("bwdif"), SOURCE, "bwdif"),
        (Profile(), attrs.evolve(SOURCE, codec="prores"), "does not decode prores"),
        (Profile(), attrs.evolve(SOURCE, pix_fmt="yuv422p"), "does not decode yuv422p"),
        (Profile(), attrs.evolve(SOURCE, pix_fmt="yuv420p10le"), "with 10 bits"),
    ],
)
def test_what_the_device_cannot_do_is_decoded_in_software_with_a_note(
    profile: Profile, source: VideoFormat, reason: str
) -> None:
    filters, note = decoding(profile, source)
    assert reason in note
    assert filters[-1] == "hwupload"


def test_ten_bit_hevc_is_decoded_on_the_device() -> None:
    source = attrs.evolve(SOURCE, codec="hevc", pix_fmt="yuv420p10le")
    assert decoding(Profile(), source)[0][0] == "scale_fake=same:p010le"


def test_decoding_is_claimed_only_when_its_own_trial_succeeded() -> None:
    backend = family(decode=DEVICE_DECODE, steps=lambda _build, _schema: [DECODE])
    bench = Bench(backend)
    assert one(bench.detect()).hardware_decode
    argv = next(p.argv for p in bench.asked if "-hwaccel" in p.argv)
    assert argv[argv.index("-i") + 1].startswith("data:video/h264;base64,")
    found = Bench(backend, {"-hwaccel": "unknown chip"}).detect()
    assert not one(found).hardware_decode
    told = [d for d in found.diagnoses if d.device == "/dev/fake0"]
    assert [(d.encoder, d.trouble) for d in told] == [("", Trouble.UNSUPPORTED)]
    bare = attrs.evolve(build(), filters=frozenset())
    assert not one(Bench(backend, build=bare).detect()).hardware_decode


@pytest.mark.parametrize("ffmpeg", builds(), ids=lambda b: b.version)
def test_sample_for_trials_of_decoding_decodes(ffmpeg: FfmpegBuild) -> None:
    backend = family(decode=DEVICE_DECODE, steps=lambda _build, _schema: [DECODE])
    bench = Bench(backend)
    bench.detect()
    argv = next(p.argv for p in bench.asked if "-hwaccel" in p.argv)
    sample = argv[argv.index("-i") + 1]
    done = run(ffmpeg.path, "-v", "warning", "-f", "h264", "-i", sample, "-f", "framemd5", "-")
    assert done.returncode == 0
    assert not done.stderr
    pictures = [line for line in done.stdout.splitlines() if not line.startswith("#")]
    assert len(pictures) == 2


@pytest.mark.parametrize(
    ("scale", "size"),
    [
        ("scale=w=1280:h=720", (1280, 720)),
        ("scale=w=-2:h=720", (1280, 720)),
        ("scale=w=-1:h=241", (428, 241)),
        ("scale=w=854:h=-2", (854, 480)),
        ("scale=w=0:h=100", (1920, 100)),
    ],
)
@pytest.mark.parametrize("ffmpeg", builds(), ids=lambda b: b.version)
def test_size_is_the_one_that_ffmpeg_scales_to(
    scale: str, size: tuple[int, int], ffmpeg: FfmpegBuild
) -> None:
    source = video(width=1920, height=1080)
    assert scaled_size(parse_filters(scale)[0], source) == size
    done = run(
        ffmpeg.path, "-v", "error", "-f", "lavfi", "-i", "color=s=1920x1080:d=0.04:r=25",
        "-vf", scale, "-f", "framecrc", "-",
    )  # fmt: skip
    assert f"#dimensions 0: {size[0]}x{size[1]}" in done.stdout


def test_explain_speaks_only_where_the_table_does() -> None:
    capability = Capability("h264_fake", Codec.H264, "fake", "/dev/fake0", ffmpeg="9.0.2")
    told = family().explain(capability, ProbeOutcome(1, stderr="no session"))
    assert told is not None
    assert told.trouble is Trouble.BUSY
    assert told.device == "/dev/fake0"
    assert family().explain(capability, ProbeOutcome(1, stderr="no space left")) is None
    assert family().explain(capability, ProbeOutcome(0, stderr="no session")) is None


def test_veto_names_what_the_device_refused() -> None:
    capability = Capability(
        "h264_fake", Codec.H264, "fake", "/dev/fake0", ("nv12",), without=("aq", "bf")
    )
    asks = family().veto
    assert "aq" in str(asks(capability, Profile(encoder_options=(("aq", "1"),)), SOURCE))
    assert "B-frames" in str(asks(capability, Profile(b_frames=2), SOURCE))
    assert asks(capability, Profile(b_frames=0), SOURCE) is None


def test_option_of_a_newer_ffmpeg_is_refused_on_an_older_one() -> None:
    capability = Capability("h264_fake", Codec.H264, "fake", pix_fmts=("nv12",))
    profile = Profile(encoder_options=(("new", "1"),))
    backend = family(since={"new": (9, 1)})
    with pytest.raises(UnsupportedOption) as refusal:
        backend.arguments(build(), capability, profile, SOURCE, threads=0)
    assert refusal.value.option == "new"
    assert "9.1" in refusal.value.advice


def test_the_users_own_setting_replaces_a_default_extra() -> None:
    capability = Capability("h264_fake", Codec.H264, "fake", pix_fmts=("nv12",))
    profile = Profile(encoder_options=(("aq", "0"),), rate=RateControl(quality=20))
    made = family().arguments(build(), capability, profile, SOURCE, threads=0)
    assert made.output_args.count("-aq") == 1
    assert made.output_args[made.output_args.index("-aq") + 1] == "0"


def test_interpretation_needs_nothing_but_the_probe() -> None:
    backend = family(steps=lambda _build, _schema: [TEN_BIT])
    (first, _) = backend.detect(build(), MACHINE)
    assert isinstance(first, Probe)
    found: Sequence[Finding] = family(steps=lambda _build, _schema: [TEN_BIT]).interpret(
        first, FINE
    )
    assert any(isinstance(f, Probe) and f.pix_fmt == "p010le" for f in found)
