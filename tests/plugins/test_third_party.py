"""Plugins that ffcluster knows nothing of: made from the template, and the worked example.

Each is really installed, into an environment of its own.
"""

from __future__ import annotations

import ast
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, wait_for
from tests.plugins.environment import Environment

copier = pytest.importorskip("copier", reason="the template is tested where copier is installed")

_ROOT = Path(__file__).resolve().parents[2]
_TEMPLATE = _ROOT / "templates" / "plugin"
_EXAMPLE = _ROOT / "examples" / "ffcluster-plugin-vulkan"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment.make(tmp_path_factory.mktemp("environment"))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.stop()


@pytest.mark.parametrize(
    "answers",
    [
        {"name": "rkmpp", "title": "Rockchip MPP"},
        # An ffmpeg at hand has this encoder, so that its options meet a real parser.
        {
            "name": "other_vulkan",
            "codec": "hevc",
            "encoder": "hevc_vulkan",
            "quality_option": "qp",
            "upload": True,
        },
    ],
    ids=lambda answers: answers["name"],
)
def test_plugin_made_from_the_template_passes_its_tests_at_once(
    environment: Environment, tmp_path: Path, answers: dict[str, object]
) -> None:
    project = tmp_path / "plugin"
    copier.run_copy(str(_TEMPLATE), project, data=answers, defaults=True, quiet=True)
    name = str(answers["name"])
    distribution = f"ffcluster-plugin-{name.replace('_', '-')}"
    environment.install(project)
    try:
        assert " passed" in environment.run_tests(project)
        row = environment.plugins()[name]
        assert (row["distribution"], row["state"], row["error"]) == (distribution, "enabled", "")
    finally:
        environment.uninstall(distribution)
    assert name not in environment.plugins()


def test_worked_example_appears_everywhere_and_goes_without_a_trace(
    environment: Environment, cluster: Cluster, tmp_path: Path
) -> None:
    project = tmp_path / "example"
    # A build leaves folders beside the sources.
    shutil.copytree(_EXAMPLE, project)
    environment.install(project)
    try:
        assert " passed" in environment.run_tests(project)
        assert environment.plugins()["vulkan"]["state"] == "enabled"
        _doctor_diagnoses_vulkan(environment)
        cluster.start()
        seen = _worker_as_the_coordinator_sees_it(environment, cluster)
        assert {"vulkan", "software"} <= {plugin["name"] for plugin in seen["plugins"]}
        assert "vulkan" in {diagnosis["backend"] for diagnosis in seen["diagnoses"]}
    finally:
        environment.uninstall("ffcluster-plugin-vulkan")
    assert "vulkan" not in environment.plugins()


def test_worked_example_imports_only_what_is_public_to_plugins() -> None:
    for path in (_EXAMPLE / "ffcluster_vulkan").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("ffcluster."):
                assert str(node.module).split(".")[1] in ("core", "encoders", "errors"), path


def _doctor_diagnoses_vulkan(environment: Environment) -> None:
    (report,) = (
        row
        for row in environment.ask("doctor", "--state-dir", environment.root / "state")
        if row["type"] == "result"
    )
    assert "vulkan" in {plugin["name"] for plugin in report["plugins"]}
    told = [d for d in report["diagnoses"] if d["backend"] == "vulkan"]
    offered = [c for c in report["capabilities"] if c["backend"] == "vulkan"]
    # Without a GPU the reason is told; with one there is something to offer.
    assert told or offered
    assert all(d["cause"] and d["hint"] for d in told)


def _worker_as_the_coordinator_sees_it(
    environment: Environment, cluster: Cluster
) -> dict[str, list[dict[str, str]]]:
    log = cluster.directory / "elsewhere.log"
    with log.open("wb") as file:
        cluster.workers["elsewhere"] = subprocess.Popen(
            environment.command(
                "worker", "--server-ip", "127.0.0.1", "--server-port", cluster.port,
                "--name", "elsewhere", "--work-dir", cluster.directory / "work",
                "--state-dir", cluster.directory / "worker-state",
            ),
            stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=cluster.directory,
        )  # fmt: skip

    def connected() -> object:
        assert cluster.workers["elsewhere"].poll() is None, log.read_text(errors="replace")
        return cluster.ask("workers", "--verbose")

    (seen,) = wait_for("the worker", connected)  # type: ignore[misc]
    return seen  # type: ignore[no-any-return]
