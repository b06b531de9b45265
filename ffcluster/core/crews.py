"""Who may work on a job together: posts, what each writes, and the crews that these make.

A post is one capability of one worker as one job sees it. Posts whose results may stand in one
file under one header make a crew. Decides by what trials and results showed and by what the
judge says; offers nothing and ends nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, NamedTuple

import attrs

from ffcluster.core.judge import Candidate
from ffcluster.core.media import VideoFormat
from ffcluster.core.model import Capability, PreRoll, ResultReport
from ffcluster.core.profile import Profile
from ffcluster.core.quarantine import Quarantine
from ffcluster.core.segment import PostKey
from ffcluster.core.throughput import RateKey, estimate_fps
from ffcluster.core.transition import TransitionTable
from ffcluster.core.worker import Worker

if TYPE_CHECKING:
    from ffcluster.core.roster import Roster

# Where no rate is known, a piece of hardware is taken to be worth several machines' CPUs: one
# NVENC or QuickSync engine makes about what four desktop CPUs make with x264's `medium`.
_HARDWARE_WEIGHT = 4
# Paces are added up in this part of a frame per second.
_PACE_UNITS = 2**20

# Says of two capabilities whether they may share a file; None leaves it to what they write.
Joins = Callable[[Capability, Capability], bool | None]


class PostState(enum.StrEnum):
    """What is known of a post.

    UNTRIED: nothing. It may work all the same where no other post has to fit to it.
    WANTED: a trial shall be made as soon as its device has room.
    TRYING: a trial is live.
    KNOWN: a trial or its first committed result showed what it writes. `report` is set.
    REFUSED: it cannot do this job. `reason` is set.
    """

    UNTRIED = "untried"
    WANTED = "wanted"
    TRYING = "trying"
    KNOWN = "known"
    REFUSED = "refused"


IN_TRIAL = frozenset({PostState.WANTED, PostState.TRYING})

POST_MOVES = TransitionTable(
    {
        PostState.UNTRIED: frozenset({PostState.WANTED, PostState.KNOWN, PostState.REFUSED}),
        PostState.WANTED: frozenset({PostState.UNTRIED, PostState.TRYING, PostState.REFUSED}),
        PostState.TRYING: frozenset({PostState.UNTRIED, PostState.KNOWN, PostState.REFUSED}),
        PostState.KNOWN: frozenset({PostState.REFUSED}),
        PostState.REFUSED: frozenset(),
    }
)


class Shape(NamedTuple):
    """What all of a job's segments share, however they are joined."""

    codec: str
    width: int
    height: int
    pix_fmt: str


class Kind(NamedTuple):
    """What a post writes: results of one kind stand under one header."""

    shape: Shape
    parameter_sets: str

    @classmethod
    def of(cls, report: ResultReport) -> Kind:
        """The kind of a result."""
        shape = Shape(report.codec, report.width, report.height, report.pix_fmt)
        return cls(shape, report.parameter_sets)


@attrs.define(eq=False)
class Post:
    """One capability of one worker, as one job sees it.

    Attributes:
        rate_key: Under which its worker knows its rate for this job.
        benchmarked_fps: Its rate per slot as its worker's own benchmarks suggest, or None.
        crew: The crew of the job that it belongs to, or None when it takes no part.
        awaited: Whether the job's start waits for its trial.
        not_before: No trial is offered before this time.
        setbacks: Trials that came to nothing for a reason that was not the encoder's.
        failures_in_a_row: Attempts that failed since the last one that came through.
        roster: Where its job lists it, or None.
    """

    worker: Worker
    candidate: Candidate
    rate_key: RateKey
    benchmarked_fps: float | None = None
    state: PostState = PostState.UNTRIED
    report: ResultReport | None = None
    reason: str = ""
    crew: Crew | None = None
    awaited: bool = False
    not_before: float = 0.0
    pre_roll: PreRoll = PreRoll.KEYFRAME
    setbacks: int = 0
    failures_in_a_row: int = 0
    roster: Roster | None = attrs.field(default=None, repr=False)
    _kind: tuple[ResultReport | None, Kind | None] | None = attrs.field(default=None, repr=False)

    @classmethod
    def of(cls, worker: Worker, candidate: Candidate, profile: Profile, video: VideoFormat) -> Post:
        """The post of a worker's capability in a job with this profile and source."""
        capability = candidate.capability
        measurements = worker.facts.measurements
        return cls(
            worker,
            candidate,
            RateKey.of(capability, profile, video),
            estimate_fps(capability, measurements, profile, video),
        )

    def move(self, target: PostState) -> None:
        """Go to `target`, or raise `InvalidTransition`."""
        if target not in POST_MOVES.moves[self.state]:
            POST_MOVES.check(f"post {self.name}", self.state, target)
        self.state = target
        self.placed()

    def placed(self) -> None:
        """Have its job list it where it belongs now."""
        if self.roster is not None:
            self.roster.place(self)

    def enlist(self, crew: Crew) -> None:
        """Work with a crew."""
        if self.crew is not crew:
            self.leave()
        self.crew = crew
        crew.weigh(self)
        self.placed()

    def leave(self) -> None:
        """Work with no crew."""
        crew, self.crew = self.crew, None
        if crew is not None:
            crew.weigh(self)
            self.placed()

    @property
    def capability(self) -> Capability:
        """The capability."""
        return self.candidate.capability

    @property
    def device(self) -> str:
        """Its device, "" for the CPU."""
        return self.capability.device

    @property
    def key(self) -> PostKey:
        """Its name in the cluster."""
        return PostKey(self.worker.id, self.capability.key)

    @property
    def name(self) -> str:
        """Its name for a person."""
        return f"{self.worker.facts.name}: {label(self.capability)}"

    @property
    def available(self) -> bool:
        """Whether its worker takes work and nothing is known against it."""
        return (
            self.worker.available
            and self.state is not PostState.REFUSED
            and not self.worker.resting(self.capability)
        )

    @property
    def rests(self) -> Quarantine | None:
        """Why it would be available if it did not rest, or None."""
        if not self.worker.available or self.state is PostState.REFUSED:
            return None
        return self.worker.resting(self.capability)

    @property
    def kind(self) -> Kind | None:
        """What it writes, or None where that is not known."""
        if self._kind is None or self._kind[0] is not self.report:
            self._kind = (self.report, Kind.of(self.report) if self.report else None)
        return self._kind[1]

    @property
    def measured(self) -> bool:
        """Whether it has encoded something like this job before."""
        return self.rate_key in self.worker.rates

    @property
    def pace_fps(self) -> float | None:
        """Frames per second of one slot: as measured, else as benchmarked, else None."""
        known = self.worker.rates.get(self.rate_key)
        return known.fps if known is not None else self.benchmarked_fps

    def learn(self, report: ResultReport) -> None:
        """Keep what it was seen to write; the first time counts."""
        if self.report is None:
            self.report = report
            self.move(PostState.KNOWN)

    def refuse(self, reason: str) -> None:
        """Take it out of the job for good."""
        if self.state is not PostState.REFUSED:
            self.move(PostState.REFUSED)
            self.reason = reason


def label(capability: Capability) -> str:
    """A capability for a person: `h264_nvenc on cuda:0`."""
    where = f" on {capability.device}" if capability.device else ""
    return f"{capability.encoder}{where}"


@attrs.define
class Strength:
    """What posts can do together; whole numbers, so that no order of adding them up matters.

    Attributes:
        slots: Attempts that may run at once.
        unknown_slots: Slots whose rate is not known.
    """

    slots: int = 0
    unknown_slots: int = 0
    _pace: int = 0

    def add(self, slots: int, pace: int | None, times: int = 1) -> Strength:
        """Count so many slots of that pace each; answers itself."""
        self.slots += times * slots
        if pace is None:
            self.unknown_slots += times * slots
        else:
            self._pace += times * slots * pace
        return self

    @property
    def known_fps(self) -> float:
        """Frames per second of those slots whose rate is known."""
        return self._pace / _PACE_UNITS

    def __add__(self, other: Strength) -> Strength:
        return Strength(
            self.slots + other.slots,
            self.unknown_slots + other.unknown_slots,
            self._pace + other._pace,
        )


@attrs.define(eq=False)
class Crew:
    """Posts that may write into one file under one header.

    What it wrote stays known when its posts are gone, because it stays in the file.

    Attributes:
        stand_in: Whether it works only while no other crew of the job can.
        ready: Its posts that are available, with the slots and the pace that each counts for.
        strength: What these can do together.
        kinds: What its posts write; empty until the first of them is known.
        capabilities: What its posts are or were, with what the first of each was seen to write.
    """

    stand_in: bool = False
    posts: list[Post] = attrs.field(factory=list)
    ready: dict[Post, tuple[int, int | None]] = attrs.field(factory=dict)
    strength: Strength = attrs.field(factory=lambda: Strength())
    kinds: dict[Kind, None] = attrs.field(factory=dict)
    capabilities: dict[Capability, ResultReport | None] = attrs.field(factory=dict)

    def take(self, post: Post) -> None:
        """Add a post."""
        self.posts.append(post)
        self.noted(post)

    def weigh(self, post: Post) -> None:
        """A post came, went, or can do more or less than before."""
        known = self.ready.pop(post, None)
        if known is not None:
            self.strength.add(*known, times=-1)
        if post.crew is self and post.available:
            counted = self.ready[post] = self.worth(post)
            self.strength.add(*counted)

    @staticmethod
    def worth(post: Post) -> tuple[int, int | None]:
        """The slots and the pace of a slot that a post counts for."""
        fps = post.pace_fps
        pace = None if fps is None else round(fps * _PACE_UNITS)
        return post.worker.slots(post.capability), pace

    def noted(self, post: Post) -> None:
        """Remember what a post of this crew writes, as far as that is known."""
        if self.capabilities.get(post.capability) is None:
            self.capabilities[post.capability] = post.report
        if post.kind is not None:
            self.kinds.setdefault(post.kind)

    def admits(self, post: Post, joins: Joins) -> bool:
        """Whether what `post` writes may stand beside what this crew writes."""
        kind = post.kind
        if kind is None or kind.shape != self.shape:
            return False
        verdicts = [joins(post.capability, other) for other in self.capabilities]
        return False not in verdicts and (kind in self.kinds or True in verdicts)

    @property
    def shape(self) -> Shape | None:
        """Codec, size and pixel format of what it writes, or None while nothing is known."""
        return next((kind.shape for kind in self.kinds), None)

    @property
    def hardware(self) -> bool:
        """Whether any of it is hardware."""
        return any(capability.hardware for capability in self.capabilities)

    @property
    def encoders(self) -> tuple[str, ...]:
        """Names of its encoders."""
        return tuple(dict.fromkeys(c.encoder for c in self.capabilities))


def best_first(posts: Iterable[Post]) -> list[Post]:
    """Posts in the order in which they are preferred; the same for the same posts in any order."""
    listed = list(posts)
    if len(listed) <= 1:
        return listed
    paces = [post.pace_fps for post in listed]
    measured = None not in paces

    def preference(position: int) -> tuple[float, int, str, str, str]:
        post = listed[position]
        slot_fps = paces[position] if measured else None
        total_fps = (slot_fps or 0.0) * post.worker.slots(post.capability)
        return (
            -total_fps,
            -post.candidate.rank,
            post.capability.encoder,
            post.device,
            post.worker.id,
        )

    return [listed[position] for position in sorted(range(len(listed)), key=preference)]


def one_per_device(posts: Iterable[Post]) -> list[Post]:
    """Of posts in order of preference, the first on each device: they would share its slots."""
    first: dict[tuple[str, str], Post] = {}
    for post in posts:
        first.setdefault((post.worker.id, post.device), post)
    return list(first.values())


def worth_trying(posts: Collection[Post]) -> list[Post]:
    """Leave out posts that no choice of a crew could need.

    An encoder is not needed where another one is preferred on every device that has it: whoever
    would work with the first works with the second.
    """
    places: dict[str, set[tuple[str, str]]] = {}
    preferred: dict[str, dict[tuple[str, str], int]] = {}
    for place, there in _by_place(posts).items():
        for order, post in enumerate(best_first(there)):
            encoder = post.capability.encoder
            places.setdefault(encoder, set()).add(place)
            preferred.setdefault(encoder, {})[place] = order

    def beaten(encoder: str) -> bool:
        here = places[encoder]
        return any(
            other != encoder
            and here <= there
            and all(preferred[other][place] < preferred[encoder][place] for place in here)
            for other, there in places.items()
        )

    lost = {encoder for encoder in places if beaten(encoder)}
    return [post for post in posts if post.capability.encoder not in lost]


def _by_place(posts: Iterable[Post]) -> dict[tuple[str, str], list[Post]]:
    found: dict[tuple[str, str], list[Post]] = {}
    for post in posts:
        found.setdefault((post.worker.id, post.device), []).append(post)
    return found


def gather(posts: Iterable[Post], joins: Joins) -> list[Crew]:
    """Make crews of posts whose kind is known; each post goes to the first crew that admits it."""
    crews: list[Crew] = []
    # Posts that are alike go the same way, as long as no crew becomes more than it was.
    known: dict[tuple[Capability, Kind | None], Crew] = {}
    for post in posts:
        alike = (post.capability, post.kind)
        crew = known.get(alike)
        if crew is None:
            crew = next((crew for crew in crews if crew.admits(post, joins)), None)
            if crew is None:
                crew = Crew()
                crews.append(crew)
            before = (len(crew.kinds), len(crew.capabilities))
            crew.take(post)
            if before != (len(crew.kinds), len(crew.capabilities)):
                known.clear()
            known[alike] = crew
        else:
            crew.posts.append(post)
    return crews


def strongest(crews: Collection[Crew]) -> Crew:
    """The crew with the greatest throughput, all its slots together.

    As long as the rate of a single post is unknown the rates of the others say nothing about it,
    so all are compared by rank then, once for each device.
    """
    working = {id(crew): one_per_device(best_first(crew.posts)) for crew in crews}
    measured = all(p.pace_fps is not None for posts in working.values() for p in posts)

    def weight(post: Post) -> float:
        if measured:
            return (post.pace_fps or 0.0) * post.worker.slots(post.capability)
        times = _HARDWARE_WEIGHT if post.capability.hardware else 1
        return float(max(1, post.candidate.rank) * times)

    def order(crew: Crew) -> tuple[float, int, str, tuple[str, str]]:
        posts = working[id(crew)]
        names = min(post.capability.encoder for post in posts)
        rank = max(post.candidate.rank for post in posts)
        first = min((post.worker.id, post.device) for post in posts)
        return (-sum(weight(post) for post in posts), -rank, names, first)

    return min(crews, key=order)
