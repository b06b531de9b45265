"""`pause`, `resume`, `cancel`, `retry`, `prioritise`, `remove`, and the same for workers."""

from __future__ import annotations

import attrs
import pytest

from ffcluster.core.durable import QuarantineEntry
from ffcluster.errors import Conflict, NotFound, Refused, Unauthorized, Unreachable
from ffcluster.interfaces.cli.options import LARGEST_PRIORITY
from ffcluster.net.messages import MAX_PRIORITY
from tests.interfaces.fakes import FakeClient, invoke, objects, worker_view

JOB_COMMANDS = [
    (["pause", "job1"], "pause job1", "job1: Processing, paused, priority 0\n"),
    (["resume", "job1"], "resume job1", "job1: Processing, priority 0\n"),
    (["retry", "job1"], "retry job1", "job1: Processing, priority 0\n"),
    (["cancel", "job1"], "cancel", "job1: Cancelled, priority 0\n"),
    (["prioritise", "job1", "7"], "prioritise job1", "job1: Processing, priority 7\n"),
    (["prioritise", "job1", "-7"], "prioritise job1", "job1: Processing, priority -7\n"),
    (["remove", "job1"], "remove job1", "job1: removed\n"),
]
WORKER_COMMANDS = [
    (["drain-worker", "attic"], "drain w1", "attic: Idle, drained, 0 running\n"),
    (["resume-worker", "attic"], "resume w1", "attic: Idle, 0 running\n"),
    (["remove-worker", "attic"], "remove w1", "attic: removed\n"),
    (["drain-worker", "w1"], "drain w1", "attic: Idle, drained, 0 running\n"),
]


@pytest.mark.parametrize(("words", "said", "shown"), JOB_COMMANDS + WORKER_COMMANDS)
def test_change_is_asked_for_and_its_outcome_told(words: list[str], said: str, shown: str) -> None:
    client = FakeClient()
    result = invoke(client, *words)
    assert result.exit_code == 0, result.output
    assert result.stdout == shown
    assert client.said[-2:] == [said, "close"]


@pytest.mark.parametrize(("words", "said", "shown"), JOB_COMMANDS + WORKER_COMMANDS)
def test_programs_get_one_result(words: list[str], said: str, shown: str) -> None:
    (line,) = objects(invoke(FakeClient(), *words, "--json"))
    assert line["type"] == "result"
    assert line.get("job", line.get("worker")) in ("job1", "w1")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound(message="There is no job job1."), 5),
        (Conflict(message="Job job1 has ended.", advice="Submit it again."), 5),
        (Refused(message="The coordinator does not know pausing jobs."), 5),
        (Unauthorized(message="no"), 5),
        (Unreachable(message="gone"), 4),
    ],
)
@pytest.mark.parametrize(
    "words", [words for words, _, _ in JOB_COMMANDS + WORKER_COMMANDS], ids=" ".join
)
def test_refusals_have_stable_exit_codes(words: list[str], error: NotFound, code: int) -> None:
    result = invoke(FakeClient(error=error), *words)
    assert result.exit_code == code
    assert error.message in result.stderr
    assert error.advice in result.stderr


def test_priority_has_the_bounds_of_the_protocol() -> None:
    assert LARGEST_PRIORITY == MAX_PRIORITY
    for wrong in ("1001", "-1001", "high"):
        client = FakeClient()
        assert invoke(client, "prioritise", "job1", wrong).exit_code == 2
        assert client.said == []


def test_unknown_worker_is_refused_with_advice() -> None:
    result = invoke(FakeClient(), "drain-worker", "cellar")
    assert result.exit_code == 5
    assert "There is no worker cellar." in result.stderr
    assert "ffcluster workers" in result.stderr


def test_name_of_two_workers_is_refused_with_their_ids() -> None:
    twins = [worker_view(), attrs.evolve(worker_view(), id="w2", state="Absent")]
    result = invoke(FakeClient(staff=twins), "remove-worker", "attic")
    assert result.exit_code == 5
    assert "w1 (Idle, 10.0.0.7), w2 (Absent, 10.0.0.7)" in result.stderr
    client = FakeClient(staff=twins)
    assert invoke(client, "remove-worker", "w2").exit_code == 0
    assert "remove w2" in client.said


def test_list_of_workers_shows_absence_draining_and_rest() -> None:
    rest = QuarantineEntry("nvenc", "cuda:0", "3 segments in a row failed", 1_700_000_000.0)
    staff = [
        attrs.evolve(worker_view(), state="Absent"),
        attrs.evolve(worker_view(), name="cellar", draining=True, drained_by_operator=True),
        attrs.evolve(worker_view(), name="den", draining=True),
        attrs.evolve(worker_view(), name="garage", quarantines=(rest,)),
    ]
    shown = invoke(FakeClient(staff=staff), "workers").stdout
    for words in ("Absent", "Idle, drained", "Idle, draining", "3 segments in a row failed"):
        assert words in shown, words
    assert "garage: cuda:0 (nvenc) is given nothing until " in shown
    detail = invoke(FakeClient(staff=staff), "workers", "garage").stdout
    assert "3 segments in a row failed" in detail
    line = objects(invoke(FakeClient(staff=staff), "workers", "--json"))[3]
    assert line["worker"]["quarantines"][0]["until"] == 1_700_000_000.0


def test_workers_are_named_by_id_as_well() -> None:
    assert "id w1" in invoke(FakeClient(), "workers", "w1").stdout


def test_of_two_workers_with_one_name_the_one_that_is_there_is_drained() -> None:
    gone = attrs.evolve(worker_view(), id="w0", state="Disconnected")
    client = FakeClient(staff=[gone, worker_view()])
    assert invoke(client, "drain-worker", "attic").exit_code == 0
    assert "drain w1" in client.said
    assert invoke(client, "remove-worker", "attic").exit_code == 5
