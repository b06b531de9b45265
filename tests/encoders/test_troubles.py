from __future__ import annotations

import pytest

from ffcluster.core.model import Trouble
from ffcluster.encoders.backend import ProbeOutcome
from ffcluster.encoders.trouble_tables import AMF, NVENC, QSV, VAAPI, VIDEOTOOLBOX
from ffcluster.encoders.troubles import (
    About,
    Rule,
    diagnose,
    judge,
    last_line,
    size_limits,
    verdicts,
)
from tests.encoders.recorded import Recorded, failure, recorded

MISSING, UNSUPPORTED = Trouble.MISSING, Trouble.UNSUPPORTED
BUSY, BROKEN = Trouble.BUSY, Trouble.BROKEN
FAMILY, DEVICE, ENCODER = About.FAMILY, About.DEVICE, About.ENCODER
RULES = {"nvenc": NVENC, "vaapi": VAAPI, "qsv": QSV, "amf": AMF, "videotoolbox": VIDEOTOOLBOX}
# What each recorded failure means: (trouble, what it is about, in the cause, in the hint, extra).
EXPECTED: dict[str, dict[str, tuple[Trouble, About, str, str, str]]] = {
    "nvenc": {
        "no libcuda": (MISSING, FAMILY, "driver is not here", "CAPABILITIES=video", ""),
        "no libnvidia-encode": (MISSING, FAMILY, "without its video encoder", "=video", ""),
        "no device": (MISSING, FAMILY, "sees no GPU", "nvidia-smi", ""),
        "no GPUs": (MISSING, FAMILY, "sees no GPU", "nvidia-smi", ""),
        "driver mismatch": (BROKEN, FAMILY, "different versions", "restart", ""),
        "cuda unknown error": (BROKEN, FAMILY, "CUDA_ERROR_UNKNOWN", "nvidia-smi", ""),
        "old driver": (UNSUPPORTED, FAMILY, "offers NVENC 11.1, and 13.1", "610.00", ""),
        "older driver": (UNSUPPORTED, FAMILY, "offers NVENC 8.0", "second --ffmpeg", ""),
        "session limit": (BUSY, DEVICE, "no further encoding session", "fewer slots", ""),
        "no context": (BUSY, DEVICE, "no further encoding session", "memory", ""),
        "unsupported device": (UNSUPPORTED, DEVICE, "has no NVENC", "H100, A100", ""),
        "invalid version": (UNSUPPORTED, FAMILY, "different versions of NVENC", "update", ""),
        "generic open failure": (BROKEN, DEVICE, "generic error (20)", "driver", ""),
        "codec not supported": (UNSUPPORTED, ENCODER, "cannot encode this codec", "newer", ""),
        "no 10 bit": (UNSUPPORTED, ENCODER, "10 bit", "", ""),
        "no 4:4:4": (UNSUPPORTED, ENCODER, "4:4:4", "", ""),
        "no lossless": (UNSUPPORTED, ENCODER, "losslessly", "", ""),
        "no B-frames": (UNSUPPORTED, ENCODER, "at most 0 B-frames", "", "bf"),
        "no B-frame references": (UNSUPPORTED, ENCODER, "references", "", "b_ref_mode"),
        "no temporal AQ": (UNSUPPORTED, ENCODER, "temporal AQ", "", "temporal-aq"),
        "no lookahead": (UNSUPPORTED, ENCODER, "lookahead", "", "rc-lookahead"),
        "no weighted prediction": (UNSUPPORTED, ENCODER, "weighted", "", "weighted_pred"),
        "too wide": (UNSUPPORTED, ENCODER, "Width 400 is the most", "scale", ""),
        "too high": (UNSUPPORTED, ENCODER, "Height 400 is the most", "scale", ""),
        "too small": (UNSUPPORTED, ENCODER, "smaller than this GPU", "scale", ""),
        "no such GPU": (MISSING, DEVICE, "finds no such GPU", "nvidia-smi -L", ""),
        "global quality": (BROKEN, ENCODER, "-global_quality", "fault of the plugin", ""),
        "picture fails": (BROKEN, DEVICE, "failed while it encoded", "system's log", ""),
        "unknown encoder": (MISSING, ENCODER, "built without av1_nvenc", "", ""),
        "unknown option": (
            UNSUPPORTED,
            ENCODER,
            "the option lookahead_level",
            "newer",
            "lookahead_level",
        ),
    },
    "vaapi": {
        "no such node": (MISSING, DEVICE, "cannot be opened", "render and video", ""),
        "no permission": (MISSING, DEVICE, "cannot be opened", "render and video", ""),
        "no driver": (MISSING, DEVICE, "no VA driver", "LIBVA_DRIVER_NAME", ""),
        "driver does not start": (BROKEN, DEVICE, "operation failed (1)", "vainfo", ""),
        "libva too old": (UNSUPPORTED, FAMILY, "libva is too old", "second --ffmpeg", ""),
        "decode only": (UNSUPPORTED, ENCODER, "VAProfileH264High", "non-free", ""),
        "no profile": (UNSUPPORTED, ENCODER, "this codec", "non-free", ""),
        "no 10 bit": (UNSUPPORTED, ENCODER, "bit depth", "", ""),
        "no ICQ": (UNSUPPORTED, ENCODER, "ICQ; it can do CQP, CBR, VBR", "", "ICQ"),
        "CQP only": (UNSUPPORTED, ENCODER, "VBR; it can do CQP", "", "VBR"),
        "no CQP": (UNSUPPORTED, ENCODER, "it can do CBR, VBR", "bit rate", "quality"),
        "no P-frames": (UNSUPPORTED, ENCODER, "no P-frames", "update", ""),
        "too small": (UNSUPPORTED, ENCODER, "128x128 to 4096x4096, not 64x64", "scale", ""),
        "too large": (UNSUPPORTED, ENCODER, "to 320x240, not 640x480", "scale", ""),
        "picture fails": (BROKEN, DEVICE, "failed while it encoded", "fewer slots", ""),
        "no room": (BUSY, DEVICE, "no room", "fewer slots", ""),
        "context refused": (UNSUPPORTED, ENCODER, "refuses these settings", "update", ""),
        "configuration refused": (UNSUPPORTED, ENCODER, "refuses", "update", ""),
        "no device for the upload": (BROKEN, ENCODER, "upload filter", "plugin", ""),
    },
    "qsv": {
        "no runtime": (MISSING, DEVICE, "does not open the GPU", "libmfx-gen", ""),
        "no runtime, no device": (MISSING, DEVICE, "runtime is not here", "libmfx-gen", ""),
        "no low power": (UNSUPPORTED, ENCODER, "HuC", "enable_guc", "low_power"),
        "no such profile": (UNSUPPORTED, ENCODER, "this profile", "driver", ""),
        "no such rate control": (UNSUPPORTED, ENCODER, "ratecontrol mode", "driver", ""),
    },
    "amf": {
        "no runtime": (MISSING, FAMILY, "libamfrt64.so.1", "VAAPI", ""),
        "no such component": (UNSUPPORTED, ENCODER, "AMFVideoEncoderHW_AV1", "driver", ""),
    },
    "videotoolbox": {
        "busy": (BUSY, DEVICE, "-12915", "fewer slots", ""),
        "invalid session": (BUSY, DEVICE, "-12903", "fewer slots", ""),
        "no encoder": (UNSUPPORTED, ENCODER, "-12908", "in use", ""),
        "other failure": (BROKEN, ENCODER, "-12902", "again", ""),
        "no quality": (UNSUPPORTED, ENCODER, "no constant quality", "bit rate", "quality"),
    },
}
CASES = [(family, entry) for family in RULES for entry in recorded(family)]


def case_id(value: object) -> str:
    return f"{value.name}-{value.ffmpeg}" if isinstance(value, Recorded) else str(value)


@pytest.mark.parametrize(("family", "entry"), CASES, ids=case_id)
def test_every_recorded_failure_is_told_with_its_cause_and_hint(
    family: str, entry: Recorded
) -> None:
    trouble, about, cause, hint, drops = EXPECTED[family][entry.name]
    verdict = judge(RULES[family], entry.outcome)
    assert verdict is not None
    assert verdict.trouble is trouble, verdict
    assert verdict.about is about, verdict
    assert cause in verdict.cause
    assert verdict.hint
    assert hint in verdict.hint
    assert verdict.drops == drops


def test_every_expectation_was_recorded_with_both_ffmpegs_or_says_why_not() -> None:
    for family, expected in EXPECTED.items():
        assert {entry.name for entry in recorded(family)} == set(expected)
    nvenc = {(r.name, r.ffmpeg) for r in recorded("nvenc")}
    for name in EXPECTED["nvenc"].keys() - {
        "old driver",
        "global quality",
        "unknown encoder",
        "unknown option",
    }:
        assert {(name, "5.1.9"), (name, "9.0.2")} <= nvenc


@pytest.mark.parametrize("family", list(RULES))
def test_nothing_is_said_of_a_command_that_did_not_fail(family: str) -> None:
    for entry in recorded(family):
        fine = ProbeOutcome(0, stderr=entry.outcome.stderr)
        assert diagnose(RULES[family], fine, family) is None
        assert verdicts(RULES[family], fine) == ()


def test_diagnosis_names_no_more_than_it_is_about() -> None:
    outcome = failure("nvenc", "unsupported device")
    found = diagnose(NVENC, outcome, "nvenc", "cuda:0", "h264_nvenc", "5.1.9")
    assert found is not None
    assert (found.device, found.encoder, found.ffmpeg) == ("cuda:0", "", "5.1.9")
    found = diagnose(NVENC, failure("nvenc", "no libcuda"), "nvenc", "cuda:0", "h264_nvenc")
    assert found is not None
    assert (found.device, found.encoder) == ("", "")


@pytest.mark.parametrize("code", [-6, 134])
def test_crash_is_told_whether_a_shell_or_the_system_reported_it(code: int) -> None:
    crash = ProbeOutcome(code, stderr="terminated")
    found = judge(VAAPI, crash)
    assert found is not None
    assert found.trouble is BROKEN
    assert "SIGABRT" in found.cause
    libva = judge(VAAPI, ProbeOutcome(code, stderr="vaMapBuffer2: symbol not found"))
    assert libva is not None
    assert "libva" in libva.cause


def test_text_of_a_crash_means_nothing_when_ffmpeg_ended_by_itself() -> None:
    found = judge(VAAPI, ProbeOutcome(234, stderr="vaMapBuffer2 was mentioned"))
    assert found is None


def test_time_out_has_a_hint_of_its_own() -> None:
    found = judge(NVENC, ProbeOutcome(None, timed_out=True))
    assert found is not None
    assert "in time" in found.cause
    assert found.hint


def test_unknown_failure_quotes_the_last_line_that_says_something() -> None:
    stderr = (
        "[h264_nvenc @ 0x5585] something new went wrong\n"
        "[h264_nvenc @ 0x5585] No capable devices found\n"
        "[vf#0:0 @ 0x55] Task finished with error code: -22 (Invalid argument)\n"
        "Conversion failed!\n"
    )
    assert last_line(stderr) == "something new went wrong"
    found = diagnose((), ProbeOutcome(1, stderr=stderr), "nvenc")
    assert found is not None
    assert found.trouble is BROKEN
    assert "something new went wrong" in found.cause
    silent = diagnose((), ProbeOutcome(7), "nvenc")
    assert silent is not None
    assert "7" in silent.cause


def test_ffmpeg_that_never_started_is_told() -> None:
    found = diagnose((), ProbeOutcome(None, stderr="cannot start: no such file"), "nvenc")
    assert found is not None
    assert "no such file" in found.cause


def test_size_limits_are_read_from_refusals() -> None:
    vaapi = failure("vaapi", "too small")
    assert size_limits(vaapi.stderr) == ((128, 128), (4096, 4096))
    assert size_limits(failure("nvenc", "too wide").stderr) == ((0, 0), (400, 0))
    assert size_limits(failure("nvenc", "too high").stderr) == ((0, 0), (0, 400))
    assert size_limits(failure("nvenc", "no libcuda").stderr) is None


def test_rule_may_ask_for_an_exit_code() -> None:
    rule = Rule("x", BROKEN, "only with 8", returncodes=(8,))
    assert judge((rule,), ProbeOutcome(8, stderr="x")) is not None
    assert judge((rule,), ProbeOutcome(9, stderr="x")) is None


def test_rule_that_names_the_cause_goes_before_guesses_of_what_to_leave_out() -> None:
    guess = Rule("refused", UNSUPPORTED, "maybe this", drops="this")
    known = Rule("refused", UNSUPPORTED, "all of it")
    outcome = ProbeOutcome(1, stderr="refused")
    assert [v.drops for v in verdicts((guess, known), outcome)] == ["this", ""]
    found = judge((guess, known), outcome)
    assert found is not None
    assert found.cause == "all of it"
