"""Present a job that has ended: its result, its proof, or why there is none."""

from __future__ import annotations

from pathlib import Path

import attrs

from ffcluster.core.model import JobOutcome
from ffcluster.core.views import JobView
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
        f"  {share.worker}: {share.segments} segments, {share.frames} frames"
        for share in view.shares
    ]
    lines += [f"Left out: {lost}" for lost in outcome.lost]
    lines += [f"Note: {note}" for note in (*outcome.notes, *view.warnings)]
    return "\n".join(lines)


def proof_in_words(outcome: JobOutcome) -> str:
    """Say how far the result was proven."""
    if not outcome.proven:
        return "not proven (the container's index was trusted)"
    if outcome.pictures_equal:
        return "every picture proven identical to the source's"
    return "every frame proven by decoding"
