"""What can be chosen from: profiles and plugins."""

from __future__ import annotations

import attrs

from ffcluster.core.model import (
    PluginSummary,
)
from ffcluster.core.profile import Profile


@attrs.frozen
class NamedProfile:
    """One of the coordinator's profiles.

    Attributes:
        name: What `profile_name` takes.
        is_default: Whether jobs get it that ask for none.
        profile: Its settings.
        etag: Its version.
    """

    name: str
    is_default: bool
    profile: Profile
    etag: str


@attrs.frozen
class ProfilePage:
    """All profiles."""

    items: tuple[NamedProfile, ...]
    next_cursor: str | None = None


@attrs.frozen
class PluginPage:
    """The plugins of the coordinator."""

    items: tuple[PluginSummary, ...]
    next_cursor: str | None = None
