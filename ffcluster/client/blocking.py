"""The client for programs without an event loop: every method waits for its answer."""

from __future__ import annotations

import contextlib
import functools
import queue
from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

from ffcluster.client.core import DeferredClient
from ffcluster.client.stream import Stream
from ffcluster.client.thread import ThreadedClient
from ffcluster.errors import Unreachable

_P = ParamSpec("_P")
_Made = TypeVar("_Made")
_Self = TypeVar("_Self", bound="Client")


def _waits(
    method: Callable[Concatenate[DeferredClient, _P], Coroutine[Any, Any, _Made]],
) -> Callable[Concatenate[Client, _P], _Made]:
    """The method of the core, waited for."""

    @functools.wraps(method)
    def call(self: Client, /, *args: _P.args, **kwargs: _P.kwargs) -> _Made:
        return self._wait(method, *args, **kwargs)

    return call


def _iterates(
    method: Callable[Concatenate[DeferredClient, _P], Stream[_Made]],
) -> Callable[Concatenate[Client, _P], Iterator[_Made]]:
    """The stream of the core, as an iterator that closes it when it is left."""

    @functools.wraps(method)
    def call(self: Client, /, *args: _P.args, **kwargs: _P.kwargs) -> Iterator[_Made]:
        return self._iterate(method, *args, **kwargs)

    return call


class Client(ThreadedClient):
    """A client of one coordinator whose methods wait for their answers.

    It has a thread of its own from the first question until `close`; use it with `with`. It may be
    used by several threads, and beside an event loop (though not in it: there is `AsyncClient`).
    Progress is told in the thread that waits. Errors are those of `ffcluster.errors`.

    Args:
        url: The coordinator, as `ws://HOST:PORT`.
        token: The coordinator's token, where it wants one.
        timeout_s: How long to wait for a session.

    Raises:
        InvalidOption: `url` is no address.
    """

    def __enter__(self: _Self) -> _Self:
        try:
            self.open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the session and the thread; nothing can be asked any more."""
        thread = self._thread.close(self._core.close)
        if thread is not None:
            thread.join()

    def _wait(
        self, method: Callable[..., Coroutine[Any, Any, _Made]], *args: Any, **kwargs: Any
    ) -> _Made:
        """Run a method of the core to its end, and tell progress meanwhile."""
        told: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        told_args = [_here(arg, told) for arg in args]
        told_kwargs = {name: _here(arg, told) for name, arg in kwargs.items()}
        future = self._thread.start(lambda: method(self._core, *told_args, **told_kwargs))
        future.add_done_callback(lambda _: told.put(None))
        try:
            while (tell := told.get()) is not None:
                tell()
        except BaseException:
            future.cancel()
            raise
        return future.result()

    def _iterate(
        self, method: Callable[..., Stream[_Made]], *args: Any, **kwargs: Any
    ) -> Iterator[_Made]:
        stream = method(self._core, *args, **kwargs)
        try:
            while True:
                try:
                    item = self._wait(lambda _: stream.__anext__())
                except StopAsyncIteration:
                    return
                yield item
        finally:
            # A client that was closed meanwhile has closed its streams.
            with contextlib.suppress(Unreachable):
                self._wait(lambda _: stream.close())

    open = _waits(DeferredClient.open)
    submit = _waits(DeferredClient.submit)
    request = _waits(DeferredClient.request)
    plan = _waits(DeferredClient.plan)
    upload = _waits(DeferredClient.upload)
    jobs = _waits(DeferredClient.jobs)
    job = _waits(DeferredClient.job)
    wait = _waits(DeferredClient.wait)
    watch = _iterates(DeferredClient.watch)
    download = _waits(DeferredClient.download)
    cancel = _waits(DeferredClient.cancel)
    pause = _waits(DeferredClient.pause)
    resume = _waits(DeferredClient.resume)
    retry = _waits(DeferredClient.retry)
    prioritise = _waits(DeferredClient.prioritise)
    remove = _waits(DeferredClient.remove)
    receipt = _waits(DeferredClient.receipt)
    report = _waits(DeferredClient.report)
    segment = _waits(DeferredClient.segment)
    attempt = _waits(DeferredClient.attempt)
    filmstrip = _waits(DeferredClient.filmstrip)
    gantt = _waits(DeferredClient.gantt)
    thumbnail = _waits(DeferredClient.thumbnail)
    preview = _waits(DeferredClient.preview)
    link = _waits(DeferredClient.link)
    workers = _waits(DeferredClient.workers)
    worker = _waits(DeferredClient.worker)
    drain_worker = _waits(DeferredClient.drain_worker)
    resume_worker = _waits(DeferredClient.resume_worker)
    remove_worker = _waits(DeferredClient.remove_worker)
    tokens = _waits(DeferredClient.tokens)
    add_token = _waits(DeferredClient.add_token)
    revoke_token = _waits(DeferredClient.revoke_token)
    status = _waits(DeferredClient.status)
    me = _waits(DeferredClient.me)
    profiles = _waits(DeferredClient.profiles)
    plugins = _waits(DeferredClient.plugins)
    events = _iterates(DeferredClient.events)
    webhooks = _waits(DeferredClient.webhooks)
    add_webhook = _waits(DeferredClient.add_webhook)
    remove_webhook = _waits(DeferredClient.remove_webhook)
    deliveries = _waits(DeferredClient.deliveries)


def _here(argument: Any, told: queue.SimpleQueue[Callable[[], object] | None]) -> Any:
    """A callback as one that is called in the thread that waits; anything else as it is."""
    if not callable(argument):
        return argument
    return lambda *said: told.put(functools.partial(argument, *said))
