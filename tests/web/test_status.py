"""The route `/me`."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from ffcluster.net.access import Caller, Scope
from ffcluster.web.models.status import Me
from ffcluster.web.routing import Call
from ffcluster.web.status import status_routes


def me(caller: Caller) -> Me:
    (route,) = (route for route in status_routes(None) if route.name == "show_me")  # type: ignore[arg-type]
    assert caller.scope.opens(route.scope)
    found: list[Any] = []
    work: Any = route.serve(Call(caller, {}, None, None, None, "", None))  # type: ignore[arg-type]
    Deferred.fromCoroutine(work).addBoth(found.append)
    shown: Me = found[0].body
    return shown


@pytest.mark.parametrize(
    ("scope", "opened"),
    [
        (Scope.ADMIN, set(Scope)),
        (Scope.CLIENT, {Scope.CLIENT, Scope.VIEWER}),
        (Scope.VIEWER, {Scope.VIEWER}),
    ],
)
def test_caller_is_told_what_its_token_opens(scope: Scope, opened: set[Scope]) -> None:
    shown = me(Caller("studio", scope, "a1b2"))
    assert (shown.name, shown.scope, shown.token_id) == ("studio", scope, "a1b2")
    assert set(shown.scopes) == opened
