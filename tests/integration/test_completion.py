"""Shell completion in real shells, with a real coordinator and without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, wait_for
from tests.inputs import ffmpeg, pictures
from tests.interfaces.shells import SHELLS, Shell

Open = Callable[..., Shell]
RE = ["remove", "remove-worker", "reproduce", "resume", "resume-worker", "retry"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("completion"))
    cluster.start("--required-clients", "2")
    yield cluster
    cluster.stop()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    shells: list[Shell] = []

    def open_one(name: str, env: Mapping[str, str] | None = None) -> Shell:
        shells.append(Shell(name, tmp_path, env))
        return shells[-1]

    yield open_one
    for shell in shells:
        shell.close()


@pytest.mark.parametrize("name", SHELLS)
def test_commands_options_files_and_profiles_need_no_coordinator(
    name: str, opened: Open, tmp_path: Path
) -> None:
    (tmp_path / "mine.toml").write_text(
        '[profile.small]\ncodec = "h264"\n[profile.sharp]\ncodec = "hevc"\n'
    )
    (tmp_path / "a film.mkv").touch()
    shell = opened(name)
    # A second time too: what a shell has loaded by then is not what it began with.
    assert shell.offers("ffcluster re") == shell.offers("ffcluster re") == RE
    assert shell.offers("ffcluster encode --profi") == ["--profile", "--profiles"]
    assert shell.offers("ffcluster completion ") == sorted(SHELLS)
    profiles = "ffcluster encode 'a film.mkv' --coordinator ws://[::1]:1 --profiles=mine.toml"
    assert shell.offers(f"{profiles} --profile s") == ["sharp", "small"]
    assert shell.becomes(f"{profiles} --profile=sm") == f"{profiles} --profile=small"
    assert shell.becomes("ffcluster encode --codec=he") == "ffcluster encode --codec=hevc"
    assert shell.becomes("true; ffcluster dra") == "true; ffcluster drain-worker"
    head = "ffcluster encode --profiles"
    assert shell.becomes(f"{head} mi") == f"{head} mine.toml"
    assert shell.becomes(f"{head}=mi") == f"{head}=mine.toml"
    assert shell.becomes("ffcluster encode 'a").replace("'", "") == "ffcluster encode a film.mkv"
    # Nothing is offered, and above all nothing said.
    assert shell.offers("ffcluster encode nosuch") == []
    away = "ffcluster drain-worker --coordinator"
    assert shell.offers(f"{away} ws://127.0.0.1:1 ") == []
    assert shell.offers(f"{away} nonsense:// a") == []


def test_bash_in_which_an_equals_sign_ends_no_word_completes_the_whole(opened: Open) -> None:
    shell = opened("bash")
    shell.runs("COMP_WORDBREAKS=${COMP_WORDBREAKS//=}")
    assert shell.becomes("ffcluster encode --codec=he") == "ffcluster encode --codec=hevc"


def test_script_can_be_sourced_in_zsh_as_well(opened: Open) -> None:
    shell = opened("zsh")
    shell.runs("unfunction _ffcluster; fpath=(${fpath:1}); source ./completion")
    assert shell.offers("ffcluster re") == shell.offers("ffcluster re") == RE


def test_fish_shows_whole_descriptions(opened: Open) -> None:
    shown = opened("fish").described("ffcluster ret")
    assert shown == {"retry": "Go on with a job that failed, or begin it anew."}


def test_jobs_workers_and_encoders_are_those_of_the_coordinator(
    cluster: Cluster, opened: Open, tmp_path: Path
) -> None:
    film = tmp_path / "one, two: $(three) 'four'.mkv"
    ffmpeg(*pictures(10, size="160x120"), "-c:v", "libx264", "-pix_fmt", "yuv420p", str(film))
    kept, gone = (cluster.submit(film, f"{n}.mkv") for n in range(2))
    cluster.ask("cancel", gone)
    cluster.add_worker("attic")
    for name in SHELLS:
        try:
            shell = opened(name, {"FFCLUSTER_COORDINATOR": cluster.url})
        except pytest.skip.Exception:
            # The tests above say so.
            continue
        see_offers(shell, "ffcluster job ", gone, kept)
        assert set(shell.offers("ffcluster pause ")) <= {kept}
        see_offers(shell, f"ffcluster wait --coordinator {cluster.url} {kept[:5]}", kept)
        if name == "bash":
            see_offers(shell, f"ffcluster retry {gone[:4]}", gone)
            see_offers(shell, "ffcluster drain-worker at", "attic")
            see_offers(shell, "ffcluster encode --encoder libx", "libx264")
        if name == "fish":
            see_name(shell, kept, film.name)


def see_offers(shell: Shell, line: str, *wanted: str) -> None:
    """On a busy machine the coordinator may not answer in time, or a worker not be there yet."""
    wait_for(f"{wanted} for {line}", lambda: set(wanted) <= set(shell.offers(line)))


def see_name(shell: Shell, job_id: str, film: str) -> None:
    """A film may be called anything."""
    wait_for(film, lambda: shell.described("ffcluster job ").get(job_id, "").endswith(f": {film}"))
