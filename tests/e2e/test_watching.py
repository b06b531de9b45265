"""A coordinator with a watch folder, as processes: copied, taken, made, proven, put away, once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, run, wait_for
from tests.e2e.test_scenarios import assert_exact
from tests.inputs import ffmpeg, pictures, tone

LOSSLESS = 'codec = "h264"\nencoder = "libx264"\nlossless = true\n'
# Looks come fast here; that a file was left alone is shown by another one that was taken since.
FAST = "every = 0.1\nstable = 0.4\n"


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.mkv"
    ffmpeg(*pictures(250, size="640x360"), *tone(10), "-c:v", "libx264", "-preset", "ultrafast",
           "-g", "25", "-pix_fmt", "yuv420p", "-c:a", "aac", str(path))  # fmt: skip
    return path


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.stop()


def a_folder(cluster: Cluster, text: str) -> Path:
    folder = cluster.directory / "in"
    folder.mkdir()
    (folder / "ffcluster-watch.toml").write_text(text)
    return folder


def start(cluster: Cluster, folder: Path) -> None:
    cluster.start("--required-clients", "1", "--retry-delay", "0.2", "--watch-dir", str(folder))


def claims(folder: Path) -> list[Path]:
    return list((folder / ".ffcluster" / "taken").glob("*/*/.claim.json"))


def test_film_copied_slowly_is_taken_when_it_is_whole_and_a_text_is_set_aside(
    cluster: Cluster, film: Path
) -> None:
    folder = a_folder(cluster, f'{LOSSLESS}preset = "ultrafast"\ncontainer = "mp4"\n{FAST}')
    start(cluster, folder)
    cluster.add_worker("one")
    data = film.read_bytes()
    name = "my film\n(1).mkv"
    copied = folder / name
    with copied.open("wb") as target:
        for number in range(3):
            target.write(data[number * len(data) // 3 : (number + 1) * len(data) // 3])
            target.flush()
            text = folder / f"text{number}.mkv"
            text.write_text(f"{number} is no film\n" * 100)
            wait_for("the text's end", (folder / "failed" / f"{text.name}.reason.txt").exists)
            assert copied.exists()
    wait_for("the film", (folder / "done" / name).exists)
    assert (folder / "done" / name).read_bytes() == data
    output = cluster.outputs / "my film_(1).mp4"
    assert_exact(film, output, pictures_too=True)
    reason = (folder / "failed" / "text0.mkv.reason.txt").read_text()
    assert reason.startswith("'text0.mkv' was not encoded: text0.mkv is a text file, not a video\n")
    assert (folder / "failed" / "text0.mkv").exists()
    listed = run("jobs", "--coordinator", cluster.url)
    assert f"watch folder {folder}" in listed.stdout
    # The same film under another name is known again.
    (folder / "copy.mkv").write_bytes(data)
    wait_for("the copy", (folder / "done" / "copy.mkv.note.txt").exists)
    assert [path.name for path in cluster.outputs.glob("*.mp4")] == [output.name]


def test_coordinator_killed_at_any_time_makes_the_film_once(cluster: Cluster, film: Path) -> None:
    folder = a_folder(cluster, f'{LOSSLESS}preset = "slow"\ngop = 25\n{FAST}')
    start(cluster, folder)
    (folder / "film.mkv").write_bytes(film.read_bytes())

    def kill_and_start() -> None:
        assert cluster.coordinator is not None
        cluster.coordinator.kill()
        cluster.coordinator.wait()
        start(cluster, folder)

    wait_for("the claim", lambda: claims(folder))
    kill_and_start()
    wait_for("the job", lambda: any(b"job_id\": \"" in c.read_bytes() and b"job_id\": \"\"" not in
                                    c.read_bytes() for c in claims(folder)))  # fmt: skip
    kill_and_start()
    cluster.add_worker("one")
    wait_for("a frame", lambda: any(job["frames_done"] for job in cluster.ask("jobs")))
    kill_and_start()
    wait_for("the film", (folder / "done" / "film.mkv").exists)
    wait_for("the end of the claim", lambda: not claims(folder))
    assert [path.name for path in cluster.outputs.iterdir()] == ["film.mkv"]
    assert_exact(film, cluster.outputs / "film.mkv", pictures_too=True)
    assert len(cluster.ask("jobs")) == 1
    kill_and_start()
    assert len(cluster.ask("jobs")) == 1
