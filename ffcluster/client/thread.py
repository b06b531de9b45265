"""A reactor of our own in a thread of its own, for programs that have no reactor, or another one.

Never touches the process's global reactor, its signals or the caller's event loop.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from ffcluster.client.core import DEFAULT_URL, DeferredClient
from ffcluster.errors import Unreachable
from ffcluster.net.address import CoordinatorAddress

_Made = TypeVar("_Made")


class ReactorThread:
    """Runs coroutines that await Deferreds; starts with the first one, ends with `close`."""

    def __init__(self) -> None:
        self.reactor: Any = _new_reactor()
        self._lock = threading.RLock()
        self._closed = False
        self._released = False
        self._thread: threading.Thread | None = None
        self._tasks: set[Deferred[Any]] = set()

    def start(self, make: Callable[[], Coroutine[Any, Any, _Made]]) -> Future[_Made]:
        """Run the coroutine that `make` makes; cancelling the future cancels it.

        Raises:
            Unreachable: It was closed.
        """
        future: Future[_Made] = Future()

        def begin() -> None:
            if future.cancelled():
                return
            task: Deferred[_Made] = Deferred.fromCoroutine(make())
            self._tasks.add(task)
            future.add_done_callback(lambda done: self._cancel(task) if done.cancelled() else None)
            task.addBoth(settle, task)

        def settle(outcome: Any, task: Deferred[Any]) -> None:
            self._tasks.discard(task)
            _settle(future, outcome)

        with self._lock:
            if self._closed:
                raise _was_closed()
            if self._thread is None:
                # A program that forgets to close its client must still be able to end.
                self._thread = threading.Thread(
                    target=self._run, name="ffcluster client", daemon=True
                )
                self._thread.start()
            self._later(begin)
        return future

    def close(self, last: Callable[[], Coroutine[Any, Any, None]]) -> threading.Thread | None:
        """Cancel what runs, do one last thing and end.

        Returns:
            The thread, for whoever waits for its end; None when it was never needed.
        """

        async def end() -> None:
            for task in list(self._tasks):
                task.cancel()
            try:
                await last()
            finally:
                self.reactor.callLater(0, self.reactor.stop)

        with self._lock:
            if not self._closed:
                self._closed = True
                if self._thread is None:
                    self._release()
                else:
                    self._later(lambda: Deferred.fromCoroutine(end()).addErrback(_forget))
            return self._thread

    def _run(self) -> None:
        try:
            self.reactor.run(installSignalHandlers=False)
        finally:
            self._release()

    def _cancel(self, task: Deferred[Any]) -> None:
        self._later(task.cancel)

    def _later(self, call: Callable[[], object]) -> None:
        with self._lock:
            if not self._released:
                self.reactor.callFromThread(call)

    def _release(self) -> None:
        """Close the sockets by which threads woke it: Twisted leaves that to the process's end."""
        with self._lock:
            self._released = True
            self.reactor.waker.connectionLost(None)


def _was_closed() -> Unreachable:
    return Unreachable(message="This client was closed.")


def _settle(future: Future[Any], outcome: object) -> None:
    if not future.set_running_or_notify_cancel():
        return
    if not isinstance(outcome, Failure):
        future.set_result(outcome)
    elif outcome.check(CancelledError):
        # Nobody else cancels what is still waited for.
        future.set_exception(_was_closed())
    else:
        future.set_exception(outcome.value or RuntimeError("it failed without saying why"))


def _forget(_: Failure) -> None:
    """What fails while a client closes fails because of that."""


def _new_reactor() -> Any:
    """A reactor beside the global one; `select` where there is nothing better."""
    reactor_type: Any
    if sys.platform in ("win32", "darwin"):
        from twisted.internet.selectreactor import SelectReactor

        reactor_type = SelectReactor
    else:
        from twisted.internet.pollreactor import PollReactor

        reactor_type = PollReactor
    reactor = reactor_type()
    # Twisted notes one thread of the process as the one for I/O: that is for the global reactor.
    reactor._registerAsIOThread = False
    return reactor


class ThreadedClient:
    """What the faces have in common that work in a thread: a core, and the reactor it lives in.

    Args:
        url: The coordinator, as `ws://HOST:PORT`.
        token: The coordinator's token, where it wants one.
        timeout_s: How long to wait for a session.

    Raises:
        InvalidOption: `url` is no address.
    """

    def __init__(
        self, url: str = DEFAULT_URL, *, token: str | None = None, timeout_s: float = 10.0
    ) -> None:
        # A reactor has sockets: none is made for a client that cannot be.
        CoordinatorAddress.parse(url)
        self._thread = ReactorThread()
        self._core = DeferredClient(self._thread.reactor, url, token=token, timeout_s=timeout_s)
