"""A coordinator, a worker with NVENC and a worker with x264, as real processes.

NVENC is the stub that encodes; everything else is as users run it. The jobs are lossless, so that
what is decoded from the output must be the source, picture by picture, whoever made it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar
from unittest import skipIf

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from ffcluster.core.model import Fallback, JobRequest
from ffcluster.core.profile import Codec, Profile, RateControl, RateMode
from ffcluster.core.views import JobView
from ffcluster.net.client import CoordinatorClient
from tests.e2e.cluster import Cluster
from tests.gpu.cases import BUILDS
from tests.gpu.drivers import Gpu, dump_of, nvidia, why_not
from tests.inputs import ffmpeg, ffmpeg_path, pictures, tone
from tests.integration.pipeline import decode

FRAMES = 240
LOSSLESS = Profile(rate=RateControl(RateMode.LOSSLESS), gop_frames=20)
PINNED = attrs.evolve(LOSSLESS, encoder="h264_nvenc")
CUTS = tuple(range(20, FRAMES, 20))


@skipIf(bool(why_not()), why_not())
class NvencClusterTest(TestCase):
    """Jobs on a cluster in which one worker has a GPU."""

    timeout = 180
    directory: ClassVar[tempfile.TemporaryDirectory[str]]
    film: ClassVar[Path]

    @classmethod
    def setUpClass(cls) -> None:
        cls.directory = tempfile.TemporaryDirectory(prefix="ffcluster-gpu-")
        cls.film = Path(cls.directory.name) / "film.mkv"
        ffmpeg(*pictures(FRAMES, size="320x240"), *tone(FRAMES / 25), "-c:v", "libx264",
               "-preset", "ultrafast", "-g", "20", "-pix_fmt", "yuv420p", "-c:a", "aac",
               str(cls.film))  # fmt: skip

    @classmethod
    def tearDownClass(cls) -> None:
        cls.directory.cleanup()

    def setUp(self) -> None:
        self.place = Path(tempfile.mkdtemp(dir=self.directory.name))
        self.cluster = Cluster(self.place)
        self.addCleanup(self.cluster.stop)

    def start(self, required: int) -> None:
        self.cluster.start(
            "--required-clients", str(required), "--benchmark-duration", "1", "--retry-delay", "0"
        )

    def add(self, name: str, plugin: str, ffmpeg: object, *options: str) -> None:
        self.cluster.add_worker(
            name, "--ffmpeg", str(ffmpeg), "--allow-plugin", plugin,
            "--state-dir", str(self.place / f"state-{name}"), *options,
        )  # fmt: skip

    def add_nvenc(self, gpu: Gpu, release: str, *options: str) -> Path:
        """A worker that has nothing but NVENC; answers where its driver reports."""
        dump = self.place / "driver"
        gpu = attrs.evolve(gpu, faults={**gpu.faults, "FAKE_DUMP": str(dump)})
        script = gpu.ffmpeg(BUILDS[release].path, self.place / "gpu")
        self.add("gpu", "nvenc", script, *options)
        return dump

    def add_x264(self) -> None:
        """A worker that has nothing but software."""
        self.add("cpu", "software", ffmpeg_path(), "--encoder", "libx264", "--slots", "1")

    async def encode(
        self,
        name: str,
        profile: Profile,
        seen: Callable[[JobView], None] = lambda view: None,
        **wishes: object,
    ) -> JobView:
        """Encode the film and wait for it; the job must complete. `seen` gets every view."""
        request = JobRequest(
            self.film.name, server_path=str(self.film), profile=profile, output_name=name,
            cut_frames=CUTS, **wishes,  # type: ignore[arg-type]
        )  # fmt: skip
        client = await CoordinatorClient.connect(reactor, self.cluster.url, token=None)
        try:
            submitted = await client.submit(request)
            await client.watch(submitted.id, seen)
            job = await client.job(submitted.id)
        finally:
            await client.close()
        logs = "\n".join(self.cluster.log(n) for n in ("coordinator", *self.cluster.workers))
        assert job.state == "Completed", f"{job.error}\n{logs}"
        return job

    async def assert_exact(self, job: JobView) -> None:
        assert job.outcome is not None
        output = Path(job.outcome.path)
        expected, found = await deferToThread(
            lambda: [decode(ffmpeg_path(), path, "yuv420p") for path in (self.film, output)]
        )
        assert len(found) == len(expected) == FRAMES
        assert [p.md5 for p in found] == [p.md5 for p in expected]
        assert [round((p.time - found[0].time) * 25) for p in found] == list(range(FRAMES))

    @staticmethod
    def made_by(job: JobView) -> dict[str, int]:
        """Frames that each encoder made."""
        assert job.outcome is not None
        frames: dict[str, int] = {}
        for part in job.outcome.made_by:
            frames[part.encoder] = frames.get(part.encoder, 0) + part.frames
        return frames

    async def pinned(self, release: str) -> None:
        self.start(2)
        self.add_nvenc(nvidia(), release)
        self.add_x264()
        job = await self.encode("pinned.mp4", PINNED)
        assert self.made_by(job) == {"h264_nvenc": FRAMES}
        assert job.retries == 0
        await self.assert_exact(job)

    def test_codec_alone_uses_one_class_and_is_exact(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.one_class())

    async def one_class(self) -> None:
        self.start(2)
        self.add_nvenc(nvidia(), newest())
        self.add_x264()
        job = await self.encode("one.mp4", LOSSLESS)
        assert list(self.made_by(job).values()) == [FRAMES]
        await self.assert_exact(job)

    async def mixed(self, suffix: str) -> None:
        self.start(2)
        # Slow, so that neither makes it all before the other has begun.
        self.add_nvenc(nvidia(FRAME_MS=20), newest(), "--device-slots", "1")
        self.add_x264()
        job = await self.encode(f"mixed.{suffix}", LOSSLESS, mix=True)
        made = self.made_by(job)
        assert set(made) == {"h264_nvenc", "libx264"}, made
        assert sum(made.values()) == FRAMES
        assert not any(part.fallback for part in job.outcome.made_by)  # type: ignore[union-attr]
        await self.assert_exact(job)

    def test_hevc_in_10_bit_is_exact(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.ten_bit())

    async def ten_bit(self) -> None:
        self.start(1)
        dump = self.add_nvenc(nvidia(), newest())
        profile = attrs.evolve(
            LOSSLESS, codec=Codec.HEVC, encoder="hevc_nvenc", pix_fmt="yuv420p10le"
        )
        job = await self.encode("deep.mkv", profile, exactly=True)
        assert self.made_by(job) == {"hevc_nvenc": FRAMES}
        formats = {v["format"] for kind, v in dump_of(dump)[-FRAMES:] if kind == "nvenc picture"}
        assert formats == {"0x10000"}
        await self.assert_exact(job)

    def test_both_gpus_of_a_worker_work(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.two_gpus())

    async def two_gpus(self) -> None:
        self.start(1)
        dump = self.add_nvenc(
            nvidia(GPUS=3, WITHOUT="1", FRAME_MS=10), newest(), "--device-slots", "1"
        )
        job = await self.encode("two.mp4", PINNED)
        await self.assert_exact(job)
        segments = [
            v["gpu"] for kind, v in dump_of(dump) if kind == "nvenc close" and v["pictures"] == "20"
        ]
        assert set(segments) == {"0", "2"}

    @skipIf(len(BUILDS) < 2, "there is only one ffmpeg here")
    def test_old_driver_is_used_by_the_older_of_two_ffmpegs(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.two_builds())

    async def two_builds(self) -> None:
        self.start(1)
        dump = self.place / "driver"
        gpu = nvidia(API="11.1", FAKE_DUMP=dump)
        scripts = [gpu.ffmpeg(BUILDS[r].path, self.place / r) for r in sorted(BUILDS, reverse=True)]
        self.add("gpu", "nvenc", scripts[0], "--ffmpeg", str(scripts[1]))
        job = await self.encode("old.mp4", PINNED)
        assert self.made_by(job) == {"h264_nvenc": FRAMES}
        assert {v["api"] for kind, v in dump_of(dump) if kind == "nvenc init"} == {"11"}
        await self.assert_exact(job)

    def test_session_limit_is_back_pressure(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.session_limit())

    async def session_limit(self) -> None:
        locks = self.place / "locks"
        locks.mkdir()
        self.start(1)
        gpu = nvidia(SESSIONS=1, SESSION_DIR=locks, FRAME_MS=10)
        dump = self.add_nvenc(gpu, newest(), "--device-slots", "3")
        job = await self.encode("limited.mp4", PINNED)
        await self.assert_exact(job)
        refused = [kind for kind, _ in dump_of(dump) if kind == "nvenc refused"]
        assert refused, "the limit was never met"
        assert [share.failures for share in job.shares] == [0]

    def test_software_stands_in_for_a_gpu_that_dies(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.fallback())

    async def fallback(self) -> None:
        self.start(2)
        self.add_nvenc(nvidia(FRAME_MS=40), newest(), "--device-slots", "1")
        self.add_x264()

        def kill_in_the_middle(view: JobView) -> None:
            if view.segments_committed >= 2:
                self.cluster.workers["gpu"].kill()

        job = await self.encode(
            "rescued.mkv", PINNED, seen=kill_in_the_middle, fallback=Fallback.ALLOW
        )
        assert job.outcome is not None
        by = {(part.encoder, part.fallback) for part in job.outcome.made_by}
        assert by == {("h264_nvenc", False), ("libx264", True)}
        await self.assert_exact(job)


def newest() -> str:
    """The release of the newest ffmpeg at hand."""
    return max(BUILDS)


def _add(name: str, method: str, argument: str) -> None:
    def test(self: NvencClusterTest) -> Deferred[None]:
        return Deferred.fromCoroutine(getattr(self, method)(argument))

    test.__name__ = name
    setattr(NvencClusterTest, name, test)


for _release in BUILDS:
    _add(f"test_pinned_encoder_makes_it_all_with_ffmpeg_{_release}", "pinned", _release)
for _suffix in ("mkv", "mp4"):
    _add(f"test_mixed_encoders_share_one_{_suffix}", "mixed", _suffix)
