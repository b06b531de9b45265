"""How a finished file was made, in words: stand-ins, mixtures, and what encoders left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ffcluster.core.model import Capability, Contribution, SegmentProof
from ffcluster.core.profile import Profile
from ffcluster.encoders.neutral import dropped
from ffcluster.encoders.registry import Registry
from ffcluster.errors import FfclusterError

# What workers say is shown to a person; a hundred thousand segments say much the same.
_MOST_NOTES = 32


def notes(
    profile: Profile,
    made_by: Sequence[Contribution],
    used: Iterable[Capability],
    proofs: Iterable[SegmentProof],
    registry: Registry,
) -> list[str]:
    """What a person should know of how a job's output was made, each thing once.

    Args:
        profile: What the client asked for.
        made_by: Which encoder made how much of it.
        used: The capabilities that made it.
        proofs: Of every segment.
        registry: The plugins, which know what an encoder has no setting for.
    """
    found = [_stood_in(made) for made in made_by if made.fallback]
    if len({made.parameter_sets for made in made_by}) > 1:
        found.append(f"segments carry different parameter sets: {in_shares(made_by)}")
    for capability in used:
        found += _dropped(profile, capability, registry)
    found += [note for proof in proofs for note in proof.notes]
    return list(dict.fromkeys(found))[:_MOST_NOTES]


def in_shares(made_by: Iterable[Contribution]) -> str:
    """Which encoder made how much: `h264_nvenc 12 segments, libx264 3 segments`."""
    return ", ".join(f"{made.encoder} {_segments(made.segments)}" for made in made_by)


def _stood_in(made: Contribution) -> str:
    return (
        f"software stood in for hardware: {made.encoder} made {_segments(made.segments)} "
        f"({made.frames} frames)"
    )


def _segments(count: int) -> str:
    return f"{count} segment{'s' if count != 1 else ''}"


def _dropped(profile: Profile, capability: Capability, registry: Registry) -> tuple[str, ...]:
    try:
        return dropped(profile, registry.fitted(capability, profile))
    except FfclusterError:
        return ()
