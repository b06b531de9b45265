"""What a job's media side asks of workers, and how its join begins."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred, succeed

from ffcluster.core.effects import OfferAttempt
from ffcluster.core.media import MediaSummary, VideoFormat
from ffcluster.core.model import (
    EncodeOrder,
    Epoch,
    JobId,
    JobSpec,
    PreRoll,
    ResultReport,
    WorkerId,
)
from ffcluster.core.profile import Container, Profile, RateControl, RateMode
from ffcluster.core.timeline import FrameRange, TimeBase
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.media.join import NeedsRestart
from ffcluster.media.source import Piece
from ffcluster.services.jobmedia import JobMedia

VIDEO = VideoFormat("h264", 64, 64, "yuv420p", TimeBase(1, 25))
OFFER = OfferAttempt(
    Epoch(7), WorkerId("w"), JobId("j"), FrameRange(0, 12), PreRoll.KEYFRAME, "h264_nvenc", "cuda:0"
)
LOSSLESS = Profile(rate=RateControl(RateMode.LOSSLESS))


class Helper:
    def cut(self, *_: object) -> Deferred[Piece]:
        return succeed(Piece(10, "0" * 64, None, Fraction(1, 2), 12))


def job(**spec: Any) -> JobMedia:
    wanted = JobSpec(spec.pop("profile", Profile()), Container.MP4, "out.mp4", "in.mkv", **spec)
    made = JobMedia(
        JobId("j"),
        wanted,
        Path("in.mkv"),
        Path("/jobs/j"),
        output_dir=Path("/out"),
        runner=None,  # type: ignore[arg-type]
        build=FfmpegBuild("/usr/bin/ffmpeg", "9.0.2", 9),
        stall_timeout_s=60.0,
    )
    made.summary = MediaSummary(VIDEO, 100, 0, 100, [0])  # type: ignore[arg-type]
    made._helper = Helper()  # type: ignore[assignment]
    return made


def order(offer: OfferAttempt = OFFER, **spec: Any) -> EncodeOrder:
    media = job(**spec)
    found: list[Any] = []
    Deferred.fromCoroutine(media.cut(offer, media.spec.profile)).addBoth(found.append)
    made: EncodeOrder = found[0].order
    return made


# --- orders --------------------------------------------------------------------------------------


def test_an_order_names_encoder_and_device() -> None:
    made = order()
    assert (made.encoder, made.device, made.decoded_check) == ("h264_nvenc", "cuda:0", True)


def test_of_a_trial_nothing_is_proven() -> None:
    made = order(attrs.evolve(OFFER, trial=True), profile=LOSSLESS)
    assert (made.decoded_check, made.picture_check) == (False, False)
    assert made.counts_frames


@pytest.mark.parametrize("trial", [False, True])
def test_a_device_decodes_where_that_is_wanted_and_no_pictures_are_compared(trial: bool) -> None:
    offer = attrs.evolve(OFFER, trial=trial)
    assert not order(offer).hardware_decode
    assert order(offer, hardware_decode=True).hardware_decode
    assert not order(offer, hardware_decode=True, profile=LOSSLESS).hardware_decode
    assert order(offer, hardware_decode=True, profile=LOSSLESS, exactly=False).hardware_decode


# --- the join ------------------------------------------------------------------------------------


@attrs.define
class FakeJoiner:
    in_band: bool
    appended: list[str] = attrs.field(factory=list)

    def start(self) -> None:
        """Nothing starts."""

    def append(self, result: Path, frames: FrameRange, report: ResultReport) -> Deferred[None]:
        if report.parameter_sets == "other" and not self.in_band:
            raise NeedsRestart(message="other parameter sets", in_band=True)
        self.appended.append(report.parameter_sets)
        return succeed(None)

    def abort(self) -> Deferred[None]:
        return succeed(None)


def joined(*segments: tuple[str, bool]) -> list[FakeJoiner]:
    """Append segments with these parameter sets, each with or without a mixture in sight."""
    media = job()
    made: list[FakeJoiner] = []

    def make(in_band: bool, _reorder_frames: int) -> FakeJoiner:
        made.append(FakeJoiner(in_band))
        return made[-1]

    media._join._make_joiner = make  # type: ignore[assignment]
    for number, (sets, mixes) in enumerate(segments):
        report = ResultReport(10, 1, "h264", 64, 64, "yuv420p", sets, 0)
        frames = FrameRange(number * 10, number * 10 + 10)
        Deferred.fromCoroutine(media.append(Epoch(number), frames, report, mixes=mixes))
    return made


def test_a_mixture_that_is_known_from_the_start_is_joined_in_band_at_once() -> None:
    (joiner,) = joined(("one", True), ("other", True))
    assert joiner.in_band
    assert joiner.appended == ["one", "other"]


def test_a_mixture_that_comes_as_a_surprise_starts_the_join_anew() -> None:
    first, second = joined(("one", False), ("other", False))
    assert (first.in_band, second.in_band) == (False, True)
    assert second.appended == ["one", "other"]


def test_a_mixture_that_is_only_possible_later_changes_nothing_by_itself() -> None:
    (joiner,) = joined(("one", False), ("one", True))
    assert not joiner.in_band
