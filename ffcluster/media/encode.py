"""Encode one piece on a worker and prove the result: counted, decoded, and compared if lossless.

Decides nothing about what to encode and does not send the result anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import threads
from twisted.internet.defer import Deferred

from ffcluster.core.model import EncodeOrder, SegmentProof
from ffcluster.encoders.backend import EncodeArguments
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.errors import (
    DiskFull,
    EncodeFailed,
    EncodeStalled,
    ResultInvalid,
    WrongFrameCount,
)
from ffcluster.media.command import (
    Command,
    decode_check_command,
    encode_command,
    framemd5_command,
    picture_format,
)
from ffcluster.media.framehash import first_difference, read_hashes
from ffcluster.media.platform import remove
from ffcluster.media.progress import Progress
from ffcluster.media.runner import Finished, Runner, Running

# Lines of what an encoder said that are kept with a result.
_LOG_LINES = 10
# What ENOSPC and EDQUOT are called in the C locale.
_NO_SPACE = ("No space left on device", "Disk quota exceeded")


class PieceEncoder:
    """One attempt at one piece.

    Args:
        runner: Starts ffmpeg.
        build: The ffmpeg that encodes and decodes.
        arguments: The backend's part of the command.
        order: What to encode.
        piece: The packets cut from the source.
        result: File to write.
        on_progress: Called with each report of the encoder.
        env: Variables that the backend wants set.
    """

    def __init__(
        self,
        runner: Runner,
        build: FfmpegBuild,
        arguments: EncodeArguments,
        order: EncodeOrder,
        piece: Path,
        result: Path,
        on_progress: Callable[[Progress], None] | None = None,
        env: dict[str, str] | None = None,
    ) -> None:
        self._runner = runner
        self._build = build
        self._arguments = arguments
        self._order = order
        self._piece = piece
        self._result = result
        self._on_progress = on_progress
        self._env = env
        self._running: Running | None = None

    def run(self) -> Deferred[SegmentProof]:
        """Encode and check.

        Raises:
            EncodeFailed: ffmpeg failed or did not say that it had finished.
            EncodeStalled: ffmpeg made no frame for too long.
            WrongFrameCount: There are more or fewer frames than were asked for.
            ResultInvalid: The result does not decode, or not to the same pictures.
            DiskFull: There is no room for the result.
        """
        return Deferred.fromCoroutine(self._run())

    def stop(self) -> Deferred[None]:
        """End the ffmpeg that runs now; `run` then fails."""
        if self._running is None:
            over: Deferred[None] = Deferred()
            over.callback(None)
            return over
        return self._running.terminate()

    async def _run(self) -> SegmentProof:
        seen = self._result.with_name(self._result.name + ".seen")
        shown = self._result.with_name(self._result.name + ".shown")
        try:
            return await self._prove(seen, shown)
        finally:
            remove(seen)
            remove(shown)

    async def _prove(self, seen: Path, shown: Path) -> SegmentProof:
        order = self._order
        compares = order.picture_check
        command = encode_command(
            self._build,
            order,
            self._arguments,
            self._piece,
            self._result,
            seen if compares else None,
        )
        encoded = await self._ffmpeg(command, self._on_progress)
        self._judge(encoded, command)
        frames = encoded.progress.frame
        if order.counts_frames and frames != len(order.frames):
            raise WrongFrameCount(
                message=f"Encoding {order.frames} gave {frames} frames, not {len(order.frames)}",
                detail={"expected": len(order.frames), "found": frames}
                | _evidence(encoded, command),
            )
        decoded = equal = None
        if compares:
            decoded = await self._decode(shown, frames)
            equal = await self._compare(seen, shown)
        elif order.decoded_check:
            decoded = await self._decode(None, frames)
        return SegmentProof(
            encoded_frames=frames,
            decoded_frames=decoded,
            pictures_equal=equal,
            argv=command.redacted(),
            ffmpeg=self._build.version,
            encode_s=encoded.elapsed_s,
            log_tail=tuple(encoded.stderr_tail.splitlines()[-_LOG_LINES:]),
        )

    async def _ffmpeg(
        self, command: Command, on_progress: Callable[[Progress], None] | None = None
    ) -> Finished:
        running = self._running = self._runner.run(
            command,
            on_progress=on_progress,
            stall_timeout_s=self._order.stall_timeout_s,
            env=self._env,
        )
        try:
            return await running.done
        finally:
            # After a cancellation the process still writes; its files are removed when it is over.
            await running.when_over()
            self._running = None

    def _judge(self, finished: Finished, command: Command) -> None:
        detail = _evidence(finished, command)
        if finished.stalled:
            raise EncodeStalled(
                message=f"{self._order.encoder} made no frame for "
                f"{self._order.stall_timeout_s:g} s and was ended",
                detail=detail,
            )
        self._need_room(finished, command)
        if finished.returncode == 0 and finished.ended:
            return
        raise EncodeFailed(
            message=f"{self._order.encoder} failed on {self._order.frames}: {_outcome(finished)}",
            detail=detail,
        )

    def _need_room(self, finished: Finished, command: Command) -> None:
        # Exit code 0 proves nothing: ffmpeg 5 has it even when its last write found no room.
        if any(words in finished.stderr_tail for words in _NO_SPACE):
            raise DiskFull(
                message=f"No space left to write {self._result.name} in {self._result.parent}.",
                advice="Free some space there, or choose another directory.",
                detail=_evidence(finished, command),
            )

    async def _decode(self, shown: Path | None, frames: int) -> int:
        if shown is None:
            command = decode_check_command(self._build, self._result)
        else:
            command = framemd5_command(
                self._build,
                self._result,
                shown,
                pix_fmt=picture_format(self._order, self._arguments),
            )
        finished = await self._ffmpeg(command)
        self._need_room(finished, command)
        if finished.returncode != 0 or not finished.ended:
            raise ResultInvalid(
                message=f"The result of {self._order.frames} does not decode: {_outcome(finished)}",
                detail=_evidence(finished, command),
            )
        found = finished.progress.frame
        if found != frames:
            raise WrongFrameCount(
                message=f"{frames} frames were encoded and {found} come out of decoding them",
                detail={"expected": frames, "found": found} | _evidence(finished, command),
            )
        return found

    async def _compare(self, seen: Path, shown: Path) -> bool:
        reactor = self._runner.reactor
        pool = reactor.getThreadPool()
        given = await threads.deferToThreadPool(reactor, pool, read_hashes, seen)
        decoded = await threads.deferToThreadPool(reactor, pool, read_hashes, shown)
        different = first_difference(given, decoded)
        if different is not None:
            frame = self._order.frames.first + different
            raise ResultInvalid(
                message=f"Frame {frame} is not the picture that the encoder was given",
                detail={"frame": frame},
            )
        return True


def encode_piece(
    runner: Runner,
    build: FfmpegBuild,
    arguments: EncodeArguments,
    order: EncodeOrder,
    piece: Path,
    result: Path,
    on_progress: Callable[[Progress], None] | None = None,
) -> Deferred[SegmentProof]:
    """Encode and check one piece; see `PieceEncoder`."""
    return PieceEncoder(runner, build, arguments, order, piece, result, on_progress).run()


def _outcome(finished: Finished) -> str:
    if finished.timed_out:
        return "it took too long"
    if finished.signal is not None:
        return f"ended by signal {finished.signal}"
    if finished.returncode is None:
        return finished.stderr_tail or "it did not start"
    if finished.returncode == 0:
        return "it did not say that it had finished"
    last = finished.stderr_tail.strip().splitlines()
    return f"exit code {finished.returncode}" + (f": {last[-1]}" if last else "")


def _evidence(finished: Finished, command: Command) -> dict[str, Any]:
    return {
        "argv": list(command.redacted()),
        "stderr": finished.stderr_tail,
        "returncode": finished.returncode,
        "signal": finished.signal,
    }


__all__ = ["PieceEncoder", "encode_piece"]
