"""Make one segment of a job again, out of its receipt, and say whether the same comes of it.

It does what a worker does, with the same cut, encoder and settings. Publishes nothing, and removes
what it writes unless it is to be kept.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.threads import deferToThread

from ffcluster.core.durable import AttemptEntry
from ffcluster.core.media import MediaSummary
from ffcluster.core.model import Capability, EncodeOrder, PreRoll, SegmentProof
from ffcluster.core.profile import RateMode
from ffcluster.core.receipts import JobReceipt, SegmentReceipt
from ffcluster.core.timeline import FrameRange
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.registry import Registry
from ffcluster.errors import InvalidOption, NotFound, NotReproducible, OutputUnwritable
from ffcluster.media.encode import encode_piece
from ffcluster.media.runner import Runner
from ffcluster.media.sameness import Match, Sameness, Stretch, compare_encodings
from ffcluster.media.source import SourceHelper
from ffcluster.services.local.reproduction import Reproduction, Wish
from ffcluster.services.machine.detection import Examined, examine_machine, machine_state_dir
from ffcluster.store import files


async def reproduce(reactor: Any, receipt: JobReceipt, wish: Wish) -> Reproduction:
    """Make a segment again and compare it.

    Raises:
        NotFound: The job has no such segment.
        NotReproducible: It was not made, or cannot be made or compared here, and why.
        InvalidOption: A file that was named is not the one that the receipt speaks of.
        AttemptError: The encode failed.
    """
    segment = _wanted(receipt, wish)
    attempt = segment.committed
    if attempt is None or attempt.proof is None:
        raise NotReproducible(
            message=f"Segment {segment.number} of job {receipt.id} was not made: it is "
            f"{segment.state}."
        )
    bench = _Bench(reactor, receipt, segment, attempt, attempt.proof)
    try:
        return await bench.run(wish)
    finally:
        await bench.close()


def _wanted(receipt: JobReceipt, wish: Wish) -> SegmentReceipt:
    if wish.frame is not None:
        found, name = receipt.segment_of(wish.frame), f"with frame {wish.frame}"
    else:
        found, name = receipt.segment(wish.number or 0), str(wish.number)
    if found is None:
        raise NotFound(
            message=f"Job {receipt.id} has no segment {name}.",
            advice=f"`ffcluster job {receipt.id} --segments` lists them all.",
        )
    return found


@attrs.frozen
class _Given:
    """What the new result is compared with: a file, and what that is in words."""

    stretch: Stretch
    name: str


class _Bench:
    """One reproduction: its processes and its folder."""

    def __init__(
        self,
        reactor: Any,
        receipt: JobReceipt,
        segment: SegmentReceipt,
        attempt: AttemptEntry,
        proof: SegmentProof,
    ) -> None:
        self._receipt = receipt
        self._segment = segment
        self._attempt = attempt
        self._proof = proof
        self._runner = Runner(reactor)
        self._registry = Registry.load()
        self._helpers: list[SourceHelper] = []
        self._folder = Path()
        self._warnings: list[str] = []

    async def close(self) -> None:
        """End every process and remove every file."""
        for helper in self._helpers:
            await helper.close()
        await self._runner.close()
        if self._folder != Path():
            await deferToThread(shutil.rmtree, self._folder, ignore_errors=True)

    async def run(self, wish: Wish) -> Reproduction:
        """Make it again and compare."""
        keep = await self._places(wish.keep)
        source = await self._source(wish.source)
        self._folder = Path(await deferToThread(tempfile.mkdtemp, prefix="ffcluster-again-"))
        machine = await examine_machine(
            self._runner, wish.ffmpegs, self._registry, machine_state_dir()
        )
        capability, build = self._encoder(machine)
        given = await self._given(wish.output)
        made = self._folder / "made.mkv"
        proof = await self._encode(source, capability, build, made)
        self._compare_commands(proof)
        sha256 = await deferToThread(files.sha256_of, made)
        kept = await deferToThread(_keep, keep, [made, given.stretch.path if given else None])
        sameness, against = await self._compare(build, made, sha256, given, kept)
        return self._report(sameness, against, sha256, proof, capability, kept)

    # --- what is needed ------------------------------------------------------------------------

    async def _places(self, keep: Path | None) -> tuple[Path, ...]:
        """Where the new and the committed encoding are kept; nothing is written over."""
        if keep is None:
            return ()
        stem = f"{self._receipt.id}-{self._segment.number}"
        places = (keep / f"{stem}.made.mkv", keep / f"{stem}.committed.mkv")
        for place in places:
            if await deferToThread(place.exists):
                raise InvalidOption(message=f"{place} exists already.", option="--keep")
        return places

    async def _source(self, named: Path | None) -> Path:
        """The film, if it is still what it was."""
        receipt = self._receipt
        path = named
        if path is None and not receipt.source.uploaded:
            path = Path(receipt.source.location)
        if path is None:
            raise NotReproducible(
                message=f"The film of job {receipt.id} was uploaded, and is not here.",
                advice="Name it with --source FILE.",
            )
        try:
            size = (await deferToThread(path.stat)).st_size
        except OSError as error:
            raise NotReproducible(
                message=f"The film {path} cannot be read: {error.strerror}.",
                advice="Name it with --source FILE if it lies elsewhere.",
            ) from error
        if size != receipt.source_size_bytes:
            raise NotReproducible(
                message=f"{path} is not the film that was encoded: it has {size} bytes, not "
                f"{receipt.source_size_bytes}.",
                advice="Name the right one with --source FILE.",
            )
        return path

    def _encoder(self, machine: Examined) -> tuple[Capability, FfmpegBuild]:
        """The committed attempt's capability, on a device and with an ffmpeg that are here."""
        wanted = self._attempt.capability
        there = [c for c in machine.capabilities if c.encoder == wanted.encoder]
        here = next((c for c in there if c.device == wanted.device), None)
        here = here or next((c for c in there if c.hardware == wanted.hardware), None)
        if here is None:
            where = f" on {wanted.device_name or wanted.device}" if wanted.device else ""
            raise NotReproducible(
                message=f"{wanted.encoder}{where} made it, and that encoder does not work here.",
                advice="`ffcluster doctor` says why. Try it on the machine of the worker "
                f"{self._attempt.worker_name}.",
            )
        for what, then, now in (
            ("device", wanted.device_name or wanted.device, here.device_name or here.device),
            ("driver", wanted.driver, here.driver),
            ("extras refused", " ".join(wanted.without), " ".join(here.without)),
        ):
            if then != now:
                self._warnings.append(f"{what}: {then or 'none'} then, {now or 'none'} here")
        if not wanted.threads and not wanted.hardware:
            self._warnings.append(
                "the number of threads was the encoder's choice then and is now: with other cores "
                "it may encode otherwise"
            )
        build = next((b for b in machine.builds if b.version == self._proof.ffmpeg), None)
        if build is None or wanted.encoder not in build.encoders:
            build = machine.build_for(here)
            self._warnings.append(f"ffmpeg {self._proof.ffmpeg} then, {build.version} here")
        return attrs.evolve(wanted, device=here.device, without=here.without), build

    async def _given(self, named: Path | None) -> _Given | None:
        """What the new result can be compared with, beside the committed one's SHA-256."""
        outcome, blob = self._receipt.outcome, self._segment.blob
        path = named or (Path(outcome.path) if outcome else None)
        if path is None:
            return None
        try:
            sha256 = await deferToThread(files.sha256_of, path)
        except OSError as error:
            if named is not None:
                raise InvalidOption(
                    message=f"{path} cannot be read: {error.strerror}.", option="--output"
                ) from error
            return None
        if blob is not None and sha256 == blob.sha256:
            return _Given(Stretch(path), "the committed result")
        if outcome is not None and sha256 == outcome.sha256:
            return await self._published(path)
        if named is not None:
            raise InvalidOption(
                message=f"{path} is neither the published file nor the committed result.",
                advice="Its SHA-256 is in the receipt.",
                option="--output",
            )
        self._warnings.append(f"{path} is no longer the file that was published")
        return None

    async def _published(self, path: Path) -> _Given:
        """The segment's frames, cut out of the published file."""
        helper = self._helper()
        summary = await helper.index(path, self._folder / "output.index", allow_damaged=False)
        frames = self._place(summary.frame_count)
        cut = self._folder / "committed.mkv"
        piece = await helper.cut(frames, PreRoll.KEYFRAME, 0, cut)
        name = f"frames {frames.first} to {frames.stop - 1} of the published file"
        return _Given(Stretch(cut, piece.trim_start_s, piece.trim_end_s), name)

    def _place(self, frame_count: int) -> FrameRange:
        """Where the segment lies in the published file."""
        outcome, frames = self._receipt.outcome, self._segment.frames
        if not self._receipt.spec.profile.keeps_timing:
            return FrameRange(0, frame_count)
        missing = outcome.missing if outcome else ()
        before = sum(len(gap) for gap in missing if gap.first < frames.first)
        return FrameRange(frames.first - before, frames.stop - before)

    def _helper(self) -> SourceHelper:
        self._helpers.append(SourceHelper(self._runner))
        return self._helpers[-1]

    # --- the work ------------------------------------------------------------------------------

    async def _encode(
        self, source: Path, capability: Capability, build: FfmpegBuild, made: Path
    ) -> SegmentProof:
        """Cut and encode exactly as the coordinator and the worker did."""
        spec, frames = self._receipt.spec, self._segment.frames
        helper = self._helper()
        summary = await helper.index(
            source, self._folder / "source.index", allow_damaged=spec.allow_damaged
        )
        self._check_summary(source, summary)
        profile = self._registry.fitted(capability, spec.profile)
        piece = self._folder / "piece.mkv"
        cut = await helper.cut(frames, self._attempt.pre_roll, profile.context_frames, piece)
        order = EncodeOrder(
            frames=frames,
            profile=profile,
            encoder=capability.encoder,
            video=summary.video,
            device=capability.device,
            hardware_decode=self._proof.hardware_decode,
            trim_start_s=cut.trim_start_s,
            trim_end_s=cut.trim_end_s,
            decoded_check=False,
            # Part of the command, so that it is the same one.
            picture_check=spec.exactly and profile.rate.mode is RateMode.LOSSLESS,
            counts_frames=profile.keeps_timing,
        )
        arguments = self._registry.backend(capability.backend).arguments(
            build,
            capability,
            # Workers fit the profile that they are sent once more.
            self._registry.fitted(capability, profile),
            summary.video,
            threads=capability.threads,
            hardware_decode=self._proof.hardware_decode,
        )
        return await encode_piece(self._runner, build, arguments, order, piece, made)

    def _check_summary(self, source: Path, summary: MediaSummary) -> None:
        receipt = self._receipt
        if summary.frame_count != receipt.frame_count or summary.video != receipt.video:
            raise NotReproducible(
                message=f"{source} is not the film that was encoded: it has "
                f"{summary.frame_count} frames of {summary.video.codec} "
                f"{summary.video.width}x{summary.video.height}.",
                advice="Name the right one with --source FILE.",
            )

    def _compare_commands(self, proof: SegmentProof) -> None:
        if _nameless(proof.argv) != _nameless(self._proof.argv):
            self._warnings.append("ffmpeg's arguments are not those of the committed attempt")

    async def _compare(
        self,
        build: FfmpegBuild,
        made: Path,
        sha256: str,
        given: _Given | None,
        kept: tuple[Path, ...],
    ) -> tuple[Sameness, str]:
        """Compare whole files by their hashes, then what is in them."""
        blob = self._segment.blob
        if blob is not None and sha256 == blob.sha256:
            return Sameness(Match.FILE, 0), "the committed result's SHA-256 in the receipt"
        if given is None:
            where = f" {kept[0]} is the new one." if kept else ""
            raise NotReproducible(
                message="The new file is not byte for byte the committed one, and there is nothing "
                f"here to compare its pictures with.{where}",
                advice="Name the published file with --output FILE.",
            )
        sameness = await compare_encodings(
            self._runner, build, Stretch(made), given.stretch, self._folder
        )
        return sameness, given.name

    def _report(
        self,
        sameness: Sameness,
        against: str,
        sha256: str,
        proof: SegmentProof,
        capability: Capability,
        kept: tuple[Path, ...],
    ) -> Reproduction:
        other, blob = sameness.first_other, self._segment.blob
        return Reproduction(
            job=self._receipt.id,
            segment=self._segment.number,
            frames=self._segment.frames,
            epoch=self._attempt.epoch,
            worker=self._attempt.worker_name,
            encoder=capability.encoder,
            device=capability.device,
            match=sameness.match,
            frames_compared=sameness.frames,
            against=against,
            first_other=None if other is None else self._segment.frames.first + other,
            mean_psnr_db=sameness.mean_psnr_db,
            least_psnr_db=sameness.least_psnr_db,
            sha256=sha256,
            committed_sha256=blob.sha256 if blob else "",
            ffmpeg=proof.ffmpeg,
            committed_ffmpeg=self._proof.ffmpeg,
            argv=proof.argv,
            committed_argv=self._proof.argv,
            encode_s=proof.encode_s,
            warnings=tuple(self._warnings),
            kept=kept,
        )


def _nameless(argv: Sequence[str]) -> list[str]:
    """A command without the names of program and files."""
    return ["file:" if word.startswith("file:") else word for word in argv[1:]]


def _keep(places: Sequence[Path], made: Sequence[Path | None]) -> tuple[Path, ...]:
    """Copy what there is to its place."""
    kept = []
    for place, path in zip(places, made, strict=False):
        if path is None:
            continue
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
        except OSError as error:
            raise OutputUnwritable(
                message=f"{place} cannot be written: {error.strerror}."
            ) from error
        kept.append(place)
    return tuple(kept)
