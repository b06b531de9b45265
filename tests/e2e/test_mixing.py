"""Jobs that several kinds of encoders work on: every frame is right, mixed or not.

The oracle is what ffmpeg decodes. Lossless outputs must show exactly the source's pictures; in
lossy ones each picture must be closer to its own source frame than to any other.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, run, wait_for
from tests.e2e.plugins import FAKE_HARDWARE, OTHER_SOFTWARE, ffmpeg_that, install
from tests.inputs import ffmpeg, ffmpeg_path, pictures, tone
from tests.integration.pipeline import decode

FRAMES = 96
FAST = ("--required-clients", "2", "--benchmark-duration", "1", "--retry-delay", "0")
CUTS = ("--cut-frames", ",".join(str(n) for n in range(12, FRAMES, 12)))
LOSSLESS = ("--lossless", "--preset", "ultrafast", *CUTS)
SYSTEM = shutil.which("ffmpeg")
two_ffmpegs = pytest.mark.skipif(
    SYSTEM is None or Path(SYSTEM).resolve() == Path(ffmpeg_path()).resolve(),
    reason="only one ffmpeg is here",
)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Moving pictures of which no two are alike, at an uneven rate, with sound."""
    path = tmp_path_factory.mktemp("film") / "film.mkv"
    ffmpeg(*pictures(FRAMES, rate="24000/1001", size="192x128"), *tone(4), "-c:v", "libx264",
           "-preset", "ultrafast", "-g", "12", "-pix_fmt", "yuv420p", "-c:a", "aac",
           str(path))  # fmt: skip
    return path


def start(directory: Path, env: dict[str, str] | None = None) -> Cluster:
    return Cluster(directory, env=env or {}).start(*FAST)


def add(cluster: Cluster, name: str, *options: str, env: dict[str, str] | None = None) -> None:
    # Detection is remembered without what the variables of these tests change about the machine.
    state = str(cluster.directory / ("machine" if env is None else f"machine-{name}"))
    cluster.add_worker(name, "--slots", "1", "--state-dir", state, *options, env=env)


def add_other(cluster: Cluster, name: str, *options: str) -> None:
    """A worker whose software encoders have other settings, through a plugin of its own."""
    plugins = cluster.directory / f"plugins-{name}"
    plugins.mkdir()
    env = install(plugins, "other", OTHER_SOFTWARE)
    add(cluster, name, "--disable-plugin", "software", *options, env=env)


@pytest.fixture(scope="module")
def same_x265s(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One worker with each ffmpeg."""
    cluster = start(tmp_path_factory.mktemp("x265"))
    add(cluster, "new", "--ffmpeg", ffmpeg_path(), "--encoder", "libx265")
    add(cluster, "old", "--ffmpeg", str(SYSTEM), "--encoder", "libx265")
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def x265s(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One worker with each ffmpeg, whose libx265 have different settings too."""
    cluster = start(tmp_path_factory.mktemp("x265"))
    add(cluster, "new", "--ffmpeg", ffmpeg_path(), "--encoder", "libx265")
    add_other(cluster, "old", "--ffmpeg", str(SYSTEM), "--encoder", "libx265")
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def av1s(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One worker with SVT-AV1, one with libaom."""
    cluster = start(tmp_path_factory.mktemp("av1"))
    add(cluster, "svt", "--encoder", "libsvtav1")
    add(cluster, "aom", "--encoder", "libaom-av1")
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def x264s(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two workers whose libx264 has other settings, through a plugin of the second one."""
    cluster = start(tmp_path_factory.mktemp("x264"))
    add(cluster, "plain", "--encoder", "libx264")
    add_other(cluster, "other", "--encoder", "libx264")
    yield cluster
    cluster.stop()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    yield made
    made.stop()


def finished(cluster: Cluster, job_id: str) -> dict[str, Any]:
    wait_for("the end", lambda: cluster.job(job_id)["state"] in ("Completed", "Failed"), 120)
    return cluster.job(job_id)


def make(cluster: Cluster, film: Path, name: str, *options: str) -> dict[str, Any]:
    job = finished(cluster, cluster.submit(film, name, *options))
    assert job["state"] == "Completed", job["error"]
    return job


def assert_lossless(film: Path, job: dict[str, Any]) -> None:
    """Every decoded picture is the source's, at the source's time, whichever ffmpeg decodes."""
    output = Path(job["outcome"]["path"])
    expected = decode(ffmpeg_path(), film, "yuv420p")
    for decoder in filter(None, {ffmpeg_path(), SYSTEM}):
        found = decode(decoder, output, "yuv420p")
        assert [p.md5 for p in found] == [p.md5 for p in expected], decoder
        assert_same_times(expected, found, output)


def assert_same_times(expected: list[Any], found: list[Any], output: Path) -> None:
    rounding = 0.001 if output.suffix in (".mkv", ".webm") else 0.0
    assert len(found) == len(expected)
    for one, other in zip(expected, found, strict=True):
        off = (one.time - expected[0].time) - (other.time - found[0].time)
        # The source is Matroska, whose times are milliseconds.
        assert abs(off) <= max(rounding, 0.0005)


def made_by(job: dict[str, Any]) -> set[tuple[str, str]]:
    return {(row["encoder"], row["parameter_sets"]) for row in job["outcome"]["made_by"]}


def workers_of(job: dict[str, Any]) -> set[str]:
    return {segment["worker"] for segment in job["segments"]}


def kinds_by_worker(job: dict[str, Any]) -> dict[str, set[str]]:
    kinds: dict[str, set[str]] = {}
    for segment in job["segments"]:
        kinds.setdefault(segment["worker"], set()).add(segment["kind"])
    return kinds


def assert_mixed(job: dict[str, Any], workers: set[str]) -> None:
    """Both workers took part, and each wrote one kind of its own."""
    kinds = kinds_by_worker(job)
    assert kinds.keys() == workers
    assert all(len(own) == 1 for own in kinds.values())
    assert len(set.union(*kinds.values())) == len(workers)
    assert job["outcome"]["in_band_parameter_sets"]
    assert sum(row["frames"] for row in job["outcome"]["made_by"]) == FRAMES


# --- x265 of two ffmpegs -------------------------------------------------------------------------


@two_ffmpegs
@pytest.mark.parametrize(("suffix", "mix"), [("mkv", "--mix"), ("mp4", "--no-mix")])
def test_x265_of_two_ffmpegs_that_writes_the_same_headers_is_one_kind(
    same_x265s: Cluster, film: Path, suffix: str, mix: str
) -> None:
    """x265 3.5 in ffmpeg 5.1 and x265 4 in ffmpeg 9.0 write equal parameter sets."""
    job = make(same_x265s, film, f"same.{suffix}", "--codec", "hevc", mix, *LOSSLESS)
    assert workers_of(job) == {"new", "old"}
    assert len(made_by(job)) == 1
    assert not job["outcome"]["in_band_parameter_sets"]
    assert_lossless(film, job)


@two_ffmpegs
@pytest.mark.parametrize("suffix", ["mkv", "mp4", "mov"])
def test_x265_of_two_ffmpegs_with_other_headers_in_one_file(
    x265s: Cluster, film: Path, suffix: str
) -> None:
    job = make(x265s, film, f"mixed.{suffix}", "--codec", "hevc", "--mix", *LOSSLESS)
    assert_mixed(job, {"new", "old"})
    assert job["retries"] == 0
    assert_lossless(film, job)


@two_ffmpegs
@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_without_mix_one_kind_of_x265_makes_it_all(x265s: Cluster, film: Path, suffix: str) -> None:
    job = make(x265s, film, f"one.{suffix}", "--codec", "hevc", *LOSSLESS)
    assert len(made_by(job)) == 1
    assert len(workers_of(job)) == 1
    assert not job["outcome"]["in_band_parameter_sets"]
    assert_lossless(film, job)


# --- x264 with different settings ----------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "mov"])
def test_x264_with_two_settings_in_one_file(x264s: Cluster, film: Path, suffix: str) -> None:
    job = make(x264s, film, f"mixed.{suffix}", "--mix", *LOSSLESS)
    assert_mixed(job, {"plain", "other"})
    assert_lossless(film, job)


def test_without_mix_one_kind_of_x264_makes_it_all(x264s: Cluster, film: Path) -> None:
    job = make(x264s, film, "one.mp4", *LOSSLESS)
    assert len(made_by(job)) == 1
    assert_lossless(film, job)


def test_lossy_x264_with_two_settings_shows_each_frame_in_its_place(
    x264s: Cluster, film: Path
) -> None:
    quality = ("--quality", "20", "--preset", "veryfast", "--b-frames", "3", *CUTS)
    job = make(x264s, film, "lossy.mp4", "--mix", *quality)
    assert_mixed(job, {"plain", "other"})
    assert_each_in_its_place(film, job)


# --- two AV1 encoders ----------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_svt_av1_and_libaom_in_one_file(av1s: Cluster, film: Path, suffix: str) -> None:
    fast = ("--codec", "av1", "--quality", "25", "--preset", "12", *CUTS)
    job = make(av1s, film, f"mixed.{suffix}", "--mix", *fast)
    assert {row["encoder"] for row in job["outcome"]["made_by"]} == {"libsvtav1", "libaom-av1"}
    assert workers_of(job) == {"svt", "aom"}
    assert_each_in_its_place(film, job)


def assert_each_in_its_place(film: Path, job: dict[str, Any]) -> None:
    """Each decoded picture is nearer to its own source frame than to every other one."""
    output = Path(job["outcome"]["path"])
    expected, found = thumbnails(film), thumbnails(output)
    assert len(found) == len(expected) == FRAMES
    for number, picture in enumerate(found):
        distances = [
            sum(abs(a - b) for a, b in zip(picture, other, strict=True)) for other in expected
        ]
        assert min(range(FRAMES), key=distances.__getitem__) == number
        assert distances[number] / len(picture) < 8
    assert_same_times(
        decode(ffmpeg_path(), film, "yuv420p"), decode(ffmpeg_path(), output, "yuv420p"), output
    )


def thumbnails(path: Path) -> list[bytes]:
    width, height = 48, 32
    done = subprocess.run(
        [ffmpeg_path(), "-v", "error", "-xerror", "-i", str(path), "-map", "0:v:0", "-vf",
         f"scale={width}:{height}:flags=area,format=gray", "-fps_mode", "passthrough",
         "-f", "rawvideo", "-"],
        check=True, capture_output=True,
    )  # fmt: skip
    assert not done.stderr, done.stderr
    size = width * height
    return [done.stdout[i : i + size] for i in range(0, len(done.stdout), size)]


def test_a_codec_that_cannot_be_mixed_is_refused_with_the_reason(
    x264s: Cluster, film: Path
) -> None:
    job = finished(x264s, x264s.submit(film, "no.mkv", "--codec", "ffv1", "--mix"))
    assert job["state"] == "Failed"
    assert job["error"]["code"] == "incompatible_segments"
    assert "header" in job["error"]["message"]


# --- workers that do not do what their trial showed ----------------------------------------------

# The first encode of an attempt is the trial; all later ones are made with other settings.
_LIES = """
if any(word.endswith(".result.mkv") for word in argv) and "-c:v" in argv:
    marker = os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), "tried")
    if os.path.exists(marker):
        at = argv.index("-c:v") + 2
        argv[at:at] = ["-refs", "3"]
    open(marker, "w").close()
"""


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_results_unlike_the_trial_are_never_joined_under_the_wrong_header(
    cluster: Cluster, film: Path, suffix: str
) -> None:
    cluster.start(*FAST)
    add(cluster, "honest", "--encoder", "libx264")
    liar = ffmpeg_that(cluster.directory, ffmpeg_path(), _LIES)
    add(cluster, "liar", "--encoder", "libx264", "--ffmpeg", str(liar))
    job = make(cluster, film, f"film.{suffix}", *LOSSLESS)
    assert workers_of(job) == {"honest", "liar"}
    assert len(made_by(job)) == 2
    assert job["outcome"]["in_band_parameter_sets"]
    assert any("different parameter sets" in note for note in job["outcome"]["notes"])
    assert_lossless(film, job)


# --- hardware that breaks ------------------------------------------------------------------------


@pytest.fixture
def broken(cluster: Cluster) -> Path:
    """The file that says after how many encodes hardware breaks; its cluster is started."""
    plugins = cluster.directory / "plugins"
    plugins.mkdir()
    marker = cluster.directory / "broken"
    cluster.env = install(plugins, "fake", FAKE_HARDWARE) | {"FAKE_BROKEN": str(marker)}
    cluster.start(*FAST)
    add(cluster, "gpu", "--encoder", "h264_fake", env={"FAKE_DEVICE": "fake:0"})
    add(cluster, "cpu", "--encoder", "libx264")
    return marker


PINNED = ("--encoder", "h264_fake", *LOSSLESS)


def test_pinned_hardware_makes_it_alone(cluster: Cluster, film: Path, broken: Path) -> None:
    job = make(cluster, film, "film.mp4", *PINNED)
    assert {row["encoder"] for row in job["segments"]} == {"h264_fake"}
    assert {row["device"] for row in job["segments"]} == {"fake:0"}
    assert_lossless(film, job)


def test_software_finishes_what_broken_hardware_began(
    cluster: Cluster, film: Path, broken: Path
) -> None:
    broken.write_text("2")
    job = finished(cluster, cluster.submit(film, "film.mp4", "--fallback", "allow", *PINNED))
    assert job["state"] == "Completed", job["error"]
    segments = {(row["encoder"], row["device"], row["fallback"]) for row in job["segments"]}
    assert segments == {("h264_fake", "fake:0", False), ("libx264", "", True)}
    assert any("software stood in for hardware" in note for note in job["outcome"]["notes"])
    assert job["outcome"]["in_band_parameter_sets"]
    assert_lossless(film, job)


def test_broken_hardware_fails_a_strict_job_and_says_what_to_do(
    cluster: Cluster, film: Path, broken: Path
) -> None:
    broken.write_text("0")
    job = finished(cluster, cluster.submit(film, "film.mp4", *PINNED))
    assert job["state"] == "Failed"
    assert "the fake device fell off the bus" in job["error"]["message"]
    assert "plug it in again" in job["error"]["advice"]


def test_decoding_on_a_device_that_fails_is_done_by_the_cpu_in_the_same_attempt(
    cluster: Cluster, film: Path, broken: Path
) -> None:
    lossy = ("--encoder", "h264_fake", "--quality", "20", "--hardware-decode", *CUTS)
    job = make(cluster, film, "film.mp4", *lossy)
    assert job["retries"] == 0
    assert "decoding on fake:0 failed, so the CPU decoded" in job["outcome"]["notes"]
    assert_each_in_its_place(film, job)


def test_operators_see_why_a_worker_has_no_hardware(
    cluster: Cluster, film: Path, broken: Path
) -> None:
    wait_for("both workers", lambda: len(cluster.described_workers()) == 2)
    (gpu,) = [row for row in cluster.described_workers() if row["name"] == "gpu"]
    assert gpu["capabilities"][0]["device_name"] == "Fake 4000"
    assert "fake" in {plugin["name"] for plugin in gpu["plugins"]}
    shown = run("workers", "cpu", "--coordinator", cluster.url).stdout
    assert "there is no fake device" in shown
    assert "plug one in" in shown
