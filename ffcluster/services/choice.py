"""Which encoder a job gets: one for all its segments, so that they join under one header."""

from __future__ import annotations

from collections.abc import Sequence

from ffcluster.core.cluster import ChooseEncoder
from ffcluster.core.media import VideoFormat
from ffcluster.core.model import Capability, JobSpec
from ffcluster.encoders.registry import Registry
from ffcluster.errors import ErrorReport, NoUsableEncoder


def encoder_chooser(registry: Registry) -> ChooseEncoder:
    """A choice that prefers what most workers have, and among these what ranks best."""

    def choose(
        spec: JobSpec, video: VideoFormat, offers: Sequence[Sequence[Capability]]
    ) -> str | ErrorReport:
        every = [capability for offer in offers for capability in offer]
        carriers: dict[str, int] = {}
        for offer in offers:
            for name in {c.encoder for c in offer if not registry.refusal(c, spec.profile, video)}:
                carriers[name] = carriers.get(name, 0) + 1
        most = max(carriers.values(), default=0)
        common = [c for c in every if carriers.get(c.encoder) == most]
        try:
            return registry.choose(spec.profile, common or every, video).encoder
        except NoUsableEncoder as error:
            return ErrorReport.of(error)

    return choose
