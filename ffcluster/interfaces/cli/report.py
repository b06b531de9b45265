"""Present a job that has ended: its result, its proof, or why there is none."""

from __future__ import annotations

from pathlib import Path

import attrs

from ffcluster.core.model import Contribution, JobOutcome
from ffcluster.core.views import JobView, ShareView
from ffcluster.errors import Cancelled, FfclusterError, VerificationFailed
from ffcluster.interfaces.cli.output import Exit, Output, clock, megabytes


def report(view: JobView, target: Path | None, output: Output) -> Exit:
    """Present a job that has ended, and answer the exit code that belongs to it.

    Args:
        view: Its last view.
        target: Where its file is now; None leaves it where the coordinator published it.
        output: Where to write.
    """
    if view.outcome is None:
        return report_failure(view, output)
    where = target or Path(view.outcome.path)
    output.emit(
        "result",
        job=view.id,
        output=where,
        **{name: getattr(view.outcome, name) for name in _PROOF_FIELDS},
        encoder=view.encoder,
        elapsed_s=view.elapsed_s,
        fps=_rate(view.frame_count, view.elapsed_s),
        speed=_rate(view.duration_s, view.elapsed_s),
        retries=view.retries,
        warnings=view.warnings,
        workers=view.shares,
    )
    if not output.quiet:
        output.show(summary(view, view.outcome, where))
    return Exit.DONE


_PROOF_FIELDS = tuple(f.name for f in attrs.fields(JobOutcome) if f.name != "path")


def _rate(amount: float | None, seconds: float) -> float | None:
    return amount / seconds if amount and seconds else None


def report_failure(view: JobView, output: Output) -> Exit:
    """Present a job that failed or was cancelled."""
    if view.error is not None:
        error = view.error.to_error()
    elif view.state == "Cancelled":
        error = Cancelled(message=f"Job {view.id} was cancelled.")
    else:
        error = FfclusterError(message=f"Job {view.id} failed.")
    code = Exit.UNVERIFIED if isinstance(error, VerificationFailed) else Exit.FAILED
    return output.fail(error, code)


def summary(view: JobView, outcome: JobOutcome, where: Path) -> str:
    """Describe a finished job for a person."""
    lines = [
        f"{where}: {megabytes(outcome.size_bytes)}, {outcome.frame_count} frames, "
        f"{proof_in_words(outcome)}"
    ]
    fps, speed = _rate(view.frame_count, view.elapsed_s), _rate(view.duration_s, view.elapsed_s)
    if fps and speed:
        lines.append(
            f"{view.encoder or 'encoded'}, {clock(view.elapsed_s)} for "
            f"{clock(view.duration_s)} of film: {fps:.1f} frames/s, {speed:.2f} x real time"
        )
    lines += [
        f"  {share.worker}: {share.segments} segments, {share.frames} frames, {used_by(share)}"
        for share in view.shares
    ]
    if len(outcome.made_by) > 1:
        lines += [f"  {made_in_words(made)}" for made in outcome.made_by]
    lines += missing_in_words(outcome)
    lines += [f"Left out: {lost}" for lost in outcome.lost]
    lines += [f"Note: {note}" for note in (*outcome.notes, *view.warnings)]
    return "\n".join(lines)


def used_by(share: ShareView) -> str:
    """What a worker used for a job: `h264_nvenc on cuda:0`; of the CPU nothing is said."""
    where = ", ".join(device for device in share.devices if device)
    return f"{share.encoder}{f' on {where}' if where else ''}"


def made_in_words(made: Contribution) -> str:
    """Say what one encoder made, and which kind of parameter sets that carries."""
    return (
        f"{made.encoder}{' in place of hardware' if made.fallback else ''}: "
        f"{made.segments} segments, {made.frames} frames, kind {kind_in_words(made.parameter_sets)}"
    )


def missing_in_words(outcome: JobOutcome) -> list[str]:
    """The frames that could not be encoded, and what was compared at the segments' borders."""
    lines = [
        f"Missing: frames {frames.first} to {frames.stop - 1} ({len(frames)}) could not be encoded"
        for frames in outcome.missing
    ]
    compared, least_db = outcome.borders
    if compared:
        found = "identical" if least_db is None else f"least PSNR {least_db:.1f} dB"
        lines.append(f"  {compared} ends of segments compared with the source: {found}")
    return lines


def kind_in_words(parameter_sets: str) -> str:
    """A short name of a kind of parameter sets: equal names join under one header."""
    return parameter_sets[:8] or "-"


def proof_in_words(outcome: JobOutcome) -> str:
    """Say how far the result was proven."""
    if not outcome.proven:
        return "not proven (the container's index was trusted)"
    if outcome.pictures_equal:
        return "every picture proven identical to the source's"
    return "every frame proven by decoding"
