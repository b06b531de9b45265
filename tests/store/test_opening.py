"""URLs of databases: what they name, and what is refused without repeating it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ffcluster.core.durable import Changes
from ffcluster.errors import InvalidOption
from ffcluster.store import copying
from ffcluster.store.opening import DEFAULT_URL, open_store
from tests.store.entries import job


@pytest.mark.parametrize(
    ("url", "path"),
    [
        (DEFAULT_URL, "state/ffcluster.db"),
        ("sqlite:///a%20b/%3F.db", "state/a b/?.db"),
        ("sqlite:///{here}/elsewhere/jobs.db", "elsewhere/jobs.db"),
    ],
)
def test_path_in_the_url_starts_at_the_state_directory_or_is_absolute(
    tmp_path: Path, url: str, path: str
) -> None:
    store = open_store(url.format(here=tmp_path), tmp_path / "state")
    store.open()
    store.close()
    assert (tmp_path / path).is_file()


@pytest.mark.parametrize(
    "url",
    [
        "", "jobs.db", "sqlite:", "sqlite://", "sqlite:///", "sqlite://secret/jobs.db",
        "sqlite:///jobs.db?secret=1", "sqlite:///jobs.db#secret", "sqlite:///a%00b",
        "mysql://u:secret@h/x", "postgresql:x", "SQLITE:///x",
    ],
)  # fmt: skip
def test_other_urls_are_refused_and_not_repeated(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        open_store(url, tmp_path)
    assert caught.value.option == "database"
    assert "sqlite:///" in caught.value.advice
    assert "secret" not in repr(caught.value)


def test_what_is_missing_for_postgresql_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "ffcluster.store.postgres", raising=False)
    with pytest.raises(InvalidOption) as caught:
        open_store("postgresql://u:secret@h/x", tmp_path)
    assert "ffcluster[postgresql]" in caught.value.advice
    assert "secret" not in repr(caught.value)


def test_command_copies_one_database_to_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    urls = ["sqlite:///old.db", "sqlite:///new.db"]
    old = open_store(urls[0], tmp_path)
    old.open()
    old.apply([Changes(jobs=(job("a"), job("b")))])
    old.close()
    assert copying.main(urls) == 0
    assert "2 jobs" in capsys.readouterr().out
    assert copying.main(urls) == 1
    assert "not empty" in capsys.readouterr().err
    assert copying.main(urls[:1]) == 2
