"""Resources from what the coordinator knows: jobs, segments and workers as they are shown."""

from __future__ import annotations

import hashlib

from ffcluster.core.durable import AttemptEntry, QuarantineEntry
from ffcluster.core.model import JobOutcome
from ffcluster.core.timeline import FrameRange
from ffcluster.core.views import JobView, SegmentView, ShareView, WorkerView
from ffcluster.errors import ErrorReport
from ffcluster.web.gantt import AttemptError
from ffcluster.web.models.jobs import Borders, Frames, Job, JobShare, Outcome
from ffcluster.web.models.segments import Segment, SegmentAttempt, SegmentDetail
from ffcluster.web.models.workers import Quarantine, Worker
from ffcluster.web.routing import PREFIX
from ffcluster.web.stream import timestamp


def moment(at_s: float | None) -> str | None:
    """A time as it is shown, or None."""
    return None if at_s is None else timestamp(at_s)


def etag_of(*parts: object) -> str:
    """A short name for all of `parts` together."""
    return hashlib.sha256(repr(parts).encode("utf-8", "replace")).hexdigest()[:16]


def job_etag(view: JobView) -> str:
    """The version of a job: another one when what can be done with it changed, not its progress."""
    return etag_of(
        view.id, view.state, view.priority, view.paused, view.ended_at, view.source_kept_until
    )


def job_resource(view: JobView) -> Job:
    """A job as it is shown."""
    spec = view.spec
    return Job(
        id=view.id,
        source_name=spec.source_name,
        output_name=spec.output_name,
        state=view.state,
        ended=view.ended,
        reason=view.reason,
        priority=view.priority,
        paused=view.paused,
        origin=spec.origin,
        profile=spec.profile,
        container=spec.container,
        exactly=spec.exactly,
        allow_damaged=spec.allow_damaged,
        allow_missing=spec.allow_missing,
        mix=spec.mix,
        fallback=spec.fallback,
        hardware_decode=spec.hardware_decode,
        encoder=view.encoder,
        frame_count=view.frame_count,
        duration_s=view.duration_s,
        frames_done=view.frames_done,
        frames_committed=view.frames_committed,
        segment_count=view.segment_count,
        segments_committed=view.segments_committed,
        fps=view.fps,
        speed=view.speed,
        eta_s=view.eta_s,
        eta_low_s=view.eta_low_s,
        eta_high_s=view.eta_high_s,
        elapsed_s=view.elapsed_s,
        predicted_size_bytes=view.predicted_size_bytes,
        shares=tuple(_share(share) for share in view.shares),
        share_count=view.share_count,
        retries=view.retries,
        warnings=view.warnings,
        error=_error(view.error),
        outcome=None if view.outcome is None else _outcome(view.outcome),
        submitted_at=timestamp(view.submitted_at),
        ended_at=moment(view.ended_at),
        source_uploaded=view.source_uploaded,
        source_kept_until=moment(view.source_kept_until),
        etag=job_etag(view),
        links=_links(view.id),
    )


def _links(job_id: str) -> dict[str, str]:
    path = f"{PREFIX}/jobs/{job_id}"
    parts = ("segments", "filmstrip", "gantt", "result", "receipt", "report")
    links = {part: f"{path}/{part}" for part in parts}
    return {"self": path, "events": f"{PREFIX}/events?job_id={job_id}", **links}


def _share(share: ShareView) -> JobShare:
    return JobShare(
        worker_id=share.worker_id,
        worker=share.worker,
        encoder=share.encoder,
        devices=share.devices,
        segments=share.segments,
        frames=share.frames,
        running=share.running,
        fps=share.fps,
        failures=share.failures,
    )


def _error(error: ErrorReport | None) -> AttemptError | None:
    return None if error is None else AttemptError(error.code.value, error.message, error.advice)


def _outcome(outcome: JobOutcome) -> Outcome:
    compared, least = outcome.borders
    return Outcome(
        path=outcome.path,
        size_bytes=outcome.size_bytes,
        sha256=outcome.sha256,
        frame_count=outcome.frame_count,
        proven=outcome.proven,
        pictures_equal=outcome.pictures_equal,
        in_band_parameter_sets=outcome.in_band_parameter_sets,
        lost=outcome.lost,
        notes=outcome.notes,
        made_by=outcome.made_by,
        missing=tuple(_frames(one) for one in outcome.missing),
        borders=Borders(compared, least),
    )


def _frames(frames: FrameRange) -> Frames:
    return Frames(frames.first, len(frames))


def segment_resource(view: SegmentView) -> Segment:
    """A segment as it is shown in lists."""
    return Segment(
        first_frame=view.first_frame,
        frame_count=view.frame_count,
        state=view.state,
        worker=view.worker,
        attempts=view.attempts,
        encode_s=view.encode_s,
        size_bytes=view.size_bytes,
        encoder=view.encoder,
        device=view.device,
        fallback=view.fallback,
        kind=view.kind,
        border_psnr_db=view.border_psnr_db,
    )


def segment_detail(view: SegmentView, attempts: tuple[AttemptEntry, ...]) -> SegmentDetail:
    """A segment as it is shown alone."""
    return SegmentDetail(
        first_frame=view.first_frame,
        frame_count=view.frame_count,
        state=view.state,
        worker=view.worker,
        attempts=tuple(_attempt(entry) for entry in attempts),
        encode_s=view.encode_s,
        size_bytes=view.size_bytes,
        encoder=view.encoder,
        device=view.device,
        fallback=view.fallback,
        kind=view.kind,
        border_psnr_db=view.border_psnr_db,
    )


def _attempt(entry: AttemptEntry) -> SegmentAttempt:
    return SegmentAttempt(
        epoch=entry.epoch,
        worker_id=entry.worker_id,
        worker=entry.worker_name,
        encoder=entry.capability.encoder,
        device=entry.capability.device,
        state=entry.state,
        end=entry.end.value,
        speculative=entry.speculative,
        fallback=entry.fallback,
        probe=entry.probe,
        offered_at=timestamp(entry.offered_at),
        started_at=moment(entry.started_at),
        ended_at=moment(entry.ended_at),
        error=_error(entry.error),
    )


def worker_etag(view: WorkerView) -> str:
    """The version of a worker: another one when what can be done with it changed."""
    rests = tuple((one.backend, one.device, one.times) for one in view.quarantines)
    there = view.state not in ("Absent", "Disconnected")
    return etag_of(view.id, there, view.draining, view.drained_by_operator, rests)


def worker_resource(view: WorkerView) -> Worker:
    """A worker as it is shown."""
    return Worker(
        id=view.id,
        name=view.name,
        state=view.state,
        address=view.address,
        version=view.version,
        platform=view.platform,
        ffmpeg=view.ffmpeg,
        cpus=view.cpus,
        builds=view.builds,
        draining=view.draining,
        drained_by_operator=view.drained_by_operator,
        running=view.running,
        fps=view.fps,
        average_fps=view.average_fps,
        segments_done=view.segments_done,
        frames_done=view.frames_done,
        failures=view.failures,
        connected_s=view.connected_s,
        last_heard_at=moment(view.last_heard_at),
        capabilities=view.capabilities,
        plugins=view.plugins,
        diagnoses=view.diagnoses,
        measurements=view.measurements,
        quarantines=tuple(_quarantine(entry) for entry in view.quarantines),
        load=view.load,
        etag=worker_etag(view),
    )


def _quarantine(entry: QuarantineEntry) -> Quarantine:
    until = timestamp(entry.until)
    return Quarantine(entry.backend, entry.device, entry.reason, until, entry.times)
