"""The bodies of requests to the REST API; they validate what is sent, and document it."""

from __future__ import annotations

from typing import Any

import attrs
from attrs import validators

from ffcluster.core.model import Fallback
from ffcluster.core.profile import Container, Profile
from ffcluster.net.messages import MAX_PRIORITY
from ffcluster.web.webhooks import WantedWebhook

_ID: Any = validators.optional(
    validators.and_(validators.max_len(64), validators.matches_re(r"[A-Za-z0-9_-]+"))
)
_NAME: Any = validators.optional(validators.and_(validators.min_len(1), validators.max_len(200)))
_PRIORITY: Any = validators.and_(validators.ge(-MAX_PRIORITY), validators.le(MAX_PRIORITY))
_COUNT: Any = validators.and_(validators.ge(0), validators.lt(2**53))


@attrs.frozen
class Empty:
    """An object without members."""


@attrs.frozen
class NewSource:
    """Where a film is: exactly one of both.

    Attributes:
        server_path: Absolute path of a file that the coordinator may read.
        upload_id: Id of an upload that is whole.
    """

    server_path: str | None = attrs.field(
        default=None, validator=validators.optional(validators.max_len(4096))
    )
    upload_id: str | None = attrs.field(default=None, validator=_ID)


@attrs.frozen(kw_only=True)
class NewJob:
    """A job to be made, or to be planned.

    Attributes:
        source: The film.
        name: What the film is called in lists; by default as its file.
        output_name: File name of the output; its suffix chooses the container.
        container: Container of the output; it must fit to `output_name` where both are given.
        profile: Settings of the output; without it and `profile_name` the coordinator's default.
        profile_name: Name of one of the coordinator's profiles.
        priority: Jobs with a higher one get workers first.
        exactly: Prove every frame by decoding; null for the coordinator's default.
        allow_damaged: Encode what is there of a damaged source.
        allow_missing: Publish without segments that no worker can encode.
        cut_frames: Begin segments at exactly these frames.
        mix: Let encoders that write different parameter sets share the file.
        fallback: Whether software may stand in for hardware.
        hardware_decode: Let devices that can also decode and scale.
        webhook: Who is told what becomes of the job.
    """

    source: NewSource
    name: str | None = attrs.field(default=None, validator=_NAME)
    output_name: str | None = attrs.field(default=None, validator=_NAME)
    container: Container | None = None
    profile: Profile | None = None
    profile_name: str | None = attrs.field(default=None, validator=_NAME)
    priority: int = attrs.field(default=0, validator=_PRIORITY)
    exactly: bool | None = None
    allow_damaged: bool = False
    allow_missing: bool = False
    cut_frames: tuple[int, ...] = ()
    mix: bool = False
    fallback: Fallback = Fallback.STRICT
    hardware_decode: bool = False
    webhook: WantedWebhook | None = None


@attrs.frozen(kw_only=True)
class JobChanges:
    """What is to be another way with a job.

    Attributes:
        priority: Jobs with a higher one get workers first.
    """

    priority: int = attrs.field(validator=_PRIORITY)


@attrs.frozen
class NewUpload:
    """A file that is to be sent.

    Attributes:
        name: Its name.
        size_bytes: Its size.
    """

    name: str = attrs.field(
        validator=validators.and_(validators.min_len(1), validators.max_len(256))
    )
    size_bytes: int = attrs.field(validator=_COUNT)
