"""The user's own files: refuse early what cannot end well, and put a result in its place."""

from __future__ import annotations

import os
from pathlib import Path

from ffcluster.errors import InvalidOption, OutputUnwritable


def check_source(source: Path) -> None:
    """Refuse a source that is no readable file.

    Raises:
        InvalidOption: Saying what is wrong with it.
    """
    if not source.exists():
        problem = "There is no file"
    elif source.is_dir():
        problem = "A film is needed, not the directory"
    elif not os.access(source, os.R_OK):
        problem = "There is no permission to read"
    else:
        return
    raise InvalidOption(message=f"{problem} {source}.", option="INPUT")


def check_target(target: Path, *, overwrite: bool) -> None:
    """Refuse an output that could not be written.

    Raises:
        InvalidOption: Saying what stands in the way.
    """
    if target.is_dir():
        raise InvalidOption(message=f"{target} is a directory.", option="OUTPUT")
    if target.exists() and not overwrite:
        raise InvalidOption(
            message=f"{target} exists already.",
            advice="Choose another name, or replace it with --overwrite.",
            option="OUTPUT",
        )
    if not target.parent.is_dir():
        raise InvalidOption(
            message=f"There is no directory {target.parent} to write to.", option="OUTPUT"
        )
    if not os.access(target.parent, os.W_OK):
        raise InvalidOption(
            message=f"There is no permission to write to {target.parent}.", option="OUTPUT"
        )


def create_private(path: Path, text: str) -> None:
    """Write a new file that only its owner can read.

    Raises:
        OutputUnwritable: When it exists already, or cannot be made.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise OutputUnwritable(
            message=f"{path} cannot be written: {error.strerror}.",
            advice="Choose another name; an existing file is never replaced.",
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a text as `write_bytes` does."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; a file that is there is replaced.

    Raises:
        OutputUnwritable: It cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        try:
            partial.write_bytes(data)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise OutputUnwritable(message=f"{path} cannot be written: {error.strerror}.") from error


def publish(made: Path, target: Path, *, overwrite: bool) -> None:
    """Give a finished file its final name in one step; never half, never over another file.

    Raises:
        OutputUnwritable: When the name was taken meanwhile, or the file system refuses.
    """
    try:
        if overwrite:
            made.replace(target)
            return
        try:
            target.hardlink_to(made)
        except FileExistsError:
            raise
        except OSError:
            # File systems without hard links: a short gap between look and rename remains.
            if target.exists():
                raise FileExistsError(17, "File exists") from None
            made.rename(target)
    except OSError as error:
        raise OutputUnwritable(
            message=f"{target} cannot be written: {error.strerror or error}.",
            advice="Choose another name, or replace it with --overwrite.",
        ) from error
