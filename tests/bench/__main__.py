"""Print the figures that the documents quote: `python -m tests.bench [NAME ...]`.

overhead    `ffcluster encode` against one plain ffmpeg with the same settings, in turn
first-frame seconds from the command to the first encoded frame of a film of an hour
join        seconds from the last segment's arrival to the joined and to the published file
memory      the coordinator's largest resident size for films of different lengths
store       segments that are committed a second, for each database
core        milliseconds that each kind of event takes, for 10 to 1,000 workers
watching    what viewers cost the coordinator and the encoders, and how soon they see a change
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.core import core
from tests.bench.films import long_film, minute_720p
from tests.bench.measure import Bench, paired, peak_memory_kib, table
from tests.bench.store import store
from tests.bench.watching import watching
from tests.e2e.cluster import Cluster, wait_for
from tests.inputs import ffmpeg_path

FFCLUSTER = Path(sys.executable).with_name("ffcluster")
# (name, options of ours, options of ffmpeg): the same settings, said in each one's words.
SETTINGS = (
    ("x264 medium", "--codec h264 --preset medium --quality 23",
     "-c:v libx264 -preset medium -crf 23"),
    ("libvpx-vp9", "--encoder libvpx-vp9 --codec vp9 --quality 33 --preset 4",
     "-c:v libvpx-vp9 -crf 33 -b:v 0 -cpu-used 4"),
    ("libvpx-vp9 -row-mt 1", "--encoder libvpx-vp9 --codec vp9 --quality 33 --preset 4",
     "-c:v libvpx-vp9 -crf 33 -b:v 0 -cpu-used 4 -row-mt 1"),
    ("x265 medium", "--codec hevc --preset medium --quality 28",
     "-c:v libx265 -preset medium -crf 28"),
    ("SVT-AV1 8", "--codec av1 --encoder libsvtav1 --preset 8 --quality 35",
     "-c:v libsvtav1 -preset 8 -crf 35"),
)  # fmt: skip
_JOINED = re.compile(r"joined ([\d.]+) s after its last segment; verified in ([\d.]+) s")


def overhead(directory: Path, pairs: int, only: str | None) -> str:
    film = minute_720p(directory)
    rows = []
    for name, ours, theirs in SETTINGS:
        if only and only != name:
            continue
        common = ["--ffmpeg", ffmpeg_path(), "--overwrite", "--quiet"]
        encode = [FFCLUSTER, "encode", film, directory / "ours.mkv", *ours.split(), *common]
        plain = [ffmpeg_path(), "-nostdin", "-loglevel", "error", "-y", "-i", film,
                 *theirs.split(), directory / "theirs.mkv"]  # fmt: skip
        ratio = paired(encode, plain, pairs)
        sizes = [(directory / name).stat().st_size for name in ("ours.mkv", "theirs.mkv")]
        rows.append((
            name,
            f"{ratio.wall[1]:.2f} ({ratio.wall[0]:.2f}-{ratio.wall[2]:.2f})",
            f"{ratio.cpu[1]:.2f} ({ratio.cpu[0]:.2f}-{ratio.cpu[2]:.2f})",
            f"{sizes[0] / sizes[1]:.3f}",
        ))  # fmt: skip
    return table(
        f"ffcluster encode against one ffmpeg, {pairs} pairs, median (min-max)",
        ("encoder", "wall", "CPU", "size"),
        rows,
    )


def first_frame(directory: Path) -> str:
    rows = []
    films = {suffix: long_film(directory, 60, suffix) for suffix in ("mp4", "mkv")}
    os.sync()  # what is still being written would slow the first one down
    for suffix, film in films.items():
        began = time.monotonic()
        process = subprocess.Popen(
            [FFCLUSTER, "encode", film, directory / "first.mkv", "--json", "--overwrite",
             "--preset", "ultrafast", "--ffmpeg", ffmpeg_path()],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line).get("frames_done"):
                break
        rows.append((suffix, f"{time.monotonic() - began:.2f}"))
        process.terminate()
        process.wait()
    return table("Seconds to the first frames of a one-hour film", ("source", "seconds"), rows)


def _through_cluster(directory: Path, film: Path) -> tuple[str, int]:
    """Encode a film with a real coordinator; give its log and its peak memory in KiB."""
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        cluster = Cluster(Path(scratch))
        try:
            cluster.start("--required-clients", "1", "--benchmark-duration", "2",
                          "--ffmpeg", ffmpeg_path())  # fmt: skip
            cluster.add_worker("one", "--ffmpeg", ffmpeg_path())
            subprocess.run(
                [FFCLUSTER, "submit", film, "out.mkv", "--on-server", "--preset", "ultrafast",
                 "--coordinator", cluster.url, "--quiet"],
                check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            wait_for("the film", lambda: "Completed" in cluster.log("coordinator"), 600)
            assert cluster.coordinator is not None
            return cluster.log("coordinator"), peak_memory_kib(cluster.coordinator.pid)
        finally:
            cluster.stop()


def join(directory: Path) -> str:
    log, _ = _through_cluster(directory, long_film(directory, 60))
    match = _JOINED.search(log)
    assert match is not None, log
    return table(
        "Seconds after the last segment of a one-hour film",
        ("joined", "verified"),
        [match.groups()],
    )


def memory(directory: Path) -> str:
    rows = []
    for minutes in (1, 20, 60):
        _, peak = _through_cluster(directory, long_film(directory, minutes))
        rows.append((minutes, f"{peak / 1024:.0f}"))
    return table("The coordinator's peak memory", ("film, minutes", "MiB"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = ("overhead", "first-frame", "join", "memory", "store", "core", "watching")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--pairs", type=int, default=3, help="runs of each command or load (3)")
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="watching: of each number of viewers (10)"
    )
    parser.add_argument(
        "--only", choices=[name for name, *_ in SETTINGS], help="overhead: only this one"
    )
    options = parser.parse_args()
    benches: dict[str, Bench] = {
        "overhead": lambda directory: overhead(directory, options.pairs, options.only),
        "first-frame": first_frame,
        "join": join,
        "memory": memory,
        "store": lambda directory: store(directory, options.pairs),
        "core": lambda directory: core(),
        "watching": lambda directory: watching(directory, options.pairs, options.seconds),
    }
    with tempfile.TemporaryDirectory() as directory:
        for name in options.names or names:
            print(benches[name](Path(directory)), flush=True)


if __name__ == "__main__":
    main()
