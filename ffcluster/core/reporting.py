"""Views of jobs and workers, derived from the cluster's state. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import nlargest

from ffcluster.core import scheduling
from ffcluster.core.entries import quarantines
from ffcluster.core.forecast import forecast
from ffcluster.core.job import Job, Share
from ffcluster.core.model import Contribution, WorkerId
from ffcluster.core.segment import Attempt, AttemptState, Segment, SegmentState
from ffcluster.core.views import JobView, SegmentView, ShareView, WorkerView
from ffcluster.core.worker import Worker


def job_view(
    job: Job,
    now: float,
    *,
    slowdown: float = 1.0,
    segments: bool = False,
    most_shares: int | None = None,
) -> JobView:
    """Describe one job.

    Args:
        job: The job.
        now: The coordinator's time.
        slowdown: How many times longer it takes because of other jobs.
        segments: Whether every segment is described, too.
        most_shares: The most workers that are described, or None: all.
    """
    live = [attempt for s in job.unfinished.values() for attempt in s.live.values()]
    running = [attempt for attempt in live if attempt.state is AttemptState.RUNNING]
    # Of two attempts at one segment, the one that is further counts.
    partial = sum(
        max((a.frames_done for a in s.live.values()), default=0) for s in job.unfinished.values()
    )
    done = job.frames_committed + partial
    fps = sum(_pace_fps(job, attempt) for attempt in running)
    summary = job.summary
    ahead = forecast(job, done, fps, slowdown)
    return JobView(
        id=job.id,
        state=job.state.value,
        reason=job.reason,
        spec=job.spec,
        encoder=encoder_names(job),
        frame_count=summary.frame_count if summary else None,
        duration_s=summary.duration_s if summary else None,
        frames_done=done,
        frames_committed=job.frames_committed,
        segments_committed=job.segments_committed,
        fps=fps,
        speed=fps / summary.mean_fps if summary else 0.0,
        eta_s=ahead.eta_s,
        elapsed_s=(job.ended_at if job.ended_at is not None else now) - job.submitted_at,
        shares=_shares(job, running, most_shares),
        retries=job.retries,
        warnings=job.warnings,
        error=job.error,
        outcome=job.outcome,
        segments=tuple(segment_view(job, s) for s in job.segments.values()) if segments else (),
        priority=job.priority,
        paused=job.paused,
        submitted_at=job.submitted_at,
        segment_count=max(len(job.segments), job.segments_committed),
        eta_low_s=ahead.eta_low_s,
        eta_high_s=ahead.eta_high_s,
        predicted_size_bytes=ahead.size_bytes,
        ended_at=job.ended_at,
        share_count=len(job.shares),
        source_uploaded=job.source.uploaded,
    )


def worker_view(worker: Worker, now: float) -> WorkerView:
    """Describe one worker."""
    facts = worker.facts
    return WorkerView(
        id=worker.id,
        name=facts.name,
        state=worker.state.value,
        address=facts.address,
        version=facts.version,
        platform=facts.platform,
        ffmpeg=facts.ffmpeg,
        cpus=facts.cpus,
        draining=worker.draining,
        capabilities=facts.capabilities,
        running=sum(1 for a in worker.attempts.values() if a.state is AttemptState.RUNNING),
        fps=worker.fps,
        segments_done=worker.segments_done,
        frames_done=worker.frames_done,
        failures=worker.failures,
        connected_s=now - worker.connected_at,
        builds=facts.builds,
        plugins=facts.plugins,
        diagnoses=facts.diagnoses,
        measurements=facts.measurements,
        quarantines=quarantines(worker),
        drained_by_operator=worker.drained_by_operator,
        average_fps=_average_fps(worker),
    )


def _average_fps(worker: Worker) -> float | None:
    """Frames per second of one slot over what it encoded lately, of all kinds of jobs."""
    counted = sum(rate.measurements for rate in worker.rates.values())
    frames = sum(rate.fps * rate.measurements for rate in worker.rates.values())
    return frames / counted if counted else None


def encoder_names(job: Job) -> str:
    """The encoders of a job, those that made most of it first; "" before one was chosen."""
    frames: dict[str, int] = {}
    for made in job.made.values():
        frames[made.encoder] = frames.get(made.encoder, 0) + made.frames
    for segment in job.unfinished.values():
        for attempt in segment.live.values():
            frames.setdefault(attempt.capability.encoder, 0)
    if not frames:
        # Of a film that is one segment any post may do it; only the first one will.
        posts = scheduling.team(job)[: 1 if job.single_segment else None]
        frames = {post.capability.encoder: 0 for post in posts}
    return " + ".join(sorted(frames, key=lambda name: -frames[name]))


def contributions(job: Job) -> tuple[Contribution, ...]:
    """What each encoder made of a job so far, for each kind of parameter sets; most first."""
    return tuple(sorted(job.made.values(), key=lambda made: -made.frames))


def _pace_fps(job: Job, attempt: Attempt) -> float:
    """Frames per second of a running attempt; until its first report, its post's usual rate."""
    post = job.post(attempt.post_key)
    return attempt.fps or (post.pace_fps if post else None) or 0.0


def _shares(job: Job, running: list[Attempt], most: int | None) -> tuple[ShareView, ...]:
    own: dict[WorkerId, list[Attempt]] = {}
    for attempt in running:
        own.setdefault(attempt.worker_id, []).append(attempt)
    shares: Iterable[tuple[WorkerId, Share]] = job.shares.items()
    if most is not None and len(job.shares) > most:
        shares = nlargest(
            most, shares, key=lambda item: (item[1].frames, len(own.get(item[0], ())))
        )
    return tuple(
        _share(job, share, own.get(worker_id, []), worker_id) for worker_id, share in shares
    )


def _share(job: Job, share: Share, running: list[Attempt], worker_id: WorkerId) -> ShareView:
    return ShareView(
        worker=share.name,
        encoder=_encoders_of(share, running),
        segments=share.segments,
        frames=share.frames,
        running=len(running),
        fps=sum(_pace_fps(job, attempt) for attempt in running),
        failures=share.failures,
        devices=tuple(dict.fromkeys((*share.devices, *(a.device for a in running)))),
        worker_id=worker_id,
    )


def _encoders_of(share: Share, running: list[Attempt]) -> str:
    """What a worker really used for a job, most used first."""
    frames = {attempt.capability.encoder: 0 for attempt in running} | share.encoders
    return " + ".join(sorted(frames, key=lambda name: -frames[name]))


def segment_view(job: Job, segment: Segment) -> SegmentView:
    """Describe one segment."""
    attempt = segment.committed or next(iter(segment.live.values()), None)
    checking = attempt is not None and attempt.state is AttemptState.CHECKING
    committed = segment.state is SegmentState.COMMITTED
    return SegmentView(
        first_frame=segment.frames.first,
        frame_count=len(segment.frames),
        state="checking" if checking else segment.state.value,
        worker=job.shares[attempt.worker_id].name if attempt else "",
        attempts=segment.tried,
        encode_s=attempt.proof.encode_s if attempt and attempt.proof else None,
        size_bytes=segment.report.size_bytes if committed and segment.report else None,
        encoder=attempt.capability.encoder if attempt else "",
        device=attempt.device if attempt else "",
        fallback=attempt.fallback if attempt else False,
        kind=segment.report.parameter_sets if committed and segment.report else "",
        border_psnr_db=segment.report.border_psnr_db if committed and segment.report else None,
    )
