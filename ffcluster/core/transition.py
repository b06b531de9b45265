"""Transition tables: every legal move of a state machine in one place, anything else refused."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Generic, TypeVar

import attrs

StateT = TypeVar("StateT", bound=enum.Enum)


@attrs.frozen
class InvalidTransition(Exception):
    """A move that the table does not allow: a defect in the caller, never the peer's fault.

    Attributes:
        subject: What was to move, for example `job 3f2a`.
        current: Its state.
        target: The state that was asked for.
        history: The states it went through, oldest first.
    """

    subject: str
    current: enum.Enum
    target: enum.Enum
    history: tuple[enum.Enum, ...] = ()

    def __str__(self) -> str:
        went = " -> ".join(str(state.value) for state in self.history)
        return f"{self.subject}: {self.current.value} -> {self.target.value} is no move ({went})"


@attrs.frozen
class TransitionTable(Generic[StateT]):
    """The legal moves between the states of one kind of thing."""

    moves: Mapping[StateT, frozenset[StateT]]

    def check(
        self,
        subject: str,
        current: StateT,
        target: StateT,
        history: tuple[StateT, ...] = (),
    ) -> StateT:
        """Return `target`.

        Raises:
            InvalidTransition: The table has no move from `current` to `target`.
        """
        if target not in self.moves[current]:
            raise InvalidTransition(subject, current, target, history)
        return target

    def final(self, state: StateT) -> bool:
        """Whether nothing can follow `state`."""
        return not self.moves[state]
