"""Watch folders as they are set up: `--watch-dir DIR[=PROFILE]` and `ffcluster-watch.toml`.

Everything is checked before a coordinator starts. `ffcluster.services.watch` takes the files.
"""

from __future__ import annotations

import enum
import math
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import attrs

from ffcluster.core.model import Fallback, JobRequest
from ffcluster.core.profile import Container, Profile
from ffcluster.core.watching import Rules
from ffcluster.errors import InvalidOption
from ffcluster.services.settings.values import (
    BadValue,
    Parser,
    count_between,
    duration_between,
    parse_boolean,
    parse_text,
    parse_word,
)

SETTINGS_FILE = "ffcluster-watch.toml"
HOUSE = ".ffcluster"
DONE = "done"
FAILED = "failed"
VIDEO_SUFFIXES = frozenset({
    ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".h264", ".h265", ".hevc", ".ivf",
    ".m2t", ".m2ts", ".m2v", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf",
    ".ogm", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m",
})  # fmt: skip
_MOST_FOLDERS = 64
_MOST_SUFFIXES = 64
_LARGEST_FILE = 64 * 1024
_SUFFIX = re.compile(r"\.[a-z0-9]{1,12}")


class Subfolders(enum.StrEnum):
    """What becomes of files in sub-directories: left alone, or taken, mirrored in the output."""

    IGNORE = "ignore"
    FLAT = "flat"
    MIRROR = "mirror"


class After(enum.StrEnum):
    """What becomes of a source that was encoded."""

    DONE = "done"
    DELETE = "delete"
    LEAVE = "leave"


class Duplicates(enum.StrEnum):
    """What becomes of a file that holds the same as one that was done before."""

    SKIP = "skip"
    AGAIN = "again"


@attrs.frozen(kw_only=True)
class WatchFolder:
    """One watch folder, its settings checked.

    Attributes:
        path: The folder, symbolic links followed.
        container: Container of the outputs.
        output: Folder of the outputs below the coordinator's output directory, or "".
        subfolders: What becomes of sub-directories.
        after: What becomes of sources that were encoded.
        suffixes: Suffixes of the names that are taken, in small letters, with their dots.
        every_s: Seconds between looks, at least.
        rules: How it is decided what is taken.
        request: What is asked for every file, but for its names and its source.
    """

    path: Path
    container: Container = Container.MKV
    output: str = ""
    subfolders: Subfolders = Subfolders.IGNORE
    after: After = After.DONE
    suffixes: frozenset[str] = VIDEO_SUFFIXES
    every_s: float = 2.0
    rules: Rules = attrs.field(factory=Rules)
    request: JobRequest = attrs.field(factory=lambda: JobRequest(""))


def parse_watch_dirs(value: object) -> tuple[str, ...]:
    """Read one `DIR[=PROFILE]` or a list of them.

    Raises:
        BadValue: One is no text, or there are too many.
    """
    values = value if isinstance(value, list | tuple) else [value]
    if len(values) > _MOST_FOLDERS:
        raise BadValue(f"up to {_MOST_FOLDERS} folders are allowed")
    return tuple(parse_text(item) for item in values)


def read_watch_folders(
    given: Sequence[str],
    profiles: Mapping[str, Profile],
    default: Profile | None,
    apart_from: Mapping[str, Path],
) -> tuple[WatchFolder, ...]:
    """Read and check every watch folder with its settings.

    Args:
        given: `DIR[=PROFILE]` of each.
        profiles: Profiles by name.
        default: The profile of folders that name none, or None.
        apart_from: Directories, by option, that must not lie in a watch folder.

    Raises:
        InvalidOption: Saying which folder or setting cannot be used, and why.
    """
    folders: list[WatchFolder] = []
    for text in given:
        path, profile = _split(text)
        folder = _read(_usable(path, text), profile, profiles, default)
        _check_apart(folder.path, text, folders, apart_from)
        folders.append(folder)
    return tuple(folders)


def _split(text: str) -> tuple[Path, str | None]:
    """A directory's name may hold `=` itself."""
    path = Path(text).expanduser().absolute()
    if path.is_dir() or "=" not in text:
        return path, None
    directory, _, profile = text.rpartition("=")
    return Path(directory).expanduser().absolute(), profile


def _usable(path: Path, text: str) -> Path:
    if not path.is_dir():
        raise _refused(text, f"there is no directory {path}", "Make it first, or correct its name.")
    try:
        found = path.resolve(strict=True)
        str(found).encode()
    except (OSError, UnicodeEncodeError):
        raise _refused(text, "its path cannot be used", "Give it a plain name.") from None
    if not os.access(found, os.R_OK | os.W_OK | os.X_OK):
        raise _refused(
            text,
            f"{found} cannot be read and written",
            "Files are taken by renaming them, so the coordinator needs leave to write there.",
        )
    for name in (HOUSE, DONE, FAILED):
        inside = found / name
        if inside.is_symlink() or (inside.exists() and not inside.is_dir()):
            raise _refused(text, f"{inside} is no directory", "Give it another name, or remove it.")
    return found


def _check_apart(
    path: Path, text: str, others: Sequence[WatchFolder], apart_from: Mapping[str, Path]
) -> None:
    for option, directory in apart_from.items():
        if directory.resolve().is_relative_to(path):
            raise _refused(
                text,
                f"{option}={directory} lies in it, and what is written there would be taken",
                f"Choose another {option}.",
            )
    for other in others:
        if path.is_relative_to(other.path) or other.path.is_relative_to(path):
            raise _refused(text, f"{other.path} is watched too", "Watch one of them only.")


def _refused(text: str, problem: str, advice: str) -> InvalidOption:
    return InvalidOption(
        message=f"--watch-dir={text}: {problem}.", advice=advice, option="watch-dir"
    )


# --- ffcluster-watch.toml ------------------------------------------------------------------------


def _folder(value: object) -> str:
    text = parse_text(value)
    path = PurePosixPath(text)
    usable = not path.is_absolute() and "\\" not in text and ":" not in text
    if not usable or any(part.startswith(".") for part in path.parts) or len(text) > 200:
        raise BadValue("a folder below the coordinator's --output-dir is allowed, such as films/hd")
    return str(path)


def _suffixes(value: object) -> frozenset[str]:
    values = value if isinstance(value, list) else [value]
    found = {"." + parse_text(item).lower().removeprefix(".") for item in values}
    if not 0 < len(found) <= _MOST_SUFFIXES or not all(_SUFFIX.fullmatch(item) for item in found):
        raise BadValue(f"one to {_MOST_SUFFIXES} suffixes such as .mkv are allowed")
    return frozenset(found)


def _one_of(kind: type[enum.StrEnum]) -> Parser:
    def parse(value: object) -> enum.StrEnum:
        try:
            return kind(value)  # type: ignore[arg-type]
        except ValueError:
            raise BadValue(f"one of {', '.join(kind)} is allowed") from None

    return parse


_KEYS: Mapping[str, Parser] = {
    "profile": parse_word,
    "container": _one_of(Container),
    "output": _folder,
    "subfolders": _one_of(Subfolders),
    "after": _one_of(After),
    "duplicates": _one_of(Duplicates),
    "suffixes": _suffixes,
    "every": duration_between(0.1, 3600.0),
    "stable": duration_between(0.0, 86_400.0),
    "at-once": count_between(1, 100),
}
_JOB_KEYS: Mapping[str, Parser] = {
    "exactly": parse_boolean,
    "allow-damaged": parse_boolean,
    "mix": parse_boolean,
    "fallback": _one_of(Fallback),
    "hardware-decode": parse_boolean,
    "allow-missing": parse_boolean,
    "priority": count_between(-1000, 1000),
}


def _read(
    path: Path, named: str | None, profiles: Mapping[str, Profile], default: Profile | None
) -> WatchFolder:
    file = path / SETTINGS_FILE
    table = _table(file)
    own = {key: _parsed(file, key, table, _KEYS[key]) for key in table if key in _KEYS}
    job = {
        key.replace("-", "_"): _parsed(file, key, table, _JOB_KEYS[key])
        for key in table
        if key in _JOB_KEYS
    }
    if named is not None and own.get("profile", named) != named:
        raise InvalidOption(
            message=f"--watch-dir={path}={named}: {file} names the profile {own['profile']}.",
            advice="Name it in one place.",
            option="watch-dir",
        )
    rest = {key: value for key, value in table.items() if key not in (*_KEYS, *_JOB_KEYS)}
    profile = _profile(file, rest, named or own.get("profile"), profiles, default)
    container = own.get("container", Container.MKV)
    every_s, stable_s = own.get("every", 2.0), own.get("stable", 10.0)
    _check_container(path, profile, container)
    return WatchFolder(
        path=path,
        container=container,
        output=own.get("output", ""),
        subfolders=own.get("subfolders", Subfolders.IGNORE),
        after=own.get("after", After.DONE),
        suffixes=own.get("suffixes", VIDEO_SUFFIXES),
        every_s=every_s,
        rules=Rules(
            looks=1 + math.ceil(stable_s / every_s),
            at_once=own.get("at-once", Rules().at_once),
            skips_twins=own.get("duplicates", Duplicates.SKIP) is Duplicates.SKIP,
        ),
        request=JobRequest("", profile=profile, **job),
    )


def _table(file: Path) -> dict[str, Any]:
    try:
        if file.is_symlink():
            raise InvalidOption(message=f"{file} is a symbolic link.", option="watch-dir")
        with file.open("rb") as opened:
            data = opened.read(_LARGEST_FILE + 1)
        if len(data) > _LARGEST_FILE:
            raise InvalidOption(message=f"{file} is too large.", option="watch-dir")
        return tomllib.loads(data.decode())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InvalidOption(
            message=f"{file} cannot be read: {error.strerror}.", option="watch-dir"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidOption(message=f"{file} is not TOML: {error}.", option="watch-dir") from error


def _parsed(file: Path, key: str, table: Mapping[str, Any], parse: Parser) -> Any:
    try:
        return parse(table[key])
    except BadValue as error:
        raise InvalidOption(
            message=f"{file}: $.{key} = {table[key]!r}: {error}.", option="watch-dir"
        ) from error


def _profile(
    file: Path,
    values: Mapping[str, Any],
    name: str | None,
    profiles: Mapping[str, Profile],
    default: Profile | None,
) -> Profile | None:
    """The profile by its name, with the file's encode options laid over it."""
    if name is not None and name not in profiles:
        raise InvalidOption(
            message=f"--watch-dir={file.parent}: there is no profile {name}; known: "
            f"{', '.join(sorted(profiles)) or 'none'}.",
            advice="Write it as a [profile.NAME] table in the --config file.",
            option="watch-dir",
        )
    base = profiles[name] if name is not None else default
    if not values:
        return base
    from ffcluster.encoders.params import OPTION_NAMES, build_profile, options_from

    known = (*_KEYS, *_JOB_KEYS, *OPTION_NAMES)
    unknown = sorted(set(values) - set(OPTION_NAMES))
    if unknown:
        raise InvalidOption(
            message=f"{file}: $.{unknown[0]} is unknown.",
            advice=f"Known: {', '.join(known)}.",
            option="watch-dir",
        )
    try:
        return build_profile(options_from(values, f"{file}: $"), base)
    except InvalidOption as error:
        if error.message.startswith(str(file)):
            raise
        raise attrs.evolve(error, message=f"{file}: {error.message}") from error


def _check_container(path: Path, profile: Profile | None, container: Container) -> None:
    from ffcluster.encoders.params import check_container
    from ffcluster.errors import ContainerUnsuitable

    try:
        check_container(profile or Profile(), container)
    except ContainerUnsuitable as error:
        raise InvalidOption(
            message=f"--watch-dir={path}: {error.message}.", advice=error.advice, option="watch-dir"
        ) from error
