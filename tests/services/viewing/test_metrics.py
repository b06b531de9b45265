"""What is measured of a cluster: each thing once, with few labels, some over restarts."""

from __future__ import annotations

import re

import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from ffcluster.core import events as ev
from ffcluster.core.durable import Counters
from ffcluster.core.model import JobId, WorkerId
from ffcluster.core.worker import WorkerFacts
from ffcluster.errors import Code, ErrorReport
from ffcluster.web.models.status import Disk
from tests.core.cluster_model import capability
from tests.services.measured import Measured

LABELS = {
    "state", "outcome", "encoder", "end", "direction", "le",
    # Of prometheus-client's own.
    "version", "python", "ffmpeg", "generation", "implementation", "major", "minor", "patchlevel",
}  # fmt: skip
LOST = ErrorReport(Code.BLOB_LOST, "it is gone")


def worked(**changes: object) -> Measured:
    """A job was made by two workers, and one attempt failed."""
    measured = Measured(**changes)  # type: ignore[arg-type]
    sim = measured.sim
    failures = [ErrorReport(Code.ENCODE_FAILED, "it broke")]
    sim.fail = lambda offer: failures.pop() if failures and not offer.trial else None
    sim.join("one")
    sim.join("two")
    sim.submit("a", 2000)
    sim.run()
    return measured


class Counted(SynchronousTestCase):
    """What is counted as it happens."""

    def test_segments_attempts_frames_and_jobs_are_counted_once_each(self) -> None:
        measured = worked()
        committed = measured.sim.state.jobs[JobId("a")].segments_committed
        assert committed > 2
        assert measured.value("ffcluster_segments_total", outcome="committed") == committed
        assert measured.value("ffcluster_attempts_total", end="committed") == committed
        assert measured.value("ffcluster_attempts_total", end="failed") == 1
        assert measured.value("ffcluster_encoded_frames_total", encoder="libx264") == 2000
        took = "ffcluster_segment_encode_seconds"
        assert measured.value(f"{took}_count", encoder="libx264") == committed
        assert measured.value(f"{took}_sum", encoder="libx264") == pytest.approx(2000 / 50)
        assert measured.value("ffcluster_jobs_ended_total", state="Completed") == 1
        assert measured.value("ffcluster_jobs_ended_total", state="Failed") == 0

    def test_events_superseded_results_and_ended_leases_are_those_of_the_store(self) -> None:
        measured = Measured(counters=Counters(9, 5, 3, 2))
        assert measured.value("ffcluster_events_total") == 4
        assert measured.value("ffcluster_superseded_results_total") == 3
        assert measured.value("ffcluster_lease_expirations_total") == 2
        again = worked()
        counters = again.sim.state.counters
        assert counters.next_event > 5
        assert again.value("ffcluster_events_total") == counters.next_event - 1
        after_restart = Measured(counters=counters)
        assert after_restart.value("ffcluster_events_total") == counters.next_event - 1

    def test_worker_that_is_not_heard_any_more_is_counted(self) -> None:
        measured = Measured()
        sim = measured.sim
        sim.join("one")
        sim.submit("a", 2000)
        sim.run(3.0)
        sim.vanish("one")
        sim.run(100.0)
        expired = measured.value("ffcluster_lease_expirations_total")
        assert expired
        assert measured.value("ffcluster_attempts_total", end="failed") == expired

    def test_lease_that_has_ended_when_the_silence_is_noticed_is_counted_too(self) -> None:
        measured = Measured()
        sim = measured.sim
        worker = sim.join("one")
        sim.submit("a", 2000)
        sim.run(3.0)
        held = len(sim.state.workers[worker].attempts)
        assert held
        silent_since = sim.now - sim.state.policy.lease_s - 1.0
        sim.post(ev.WorkerLeft(worker, "no answer to pings", silent_since))
        assert measured.value("ffcluster_lease_expirations_total") == held
        assert measured.value("ffcluster_attempts_total", end="failed") == held

    def test_result_that_comes_when_its_lease_has_ended_is_counted_as_superseded(self) -> None:
        measured = Measured()
        sim = measured.sim
        worker = sim.join("one")
        sim.submit("a", 2000)
        sim.run(5.0)
        (epoch, *_) = sim.state.workers[worker].attempts
        frames = measured.value("ffcluster_encoded_frames_total", encoder="libx264")
        sim.post(ev.ResultSuperseded(worker, epoch))
        assert measured.value("ffcluster_superseded_results_total") == 0
        sim.vanish("one")
        sim.run(100.0)
        held = ev.HeldAttempt(epoch, JobId("a"), encoded=True)
        sim.post(ev.WorkerJoined(worker, sim.state.workers[worker].facts, (held,)))
        assert measured.value("ffcluster_superseded_results_total") == 1
        sim.post(ev.ResultSuperseded(worker, epoch))
        assert measured.value("ffcluster_superseded_results_total") == 2
        assert measured.value("ffcluster_encoded_frames_total", encoder="libx264") == frames

    def test_encoder_counts_from_0_when_its_first_attempt_begins(self) -> None:
        measured = Measured()
        assert measured.value("ffcluster_encoded_frames_total", encoder="libx264") is None
        measured.sim.join("one")
        measured.sim.submit("a", 20_000)
        measured.sim.run(1.0)
        assert measured.sim.state.attempts
        assert measured.value("ffcluster_encoded_frames_total", encoder="libx264") == 0
        assert measured.value("ffcluster_segment_encode_seconds_count", encoder="libx264") == 0

    def test_lost_result_is_counted_as_lost_and_its_attempt_not_again(self) -> None:
        measured = Measured()
        sim = measured.sim
        sim.join("one")
        job = sim.submit("a", 2000)
        while not job.segments_committed:
            sim.run(sim.now + 1.0)
        before = measured.value("ffcluster_attempts_total", end="committed")
        first = next(first for first, s in job.segments.items() if s.committed)
        sim.post(ev.SegmentLost(job.id, first, LOST))
        assert measured.value("ffcluster_segments_total", outcome="lost") == 1
        assert measured.value("ffcluster_attempts_total", end="committed") == before
        assert measured.value("ffcluster_attempts_total", end="failed") == 0

    def test_encoder_that_no_plugin_knows_is_one_of_the_others(self) -> None:
        measured = Measured()
        strange = capability("evil{}\n", device="x:0", slots=1)
        measured.sim.join("one", 50.0, 1, strange, software=False)
        measured.sim.submit("a", 200)
        measured.sim.run()
        assert measured.value("ffcluster_encoded_frames_total", encoder="other") == 200
        assert b"evil" not in generate_latest(measured.metrics.registry)

    def test_nothing_is_shown_by_a_name_of_its_own(self) -> None:
        measured = worked()
        measured.look()
        for sample in measured.samples():
            assert set(sample.labels) <= LABELS, sample
            assert not {"one", "two", "a"} & set(sample.labels.values()), sample

    def test_what_did_not_happen_yet_is_0_and_not_unknown(self) -> None:
        measured = Measured()
        for name, labels in (
            ("ffcluster_segments_total", {"outcome": "missing"}),
            ("ffcluster_attempts_total", {"end": "superseded"}),
            ("ffcluster_jobs_ended_total", {"state": "Failed"}),
            ("ffcluster_transfer_bytes_total", {"direction": "sent"}),
        ):
            assert measured.value(name, **labels) == 0

    def test_two_coordinators_in_one_process_count_for_themselves(self) -> None:
        assert worked().value("ffcluster_segments_total", outcome="committed")
        assert Measured().value("ffcluster_segments_total", outcome="committed") == 0


class Looked(SynchronousTestCase):
    """What is looked at when somebody asks."""

    def test_running_job_and_its_workers_are_shown(self) -> None:
        measured = Measured()
        sim = measured.sim
        sim.join("one", 50.0, 3)
        sim.join("two")
        sim.submit("a", 20_000)
        sim.submit("later", 500)
        sim.run(5.0)
        measured.look()
        live = sim.state.attempts.values()
        running = sum(attempt.state.value == "running" for attempt in live)
        assert running
        assert measured.value("ffcluster_worker_slots", state="busy") == running
        assert measured.value("ffcluster_worker_slots", state="free") == 4 - running
        assert measured.value("ffcluster_live_attempts", state="running") == running
        assert measured.value("ffcluster_live_attempts", state="checking") is not None
        assert measured.value("ffcluster_workers", state="Disconnected") == 0
        done = sum(job.frames_committed for job in sim.state.jobs.values())
        assert measured.value("ffcluster_remaining_frames") == 20_500 - done
        sim.run()
        measured.look()
        assert measured.value("ffcluster_jobs", state="Completed") == 2
        assert measured.value("ffcluster_remaining_frames") == 0
        assert measured.value("ffcluster_worker_slots", state="busy") == 0

    def test_job_that_nobody_can_make_is_in_the_queue(self) -> None:
        measured = Measured()
        job = measured.sim.submit("a", 500)
        measured.sim.run()
        measured.sim.post(ev.JobPaused(job.id))
        measured.look()
        assert measured.value("ffcluster_queue_depth") == 1
        assert measured.value("ffcluster_jobs_paused") == 1
        assert measured.value("ffcluster_remaining_frames") == 500

    def test_worker_that_drains_has_no_free_slots(self) -> None:
        measured = Measured()
        worker = measured.sim.join("one", 50.0, 4)
        measured.sim.run()
        measured.sim.post(ev.WorkerDraining(worker, by_operator=True))
        measured.look()
        assert measured.value("ffcluster_workers_draining") == 1
        assert measured.value("ffcluster_worker_slots", state="free") == 0

    def test_disk_and_store_are_shown(self) -> None:
        measured = Measured()
        measured.look()
        assert measured.value("ffcluster_disk_used_bytes") == 2000
        assert measured.value("ffcluster_disk_free_bytes") == 70_000
        assert measured.value("ffcluster_disk_reserve_bytes") == 1000
        assert measured.value("ffcluster_disk_limit_bytes") == 5000
        assert measured.value("ffcluster_viewers") == 3
        assert measured.value("ffcluster_store_reachable") == 1
        measured.no_room = "full"
        assert measured.value("ffcluster_accepting_work") == 0
        measured.trouble = "away"
        assert measured.value("ffcluster_store_reachable") == 0

    def test_disk_that_could_not_be_measured_is_not_shown(self) -> None:
        measured = Measured(max_disk_bytes=None, disk=Disk(None, None, None, ""))
        measured.look()
        for name in ("used", "free", "limit"):
            assert measured.value(f"ffcluster_disk_{name}_bytes") is None

    def test_build_is_shown(self) -> None:
        (build,) = [s for s in Measured().samples() if s.name == "ffcluster_build_info"]
        assert (build.labels["version"], build.labels["ffmpeg"], build.value) == ("0.1.0", "7.1", 1)

    def test_large_cluster_is_looked_at_whole(self) -> None:
        measured = Measured()
        many = tuple(capability(device=f"cuda:{number}", slots=2) for number in range(8))
        for number in range(400):
            worker = ev.WorkerJoined(WorkerId(f"w{number}"), WorkerFacts("w", many))
            measured.sim.state.handle(worker, 0.0)
        measured.look()
        assert measured.value("ffcluster_worker_slots", state="free") == 400 * 8 * 2


class Timed(SynchronousTestCase):
    """What is timed."""

    def test_delay_of_the_reactor_is_measured_until_the_end(self) -> None:
        measured = Measured()
        measured.metrics.start()
        measured.clock.advance(0.5)
        measured.clock.advance(0.75)
        name = "ffcluster_reactor_delay_seconds"
        assert measured.value(f"{name}_count") == 2
        assert measured.value(f"{name}_sum") == pytest.approx(0.25)
        assert measured.value(f"{name}_bucket", le="0.001") == 1
        measured.metrics.stop()
        assert not measured.clock.getDelayedCalls()

    def test_transactions_are_timed(self) -> None:
        measured = Measured()
        measured.metrics.tallies.written(0.02)
        assert measured.value("ffcluster_store_write_seconds_bucket", le="0.01") == 0
        assert measured.value("ffcluster_store_write_seconds_bucket", le="0.025") == 1


def test_names_follow_the_conventions() -> None:
    """Of ours: a prefix, base units, and `_total` for what only grows."""
    measured = worked()
    measured.look()
    for family in measured.metrics.registry.collect():
        if not family.name.startswith("ffcluster_"):
            assert re.match(r"(process|python)_", family.name)
            continue
        assert family.documentation.endswith((".", "0.")), family.name
        assert not re.search(r"_(ms|minutes|kib|mib|percent|fps)(_|$)", family.name)
        assert (family.type == "histogram") == family.name.endswith("_seconds"), family.name


def test_openmetrics_parser_understands_everything() -> None:
    measured = worked()
    measured.look()
    text = openmetrics(measured.metrics.registry).decode()
    found = {family.name for family in text_string_to_metric_families(text)}
    assert {"ffcluster_segments", "ffcluster_build", "ffcluster_reactor_delay_seconds"} <= found
