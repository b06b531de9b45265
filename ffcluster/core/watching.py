"""What becomes of the files in a watch folder: which are whole, what is taken, what comes next.

Decides only: a look says what is there, an effect says what to do, and what came of it is told
back. Knows no clock and no files; whoever carries out the effects writes down what a claim has
reached before it says so, and gives the claims back after a restart.
"""

from __future__ import annotations

import enum
import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

# An effect that cannot be carried out is tried again after 2, 4, 8 ... looks, at most so many.
_LONGEST_PAUSE_LOOKS = 32


@attrs.frozen
class Stamp:
    """What changes when a file is written to or replaced.

    Attributes:
        mtime_ns: When it was last written to.
        size_bytes: Its size.
        inode: Its number on the file system.
        device: The file system's number.
    """

    mtime_ns: int
    size_bytes: int
    inode: int
    device: int = 0


@attrs.frozen(kw_only=True)
class Rules:
    """How a folder is watched.

    Attributes:
        looks: Looks in a row that must find a file the same before it is taken.
        at_once: Most files that are taken and not done with.
        skips_twins: Whether a file that was done before, under whatever name, is not done again.
        most_files: Most files that are looked at together; more wait until some are gone.
    """

    looks: int = 6
    at_once: int = 4
    skips_twins: bool = True
    most_files: int = 100_000


class Verdict(enum.StrEnum):
    """How it ended with a file: made, the same as an earlier one, or not possible."""

    DONE = "done"
    TWIN = "twin"
    FAILED = "failed"


@attrs.frozen
class Ending:
    """How it ended with a file, and what a person should read about it."""

    verdict: Verdict
    text: str


@attrs.define
class Claim:
    """A file that was taken and is not done with.

    Attributes:
        id: Its own name, never used for another one.
        name: Where it was in the folder, as a relative path.
        stamp: How it was when it was taken.
        sha256: What it holds, or "" before it was read.
        job_id: Its job, or "" before it was submitted.
        ending: How it ended, or None.
        busy: Whether an effect for it is being carried out.
        failures: Effects in a row that could not be carried out.
        pause: Looks to let pass before the next try.
    """

    id: str
    name: str
    stamp: Stamp
    sha256: str = ""
    job_id: str = ""
    ending: Ending | None = None
    busy: bool = False
    failures: int = 0
    pause: int = 0


@attrs.frozen
class Take:
    """Take this file, if it is still so; answer with `taken` or `not_taken`."""

    name: str
    stamp: Stamp


@attrs.frozen
class Read:
    """Find out what a claim holds; answer with `known`, `returned` or `gone`."""

    claim_id: str


@attrs.frozen
class Submit:
    """Have a job made of a claim; answer with `submitted` or `ended`."""

    claim_id: str


@attrs.frozen
class Settle:
    """Put the file where it belongs at its end; answer with `settled`."""

    claim_id: str
    ending: Ending


Effect = Take | Read | Submit | Settle


@attrs.define
class _Seen:
    stamp: Stamp
    looks: int = 1


@attrs.frozen
class Comparison:
    """A look compared with the one before.

    Attributes:
        seen: Every file, and in how many looks in a row it was the same.
        whole: Names of the oldest files that are whole.
    """

    seen: dict[str, _Seen]
    whole: Sequence[str]


class Watch:
    """One watch folder.

    Every method answers what is to be done next. Any effect may be answered with `failed` instead:
    it then comes again after some looks.

    Args:
        rules: How it is watched.
        claims: What was taken earlier and is not done with.
        left: Files that were done and left where they were.

    Attributes:
        claims: What is taken and not done with, by id.
    """

    def __init__(
        self, rules: Rules, claims: Iterable[Claim] = (), left: Mapping[str, Stamp] | None = None
    ) -> None:
        self._rules = rules
        self.claims = {claim.id: claim for claim in claims}
        self._left = dict(left or {})
        self._seen: dict[str, _Seen] = {}
        self._taking: set[str] = set()
        # Kept for the next comparison to drop, since dropping very many takes long too.
        self._spent: dict[str, _Seen] = {}
        # What is to be found the same for as many looks again.
        self._anew: set[str] = set()
        # Made while other claims were being read, whose readers could not see it.
        self._just_done: dict[str, str] = {}

    # --- looks ---------------------------------------------------------------------------------

    def looked(self, found: Iterable[tuple[str, Stamp]]) -> Sequence[Effect]:
        """A look at the folder found these files, as (name, stamp)."""
        return self.adopt(self.compare(found))

    def compare(self, found: Iterable[tuple[str, Stamp]]) -> Comparison:
        """Compare a look with the one before; decides nothing yet.

        With very many files this takes long, so it may be done in a thread, while this object goes
        on being used, as long as no other comparison is made meanwhile.
        """
        self._spent.clear()
        seen: dict[str, _Seen] = {}
        for name, stamp in found:
            if len(seen) >= self._rules.most_files:
                break
            if stamp.size_bytes == 0 or self._left.get(name) == stamp:
                continue
            before = self._seen.get(name)
            same = before is not None and before.stamp == stamp
            seen[name] = _Seen(stamp, before.looks + 1 if before and same else 1)
        whole = (name for name, file in seen.items() if file.looks >= self._rules.looks)
        # The oldest first: who waited longest. As many again may be on their way already.
        oldest = heapq.nsmallest(
            2 * self._rules.at_once, whole, key=lambda name: (seen[name].stamp.mtime_ns, name)
        )
        return Comparison(seen, oldest)

    def adopt(self, comparison: Comparison) -> Sequence[Effect]:
        """Take a comparison for the latest look."""
        self._spent, self._seen = self._seen, comparison.seen
        seen = self._seen
        # A comparison that was made meanwhile went on counting where it should have begun anew.
        stale = {name for name in self._anew if name in seen and seen[name].looks > 1}
        self._anew.clear()
        for name in stale:
            del seen[name]
        whole = [name for name in comparison.whole if name not in stale | self._taking]
        return [*self._go_on(), *self._take(whole)]

    def _take(self, whole: Sequence[str]) -> Iterator[Effect]:
        room = self._rules.at_once - len(self.claims) - len(self._taking)
        for name in whole[: max(0, room)]:
            self._taking.add(name)
            yield Take(name, self._seen[name].stamp)

    def _go_on(self) -> Iterator[Effect]:
        for claim in self.claims.values():
            if claim.pause:
                claim.pause -= 1
                continue
            yield from self._next(claim)

    def _next(self, claim: Claim) -> Iterator[Effect]:
        """What is to be done for a claim now."""
        if claim.busy or claim.pause:
            return
        effect: Effect | None = None
        if claim.ending is not None:
            effect = Settle(claim.id, claim.ending)
        elif claim.job_id:
            return
        elif not claim.sha256:
            effect = Read(claim.id)
        elif not self._waits_for_twin(claim):
            effect = Submit(claim.id)
        if effect is not None:
            claim.busy = True
            yield effect

    def _waits_for_twin(self, claim: Claim) -> bool:
        """Whether another claim that holds the same goes first, so that this may have no work."""
        if not self._rules.skips_twins:
            return False
        same = [other for other in self.claims.values() if other.sha256 == claim.sha256]
        # Who has a job or is asking for one goes on; else the one that was taken first.
        begun = [other for other in same if other.job_id or other.ending or other.busy]
        return (begun or same)[0] is not claim

    # --- what came of an effect ----------------------------------------------------------------

    def taken(self, claim: Claim) -> Sequence[Effect]:
        """The file is the coordinator's now."""
        self.not_taken(claim.name)
        self.claims[claim.id] = claim
        return list(self._next(claim))

    def not_taken(self, name: str) -> None:
        """The file could not be taken; it must be found the same for as many looks again."""
        self._taking.discard(name)
        self._seen.pop(name, None)
        self._anew.add(name)

    def known(self, claim_id: str, sha256: str, twin: str = "") -> Sequence[Effect]:
        """What a claim holds is known.

        Args:
            claim_id: The claim.
            sha256: SHA-256 of its bytes, hex.
            twin: About the earlier file that held the same and is done, or "".
        """
        claim = self._answered(claim_id)
        claim.sha256 = sha256
        twin = twin or self._just_done.get(sha256, "")
        if twin and self._rules.skips_twins:
            claim.ending = Ending(Verdict.TWIN, twin)
        if all(other.sha256 for other in self.claims.values()):
            self._just_done.clear()
        return list(self._next(claim))

    def submitted(self, claim_id: str, job_id: str) -> None:
        """A claim's job is stored."""
        self._answered(claim_id).job_id = job_id

    def ended(self, claim_id: str, ending: Ending) -> Sequence[Effect]:
        """A claim's job ended, or can never be made; the first word on it counts."""
        claim = self.claims[claim_id]
        if claim.ending is None:
            claim.ending = ending
            claim.busy = False
            claim.failures = claim.pause = 0
        return list(self._next(claim))

    def settled(self, claim_id: str, left: tuple[str, Stamp] | None = None) -> Sequence[Effect]:
        """A claim's file is where it belongs.

        Args:
            claim_id: The claim.
            left: Name and stamp of the file, if it was left in the folder; it is not taken again.
        """
        claim = self.claims.pop(claim_id)
        if left is not None:
            self._left[left[0]] = left[1]
        if not claim.sha256:
            return []
        done = claim.ending is not None and claim.ending.verdict is not Verdict.FAILED
        sentence = f"It holds the same as {claim.name!r}."
        if done and not all(other.sha256 for other in self.claims.values()):
            self._just_done[claim.sha256] = sentence
        follow: list[Effect] = []
        for twin in [c for c in self.claims.values() if c.sha256 == claim.sha256]:
            if done and self._rules.skips_twins and not twin.job_id and twin.ending is None:
                twin.ending = Ending(Verdict.TWIN, sentence)
            follow += self._next(twin)
        return follow

    def returned(self, claim_id: str) -> None:
        """A claim was given back to the folder, since it changed, or is gone altogether."""
        del self.claims[claim_id]

    def failed(self, claim_id: str) -> None:
        """An effect could not be carried out now; it is tried again some looks later."""
        claim = self._answered(claim_id)
        claim.failures += 1
        claim.pause = min(2**claim.failures, _LONGEST_PAUSE_LOOKS)

    def _answered(self, claim_id: str) -> Claim:
        claim = self.claims[claim_id]
        claim.busy = False
        return claim

    # --- for others ----------------------------------------------------------------------------

    def running(self) -> list[Claim]:
        """The claims whose jobs have not ended, as far as was told."""
        claims = self.claims.values()
        return [c for c in claims if c.job_id and c.ending is None and not c.busy]

    def validate(self) -> None:
        """Check what must always hold.

        Raises:
            ValueError: Something does not.
        """
        if len(self.claims) + len(self._taking) > self._rules.at_once + self._restored_beyond():
            raise ValueError("more files are taken than is allowed")
        for claim in self.claims.values():
            if claim.job_id and not claim.sha256:
                raise ValueError(f"claim {claim.id} has a job before it was read")

    def _restored_beyond(self) -> int:
        # Claims of a time with other rules are kept, however many they are.
        return max(0, len(self.claims) - self._rules.at_once)
