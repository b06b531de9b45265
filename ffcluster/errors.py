"""The whole exception tree: one class per cause, each with data, advice, and whether a retry helps.

Code decides by class (or by the stable `code` when an error came over the wire), never by the
text of a message. `str(error)` is one line for a person; `advice` says what can be done.
"""

from __future__ import annotations

import enum
from typing import Any, ClassVar

import attrs


class Code(enum.StrEnum):
    """Stable names of causes, as sent over the wire and printed by `--json`."""

    INTERNAL = "internal"
    INVALID_OPTION = "invalid_option"
    UNSUPPORTED_OPTION = "unsupported_option"
    SOURCE_MISSING = "source_missing"
    SOURCE_UNREADABLE = "source_unreadable"
    SOURCE_DAMAGED = "source_damaged"
    SOURCE_CHANGED = "source_changed"
    CONTAINER_UNSUITABLE = "container_unsuitable"
    FFMPEG_MISSING = "ffmpeg_missing"
    NO_USABLE_ENCODER = "no_usable_encoder"
    ENCODE_FAILED = "encode_failed"
    ENCODE_STALLED = "encode_stalled"
    ENCODER_BUSY = "encoder_busy"
    WRONG_FRAME_COUNT = "wrong_frame_count"
    RESULT_INVALID = "result_invalid"
    TRANSFER_FAILED = "transfer_failed"
    WORKER_LOST = "worker_lost"
    BLOB_LOST = "blob_lost"
    BLOB_DAMAGED = "blob_damaged"
    INCOMPATIBLE_SEGMENTS = "incompatible_segments"
    JOIN_FAILED = "join_failed"
    VERIFICATION_FAILED = "verification_failed"
    OUTPUT_UNWRITABLE = "output_unwritable"
    DISK_FULL = "disk_full"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    STALE = "stale"
    EVENTS_GONE = "events_gone"
    TOO_MANY = "too_many"
    PROTOCOL = "protocol"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    CANCELLED = "cancelled"
    PLUGIN = "plugin"
    HELPER_DIED = "helper_died"
    NOT_REPRODUCIBLE = "not_reproducible"
    STORE_UNAVAILABLE = "store_unavailable"
    STORE_FAILED = "store_failed"
    STORE_DAMAGED = "store_damaged"
    STORE_FOREIGN = "store_foreign"
    STORE_TOO_NEW = "store_too_new"


@attrs.frozen(kw_only=True)
class FfclusterError(Exception):
    """Root of every error that this project raises on purpose.

    Attributes:
        message: What is wrong, naming the thing, on one line.
        advice: What the user can do about it; may be empty.
        detail: Evidence for a report: argv, last stderr lines, counts.
    """

    code: ClassVar[Code] = Code.INTERNAL
    retryable: ClassVar[bool] = False

    message: str
    advice: str = ""
    detail: dict[str, Any] = attrs.field(factory=dict)

    def __str__(self) -> str:
        return self.message


@attrs.frozen(kw_only=True)
class InvalidOption(FfclusterError):
    """A setting has a value that cannot be used; `option` names it."""

    code = Code.INVALID_OPTION
    option: str = ""


@attrs.frozen(kw_only=True)
class UnsupportedOption(InvalidOption):
    """An ffmpeg option was not understood, so it is refused rather than passed on."""

    code = Code.UNSUPPORTED_OPTION


class SourceError(FfclusterError):
    """The source cannot be encoded as it is."""

    code = Code.SOURCE_UNREADABLE


class SourceMissing(SourceError):
    """There is no such file, or it cannot be opened for reading."""

    code = Code.SOURCE_MISSING


class SourceUnreadable(SourceError):
    """The file is not a video that can be decoded (text, playlist, no video stream, DRM, empty)."""

    code = Code.SOURCE_UNREADABLE


class SourceDamaged(SourceError):
    """The source is truncated or broken, yet partly usable with `--allow-damaged`."""

    code = Code.SOURCE_DAMAGED


class SourceChanged(SourceError):
    """The source is not the file any more that the job began with."""

    code = Code.SOURCE_CHANGED


class ContainerUnsuitable(FfclusterError):
    """The chosen container cannot hold what the profile or the source asks it to hold."""

    code = Code.CONTAINER_UNSUITABLE


class FfmpegMissing(FfclusterError):
    """No usable ffmpeg binary was found."""

    code = Code.FFMPEG_MISSING


class NoUsableEncoder(FfclusterError):
    """No connected worker can encode what the profile asks for."""

    code = Code.NO_USABLE_ENCODER
    retryable = True


class AttemptError(FfclusterError):
    """One attempt at a segment failed; another attempt may succeed."""

    retryable = True


class EncodeFailed(AttemptError):
    """ffmpeg exited with an error, or without saying that it had finished."""

    code = Code.ENCODE_FAILED


class EncodeStalled(AttemptError):
    """ffmpeg made no frame for longer than the watchdog allows, and was ended."""

    code = Code.ENCODE_STALLED


class EncoderBusy(AttemptError):
    """The device has no session or memory left for now: nobody's failure, less is tried next."""

    code = Code.ENCODER_BUSY


class WrongFrameCount(AttemptError):
    """A segment's result does not hold exactly the frames that were asked for."""

    code = Code.WRONG_FRAME_COUNT


class ResultInvalid(AttemptError):
    """A segment's result is not what was asked for (codec, size, pixel format, order, damage)."""

    code = Code.RESULT_INVALID


class TransferFailed(AttemptError):
    """A blob did not arrive whole: wrong size or SHA-256, or the peer went away."""

    code = Code.TRANSFER_FAILED


class PeerFull(TransferFailed):
    """The other side has no room for what is sent to it; it takes it when it has some again."""


class WorkerLost(AttemptError):
    """The worker's session ended while the attempt was running."""

    code = Code.WORKER_LOST


class BlobLost(FfclusterError):
    """A stored file is gone; what it held must be made again."""

    code = Code.BLOB_LOST
    retryable = True


class BlobDamaged(FfclusterError):
    """A stored file is not what it was when it was stored; what it held must be made again."""

    code = Code.BLOB_DAMAGED
    retryable = True


class IncompatibleSegments(FfclusterError):
    """Segments carry different parameter sets and this container cannot hold both."""

    code = Code.INCOMPATIBLE_SEGMENTS


class JoinFailed(FfclusterError):
    """Joining the segments into the output failed."""

    code = Code.JOIN_FAILED
    retryable = True


class VerificationFailed(FfclusterError):
    """The joined file is not frame for frame what the source asks for; it was not published."""

    code = Code.VERIFICATION_FAILED


class OutputUnwritable(FfclusterError):
    """The output cannot be created where it was asked for."""

    code = Code.OUTPUT_UNWRITABLE


class DiskFull(FfclusterError):
    """A file system has no room left for what must be written."""

    code = Code.DISK_FULL
    retryable = True


class Unreachable(FfclusterError):
    """The coordinator does not answer at this address."""

    code = Code.UNREACHABLE
    retryable = True


class Refused(FfclusterError):
    """The peer answered and said no."""

    code = Code.REFUSED


class Unauthorized(Refused):
    """The token is missing or wrong."""

    code = Code.UNAUTHORIZED


class Forbidden(Unauthorized):
    """The token is good, but not for this; or another site's page asked."""

    code = Code.FORBIDDEN


class Stale(Refused):
    """What is to be changed is not as the caller saw it last."""

    code = Code.STALE


class EventsGone(Refused):
    """The events that are asked for are not kept any more."""

    code = Code.EVENTS_GONE


class TooMany(Refused):
    """There are as many of these as the coordinator takes; a later try may succeed."""

    code = Code.TOO_MANY
    retryable = True


class ProtocolError(Refused):
    """The peer sent something that the protocol does not allow."""

    code = Code.PROTOCOL


class NotFound(Refused):
    """There is no such job, worker or upload."""

    code = Code.NOT_FOUND


class Conflict(Refused):
    """The thing is in a state in which this cannot be done."""

    code = Code.CONFLICT


class IdempotencyConflict(Conflict):
    """The client's own name for a request was used before, for another request."""

    code = Code.IDEMPOTENCY_CONFLICT


class Cancelled(FfclusterError):
    """The job was cancelled."""

    code = Code.CANCELLED


class NotReproducible(FfclusterError):
    """A segment cannot be made again here, or there is nothing here to compare it with."""

    code = Code.NOT_REPRODUCIBLE


class HelperDied(FfclusterError):
    """A helper process that reads or writes media ended while it was at work."""

    code = Code.HELPER_DIED
    retryable = True


class StoreUnavailable(FfclusterError):
    """The database does not answer, or not now; what was to be stored is tried again."""

    code = Code.STORE_UNAVAILABLE
    retryable = True


class StoreFailed(FfclusterError):
    """The database refuses what was to be stored, and would again."""

    code = Code.STORE_FAILED


class StoreDamaged(FfclusterError):
    """The database does not hold what was written to it."""

    code = Code.STORE_DAMAGED


class StoreForeign(FfclusterError):
    """The database holds something else; it was not touched."""

    code = Code.STORE_FOREIGN


class StoreTooNew(FfclusterError):
    """The database was written by a later version; it was not touched."""

    code = Code.STORE_TOO_NEW


@attrs.frozen(kw_only=True)
class PluginError(FfclusterError):
    """A plugin raised or answered nonsense; the others go on without it."""

    code = Code.PLUGIN
    plugin: str = ""


@attrs.frozen
class ErrorReport:
    """An error as data: what crosses the wire, is stored with a job and printed by `--json`."""

    code: Code
    message: str
    advice: str = ""
    retryable: bool = False
    detail: dict[str, Any] = attrs.field(factory=dict)

    @classmethod
    def of(cls, error: BaseException) -> ErrorReport:
        """Describe `error`; anything outside the tree becomes `internal` with its type's name."""
        if isinstance(error, FfclusterError):
            return cls(error.code, error.message, error.advice, error.retryable, error.detail)
        return cls(Code.INTERNAL, f"{type(error).__name__}: {error}")

    def to_error(self) -> FfclusterError:
        """Give back the exception class that belongs to `code`."""
        error_type = _BY_CODE.get(self.code, FfclusterError)
        return error_type(message=self.message, advice=self.advice, detail=self.detail)


def _subclasses(root: type[FfclusterError]) -> list[type[FfclusterError]]:
    found = [root]
    for child in root.__subclasses__():
        found.extend(_subclasses(child))
    return found


# The deepest class that declares a code wins; abstract groups share a child's code only by default.
_BY_CODE: dict[Code, type[FfclusterError]] = {
    cls.code: cls for cls in _subclasses(FfclusterError) if "code" in vars(cls)
}
