"""Every hook that a plugin may implement, in one place.

A plugin is a module that an installed distribution names in the entry-point group `ffcluster`.
It implements hooks as functions marked with `hookimpl`, and imports nothing of ffcluster but
`ffcluster.encoders`, `ffcluster.core` and `ffcluster.errors`.
"""

from __future__ import annotations

from collections.abc import Sequence

import pluggy

from ffcluster.encoders.backend import Backend

PROJECT = "ffcluster"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def ffcluster_backends() -> Sequence[Backend]:
    """Give the backends that this plugin offers.

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
