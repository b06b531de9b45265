"""Every kind of film, through a coordinator and two workers, against one ffmpeg process.

The oracle is what ffmpeg decodes: the hashes and times of all pictures of the output must be those
of the source (lossless), and with a lossy encoder count and times must be. The table is printed
with `-s`, and written to the file that FFCLUSTER_EXACT_TABLE names; then films are cut at their
keyframes too, which `tests.integration.test_split_join` does otherwise.
"""

from __future__ import annotations

import os
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import attrs
from twisted.internet import reactor
from twisted.internet.defer import DeferredList, ensureDeferred
from twisted.trial.unittest import TestCase

from ffcluster.core.model import JobRequest
from ffcluster.core.profile import AudioMode, Profile, RateControl, RateMode
from ffcluster.core.views import JobView
from ffcluster.net.client import CoordinatorClient
from tests.e2e.cluster import Cluster
from tests.inputs import KINDS, ffmpeg_path, make
from tests.integration.pipeline import decode

LOSSLESS = Profile(rate=RateControl(RateMode.LOSSLESS), preset="ultrafast", gop_frames=20)
LOSSY = Profile(rate=RateControl(quality=30), preset="ultrafast", b_frames=2)
# Matroska rounds times to milliseconds, however the output was made.
CONTAINER_ROUNDING = Fraction(1, 1000)
TABLE = os.environ.get("FFCLUSTER_EXACT_TABLE")


@attrs.frozen
class Way:
    """One way to encode a film: where it is cut (() is at its keyframes), how, and into what."""

    name: str
    profile: Profile
    suffix: str
    cuts: tuple[int, ...] = ()


AT_KEYFRAMES = Way("keyframe-cuts", LOSSLESS, "mkv")
ANYWHERE = Way("forced-cuts", LOSSLESS, "mp4", (1, 8, 23, 41, 67))
LOSSY_CUTS = Way("lossy", LOSSY, "mkv", (13, 40))
# Sound that mp4 cannot hold, and sound that no container of ours can.
ONLY_MATROSKA = ("mjpeg_mov", "prores_422_10_mov", "vp8_hidden_webm")
SOUND_ENCODED = ("wmv2_asf",)


def ways_of(kind: str) -> tuple[Way, ...]:
    suffix = "mkv" if kind in ONLY_MATROSKA else ANYWHERE.suffix
    ways = (attrs.evolve(ANYWHERE, suffix=suffix), LOSSY_CUTS)
    if TABLE is not None:
        ways = (AT_KEYFRAMES, *ways)
    if kind not in SOUND_ENCODED:
        return ways
    return tuple(
        attrs.evolve(way, profile=attrs.evolve(way.profile, audio=AudioMode.AAC)) for way in ways
    )


@attrs.frozen
class Row:
    """One line of the table."""

    kind: str
    way: Way
    frames: int
    segments: int
    retries: int
    exact: bool


class ExactTest(TestCase):
    """One cluster for all kinds; each is encoded with arbitrary cuts, lossless and lossy."""

    timeout = 300
    cluster: ClassVar[Cluster]
    directory: ClassVar[tempfile.TemporaryDirectory[str]]
    rows: ClassVar[list[Row]] = []

    @classmethod
    def setUpClass(cls) -> None:
        cls.directory = tempfile.TemporaryDirectory()
        cls.cluster = Cluster(Path(cls.directory.name)).start(
            "--required-clients", "2", "--benchmark-duration", "1", "--retry-delay", "0"
        )
        cls.cluster.add_worker("one")
        cls.cluster.add_worker("two")

    @classmethod
    def tearDownClass(cls) -> None:
        cls.cluster.stop()
        cls.directory.cleanup()
        table = _table(cls.rows)
        print(f"\n{table}")
        if TABLE is not None:
            Path(TABLE).write_text(table)

    async def encode(
        self, client: CoordinatorClient, source: Path, way: Way, cuts: list[int]
    ) -> tuple[JobView, Path]:
        request = JobRequest(
            source.name,
            server_path=str(source),
            profile=way.profile,
            output_name=f"{source.stem}-{way.name}.{way.suffix}",
            cut_frames=tuple(cuts),
        )
        submitted = await client.submit(request)
        await client.watch(submitted.id, lambda view: None)
        job = await client.job(submitted.id)
        assert job.state == "Completed", f"{source.name} {way.name}: {job.error}"
        assert job.outcome is not None
        return job, Path(job.outcome.path)

    async def check(self, kind: str) -> None:
        source = make(kind, Path(self.mktemp_dir()))
        keyframes = keyframe_numbers(source)
        client = await CoordinatorClient.connect(reactor, self.cluster.url, token=None)
        try:
            jobs = [
                ensureDeferred(self.encode(client, source, way, way.cuts or keyframes))
                for way in ways_of(kind)
            ]
            await DeferredList(jobs)
            made = [await job for job in jobs]
        finally:
            await client.close()
        pix_fmt = decoded_format(source)
        expected = decode(ffmpeg_path(), source, pix_fmt)
        for way, (job, output) in zip(ways_of(kind), made, strict=True):
            self.compare(kind, way, job, expected, decode(ffmpeg_path(), output, pix_fmt))

    def compare(self, kind: str, way: Way, job: JobView, expected: list, found: list) -> None:
        assert job.outcome is not None
        times = same_times(expected, found)
        lossless = way.profile.rate.mode is RateMode.LOSSLESS
        pictures = [p.md5 for p in expected] == [p.md5 for p in found]
        exact = times and (pictures or not lossless)
        self.rows.append(Row(kind, way, len(found), job.segments_committed, job.retries, exact))
        where = f"{kind} {way.name}"
        assert len(found) == len(expected), f"{where}: number of frames"
        assert times, f"{where}: times differ"
        if lossless:
            assert pictures, f"{where}: pictures differ"
            assert job.outcome.pictures_equal

    def mktemp_dir(self) -> str:
        path = Path(self.directory.name) / self.id().rpartition(".")[2]
        path.mkdir()
        return str(path)


def keyframe_numbers(source: Path) -> list[int]:
    """Numbers of the presented frames that are keyframes; none where packets have no times."""
    import av

    with av.open(str(source)) as container:
        packets = [p for p in container.demux(video=0) if p.size and not p.is_discard]
    if any(p.pts is None for p in packets):
        return []
    shown = sorted(packets, key=lambda p: p.pts)
    return [number for number, packet in enumerate(shown) if number and packet.is_keyframe]


def decoded_format(source: Path) -> str:
    """The source's own pixel format, so that comparing converts nothing."""
    import av

    with av.open(str(source)) as container:
        return str(container.streams.video[0].codec_context.pix_fmt)


def same_times(expected: list, found: list) -> bool:
    """Whether each picture is as far from the first as in the source."""
    if len(expected) != len(found):
        return False
    return all(
        abs((a.time - expected[0].time) - (b.time - found[0].time)) <= CONTAINER_ROUNDING
        for a, b in zip(expected, found, strict=True)
    )


def _table(rows: list[Row]) -> str:
    lines = [
        "| input | cuts | output | frames | segments | retries | exact |",
        "|---|---|---|---:|---:|---:|---|",
    ]
    lines += [
        f"| {r.kind} | {r.way.name} | {r.way.suffix} | {r.frames} | {r.segments} | {r.retries} "
        f"| {'yes' if r.exact else 'NO'} |"
        for r in rows
    ]
    return "\n".join(lines) + "\n"


def _add(kind: str) -> None:
    def test(self: ExactTest) -> object:
        return ensureDeferred(self.check(kind))

    name = f"test_{kind.replace('-', '_').replace('.', '_')}_is_exact"
    test.__name__ = name
    setattr(ExactTest, name, test)


for _kind in KINDS:
    _add(_kind)
