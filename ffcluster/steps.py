"""The named steps of commit, join and publication. Between any two of them the process may die.

Each is announced by `reached`, which does nothing by itself: the tests put an observer in its
place that kills the process there.
"""

from __future__ import annotations

import enum
from collections.abc import Callable


class Step(enum.StrEnum):
    """What has just been done; it is durable unless its name says otherwise."""

    RESULT_ARRIVED = "result.arrived"  # whole by its SHA-256, under its temporary name
    RESULT_KEPT = "result.kept"  # under its final name
    CHANGES_READY = "changes.ready"  # in memory only
    CHANGES_STORED = "changes.stored"
    SEGMENT_JOINED = "join.segment"  # in the partial file; not durable
    JOIN_FINISHED = "join.finished"  # the partial file is complete; not durable
    OUTPUT_VERIFIED = "publish.verified"  # durable, under its temporary name
    PLACE_CHOSEN = "publish.chosen"  # written down before anything appears there
    OUTPUT_PLACED = "publish.placed"  # under its final name; may still have its temporary one
    OUTPUT_TOLD = "publish.told"  # nobody was told yet; everything is written down


observer: Callable[[Step], None] | None = None


def reached(step: Step) -> None:
    """Announce a step."""
    if observer is not None:
        observer(step)
