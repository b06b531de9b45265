"""From what a client asks for to a job's full specification. Refuses what cannot be done at all."""

from __future__ import annotations

import hashlib
from pathlib import Path

import attrs
import orjson

from ffcluster.converting import to_jsonable
from ffcluster.core.model import JobRequest, JobSpec
from ffcluster.core.profile import Profile
from ffcluster.encoders.params import check_container, checked_profile, container_for
from ffcluster.encoders.registry import Registry
from ffcluster.errors import InvalidOption, Refused
from ffcluster.net.messages import MAX_PRIORITY
from ffcluster.services.settings.config import ServerSettings
from ffcluster.web.webhooks import WantedWebhook

_LONGEST_NAME = 200
_LONGEST_KEY = 200
_DEFAULT_SUFFIX = ".mkv"


def make_spec(request: JobRequest, settings: ServerSettings, registry: Registry) -> JobSpec:
    """Fill in what `request` leaves open, and check that it makes sense.

    Raises:
        Refused: Not exactly one source is named.
        InvalidOption, ContainerUnsuitable: A setting cannot be used, and which.
    """
    if (request.server_path is None) == (request.upload_id is None):
        raise Refused(message="A job needs either a path on the coordinator or an upload.")
    name = request.output_name or settings.output_name or derived_name(request.source_name)
    check_name(name)
    # A peer's word on what its filters need is not taken: it is worked out again.
    profile = checked_profile(request.profile or settings.profile or Profile(), registry.schemas)
    container = container_for(name)
    check_container(profile, container)
    _check_priority(request.priority)
    if any(frame <= 0 for frame in request.cut_frames):
        raise InvalidOption(message="Forced cuts are frame numbers above 0.", option="cut_frames")
    exactly = settings.exactly if request.exactly is None else request.exactly
    return JobSpec(
        profile=profile,
        container=container,
        output_name=name,
        source_name=request.source_name[:_LONGEST_NAME],
        exactly=exactly,
        allow_damaged=request.allow_damaged,
        cut_frames=request.cut_frames,
        mix=request.mix,
        fallback=request.fallback,
        hardware_decode=request.hardware_decode,
        allow_missing=request.allow_missing,
    )


def check_name(name: str) -> None:
    """Refuse an output name that could lead anywhere but into the output directory.

    Raises:
        InvalidOption: It is no plain file name.
    """
    plain = name == Path(name).name and not any(c in name for c in '/\\:*?"<>|')
    printable = all(c.isprintable() for c in name)
    short = len(name.encode()) <= _LONGEST_NAME
    if not name or not plain or not printable or not short or name.startswith("."):
        raise InvalidOption(
            message=f"{name[:80]!r} is not a plain file name.",
            advice="Give a name without directories, such as film.mp4.",
            option="--file-name-output",
        )


def check_key(key: str) -> None:
    """Refuse an idempotency key that could not be stored and shown.

    Raises:
        InvalidOption: It is too long or not printable.
    """
    if len(key) > _LONGEST_KEY or not key.isprintable():
        raise InvalidOption(
            message=f"An idempotency key has up to {_LONGEST_KEY} printable characters.",
            option="--idempotency-key",
        )


def request_sha256(request: JobRequest, webhook: WantedWebhook | None = None) -> str:
    """What a request asks for, as a fingerprint; SHA-256, hex.

    Which upload it names is left out: a client that did not hear the answer sends its source again,
    and gets another id for it.
    """
    bare = attrs.evolve(
        request, idempotency_key="", upload_id="upload" if request.upload_id else None
    )
    asked = to_jsonable(bare)
    if webhook is not None:
        asked["webhook"] = to_jsonable(webhook)
    document = orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(document).hexdigest()


def _check_priority(priority: int) -> None:
    if abs(priority) > MAX_PRIORITY:
        raise InvalidOption(
            message=f"A priority of {priority} is not allowed; from {-MAX_PRIORITY} to "
            f"{MAX_PRIORITY} is.",
            option="--priority",
        )


def derived_name(source_name: str, suffix: str = _DEFAULT_SUFFIX) -> str:
    """A file name for the output of a film."""
    stem = Path(source_name.replace("\\", "/")).stem
    safe = "".join(c if c.isprintable() and c not in '/\\:*?"<>|' else "_" for c in stem)
    ending = f"-encoded{suffix}"
    room = safe.lstrip(".").encode()[: _LONGEST_NAME - len(ending)]
    return (room.decode("utf-8", "ignore") or "film") + ending
