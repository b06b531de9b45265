"""Lay out how a job was made: a row for every attempt at every segment."""

from __future__ import annotations

from typing import Any

from ffcluster.core.durable import AttemptEnd, AttemptEntry
from ffcluster.core.receipts import JobReceipt, SegmentReceipt
from ffcluster.interfaces.cli.machines import device_and_driver
from ffcluster.interfaces.cli.output import table


def attempt_rows(receipt: JobReceipt) -> list[dict[str, Any]]:
    """Every attempt for programs, in order of segments and epochs."""
    return [
        {
            "segment": segment.number,
            "first_frame": attempt.frames.first,
            "frame_count": len(attempt.frames),
            "epoch": attempt.epoch,
            "worker": attempt.worker_name,
            "backend": attempt.capability.backend,
            "encoder": attempt.capability.encoder,
            "device": attempt.capability.device,
            "device_name": attempt.capability.device_name,
            "driver": attempt.capability.driver,
            "ffmpeg": _ffmpeg(attempt),
            "encode_s": attempt.proof.encode_s if attempt.proof else None,
            "took_s": _took_s(attempt),
            "end": attempt.end,
            "error": attempt.error,
            "sha256": attempt.blob.sha256 if attempt.blob else None,
        }
        for segment in receipt.segments
        for attempt in segment.attempts
    ]


def attempts_table(receipt: JobReceipt) -> str:
    """Every attempt for people."""
    rows = [
        (
            segment.number,
            str(attempt.frames),
            attempt.epoch,
            attempt.worker_name,
            f"{attempt.capability.encoder}{_kind(attempt)}",
            device_and_driver(attempt.capability),
            _ffmpeg(attempt) or "-",
            _seconds(_took_s(attempt)),
            _outcome(attempt, segment),
        )
        for segment in receipt.segments
        for attempt in segment.attempts
    ]
    headings = (
        "SEGMENT", "FRAMES", "EPOCH", "WORKER", "ENCODER", "DEVICE", "FFMPEG", "SECONDS", "OUTCOME",
    )  # fmt: skip
    return table(headings, rows) if rows else "No attempt was made yet."


def _ffmpeg(attempt: AttemptEntry) -> str:
    return attempt.proof.ffmpeg if attempt.proof else attempt.capability.ffmpeg


def _took_s(attempt: AttemptEntry) -> float | None:
    """From the offer to the end, piece and result included; None while it is live."""
    return None if attempt.ended_at is None else attempt.ended_at - attempt.offered_at


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _kind(attempt: AttemptEntry) -> str:
    said = {
        "in place of hardware": attempt.fallback,
        "second one beside another": attempt.speculative,
        "to measure": attempt.probe,
    }
    words = ", ".join(word for word, true in said.items() if true)
    return f" ({words})" if words else ""


def _outcome(attempt: AttemptEntry, segment: SegmentReceipt) -> str:
    if attempt.end is AttemptEnd.LIVE:
        return attempt.state
    if attempt.end is AttemptEnd.COMMITTED and attempt is not segment.committed:
        return "committed, then dropped"
    why = f": {attempt.error.message}" if attempt.error else ""
    return f"{attempt.end.value}{why}"
