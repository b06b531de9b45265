"""Every route of the desk on a real coordinator with a real worker, and every way to be refused."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.cluster import wait_for
from tests.web.asking import Api, started


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    api = started(tmp_path_factory.mktemp("api"))
    try:
        yield api
    finally:
        api.cluster.stop()


@pytest.fixture(scope="module")
def worker(api: Api) -> Any:
    api.cluster.add_worker("attic")
    return wait_for("the worker", lambda: next(iter(api.get("/workers")["items"]), None))


@pytest.fixture(scope="module")
def job(api: Api, worker: Any) -> Any:
    """A job that is completed."""
    made = api.submit(output_name="done.mp4", cut_frames=[20, 40])
    return api.in_state(made["id"], "Completed", "Failed")


@pytest.fixture
def idle(api: Api) -> Iterator[Any]:
    """A job that nobody may begin with."""
    workers = [one["id"] for one in api.get("/workers")["items"]]
    for worker_id in workers:
        api.ask("POST", f"/workers/{worker_id}/drain", {})
    job = api.submit()
    try:
        yield job
    finally:
        api.ask("POST", f"/jobs/{job['id']}/cancel", {})
        for worker_id in workers:
            api.ask("POST", f"/workers/{worker_id}/resume", {})


# --- submit, list, show --------------------------------------------------------------------------


def test_submitting_answers_the_job_and_where_it_is(api: Api) -> None:
    reply = api.ask("POST", "/jobs", api.wanted(name="A film", priority=7, container="webm"))
    assert reply.status == 422
    assert reply.problem["code"] == "container_unsuitable"
    reply = api.ask("POST", "/jobs", api.wanted(name="A film", priority=7, container="mp4"))
    assert reply.status == 202
    job = reply.json
    assert reply.headers["location"] == f"/api/v1/jobs/{job['id']}"
    assert reply.headers["etag"] == f'"{job["etag"]}"'
    assert job["source_name"] == "A film"
    assert job["output_name"] == "A film-encoded.mp4"
    assert (job["priority"], job["container"]) == (7, "mp4")
    assert job["profile"]["preset"] == "ultrafast"
    assert job["submitted_at"].endswith("Z")
    assert api.get(job["links"]["self"].removeprefix("/api/v1"))["id"] == job["id"]
    api.ask("POST", f"/jobs/{job['id']}/cancel", {})


def test_completed_job_shows_its_outcome(api: Api, job: Any) -> None:
    assert job["state"] == "Completed", job["error"]
    assert job["ended"]
    assert job["ended_at"] > job["submitted_at"]
    assert job["frames_committed"] == job["frame_count"] == 60
    assert job["segments_committed"] == job["segment_count"] == 3
    assert job["outcome"]["frame_count"] == 60
    assert job["outcome"]["proven"] is True
    (share,) = job["shares"]
    assert share["worker"] == "attic"
    assert share["frames"] == 60
    assert share["worker_id"] == api.get("/workers")["items"][0]["id"]


def test_unknown_job_is_a_problem_with_a_stable_type(api: Api) -> None:
    reply = api.ask("GET", "/jobs/none")
    assert reply.status == 404
    assert reply.problem["type"] == "urn:ffcluster:problem:not_found"
    assert reply.problem["code"] == "not_found"
    assert "none" in reply.problem["detail"]


def test_every_fault_of_a_body_is_named_by_its_pointer(api: Api) -> None:
    body = api.wanted(priority=5000, profile={"codec": "mpeg2", "rate": {"mode": 1}}, colour=1)
    body["source"] = {"server_path": 3, "url": "x"}
    reply = api.ask("POST", "/jobs", body)
    assert reply.status == 400
    pointers = {error["pointer"] for error in reply.problem["errors"]}
    assert {
        "/profile/codec",
        "/profile/rate/mode",
        "/source/server_path",
        "/source/url",
    } <= pointers
    assert "/colour" in pointers


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"source": {}}, "/source"),
        ({"source": {"server_path": "/x", "upload_id": "y"}}, "/source"),
        ({"profile_name": "none"}, "/profile_name"),
        ({"profile": {}}, "/profile_name"),
        ({"container": "mp4", "output_name": "x.mkv"}, "/container"),
        ({"priority": 1001}, "/priority"),
    ],
)
def test_members_that_do_not_fit_are_refused(
    api: Api, changes: dict[str, Any], pointer: str
) -> None:
    reply = api.ask("POST", "/jobs", api.wanted(**changes))
    assert reply.status == 400
    assert [error["pointer"] for error in reply.problem["errors"]] == [pointer]


def test_same_key_makes_one_job_and_another_body_is_refused(api: Api, idle: Any) -> None:
    body = api.wanted(output_name="keyed.mp4")
    first = api.ask("POST", "/jobs", body, idempotency_key="k-1")
    again = api.ask("POST", "/jobs", body, idempotency_key="k-1")
    other = api.ask("POST", "/jobs", body | {"priority": 1}, idempotency_key="k-1")
    assert first.json["id"] == again.json["id"]
    assert other.status == 422
    assert other.problem["code"] == "idempotency_conflict"
    api.ask("POST", f"/jobs/{first.json['id']}/cancel", {})


def test_pages_follow_each_other_while_jobs_come(api: Api, idle: Any) -> None:
    made = [api.submit(name=f"film {number}") for number in range(4)]
    first = api.get("/jobs?limit=2&sort=-submitted_at")
    made.append(api.submit(name="film late"))
    seen = [job["id"] for job in first["items"]]
    cursor = first["next_cursor"]
    while cursor:
        page = api.get(f"/jobs?limit=2&sort=-submitted_at&cursor={cursor}")
        seen += [job["id"] for job in page["items"]]
        cursor = page["next_cursor"]
    assert len(seen) == len(set(seen))
    assert [job["id"] for job in reversed(made[:4])] == seen[:4]
    assert made[4]["id"] not in seen
    for job in made:
        api.ask("POST", f"/jobs/{job['id']}/cancel", {})


def test_lists_are_sorted_and_filtered(api: Api, job: Any, idle: Any) -> None:
    urgent = api.submit(name="urgent", priority=9)
    jobs = api.get("/jobs?sort=-priority&limit=500")["items"]
    priorities = [one["priority"] for one in jobs]
    assert priorities == sorted(priorities, reverse=True)
    names = [one["source_name"] for one in api.get("/jobs?sort=name&limit=500")["items"]]
    assert names == sorted(names)
    states = {one["state"] for one in api.get("/jobs?state=Completed,Failed")["items"]}
    assert states == {"Completed"}
    both = api.get("/jobs?state=Completed&state=Cancelled&limit=500")["items"]
    assert {one["state"] for one in both} <= {"Completed", "Cancelled"}
    assert not api.get("/jobs?state=Combining")["items"]
    api.ask("POST", f"/jobs/{urgent['id']}/cancel", {})


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "?limit"),
        ("limit=501", "?limit"),
        ("limit=many", "?limit"),
        ("limit=1&limit=2", "?limit"),
        ("sort=size", "?sort"),
        ("state=Asleep", "?state/0"),
        ("cursor=%2B%2B", "?cursor"),
        ("cursor=WyJuYW1lIiwxXQ", "?cursor"),
        ("colour=red", "?colour"),
    ],
)
def test_queries_are_checked(api: Api, query: str, pointer: str) -> None:
    reply = api.ask("GET", f"/jobs?{query}")
    assert reply.status == 400
    assert [error["pointer"] for error in reply.problem["errors"]] == [pointer]


# --- steering ------------------------------------------------------------------------------------


def test_job_is_paused_resumed_prioritised_and_cancelled(api: Api, idle: Any) -> None:
    path = f"/jobs/{idle['id']}"
    assert api.ask("POST", f"{path}/pause", {}).json["paused"] is True
    assert api.ask("POST", f"{path}/resume", {}).json["paused"] is False
    assert api.ask("PATCH", path, {"priority": 42}).json["priority"] == 42
    cancelled = api.ask("POST", f"{path}/cancel", {})
    assert cancelled.status == 202
    assert cancelled.headers["location"] == f"/api/v1{path}"
    assert cancelled.json["state"] == "Cancelled"
    for action in ("pause", "resume", "cancel"):
        refused = api.ask("POST", f"{path}/{action}", {})
        assert refused.status == 409, action
        assert refused.problem["code"] == "conflict"
    assert api.ask("PATCH", path, {"priority": 1}).status == 409
    again = api.ask("POST", f"{path}/retry", {})
    assert again.status == 202
    assert not again.json["ended"]
    assert api.ask("DELETE", path).status == 409
    api.ask("POST", f"{path}/cancel", {})
    removed = api.ask("DELETE", path)
    assert (removed.status, removed.body) == (204, b"")
    assert api.ask("GET", path).status == 404


def test_change_of_what_was_seen_earlier_is_refused(api: Api, idle: Any) -> None:
    path = f"/jobs/{idle['id']}"
    seen = api.get(path)["etag"]
    changed = api.ask("PATCH", path, {"priority": 5}, if_match=f'"{seen}"')
    assert changed.status == 200
    stale = api.ask("POST", f"{path}/cancel", {}, if_match=f'"{seen}"')
    assert stale.status == 412
    assert stale.problem["code"] == "stale"
    assert api.get(path)["state"] != "Cancelled"
    either = f'"{seen}", {changed.headers["etag"]}'
    assert api.ask("POST", f"{path}/pause", {}, if_match=either).status == 200
    assert api.ask("POST", f"{path}/resume", {}, if_match="*").status == 200


def test_completed_job_cannot_be_retried(api: Api, job: Any) -> None:
    assert api.ask("POST", f"/jobs/{job['id']}/retry", {}).status == 409


# --- segments, files, plan -----------------------------------------------------------------------


def test_segments_come_in_pages_and_alone_with_their_attempts(api: Api, job: Any) -> None:
    path = f"/jobs/{job['id']}/segments"
    first = api.get(f"{path}?limit=2")
    rest = api.get(f"{path}?limit=2&cursor={first['next_cursor']}")
    found = [*first["items"], *rest["items"]]
    assert rest["next_cursor"] is None
    assert [segment["first_frame"] for segment in found] == [0, 20, 40]
    assert {segment["state"] for segment in found} == {"committed"}
    assert all(segment["size_bytes"] > 0 for segment in found)
    assert not api.get(f"{path}?state=pending,missing")["items"]
    assert len(api.get(f"{path}?state=committed")["items"]) == 3
    detail = api.get(f"{path}/20")
    assert detail["attempts"][-1]["end"] == "committed"
    assert detail["attempts"][-1]["worker"] == "attic"
    assert api.ask("GET", f"{path}/21").status == 404
    assert api.ask("GET", f"{path}/x").status == 404
    assert api.ask("GET", f"{path}?state=asleep").status == 400
    assert api.ask("GET", f"{path}?cursor=WyJ4IiwxXQ").status == 400
    assert api.ask("GET", "/jobs/none/segments").status == 404


def test_result_is_fetched_whole_and_in_parts(api: Api, job: Any) -> None:
    path = f"/jobs/{job['id']}/result"
    whole = api.ask("GET", path)
    assert whole.status == 200
    assert hashlib.sha256(whole.body).hexdigest() == job["outcome"]["sha256"]
    assert whole.headers["content-type"] == "video/mp4"
    assert "filename*=UTF-8''done.mp4" in whole.headers["content-disposition"]
    head = api.ask("HEAD", path)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.body))
    part = api.ask("GET", path, range="bytes=10-19")
    assert (part.status, part.body) == (206, whole.body[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(whole.body)}"
    old = api.ask("GET", path, range="bytes=10-19", if_range='"another"')
    assert (old.status, old.body) == (200, whole.body)
    beyond = api.ask("GET", path, range=f"bytes={len(whole.body)}-")
    assert beyond.status == 416
    assert beyond.headers["content-range"] == f"bytes */{len(whole.body)}"
    assert "content-disposition" not in beyond.headers


def test_result_is_not_there_before_the_end(api: Api, idle: Any) -> None:
    assert api.ask("GET", f"/jobs/{idle['id']}/result").status == 409
    assert api.ask("GET", "/jobs/none/result").status == 404


def test_receipt_tells_every_segment(api: Api, job: Any) -> None:
    receipt = api.get(f"/jobs/{job['id']}/receipt")
    assert receipt["receipt_format"] == 1
    assert len(receipt["segments"]) == 3
    assert receipt["segments"][0]["attempts"]
    assert api.ask("GET", "/jobs/none/receipt").status == 404


def test_film_is_uploaded_planned_and_encoded(api: Api, worker: Any) -> None:
    data = api.film.read_bytes()
    reply = api.ask("POST", "/uploads", {"name": "home.mkv", "size_bytes": len(data)})
    assert reply.status == 201
    place = reply.json
    assert reply.headers["location"] == place["path"]
    early = api.ask("POST", "/jobs", api.wanted(source={"upload_id": place["id"]}))
    assert early.status == 422
    blocks = range(0, len(data), 10_000)
    for start in blocks:
        block = data[start : start + 10_000]
        span = f"bytes {start}-{start + len(block) - 1}/{len(data)}"
        put = api.ask("PUT", place["path"], prefix="", raw=block, content_range=span)
        assert put.status in (201, 204), put
    body = api.wanted(source={"upload_id": place["id"]}, name="home.mkv", output_name="home.mp4")
    plan = api.ask("POST", "/plan", body)
    assert plan.status == 200, plan
    assert (plan.json["frame_count"], plan.json["video"]["width"]) == (60, 64)
    assert plan.json["encoder"] == "libx264"
    assert plan.json["workers"] == ["attic"]
    submitted = api.ask("POST", "/jobs", body)
    assert submitted.status == 202, submitted
    done = api.in_state(submitted.json["id"], "Completed", "Failed")
    assert done["error"] is None
    gone = api.ask("POST", "/jobs", body)
    assert gone.status == 404


def test_plan_says_what_is_wrong_with_a_film(api: Api, worker: Any) -> None:
    text = api.cluster.directory / "text.mkv"
    text.write_text("no film at all")
    wrong = api.ask("POST", "/plan", api.wanted(source={"server_path": str(text)}))
    assert wrong.status == 422
    assert wrong.problem["code"] == "source_unreadable"
    missing = api.ask("POST", "/plan", api.wanted(source={"server_path": "/none.mkv"}))
    assert missing.status == 404
    relative = api.ask("POST", "/plan", api.wanted(source={"server_path": "film.mkv"}))
    assert relative.status == 422
    pinned = api.wanted(profile={"encoder": "hevc_nvenc", "codec": "hevc"})
    del pinned["profile_name"]
    nobody = api.ask("POST", "/plan", pinned)
    assert nobody.status == 422
    assert nobody.problem["code"] == "no_usable_encoder"
    assert not (api.cluster.outputs / "film-encoded.mkv").exists()


def test_what_is_wrong_with_an_upload_is_said_of_the_name_that_it_was_given(
    api: Api, worker: Any
) -> None:
    data = b"no film at all"
    place = api.ask("POST", "/uploads", {"name": "party.mkv", "size_bytes": len(data)}).json
    span = f"bytes 0-{len(data) - 1}/{len(data)}"
    api.ask("PUT", place["path"], prefix="", raw=data, content_range=span)
    body = api.wanted(source={"upload_id": place["id"]}, name="party.mkv")
    plan = api.ask("POST", "/plan", body)
    assert plan.problem["detail"].startswith("party.mkv ")
    job = api.in_state(api.ask("POST", "/jobs", body).json["id"], "Failed")
    assert job["error"]["message"].startswith("party.mkv ")


def test_upload_that_is_too_large_is_refused(api: Api) -> None:
    reply = api.ask("POST", "/uploads", {"name": "x", "size_bytes": 2**52})
    assert reply.status == 422
    assert reply.problem["code"] == "refused"


# --- workers, catalogue, status ------------------------------------------------------------------


def test_worker_is_shown_drained_and_resumed(api: Api, worker: Any) -> None:
    path = f"/workers/{worker['id']}"
    shown = api.get(path)
    assert shown["name"] == "attic"
    assert "libx264" in {capability["encoder"] for capability in shown["capabilities"]}
    assert shown["last_heard_at"].endswith("Z")
    seen = shown["etag"]
    drained = api.ask("POST", f"{path}/drain", {}, if_match=f'"{seen}"')
    assert drained.status == 200
    assert drained.json["drained_by_operator"] is True
    assert api.ask("POST", f"{path}/drain", {}, if_match=f'"{seen}"').status == 412
    assert api.ask("DELETE", path, if_match=f'"{seen}"').status == 412
    assert api.ask("POST", f"{path}/resume", {}).json["draining"] is False
    for method, place in (("GET", ""), ("DELETE", ""), ("POST", "/drain"), ("POST", "/resume")):
        body = {} if method == "POST" else None
        assert api.ask(method, f"/workers/none{place}", body).status == 404
    assert [one["id"] for one in api.get("/workers?sort=-fps")["items"]] == [worker["id"]]
    assert not api.get("/workers?state=Absent")["items"]
    assert api.ask("GET", "/workers?state=Asleep").status == 400


def test_worker_that_is_forgotten_is_listed_no_more(api: Api, worker: Any) -> None:
    extra = api.cluster.add_worker("cellar")

    def cellar() -> Any:
        return next((one for one in api.get("/workers")["items"] if one["name"] == "cellar"), None)

    found: Any = wait_for("the second worker", cellar)
    extra.terminate()
    extra.wait(60)
    assert api.ask("DELETE", f"/workers/{found['id']}").status == 204
    assert api.ask("GET", f"/workers/{found['id']}").status == 404
    assert cellar() is None


def test_profiles_and_plugins_are_listed(api: Api) -> None:
    (profile,) = api.get("/profiles")["items"]
    assert (profile["name"], profile["is_default"]) == ("small", False)
    alone = api.ask("GET", "/profiles/small")
    assert alone.json == profile
    assert alone.headers["etag"] == f'"{profile["etag"]}"'
    assert api.ask("GET", "/profiles/none").status == 404
    assert "software" in {plugin["name"] for plugin in api.get("/plugins")["items"]}


def test_pages_are_there_and_name_no_other_host(api: Api) -> None:
    for path, text in (("/", b"<title>ffcluster"), ("/api/v1/docs", b"ffcluster API")):
        reply = api.ask("GET", path, prefix="")
        assert reply.status == 200
        assert reply.headers["content-type"] == "text/html; charset=utf-8"
        assert "unsafe" not in reply.headers["content-security-policy"]
        assert text in reply.body
        files = re.findall(rb'"(/static/[^"]+)"', reply.body)
        assert files
        for name in files:
            assert api.ask("GET", name.decode(), prefix="").status == 200
    assert api.ask("GET", "/favicon.ico", prefix="").headers["content-type"] == "image/svg+xml"


def test_status_counts_and_tells_how_to_start_a_worker(api: Api, job: Any) -> None:
    status = api.get("/status")
    assert status["jobs"]["Completed"] >= 1
    assert sum(status["workers"].values()) >= 1
    assert status["last_event"] > 0
    assert status["disk"]["free_bytes"] > 0
    assert status["token_required"] is False
    assert f"--server-port={api.cluster.port}" in status["worker_command"]
    scopes = ["admin", "client", "viewer", "worker"]
    assert api.get("/me") == {"name": "", "scope": "admin", "scopes": scopes, "token_id": ""}


def test_segments_and_receipt_of_earlier_jobs_outlive_a_restart(api: Api, job: Any) -> None:
    path = f"/jobs/{job['id']}"
    before = api.get(path), api.get(f"{path}/segments"), api.get(f"{path}/segments/20")
    coordinator = api.cluster.coordinator
    assert coordinator is not None
    coordinator.terminate()
    coordinator.wait(60)
    config = api.cluster.directory / "ffcluster.toml"
    api.cluster.start("--config", str(config), "--min-free", "0", "--required-clients", "1")
    after = api.get(path), api.get(f"{path}/segments"), api.get(f"{path}/segments/20")
    assert after[1:] == before[1:]
    assert after[0]["outcome"] == before[0]["outcome"]
    assert after[0]["etag"] == before[0]["etag"]
    pages = [api.get(f"{path}/segments?limit=1")]
    while pages[-1]["next_cursor"]:
        pages.append(api.get(f"{path}/segments?limit=1&cursor={pages[-1]['next_cursor']}"))
    firsts = [one["first_frame"] for one in itertools.chain(*(page["items"] for page in pages))]
    assert firsts == [0, 20, 40]
    assert len(api.get(f"{path}/receipt")["segments"]) == 3
    assert api.ask("GET", f"{path}/result").status == 200
