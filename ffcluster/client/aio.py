"""The client for asyncio: every method is a coroutine of the running event loop."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

from ffcluster.client.core import DeferredClient
from ffcluster.client.stream import Stream
from ffcluster.client.thread import ThreadedClient
from ffcluster.errors import Unreachable

_P = ParamSpec("_P")
_Made = TypeVar("_Made")
_Self = TypeVar("_Self", bound="AsyncClient")


def _awaits(
    method: Callable[Concatenate[DeferredClient, _P], Coroutine[Any, Any, _Made]],
) -> Callable[Concatenate[AsyncClient, _P], Coroutine[Any, Any, _Made]]:
    """The method of the core, awaited in asyncio."""

    @functools.wraps(method)
    async def call(self: AsyncClient, /, *args: _P.args, **kwargs: _P.kwargs) -> _Made:
        return await self._await(method, *args, **kwargs)

    return call


def _iterates(
    method: Callable[Concatenate[DeferredClient, _P], Stream[_Made]],
) -> Callable[Concatenate[AsyncClient, _P], AsyncIterator[_Made]]:
    """The stream of the core, as an iterator that closes it when it is left."""

    @functools.wraps(method)
    def call(self: AsyncClient, /, *args: _P.args, **kwargs: _P.kwargs) -> AsyncIterator[_Made]:
        return self._iterate(method, *args, **kwargs)

    return call


class AsyncClient(ThreadedClient):
    """A client of one coordinator for asyncio; works in any event loop.

    It has a thread of its own from the first question until `close`; use it with `async with`.
    Cancelling a task cancels what it asked for. Progress is told in the event loop. Errors are
    those of `ffcluster.errors`.

    Args:
        url: The coordinator, as `ws://HOST:PORT`.
        token: The coordinator's token, where it wants one.
        timeout_s: How long to wait for a session.

    Raises:
        InvalidOption: `url` is no address.
    """

    async def __aenter__(self: _Self) -> _Self:
        try:
            await self.open()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the session and the thread; nothing can be asked any more."""
        thread = self._thread.close(self._core.close)
        if thread is not None:
            await asyncio.to_thread(thread.join)

    async def _await(
        self, method: Callable[..., Coroutine[Any, Any, _Made]], *args: Any, **kwargs: Any
    ) -> _Made:
        """Run a method of the core to its end, and tell progress meanwhile."""
        loop = asyncio.get_running_loop()
        told_args = [_here(arg, loop) for arg in args]
        told_kwargs = {name: _here(arg, loop) for name, arg in kwargs.items()}
        future = self._thread.start(lambda: method(self._core, *told_args, **told_kwargs))
        return await asyncio.wrap_future(future)

    async def _iterate(
        self, method: Callable[..., Stream[_Made]], *args: Any, **kwargs: Any
    ) -> AsyncIterator[_Made]:
        stream = method(self._core, *args, **kwargs)
        try:
            while True:
                try:
                    item = await self._await(lambda _: stream.__anext__())
                except StopAsyncIteration:
                    return
                yield item
        finally:
            # A client that was closed meanwhile has closed its streams.
            with contextlib.suppress(Unreachable):
                await self._await(lambda _: stream.close())

    open = _awaits(DeferredClient.open)
    submit = _awaits(DeferredClient.submit)
    request = _awaits(DeferredClient.request)
    plan = _awaits(DeferredClient.plan)
    upload = _awaits(DeferredClient.upload)
    jobs = _awaits(DeferredClient.jobs)
    job = _awaits(DeferredClient.job)
    wait = _awaits(DeferredClient.wait)
    watch = _iterates(DeferredClient.watch)
    download = _awaits(DeferredClient.download)
    cancel = _awaits(DeferredClient.cancel)
    pause = _awaits(DeferredClient.pause)
    resume = _awaits(DeferredClient.resume)
    retry = _awaits(DeferredClient.retry)
    prioritise = _awaits(DeferredClient.prioritise)
    remove = _awaits(DeferredClient.remove)
    receipt = _awaits(DeferredClient.receipt)
    report = _awaits(DeferredClient.report)
    segment = _awaits(DeferredClient.segment)
    attempt = _awaits(DeferredClient.attempt)
    filmstrip = _awaits(DeferredClient.filmstrip)
    gantt = _awaits(DeferredClient.gantt)
    thumbnail = _awaits(DeferredClient.thumbnail)
    preview = _awaits(DeferredClient.preview)
    link = _awaits(DeferredClient.link)
    workers = _awaits(DeferredClient.workers)
    worker = _awaits(DeferredClient.worker)
    drain_worker = _awaits(DeferredClient.drain_worker)
    resume_worker = _awaits(DeferredClient.resume_worker)
    remove_worker = _awaits(DeferredClient.remove_worker)
    tokens = _awaits(DeferredClient.tokens)
    add_token = _awaits(DeferredClient.add_token)
    revoke_token = _awaits(DeferredClient.revoke_token)
    status = _awaits(DeferredClient.status)
    me = _awaits(DeferredClient.me)
    profiles = _awaits(DeferredClient.profiles)
    plugins = _awaits(DeferredClient.plugins)
    events = _iterates(DeferredClient.events)
    webhooks = _awaits(DeferredClient.webhooks)
    add_webhook = _awaits(DeferredClient.add_webhook)
    remove_webhook = _awaits(DeferredClient.remove_webhook)
    deliveries = _awaits(DeferredClient.deliveries)


def _here(argument: Any, loop: asyncio.AbstractEventLoop) -> Any:
    """A callback as one that is called in the event loop; anything else as it is."""
    if not callable(argument):
        return argument
    return functools.partial(loop.call_soon_threadsafe, argument)
