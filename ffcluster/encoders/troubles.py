"""What ffmpeg's error texts mean and what helps, as data. Judges only commands that failed.

A backend's own rules come first, then `COMMON`. Rules are tried in order, and each looks through
the whole of stderr, so a rule for a cause must stand before one for its consequence.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import attrs

from ffcluster.core.model import Diagnosis, Trouble

if TYPE_CHECKING:
    from ffcluster.encoders.backend import ProbeOutcome

# Lines that only say that something went wrong before them.
_TRAILERS = re.compile(
    r"No capable devices found|Conversion failed|Nothing was written into output"
    r"|Error initializing output stream|Error while opening encoder|Could not open encoder"
    r"|Error (?:while )?filtering|Task finished with error|Terminating thread with return code"
    r"|Error submitting video frame|Device creation failed|Error parsing global options"
    r"|Failed to set value|Exiting with exit code|Error sending frames to consumers"
    r"|Error while processing the decoded data|Failed to inject frame into filter"
    r"|received no packets|Finishing stream|Last message repeated|Error opening output file"
    r"|^\[(?:out|in|enc)#\d|^Error splitting the argument list|^frame="
)
# What ffmpeg puts before a line: `[h264_nvenc @ 0x55d5cf838a80] `.
_ORIGIN = re.compile(r"^(?:\[[^\]]* @ (?:0x)?[0-9a-fA-F]+\] )+")
# A shell's codes for the signals that a crash ends with. ffmpeg's own are AVERROR's low byte and
# meet none of these.
_SHELL_SIGNALS = {132: 4, 134: 6, 135: 7, 136: 8, 137: 9, 139: 11}
_SIGNAL_NAMES = {4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV"}
_SIZES = re.compile(
    r"Hardware does not support encoding at size \d+x\d+ "
    r"\(constraints: width (\d+)-(\d+) height (\d+)-(\d+)\)"
)
_LARGEST_WIDTH = re.compile(r"\bWidth \d+ exceeds (\d+)")
_LARGEST_HEIGHT = re.compile(r"\bHeight \d+ exceeds (\d+)")


class About(enum.Enum):
    """What a cause concerns, so that it is told once and not for each encoder."""

    ENCODER = "one encoder on one device"
    DEVICE = "every encoder on the device"
    FAMILY = "every device of the family"


@attrs.frozen
class Rule:
    """One row of the table: a text that ffmpeg prints, what it means, and what helps.

    Attributes:
        pattern: Regular expression that is looked for in stderr.
        trouble: What kind of trouble it is.
        cause: What is wrong, in words; groups of `pattern` are filled in as `{0}` or `{name}`.
        hint: What the owner of the machine can do; groups are filled in as well.
        drops: The extra that was refused and without which it is worth another try; groups are
            filled in. "" when nothing can be left out.
        about: What it concerns.
        returncodes: Exit codes with which it holds; () for any that is not 0.
        after_signal: Whether it holds only when a signal ended ffmpeg.
    """

    pattern: str
    trouble: Trouble
    cause: str
    hint: str = ""
    drops: str = ""
    about: About = About.ENCODER
    returncodes: tuple[int, ...] = ()
    after_signal: bool = False

    def match(self, outcome: ProbeOutcome) -> Verdict | None:
        """What this rule says of `outcome`, or None when it says nothing."""
        if self.after_signal and ended_by(outcome) is None:
            return None
        if self.returncodes and outcome.returncode not in self.returncodes:
            return None
        found = re.search(self.pattern, outcome.stderr)
        if found is None:
            return None
        words = tuple(word or "" for word in found.groups())
        named = {name: word or "" for name, word in found.groupdict().items()}

        def fill(text: str) -> str:
            return text.format(*words, **named)

        return Verdict(
            self.trouble, fill(self.cause), fill(self.hint), fill(self.drops), self.about
        )


@attrs.frozen
class Verdict:
    """What is wrong with one command.

    Attributes:
        trouble: What kind of trouble it is.
        cause: What is wrong, on one line.
        hint: What the owner of the machine can do.
        drops: The extra without which it is worth another try, or "".
        about: What it concerns.
    """

    trouble: Trouble
    cause: str
    hint: str = ""
    drops: str = ""
    about: About = About.ENCODER

    def diagnosis(
        self, backend: str, device: str = "", encoder: str = "", ffmpeg: str = ""
    ) -> Diagnosis:
        """The same for a report, naming no more than it is about."""
        return Diagnosis(
            backend=backend,
            device="" if self.about is About.FAMILY else device,
            cause=self.cause,
            hint=self.hint,
            encoder=encoder if self.about is About.ENCODER else "",
            trouble=self.trouble,
            ffmpeg=ffmpeg,
        )


def diagnose(
    rules: Iterable[Rule],
    outcome: ProbeOutcome,
    backend: str,
    device: str = "",
    encoder: str = "",
    ffmpeg: str = "",
) -> Diagnosis | None:
    """Say why a command failed, or None when it did not fail.

    Args:
        rules: The family's own rules; `COMMON` follows them.
        outcome: What became of the command.
        backend: Name of the backend.
        device: The device that it used, or "".
        encoder: The encoder that it used, or "".
        ffmpeg: Version of the ffmpeg that ran.
    """
    verdict = judge(rules, outcome) or last_resort(outcome)
    return None if verdict is None else verdict.diagnosis(backend, device, encoder, ffmpeg)


def judge(rules: Iterable[Rule], outcome: ProbeOutcome) -> Verdict | None:
    """What the rules say of a command that failed; None when it did not, or none knows it.

    A rule that says what it is goes before those that only say what to leave out.
    """
    found = verdicts(rules, outcome)
    return next((v for v in found if not v.drops), found[0] if found else None)


def verdicts(rules: Iterable[Rule], outcome: ProbeOutcome) -> Sequence[Verdict]:
    """What every rule that matches says of a command that failed, in the order of the rules.

    Several may match: where a text does not name what was refused, each stands for one guess.
    """
    if outcome.returncode == 0 and not outcome.timed_out:
        return ()
    found = [verdict for rule in (*rules, *COMMON) if (verdict := rule.match(outcome))]
    unspoken = _unspoken(outcome)
    return found or ([] if unspoken is None else [unspoken])


def _unspoken(outcome: ProbeOutcome) -> Verdict | None:
    """What the end of a process says when none of its words is known."""
    if outcome.timed_out:
        return Verdict(
            Trouble.BROKEN,
            "it did not answer in time and was ended",
            "the driver or the device hangs, or the machine is very busy: look into the "
            "system's log, then try again",
        )
    signal = ended_by(outcome)
    if signal is None:
        return None
    name = _SIGNAL_NAMES.get(signal, f"signal {signal}")
    return Verdict(
        Trouble.BROKEN,
        f"ffmpeg crashed in the driver ({name})",
        "the driver or its library does not fit this ffmpeg: update the driver, or try another "
        "ffmpeg with a second --ffmpeg",
    )


def last_resort(outcome: ProbeOutcome) -> Verdict | None:
    """Quote what ffmpeg said last; None when it did not fail."""
    if outcome.returncode == 0 and not outcome.timed_out:
        return None
    if outcome.returncode is None:
        return Verdict(
            Trouble.BROKEN,
            last_line(outcome.stderr) or "ffmpeg did not start",
            "check the path of this ffmpeg and whether it may be run",
        )
    said = last_line(outcome.stderr)
    cause = f"ffmpeg says: {said}" if said else f"ffmpeg ended with {outcome.returncode}"
    hint = "run `ffcluster doctor --fresh --json` for the whole command"
    return Verdict(Trouble.BROKEN, cause, hint)


def last_line(stderr: str) -> str:
    """The last line that says something by itself, without where in ffmpeg it came from."""
    lines = [_ORIGIN.sub("", line.strip()) for line in stderr.splitlines() if line.strip()]
    telling = [line for line in lines if not _TRAILERS.search(line)]
    return (telling or lines or [""])[-1][:300]


def ended_by(outcome: ProbeOutcome) -> int | None:
    """The signal that ended a process by itself, or None when it exited."""
    code = outcome.returncode
    if code is None or outcome.timed_out:
        return None
    return -code if code < 0 else _SHELL_SIGNALS.get(code)


def size_limits(stderr: str) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """((least width, least height), (largest width, largest height)) as a driver names them.

    0 stands for a limit that is not named; None when none is.
    """
    if found := _SIZES.search(stderr):
        low_width, high_width, low_height, high_height = map(int, found.groups())
        return (low_width, low_height), (high_width, high_height)
    width, height = _LARGEST_WIDTH.search(stderr), _LARGEST_HEIGHT.search(stderr)
    if width is None and height is None:
        return None
    return (0, 0), (int(width[1]) if width else 0, int(height[1]) if height else 0)


COMMON: Sequence[Rule] = (
    Rule(
        r"Unknown encoder '([\w-]+)'",
        Trouble.MISSING,
        "this ffmpeg was built without {0}",
        "use an ffmpeg that has it",
    ),
    Rule(
        r"Unrecognized option '([\w-]+?)'",
        Trouble.UNSUPPORTED,
        "this ffmpeg does not know the option {0}",
        "use a newer ffmpeg",
        drops="{0}",
    ),
    Rule(
        r"(?:Undefined constant or missing|Unable to parse|Error setting option) "
        r"(?:option )?[\"']?([\w-]+)",
        Trouble.UNSUPPORTED,
        "this ffmpeg does not take the value of {0}",
        "report it together with `ffcluster doctor --fresh --json`",
        drops="{0}",
    ),
    Rule(
        r"A hardware device reference is required",
        Trouble.BROKEN,
        "no device was given to the upload filter",
        "this is a fault of the plugin: report it together with `ffcluster doctor --fresh --json`",
    ),
    Rule(
        r"Impossible to convert between the formats",
        Trouble.UNSUPPORTED,
        "the pictures are not on the device: it does not decode this",
        "decode in software",
    ),
    Rule(
        r"Cannot allocate memory|CUDA_ERROR_OUT_OF_MEMORY|VK_ERROR_OUT_OF_DEVICE_MEMORY",
        Trouble.BUSY,
        "the device or the machine has no memory left",
        "other programs use it: wait, or give this worker fewer slots",
        about=About.DEVICE,
    ),
)


__all__ = [
    "COMMON",
    "About",
    "Rule",
    "Verdict",
    "diagnose",
    "ended_by",
    "judge",
    "last_line",
    "last_resort",
    "size_limits",
    "verdicts",
]
