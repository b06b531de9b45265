"""Shell completion in real shells, with a real coordinator and without one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, run, wait_for
from tests.inputs import ffmpeg, pictures

BIN = Path(sys.executable).parent
_BASH = """
source "$1"; shift
COMP_WORDS=(ffcluster "$@"); COMP_CWORD=$#; COMPREPLY=()
_ffcluster_completion ffcluster
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("completion"))
    cluster.start("--required-clients", "2")
    yield cluster
    cluster.stop()


def bash(words: Sequence[str], folder: Path, **env: str) -> list[str]:
    """What bash offers for the last of `words`; nothing may be said on stderr."""
    script = folder / "completion.bash"
    script.write_text(run("completion", "bash").stdout)
    done = subprocess.run(
        ["bash", "-c", _BASH, "bash", str(script), *words], capture_output=True, text=True,
        check=True, cwd=folder, timeout=60,
        env={**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **env},
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.split()


needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")


@needs_bash
def test_bash_completes_commands_and_options_without_a_coordinator(tmp_path: Path) -> None:
    assert bash(["dra"], tmp_path) == ["drain-worker"]
    assert bash(["encode", "--profi"], tmp_path) == ["--profile", "--profiles"]
    assert bash(["completion", "z"], tmp_path) == ["zsh"]
    profiles = tmp_path / "mine.toml"
    profiles.write_text('[profile.small]\ncodec = "h264"\n[profile.sharp]\ncodec = "hevc"\n')
    words = ["encode", "--profiles", str(profiles), "--profile", "s"]
    assert bash(words, tmp_path) == ["sharp", "small"]
    away = {"FFCLUSTER_COORDINATOR": "ws://127.0.0.1:1"}
    assert bash(["job", ""], tmp_path, **away) == []
    assert bash(["drain-worker", ""], tmp_path, FFCLUSTER_COORDINATOR="nonsense://") == []


@needs_bash
def test_bash_completes_what_the_coordinator_knows(cluster: Cluster, tmp_path: Path) -> None:
    film = tmp_path / "film.mkv"
    ffmpeg(*pictures(10, size="160x120"), "-c:v", "libx264", "-pix_fmt", "yuv420p", str(film))
    kept, gone = (cluster.submit(film, f"{n}.mkv") for n in range(2))
    cluster.ask("cancel", gone)
    cluster.add_worker("attic")
    option = ["--coordinator", cluster.url]

    def offers(words: list[str], *wanted: str) -> None:
        # On a busy machine the coordinator may not answer in time, or the worker not be there yet.
        wait_for(f"{wanted} for {words}", lambda: set(wanted) <= set(bash(words, tmp_path, **env)))

    env = {"FFCLUSTER_COORDINATOR": cluster.url}
    offers(["job", ""], gone, kept)
    assert set(bash(["pause", ""], tmp_path, **env)) <= {kept}
    offers(["retry", gone[:4]], gone)
    offers(["drain-worker", "at"], "attic")
    offers(["encode", "--encoder", "libx"], "libx264")
    env = {}
    offers(["wait", *option, kept[:5]], kept)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_understand_their_script(shell: str, tmp_path: Path) -> None:
    script = tmp_path / f"completion.{shell}"
    script.write_text(run("completion", shell).stdout)
    assert "_FFCLUSTER_COMPLETE" in script.read_text()
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    done = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
