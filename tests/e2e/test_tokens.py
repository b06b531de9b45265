"""Tokens as people use them: one for each worker, client and viewer, through crash and revocation.

Coordinator, worker and every command are processes of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.e2e.cluster import Cluster, run, wait_for
from tests.inputs import ffmpeg, pictures

FAST = ("--required-clients", "1", "--benchmark-duration", "1", "--retry-delay", "0.2")


@attrs.define
class Town:
    """A cluster whose coordinator asks for tokens, and a file with each token."""

    cluster: Cluster
    film: Path

    @property
    def directory(self) -> Path:
        return self.cluster.directory

    def file(self, name: str) -> Path:
        return self.directory / f"{name}.token"

    def start(self) -> None:
        self.cluster.start("--token-file", str(self.file("own")), *FAST)

    def crash(self) -> None:
        assert self.cluster.coordinator is not None
        self.cluster.coordinator.kill()
        self.cluster.coordinator.wait()

    def run(self, name: str, *words: object) -> subprocess.CompletedProcess[str]:
        """Run a command with the token of `name`."""
        where = ("--coordinator", self.cluster.url, "--token-file", self.file(name))
        return run(*words, *where, "--json")

    def told(self, name: str, *words: object) -> dict[str, Any]:
        """The last object of a command that must go well."""
        done = self.run(name, *words)
        assert done.returncode == 0, done.stdout + done.stderr
        last: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return last

    def refused(self, name: str, *words: object) -> dict[str, Any]:
        """The error of a command that must be refused."""
        done = self.run(name, *words)
        assert done.returncode == 5, done.stdout + done.stderr
        error: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        assert error["message"] in done.stderr
        return error

    def add(self, scope: str) -> str:
        """Make a token of this scope in a file by its name; answers its id."""
        made = self.told("own", "tokens", "add", f"the {scope}", "--scope", scope,
                         "--output", self.file(scope))  # fmt: skip
        return str(made["token"]["id"])


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    film = tmp_path / "film.mkv"
    ffmpeg(*pictures(100, size="128x72"), "-c:v", "libx264", "-preset", "ultrafast", "-g", "25",
           str(film))  # fmt: skip
    cluster = Cluster(tmp_path)
    town = Town(cluster, film)
    done = run("token", "--output", town.file("own"))
    assert done.returncode == 0, done.stderr
    town.start()
    yield town
    cluster.stop()


def test_everybody_gets_what_the_token_opens_until_it_is_revoked(town: Town) -> None:
    ids = {scope: town.add(scope) for scope in ("worker", "client", "viewer")}
    if os.name == "posix":
        assert town.file("worker").stat().st_mode & 0o077 == 0

    # Nobody comes in with another token than the right one.
    town.file("wrong").write_text("not-any-token-of-this-coordinator\n")
    assert town.refused("wrong", "jobs")["code"] == "unauthorized"
    assert town.refused("worker", "jobs")["code"] == "forbidden"
    stranger = town.cluster.add_worker(
        "stranger", "--token-file", str(town.file("client")), "--no-persistent"
    )
    assert stranger.wait(60) == 5
    assert "this needs worker" in town.cluster.log("stranger")

    # Each token is good for its own part.
    town.cluster.add_worker("attic", "--token-file", str(town.file("worker")))
    output = town.directory / "fetched.mkv"
    town.told("client", "encode", town.film, output, "--preset", "ultrafast")
    assert output.stat().st_size > 0
    listed = town.run("viewer", "jobs")
    assert listed.returncode == 0, listed.stderr
    job_id = json.loads(listed.stdout.splitlines()[0])["job"]["id"]
    town.told("viewer", "job", job_id, "--receipt")
    assert town.told("viewer", "workers")["count"] == 1

    # Looking changes nothing, and nobody but the owner hands out tokens.
    for words in (
        ("submit", town.film),
        ("remove", job_id),
        ("drain-worker", "attic"),
        ("remove-worker", "attic"),
    ):
        error = town.refused("viewer", *words)
        assert error["code"] == "forbidden"
        assert error["message"] == "The token the viewer has the scope viewer; this needs client."
        assert "ffcluster tokens add NAME --scope client" in error["advice"]
    for words in (
        ("tokens", "list"),
        ("tokens", "revoke", ids["worker"]),
        ("tokens", "add", "x", "--scope", "client"),
    ):
        assert town.refused("client", *words)["code"] == "forbidden"
    assert town.told("viewer", "jobs")["count"] == 1

    # What was handed out outlives a crash, and so does what was revoked.
    town.told("own", "tokens", "revoke", ids["viewer"])
    town.crash()
    town.start()
    assert town.refused("viewer", "jobs")["code"] == "unauthorized"
    assert town.told("client", "jobs")["count"] == 1
    rows = [json.loads(line) for line in town.run("own", "tokens", "list").stdout.splitlines()]
    tokens = {row["token"]["id"]: row["token"] for row in rows if row["type"] == "token"}
    assert [tokens[ids[scope]]["revoked_at"] is None for scope in ids] == [True, True, False]
    for path in town.cluster.directory.joinpath("state").rglob("*.db*"):
        assert town.file("worker").read_bytes().strip() not in path.read_bytes()

    # Revoking ends the worker's session, and it is not let in again.
    def states() -> set[str]:
        rows = [json.loads(line) for line in town.run("client", "workers").stdout.splitlines()]
        return {row["worker"]["state"] for row in rows if row["type"] == "worker"}

    wait_for("the worker's return", lambda: states() == {"Idle"})
    town.told("own", "tokens", "revoke", ids["worker"])
    assert states() & {"Absent", "Disconnected"}
    wait_for("the worker's refusal", lambda: "wants a valid token" in town.cluster.log("attic"))
    assert "the token was revoked" in town.cluster.log("attic")


def test_watching_ends_when_its_token_is_revoked(town: Town) -> None:
    viewer = town.add("viewer")
    job_id = town.told("own", "submit", town.film, "--on-server")["job"]
    log = town.directory / "watching.log"
    command = [
        *(
            str(Path(sys.executable).with_name("ffcluster")),
            "wait",
            job_id,
            "--coordinator",
            town.cluster.url,
            "--json",
        ),
        *("--token-file", str(town.file("viewer"))),
    ]
    with log.open("wb") as file:
        watching = subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL)
    try:
        wait_for("the first view", lambda: '"progress"' in log.read_text())
        town.told("own", "tokens", "revoke", viewer)
        assert watching.wait(60) == 5
    finally:
        watching.kill()
        watching.wait()
    last = json.loads([line for line in log.read_text().splitlines() if line.startswith("{")][-1])
    assert last["code"] == "unauthorized"
