"""R11: a segment that no worker can encode."""

from __future__ import annotations

import time

from ffcluster.core.views import JobView
from tests.chaos.film import ODD_SEGMENT, RATE, SOURCE_GOP, Wrong, segment_frames
from tests.chaos.layout import Layout
from tests.chaos.run import Run, Scenario

_FRAMES = segment_frames(ODD_SEGMENT)
_LAYOUT = Layout(workers=3, server=("--poison-after", "3", "--max-retries", "10"))
# A piece begins at a keyframe; commands name the segment's begin and end within it, half a frame
# early. No other segment has this end.
_LEAD = _FRAMES.start % SOURCE_GOP
_COMMAND = f"end={(_LEAD + len(_FRAMES) + 0.5) / RATE:.6f}"
_SAID = "poisoned"


async def _poisoned(run: Run) -> None:
    run.fault_at = time.time()
    for name in run.rig.workers:
        (run.rig.control(name) / "poison").write_text(_COMMAND)
    view = await run.committed(99)
    if not view.ended:
        raise Wrong("the job goes on for ever")


def _names_the_segment(run: Run, view: JobView) -> None:
    error = view.error
    if error is None:
        raise Wrong("the job failed without an error")
    text = f"{error.message} {error.advice} {error.detail}"
    if str(_FRAMES.start) not in error.message:
        raise Wrong(f"the error does not name the segment: {error.message}")
    if _SAID not in text:
        raise Wrong(f"the error does not tell what ffmpeg said: {text}")
    run.facts["error"] = error.message


def _names_what_is_missing(run: Run, view: JobView) -> None:
    assert view.outcome is not None
    told = [(frames.first, frames.stop) for frames in view.outcome.missing]
    if told != [(_FRAMES.start, _FRAMES.stop)]:
        raise Wrong(f"missing is told to be {told}")


SCENARIOS = [
    Scenario("R11", "fails the job", _poisoned, _LAYOUT, ends="Failed", judge=_names_the_segment),
    Scenario("R11", "is left out", _poisoned, _LAYOUT, request={"allow_missing": True},
             missing=_FRAMES, judge=_names_what_is_missing),
]  # fmt: skip
