"""When a source would become the same by the cluster as by ffmpeg, and when not."""

from __future__ import annotations

import shlex
from fractions import Fraction
from typing import Any

import attrs
import pytest

from ffcluster.encoders.registry import Registry
from ffcluster.interfaces.dropin.arguments import Call, read_arguments
from ffcluster.interfaces.dropin.selection import Source, frames_missing, why_not
from ffcluster.media.carry import SourceFacts, StreamFact

SCHEMAS = Registry.load((), ("software",)).schemas
V = StreamFact(0, "video", "h264")
COVER = StreamFact(0, "video", "mjpeg", is_cover=True)
A = StreamFact(0, "audio", "aac", channels=2)
S = StreamFact(0, "subtitle", "subrip")
T = StreamFact(0, "attachment", "ttf")
D = StreamFact(0, "data", "bin_data")


def source(*streams: StreamFact, **changes: Any) -> Source:
    numbered = tuple(attrs.evolve(s, index=i) for i, s in enumerate(streams))
    video = next(s.index for s in numbered if s.kind == "video")
    facts = SourceFacts("matroska", video, numbered)
    known = Source(facts, Fraction(25), True, Fraction(0), Fraction(1, 1000), False)
    return attrs.evolve(known, **changes)


def call(line: str) -> Call:
    found = read_arguments(shlex.split(line), SCHEMAS)
    assert isinstance(found, Call), found
    return found


SAME = [
    ("-i a b.mp4", source(V)),
    ("-i a b.mp4", source(V, A)),
    ("-i a b.mp4", source(A, V)),
    ("-i a -c:a copy b.mkv", source(V, A)),
    ("-i a -c:a copy -sn b.mkv", source(V, A, S, S)),
    ("-i a -c:a copy -c:s copy b.mkv", source(V, A, S)),
    ("-i a -map 0 -c copy -c:v libx264 b.mkv", source(V, A, A, S, T)),
    ("-i a -map 0:v -map 0:a -c:a copy -sn b.mkv", source(V, A, A, S)),
    ("-i a -map 0:v:0 -map 0:a:0 -map 0:a:1 -c:a copy b.mkv", source(V, A, A)),
    ("-i a -map 0:0 -map 0:1 -c:a copy b.mkv", source(V, A)),
    ("-i a -an b.mkv", source(V, A, A)),
    ("-i a -c:a copy b.mkv", source(V, A, offset_s=Fraction(0))),
    ("-noautorotate -i a b.mkv", source(V, is_turned=True)),
    ("-i a -vsync 0 -enc_time_base -1 b.mkv", source(V, is_regular=False, offset_s=Fraction(1))),
    ("-i a -c:a copy b.mkv", source(V, A, D)),
    ("-i a -map 0 -dn -c:a copy b.mkv", source(V, A, D)),
]
OTHER = [
    ("-i a -an b.mkv", source(V, V), "several video streams"),
    ("-i a -an b.mkv", source(V, COVER), "cover picture"),
    ("-i a b.mkv", source(V, is_turned=True), "turned"),
    ("-i a b.mkv", source(V, is_regular=False), "rate varies"),
    ("-i a b.mkv", source(V, offset_s=Fraction(23, 1000)), "between two frames"),
    ("-i a b.mkv", source(V, offset_s=Fraction(1)), "begins later"),
    ("-i a -c:a copy b.mkv", source(V, A, A), "would choose"),
    ("-i a b.mkv", source(V, A), "how to encode the sound"),
    ("-i a -c:a copy b.mkv", source(V, A, S), "how to encode the subtitles"),
    ("-i a -c:a copy -c:s copy b.mp4", source(V, A, S), "subtitles as they are"),
    ("-i a -map 0:v -map 0:a:1 -c:a copy b.mkv", source(V, A, A), "some of the source's streams"),
    ("-i a -map 0:a -map 0:v -c:a copy b.mkv", source(V, A), "another order"),
    ("-i a -map 0 -c:a copy b.mkv", source(A, V), "another order"),
    ("-i a -map 0 -map 0:a -c:a copy b.mkv", source(V, A), "would choose"),
    ("-i a -c:a copy b.mkv", source(V, A, T), "some of the source's streams"),
    ("-i a -map 0 -c:a copy b.mp4", source(V, A, T), "attachment"),
    ("-i a -map 0 -c:a copy b.mkv", source(V, A, D), "some of the source's streams"),
    ("-i a -c:a copy b.mp4", source(V, attrs.evolve(A, codec="vorbis")), "cannot hold"),
]


@pytest.mark.parametrize(("line", "found"), SAME, ids=range(len(SAME)))
def test_source_that_becomes_the_same(line: str, found: Source) -> None:
    assert why_not(call(line), found) == ""


@pytest.mark.parametrize(("line", "found", "words"), OTHER, ids=range(len(OTHER)))
def test_source_that_would_not(line: str, found: Source, words: str) -> None:
    assert words in why_not(call(line), found)


def test_gaps_in_the_index_are_noticed() -> None:
    assert not frames_missing(source(V), 250, 10.0)
    assert not frames_missing(source(V), 250, 10.001)
    assert frames_missing(source(V), 240, 10.0)
