"""What a job's media side asks of workers, and what it makes of their results."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed
from twisted.trial.unittest import TestCase

from ffcluster.core.effects import OfferAttempt
from ffcluster.core.media import MediaSummary, VideoFormat
from ffcluster.core.model import (
    EncodeOrder,
    Epoch,
    JobId,
    JobSpec,
    PreRoll,
    ResultReport,
    SegmentProof,
    WorkerId,
)
from ffcluster.core.profile import Container, Profile, RateControl, RateMode
from ffcluster.core.timeline import FrameRange, TimeBase
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.errors import (
    BlobDamaged,
    BlobLost,
    Cancelled,
    HelperDied,
    ProtocolError,
    ResultInvalid,
)
from ffcluster.media.source import Piece
from ffcluster.services.jobs.jobmedia import JobMedia
from ffcluster.store.blobs import FileBlobs

VIDEO = VideoFormat("h264", 64, 64, "yuv420p", TimeBase(1, 25))
OFFER = OfferAttempt(
    Epoch(7), WorkerId("w"), JobId("j"), FrameRange(0, 12), PreRoll.KEYFRAME, "h264_nvenc", "cuda:0"
)
LOSSLESS = Profile(rate=RateControl(RateMode.LOSSLESS))


class Helper:
    def cut(self, *_: object) -> Deferred[Piece]:
        return succeed(Piece(10, "0" * 64, None, Fraction(1, 2), 12))

    def check(self, *_: object) -> Deferred[ResultReport]:
        return fail(ResultInvalid(message="It is no film."))


def job(blobs: FileBlobs | None = None, **spec: Any) -> JobMedia:
    wanted = JobSpec(spec.pop("profile", Profile()), Container.MP4, "out.mp4", "in.mkv", **spec)
    made = JobMedia(
        JobId("j"),
        wanted,
        Path("in.mkv"),
        Path("/jobs/j"),
        output_dir=Path("/out"),
        blobs=blobs or FileBlobs(Path("/state")),
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


def test_an_order_that_was_given_by_an_earlier_process_is_the_same_but_for_its_trims() -> None:
    media = job(profile=LOSSLESS, hardware_decode=True)
    given = order(profile=LOSSLESS, hardware_decode=True)
    assert given.trim_end_s == Fraction(1, 2)
    assert media.order(OFFER, LOSSLESS) == attrs.evolve(given, trim_end_s=None)


# --- results -------------------------------------------------------------------------------------


class Checks(TestCase):
    """A result that does not pass is blamed on who is to blame."""

    def setUp(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="ffcluster-test-"))
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        self.blobs = FileBlobs(folder)
        self.blobs.prepare()
        arrived = self.blobs.incoming("result-7")
        arrived.write_bytes(b"film")
        sha256 = hashlib.sha256(b"film").hexdigest()
        self.ref = self.blobs.adopt(arrived, sha256, 4, owner="result")
        self.media = job(self.blobs)

    async def check(self, frames: int = 12) -> None:
        await self.media.check(self.ref, order(), SegmentProof(frames))

    async def test_result_that_is_as_it_was_delivered_is_the_workers(self) -> None:
        await self.assertFailure(ensureDeferred(self.check()), ResultInvalid)

    async def test_result_that_was_altered_here_is_not(self) -> None:
        self.blobs.path(self.ref).write_bytes(b"flim")
        await self.assertFailure(ensureDeferred(self.check()), BlobDamaged)

    async def test_result_that_was_deleted_here_is_not(self) -> None:
        self.blobs.path(self.ref).unlink()
        await self.assertFailure(ensureDeferred(self.check()), BlobLost)

    async def test_proof_of_another_number_of_frames_is_refused_unseen(self) -> None:
        await self.assertFailure(ensureDeferred(self.check(11)), ProtocolError)


# --- jobs that are closed while something goes on ------------------------------------------------


@pytest.mark.parametrize("ends", [fail(HelperDied(message="It was ended.")), succeed("an index")])
def test_what_goes_on_when_a_job_is_closed_says_nothing_of_it(ends: Deferred[Any]) -> None:
    media, going_on = job(), Deferred[Any]()
    waiting = ensureDeferred(media.within(going_on))
    media._closed = True
    ends.addBoth(going_on.callback)
    errors: list[BaseException] = []
    waiting.addErrback(lambda failure: errors.append(failure.value))
    assert [type(error) for error in errors] == [Cancelled]


def test_error_of_a_job_that_is_open_is_its_own() -> None:
    waiting = ensureDeferred(job().within(fail(HelperDied(message="It crashed."))))
    errors: list[BaseException] = []
    waiting.addErrback(lambda failure: errors.append(failure.value))
    assert [type(error) for error in errors] == [HelperDied]
