"""Unit files, containers and property list: what they start exists, and takes these options."""

from __future__ import annotations

import configparser
import plistlib
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from ffcluster.interfaces.tap import ServerOptions, TableOptions, WorkerOptions
from ffcluster.services.settings.config import WorkerSettings
from ffcluster.services.settings.values import duration_between

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = ("ffcluster-server.service", "ffcluster-worker.service")
PROGRAMS: dict[str, type[TableOptions]] = {"server": ServerOptions, "worker": WorkerOptions}
_seconds = duration_between(0.0, 86_400.0)


class _Unit(configparser.RawConfigParser):
    def optionxform(self, optionstr: str) -> str:
        return optionstr


def unit(name: str) -> configparser.RawConfigParser:
    found = _Unit(delimiters=("=",), comment_prefixes=("#",), strict=True)
    found.read(DEPLOY / "systemd" / name, encoding="utf-8")
    return found


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(
        (DEPLOY / "docker" / "compose.yml").read_text(encoding="utf-8")
    )
    return found


def parsed(program: str, arguments: Sequence[str], folder: Path) -> Any:
    """What the program makes of these options, with files that are there."""
    token = folder / "token"
    token.write_text("a-secret-of-many-letters")
    token.chmod(0o600)
    options = PROGRAMS[program]()
    options.parseOptions([_here(argument, folder) for argument in arguments])
    return options.settings


def _here(argument: str, folder: Path) -> str:
    option, equals, value = argument.rpartition("=")
    if value.endswith("/token"):
        value = str(folder / "token")
    elif value.endswith(".toml"):
        value = str(DEPLOY / "systemd" / Path(value).name)
    elif value.startswith("$"):
        value = str(folder / value.strip("${}"))
    return f"{option}{equals}{value}"


@pytest.mark.parametrize("name", UNITS)
def test_systemd_takes_the_unit(name: str, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    copy = tmp_path / name
    text = (DEPLOY / "systemd" / name).read_text(encoding="utf-8")
    copy.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE))
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False
    )
    # Of other units on this machine it speaks as well.
    assert name not in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", UNITS)
def test_unit_starts_a_program_that_takes_its_options(name: str, tmp_path: Path) -> None:
    service = unit(name)["Service"]
    command, program, *arguments = shlex.split(service["ExecStart"])
    assert Path(command).name == "ffcluster"
    settings = parsed(program, arguments, tmp_path)
    assert settings.token == "a-secret-of-many-letters"
    assert settings.state_dir == tmp_path / "STATE_DIRECTORY"


@pytest.mark.parametrize("name", UNITS)
def test_unit_waits_until_the_program_says_that_it_works_and_ends_it_alone(name: str) -> None:
    service = unit(name)["Service"]
    assert service["Type"] == "notify"
    assert _seconds(service["WatchdogSec"])
    assert service["KillMode"] == "mixed"
    assert service["EnvironmentFile"].startswith("-/etc/ffcluster/")
    assert service["OOMPolicy"] == "continue"


def test_worker_gets_longer_than_it_takes_to_drain(tmp_path: Path) -> None:
    service = unit("ffcluster-worker.service")["Service"]
    settings = parsed("worker", shlex.split(service["ExecStart"])[2:], tmp_path)
    stop_s = service["TimeoutStopSec"].removesuffix("in")
    assert _seconds(stop_s) > settings.drain_timeout_s > WorkerSettings().drain_timeout_s

    worker = compose()["services"]["worker"]
    settings = parsed("worker", worker["command"][1:], tmp_path)
    assert _seconds(worker["stop_grace_period"]) > settings.drain_timeout_s

    mac = plist()
    settings = parsed("worker", mac["ProgramArguments"][2:], tmp_path)
    assert mac["ExitTimeOut"] > settings.drain_timeout_s


@pytest.mark.parametrize("name", ["server.env", "worker.env"])
def test_environment_files_set_what_is_known(name: str) -> None:
    for line in (DEPLOY / "systemd" / name).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            assert re.fullmatch(r"FFCLUSTER_LOG_(FORMAT=json|LEVEL=info)", line)


@pytest.mark.parametrize("service", ["coordinator", "worker"])
def test_containers_start_programs_that_take_their_options(service: str, tmp_path: Path) -> None:
    program, *arguments = compose()["services"][service]["command"]
    settings = parsed(program, arguments, tmp_path)
    assert settings.token == "a-secret-of-many-letters"


def test_every_image_and_file_that_the_containers_need_is_named() -> None:
    services = compose()["services"]
    built = DEPLOY / "docker" / services["coordinator"]["build"]["context"]
    dockerfile = (built / services["coordinator"]["build"]["dockerfile"]).read_text()
    assert built.resolve() == DEPLOY.parent.resolve()
    assert services["worker"]["image"] == services["coordinator"]["image"]
    assert 'ENTRYPOINT ["ffcluster"]' in dockerfile
    # Everything that the build copies is let through to it.
    let_through = (DEPLOY / "docker" / "Dockerfile.dockerignore").read_text()
    for name in ("ffcluster", "twisted", "plugins", "pyproject.toml", "constraints.txt", "LICENSE"):
        assert f"!{name}\n" in let_through
        assert (built / name).exists()


def plist() -> dict[str, Any]:
    found: dict[str, Any] = plistlib.loads(
        (DEPLOY / "launchd" / "org.ffcluster.worker.plist").read_bytes()
    )
    return found


def test_property_list_starts_a_worker_that_takes_its_options(tmp_path: Path) -> None:
    mac = plist()
    command, program, *arguments = mac["ProgramArguments"]
    assert (Path(command).name, program) == ("ffcluster", "worker")
    assert parsed(program, arguments, tmp_path).host == "coordinator.lan"
    assert mac["Label"] == "org.ffcluster.worker"
    assert mac["KeepAlive"] == {"SuccessfulExit": False}
