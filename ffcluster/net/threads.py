"""Work that blocks, done in a thread of the reactor that waits for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

_Given = ParamSpec("_Given")
_Made = TypeVar("_Made")


def in_thread(
    reactor: Any, work: Callable[_Given, _Made], *args: _Given.args, **kwargs: _Given.kwargs
) -> Deferred[_Made]:
    """Call `work` in one of the reactor's threads; answers what it returns.

    Twisted's `deferToThread` waits with the process's one global reactor. A client may run in a
    reactor of its own, beside another one or none.
    """
    return deferToThreadPool(reactor, reactor.getThreadPool(), work, *args, **kwargs)
