"""Recordings of detection: what ffmpeg said on a machine, kept so that it can be asked again.

A recording is one JSON object:

- `format`: 1.
- `about`: One line for people: which machine this was.
- `backend`: Name of the backend.
- `build`: `version`, `major` and `minor` of the ffmpeg, and, each as a text of names, its
  `encoders` (as far as the backend knows them) and its `filters`.
- `machine`: `platform`, `cpus`, `devices` (see `DeviceNode`) and `drivers` (name, version).
- `commands`: What was run. Each has `argv` (the exact arguments after ffmpeg's path) or `match`
  (a regular expression that is searched in the arguments joined by blanks), and `returncode`
  (null when it never started), `stdout`, `stderr`, `timed_out` as far as they are not empty.
- `expect`: What detection must find: `capabilities` (each `ENCODER`, or `ENCODER DEVICE`) and
  `diagnoses` (each a part of a cause). Left out: nothing particular is expected.

A command is looked up by its exact arguments first, then by the first `match` that fits. Several
entries for the same arguments are used in their order; the last one stays.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
import cattrs
from cattrs.errors import BaseValidationError
from cattrs.v import transform_error

from ffcluster.encoders.backend import Backend, Machine, Probe, ProbeOutcome
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.detection import Detection
from ffcluster.testing.running import drive

FORMAT = 1
_GPU_UUID = re.compile(r"\b(GPU|MIG)-[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b")
_NO_UUID = "00000000-0000-0000-0000-000000000000"


class UnrecordedCommand(LookupError):
    """The backend asked for a command that the recording does not have."""


@attrs.frozen
class RecordedCommand:
    """One command and what became of it; see the module's description of the format."""

    argv: tuple[str, ...] = ()
    match: str = ""
    returncode: int | None = 0
    stdout: str = ""
    stderr: str = ""
    timed_out: bool = False

    @property
    def outcome(self) -> ProbeOutcome:
        """What became of it, as a backend is told."""
        return ProbeOutcome(self.returncode, self.stdout, self.stderr, self.timed_out)


@attrs.frozen
class RecordedBuild:
    """The ffmpeg that was asked; see `FfmpegBuild`."""

    version: str
    major: int
    minor: int = 0
    encoders: str = ""
    filters: str = ""

    def build(self) -> FfmpegBuild:
        """The same for a backend; its path cannot be run."""
        return FfmpegBuild(
            "ffmpeg",
            self.version,
            self.major,
            self.minor,
            frozenset(self.encoders.split()),
            frozenset(self.filters.split()),
        )


@attrs.frozen
class Expectation:
    """What detection must find; see the module's description of the format."""

    capabilities: tuple[str, ...] = ()
    diagnoses: tuple[str, ...] = ()


@attrs.frozen
class Recording:
    """All that one detection asked and was told; see the module's description of the format."""

    backend: str
    build: RecordedBuild
    machine: Machine
    commands: tuple[RecordedCommand, ...]
    about: str = ""
    expect: Expectation | None = None
    format: int = FORMAT


def load_recording(path: Path) -> Recording:
    """Read a recording.

    Raises:
        ValueError: It is none, or of a later format; the text names what is wrong.
    """
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(given, dict) and given.get("format", FORMAT) != FORMAT:
            raise ValueError(f"format {given['format']} is not {FORMAT}: update ffcluster")
        recording = _CONVERTER.structure(given, Recording)
    except BaseValidationError as error:
        raise ValueError(f"{path.name}: {'; '.join(transform_error(error))}") from error
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error
    for number, command in enumerate(recording.commands):
        try:
            re.compile(command.match)
        except re.error as error:
            raise ValueError(f"{path.name}: match of command {number}: {error}") from error
    return recording


def save_recording(path: Path, recording: Recording) -> None:
    """Write a recording, without what is empty."""
    data = _CONVERTER.unstructure(recording)
    data["commands"] = [_without_defaults(command) for command in data["commands"]]
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def recordings_in(folder: Path) -> tuple[Path, ...]:
    """The recordings in `folder`, by name; an empty or missing folder is an error.

    Raises:
        ValueError: There is none.
    """
    found = tuple(sorted(folder.glob("*.json")))
    if not found:
        raise ValueError(f"there is no recording in {folder}: make one, or leave them out")
    return found


def replay(backend: Backend, recording: Recording) -> Detection:
    """Detect with `backend` what the recording's machine has.

    Raises:
        UnrecordedCommand: The backend asks for something else than it did then.
    """
    tape = _Tape(recording.commands)
    return drive(backend, recording.build.build(), recording.machine, tape.outcome)


def record(
    backend: Backend,
    build: FfmpegBuild,
    machine: Machine,
    run: Callable[[Probe], ProbeOutcome],
    *,
    about: str = "",
    secrets: Mapping[str, str] | None = None,
) -> Recording:
    """Detect with `backend` and keep all that was asked and answered.

    Args:
        backend: Whose detection it is.
        build: The ffmpeg to detect with.
        machine: The machine it runs on.
        run: Gives the outcome of a probe.
        about: One line for people.
        secrets: Words to replace wherever they appear (names, folders), by what.

    Raises:
        ValueError: It does not replay once they are replaced.
    """
    commands: list[RecordedCommand] = []

    def answer(probe: Probe) -> ProbeOutcome:
        outcome = run(probe)
        commands.append(
            RecordedCommand(
                probe.argv,
                returncode=outcome.returncode,
                stdout=outcome.stdout,
                stderr=outcome.stderr,
                timed_out=outcome.timed_out,
            )
        )
        return outcome

    drive(backend, build, machine, answer)
    recording = Recording(
        backend=backend.name,
        build=RecordedBuild(
            build.version,
            build.major,
            build.minor,
            " ".join(s.encoder for s in backend.schemas if s.encoder in build.encoders),
            " ".join(sorted(build.filters)),
        ),
        machine=machine,
        commands=tuple(commands),
        about=about,
    )
    for also_arguments in (False, True):
        cleaned = _redacted(recording, secrets or {}, also_arguments=also_arguments)
        try:
            return attrs.evolve(cleaned, expect=expected_of(replay(backend, cleaned)))
        except UnrecordedCommand:
            # The arguments follow from something in the machine that was replaced.
            continue
    raise ValueError("without names and folders the recording does not replay: write it by hand")


def expected_of(detection: Detection) -> Expectation:
    """What a detection found, as an expectation."""
    found = [f"{c.encoder} {c.device}".strip() for c in detection.capabilities]
    causes = [d.cause for d in detection.diagnoses]
    return Expectation(tuple(dict.fromkeys(found)), tuple(dict.fromkeys(causes)))


def unmet(recording: Recording, detection: Detection) -> list[str]:
    """What `recording` expects and `detection` did not find, or the other way round, in words."""
    if recording.expect is None:
        return []
    found = set(expected_of(detection).capabilities)
    expected = {" ".join(text.split()) for text in recording.expect.capabilities}
    words = [f"{name} is not found" for name in sorted(expected - found)]
    words += [f"{name} is found unexpectedly" for name in sorted(found - expected)]
    causes = [d.cause for d in detection.diagnoses]
    words += [
        f"no diagnosis says {part!r}, only: {'; '.join(causes) or 'none'}"
        for part in recording.expect.diagnoses
        if not any(part in cause for cause in causes)
    ]
    return words


class _Tape:
    def __init__(self, commands: Iterable[RecordedCommand]) -> None:
        self._exact: dict[tuple[str, ...], list[RecordedCommand]] = defaultdict(list)
        self._matching: list[RecordedCommand] = []
        for command in commands:
            if command.argv:
                self._exact[command.argv].append(command)
            else:
                self._matching.append(command)

    def outcome(self, probe: Probe) -> ProbeOutcome:
        if same := self._exact.get(probe.argv):
            return (same.pop(0) if len(same) > 1 else same[0]).outcome
        line = " ".join(probe.argv)
        for command in self._matching:
            if re.search(command.match, line):
                return command.outcome
        raise UnrecordedCommand(
            f"the recording has no answer to: {line}\nRecord it anew, or add a command with `match`"
        )


def _redacted(
    recording: Recording, secrets: Mapping[str, str], *, also_arguments: bool
) -> Recording:
    """Put other words for `secrets`, the longest first, and for the identities of GPUs.

    Arguments come from the backend, which knows no names but the machine's: they need it only
    where the machine did.
    """
    ordered = sorted(((s, w) for s, w in secrets.items() if s), key=lambda pair: -len(pair[0]))

    def clean(value: Any) -> Any:
        if isinstance(value, str):
            for secret, word in ordered:
                value = re.sub(rf"(?<![A-Za-z0-9]){re.escape(secret)}(?![A-Za-z0-9])", word, value)
            return _GPU_UUID.sub(rf"\1-{_NO_UUID}", value)
        if isinstance(value, (list, tuple)):
            return [clean(item) for item in value]
        if isinstance(value, dict):
            kept = () if also_arguments else ("argv",)
            return {key: v if key in kept else clean(v) for key, v in value.items()}
        return value

    return _CONVERTER.structure(clean(_CONVERTER.unstructure(recording)), Recording)


def _without_defaults(command: dict[str, Any]) -> dict[str, Any]:
    plain = _CONVERTER.unstructure(RecordedCommand())
    return {
        key: value for key, value in command.items() if key == "returncode" or value != plain[key]
    }


_CONVERTER = cattrs.Converter(forbid_extra_keys=True)
