"""`tokens add`, `tokens list`, `tokens revoke`."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from ffcluster.errors import Conflict, Forbidden, NotFound, Unreachable
from ffcluster.interfaces.cli.tokens import ISSUED_SCOPES
from ffcluster.net.access import Scope
from ffcluster.services.keeping import tokens as book
from tests.interfaces.fakes import SECRET, FakeClient, invoke, objects, token_view

WHERE = ("--coordinator", "ws://films.lan:5002")
COMMANDS = {
    "worker": "ffcluster worker --server-ip films.lan --server-port 5002 --token-file ab12.token",
    "client": "ffcluster submit INPUT --coordinator ws://films.lan:5002 --token-file ab12.token",
    "viewer": "ffcluster jobs --coordinator ws://films.lan:5002 --token-file ab12.token",
}
WORDS = [["add", "attic", "--scope", "worker"], ["list"], ["revoke", "ab12"]]


def test_scopes_are_those_of_the_coordinator() -> None:
    assert tuple(scope.value for scope in book.ISSUED_SCOPES) == ISSUED_SCOPES


@pytest.mark.parametrize("scope", ISSUED_SCOPES)
def test_secret_alone_is_on_stdout_and_its_use_on_stderr(scope: str) -> None:
    client = FakeClient()
    result = invoke(client, "tokens", "add", "attic", "--scope", scope, *WHERE)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{SECRET}\n"
    assert COMMANDS[scope] in result.stderr
    assert "ffcluster tokens revoke ab12" in result.stderr
    assert SECRET not in result.stderr
    assert client.said[1:] == [f"add token attic {scope}", "close"]


def test_programs_get_token_secret_and_command() -> None:
    (line,) = objects(
        invoke(FakeClient(), "tokens", "add", "attic", "--scope", "worker", "--json", *WHERE)
    )
    assert line == {
        "type": "result",
        "token": {
            "id": "ab12", "name": "attic", "scope": "worker", "created_at": 1.0, "revoked_at": None,
        },
        "command": COMMANDS["worker"],
        "secret": SECRET,
    }  # fmt: skip


def test_secret_goes_to_a_private_file_and_nowhere_else(tmp_path: Path) -> None:
    target = tmp_path / "attic.token"
    words = ("tokens", "add", "attic", "--scope", "viewer", "--output", target)
    result = invoke(FakeClient(), *words)
    assert result.exit_code == 0
    assert target.read_text() == f"{SECRET}\n"
    assert target.stat().st_mode & 0o077 == 0
    assert SECRET not in result.output
    assert f"--token-file {target}" in result.stderr


def test_existing_file_is_refused_before_a_token_is_made(tmp_path: Path) -> None:
    target = tmp_path / "attic.token"
    target.write_text("mine")
    client = FakeClient()
    result = invoke(client, "tokens", "add", "attic", "--scope", "viewer", "--output", target)
    assert result.exit_code == 1
    assert target.read_text() == "mine"
    assert client.said == []


def test_token_whose_secret_cannot_be_written_is_revoked(tmp_path: Path) -> None:
    client = FakeClient()
    target = tmp_path / "missing" / "attic.token"
    result = invoke(client, "tokens", "add", "attic", "--scope", "viewer", "--output", target)
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr
    assert client.said[1:] == ["add token attic viewer", "revoke ab12", "close"]


@pytest.mark.parametrize("scope", ["admin", "root", ""])
def test_other_scopes_are_usage_errors(scope: str) -> None:
    client = FakeClient()
    assert invoke(client, "tokens", "add", "attic", "--scope", scope).exit_code == 2
    assert invoke(client, "tokens", "add", "attic").exit_code == 2
    assert client.said == []


def test_list_shows_what_is_good_and_what_is_not() -> None:
    gone = attrs.evolve(token_view("cellar", Scope.CLIENT), id="cd34", revoked_at=2.0)
    result = invoke(FakeClient(issued=[token_view(), gone]), "tokens", "list")
    head, first, second = result.stdout.splitlines()
    assert head.split() == ["ID", "NAME", "SCOPE", "MADE", "REVOKED"]
    assert first.split()[:3] == ["ab12", "attic", "worker"]
    assert first.endswith(" -")
    assert second.split()[:3] == ["cd34", "cellar", "client"]
    assert not second.endswith(" -")


def test_empty_list_says_what_there_is() -> None:
    result = invoke(FakeClient(issued=[]), "tokens", "list")
    assert result.stdout == "No tokens but the coordinator's own.\n"


def test_list_for_programs() -> None:
    first, last = objects(invoke(FakeClient(), "tokens", "list", "--json"))
    assert first["token"]["id"] == "ab12"
    assert last == {"type": "result", "count": 1}


def test_revoke_says_what_opens_nothing_any_more() -> None:
    client = FakeClient()
    result = invoke(client, "tokens", "revoke", "ab12")
    assert result.stdout == "ab12 (attic, worker): revoked\n"
    assert client.said[1:] == ["revoke ab12", "close"]
    (line,) = objects(invoke(FakeClient(), "tokens", "revoke", "ab12", "--json"))
    assert line["token"]["revoked_at"] == 2.0


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound(message="There is no token ab12."), 5),
        (Conflict(message="This coordinator asks nobody for a token.", advice="Make one."), 5),
        (Forbidden(message="The token attic has the scope client; this needs admin."), 5),
        (Unreachable(message="gone"), 4),
    ],
)
@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_refusals_have_stable_exit_codes(words: list[str], error: NotFound, code: int) -> None:
    result = invoke(FakeClient(error=error), "tokens", *words)
    assert result.exit_code == code
    assert error.message in result.stderr
    assert error.advice in result.stderr
