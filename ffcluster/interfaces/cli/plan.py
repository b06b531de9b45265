"""`ffcluster plan`: what encoding a film would do, and whether it can be done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ffcluster.errors import InvalidOption
from ffcluster.interfaces.cli.files import check_source
from ffcluster.interfaces.cli.following import with_client
from ffcluster.interfaces.cli.options import (
    FfclusterCommand,
    JobOptions,
    coordinator_options,
    ffmpegs_option,
    job_options,
)
from ffcluster.interfaces.cli.output import Exit, Output, clock, megabytes, printable
from ffcluster.interfaces.cli.runtime import Client, Runtime

_SEGMENTS_SHOWN = 8
_WORKERS_SHOWN = 8
_TRIAL_S = 10.0

if TYPE_CHECKING:
    from ffcluster.core.model import JobRequest
    from ffcluster.web.models.plans import Plan


@click.command(cls=FfclusterCommand, short_help="Show what encoding INPUT would do.")
@click.argument("source", metavar="INPUT", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUTPUT", type=click.Path(path_type=Path))
@click.option(
    "--on-server",
    is_flag=True,
    help="Ask the coordinator; INPUT is a path that it can read.",
)
@coordinator_options()
@ffmpegs_option
@click.option(
    "--benchmark-duration",
    type=click.FloatRange(0, 3600),
    help="Seconds of film, at most, to encode here for the estimate; 0 estimates nothing.  "
    "[default: 10]",
)
@job_options
@click.pass_obj
def plan(
    runtime: Runtime,
    /,
    output: Output,
    source: Path,
    target: Path,
    on_server: bool,
    coordinator: str,
    token_file: Path | None,
    ffmpeg: tuple[str, ...],
    benchmark_duration: float | None,
    options: JobOptions,
) -> Exit:
    """Show what `ffcluster encode INPUT OUTPUT` would do on this machine, without doing it.

    Reads the whole index of INPUT and encodes a few seconds out of its middle to estimate the
    time. Ends with 0 when it can be done, and else says why not. With --on-server the coordinator
    says what its workers would make of it; it encodes nothing for that.

    \b
    ffcluster plan film.mkv film.mp4 --codec hevc
    ffcluster plan /films/film.mkv film.mp4 --on-server --coordinator ws://HOST:5001
    """
    _check(on_server, ffmpeg, benchmark_duration)
    if on_server:
        wanted = options.request(source.name, target.name, server_path=str(source))
        return with_client(
            runtime, output, coordinator, token_file, lambda c: _ask(c, wanted, output)
        )
    check_source(source)
    request = options.request(source.name, target.name, server_path=str(source.absolute()))

    async def main(reactor: Any) -> Exit:
        trial_s = _TRIAL_S if benchmark_duration is None else benchmark_duration
        film = await runtime.plan(reactor, source.absolute(), request, ffmpeg, trial_s)
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


def _check(on_server: bool, ffmpeg: tuple[str, ...], benchmark_duration: float | None) -> None:
    """Refuse options of a plan here for one there, and the other way round."""
    typed = click.get_current_context().get_parameter_source("coordinator")
    here = {"--ffmpeg": ffmpeg, "--benchmark-duration": benchmark_duration is not None}
    if on_server:
        wrong = next((name for name, given in here.items() if given), None)
        if wrong is not None:
            raise InvalidOption(
                message=f"{wrong} counts for plans of this machine, not with --on-server.",
                option=wrong,
            )
    elif typed is ParameterSource.COMMANDLINE:
        raise InvalidOption(
            message="A coordinator plans films that it can read itself.",
            advice="Add --on-server, and give INPUT as its path there.",
            option="--coordinator",
        )


async def _ask(client: Client, wanted: JobRequest, output: Output) -> Exit:
    found = await client.plan(wanted)
    output.emit("result", go=True, plan=found)
    output.show(_describe_there(found))
    return Exit.DONE


def _describe_there(found: Plan) -> str:
    video = found.video
    size = found.predicted_size_bytes
    speed = f", {found.duration_s / found.estimate_s:.2f} x real time" if found.estimate_s else ""
    names = ", ".join(printable(name) for name in found.workers[:_WORKERS_SHOWN])
    more = ", ..." if found.worker_count > _WORKERS_SHOWN else ""
    who = f"{found.worker_count} can: {names}{more}" if found.worker_count else "none can now"
    lines = [
        f"source     {video.codec}, {video.width}x{video.height}, {video.pix_fmt}, "
        f"{found.frame_count} frames, {clock(found.duration_s)}",
        f"output     {printable(found.output_name)}: {found.profile.codec} in {found.container}"
        f"{f', by {found.encoder}' if found.encoder else ''}"
        f"{f', about {megabytes(size)}' if size is not None else ''}",
        f"workers    {who}",
        f"segments   about {found.segments}",
    ]
    lines += [f"left out   {printable(lost)}" for lost in found.lost] or ["left out   nothing"]
    lines += [f"note       {printable(note)}" for note in (*found.notes, *found.warnings)]
    time = "not known yet" if found.estimate_s is None else f"about {clock(found.estimate_s)}"
    return "\n".join([*lines, f"time       {time}{speed}", "go         yes"])


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
