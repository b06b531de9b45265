"""Settings of coordinator and worker: their names, defaults, and how they are read.

One table per program names every option once; the command lines, the TOML file and `--help` are
made from it. The command line beats the file, the file beats the default. Unknown keys of the file
are refused with their path (`$.server.prot`). Starts nothing and opens no socket.
"""

from __future__ import annotations

import difflib
import os
import platform
import stat
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import platformdirs

from ffcluster.core.profile import Profile
from ffcluster.errors import InvalidOption
from ffcluster.services.values import (
    MIN_TOKEN_CHARACTERS,
    BadValue,
    Parser,
    count_between,
    duration_between,
    is_loopback,
    parse_boolean,
    parse_host,
    parse_interface,
    parse_path,
    parse_paths,
    parse_program,
    parse_text,
    parse_word,
    size_between,
)

KIB, MIB, TIB = 2**10, 2**20, 2**40


@attrs.frozen(kw_only=True)
class ServerSettings:
    """What a coordinator is set to.

    Attributes:
        required_workers: Workers that must be connected before a job starts.
        benchmark_duration_s: Longest stretch of film given to a worker whose rate is unknown.
        profile: Settings of jobs that bring none, or None.
        output_name: File name of outputs whose job brings none, or None.
        output_dir: Where finished files are published.
        interface: Address to listen on.
        port: TCP port to listen on; 0 takes any free one.
        exactly: Prove every frame by decoding; False trusts the container's index.
        block_bytes: Unit in which bulk data is sent.
        max_retries: Further attempts that a segment gets after its first failed.
        retry_delay_s: Pause before a failed segment is tried again.
        token: Secret that every peer must show, or None for loopback without one.
        state_dir: Where the coordinator keeps uploads, segments and its database.
        stall_timeout_s: End an encoder that makes no frame for this long.
        profiles: Profiles by name.
        sources_allowed: Directories from which clients may name files; None allows any.
        ffmpeg: The ffmpeg to use, or None to look for one.
        upload_limit_bytes: Largest source that a client may upload.
        shutdown_when_done: Stop after the film given as `source` has ended.
        source: A film to encode at once, or None.
        warnings: What a person should know about these settings.
    """

    required_workers: int = 3
    benchmark_duration_s: float = 10.0
    profile: Profile | None = None
    output_name: str | None = None
    output_dir: Path = attrs.field(factory=Path.cwd)
    interface: str = "127.0.0.1"
    port: int = 5001
    exactly: bool = True
    block_bytes: int = MIB
    max_retries: int = 3
    retry_delay_s: float = 5.0
    token: str | None = attrs.field(default=None, repr=False)
    state_dir: Path = attrs.field(
        factory=lambda: platformdirs.user_state_path("ffcluster", appauthor=False) / "coordinator"
    )
    stall_timeout_s: float = 60.0
    profiles: Mapping[str, Profile] = attrs.field(factory=dict)
    sources_allowed: tuple[Path, ...] | None = None
    ffmpeg: str | None = None
    upload_limit_bytes: int = TIB
    shutdown_when_done: bool = False
    source: Path | None = None
    warnings: tuple[str, ...] = ()

    def may_read(self, path: Path) -> bool:
        """Say whether a client may name `path`, symbolic links followed."""
        if self.sources_allowed is None:
            return True
        real = path.resolve()
        return any(real.is_relative_to(folder.resolve()) for folder in self.sources_allowed)


def _default_worker_name() -> str:
    return f"{platform.node().split('.')[0] or 'worker'}-{os.getpid()}"[:64]


@attrs.frozen(kw_only=True)
class WorkerSettings:
    """What a worker is set to.

    Attributes:
        host: Host name or address of the coordinator.
        port: TCP port of the coordinator.
        benchmark_duration_s: Longest stretch of film to take as a probe.
        reconnect_delay_s: Base of the back-off between attempts to connect.
        persistent: Connect again whenever the connection is lost; False: exit with a code.
        slots: Attempts to run side by side, or None to let the capabilities decide.
        encoder: The only encoder to offer, or None for all that work.
        token: Secret to show to the coordinator, or None.
        name: What people see this worker as.
        work_dir: Where pieces and results lie while they are needed.
        ffmpeg: The ffmpeg to use, or None to look for one.
        drain_timeout_s: How long running segments may go on after a request to stop.
        cpus: CPU cores to use, or None for all.
        warnings: What a person should know about these settings.
    """

    host: str = "localhost"
    port: int = 5001
    benchmark_duration_s: float = 10.0
    reconnect_delay_s: float = 3.0
    persistent: bool = True
    slots: int | None = None
    encoder: str | None = None
    token: str | None = attrs.field(default=None, repr=False)
    name: str = attrs.field(factory=_default_worker_name)
    work_dir: Path = attrs.field(
        factory=lambda: platformdirs.user_cache_path("ffcluster", appauthor=False) / "worker"
    )
    ffmpeg: str | None = None
    drain_timeout_s: float = 120.0
    cpus: int | None = None
    warnings: tuple[str, ...] = ()


@attrs.frozen
class Option:
    """One option of a program, for every way in which it can be given.

    Attributes:
        name: Its name without dashes, the same on the command line and in the file.
        field: The attribute of the settings class that it fills, or "" when it needs more work.
        parse: Turns what was given into the attribute's value, or raises `BadValue`.
        help: What it does, with its unit.
        default: Its default in words, as `--help` shows it; "" when there is none.
        aliases: Other names for it on the command line and in the file.
        boolean: Whether it also has a `--no-` form.
        repeatable: Whether it may be given more than once.
    """

    name: str
    field: str
    parse: Parser
    help: str
    default: str = ""
    aliases: tuple[str, ...] = ()
    boolean: bool = False
    repeatable: bool = False


def _output_name(value: object) -> str:
    from ffcluster.encoders.params import container_for

    name = parse_text(value)
    if name != Path(name).name or "/" in name or "\\" in name or name.startswith("."):
        raise BadValue("a file name without directories is allowed; --output-dir says where")
    container_for(name)
    return name


def _ffmpeg_params(value: object) -> Profile:
    from ffcluster.encoders.params import parse_ffmpeg_params

    return parse_ffmpeg_params(parse_text(value))


_COMMON = {
    "token-file": Option(
        "token-file", "", parse_path, "File with the secret that coordinator and workers share."
    ),
    "ffmpeg": Option(
        "ffmpeg",
        "ffmpeg",
        parse_program,
        "The ffmpeg to use.",
        "FFCLUSTER_FFMPEG, then PATH, then the imageio-ffmpeg package",
    ),
}

SERVER_OPTIONS: tuple[Option, ...] = (
    Option(
        "required-clients",
        "required_workers",
        count_between(1, 10_000),
        "Workers that must be connected before a job starts.",
        "3",
        aliases=("required-workers",),
    ),
    Option(
        "benchmark-duration",
        "benchmark_duration_s",
        duration_between(0.1, 3600.0),
        "Seconds of film, at most, that a worker of unknown speed gets first.",
        "10",
    ),
    Option(
        "ffmpeg-params",
        "profile",
        _ffmpeg_params,
        "Output settings of jobs that bring none, as ffmpeg options.",
    ),
    Option("profile", "", parse_word, "Name of the profile of jobs that bring none."),
    Option(
        "file-name-output",
        "output_name",
        _output_name,
        "File name of outputs whose job brings none; an existing file is never overwritten.",
    ),
    Option(
        "output-dir",
        "output_dir",
        parse_path,
        "Directory in which finished files appear.",
        "the current directory",
    ),
    Option("port", "port", count_between(0, 65535), "TCP port to listen on; 0: any free.", "5001"),
    Option(
        "exactly",
        "exactly",
        parse_boolean,
        "Prove every frame by decoding it; false trusts the container's index.",
        "true",
        boolean=True,
    ),
    Option(
        "chunk-size",
        "block_bytes",
        size_between(64 * KIB, 64 * MIB),
        "Size of the blocks in which files are sent: 1MB, 512KiB or bytes.",
        "1 MiB",
    ),
    Option(
        "max-retries",
        "max_retries",
        count_between(0, 100),
        "Further attempts that a segment gets after its first failed.",
        "3",
    ),
    Option(
        "retry-delay",
        "retry_delay_s",
        duration_between(0.0, 3600.0),
        "Seconds before a failed segment is tried again.",
        "5",
    ),
    Option("interface", "interface", parse_interface, "Address to listen on.", "127.0.0.1"),
    _COMMON["token-file"],
    Option(
        "state-dir",
        "state_dir",
        parse_path,
        "Directory for uploads, segments and the job list.",
        "the user's state directory",
    ),
    Option(
        "source-dir",
        "sources_allowed",
        parse_paths,
        "Directory from which clients may name files.",
        "any on loopback, none otherwise",
        repeatable=True,
    ),
    Option(
        "stall-timeout",
        "stall_timeout_s",
        duration_between(1.0, 86_400.0),
        "Seconds without a new frame after which an encoder is ended.",
        "60",
    ),
    Option(
        "upload-limit",
        "upload_limit_bytes",
        size_between(MIB, 1024 * TIB),
        "Largest source that a client may upload.",
        "1 TiB",
    ),
    _COMMON["ffmpeg"],
    Option(
        "shutdown-when-done",
        "shutdown_when_done",
        parse_boolean,
        "Stop when the film given as argument has been encoded.",
        "false",
        boolean=True,
    ),
)

WORKER_OPTIONS: tuple[Option, ...] = (
    Option("server-ip", "host", parse_host, "Host name or address of the coordinator.", "localhost"),
    Option("server-port", "port", count_between(1, 65535), "Its TCP port.", "5001"),
    Option(
        "benchmark-duration",
        "benchmark_duration_s",
        duration_between(0.1, 3600.0),
        "Seconds of film, at most, to take first; the coordinator's limit counts when smaller.",
        "10",
    ),
    Option(
        "reconnect-delay",
        "reconnect_delay_s",
        duration_between(0.1, 3600.0),
        "Seconds before connecting again; grows with each failure, with jitter.",
        "3",
    ),
    Option(
        "persistent",
        "persistent",
        parse_boolean,
        "Keep trying to connect; false exits with a code when the connection fails or is lost.",
        "true",
        boolean=True,
    ),
    Option(
        "slots",
        "slots",
        count_between(1, 1024),
        "Segments to encode side by side.",
        "what pays off on this machine",
    ),
    Option("encoder", "encoder", parse_word, "The only encoder to offer.", "all that work here"),
    _COMMON["token-file"],
    Option("name", "name", parse_word, "Name shown for this worker.", "host name and process id"),
    Option(
        "work-dir",
        "work_dir",
        parse_path,
        "Directory for pieces and results while they are needed.",
        "the user's cache directory",
    ),
    _COMMON["ffmpeg"],
    Option(
        "drain-timeout",
        "drain_timeout_s",
        duration_between(0.0, 86_400.0),
        "Seconds that running segments may go on after a request to stop.",
        "120",
    ),
    Option("cpus", "cpus", count_between(1, 4096), "CPU cores to use.", "all"),
)

_TABLES = {"server": SERVER_OPTIONS, "worker": WORKER_OPTIONS}


def load_server_settings(
    given: Mapping[str, object], config: Path | None = None, source: Path | None = None
) -> ServerSettings:
    """Make a coordinator's settings from the command line and a file.

    Args:
        given: Options by name (no dashes) as given on the command line; None means not given.
        config: TOML file with a `[server]` table, or None.
        source: A film to encode at once, or None.

    Raises:
        InvalidOption: Naming the option, its value and what is allowed.
    """
    document = _read_toml(config)
    values = _parse_all("server", given, document, config)
    fields = {o.field: values[o.name] for o in SERVER_OPTIONS if o.field and o.name in values}
    token, warnings = _token(values)
    profiles = _profiles(document, config)
    fields |= {"token": token, "warnings": warnings, "profiles": profiles, "source": source}
    if "profile" in values:
        fields["profile"] = _named_profile(str(values["profile"]), profiles, "profile" in fields)
    interface = str(fields.get("interface", "127.0.0.1"))
    if not is_loopback(interface):
        _require_token(interface, token)
        fields.setdefault("sources_allowed", ())
    if source is not None and not source.is_file():
        raise InvalidOption(
            message=f"There is no file {source} to encode.",
            advice="Name a video file that this machine can read, or none.",
            option="SOURCE",
        )
    return ServerSettings(**fields)


def load_worker_settings(
    given: Mapping[str, object], config: Path | None = None
) -> WorkerSettings:
    """Make a worker's settings from the command line and a file's `[worker]` table.

    Raises:
        InvalidOption: Naming the option, its value and what is allowed.
    """
    values = _parse_all("worker", given, _read_toml(config), config)
    fields = {o.field: values[o.name] for o in WORKER_OPTIONS if o.field and o.name in values}
    token, warnings = _token(values)
    return WorkerSettings(**fields, token=token, warnings=warnings)


def read_token_file(path: Path) -> tuple[str, tuple[str, ...]]:
    """Read a shared secret from a file; answers it and what is unsafe about the file.

    Raises:
        InvalidOption: When the file cannot be read, is empty, or holds no usable token.
    """
    advice = f"Make one with: ffcluster token > {path}"
    try:
        mode = path.stat().st_mode
        token = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise InvalidOption(
            message=f"--token-file={path} cannot be read: {reason}.",
            advice=advice,
            option="token-file",
        ) from error
    if not token:
        raise InvalidOption(
            message=f"--token-file={path} is empty.", advice=advice, option="token-file"
        )
    if len(token) < MIN_TOKEN_CHARACTERS or not all("!" <= c <= "~" for c in token):
        raise InvalidOption(
            message=f"--token-file={path} holds no usable token: one word of at least "
            f"{MIN_TOKEN_CHARACTERS} printable ASCII characters is allowed.",
            advice=advice,
            option="token-file",
        )
    if os.name == "posix" and mode & (stat.S_IRGRP | stat.S_IROTH):
        return token, (f"{path} can be read by other users; protect it with: chmod 600 {path}",)
    return token, ()


def _token(values: Mapping[str, Any]) -> tuple[str | None, tuple[str, ...]]:
    if "token-file" not in values:
        return None, ()
    return read_token_file(values["token-file"])


def _require_token(interface: str, token: str | None) -> None:
    if token is None:
        raise InvalidOption(
            message=f"--interface={interface} can be reached from other machines, "
            "so a token is needed.",
            advice="Make one with: ffcluster token > ffcluster.token\n"
            "Then start with: --token-file=ffcluster.token, here and on every worker.",
            option="interface",
        )


def _named_profile(
    name: str, profiles: Mapping[str, Profile], also_params: bool
) -> Profile:
    if also_params:
        raise InvalidOption(
            message="--profile and --ffmpeg-params were both given; one of them is allowed.",
            option="profile",
        )
    if name not in profiles:
        known = ", ".join(sorted(profiles)) or "none"
        raise InvalidOption(
            message=f"--profile={name}: there is no such profile; known: {known}.",
            advice="Write it as a [profiles.NAME] table in the --config file.",
            option="profile",
        )
    return profiles[name]


def _read_toml(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        with path.open("rb") as file:
            document = tomllib.load(file)
    except OSError as error:
        raise InvalidOption(
            message=f"--config={path} cannot be read: {error.strerror}.", option="config"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidOption(
            message=f"--config={path} is not TOML: {error}.", option="config"
        ) from error
    _refuse_unknown(document, ("server", "worker", "profiles"), "$", path)
    for table, options in _TABLES.items():
        keys = [name for option in options for name in (option.name, *option.aliases)]
        _refuse_unknown(document.get(table, {}), keys, f"$.{table}", path)
    return document


def _refuse_unknown(table: object, known: Sequence[str], where: str, path: Path) -> None:
    if not isinstance(table, dict):
        raise InvalidOption(message=f"{path}: {where} must be a table.", option=where)
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key.replace("_", "-"), known, 1)
            raise InvalidOption(
                message=f"{path}: {where}.{key} is unknown.",
                advice=f"Did you mean {near[0]}?" if near else f"Known: {', '.join(known)}.",
                option=f"{where}.{key}",
            )


def _parse_all(
    table: str, given: Mapping[str, object], document: Mapping[str, Any], path: Path | None
) -> dict[str, Any]:
    """Parse every option that was given, the command line's value before the file's."""
    written = document.get(table, {})
    values: dict[str, Any] = {}
    for option in _TABLES[table]:
        names = (option.name, *option.aliases)
        from_cli = _only_one({f"--{n}": given[n] for n in names if given.get(n) is not None})
        from_file = _only_one({f"{path}: $.{table}.{n}": written[n] for n in names if n in written})
        chosen = from_cli or from_file
        if chosen is not None:
            values[option.name] = parse_option(option, *chosen)
    return values


def _only_one(found: dict[str, object]) -> tuple[str, object] | None:
    if len(found) > 1:
        raise InvalidOption(
            message=f"{' and '.join(found)} are two names of one option; give one of them.",
            option=next(iter(found)),
        )
    return next(iter(found.items()), None)


def parse_option(option: Option, label: str, value: object) -> object:
    """Parse one option's value.

    Args:
        option: The option.
        label: How the user gave it, for the error: `--port` or `FILE: $.server.port`.
        value: What was given.

    Raises:
        InvalidOption: Naming the option, the value and what is allowed.
    """
    try:
        return option.parse(value)
    except BadValue as error:
        shown = f"{label}={value}" if label.startswith("--") else f"{label} = {value!r}"
        raise InvalidOption(message=f"{shown}: {error}.", option=option.name) from error
    except InvalidOption as error:
        raise InvalidOption(
            message=f"{label}: {error.message}", advice=error.advice, option=option.name
        ) from error


def _profiles(document: Mapping[str, Any], path: Path | None) -> Mapping[str, Profile]:
    table = document.get("profiles")
    if not table:
        return {}
    from ffcluster.encoders.params import parse_profiles

    return parse_profiles(table, f"{path}: $.profiles")
