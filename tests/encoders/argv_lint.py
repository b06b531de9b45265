"""Argument lists before ffmpeg's own parser, or before recordings of what a release knows.

Without the device a hardware encoder does not open, but ffmpeg has parsed its options by then.
Software encoders are really opened, so the libraries see the values as well.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import attrs

from ffcluster.encoders.backend import Backend, EncodeArguments, EncoderSchema
from ffcluster.encoders.build import FfmpegBuild
from tests.encoders.argv import Case, cases
from tests.encoders.builds import run
from tests.encoders.facts import Facts

# What ffmpeg and the libraries say of options that they do not know or values that they refuse.
COMPLAINTS = (
    "has not been used for any stream",
    "Unrecognized option",
    "Option not found",
    "Unable to parse",
    "Undefined constant",
    "Error setting option",
    "Error applying option",
    "out of range",
    "Error parsing option",
    "Unknown option",
    "Invalid value for",
    "No such filter",
    "Invalid device specification",
    "Invalid hwaccel",
)
# Options that every video encoder in ffmpeg has, so that `-h encoder=` does not list them.
GENERIC = frozenset(
    {"b", "maxrate", "bufsize", "g", "bf", "flags", "global_quality", "q", "threads", "profile"}
    | {"compression_level", "chroma_sample_location", "refs", "level", "slices"}
)
_DEVICE_FILTER = re.compile(r"hwupload|hwmap|scale_(?:cuda|vaapi|qsv|vt)|vpp_|format=(?:qsv|d3d11)")
_FORMATS = {8: "format=nv12", 10: "format=p010le"}
# Processes side by side; each is short and mostly loads ffmpeg.
_PARALLEL = 2
# Software encodes in one process, each an output of its own. Several SVT-AV1 1.4 in one process
# were seen to wait for each other for ever.
_BATCH = 12
_ALONE = frozenset({"libsvtav1"})


@attrs.frozen
class Lint:
    """One argument list that was made, and what is wrong with it; "" when nothing is."""

    argv: tuple[str, ...]
    complaint: str = ""


@attrs.define
class Tally:
    """What became of one encoder on one build.

    Attributes:
        encoder: ffmpeg's name.
        build: The release.
        cases: Choices of settings that were looked at.
        refused: Choices that the backend itself refused, with a reason.
        lints: What was made of the others, equal ones counted once.
    """

    encoder: str
    build: str
    cases: int = 0
    refused: int = 0
    lints: list[Lint] = attrs.field(factory=list)

    @property
    def complaints(self) -> list[Lint]:
        """Argument lists with which something is wrong."""
        return [lint for lint in self.lints if lint.complaint]


def made(
    tally: Tally, backend: Backend, schema: EncoderSchema, build: FfmpegBuild, most: int | None
) -> Iterator[tuple[Case, EncodeArguments]]:
    """Every different thing that the backend makes of at most about `most` choices."""
    seen: set[tuple[tuple[str, ...], ...]] = set()
    for case in cases(backend, schema, build, most):
        tally.cases += 1
        arguments = case.arguments()
        if arguments is None:
            tally.refused += 1
            continue
        key = (arguments.global_args, arguments.input_args, arguments.filters)
        if (*key, arguments.output_args) not in seen:
            seen.add((*key, arguments.output_args))
            yield case, arguments


def lint(
    backend: Backend, schema: EncoderSchema, build: FfmpegBuild, most: int | None = None
) -> Tally:
    """Give at most about `most` argument lists of an encoder to `build`'s parser."""
    tally = Tally(schema.encoder, f"{build.major}.{build.minor}")
    found = made(tally, backend, schema, build, most)
    work = _software(build, found) if backend.name == "software" else _hardware(build, found)
    tally.lints.extend(work)
    return tally


def _hardware(build: FfmpegBuild, found: Iterable[tuple[Case, EncodeArguments]]) -> Iterator[Lint]:
    with ThreadPoolExecutor(_PARALLEL) as pool:
        yield from pool.map(lambda pair: _hardware_lint(build, *pair), found)


def _hardware_lint(build: FfmpegBuild, case: Case, arguments: EncodeArguments) -> Lint:
    argv = (*arguments.global_args, *arguments.input_args, *arguments.output_args)
    depth = 10 if any("p010" in text for text in arguments.filters) else 8
    on_cpu = [text for text in arguments.filters if not _DEVICE_FILTER.search(text)]
    chain = ",".join(on_cpu or [_FORMATS[depth]])
    # First the encoder's options, without what would stop ffmpeg for want of the device earlier.
    said = _run(build, (), chain, arguments.output_args)
    on_device = [text for text in arguments.filters if _DEVICE_FILTER.search(text)]
    if not said and (on_device or arguments.input_args):
        # Then the filters and the way of decoding, which stops before the encoder.
        said = _pipeline_complaint(build, arguments.input_args, ",".join(arguments.filters))
    if not said and arguments.global_args:
        said = _device_complaint(build, arguments.global_args)
    return Lint(argv, said)


@functools.lru_cache(4096)
def _pipeline_complaint(build: FfmpegBuild, input_args: tuple[str, ...], chain: str) -> str:
    return _run(build, input_args, chain, ("-c:v", "rawvideo"))


def _run(
    build: FfmpegBuild, input_args: Sequence[str], chain: str, output_args: Sequence[str]
) -> str:
    done = run(
        build.path, "-hide_banner", "-nostdin", "-loglevel", "warning",
        *input_args, "-f", "lavfi", "-i", "testsrc2=s=640x480:r=25:d=0.04",
        *(("-vf", chain) if chain else ()), *output_args, "-f", "null", "-",
    )  # fmt: skip
    return _complaint(done.stderr)


@functools.lru_cache(4096)
def _device_complaint(build: FfmpegBuild, global_args: tuple[str, ...]) -> str:
    """What is wrong with the arguments that open a device, apart from its absence."""
    done = run(build.path, "-hide_banner", "-nostdin", *global_args, "-version")
    known = {"cuda", "vaapi", "qsv", "d3d11va", "amf", "videotoolbox"}
    for option, value in zip(global_args[::2], global_args[1::2], strict=True):
        if option == "-init_hw_device" and value.partition("=")[0] not in known:
            return f"unknown device type in {value}"
    return _complaint(done.stderr)


def _complaint(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if any(c in line for c in COMPLAINTS)]
    return " | ".join(lines)[:600]


def _software(build: FfmpegBuild, found: Iterable[tuple[Case, EncodeArguments]]) -> Iterator[Lint]:
    outputs: dict[int, list[tuple[str, ...]]] = {8: [], 10: []}
    size = _BATCH
    for case, arguments in found:
        size = 1 if case.schema.encoder in _ALONE else _BATCH
        chain = ",".join((*arguments.context_filters, *arguments.filters))
        words = ("-map", "0:v", "-vf", chain, "-frames:v", "1", *arguments.output_args)
        outputs[case.chosen["depth"]].append((*words, "-f", "null", "-"))
    batches = [
        every[start : start + size]
        for every in outputs.values()
        for start in range(0, len(every), size)
    ]
    with ThreadPoolExecutor(_PARALLEL) as pool:
        for linted in pool.map(lambda batch: _encode(build, batch), batches):
            yield from linted


def _encode(build: FfmpegBuild, batch: Sequence[tuple[str, ...]]) -> list[Lint]:
    done = run(
        build.path, "-hide_banner", "-nostdin", "-loglevel", "warning",
        "-f", "lavfi", "-i", "testsrc2=s=64x64:r=25:d=0.04",
        *(word for output in batch for word in output),
    )  # fmt: skip
    said = _complaint(done.stderr)
    if done.returncode == 0 and not said:
        return [Lint(output) for output in batch]
    if len(batch) == 1:
        return [Lint(batch[0], said or _last_words(done.stderr) or f"rc {done.returncode}")]
    middle = len(batch) // 2
    return [*_encode(build, batch[:middle]), *_encode(build, batch[middle:])]


def _last_words(stderr: str) -> str:
    telling = [line for line in stderr.splitlines() if "rror" in line or "nvalid" in line]
    return " | ".join(telling[:3])[:600]


def lint_recorded(
    backend: Backend, schema: EncoderSchema, build: FfmpegBuild, known: Facts, most: int | None
) -> Tally:
    """Compare argument lists with what a release was recorded to know: names and named values."""
    tally = Tally(schema.encoder, f"{build.major}.{build.minor}")
    for _, arguments in made(tally, backend, schema, build, most):
        argv = (*arguments.filters, *arguments.output_args)
        tally.lints.append(Lint(argv, unknown(arguments, known)))
    return tally


def unknown(arguments: EncodeArguments, known: Facts) -> str:
    """The first option or named value that a release does not know, or ""."""
    _, encoder, *words = arguments.output_args
    options = known["encoders"][encoder]["options"]
    for option, value in zip(words[::2], words[1::2], strict=True):
        name = option.removeprefix("-").partition(":")[0]
        if name not in options and name not in GENERIC:
            return f"{encoder} has no option {name}"
        constants = options.get(name, [])
        if constants and not re.fullmatch(r"-?[\d.]+", value):
            for word in value.split("+"):
                if word and word not in constants:
                    return f"{encoder}'s {name} has no value {word}"
    for text in ",".join(arguments.filters).split(","):
        filter_name, _, given = text.partition("=")
        if filter_name not in known["filters"]:
            continue
        for pair in given.split(":"):
            name = pair.partition("=")[0]
            if "=" in pair and name not in known["filters"][filter_name]:
                return f"{filter_name} has no option {name}"
    return ""
