"""What the plugins say to the core's questions: who can do a job, who fits to whom.

Answers only; which of those that can shall work, the core decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import attrs

from ffcluster.core.judge import Candidate
from ffcluster.core.media import VideoFormat
from ffcluster.core.model import Capability, Diagnosis, Fallback, JobSpec
from ffcluster.core.profile import Codec
from ffcluster.encoders.registry import Registry
from ffcluster.errors import ErrorReport, FfclusterError

_SOFTWARE = "software"
_MOST_DIAGNOSES = 8


def _nothing_known() -> tuple[Diagnosis, ...]:
    return ()


@attrs.frozen
class RegistryJudge:
    """A `Judge` over the plugins of one registry.

    Attributes:
        registry: The plugins.
        diagnoses: What is known of encoders that do not work, to explain why a job has none. It
            changes the words of an answer, never which answer it is.
    """

    registry: Registry
    diagnoses: Callable[[], Iterable[Diagnosis]] = _nothing_known

    def candidates(
        self, spec: JobSpec, video: VideoFormat, offered: Sequence[Capability]
    ) -> tuple[Candidate, ...] | ErrorReport:
        """Those of `offered` that can do the job, or why none can.

        Without a pinned encoder hardware and software are candidates alike. With one, only that
        encoder is, and where it is hardware and the job allows it, software as a fallback.
        """
        found = [self._candidate(spec, video, c) for c in dict.fromkeys(offered)]
        candidates = tuple(c for c in found if c is not None)
        if spec.fallback is Fallback.ALLOW and self._pins_hardware(spec, offered):
            candidates += self._stand_ins(spec, video, offered)
        return candidates or self._why_none(spec, video, offered)

    def joins(self, spec: JobSpec, one: Capability, other: Capability) -> bool | None:
        """Whether both may write into one file under one header; None: equal headers decide."""
        return self.registry.joins(one, other, spec.profile)

    def carries_mixture(self, spec: JobSpec) -> str:
        """Why the job's container cannot hold segments with different headers, or "".

        H.264 and HEVC bring their parameter sets before each keyframe (`avc3`, `hev1`, or
        Matroska), keyframes of AV1 and VP9 bring all that a decoder needs by themselves.
        """
        if spec.profile.codec is Codec.FFV1:
            return "ffv1 keeps its header in the container, which has room for only one"
        return ""

    def _candidate(
        self, spec: JobSpec, video: VideoFormat, capability: Capability
    ) -> Candidate | None:
        if self.registry.refusal(capability, spec.profile, video) is not None:
            return None
        return Candidate(capability, self.registry.rank(capability, spec.profile))

    def _pins_hardware(self, spec: JobSpec, offered: Sequence[Capability]) -> bool:
        pinned = spec.profile.encoder
        if pinned is None:
            return False
        software = any(c.encoder == pinned and not c.hardware for c in offered) or any(
            schema.encoder == pinned
            for backend in self.registry.backends
            if backend.name == _SOFTWARE
            for schema in backend.schemas
        )
        return not software

    def _stand_ins(
        self, spec: JobSpec, video: VideoFormat, offered: Sequence[Capability]
    ) -> tuple[Candidate, ...]:
        found: list[Candidate] = []
        for capability in dict.fromkeys(offered):
            if capability.hardware or capability.codec is not spec.profile.codec:
                continue
            try:
                fitted = self.registry.fitted(capability, spec.profile)
            except FfclusterError:
                continue
            if self.registry.refusal(capability, fitted, video) is None:
                rank = self.registry.rank(capability, fitted)
                found.append(Candidate(capability, rank, fallback=True))
        return tuple(found)

    def _why_none(
        self, spec: JobSpec, video: VideoFormat, offered: Sequence[Capability]
    ) -> ErrorReport:
        error = self.registry.why_none(spec.profile, offered, video)
        told = self._explained(spec)
        advice = [error.advice]
        strict = spec.fallback is Fallback.STRICT and self._pins_hardware(spec, offered)
        if strict and self._stand_ins(spec, video, offered):
            advice.append("Software could stand in for it: `--fallback allow`.")
        advice += dict.fromkeys(d.hint for d in told)
        known = [_in_words(d) for d in told]
        return ErrorReport(
            error.code,
            error.message,
            "\n".join(filter(None, advice)),
            error.retryable,
            error.detail | ({"diagnoses": known} if known else {}),
        )

    def _explained(self, spec: JobSpec) -> list[Diagnosis]:
        """What is known of encoders that this job could have used."""
        profile, schemas = spec.profile, self.registry.schemas
        wanted = {s.encoder for s in schemas.values() if s.codec is profile.codec}
        if profile.encoder is not None:
            wanted = {profile.encoder}
        of_backend = {
            backend.name
            for backend in self.registry.backends
            if any(schema.encoder in wanted for schema in backend.schemas)
        }
        told = [
            diagnosis
            for diagnosis in dict.fromkeys(self.diagnoses())
            if diagnosis.encoder in wanted
            or (not diagnosis.encoder and diagnosis.backend in of_backend)
        ]
        return told[:_MOST_DIAGNOSES]


def plugin_warnings(registry: Registry) -> tuple[str, ...]:
    """What a person should know of the plugins: names that none has, and those that failed."""
    return (*registry.warnings, *(error.message for error in registry.errors))


def _in_words(diagnosis: Diagnosis) -> str:
    what = " ".join(filter(None, (diagnosis.encoder or diagnosis.backend, diagnosis.device)))
    return f"{what}: {diagnosis.cause}"
