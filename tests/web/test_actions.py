"""What can be done with a job or a worker in each of its states, as the document says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import wait_for
from tests.web.asking import Api, started

_DOCUMENT = Path(__file__).parents[2] / "docs" / "api.md"
_ROW = re.compile(r"^\| `(\w+)(?: \.\.\./(\w+))?` \| (\d+(?: \| \d+){4}) \|$", re.MULTILINE)
# What a job shows of what is wanted of it.
_WANTED = ("state", "paused", "priority", "ended", "ended_at")


def _table() -> list[tuple[str, str, list[int]]]:
    """Method, what follows the path of a job, and the status in each of the five states."""
    rows = _ROW.findall(_DOCUMENT.read_text())
    return [(method, place, [int(n) for n in cells.split(" | ")]) for method, place, cells in rows]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    api = started(tmp_path_factory.mktemp("api"))
    try:
        yield api
    finally:
        api.cluster.stop()


# Without a worker nothing is begun, and with one everything is done at once: whoever is asked for a
# job that is going on drains it first.


def _going_on(api: Api) -> str:
    for worker in api.get("/workers")["items"]:
        assert api.ask("POST", f"/workers/{worker['id']}/drain", {}).status == 200
    return str(api.in_state(api.submit()["id"], "WaitingForClients")["id"])


def _paused(api: Api) -> str:
    job_id = _going_on(api)
    assert api.ask("POST", f"/jobs/{job_id}/pause", {}).status == 200
    return job_id


def _completed(api: Api) -> str:
    workers = api.get("/workers")["items"]
    if not workers:
        api.cluster.add_worker("attic")
    for worker in workers:
        assert api.ask("POST", f"/workers/{worker['id']}/resume", {}).status == 200
    return str(api.in_state(api.submit()["id"], "Completed")["id"])


def _failed(api: Api) -> str:
    film = api.film.with_name("text.mkv")
    film.write_text("no film")
    made = api.submit(source={"server_path": str(film)})
    return str(api.in_state(made["id"], "Failed")["id"])


def _cancelled(api: Api) -> str:
    job_id = _going_on(api)
    assert api.ask("POST", f"/jobs/{job_id}/cancel", {}).status == 202
    return job_id


STATES: list[Callable[[Api], str]] = [_going_on, _paused, _completed, _failed, _cancelled]


@pytest.mark.parametrize("state", range(len(STATES)), ids=lambda n: STATES[n].__name__[1:])
def test_jobs_take_and_refuse_what_the_table_says(api: Api, state: int) -> None:
    table = _table()
    assert len(table) == 9
    job_id, fresh = STATES[state](api), True
    for method, place, statuses in table:
        if not fresh:
            job_id = STATES[state](api)
        path = f"/jobs/{job_id}"
        before = api.get(path)
        body: Any = {"POST": {}, "PATCH": {"priority": 3}}.get(method)
        reply = api.ask(method, f"{path}/{place}" if place else path, body)
        assert reply.status == statuses[state], (method, place, reply.body)
        fresh = reply.status == 409 or method == "GET"
        if reply.status == 409:
            assert reply.problem["code"] == "conflict"
            assert job_id in reply.problem["detail"]
            after = api.get(path)
            assert [after[name] for name in _WANTED] == [before[name] for name in _WANTED]


def test_workers_take_everything_in_every_state(api: Api) -> None:
    process = api.cluster.add_worker("cellar")

    def cellar() -> Any:
        return next((one for one in api.get("/workers")["items"] if one["name"] == "cellar"), None)

    path = f"/workers/{wait_for('the worker', cellar)['id']}"

    def drained_and_resumed() -> list[tuple[int, bool]]:
        replies = [api.ask("POST", f"{path}/{verb}", {})
                   for verb in ("drain", "drain", "resume", "resume")]  # fmt: skip
        return [(reply.status, reply.json["drained_by_operator"]) for reply in replies]

    as_asked = [(200, True), (200, True), (200, False), (200, False)]
    assert drained_and_resumed() == as_asked
    process.kill()
    process.wait()
    wait_for("its absence", lambda: api.get(path)["state"] in ("Absent", "Disconnected"))
    assert drained_and_resumed() == as_asked
    assert api.ask("DELETE", path).status == 204
    for method, place in (("POST", "/drain"), ("POST", "/resume"), ("DELETE", ""), ("GET", "")):
        reply = api.ask(method, path + place, {} if method == "POST" else None)
        assert (reply.status, reply.problem["code"]) == (404, "not_found")
