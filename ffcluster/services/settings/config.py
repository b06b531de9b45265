"""Settings of coordinator and worker: their names, defaults, and how they are read.

The command line beats the TOML file, the file beats the environment, that the default. Unknown keys
of the file are refused with their path (`$.server.prot`). Starts nothing and opens no socket.
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
from ffcluster.services.logs import DEFAULT_FORMAT, DEFAULT_LEVEL
from ffcluster.services.settings.options import SERVER_OPTIONS, WORKER_OPTIONS, Option
from ffcluster.services.settings.values import (
    GIB,
    MIB,
    MIN_TOKEN_CHARACTERS,
    TIB,
    BadValue,
    is_loopback,
)
from ffcluster.services.settings.watchfolders import WatchFolder, read_watch_folders
from ffcluster.store.opening import DEFAULT_URL

TOKEN_VARIABLE = "FFCLUSTER_TOKEN"  # noqa: S105 - the name of one
_USABLE = f"one word of at least {MIN_TOKEN_CHARACTERS} printable ASCII characters is allowed"


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
        token: Secret that opens everything, or None for loopback without one.
        allowed_hosts: Names under which it is asked, or () for what `interface` suggests.
        webhook_allow_private: Whether webhooks may lead into private networks.
        state_dir: Where the coordinator keeps uploads, pieces, results and its database.
        database: Where jobs are written down, as a URL.
        max_disk_bytes: Most that uploads and results may take up, or None.
        min_free_bytes: Space to keep free in `state_dir`.
        keep_failed_s: How long the results of a failed job are kept.
        keep_uploads_s: How long the uploaded source of a job stays after the job has ended.
        events_kept: Latest events that are kept.
        lease_s: How long a worker that is not heard keeps its attempts.
        poison_after: Different workers on which a segment may fail before its job is given up.
        quarantine_after: Different segments in a row that may fail on a device before it rests.
        quarantine_s: How long it rests the first time.
        stall_timeout_s: End an encoder that makes no frame for this long.
        profiles: Profiles by name.
        sources_allowed: Directories from which clients may name files; None allows any.
        watch_folders: Directories whose films are encoded as they come.
        ffmpeg: The ffmpeg to use, or None to look for one.
        disabled_plugins: Names of plugins to leave out.
        allowed_plugins: Names of the only plugins to load, or None for all.
        upload_limit_bytes: Largest source that a client may upload.
        fixed_crew: No worker will join beyond those that are required (one machine).
        shutdown_when_done: Stop after the film given as `source` has ended.
        log_format: How the log is written; see `ffcluster.services.logs`.
        log_level: What is left out of it.
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
    allowed_hosts: tuple[str, ...] = ()
    webhook_allow_private: bool = False
    state_dir: Path = attrs.field(
        factory=lambda: platformdirs.user_state_path("ffcluster", appauthor=False) / "coordinator"
    )
    database: str = attrs.field(default=DEFAULT_URL, repr=False)
    max_disk_bytes: int | None = None
    min_free_bytes: int = GIB
    keep_failed_s: float = 86_400.0
    keep_uploads_s: float = 86_400.0
    events_kept: int = 100_000
    lease_s: float = 30.0
    poison_after: int = 3
    quarantine_after: int = 3
    quarantine_s: float = 60.0
    stall_timeout_s: float = 60.0
    profiles: Mapping[str, Profile] = attrs.field(factory=dict)
    sources_allowed: tuple[Path, ...] | None = None
    watch_folders: tuple[WatchFolder, ...] = ()
    ffmpeg: str | None = None
    disabled_plugins: tuple[str, ...] = ()
    allowed_plugins: tuple[str, ...] | None = None
    upload_limit_bytes: int = TIB
    fixed_crew: bool = False
    shutdown_when_done: bool = False
    log_format: str = DEFAULT_FORMAT
    log_level: str = DEFAULT_LEVEL
    source: Path | None = None
    warnings: tuple[str, ...] = ()

    def may_read(self, path: Path) -> bool:
        """Say whether a client may name `path`, symbolic links followed."""
        if self.sources_allowed is None:
            return True
        real = path.resolve()
        if self.source is not None and real == self.source.resolve():
            return True
        return any(real.is_relative_to(folder.resolve()) for folder in self.sources_allowed)


def default_worker_name() -> str:
    """The host's name; the same after every restart, so that a worker is known again."""
    return platform.node().split(".")[0][:60] or "worker"


def default_work_dir(name: str) -> Path:
    """A folder for each worker: two on one machine would remove each other's files."""
    return platformdirs.user_cache_path("ffcluster", appauthor=False) / "workers" / name


@attrs.frozen(kw_only=True)
class WorkerSettings:
    """What a worker is set to.

    Attributes:
        host: Host name or address of the coordinator.
        port: TCP port of the coordinator.
        benchmark_duration_s: Longest stretch of film to take as a probe.
        reconnect_delay_s: Base of the back-off between attempts to connect.
        persistent: Connect again whenever the connection is lost; False: exit with a code.
        slots: Attempts to run side by side on the CPU, or None to let the capabilities decide.
        device_slots: Attempts to run side by side on each other device, or None likewise.
        encoder: The only encoder to offer, or None for all that work.
        token: Secret to show to the coordinator, or None.
        name: What people see this worker as.
        work_dir: Where pieces and results lie while they are needed, of this worker alone; None
            for a folder by its name, or one by the next free name when that is not given either.
        ffmpeg: The ffmpegs to use, the preferred one first; () to look for one.
        state_dir: Where it is remembered what this machine can do, or None for the place that
            all workers of this user share.
        disabled_plugins: Names of plugins to leave out.
        allowed_plugins: Names of the only plugins to load, or None for all.
        drain_timeout_s: How long running segments may go on after a request to stop.
        cpus: CPU cores to use, or None for all.
        log_format: How the log is written; see `ffcluster.services.logs`.
        log_level: What is left out of it.
        warnings: What a person should know about these settings.
    """

    host: str = "localhost"
    port: int = 5001
    benchmark_duration_s: float = 10.0
    reconnect_delay_s: float = 3.0
    persistent: bool = True
    slots: int | None = None
    device_slots: int | None = None
    encoder: str | None = None
    token: str | None = attrs.field(default=None, repr=False)
    name: str = attrs.field(factory=default_worker_name)
    work_dir: Path | None = None
    ffmpeg: tuple[str, ...] = ()
    state_dir: Path | None = None
    disabled_plugins: tuple[str, ...] = ()
    allowed_plugins: tuple[str, ...] | None = None
    drain_timeout_s: float = 120.0
    cpus: int | None = None
    log_format: str = DEFAULT_FORMAT
    log_level: str = DEFAULT_LEVEL
    warnings: tuple[str, ...] = ()


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
    return _watching(ServerSettings(**fields), values.get("watch-dir", ()))


def _watching(settings: ServerSettings, given: Sequence[str]) -> ServerSettings:
    """`settings` with the watch folders that were given, checked."""
    own = {"--output-dir": settings.output_dir, "--state-dir": settings.state_dir}
    folders = read_watch_folders(given, settings.profiles, settings.profile, own)
    return attrs.evolve(settings, watch_folders=folders)


def load_worker_settings(given: Mapping[str, object], config: Path | None = None) -> WorkerSettings:
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
    if not _usable(token):
        raise InvalidOption(
            message=f"--token-file={path} holds no usable token: {_USABLE}.",
            advice=advice,
            option="token-file",
        )
    if os.name == "posix" and mode & (stat.S_IRGRP | stat.S_IROTH):
        return token, (f"{path} can be read by other users; protect it with: chmod 600 {path}",)
    return token, ()


def _token(values: Mapping[str, Any]) -> tuple[str | None, tuple[str, ...]]:
    if "token-file" in values:
        return read_token_file(values["token-file"])
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token:
        return None, ()
    if not _usable(token):
        raise InvalidOption(
            message=f"{TOKEN_VARIABLE} holds no usable token: {_USABLE}.",
            advice="Make one with: ffcluster token",
            option=TOKEN_VARIABLE,
        )
    return token, ()


def _usable(token: str) -> bool:
    return len(token) >= MIN_TOKEN_CHARACTERS and all("!" <= c <= "~" for c in token)


def _require_token(interface: str, token: str | None) -> None:
    if token is None:
        raise InvalidOption(
            message=f"--interface={interface} can be reached from other machines, "
            "so a token is needed.",
            advice="Make one with: ffcluster token > ffcluster.token\n"
            "Then start with: --token-file=ffcluster.token, here and on every worker.",
            option="interface",
        )


def _named_profile(name: str, profiles: Mapping[str, Profile], also_params: bool) -> Profile:
    if also_params:
        raise InvalidOption(
            message="--profile and --ffmpeg-params were both given; one of them is allowed.",
            option="profile",
        )
    if name not in profiles:
        known = ", ".join(sorted(profiles)) or "none"
        raise InvalidOption(
            message=f"--profile={name}: there is no such profile; known: {known}.",
            advice="Write it as a [profile.NAME] table in the --config file.",
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
    _refuse_unknown(document, ("server", "worker", "profile"), "$", path)
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
    """Parse every option that was given: the command line's value, else the file's, else the
    environment's.
    """
    written = document.get(table, {})
    values: dict[str, Any] = {}
    for option in _TABLES[table]:
        names = (option.name, *option.aliases)
        from_cli = _only_one({f"--{n}": given[n] for n in names if given.get(n) is not None})
        from_file = _only_one({f"{path}: $.{table}.{n}": written[n] for n in names if n in written})
        chosen = from_cli or from_file or _from_environment(option)
        if chosen is not None:
            values[option.name] = parse_option(option, *chosen)
    return values


def _from_environment(option: Option) -> tuple[str, object] | None:
    value = os.environ.get(option.variable) if option.variable else None
    return (option.variable, value) if value else None


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
    table = document.get("profile")
    if not table:
        return {}
    from ffcluster.encoders.params import parse_profiles

    return parse_profiles(table, f"{path}: $.profile")
