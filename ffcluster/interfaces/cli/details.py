"""Lay out one segment of a job, or one attempt at it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from ffcluster.interfaces.cli.machines import device_in_words
from ffcluster.interfaces.cli.output import Exit, Output, megabytes, printable, table
from ffcluster.interfaces.cli.report import kind_in_words
from ffcluster.interfaces.cli.runtime import Client

if TYPE_CHECKING:
    from ffcluster.web.gantt import AttemptDetail, AttemptError, Timings
    from ffcluster.web.models.segments import SegmentDetail


async def show_segment(client: Client, job_id: str, first_frame: int, output: Output) -> Exit:
    """Show the segment that begins at a frame, with every attempt at it."""
    found = await client.segment(job_id, first_frame)
    output.emit("result", job=job_id, segment=found)
    output.show(_segment(found))
    return Exit.DONE


async def show_attempt(client: Client, job_id: str, epoch: int, output: Output) -> Exit:
    """Show one attempt: its command, its times, the end of its log."""
    found = await client.attempt(job_id, epoch)
    output.emit("result", job=job_id, attempt=found)
    output.show(_attempt(found))
    return Exit.DONE


def _segment(found: SegmentDetail) -> str:
    lines = [f"{_frames(found.first_frame, found.frame_count)}: {found.state}"]
    if found.encoder:
        lines.append(
            f"{printable(found.worker)}, {_made_with(found.encoder, found.device, found.fallback)}"
            f", kind {kind_in_words(found.kind)}"
        )
    if found.size_bytes is not None:
        lines.append(f"{megabytes(found.size_bytes)}, encoded in {_seconds(found.encode_s)}")
    if found.border_psnr_db is not None:
        lines.append(f"Pictures at its ends: PSNR {found.border_psnr_db:.1f} dB")
    rows = [
        (a.epoch, printable(a.worker), _made_with(a.encoder, a.device, a.fallback),
         a.offered_at, a.ended_at or "-", a.state if a.end == "live" else a.end, _why(a.error))
        for a in found.attempts
    ]  # fmt: skip
    headings = ("EPOCH", "WORKER", "ENCODER", "OFFERED", "ENDED", "OUTCOME", "ERROR")
    lines.append(table(headings, rows) if rows else "No attempt was made yet.")
    return "\n".join(lines)


def _attempt(found: AttemptDetail) -> str:
    known = ", ".join(filter(None, (found.device_name, found.driver and f"driver {found.driver}")))
    device = f" ({printable(known)})" if known else ""
    lines = [
        f"Attempt {found.epoch} at {_frames(found.first_frame, found.frame_count)}: "
        f"{found.state if found.end == 'live' else found.end}",
        f"{printable(found.worker)}, "
        f"{_made_with(found.encoder, found.device, found.fallback)}{device}, "
        f"ffmpeg {printable(found.ffmpeg) or 'unknown'}",
        _times(found.timings),
    ]
    if found.frames_done is not None:
        lines.append(f"{found.frames_done} frames so far, {found.fps or 0.0:.1f} frames/s")
    if found.error is not None:
        lines += [f"Error: {_why(found.error)}", *filter(None, [printable(found.error.advice)])]
    if found.size_bytes is not None:
        lines.append(f"Result: {megabytes(found.size_bytes)}, SHA-256 {found.sha256}")
    lines += [f"Note: {printable(note)}" for note in found.notes]
    lines.append(
        f"Command: {printable(shlex.join(found.argv))}"
        if found.argv
        else "Command: not known until the worker has told it"
    )
    if found.log_tail:
        lines += ["Log:", *(f"  {printable(line)}" for line in found.log_tail)]
    return "\n".join(lines)


def _frames(first_frame: int, frame_count: int) -> str:
    return f"frames {first_frame} to {first_frame + frame_count - 1} ({frame_count})"


def _made_with(encoder: str, device: str, fallback: bool) -> str:
    return (
        f"{printable(encoder)} on {printable(device_in_words(device))}"
        f"{' in place of hardware' if fallback else ''}"
    )


def _why(error: AttemptError | None) -> str:
    return "-" if error is None else printable(f"{error.code}: {error.message}")


def _times(timings: Timings) -> str:
    spent = {
        "waited": timings.waited_s,
        "ran": timings.ran_s,
        "encoder": timings.encode_s,
        "checked": timings.checked_s,
    }
    told = "".join(f", {what} {_seconds(time)}" for what, time in spent.items() if time is not None)
    return f"Offered {timings.offered_at}{told}"


def _seconds(time_s: float | None) -> str:
    return "-" if time_s is None else f"{time_s:.1f} s"
