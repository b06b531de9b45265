"""How a segment is encoded on this machine: by which arguments, decoded where, and proven.

What a failure of ffmpeg means is the backend's to say; here it becomes the error that is reported.
Knows nothing of coordinators and attempts.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import attrs
from twisted.logger import Logger

from ffcluster.core.model import Capability, EncodeOrder, SegmentProof, Trouble
from ffcluster.core.profile import Profile
from ffcluster.encoders.backend import EncodeArguments, ProbeOutcome
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.neutral import dropped
from ffcluster.encoders.registry import Registry
from ffcluster.errors import (
    AttemptError,
    DiskFull,
    EncodeFailed,
    EncoderBusy,
    EncodeStalled,
    FfclusterError,
    PluginError,
)
from ffcluster.media.encode import encode_piece
from ffcluster.media.progress import Progress
from ffcluster.media.runner import Runner

log = Logger()


class Workshop(Protocol):
    """What encoding needs of a machine."""

    runner: Runner
    registry: Registry

    def build_for(self, capability: Capability) -> FfmpegBuild:
        """The ffmpeg that `capability` was proven with."""


async def encode_segment(
    workshop: Workshop,
    order: EncodeOrder,
    capability: Capability,
    piece: Path,
    result: Path,
    on_progress: Callable[[Progress], None],
) -> SegmentProof:
    """Encode `piece` into `result` with `capability`, and check it.

    Where the device shall decode too and fails at that, it is done once more with the CPU decoding.

    Raises:
        AttemptError, DiskFull: See `ffcluster.media.encode.PieceEncoder.run`; with the cause where
            the backend knows it.
        EncoderBusy: The device has no session or memory left for now.
        PluginError: The backend broke.
    """
    return await _Encoding(workshop, order, capability, piece, result, on_progress).run()


@attrs.frozen
class _Encoding:
    workshop: Workshop
    order: EncodeOrder
    capability: Capability
    piece: Path
    result: Path
    on_progress: Callable[[Progress], None]

    async def run(self) -> SegmentProof:
        order = self.order
        fitted = self.workshop.registry.fitted(self.capability, order.profile)
        notes = dropped(order.profile, fitted)
        if order.hardware_decode and self.capability.hardware and not order.picture_check:
            where = self.capability.device
            if not self.capability.hardware_decode:
                return await self._encode_by(fitted, (*notes, f"{where} does not decode here"))
            try:
                return await self._encode_by(fitted, notes, hardware_decode=True)
            except (EncoderBusy, DiskFull):
                raise
            except AttemptError as error:
                log.info(
                    "{frames}: decoding on {device} failed, the CPU does it: {error}",
                    frames=str(order.frames),
                    segment=order.frames.first,
                    device=where,
                    error=error.message,
                )
                notes = (*notes, f"decoding on {where} failed, so the CPU decoded")
        return await self._encode_by(fitted, notes)

    async def _encode_by(
        self, profile: Profile, notes: tuple[str, ...], *, hardware_decode: bool = False
    ) -> SegmentProof:
        workshop, order = self.workshop, self.order
        build = workshop.build_for(self.capability)
        arguments = self._arguments(build, profile, hardware_decode=hardware_decode)
        try:
            proof = await encode_piece(
                workshop.runner,
                build,
                arguments,
                order,
                self.piece,
                self.result,
                self.on_progress,
            )
        except (EncodeFailed, EncodeStalled) as error:
            raise explained(error, workshop.registry, self.capability, order) from error
        return attrs.evolve(
            proof,
            encoder=self.capability.encoder,
            device=self.capability.device,
            hardware_decode="-hwaccel" in arguments.input_args,
            notes=(*notes, *arguments.notes),
        )

    def _arguments(
        self, build: FfmpegBuild, profile: Profile, *, hardware_decode: bool
    ) -> EncodeArguments:
        backend = self.workshop.registry.backend(self.capability.backend)
        try:
            return backend.arguments(
                build,
                self.capability,
                profile,
                self.order.video,
                threads=self.capability.threads,
                hardware_decode=hardware_decode,
            )
        except FfclusterError:
            raise
        except Exception as error:
            log.failure("the backend {name} broke", name=backend.name)
            raise PluginError(
                message=f"the backend {backend.name} cannot build arguments: "
                f"{type(error).__name__}: {error}",
                advice="Update the plugin, or leave it out with --disable-plugin.",
                plugin=backend.name,
            ) from error


def explained(
    error: EncodeFailed | EncodeStalled,
    registry: Registry,
    capability: Capability,
    order: EncodeOrder,
) -> AttemptError:
    """`error` with what the encoder's backend knows of its cause.

    A device that is busy makes it `EncoderBusy`, which is nobody's failure.
    """
    found = error.detail
    signal = found.get("signal")
    diagnosis = registry.explain(
        capability,
        ProbeOutcome(
            returncode=found.get("returncode") if signal is None else -signal,
            stderr=str(found.get("stderr", "")),
            timed_out=isinstance(error, EncodeStalled),
        ),
    )
    if diagnosis is None:
        return error
    busy = diagnosis.trouble is Trouble.BUSY
    kind: type[AttemptError] = EncoderBusy if busy else type(error)
    return kind(
        message=f"{order.encoder} failed on {order.frames}: {diagnosis.cause}",
        advice=diagnosis.hint,
        detail=found | {"cause": diagnosis.cause, "trouble": diagnosis.trouble.value},
    )
