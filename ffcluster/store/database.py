"""What tables need of a database: statements, transactions, and errors of our own."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from ffcluster.store.tables import Row


class Database(Protocol):
    """A connection that is made again at need.

    Every method raises the errors of `ffcluster.store.interface.JobStore` and no others.
    """

    def open(self) -> None:
        """Connect, and refuse what is not ours, in use elsewhere or broken; changes nothing."""

    def prepare(self) -> None:
        """Set what outlives the connection; called once, when the content is known to be ours."""

    def transaction(self) -> AbstractContextManager[None]:
        """All statements inside are kept together when it ends, or none when it is left early."""

    def run(self, statement: str, values: Row = ()) -> None:
        """Run a statement; `?` stands for a value."""

    def run_each(self, statement: str, rows: Sequence[Row]) -> None:
        """Run a statement once for each row."""

    def query(self, statement: str, values: Row = ()) -> list[tuple[Any, ...]]:
        """Run a statement that gives rows."""

    def has_table(self, name: str) -> bool:
        """Whether there is a table of this name among ours."""

    def close(self) -> None:
        """Disconnect; nothing happens when it is closed already."""
