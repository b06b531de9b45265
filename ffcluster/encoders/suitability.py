"""What keeps a capability from a job by its own word alone. Asks no backend and no plugin."""

from __future__ import annotations

from ffcluster.core.media import VideoFormat
from ffcluster.core.model import Capability
from ffcluster.core.profile import Codec, Profile
from ffcluster.encoders.pixfmt import describe

# Bits per sample that each codec's reference encoder writes, at most.
_REFERENCE_DEPTH = {Codec.H264: 10, Codec.HEVC: 12, Codec.AV1: 10, Codec.VP9: 12}


def mismatch(capability: Capability, profile: Profile) -> str | None:
    """Why the capability cannot do what the profile asks for, whatever the source."""
    if profile.rate.mode not in capability.rate_modes:
        return f"cannot do {profile.rate.mode}"
    # Without its schema the presets of an encoder are known only when they were asked for by name.
    own_scales = profile.encoder == capability.encoder
    if own_scales and profile.preset is not None and profile.preset not in capability.presets:
        return f"has no preset {profile.preset!r}"
    return None


def misfit(capability: Capability, profile: Profile, video: VideoFormat | None) -> str | None:
    """Why the capability cannot take the source's pictures or write as deep as is asked for."""
    wanted = describe(profile.pix_fmt) if profile.pix_fmt else None
    depth = profile.bit_depth or (wanted.depth if wanted else None)
    if depth is not None and depth not in capability.bit_depths:
        return f"cannot write {depth} bits per sample"
    if video is None or profile.filters:
        return None
    width, height = video.width, video.height
    if width < capability.min_size[0] or height < capability.min_size[1]:
        return f"cannot encode less than {capability.min_size[0]}x{capability.min_size[1]}"
    # 0 stands for a side without a known limit.
    for side, limit, name in zip(
        (width, height), capability.max_size, ("wide", "high"), strict=True
    ):
        if limit and side > limit:
            return f"cannot encode more than {limit} pixels {name}"
    return None


def depth_lost(capability: Capability, profile: Profile, video: VideoFormat) -> str | None:
    """Why hardware that nobody asked for would write fewer bits than software does, or None.

    Hardware is faster, but how deep the pictures are is for the user to decide: with a bit depth,
    a pixel format or an encoder in the profile.
    """
    source = describe(video.pix_fmt)
    asked = profile.encoder or profile.bit_depth or profile.pix_fmt
    if asked or not capability.hardware or source is None:
        return None
    kept = min(source.depth, _REFERENCE_DEPTH.get(profile.codec, 8))
    if kept <= max(capability.bit_depths, default=8):
        return None
    return f"would lose bits of the source's {source.depth} per sample, and no depth is asked for"
