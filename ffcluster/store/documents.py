"""Entries as JSON text, as they lie in a database. Loses nothing that an entry can hold.

Unknown keys are ignored: a later version may have written them.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import orjson
from cattrs import BaseValidationError, transform_error

from ffcluster.converting import in_words, make_converter, reason_of
from ffcluster.core.durable import Changes, JobEntry, WebhookEntry
from ffcluster.errors import StoreDamaged

T = TypeVar("T")

# What was accepted once must be readable for ever, however long it is.
_converter = make_converter(longest_text=sys.maxsize)
_strict_float = _converter.get_structure_hook(float)


def _float_out(value: float) -> float | str:
    """JSON has no infinity; the quality of equal pictures is one."""
    return value if math.isfinite(value) else str(value)


def _float_in(value: Any, kind: Any) -> float:
    if value in ("inf", "-inf", "nan"):
        return float(value)
    found: float = _strict_float(value, kind)
    return found


_converter.register_unstructure_hook(float, _float_out)
_converter.register_structure_hook(float, _float_in)


def to_document(entry: Any) -> str:
    """Write an entry as JSON."""
    values = _converter.unstructure(entry)
    try:
        return orjson.dumps(values).decode()
    except TypeError:
        pass
    try:
        # Names of files may hold bytes that are no text; only this writer can write them.
        return json.dumps(values, allow_nan=False)
    except (TypeError, ValueError):
        return json.dumps(in_words(values))


def from_document(text: str, kind: type[T]) -> T:
    """Read an entry of the given class.

    Raises:
        StoreDamaged: It is not one.
    """
    try:
        return _converter.structure(_parsed(text), kind)
    except BaseValidationError as error:
        reasons = transform_error(error, path="$", format_exception=reason_of)[:3]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        reasons = [reason_of(error, None)]
    # What is told of an error is printed.
    secret = kind is WebhookEntry
    raise StoreDamaged(
        message=f"The database holds a {kind.__name__} that cannot be read: {'; '.join(reasons)}",
        advice="Go back to a backup, or remove what it belongs to by hand.",
        detail={} if secret else {"document": text[:2000]},
    )


def _parsed(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)


def latest_time(changes: Iterable[Changes]) -> float:
    """The latest time at which anything in `changes` happened; 0.0 when nothing says.

    Times that are still to come (the end of a quarantine) are not among them.
    """
    return max((at for one in changes for at in _times(one) if at is not None), default=0.0)


def _times(changes: Changes) -> Iterator[float | None]:
    for job in changes.jobs:
        yield from _job_times(job)
    for attempt in changes.attempts:
        yield from (
            attempt.offered_at,
            attempt.started_at,
            attempt.delivered_at,
            attempt.ended_at,
        )
    for worker in changes.workers:
        yield worker.connected_at
    for event in changes.events:
        yield event.at
    for key in changes.keys:
        yield key.at
    for token in changes.tokens:
        yield from (token.created_at, token.revoked_at)
    for webhook in changes.webhooks:
        yield webhook.created_at
    for delivery in changes.deliveries:
        yield from (delivery.event.at, delivery.tried_at)


def _job_times(job: JobEntry) -> Iterator[float | None]:
    yield from (job.submitted_at, job.ended_at)
    yield from (at for _, at in job.history)
