"""`benchmark`: measure what the encoders of this machine achieve."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ffcluster.core.profile import Codec
from ffcluster.interfaces.cli.machines import device_in_words, diagnoses_lines
from ffcluster.interfaces.cli.options import FfclusterCommand, ffmpegs_option
from ffcluster.interfaces.cli.output import Exit, Output, table
from ffcluster.interfaces.cli.plugins import default_state_dir, plugin_options, state_dir_option
from ffcluster.interfaces.cli.runtime import Runtime

if TYPE_CHECKING:
    from ffcluster.encoders.registry import Registry
    from ffcluster.services.machine.benchmark import BenchmarkReport, BenchmarkRow, BenchmarkStep

_SIZE = re.compile(r"(\d{2,5})x(\d{2,5})")
_LARGEST_SIDE = 16384


def _size(_ctx: click.Context, _param: click.Parameter, text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = _SIZE.fullmatch(text.strip().lower())
    sides = tuple(int(side) for side in found.groups()) if found else ()
    if len(sides) != 2 or any(side % 2 or not 64 <= side <= _LARGEST_SIDE for side in sides):
        raise click.BadParameter(f"WIDTHxHEIGHT, both even and from 64 to {_LARGEST_SIDE}")
    return sides[0], sides[1]


def _duration(_ctx: click.Context, _param: click.Parameter, text: str) -> float:
    from ffcluster.services.settings.values import BadValue, duration_between

    try:
        seconds = duration_between(0.1, 3600.0)(text)
    except BadValue as error:
        raise click.BadParameter(str(error)) from error
    return float(str(seconds))


@click.command(
    cls=FfclusterCommand, short_help="Measure what the encoders of this machine achieve."
)
@click.option("--encoder", metavar="NAME", multiple=True, help="Only this encoder.  [default: all]")
@click.option(
    "--codec",
    type=click.Choice([codec.value for codec in Codec]),
    multiple=True,
    help="Only encoders of this codec.  [default: all]",
)
@click.option(
    "--device",
    metavar="NAME",
    multiple=True,
    help="Only this device, as doctor names it; cpu for the processor.  [default: all]",
)
@click.option(
    "--preset",
    metavar="NAME",
    multiple=True,
    help="Measure this preset.  [default: the encoder's default, and a fast one]",
)
@click.option(
    "--quality",
    metavar="N",
    type=float,
    multiple=True,
    help="Measure this constant quality, on the scale of x264, x265, SVT-AV1 or libvpx; of "
    "several, the first with several sessions.  [default: the encoder's]",
)
@click.option(
    "--benchmark-duration",
    "duration_s",
    metavar="SECONDS",
    default="5",
    show_default=True,
    callback=_duration,
    help="How long each measurement lasts; a preset needs three or more.",
)
@click.option(
    "--input",
    "source",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Measure with the middle of this film instead of a synthetic clip.",
)
@click.option(
    "--size",
    metavar="WxH",
    callback=_size,
    help="Size of the synthetic clip.  [default: 1920x1080; 1280x720 below 5 seconds]",
)
@click.option(
    "--max-sessions",
    type=click.IntRange(1, 256),
    default=16,
    show_default=True,
    help="Most sessions side by side.",
)
@click.option("--hardware-decode", is_flag=True, help="Decode on the device too where it can.")
@click.option("--fresh", is_flag=True, help="Detect anew first, whatever is remembered.")
@ffmpegs_option
@state_dir_option
@plugin_options
@click.pass_obj
def benchmark(
    runtime: Runtime,
    /,
    output: Output,
    registry: Registry,
    state_dir: Path | None,
    **given: Any,
) -> Exit:
    """Measure frames per second, quality and useful sessions of every encoder here.

    Results are remembered; workers tell them to the coordinator, which plans by them until it
    has seen the worker encode. Nothing else should run meanwhile.
    """
    from ffcluster.services.machine.benchmark import BenchmarkRequest

    request = BenchmarkRequest(
        ffmpegs=given["ffmpeg"],
        encoders=given["encoder"],
        codecs=tuple(Codec(name) for name in given["codec"]),
        devices=given["device"],
        presets=given["preset"],
        qualities=given["quality"],
        duration_s=given["duration_s"],
        source=given["source"],
        size=given["size"],
        max_sessions=given["max_sessions"],
        hardware_decode=given["hardware_decode"],
        fresh=given["fresh"],
        state_dir=state_dir or default_state_dir(),
    )

    async def main(reactor: Any) -> Exit:
        report = await runtime.benchmark(
            reactor, request, registry, lambda step: _tell(step, output)
        )
        for note in report.notes:
            output.warn(note)
        output.emit(
            "result",
            clip=report.clip,
            count=len(report.rows),
            diagnoses=report.diagnoses,
            stored=report.stored,
        )
        output.show(_describe(report))
        return Exit.DONE if report.rows else Exit.FAILED

    return runtime.run(main, output)


def _tell(step: BenchmarkStep, output: Output) -> None:
    from ffcluster.services.machine.benchmark import BenchmarkRow

    place = f"[{step.number}/{step.total}]"
    if step.found is None:
        output.say(f"{place} {step.what} ...")
    elif isinstance(step.found, BenchmarkRow):
        output.emit("measurement", **_fields(step.found))
        m = step.found.measurement
        output.say(f"{place} {step.what}: {m.fps:.1f} frames/s with {_sessions(m.sessions)}")
    else:
        output.emit("diagnosis", diagnosis=step.found)
        output.say(f"{place} {step.what}: {step.found.cause}")


def _fields(row: BenchmarkRow) -> dict[str, Any]:
    return {
        "measurement": row.measurement,
        "codec": row.codec,
        "quality": row.quality,
        "own_quality": row.own_quality,
        "limit": row.limit,
    }


def _describe(report: BenchmarkReport) -> str:
    headings = (
        "ENCODER", "DEVICE", "PRESET", "QUALITY", "FRAMES/S", "SPEED", "SESSIONS", "ONE ALONE",
        "VMAF", "MBIT/S", "LIMIT",
    )  # fmt: skip
    lines = [f"Clip: {report.clip}"]
    if report.rows:
        lines += ["", table(headings, [_row(row) for row in report.rows])]
    troubles = diagnoses_lines(report.diagnoses)
    lines += ["", "Not measured:", *(f"  {line}" for line in troubles)] if troubles else []
    if report.stored is not None:
        lines += ["", f"Remembered in {report.stored}"]
    return "\n".join(lines)


def _row(row: BenchmarkRow) -> tuple[object, ...]:
    m = row.measurement
    return (
        m.encoder,
        device_in_words(m.device),
        m.preset or "default",
        "default" if row.own_quality is None else f"{row.own_quality:g}",
        round(m.fps, 1),
        round(m.speed, 2),
        m.sessions,
        round(m.session_fps[0][1], 1) if m.session_fps else "-",
        "not measured" if m.vmaf is None else f"{m.vmaf:.1f}",
        round(m.bitrate_bps / 1e6, 2),
        row.limit or "-",
    )


def _sessions(count: int) -> str:
    return "1 session" if count == 1 else f"{count} sessions"
