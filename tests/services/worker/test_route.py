"""Where a result is to be put: open, closed, and opened again."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from ffcluster.services.worker.route import Route


def outcome(waits: Deferred[Any]) -> list[Any]:
    found: list[Any] = []
    waits.addBoth(found.append)
    return found


def test_open_route_is_told_at_once() -> None:
    assert outcome(Route("/v1/results/a").wait()) == ["/v1/results/a"]


def test_closed_route_makes_all_wait_for_the_next_path() -> None:
    route = Route("/v1/results/a")
    route.close()
    first, second = outcome(route.wait()), outcome(route.wait())
    assert (first, second, route.is_open) == ([], [], False)
    route.open("/v1/results/b")
    assert (first, second, route.is_open) == (["/v1/results/b"], ["/v1/results/b"], True)


def test_wait_that_was_cancelled_is_forgotten() -> None:
    route = Route("/v1/results/a")
    route.close()
    waits = route.wait()
    found = outcome(waits)
    waits.cancel()
    route.open("/v1/results/b")
    assert found[0].check(CancelledError)


def test_work_is_cancelled_with_the_path_that_it_is_bound_to() -> None:
    for end in (Route.close, lambda route: route.open("/v1/results/b")):
        route = Route("/v1/results/a")
        found = outcome(route.bound(Deferred()))
        end(route)
        assert found[0].check(CancelledError)


def test_same_path_again_disturbs_nothing() -> None:
    route = Route("/v1/results/a")
    found = outcome(route.bound(Deferred()))
    route.open("/v1/results/a")
    assert found == []


def test_work_that_is_over_is_not_cancelled() -> None:
    route = Route("/v1/results/a")
    cancelled: list[object] = []
    work: Deferred[int] = Deferred(cancelled.append)
    found = outcome(route.bound(work))
    work.callback(7)
    route.close()
    assert (found, cancelled) == ([7], [])
