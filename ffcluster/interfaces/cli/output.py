"""What commands print: NDJSON or text on stdout, everything else on stderr, and exit codes.

With `--json` every line of stdout is one object with a `type`; the last one is `result` or
`error`. Readers must ignore keys and types that they do not know.
"""

from __future__ import annotations

import enum
import json
import sys
import traceback
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import PurePath
from typing import Any

import attrs
import click

from ffcluster import errors


class Exit(enum.IntEnum):
    """Exit codes of every command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNVERIFIED = 3
    UNREACHABLE = 4
    REFUSED = 5
    CANNOT_TELL = 6
    INTERRUPTED = 130


_EXITS: tuple[tuple[type[errors.FfclusterError], Exit], ...] = (
    (errors.InvalidOption, Exit.USAGE),
    (errors.VerificationFailed, Exit.UNVERIFIED),
    (errors.Unreachable, Exit.UNREACHABLE),
    (errors.Refused, Exit.REFUSED),
    (errors.NotReproducible, Exit.CANNOT_TELL),
)


def exit_for(error: BaseException) -> Exit:
    """Choose the exit code of a command that ends with `error`."""
    return next((code for kind, code in _EXITS if isinstance(error, kind)), Exit.FAILED)


def plain(value: Any) -> Any:
    """Turn settings, views and errors into what JSON can hold."""
    if attrs.has(type(value)):
        fields = attrs.fields(type(value))
        return {f.name: plain(getattr(value, f.name)) for f in fields if f.repr}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, PurePath | Fraction):
        return str(value)
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return [plain(item) for item in value]


@attrs.frozen
class Output:
    """Where one command's words go.

    Attributes:
        json: NDJSON on stdout instead of text.
        quiet: Nothing on stderr but errors.
        debug: Tracebacks with errors.
    """

    json: bool = False
    quiet: bool = False
    debug: bool = False

    def emit(self, type_: str, **fields: Any) -> None:
        """Write one NDJSON object, when the user wants them."""
        if self.json:
            line = json.dumps({"type": type_, **plain(fields)}, ensure_ascii=False)
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    def show(self, text: str) -> None:
        """Write a command's answer for people to stdout."""
        if not self.json:
            click.echo(text)

    def say(self, text: str) -> None:
        """Tell a person what is going on, on stderr."""
        if not self.quiet:
            click.echo(text, err=True)

    def warn(self, text: str) -> None:
        """Tell a person or a program what is odd."""
        self.emit("warning", message=text)
        self.say(f"Warning: {text}")

    def emit_error(self, report: errors.ErrorReport, code: Exit) -> None:
        """Write the `error` object that ends a command's NDJSON."""
        self.emit("error", **plain(report), exit_code=int(code))

    def fail(self, error: BaseException, code: Exit | None = None) -> Exit:
        """Present an error and answer the exit code: `code`, or the one that belongs to it."""
        report = errors.ErrorReport.of(error)
        code = exit_for(error) if code is None else code
        self.emit_error(report, code)
        if self.debug:
            click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
        click.echo(f"Error: {report.message}", err=True)
        for line in _evidence(report.detail):
            click.echo(line, err=True)
        if report.advice:
            click.echo(report.advice, err=True)
        if report.code is errors.Code.INTERNAL and not self.debug:
            click.echo("This is a fault in ffcluster; --debug shows where it happened.", err=True)
        return code


def _evidence(detail: Mapping[str, Any]) -> list[str]:
    """Show what an error knows of its cause: segment, worker, argv, last lines of stderr."""
    lines: list[str] = []
    for key, value in detail.items():
        label = key.replace("_", " ")
        if key == "argv" and not isinstance(value, str):
            lines.append(f"  {label}: {' '.join(str(word) for word in value)}")
            continue
        rows = _rows(value)
        if len(rows) == 1:
            lines.append(f"  {label}: {rows[0]}")
        elif rows:
            lines += [f"  {label}:", *(f"    {row}" for row in rows)]
    return lines


def _rows(value: Any) -> list[str]:
    """Write one piece of evidence as lines: a mapping's entries, a list's items, a text's lines."""
    if isinstance(value, str):
        return value.splitlines()
    if isinstance(value, Mapping):
        return [f"{str(key).replace('_', ' ')}: {item}" for key, item in value.items()]
    if isinstance(value, Sequence):
        return [
            "; ".join(_rows(item)) if isinstance(item, Mapping) else str(item) for item in value
        ]
    return [str(value)]


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lay out rows in columns; columns that hold numbers only are aligned to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(headings), *cells]) for i in range(len(headings))]
    numeric = [
        all(isinstance(row[i], int | float) for row in rows) and bool(rows)
        for i in range(len(headings))
    ]
    lines = [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in [list(headings), *cells]
    ]
    return "\n".join(lines)


def clock(seconds: float | None) -> str:
    """Write a time as `1:02:03` or `4:05`; an unknown one as `-`."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def megabytes(size_bytes: int) -> str:
    """Write a file size for people."""
    for unit, power in (("GB", 3), ("MB", 2), ("kB", 1)):
        if size_bytes >= 1000**power:
            return f"{size_bytes / 1000**power:.1f} {unit}"
    return f"{size_bytes} bytes"


def printable(text: str) -> str:
    """A name or a reason from outside, without what a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in text)
