"""What the core asks about encoders without knowing any: who can do a job, and who joins whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import attrs

from ffcluster.core.media import VideoFormat
from ffcluster.core.model import Capability, JobSpec
from ffcluster.errors import ErrorReport


@attrs.frozen
class Candidate:
    """A capability that can do a job.

    Attributes:
        capability: The capability.
        rank: How well it suits where nothing was measured; higher is better.
        fallback: Whether it would stand in for the hardware that was asked for.
    """

    capability: Capability
    rank: int
    fallback: bool = False


class Judge(Protocol):
    """Answers from what is known of encoders. Pure: same question, same answer.

    Of the job's settings the names of its files never matter.
    """

    def candidates(
        self, spec: JobSpec, video: VideoFormat, offered: Sequence[Capability]
    ) -> Sequence[Candidate] | ErrorReport:
        """Those of `offered` that can do the job, or why none can."""

    def joins(self, spec: JobSpec, one: Capability, other: Capability) -> bool | None:
        """Whether both may write into one file under one header; None: equal headers decide."""

    def carries_mixture(self, spec: JobSpec) -> str:
        """Why the job's container cannot hold segments with different headers, or ""."""
