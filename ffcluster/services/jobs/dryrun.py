"""What encoding a film on this machine would do, found out without doing it.

Indexes the source, checks container and encoder, and encodes a few seconds to measure the rate.
Publishes nothing and removes what it writes.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
from twisted.internet import defer
from twisted.internet.threads import deferToThread

from ffcluster.core.judge import Candidate
from ffcluster.core.media import MediaSummary
from ffcluster.core.model import Capability, EncodeOrder, JobRequest, JobSpec, PreRoll
from ffcluster.core.planning import plan_even
from ffcluster.core.scheduling import MAX_ENCODE_S, MIN_ENCODE_S
from ffcluster.core.timeline import FrameRange
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.registry import Registry
from ffcluster.errors import ErrorReport, IncompatibleSegments
from ffcluster.media.benchmark import middle
from ffcluster.media.carry import plan_carry
from ffcluster.media.encode import encode_piece
from ffcluster.media.progress import Progress
from ffcluster.media.runner import Runner
from ffcluster.media.source import SourceHelper
from ffcluster.services.choice import RegistryJudge
from ffcluster.services.jobs.submission import make_spec
from ffcluster.services.machine.detection import Examined, examine_machine, machine_state_dir
from ffcluster.services.settings.config import ServerSettings

# Even a very slow encoder shows its rate after so many times the film's length that it was given.
_TRIAL_PATIENCE = 3.0


@attrs.frozen(kw_only=True)
class FilmPlan:
    """What would happen to a film.

    Attributes:
        spec: The job, every default filled in.
        summary: The source's index in short.
        encoder: The encoder that would be used here.
        device: The device it would run on, "" for the CPU.
        fallback: Whether it would stand in for hardware.
        slots: Segments that would be encoded side by side here.
        segments: About how the film would be cut; workers' speeds decide when it is encoded.
        lost: What of the source the container cannot hold.
        notes: What else a person should know.
        trial_fps: Frames per second of one segment in the trial, or None without one.
        estimate_s: Seconds that the encode would take here, or None.
    """

    spec: JobSpec
    summary: MediaSummary
    encoder: str
    device: str
    fallback: bool
    slots: int
    segments: tuple[FrameRange, ...]
    lost: tuple[str, ...]
    notes: tuple[str, ...]
    trial_fps: float | None
    estimate_s: float | None


class DryRun:
    """One dry run: its processes and its folder.

    Args:
        reactor: Twisted's reactor.
        ffmpegs: The ffmpegs to use, the preferred one first; () to look for one.
        trial_s: Longest stretch of film to encode for the estimate; 0 for none.
    """

    def __init__(self, reactor: Any, *, ffmpegs: Sequence[str], trial_s: float) -> None:
        self._reactor = reactor
        self._ffmpegs = ffmpegs
        self._trial_s = trial_s
        self._runner = Runner(reactor)
        self._registry = Registry.load()
        self._helper = SourceHelper(self._runner)

    async def plan(self, source: Path, request: JobRequest) -> FilmPlan:
        """Find out what would happen to `source`.

        Raises:
            FfclusterError: It cannot be encoded like this, and why.
        """
        folder = Path(await deferToThread(tempfile.mkdtemp, prefix="ffcluster-plan-"))
        try:
            return await self._plan(source, request, folder)
        finally:
            await self._helper.close()
            await self._runner.close()
            await deferToThread(shutil.rmtree, folder, ignore_errors=True)

    async def _plan(self, source: Path, request: JobRequest, folder: Path) -> FilmPlan:
        spec = make_spec(request, ServerSettings(), self._registry)
        machine = await examine_machine(
            self._runner, self._ffmpegs, self._registry, machine_state_dir()
        )
        summary = await self._helper.index(
            source, folder / "index", allow_damaged=spec.allow_damaged
        )
        carry = plan_carry(await self._helper.facts(), spec)
        chosen = self._choose(machine, spec, summary)
        capability = chosen.capability
        build = machine.build_for(capability)
        trial_fps = await self._trial(build, spec, summary, capability, folder)
        slots = 1 if spec.profile.needs_single_segment else capability.slots
        rate_fps = trial_fps * slots if trial_fps else None
        segments = plan_even(spec, summary, segment_frames(summary, slots, trial_fps))
        return FilmPlan(
            spec=spec,
            summary=summary,
            encoder=capability.encoder,
            device=capability.device,
            fallback=chosen.fallback,
            slots=slots,
            segments=tuple(segments),
            lost=carry.lost,
            notes=tuple(plan_notes(spec, summary)),
            trial_fps=trial_fps,
            estimate_s=summary.frame_count / rate_fps if rate_fps else None,
        )

    def _choose(self, machine: Examined, spec: JobSpec, summary: MediaSummary) -> Candidate:
        """The candidate that suits best; software stands in only where no hardware can do it.

        Raises:
            FfclusterError: There is none, or the container cannot hold what is asked for.
        """
        judge = RegistryJudge(self._registry, lambda: machine.diagnoses)
        reason = judge.carries_mixture(spec) if spec.mix else ""
        if reason:
            raise IncompatibleSegments(
                message=f"Different encoders cannot share this file: {reason}.",
                advice="Choose another codec, or leave --mix out.",
            )
        found = judge.candidates(spec, summary.video, machine.capabilities)
        if isinstance(found, ErrorReport):
            raise found.to_error()
        return max(found, key=lambda candidate: (not candidate.fallback, candidate.rank))

    async def _trial(
        self,
        build: FfmpegBuild,
        spec: JobSpec,
        summary: MediaSummary,
        capability: Capability,
        folder: Path,
    ) -> float | None:
        """Encode a stretch out of the middle of the film; answers its frames per second."""
        if self._trial_s <= 0 or not spec.profile.keeps_timing:
            return None
        frames = middle(summary, self._trial_s)
        context = spec.profile.context_frames
        piece = await self._helper.cut(frames, PreRoll.KEYFRAME, context, folder / "piece.mkv")
        order = EncodeOrder(
            frames=frames,
            profile=spec.profile,
            encoder=capability.encoder,
            video=summary.video,
            device=capability.device,
            trim_start_s=piece.trim_start_s,
            trim_end_s=piece.trim_end_s,
            decoded_check=False,
        )
        backend = self._registry.backend(capability.backend)
        arguments = backend.arguments(
            build,
            capability,
            self._registry.fitted(capability, spec.profile),
            summary.video,
            threads=capability.threads,
            hardware_decode=spec.hardware_decode and capability.hardware_decode,
        )
        seen: list[Progress] = []
        started_s = self._reactor.seconds()
        encoding = encode_piece(
            self._runner,
            build,
            arguments,
            order,
            folder / "piece.mkv",
            folder / "result.mkv",
            seen.append,
        )
        encoding.addTimeout(self._trial_s * _TRIAL_PATIENCE, self._reactor)
        try:
            proof = await encoding
        except defer.TimeoutError:
            elapsed_s = self._reactor.seconds() - started_s
            done = max((p.frame or 0 for p in seen), default=0)
            return done / elapsed_s if done else None
        return len(frames) / proof.encode_s if proof.encode_s else None


def segment_frames(summary: MediaSummary, slots: int, fps: float | None) -> int:
    """About how many frames a segment will have, by the slots and the rate of each."""
    fair = summary.frame_count // (2 * slots)
    if fps is None:
        return max(1, fair)
    return max(1, min(max(fair, round(fps * MIN_ENCODE_S)), round(fps * MAX_ENCODE_S)))


def plan_notes(spec: JobSpec, summary: MediaSummary) -> list[str]:
    """What a person should know about a film before it is encoded."""
    notes = [*summary.warnings]
    if summary.damaged:
        notes.append(summary.damaged)
    notes += [
        f"The filter {item.name} changes the number or the times of frames."
        for item in spec.profile.filters
        if not item.keeps_timing
    ]
    if spec.profile.needs_single_segment:
        names = ", ".join(f.name for f in spec.profile.filters)
        notes.append(f"One segment on one worker: the filters ({names}) need the whole film.")
    elif spec.profile.context_frames:
        notes.append(
            f"Each segment is decoded with {spec.profile.context_frames} more frames on either "
            "side, because its filters look at neighbours."
        )
    if not spec.exactly:
        notes.append("The result would not be proven: its frames are not decoded.")
    return notes
