"""Compare a call with what its source holds: would the cluster write exactly what ffmpeg would?

Pure. Where it would not, or where that cannot be known, there is a reason in words.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import attrs

from ffcluster.core.model import JobSpec
from ffcluster.core.profile import AudioMode, SubtitleMode
from ffcluster.errors import ContainerUnsuitable
from ffcluster.interfaces.dropin.arguments import Call, Map
from ffcluster.media.carry import CarryPlan, SourceFacts, StreamFact, plan_carry

_KINDS = {
    "v": "video", "V": "video", "a": "audio", "s": "subtitle", "d": "data", "t": "attachment"
}  # fmt: skip


@attrs.frozen
class Source:
    """What is known of a source before it is read.

    Attributes:
        facts: Its streams.
        rate: Frames per second as its header says, 0 when unknown.
        is_regular: Whether its header says that all frames are equally far apart.
        offset_s: Seconds from the start of the file to its first frame.
        tick_s: Length of a tick of the video's times, in seconds.
        is_turned: Whether its pictures are marked as turned.
        duration_s: Its length in seconds, or 0 when unknown.
    """

    facts: SourceFacts
    rate: Fraction
    is_regular: bool
    offset_s: Fraction
    tick_s: Fraction
    is_turned: bool
    duration_s: float = 0.0


def why_not(call: Call, source: Source) -> str:
    """Why the cluster would not write what ffmpeg would, or "" when it would."""
    pictures = [stream for stream in source.facts.streams if stream.kind == "video"]
    if len(pictures) != 1 or pictures[0].is_cover:
        return "the source has several video streams or a cover picture"
    if source.is_turned and call.autorotates:
        return "the source is marked as turned, and ffmpeg would turn its pictures"
    if not call.keeps_times:
        reason = _why_not_regular(source)
        if reason:
            return reason
    # Neither takes data by itself, and only the cluster would say so.
    carried = attrs.evolve(
        source.facts, streams=tuple(s for s in source.facts.streams if s.kind != "data")
    )
    try:
        carry = plan_carry(carried, JobSpec(call.profile, call.container, "", ""))
    except ContainerUnsuitable as error:
        return error.message
    return _why_not_streams(call, source.facts, carry)


def frames_missing(source: Source, frame_count: int, duration_s: float) -> bool:
    """Whether an index shows that frames are not equally far apart, whatever the header said."""
    return abs(float(source.rate) * duration_s - frame_count) > 1.0


def _why_not_regular(source: Source) -> str:
    if not source.is_regular:
        return "the source's frame rate varies, and ffmpeg would round its times"
    frames = source.offset_s * source.rate
    if abs(frames - round(frames)) > source.tick_s * source.rate:
        return "the source's first frame comes between two frames of its rate; ffmpeg would move it"
    return "" if round(frames) == 0 else "the source's video begins later than its sound"


def _why_not_streams(call: Call, facts: SourceFacts, carry: CarryPlan) -> str:
    if carry.lost:
        return carry.lost[0]
    by_index = {stream.index: stream for stream in facts.streams}
    if any(stream.converted and stream.kind == "subtitle" for stream in carry.streams):
        return "the container cannot hold the source's subtitles as they are"
    wanted = _wanted(call, facts)
    if wanted is None:
        return "the source has several streams of a kind, and ffmpeg would choose among them"
    kinds = {by_index[index].kind for index in wanted}
    if "audio" in kinds and not call.says_audio:
        return "it does not say how to encode the sound"
    if "subtitle" in kinds and not call.says_subtitles:
        return "it does not say how to encode the subtitles"
    if wanted != [facts.video_index, *(stream.source_index for stream in carry.streams)]:
        return "it asks for some of the source's streams only, or in another order"
    return ""


def _wanted(call: Call, facts: SourceFacts) -> list[int] | None:
    """Numbers of the streams that ffmpeg would write, in its order; None: it would have to choose.

    Without `-map` ffmpeg takes one stream of a kind, and no data or attachments.
    """
    left_out = {"data"} if call.leaves_data else set()
    if call.profile.audio is AudioMode.NONE:
        left_out.add("audio")
    if call.profile.subtitles is SubtitleMode.NONE:
        left_out.add("subtitle")
    streams = [stream for stream in facts.streams if stream.kind not in left_out]
    if call.maps:
        found = [index for wish in call.maps for index in _mapped(wish, facts, streams)]
        return list(dict.fromkeys(found)) if len(set(found)) == len(found) else None
    chosen = [stream for stream in streams if stream.kind in ("video", "audio", "subtitle")]
    kinds = [stream.kind for stream in chosen]
    if len(set(kinds)) != len(kinds):
        return None
    return [stream.index for stream in sorted(chosen, key=_default_order)]


def _default_order(stream: StreamFact) -> int:
    return ("video", "audio", "subtitle").index(stream.kind)


def _mapped(wish: Map, facts: SourceFacts, streams: list[StreamFact]) -> Iterator[int]:
    """The streams that one `-map` names."""
    if not wish.kind:
        for stream in streams:
            if wish.number in (None, stream.index):
                yield stream.index
        return
    kind = _KINDS[wish.kind]
    # Numbers count all streams of the kind, whether they are left out or not.
    for number, stream in enumerate(s for s in facts.streams if s.kind == kind):
        if wish.number in (None, number) and stream in streams:
            yield stream.index
