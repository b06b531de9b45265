"""What a worker's machine has to do and to give: CPU, memory, GPUs. Told, and never stored."""

from __future__ import annotations

from typing import Any

import attrs
from attrs import validators

MAX_GPUS = 16
# Two readings further apart than this say nothing about now.
FRESH_S = 30.0

_PERCENT: Any = validators.and_(validators.ge(0.0), validators.le(100.0))
_BYTES: Any = validators.and_(validators.ge(0), validators.lt(2**53))
_TEMPERATURE: Any = validators.and_(validators.ge(-100.0), validators.le(300.0))


@attrs.frozen
class GpuLoad:
    """One GPU; what it does not tell is None.

    Attributes:
        name: As a person knows it.
        utilisation_percent: Part of the time in which it did something.
        memory_used_bytes: Memory in use.
        memory_total_bytes: Memory that it has.
        temperature_c: Degrees Celsius.
    """

    name: str = attrs.field(validator=validators.max_len(256))
    utilisation_percent: float | None = attrs.field(
        default=None, validator=validators.optional(_PERCENT)
    )
    memory_used_bytes: int | None = attrs.field(default=None, validator=validators.optional(_BYTES))
    memory_total_bytes: int | None = attrs.field(
        default=None, validator=validators.optional(_BYTES)
    )
    temperature_c: float | None = attrs.field(
        default=None, validator=validators.optional(_TEMPERATURE)
    )


@attrs.frozen
class WorkerLoad:
    """A worker's whole machine, whatever else runs on it.

    Attributes:
        cpu_percent: Part of all processors' time that was used since the reading before.
        memory_used_bytes: Memory that is not available to programs.
        memory_total_bytes: Memory that it has.
        gpus: Its GPUs.
    """

    cpu_percent: float = attrs.field(validator=_PERCENT)
    memory_used_bytes: int = attrs.field(validator=_BYTES)
    memory_total_bytes: int = attrs.field(validator=_BYTES)
    gpus: tuple[GpuLoad, ...] = attrs.field(default=(), validator=validators.max_len(MAX_GPUS))
