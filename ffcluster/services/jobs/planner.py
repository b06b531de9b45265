"""What would become of a film, found out on the coordinator without encoding any of it.

Indexes it in a process of its own, and asks the connected workers' capabilities and benchmarks.
Keeps what the last few films looked like, so that other settings are planned at once.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs
from twisted.internet import defer
from twisted.internet.threads import deferToThread

from ffcluster.core.judge import Candidate, Judge
from ffcluster.core.media import MediaSummary
from ffcluster.core.model import Capability, JobRequest, JobSpec
from ffcluster.core.planning import plan_even
from ffcluster.core.throughput import RateKey, estimate_fps
from ffcluster.core.worker import Worker
from ffcluster.encoders.registry import Registry
from ffcluster.errors import ErrorReport, IncompatibleSegments, Refused, SourceError, TooMany
from ffcluster.media.carry import SourceFacts, plan_carry
from ffcluster.media.runner import Runner
from ffcluster.media.source import SourceHelper
from ffcluster.services.jobs.dryrun import plan_notes, segment_frames
from ffcluster.services.jobs.jobsource import called_by
from ffcluster.services.jobs.submission import make_spec
from ffcluster.services.settings.config import ServerSettings
from ffcluster.web.models.plans import Plan, PlanVideo

_AT_ONCE = 2
_MOST_WAITING = 8
_PATIENCE_S = 600.0
_KEPT_FILMS = 8
_MOST_NAMES = 100

_Key = tuple[str, int, int, bool]


@attrs.frozen
class _Film:
    """What a film looks like."""

    summary: MediaSummary
    facts: SourceFacts


@attrs.frozen
class _Able:
    """A worker that can encode a film."""

    name: str
    candidate: Candidate
    fps: float | None


class Planner:
    """Plans films.

    Args:
        runner: Starts the process that reads a film.
        settings: The coordinator's settings.
        registry: The plugins.
        judge: Says who can do what.
        workers: The workers that may be given work.
        film: Where the film of a request is; raises as `Intake.film` does.
    """

    def __init__(
        self,
        runner: Runner,
        settings: ServerSettings,
        registry: Registry,
        judge: Judge,
        *,
        workers: Callable[[], list[Worker]],
        film: Callable[[JobRequest], Awaitable[Path]],
    ) -> None:
        self._runner = runner
        self._settings = settings
        self._registry = registry
        self._judge = judge
        self._workers = workers
        self._film = film
        self._films: OrderedDict[_Key, _Film] = OrderedDict()
        self._slots = defer.DeferredSemaphore(_AT_ONCE)

    async def plan(self, request: JobRequest) -> Plan:
        """Find out what would become of a film.

        Raises:
            TooMany: Enough others ask already.
            FfclusterError: It cannot be encoded like this, and why.
        """
        spec = make_spec(request, self._settings, self._registry)
        path = await self._film(request)
        try:
            film = await self._looked_at(path, allow_damaged=spec.allow_damaged)
        except SourceError as error:
            raise called_by(error, path, spec.source_name) from error
        return self._planned(spec, film)

    async def _looked_at(self, path: Path, *, allow_damaged: bool) -> _Film:
        key = await deferToThread(_key, path, allow_damaged)
        known = self._films.get(key)
        if known is None:
            if len(self._slots.waiting) >= _MOST_WAITING:
                raise TooMany(
                    message="As many films are planned as the coordinator looks at together.",
                    advice="Try again in a moment.",
                )
            known = await self._slots.run(
                lambda: defer.ensureDeferred(self._index(path, allow_damaged=allow_damaged))
            )
            self._films[key] = known
        self._films.move_to_end(key)
        while len(self._films) > _KEPT_FILMS:
            self._films.popitem(last=False)
        return known

    async def _index(self, path: Path, *, allow_damaged: bool) -> _Film:
        folder = Path(await deferToThread(tempfile.mkdtemp, prefix="ffcluster-plan-"))
        helper = SourceHelper(self._runner)
        try:
            indexing = helper.index(path, folder / "index", allow_damaged=allow_damaged)
            indexing.addTimeout(_PATIENCE_S, self._runner.reactor)
            summary = await indexing
            return _Film(summary, await helper.facts())
        except defer.TimeoutError:
            raise Refused(
                message="The film is so long that its plan would take too long.",
                advice="Submit it without one.",
            ) from None
        finally:
            await helper.close()
            await deferToThread(shutil.rmtree, folder, ignore_errors=True)

    def _planned(self, spec: JobSpec, film: _Film) -> Plan:
        summary = film.summary
        carry = plan_carry(film.facts, spec)
        able = self._able(spec, summary)
        rate_fps = sum(one.fps or 0.0 for one in able)
        slots = 1 if spec.profile.needs_single_segment else max(1, _slots(able))
        per_slot = rate_fps / slots if rate_fps else None
        segments = plan_even(spec, summary, segment_frames(summary, slots, per_slot))
        notes = plan_notes(spec, summary)
        if not able:
            notes.append("No worker is connected; encoder and time are not known yet.")
        video = summary.video
        return Plan(
            source_name=spec.source_name,
            output_name=spec.output_name,
            container=spec.container,
            profile=spec.profile,
            frame_count=summary.frame_count,
            duration_s=summary.duration_s,
            video=PlanVideo(video.codec, video.width, video.height, video.pix_fmt),
            encoder=able[0].candidate.capability.encoder if able else "",
            workers=tuple(one.name for one in able[:_MOST_NAMES]),
            worker_count=len(able),
            segments=len(segments),
            estimate_s=summary.frame_count / rate_fps if rate_fps else None,
            predicted_size_bytes=_size_bytes(spec, summary),
            lost=carry.lost,
            notes=tuple(note for note in notes if note not in summary.warnings),
            warnings=summary.warnings,
        )

    def _able(self, spec: JobSpec, summary: MediaSummary) -> list[_Able]:
        """The workers that can do it with the encoder that suits best.

        Raises:
            FfclusterError: Nobody who is there can, and why.
        """
        reason = self._judge.carries_mixture(spec) if spec.mix else ""
        if reason:
            raise IncompatibleSegments(message=f"Different encoders cannot share it: {reason}.")
        workers = self._workers()
        offered = dict.fromkeys(c for worker in workers for c in worker.facts.capabilities)
        if not offered:
            return []
        found = self._judge.candidates(spec, summary.video, tuple(offered))
        if isinstance(found, ErrorReport):
            raise found.to_error()
        best = max(found, key=lambda candidate: (not candidate.fallback, candidate.rank))
        chosen = {c.capability: c for c in found if c.capability.encoder == best.capability.encoder}
        able = []
        for worker in workers:
            for capability in worker.facts.capabilities:
                if capability in chosen:
                    fps = _fps(worker, capability, spec, summary)
                    able.append(_Able(worker.facts.name, chosen[capability], fps))
        return able


def _key(path: Path, allow_damaged: bool) -> _Key:
    """What a film is known by: another one may come to lie at the same place."""
    try:
        found = path.stat()
    except OSError:
        return (str(path), -1, -1, allow_damaged)
    return (str(path), found.st_size, found.st_mtime_ns, allow_damaged)


def _slots(able: list[_Able]) -> int:
    return sum(one.candidate.capability.slots for one in able)


def _fps(
    worker: Worker, capability: Capability, spec: JobSpec, summary: MediaSummary
) -> float | None:
    """Frames per second that a worker makes with all its slots, measured or guessed; or None."""
    known = worker.rates.get(RateKey.of(capability, spec.profile, summary.video))
    if known is not None:
        return known.fps * capability.slots
    measurements = worker.facts.measurements
    guess = estimate_fps(capability, measurements, spec.profile, summary.video)
    return guess * capability.slots if guess else None


def _size_bytes(spec: JobSpec, summary: MediaSummary) -> int | None:
    """Size of the video where it is asked for as a bit rate."""
    target_bps = spec.profile.rate.target_bps
    return round(target_bps * summary.duration_s / 8) if target_bps else None
