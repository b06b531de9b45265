"""What the judge said before: asked once for all workers and jobs that are alike.

Plugins answer, so every question is dear; there are few different ones however many workers and
jobs there are. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import attrs

from ffcluster.core.crews import Joins
from ffcluster.core.judge import Candidate, Judge
from ffcluster.core.media import VideoFormat
from ffcluster.core.model import Capability, Fallback, JobSpec
from ffcluster.errors import ErrorReport

# Beyond so many different questions about the jobs of one kind the answers are forgotten.
_MOST_ANSWERS = 5_000
_MOST_KINDS = 100

Offered = tuple[Capability, ...]


class Answers:
    """Asks a judge, each question once."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._candidates: dict[tuple[JobSpec, VideoFormat], dict[Offered, Candidates]] = {}
        self._joins: dict[JobSpec, dict[tuple[Capability, Capability], bool | None]] = {}

    def candidates(self, spec: JobSpec, video: VideoFormat) -> Callable[[Offered], Candidates]:
        """Says which of some capabilities the job may use."""
        known = _kept(self._candidates, (_settings(spec), video))

        def ask(offered: Offered) -> Candidates:
            found = known.get(offered)
            if found is None:
                found = known[offered] = self._usable(spec, video, offered)
            return found

        return ask

    def _usable(self, spec: JobSpec, video: VideoFormat, offered: Offered) -> Candidates:
        answer = self._judge.candidates(spec, video, offered)
        if isinstance(answer, ErrorReport):
            return ()
        allowed = spec.fallback is Fallback.ALLOW
        return tuple(c for c in answer if allowed or not c.fallback)

    def joins(self, spec: JobSpec) -> Joins:
        """Says of two capabilities whether they may share the job's file."""
        known = _kept(self._joins, _settings(spec))

        def ask(one: Capability, other: Capability) -> bool | None:
            pair = (one, other)
            if pair not in known:
                known[pair] = self._judge.joins(spec, one, other)
            return known[pair]

        return ask


Candidates = tuple[Candidate, ...]
_Kind = TypeVar("_Kind")
_Question = TypeVar("_Question")
_Answer = TypeVar("_Answer")


def _settings(spec: JobSpec) -> JobSpec:
    """What of a job the judge's answers depend on."""
    return attrs.evolve(
        spec, output_name="", source_name="", origin="", output_folder="", cut_frames=()
    )


def _kept(known: dict[_Kind, dict[_Question, _Answer]], kind: _Kind) -> dict[_Question, _Answer]:
    """The answers about jobs of one kind, with room for more."""
    if kind not in known and len(known) >= _MOST_KINDS:
        known.clear()
    found = known.setdefault(kind, {})
    if len(found) >= _MOST_ANSWERS:
        found.clear()
    return found
