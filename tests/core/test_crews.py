from __future__ import annotations

import itertools

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffcluster.core.crews import (
    Crew,
    Kind,
    Post,
    PostState,
    best_first,
    gather,
    one_per_device,
    strongest,
    worth_trying,
)
from ffcluster.core.judge import Candidate
from ffcluster.core.model import Capability, Measurement, WorkerId
from ffcluster.core.profile import Profile
from ffcluster.core.throughput import RateKey, Throughput, estimate_fps
from ffcluster.core.worker import Worker, WorkerFacts
from tests.core.cluster_model import VIDEO, capability, report

PLAIN = Profile()


def post(
    worker: str,
    encoder: str = "libx264",
    device: str = "",
    *,
    sets: str | None = None,
    fps: float | None = None,
    **changes: object,
) -> Post:
    made = capability(encoder, device, **changes)
    facts = WorkerFacts(worker, (made,))
    found = Post.of(Worker(WorkerId(worker), facts, 0.0), Candidate(made, made.rank), PLAIN, VIDEO)
    if fps is not None:
        found.worker.rates[RateKey.of(made, PLAIN, VIDEO)] = Throughput(fps, 1)
    if sets is not None:
        found.learn(report(12, sets))
    return found


def no_verdict(one: Capability, other: Capability) -> bool | None:
    return None


def sets_of(crews: list[Crew]) -> list[set[str]]:
    return [{member.worker.id for member in crew.posts} for crew in crews]


def test_equal_parameter_sets_make_one_crew_and_different_ones_two() -> None:
    posts = [post("a", sets="1"), post("b", sets="2"), post("c", sets="1")]
    assert sets_of(gather(posts, no_verdict)) == [{"a", "c"}, {"b"}]


def test_a_verdict_splits_what_is_equal() -> None:
    posts = [post("a", sets="1"), post("b", "h264_nvenc", "cuda:0", sets="1")]
    assert len(gather(posts, lambda one, other: False if one != other else None)) == 2


def test_a_verdict_joins_what_is_different_but_never_other_shapes() -> None:
    one, two = post("a", sets="1"), post("b", "h264_nvenc", "cuda:0", sets="2")
    assert len(gather([one, two], lambda *_: True)) == 1
    two.report = attrs.evolve(two.report, pix_fmt="yuv444p")
    assert len(gather([one, two], lambda *_: True)) == 2


def test_a_post_whose_kind_is_unknown_is_admitted_nowhere() -> None:
    crew = Crew()
    crew.take(post("a", sets="1"))
    assert not crew.admits(post("b"), lambda *_: True)


def test_measured_throughput_of_all_slots_decides() -> None:
    many = [post(name, sets="soft", fps=30.0) for name in "abc"]
    one = post("d", "h264_nvenc", "cuda:0", sets="hard", fps=40.0, slots=2)
    crews = gather([*many, one], no_verdict)
    assert sets_of([strongest(crews)]) == [{"a", "b", "c"}]
    one.worker.rates[RateKey.of(one.capability, PLAIN, VIDEO)] = Throughput(50.0, 1)
    assert sets_of([strongest(crews)]) == [{"d"}]


def test_one_unknown_rate_makes_ranks_decide_and_hardware_weighs_more() -> None:
    many = [post(name, sets="soft", fps=1000.0) for name in "abc"]
    crews = gather([*many, post("d", "h264_nvenc", "cuda:0", sets="hard")], no_verdict)
    assert sets_of([strongest(crews)]) == [{"d"}]


def test_a_device_counts_once_in_a_crew() -> None:
    first = post("a", "one", sets="1", fps=50.0)
    second = Post.of(first.worker, Candidate(capability("two"), 50), PLAIN, VIDEO)
    first.worker.rates[RateKey.of(second.capability, PLAIN, VIDEO)] = Throughput(49.0, 1)
    second.learn(report(12, "1"))
    rival = post("b", "three", sets="3", fps=60.0)
    crews = gather([first, second, rival], no_verdict)
    assert sets_of([strongest(crews)]) == [{"b"}]


def test_equal_crews_are_told_apart_by_rank_and_then_by_name() -> None:
    posts = [post("a", "bbb", sets="1"), post("b", "aaa", sets="2")]
    assert sets_of([strongest(gather(posts, no_verdict))]) == [{"b"}]
    better = post("c", "zzz", sets="3", fps=10.0, rank=60)
    equal = [*posts, better]
    for each in equal:
        each.worker.rates[RateKey.of(each.capability, PLAIN, VIDEO)] = Throughput(10.0, 1)
    assert sets_of([strongest(gather(equal, no_verdict))]) == [{"c"}]


@st.composite
def crowds(draw: st.DrawFn) -> list[Post]:
    count = draw(st.integers(1, 6))
    return [
        post(
            f"w{number}",
            draw(st.sampled_from(["libx264", "h264_nvenc", "h264_qsv"])),
            draw(st.sampled_from(["", "cuda:0", "/dev/dri/renderD128"])),
            sets=draw(st.sampled_from("123")),
            fps=draw(st.sampled_from([None, 10.0, 20.0])),
            slots=draw(st.integers(1, 3)),
        )
        for number in range(count)
    ]


@given(crowds(), st.randoms())
def test_the_order_in_which_posts_are_known_changes_nothing(
    posts: list[Post], chance: object
) -> None:
    shuffled = list(posts)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    chosen = [strongest(gather(best_first(some), no_verdict)) for some in (posts, shuffled)]
    assert sets_of(chosen[:1]) == sets_of(chosen[1:])


@given(crowds())
def test_a_crew_holds_one_kind_and_every_post_is_in_one_crew(posts: list[Post]) -> None:
    crews = gather(posts, no_verdict)
    assert sorted(p.worker.id for c in crews for p in c.posts) == sorted(p.worker.id for p in posts)
    assert all(len({Kind.of(p.report) for p in c.posts}) == 1 for c in crews)
    for one, other in itertools.combinations(crews, 2):
        assert not set(one.kinds) & set(other.kinds)


def software(worker: str, *names: str) -> list[Post]:
    made = tuple(capability(name, rank=rank) for rank, name in enumerate(reversed(names), 1))
    owner = Worker(WorkerId(worker), WorkerFacts(worker, made), 0.0)
    return [Post.of(owner, Candidate(c, c.rank), PLAIN, VIDEO) for c in made]


def names(posts: list[Post]) -> list[tuple[str, str]]:
    return sorted((p.worker.id, p.capability.encoder) for p in posts)


def test_the_second_best_encoder_of_everybody_is_not_worth_a_trial() -> None:
    posts = [*software("a", "svt", "aom"), *software("b", "svt", "aom")]
    assert names(worth_trying(posts)) == [("a", "svt"), ("b", "svt")]


def test_the_second_best_is_tried_where_somebody_has_nothing_else() -> None:
    posts = [*software("a", "svt", "aom"), *software("b", "aom")]
    assert names(worth_trying(posts)) == [("a", "aom"), ("a", "svt"), ("b", "aom")]


def test_encoders_on_different_devices_do_not_replace_each_other() -> None:
    x264, nvenc = capability("libx264"), capability("h264_nvenc", "cuda:0")
    owner = Worker(WorkerId("a"), WorkerFacts("a", (x264, nvenc)), 0.0)
    posts = [Post.of(owner, Candidate(c, c.rank), PLAIN, VIDEO) for c in (x264, nvenc)]
    assert len(worth_trying(posts)) == 2
    assert len(one_per_device(posts)) == 2


def measurement(preset: str = "", fps: float = 90.0, **changes: object) -> Measurement:
    made = Measurement("libx264", "", preset, 1280, 720, fps, fps / 25, 3)
    return attrs.evolve(made, **changes)


def test_an_estimate_shares_the_measured_rate_among_the_sessions() -> None:
    one = capability()
    assert estimate_fps(one, [measurement()], PLAIN, VIDEO) == pytest.approx(30.0)
    tried = measurement(session_fps=((1, 50.0), (2, 80.0), (3, 90.0)))
    assert estimate_fps(one, [tried], PLAIN, VIDEO) == pytest.approx(50.0)
    two = capability(slots=2)
    assert estimate_fps(two, [tried], PLAIN, VIDEO) == pytest.approx(40.0)


def test_an_estimate_is_scaled_by_the_pixels() -> None:
    half = measurement(width=640, height=720)
    assert estimate_fps(capability(), [half], PLAIN, VIDEO) == pytest.approx(15.0)


def test_the_nearest_preset_is_taken() -> None:
    one = capability(presets=("ultrafast", "fast", "medium", "slow"))
    both = [measurement("ultrafast", 300.0), measurement("slow", 30.0)]
    wanted = Profile(preset="medium")
    assert estimate_fps(one, both, wanted, VIDEO) == pytest.approx(10.0)
    exact = [*both, measurement("medium", 60.0)]
    assert estimate_fps(one, exact, wanted, VIDEO) == pytest.approx(20.0)


def test_what_was_measured_of_another_device_says_nothing() -> None:
    assert estimate_fps(capability("libx264", "cuda:0"), [measurement()], PLAIN, VIDEO) is None
    assert estimate_fps(capability(), [measurement(fps=0.0)], PLAIN, VIDEO) is None


def test_a_measured_rate_is_preferred_to_an_estimate() -> None:
    known = post("a", fps=77.0)
    benchmarked = attrs.evolve(known.worker.facts, measurements=(measurement(),))
    known = Post.of(attrs.evolve(known.worker, facts=benchmarked), known.candidate, PLAIN, VIDEO)
    assert known.pace_fps == 77.0
    known.worker.rates.clear()
    assert known.pace_fps == pytest.approx(30.0)


def test_what_a_post_writes_is_learnt_once() -> None:
    seen = post("a", sets="1")
    seen.learn(report(12, "2"))
    assert seen.state is PostState.KNOWN
    assert seen.kind == Kind.of(report(5, "1"))
