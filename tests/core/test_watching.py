"""What a watch folder takes and when: cases, and any order of looks, answers and crashes."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ffcluster.core.watching import (
    Claim,
    Effect,
    Ending,
    Read,
    Rules,
    Settle,
    Stamp,
    Submit,
    Take,
    Verdict,
    Watch,
)

LOOKS = 3
A, B = Stamp(1, 100, 7), Stamp(2, 100, 8)
DONE = Ending(Verdict.DONE, "out/film.mkv")
FAILED = Ending(Verdict.FAILED, "no video")


def a_watch(**rules: object) -> Watch:
    return Watch(Rules(**{"looks": LOOKS, **rules}))  # type: ignore[arg-type]


def look_until_taken(watch: Watch, *files: tuple[str, Stamp]) -> list[Effect]:
    found: list[Effect] = []
    for _ in range(LOOKS):
        found = list(watch.looked(files))
    return found


def test_file_is_taken_once_enough_looks_found_it_the_same() -> None:
    watch = a_watch()
    assert not watch.looked([("film.mkv", A)])
    assert not watch.looked([("film.mkv", A)])
    assert watch.looked([("film.mkv", A)]) == [Take("film.mkv", A)]
    assert not watch.looked([("film.mkv", A)])


def test_file_that_grows_or_goes_away_begins_anew() -> None:
    watch = a_watch()
    grown = attrs.evolve(A, size_bytes=200)
    for found in ([("f", A)], [("f", A)], [("f", grown)], [("f", grown)], [], [("f", grown)]):
        assert not watch.looked(found)
    assert not watch.looked([("f", grown)])
    assert watch.looked([("f", grown)]) == [Take("f", grown)]


def test_empty_file_is_left_alone() -> None:
    assert not look_until_taken(a_watch(), ("f", Stamp(1, 0, 7)))


def test_oldest_are_taken_first_and_no_more_than_allowed() -> None:
    files = [(f"{n}.mkv", Stamp(100 - n, 10, n)) for n in range(10)]
    assert look_until_taken(a_watch(at_once=2), *files) == [
        Take("9.mkv", files[9][1]),
        Take("8.mkv", files[8][1]),
    ]


def test_no_more_files_are_remembered_than_allowed() -> None:
    watch = a_watch(most_files=5, at_once=100)
    assert len(look_until_taken(watch, *((str(n), A) for n in range(50)))) == 5


def test_file_that_somebody_writes_to_waits_again() -> None:
    watch = a_watch()
    look_until_taken(watch, ("f", A))
    watch.not_taken("f")
    assert not watch.looked([("f", A)])
    assert not watch.looked([("f", A)])
    assert watch.looked([("f", A)]) == [Take("f", A)]


def test_file_that_could_not_be_taken_during_a_look_waits_again_too() -> None:
    watch = a_watch()
    look_until_taken(watch, ("f", A))
    comparison = watch.compare([("f", A)])
    watch.not_taken("f")
    assert not watch.adopt(comparison)
    assert not watch.looked([("f", A)])
    assert not watch.looked([("f", A)])
    assert watch.looked([("f", A)]) == [Take("f", A)]


def test_way_of_a_file_that_can_be_encoded() -> None:
    watch = a_watch()
    look_until_taken(watch, ("f", A))
    assert watch.taken(Claim("c", "f", A)) == [Read("c")]
    assert watch.known("c", "ab") == [Submit("c")]
    watch.submitted("c", "job1")
    assert [claim.job_id for claim in watch.running()] == ["job1"]
    assert watch.ended("c", DONE) == [Settle("c", DONE)]
    assert not watch.settled("c")
    assert not watch.claims


def test_file_that_was_done_before_is_settled_with_a_note() -> None:
    watch = a_watch()
    watch.taken(Claim("c", "f", A))
    (settle,) = watch.known("c", "ab", twin="It is old.")
    assert settle == Settle("c", Ending(Verdict.TWIN, "It is old."))


def test_twins_are_done_again_where_that_is_wanted() -> None:
    watch = a_watch(skips_twins=False)
    watch.taken(Claim("c", "f", A))
    assert watch.known("c", "ab", twin="It is old.") == [Submit("c")]
    watch.taken(Claim("d", "g", B))
    assert watch.known("d", "ab") == [Submit("d")]


def test_second_of_two_equal_files_waits_for_the_first() -> None:
    watch = a_watch()
    watch.taken(Claim("c", "f", A))
    watch.taken(Claim("d", "g", B))
    watch.known("c", "ab")
    assert not watch.known("d", "ab")
    watch.submitted("c", "job1")
    watch.ended("c", DONE)
    (settle,) = watch.settled("c")
    assert isinstance(settle, Settle)
    assert settle.ending.verdict is Verdict.TWIN


def test_second_of_two_equal_files_is_tried_when_the_first_failed() -> None:
    watch = a_watch()
    watch.taken(Claim("c", "f", A))
    watch.taken(Claim("d", "g", B))
    watch.known("c", "ab")
    watch.known("d", "ab")
    watch.ended("c", FAILED)
    assert watch.settled("c") == [Submit("d")]


def test_file_that_was_left_is_not_taken_again_until_it_changes() -> None:
    watch = a_watch()
    watch.taken(Claim("c", "f", A))
    watch.ended("c", DONE)
    watch.settled("c", ("f", A))
    assert not look_until_taken(watch, ("f", A))
    assert look_until_taken(watch, ("f", B)) == [Take("f", B)]


def test_effect_that_failed_comes_again_later_and_later() -> None:
    watch = a_watch()
    watch.taken(Claim("c", "f", A))
    waits = []
    for _ in range(8):
        watch.failed("c")
        looks = 1
        while not watch.looked([]):
            looks += 1
        waits.append(looks)
    assert waits == [3, 5, 9, 17, 33, 33, 33, 33]


def test_first_word_about_an_end_counts() -> None:
    watch = a_watch()
    watch.taken(Claim("c", "f", A))
    watch.ended("c", DONE)
    watch.ended("c", FAILED)
    assert watch.claims["c"].ending == DONE


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        (Claim("c", "f", A), [Read("c")]),
        (Claim("c", "f", A, sha256="ab"), [Submit("c")]),
        (Claim("c", "f", A, sha256="ab", job_id="job1"), []),
        (Claim("c", "f", A, sha256="ab", job_id="job1", ending=DONE), [Settle("c", DONE)]),
    ],
)
def test_restart_goes_on_from_what_was_noted(claim: Claim, expected: list[Effect]) -> None:
    assert list(Watch(Rules(), [claim]).looked([])) == expected


class Folders(RuleBasedStateMachine):
    """A folder, a coordinator that may crash, and people who write and rename at any time.

    `disk` is what lies in the folder, `noted` what is written down about claims, `jobs` what the
    coordinator stored by claim; all three outlive a crash, the `Watch` does not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rules = Rules(looks=LOOKS, at_once=2)
        self.disk: dict[str, Stamp] = {}
        self.contents: dict[int, str] = {}
        self.noted: dict[str, Claim] = {}
        self.jobs: dict[str, str] = {}
        self.finished: list[str] = []
        self.settled: list[Claim] = []
        self.looks: list[dict[str, Stamp]] = []
        self.pending: list[Effect] = []
        self.inode = 0
        self.claims = 0
        self.watch = Watch(self.rules)

    def _take_in(self, effects: object) -> None:
        for effect in effects:  # type: ignore[attr-defined]
            if isinstance(effect, Take):
                recent = self.looks[-LOOKS:]
                assert len(recent) == LOOKS
                assert all(look.get(effect.name) == effect.stamp for look in recent)
            self.pending.append(effect)

    @rule(name=st.sampled_from("abcd"), content=st.sampled_from("xyz"))
    def somebody_writes(self, name: str, content: str) -> None:
        self.inode += 1
        self.disk[name] = Stamp(self.inode, 10, self.inode)
        self.contents[self.inode] = content

    @rule(name=st.sampled_from("abcd"))
    def somebody_removes(self, name: str) -> None:
        self.disk.pop(name, None)

    @rule()
    def look(self) -> None:
        self.looks.append(dict(self.disk))
        self._take_in(self.watch.looked(self.disk.items()))

    @precondition(lambda self: self.pending)
    @rule(data=st.data(), works=st.booleans())
    def effect_is_carried_out(self, data: st.DataObject, works: bool) -> None:
        effect = self.pending.pop(data.draw(st.integers(0, len(self.pending) - 1)))
        self._carry_out(effect, works)

    def _carry_out(self, effect: Effect, works: bool) -> None:
        if isinstance(effect, Take):
            if not works or self.disk.get(effect.name) != effect.stamp:
                self.watch.not_taken(effect.name)
                return
            self.claims += 1
            claim = Claim(f"c{self.claims}", effect.name, self.disk.pop(effect.name))
            self.noted[claim.id] = attrs.evolve(claim)
            self._take_in(self.watch.taken(claim))
            return
        claim = self.noted[effect.claim_id]
        if not works:
            self.watch.failed(claim.id)
        elif isinstance(effect, Read):
            claim.sha256 = self.contents[claim.stamp.inode]
            twin = "done" if claim.sha256 in self.finished else ""
            self._take_in(self.watch.known(claim.id, claim.sha256, twin))
        elif isinstance(effect, Submit):
            # The key makes one job of however many tries.
            claim.job_id = self.jobs.setdefault(claim.id, f"job of {claim.id}")
            self.watch.submitted(claim.id, claim.job_id)
        else:
            self._settle(claim, effect)

    def _settle(self, claim: Claim, effect: Settle) -> None:
        claim.ending = effect.ending
        if effect.ending.verdict is Verdict.DONE:
            assert claim.sha256 not in self.finished, "one film was made twice"
            self.finished.append(claim.sha256)
        self.settled.append(self.noted.pop(claim.id))
        self._take_in(self.watch.settled(claim.id))

    @precondition(lambda self: self.watch.running())
    @rule(data=st.data(), well=st.booleans())
    def job_ends(self, data: st.DataObject, well: bool) -> None:
        claim = data.draw(st.sampled_from(self.watch.running()))
        self._take_in(self.watch.ended(claim.id, DONE if well else FAILED))

    @rule()
    def crash(self) -> None:
        self.pending.clear()
        self.looks.clear()
        claims = [attrs.evolve(c, busy=False, pause=0, failures=0) for c in self.noted.values()]
        self.watch = Watch(self.rules, claims)

    @invariant()
    def what_must_hold(self) -> None:
        self.watch.validate()
        assert set(self.watch.claims) == set(self.noted)
        waiting = [e.claim_id for e in self.pending if not isinstance(e, Take)]
        assert len(waiting) == len(set(waiting)), "two effects for one claim at once"

    def teardown(self) -> None:
        """Left in peace, everything in the folder is made and put where it belongs."""
        for _ in range(400):
            self.look()
            while self.pending:
                self._carry_out(self.pending.pop(0), works=True)
            for claim in list(self.watch.running()):
                self._take_in(self.watch.ended(claim.id, DONE))
        assert not self.disk
        assert not self.noted
        assert len({claim.id for claim in self.settled}) == len(self.settled) == self.claims


Folders.TestCase.settings = settings(max_examples=100, stateful_step_count=40)
test_any_order_of_looks_answers_and_crashes = Folders.TestCase
