"""One world from its seed to its end, and whether it ended as it should."""

from __future__ import annotations

import random

import attrs

from ffcluster.core.cluster import Policy
from ffcluster.core.job import Job, JobState
from ffcluster.core.model import JobId, WorkerId
from ffcluster.core.segment import SegmentState
from ffcluster.errors import Code
from tests.core.cluster_model import capability, facts
from tests.sim.chaos import Chaos
from tests.sim.machines import Machine
from tests.sim.world import World

# Simulated seconds in which every job must have ended once all is well.
_PATIENCE_S = 20_000.0


@attrs.frozen
class Scale:
    """How large a world is."""

    machines: int = 4
    jobs: int = 2
    frames: int = 3_000
    chaos_s: float = 150.0
    pause_s: float = 6.0
    check_every: int = 1
    validate_every: int = 1


@attrs.frozen
class Story:
    """What became of a world."""

    seed: int
    events: int
    crashes: int
    completed: int
    failed: int
    missing: int
    ended_at: float


def build(seed: int, scale: Scale) -> tuple[World, Chaos]:
    """The world of that seed, before anything has happened in it."""
    rng = random.Random(seed)
    policy = Policy(
        required_workers=rng.randrange(1, min(3, scale.machines) + 1),
        benchmark_duration_s=4.0,
        max_retries=rng.randrange(1, 6),
        retry_delay_s=rng.choice([0.0, 1.0, 5.0]),
        lease_s=rng.choice([5.0, 15.0, 30.0]),
        poison_after=rng.randrange(2, 5),
        quarantine_after=rng.randrange(1, 4),
        quarantine_s=rng.choice([5.0, 60.0]),
    )
    world = World(policy, rng, scale.check_every, scale.validate_every)
    for number in range(scale.machines):
        _add_machine(world, f"w{number}")
    for number in range(scale.jobs):
        _add_job(world, JobId(f"j{number}"), scale)
    chaos = Chaos(world, scale.chaos_s, scale.pause_s)
    chaos.begin()
    return world, chaos


def _add_machine(world: World, name: str) -> None:
    rng = world.rng
    nvenc = capability("h264_nvenc", "cuda:0", slots=2, backend="nvenc")
    said = facts(name, rng.choice([1, 2]), *([nvenc] if rng.random() < 0.4 else []))
    rates = {c.device: rng.choice([10.0, 25.0, 50.0]) for c in said.capabilities}
    machine = Machine(world, WorkerId(name), said, rates, kills=rng.random() < 0.3)
    world.machines[machine.id] = machine
    world.later(rng.uniform(0.0, 5.0), machine.connect)


def _add_job(world: World, job_id: JobId, scale: Scale) -> None:
    rng = world.rng
    frames = world.films[job_id] = rng.randrange(1, scale.frames)
    if rng.random() < 0.15:
        world.poison[job_id] = rng.randrange(frames)
    world.later(
        rng.uniform(0.0, 40.0),
        lambda: world.submit(
            job_id,
            mix=rng.random() < 0.3,
            allow_missing=rng.random() < 0.4,
        ),
    )


def command(seed: int, scale: Scale) -> str:
    """The command that lets that world run again."""
    options = [
        f"--{field.name.removesuffix('_s').replace('_', '-')} {getattr(scale, field.name)}"
        for field in attrs.fields(Scale)
        if getattr(scale, field.name) != field.default
    ]
    return " ".join(["python -m tests.sim --seeds 1 --first", str(seed), *options])


def run(seed: int, scale: Scale = Scale()) -> Story:
    """Let a world run to its end.

    Raises:
        AssertionError: It did not end as it should, or something impossible happened.
    """
    try:
        return _run(seed, scale)
    except Exception as error:
        error.add_note(f"seed {seed}; to see it again: {command(seed, scale)}")
        raise


def _run(seed: int, scale: Scale) -> Story:
    world, chaos = build(seed, scale)
    deadline = scale.chaos_s + _PATIENCE_S
    while world.timeline.step():
        assert world.now < deadline, _unfinished(world)
        if world.faults == 0.0 and world.ended() and world.now > scale.chaos_s + 60.0:
            break
    assert world.ended(), _unfinished(world)
    _judge(world, chaos)
    before = {job.id: job.state for job in world.jobs.values()}
    world.crash()
    world.start()
    assert {job.id: job.state for job in world.jobs.values()} == before
    assert not world.state.attempts
    jobs = list(world.jobs.values())
    return Story(
        seed,
        world.events,
        world.crashes,
        sum(1 for job in jobs if job.state is JobState.COMPLETED),
        sum(1 for job in jobs if job.state is JobState.FAILED),
        sum(1 for job in jobs if job.outcome and job.outcome.missing),
        world.now,
    )


def _unfinished(world: World) -> str:
    if not world.up:
        return "the coordinator is down"
    return "; ".join(
        f"{job.id} is {job.state.value} since {job.history[-1:]}: {job.reason!r}"
        for job in world.jobs.values()
        if not job.ended
    )


def _judge(world: World, chaos: Chaos) -> None:
    for job_id in world.films:
        job = world.jobs.get(job_id)
        if job is None:
            assert job_id in chaos.removed, f"{job_id} is forgotten"
        elif job.state is JobState.COMPLETED:
            _is_whole(world, job)
        elif job.state is JobState.FAILED:
            _failed_for_a_reason(world, job)
        if job_id not in chaos.retried:
            outputs = world.disk.outputs.items()
            ours = [path for path, film in outputs if film.pieces and _is_of(path, job_id)]
            assert len(ours) <= 1, f"published as {ours}"
    assert not world.state.attempts


def _is_of(path: str, job_id: JobId) -> bool:
    return path.rsplit("-", 1)[0] == job_id


def _is_whole(world: World, job: Job) -> None:
    outcome = job.outcome
    assert outcome is not None
    film = world.disk.outputs[outcome.path]
    assert film.sha256 == outcome.sha256
    pieces = sorted([*(frames for frames, _ in film.pieces), *outcome.missing])
    frontier = 0
    for frames in pieces:
        assert frames.first == frontier, f"{job.id}: {frames} after frame {frontier}"
        frontier = frames.stop
    assert frontier == world.films[job.id]
    assert [frames for frames, _ in film.pieces] == sorted(frames for frames, _ in film.pieces)
    assert outcome.frame_count == sum(len(frames) for frames, _ in film.pieces) > 0
    poison = world.poison.get(job.id)
    if poison is not None:
        assert any(frames.first <= poison < frames.stop for frames in outcome.missing)
    assert job.spec.allow_missing or not outcome.missing


def _failed_for_a_reason(world: World, job: Job) -> None:
    """The evidence is what really happened, and it is enough."""
    error, policy = job.error, world.policy
    assert error is not None
    if error.code in (Code.NO_USABLE_ENCODER, Code.JOIN_FAILED, Code.INCOMPATIBLE_SEGMENTS):
        assert world.injected or error.code is Code.JOIN_FAILED, error
        return
    if not job.kept:
        # What was kept for a retry, and the evidence with it, was kept long enough.
        return
    given_up = [
        segment
        for segment in job.segments.values()
        if segment.failures and segment.state is not SegmentState.COMMITTED
    ]
    assert given_up, error
    for segment in given_up:
        for failure in segment.failures:
            if failure.error.code is Code.WORKER_LOST:
                # What a worker says while the coordinator is away is lost as well.
                assert failure.worker_name in world.lost or world.crashes, failure
            else:
                assert world.injected[failure.epoch].code is failure.error.code, failure
    assert any(_enough(segment.failures, policy) for segment in given_up), error


def _enough(failures: list, policy: Policy) -> bool:
    workers = {failure.post_key.worker_id for failure in failures}
    return len(workers) >= policy.poison_after or len(failures) > policy.max_retries
