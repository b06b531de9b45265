"""What comes before a job: an upload, and a plan of what would be made of it."""

from __future__ import annotations

import attrs

from ffcluster.core.profile import Container, Profile


@attrs.frozen
class Upload:
    """Where to put a file, in blocks with `Content-Range`.

    Attributes:
        id: What `source.upload_id` takes when it is whole.
        path: Where to put it.
        block_bytes: Largest block.
    """

    id: str
    path: str
    block_bytes: int


@attrs.frozen
class PlanVideo:
    """The video of a film."""

    codec: str
    width: int
    height: int
    pix_fmt: str


@attrs.frozen
class Plan:
    """What would happen to a film.

    Attributes:
        encoder: The encoder that would be used first.
        workers: Names of connected workers that can, at most 100.
        worker_count: How many they are.
        segments: About how many segments it would be cut into.
        estimate_s: Seconds that it would take; null where nobody was measured yet.
        predicted_size_bytes: Size that the output would have; null where that is not known.
        lost: What of the source the container cannot hold.
        notes: What else a person should know.
        warnings: What is odd about the film.
    """

    source_name: str
    output_name: str
    container: Container
    profile: Profile
    frame_count: int
    duration_s: float
    video: PlanVideo
    encoder: str
    workers: tuple[str, ...]
    worker_count: int
    segments: int
    estimate_s: float | None
    predicted_size_bytes: int | None
    lost: tuple[str, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
