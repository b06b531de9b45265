"""Tickets open one path for a while, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffcluster.net.tickets import LIFETIME_S, Tickets, linkable

PATH = "/api/v1/jobs/j1/result"


class Now:
    s = 1000.0

    def __call__(self) -> float:
        return self.s


def test_ticket_names_who_made_it_until_it_ends() -> None:
    now = Now()
    tickets = Tickets(now)
    ticket, ends = tickets.issue(PATH, "ab12")
    assert ends == 1000.0 + LIFETIME_S
    now.s = ends - 1
    assert tickets.holder(ticket, PATH) == "ab12"
    now.s = ends
    assert tickets.holder(ticket, PATH) is None


def test_ticket_is_good_for_its_path_alone() -> None:
    tickets = Tickets(Now())
    ticket, _ = tickets.issue(PATH, "")
    assert tickets.holder(ticket, PATH) == ""
    for other in (
        "/api/v1/jobs/j2/result", "/api/v1/jobs/j1/receipt", "/api/v1/jobs/j1", "/", PATH + "/",
    ):  # fmt: skip
        assert tickets.holder(ticket, other) is None


def test_changed_ticket_and_one_of_another_process_are_void() -> None:
    tickets = Tickets(Now())
    ticket, _ = tickets.issue(PATH, "ab12")
    until, token_id, seal = ticket.split(".")
    for changed in (
        f"{int(until) + 1}.{token_id}.{seal}",
        f"{until}.ab13.{seal}",
        f"{until}..{seal}",
        f"{until}.{token_id}.{seal[:-1]}{'0' if seal[-1] != '0' else '1'}",
        f"{until}.{token_id}",
        f"{until}.{token_id}.",
        f"{until}\n.{token_id}.{seal}",
    ):
        assert tickets.holder(changed, PATH) is None
    assert Tickets(Now()).holder(ticket, PATH) is None


@given(st.text(max_size=100), st.text(max_size=60))
def test_any_text_is_refused_without_an_error(ticket: str, path: str) -> None:
    assert Tickets(Now()).holder(ticket, path) is None


@pytest.mark.parametrize("last", ["result", "preview", "receipt", "report", "thumbnails/120"])
def test_links_lead_to_what_a_browser_shows_or_saves(last: str) -> None:
    assert linkable(f"/api/v1/jobs/f00d/{last}")


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/jobs", "/api/v1/jobs/f00d", "/api/v1/tokens", "/api/v1/jobs/f00d/segments",
        "/api/v1/jobs/../tokens/result", "/api/v1/jobs/a%2fb/result", "/v1/outputs/f00d",
        "/api/v1/jobs/f00d/result/", "/api/v1/jobs/f00d/thumbnails/x", "/api/v1/jobs//result",
        "/api/v1/jobs/f00d/result\n", "", "/metrics", "/api/v1/jobs/f00d/cancel",
    ],
)  # fmt: skip
def test_and_nowhere_else(path: str) -> None:
    assert not linkable(path)
