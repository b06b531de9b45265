"""Where a result is to be put: known only while a session counts the attempt. No I/O."""

from __future__ import annotations

from typing import Any, TypeVar

from twisted.internet.defer import Deferred, succeed

T = TypeVar("T")


class Route:
    """The upload path of one attempt, which each session gives anew.

    Args:
        path: What the offer named.
    """

    def __init__(self, path: str) -> None:
        self._path: str | None = path
        self._waiting: list[Deferred[str]] = []
        self._bound: list[Deferred[Any]] = []

    @property
    def is_open(self) -> bool:
        """Whether a session counts the attempt now."""
        return self._path is not None

    def open(self, path: str) -> None:
        """A session counts the attempt: whoever waits goes on, by this path and no other."""
        if path == self._path:
            return
        self.close()
        self._path = path
        waiting, self._waiting = self._waiting, []
        for waits in waiting:
            waits.callback(path)

    def close(self) -> None:
        """The session is gone, and its path with it."""
        self._path = None
        bound, self._bound = self._bound, []
        for work in bound:
            work.cancel()

    def wait(self) -> Deferred[str]:
        """Fires with the path, as soon as there is one."""
        if self._path is not None:
            return succeed(self._path)
        waits: Deferred[str] = Deferred(self._waiting.remove)
        self._waiting.append(waits)
        return waits

    def bound(self, work: Deferred[T]) -> Deferred[T]:
        """Let `work` be cancelled when the present path counts no more."""
        self._bound.append(work)

        def over(result: Any) -> Any:
            if work in self._bound:
                self._bound.remove(work)
            return result

        return work.addBoth(over)
