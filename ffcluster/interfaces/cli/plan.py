"""`ffcluster plan`: what encoding a film would do, and whether it can be done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ffcluster.interfaces.cli.files import check_source
from ffcluster.interfaces.cli.options import (
    FfclusterCommand,
    JobOptions,
    ffmpegs_option,
    job_options,
)
from ffcluster.interfaces.cli.output import Exit, Output, clock
from ffcluster.interfaces.cli.runtime import Runtime

_SEGMENTS_SHOWN = 8


@click.command(cls=FfclusterCommand, short_help="Show what encoding INPUT would do.")
@click.argument("source", metavar="INPUT", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUTPUT", type=click.Path(path_type=Path))
@ffmpegs_option
@click.option(
    "--benchmark-duration",
    type=click.FloatRange(0, 3600),
    default=10.0,
    show_default=True,
    help="Seconds of film, at most, to encode for the estimate; 0 estimates nothing.",
)
@job_options
@click.pass_obj
def plan(
    runtime: Runtime,
    /,
    output: Output,
    source: Path,
    target: Path,
    ffmpeg: tuple[str, ...],
    benchmark_duration: float,
    options: JobOptions,
) -> Exit:
    """Show what `ffcluster encode INPUT OUTPUT` would do on this machine, without doing it.

    Reads the whole index of INPUT and encodes a few seconds out of its middle to estimate the
    time. Ends with 0 when it can be done, and else says why not.
    """
    check_source(source)
    request = options.request(source.name, target.name, server_path=str(source.absolute()))

    async def main(reactor: Any) -> Exit:
        film = await runtime.plan(reactor, source.absolute(), request, ffmpeg, benchmark_duration)
        summary = film.summary
        output.emit(
            "result",
            go=True,
            source=source,
            container=film.spec.container,
            codec=film.spec.profile.codec,
            encoder=film.encoder,
            device=film.device,
            fallback=film.fallback,
            slots=film.slots,
            frame_count=summary.frame_count,
            duration_s=summary.duration_s,
            video=summary.video,
            segments=[{"first_frame": s.first, "frame_count": len(s)} for s in film.segments],
            lost=film.lost,
            notes=film.notes,
            trial_fps=film.trial_fps,
            estimate_s=film.estimate_s,
        )
        output.show(_describe(film, target))
        return Exit.DONE

    return runtime.run(main, output)


def _describe(film: Any, target: Path) -> str:
    summary, video = film.summary, film.summary.video
    sizes = [len(segment) for segment in film.segments]
    shown = ", ".join(str(segment) for segment in film.segments[:_SEGMENTS_SHOWN])
    more = ", ..." if len(film.segments) > _SEGMENTS_SHOWN else ""
    lines = [
        f"source     {video.codec}, {video.width}x{video.height}, {video.pix_fmt}, "
        f"{summary.frame_count} frames, {clock(summary.duration_s)}, {summary.mean_fps:.3f} fps",
        f"output     {target.name}: {film.spec.profile.codec} in {film.spec.container}, "
        f"by {film.encoder}{f' on {film.device}' if film.device else ''}"
        f"{' in place of hardware' if film.fallback else ''}, {film.slots} at a time",
        f"segments   about {len(sizes)}, of {min(sizes)} to {max(sizes)} frames: {shown}{more}",
    ]
    lines += [f"left out   {lost}" for lost in film.lost] or ["left out   nothing"]
    lines += [f"note       {note}" for note in film.notes]
    if film.estimate_s is not None:
        speed = summary.duration_s / film.estimate_s
        lines.append(f"time       about {clock(film.estimate_s)} here, {speed:.2f} x real time")
    return "\n".join([*lines, "go         yes"])
