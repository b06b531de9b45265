"""Every kind of event that is written down, and what its data holds. One table for all readers."""

from __future__ import annotations

from collections.abc import Mapping

import attrs


@attrs.frozen
class Kind:
    """A kind of events.

    Attributes:
        meaning: What happened, for a person.
        data: The members of `EventEntry.data`, and what each of them is.
    """

    meaning: str
    data: Mapping[str, str] = attrs.field(factory=dict)


_PRIORITY = {"priority": "the job's priority"}
_REASON = {"reason": "why, in words"}
_WEBHOOK = {"webhook": "id of the webhook", **_REASON}

KINDS: Mapping[str, Kind] = {
    "job.state": Kind(
        "A job has a new state; of a new job it is the first event.",
        {
            "state": "name of the state",
            "reason": "why it waits or failed, or empty",
            "source_name": "name of its source",
            "output_name": "name of its output",
        },
    ),
    "job.paused": Kind("Nothing more of a job is started.", _PRIORITY),
    "job.resumed": Kind("A paused job goes on.", _PRIORITY),
    "job.prioritised": Kind("A job has another priority.", _PRIORITY),
    "job.retried": Kind("An ended job goes on.", _PRIORITY),
    "job.removed": Kind("A job is no longer remembered."),
    "join.failed": Kind("A join failed and is begun anew.", _REASON),
    "segment.missing": Kind(
        "A segment could not be encoded, and its job goes on without it.",
        {
            "first_frame": "the segment's first frame",
            "frames": "number of its frames",
            **_REASON,
        },
    ),
    "segment.lost": Kind("A committed result is gone; its segment is encoded again.", _REASON),
    "attempt.failed": Kind(
        "An attempt at a segment came to nothing.",
        {
            "first_frame": "the segment's first frame",
            "worker": "name of the worker",
            "code": "stable name of the cause",
            **_REASON,
        },
    ),
    "attempt.superseded": Kind("A worker brought a result that was not wanted any more."),
    "worker.joined": Kind("A worker connected.", {"name": "the worker's name"}),
    "worker.left": Kind("A worker's session ended.", _REASON),
    "worker.lease_ended": Kind(
        "A worker did not come back in time.", {"attempts": "number of attempts that it lost"}
    ),
    "worker.drained": Kind("A worker is given nothing more, by an operator."),
    "worker.resumed": Kind("A drained worker is given work again."),
    "worker.removed": Kind("A worker is no longer remembered.", {"name": "the worker's name"}),
    "worker.quarantined": Kind(
        "A device of a worker kept failing and is given nothing for a while.",
        {
            "backend": "name of the backend; empty is the whole worker",
            "device": "the device; empty is the CPU",
            "reason": "what it failed with",
            "until": "when it is tried again, Unix time in seconds",
            "times": "quarantines in a row",
        },
    ),
    "worker.recovered": Kind("A device that had been in quarantine works again."),
    "webhook.given_up": Kind(
        "A webhook could not be told of an event and is not told any more.",
        {"event": "number of that event", **_WEBHOOK},
    ),
    "webhook.disabled": Kind("A webhook is told nothing more.", _WEBHOOK),
}
