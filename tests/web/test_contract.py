"""The whole specification against a real coordinator: no failure, no answer that it does not say.

Also the examples of `docs/api.md`, run as they stand there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate

from tests.web.asking import Api, started

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
# The stream never ends; what removes a thing comes after all that looks at it.
ENDLESS = "watch_events"
REMOVING = ("remove_job", "forget_worker")
DOCUMENT = Path(__file__).parents[2] / "docs" / "api.md"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    # However much room this machine has, a size beyond the limit is refused before that is asked.
    api = started(tmp_path_factory.mktemp("contract"), "--upload-limit", "1MiB")
    try:
        yield api
    finally:
        api.cluster.stop()


@pytest.fixture(scope="module")
def job(api: Api) -> Any:
    api.cluster.add_worker("attic")
    made = api.submit(output_name="done.mp4")
    return api.in_state(made["id"], "Completed")


def schemathesis(api: Api, job: Any, *options: str) -> None:
    """Let schemathesis ask in every way that the document allows, and in others."""
    (worker,) = api.get("/workers")["items"]
    settings = api.cluster.directory / "schemathesis.toml"
    settings.write_text(
        f'[parameters]\n"path.job_id" = "{job["id"]}"\n"path.worker_id" = "{worker["id"]}"\n'
        '"path.name" = "small"\n"path.first_frame" = "0"\n"path.frame" = "5"\n'
    )
    address = f"http://127.0.0.1:{api.cluster.port}/api/v1/openapi.json"
    program = str(Path(sys.executable).with_name("schemathesis"))
    done = subprocess.run(
        [program, "--config-file", str(settings), "run", address, "--checks", ",".join(CHECKS),
         "--no-color", *options],
        capture_output=True, text=True, check=False, timeout=300, cwd=api.cluster.directory,
    )  # fmt: skip
    failures = done.stdout.partition("= FAILURES =")[2].partition("= WARNINGS =")[0]
    assert done.returncode == 0, failures or done.stdout[-8000:] + done.stderr[-2000:]
    assert "No operations" not in done.stdout


def test_document_is_valid_and_names_every_refusal(api: Api) -> None:
    document = api.get("/openapi.json")
    validate(document)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            answers = operation["responses"]
            assert {"401", "403", "500"} <= set(answers), f"{method} {path}"
            for status, answer in answers.items():
                if int(status) >= 400:
                    assert set(answer["content"]) == {"application/problem+json"}
    assert "/jobs/{job_id}/filmstrip" in document["paths"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_examples_of_the_document_work(api: Api, job: Any) -> None:
    script = "\n".join(re.findall(r"```sh\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL))
    assert script.count("\napi ") > 15
    token = api.cluster.directory / "token"
    token.write_text("none-is-asked-for-here")
    folder = api.cluster.directory / "examples"
    folder.mkdir()
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        capture_output=True, text=True, check=False, timeout=300, cwd=folder,
        env={
            **os.environ,
            "COORDINATOR": f"http://127.0.0.1:{api.cluster.port}",
            "TOKEN_FILE": str(token),
            "FILM": str(api.film),
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_answer_is_one_that_the_document_describes(api: Api, job: Any) -> None:
    left_out = [f"--exclude-operation-id={name}" for name in (ENDLESS, *REMOVING)]
    schemathesis(api, job, "--max-examples=6", *left_out)
    assert api.cluster.coordinator is not None
    assert api.cluster.coordinator.poll() is None
    log = api.cluster.log("coordinator")
    assert "Traceback" not in log, log[-4000:]


def test_what_removes_answers_as_described(api: Api, job: Any) -> None:
    chosen = [f"--include-operation-id={name}" for name in REMOVING]
    schemathesis(api, job, "--max-examples=4", *chosen)
