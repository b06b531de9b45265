"""Every hook that a plugin may implement, in one place.

A plugin is a module that an installed distribution names in the entry-point group `ffcluster`.
It implements hooks as functions marked with `hookimpl`, and imports nothing of ffcluster but
`ffcluster.encoders`, `ffcluster.core` and `ffcluster.errors`. Hooks are pure: same arguments,
same answer; no I/O. A hook may leave out arguments that it does not need.

A hook that raises, or answers with what it may not, is reported with its plugin's name and
counts as having no opinion: it never stops a worker, a coordinator or another plugin.
"""

from __future__ import annotations

from collections.abc import Sequence

import pluggy

from ffcluster.core.media import VideoFormat
from ffcluster.core.model import Capability
from ffcluster.core.profile import Profile
from ffcluster.encoders.backend import Backend

PROJECT = "ffcluster"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def ffcluster_backends() -> Sequence[Backend]:
    """Give the backends that this plugin offers; leave the hook out when there are none.

    Called once when plugins are loaded. It must be quick and must not run or open anything:
    what the machine has is asked later, through `Backend.detect`.

    Example:
        ```python
        @hookimpl
        def ffcluster_backends():
            return [MyBackend()]
        ```
    """
    # Only the signature matters: pluggy never calls a specification.
    return ()


@hookspec
def ffcluster_veto(capability: Capability, profile: Profile, video: VideoFormat) -> str | None:
    """Say why `capability`, of whichever backend, must not be used for a job; None when it may.

    Asked on the coordinator before a job starts and when a worker joins. The first reason is the
    one that a person is shown, so it names the rule and how to get around it.

    Args:
        capability: What a worker offers.
        profile: The settings, on this encoder's own scales; see `neutral.fit`.
        video: The source's video stream.

    Example:
        ```python
        @hookimpl
        def ffcluster_veto(capability, video):
            if capability.hardware and video.height < 480:
                return "small films are left to the CPU here"
            return None
        ```
    """
    return None


@hookspec
def ffcluster_rank(capability: Capability, profile: Profile, rank: int) -> int | None:
    """Rank `capability`, of whichever backend, anew; None leaves `rank` as it is.

    Ranks decide where nothing was measured: higher is better, 0 to 99 is for software, 100 and
    above for hardware. Plugins are asked in the order of their names, and each is given what the
    one before it made of the rank.

    Args:
        capability: What a worker offers.
        profile: The settings, on this encoder's own scales; see `neutral.fit`.
        rank: The backend's own rank, as changed by the plugins before.

    Example:
        ```python
        @hookimpl
        def ffcluster_rank(capability, rank):
            return rank - 150 if capability.codec == "av1" and capability.hardware else None
        ```
    """
    return None


@hookspec
def ffcluster_joins(one: Capability, other: Capability, profile: Profile) -> bool | None:
    """Say whether what both write may stand in one file under one header; None: no opinion.

    Without an opinion equal parameter sets decide, as trial encodes wrote them. False of any
    plugin or backend wins over True of any other.

    Args:
        one: What a worker offers.
        other: What a worker offers, perhaps the same one.
        profile: The settings as the user gave them.

    Example:
        ```python
        @hookimpl
        def ffcluster_joins(one, other):
            if one.driver != other.driver and "nvenc" in (one.backend, other.backend):
                return False
            return None
        ```
    """
    return None
