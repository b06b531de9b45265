"""A job's posts by what there is to decide about them, kept up to date post by post.

So that an event about one worker costs the same however many others there are. Decides nothing:
whoever changes a post, or what its worker may be given, has it placed anew.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import attrs

from ffcluster.core.crews import IN_TRIAL, Post, PostState
from ffcluster.core.model import WorkerId


@attrs.define(eq=False)
class Roster:
    """Those of a job's posts that are available, by what may become of them.

    Attributes:
        available: All of them.
        working: In a crew.
        outsiders: In none; what they write is known.
        untried: In none; nothing is known of them.
        awaited: In trial, or about to be, and nothing is chosen before.
        wanted: About to be tried.
        postponed: Those of them that may be tried only from some time on.
        changed: Workers whose posts changed since they were looked at last.
        context: What they were compared with then; when it changes all must be looked at.
    """

    available: dict[Post, None] = attrs.field(factory=dict)
    working: dict[Post, None] = attrs.field(factory=dict)
    outsiders: dict[Post, None] = attrs.field(factory=dict)
    untried: dict[Post, None] = attrs.field(factory=dict)
    awaited: dict[Post, None] = attrs.field(factory=dict)
    wanted: dict[Post, None] = attrs.field(factory=dict)
    postponed: dict[Post, None] = attrs.field(factory=dict)
    changed: dict[WorkerId, None] = attrs.field(factory=dict)
    context: Hashable = None

    def place(self, post: Post) -> None:
        """A post changed, or what its worker may be given."""
        for listed, belongs in zip(self._lists(post), _belongings(post), strict=True):
            if belongs:
                listed[post] = None
            else:
                listed.pop(post, None)
        if post.crew is not None:
            post.crew.weigh(post)
        self.changed[post.worker.id] = None

    def drop(self, posts: Iterable[Post]) -> None:
        """Posts are no longer part of the job."""
        for post in posts:
            for listed in self._lists(post):
                listed.pop(post, None)
            post.roster = None
            post.leave()

    def close(self) -> None:
        """The job ended: nobody works on it any more, and nothing is kept up to date."""
        for post in self.wanted:
            post.worker.wanted.pop(post, None)
        for post in self.working:
            post.worker.working.pop(post, None)

    def is_right_about(self, post: Post) -> bool:
        """Whether a post is listed where it belongs, and nowhere else."""
        listed = tuple(post in listed for listed in self._lists(post))
        return listed == _belongings(post)

    def _lists(self, post: Post) -> tuple[dict[Post, None], ...]:
        return (
            self.available,
            self.working,
            self.outsiders,
            self.untried,
            self.awaited,
            self.wanted,
            self.postponed,
            post.worker.wanted,
            post.worker.working,
        )


def _belongings(post: Post) -> tuple[bool, ...]:
    """In which of a roster's lists a post belongs."""
    if not post.available:
        return _NOWHERE
    state, free = post.state, post.crew is None
    wanted = state is PostState.WANTED
    return (
        True,
        not free,
        free and state is PostState.KNOWN,
        free and state is PostState.UNTRIED,
        post.awaited and state in IN_TRIAL,
        wanted,
        wanted and post.not_before > 0.0,
        wanted,
        not free,
    )


_NOWHERE = (False,) * 9
