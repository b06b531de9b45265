"""How much longer jobs take because they share workers. Decides nothing.

Workers go to jobs of the highest priority first, and jobs of one priority share them evenly (see
`ffcluster.core.assignment`). So by the time a job ends, an equal one was given as much of the
workers as it, or all that it needed; one of a higher priority was given all that it needed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from itertools import accumulate, islice

import attrs

from ffcluster.core import scheduling
from ffcluster.core.job import Job
from ffcluster.core.model import JobId, WorkerId

# Who shares what is seen on a sample of workers, the smaller the more jobs there are: so it costs
# a few milliseconds however large the cluster is.
_LOOKS, _MOST_WORKERS, _LEAST_WORKERS = 3200, 32, 8
_MOST_JOBS, _MOST_TEAMS = 500, 32

# A worker and one of its devices.
Place = tuple[WorkerId, str]


def slowdowns(jobs: Iterable[Job], workers: Collection[WorkerId]) -> dict[JobId, float]:
    """How many times longer each job takes than if it had its workers for itself.

    Args:
        jobs: All jobs; those that are being encoded count, up to five hundred of them.
        workers: All workers.

    Returns:
        Factors above 1, by job; a job that is not in it has no rival.
    """
    rivals = list(islice((job for job in jobs if not job.ended and job.encoding), _MOST_JOBS))
    if len(rivals) < 2:
        return {}
    alone_s = {job.id: _alone_s(job) for job in rivals}
    rivals = [job for job in rivals if alone_s[job.id] > 0]
    sample = _sample(rivals, workers)
    teams: dict[frozenset[Place], _Team] = {}
    member_of: dict[JobId, _Team] = {}
    for job in rivals:
        places = _places(job, sample)
        team = teams.get(frozenset(places))
        if team is None and len(teams) < _MOST_TEAMS:
            team = teams[frozenset(places)] = _Team(places)
        if team is None:
            # More than can be told apart: count it where most work.
            team = max(teams.values(), key=lambda team: len(team.places))
        team.works.setdefault(job.priority, []).append(alone_s[job.id])
        member_of[job.id] = team
    for team in teams.values():
        team.add_up()
    shares = {
        own: [(own.shared_with(other), other) for other in teams.values()] for own in teams.values()
    }
    found: dict[JobId, float] = {}
    for job in rivals:
        work_s = alone_s[job.id]
        until_s = sum(
            share * other.before_s(work_s, job.priority)
            for share, other in shares[member_of[job.id]]
            if share
        )
        if until_s > work_s:
            found[job.id] = until_s / work_s
    return found


@attrs.define(eq=False)
class _Team:
    """Jobs that work at the same places.

    Attributes:
        places: What each place can do for them, in frames per second.
        works: Seconds that each job would take alone, by priority; ascending once added up.
    """

    places: dict[Place, float]
    works: dict[int, list[float]] = attrs.field(factory=dict)
    _sums: dict[int, list[float]] = attrs.field(factory=dict)

    def add_up(self) -> None:
        """All jobs are in it."""
        for priority, works in self.works.items():
            works.sort()
            self._sums[priority] = list(accumulate(works, initial=0.0))

    def shared_with(self, other: _Team) -> float:
        """The part of what this team can do that is the other's as well; 0 to 1."""
        if other is self:
            return 1.0
        both = sum(fps for place, fps in self.places.items() if place in other.places)
        return both / (sum(self.places.values()) or 1.0)

    def before_s(self, work_s: float, priority: int) -> float:
        """What these jobs are given until one of that much work and that priority has ended.

        One of them is given all that it needs.
        """
        total_s = 0.0
        for other, works in self.works.items():
            if other > priority:
                total_s += self._sums[other][-1]
            elif other == priority:
                smaller = bisect_right(works, work_s)
                total_s += self._sums[other][smaller] + work_s * (len(works) - smaller)
        return total_s


def _alone_s(job: Job) -> float:
    """Seconds that a job would take if it had its workers for itself; 0 where nobody knows."""
    pace = scheduling.strength(job).known_fps
    in_hand = sum(attempt.frames_done for attempt in job.live.values())
    left = job.frame_count - job.frames_committed - in_hand
    return max(0, left) / pace if pace else 0.0


def _sample(jobs: Sequence[Job], workers: Collection[WorkerId]) -> dict[WorkerId, None]:
    """Workers from among all of them, and some of every job that has only a few."""
    most = max(_LEAST_WORKERS, min(_MOST_WORKERS, _LOOKS // max(1, len(jobs))))
    step = len(workers) // most + 1
    chosen = dict.fromkeys(islice(workers, 0, None, step))
    for job in jobs:
        for crew in job.crews:
            if len(chosen) < 2 * most:
                chosen |= dict.fromkeys(post.worker.id for post in islice(crew.ready, 2))
    return chosen


def _places(job: Job, sample: Iterable[WorkerId]) -> dict[Place, float]:
    """What a job may be given by these workers, in frames per second."""
    return {
        (worker_id, post.device): scheduling.slots(post) * (post.pace_fps or 1.0)
        for worker_id in sample
        for post in job.posts.get(worker_id, ())
        if scheduling.works(post, job)
    }
