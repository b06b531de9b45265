"""Every option of coordinator and worker, once: name, meaning, default, and what is allowed.

The command lines, the configuration file and `--help` are made from these tables.
"""

from __future__ import annotations

from pathlib import Path

import attrs

from ffcluster.core.profile import Profile
from ffcluster.services.logs import DEFAULT_FORMAT, DEFAULT_LEVEL, FORMATS, LEVELS
from ffcluster.services.settings.values import (
    KIB,
    MIB,
    TIB,
    BadValue,
    Parser,
    count_between,
    duration_between,
    one_of,
    parse_boolean,
    parse_database,
    parse_host,
    parse_hosts,
    parse_interface,
    parse_path,
    parse_paths,
    parse_program,
    parse_programs,
    parse_text,
    parse_word,
    parse_words,
    size_between,
)


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
        variable: The environment variable that gives it where nothing else does, or "".
    """

    name: str
    field: str
    parse: Parser
    help: str
    default: str = ""
    aliases: tuple[str, ...] = ()
    boolean: bool = False
    repeatable: bool = False
    variable: str = ""


def _output_name(value: object) -> str:
    from ffcluster.encoders.params import container_for

    name = parse_text(value)
    if name != Path(name).name or "/" in name or "\\" in name or name.startswith("."):
        raise BadValue("a file name without directories is allowed; --output-dir says where")
    container_for(name)
    return name


def _watch_dirs(value: object) -> tuple[str, ...]:
    from ffcluster.services.settings.watchfolders import parse_watch_dirs

    return parse_watch_dirs(value)


def _ffmpeg_params(value: object) -> Profile:
    from ffcluster.encoders.params import parse_ffmpeg_params

    return parse_ffmpeg_params(parse_text(value))


_COMMON = {
    "token-file": Option(
        "token-file",
        "",
        parse_path,
        "File with the secret that coordinator and workers share.",
        variable="FFCLUSTER_TOKEN_FILE",
    ),
    "ffmpeg": Option(
        "ffmpeg",
        "ffmpeg",
        parse_program,
        "The ffmpeg to use.",
        "FFCLUSTER_FFMPEG, then PATH, then the imageio-ffmpeg package",
    ),
    "disable-plugin": Option(
        "disable-plugin",
        "disabled_plugins",
        parse_words,
        "A plugin to leave out, by name.",
        "none",
        repeatable=True,
    ),
    "allow-plugin": Option(
        "allow-plugin",
        "allowed_plugins",
        parse_words,
        "The only plugin to load, by name; may be given several times.",
        "all that are installed",
        repeatable=True,
    ),
    "log-format": Option(
        "log-format",
        "log_format",
        one_of(FORMATS),
        "How the log is written: text for people, or json, one object in each line.",
        DEFAULT_FORMAT,
        variable="FFCLUSTER_LOG_FORMAT",
    ),
    "log-level": Option(
        "log-level",
        "log_level",
        one_of(LEVELS),
        "What is left out of the log: whatever is less important than this.",
        DEFAULT_LEVEL,
        variable="FFCLUSTER_LOG_LEVEL",
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
    Option(
        "lease",
        "lease_s",
        duration_between(1.0, 3600.0),
        "Seconds for which a worker that is not heard keeps its segments.",
        "30",
    ),
    Option(
        "poison-after",
        "poison_after",
        count_between(1, 1000),
        "Different workers on which a segment may fail before its job is given up.",
        "3",
    ),
    Option(
        "quarantine-after",
        "quarantine_after",
        count_between(1, 1000),
        "Different segments in a row that may fail on a worker's device before it rests.",
        "3",
    ),
    Option(
        "quarantine",
        "quarantine_s",
        duration_between(0.0, 3600.0),
        "Seconds that such a device rests; each further time twice as long, up to an hour.",
        "60",
    ),
    Option("interface", "interface", parse_interface, "Address to listen on.", "127.0.0.1"),
    _COMMON["token-file"],
    Option(
        "allowed-hosts",
        "allowed_hosts",
        parse_hosts,
        "Name under which it is asked besides localhost; others are refused.",
        "any, on loopback none",
        repeatable=True,
    ),
    Option(
        "webhook-allow-private",
        "webhook_allow_private",
        parse_boolean,
        "Let webhooks lead into private networks, and use http://.",
        "false",
        boolean=True,
    ),
    Option(
        "state-dir",
        "state_dir",
        parse_path,
        "Directory for everything that outlives a restart: jobs, uploads, results.",
        "the user's state directory",
    ),
    Option(
        "database",
        "database",
        parse_database,
        "Where jobs are written down: sqlite:///PATH or postgresql://HOST/NAME.",
        "sqlite:///ffcluster.db in the state directory",
    ),
    Option(
        "max-disk",
        "max_disk_bytes",
        size_between(MIB, 1024 * TIB),
        "Most that uploads and results may take up in the state directory.",
        "no limit",
    ),
    Option(
        "min-free",
        "min_free_bytes",
        size_between(0, 1024 * TIB),
        "Space to keep free in the state directory; below it nothing new is begun.",
        "1 GiB",
    ),
    Option(
        "keep-failed",
        "keep_failed_s",
        duration_between(0.0, 366 * 86_400.0),
        "How long the results of a failed job are kept, so that it can be retried.",
        "24h",
    ),
    Option(
        "keep-uploads",
        "keep_uploads_s",
        duration_between(0.0, 366 * 86_400.0),
        "How long an uploaded source stays after its job has ended, to compare or retry; 0: not.",
        "24h",
    ),
    Option(
        "events-kept",
        "events_kept",
        count_between(0, 100_000_000),
        "Latest events that are kept for reading about later.",
        "100000",
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
        "watch-dir",
        "",
        _watch_dirs,
        "Directory whose films are encoded as they come, as DIR or DIR=PROFILE.",
        "none",
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
    _COMMON["disable-plugin"],
    _COMMON["allow-plugin"],
    Option(
        "shutdown-when-done",
        "shutdown_when_done",
        parse_boolean,
        "Stop when the film given as argument has been encoded.",
        "false",
        boolean=True,
    ),
    _COMMON["log-format"],
    _COMMON["log-level"],
)

WORKER_OPTIONS: tuple[Option, ...] = (
    Option("server-ip", "host", parse_host, "Name or address of the coordinator.", "localhost"),
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
        "Segments to encode side by side on the CPU.",
        "what pays off on this machine",
    ),
    Option(
        "device-slots",
        "device_slots",
        count_between(1, 1024),
        "Segments to encode side by side on each GPU or other device.",
        "what its driver is known to allow",
    ),
    Option("encoder", "encoder", parse_word, "The only encoder to offer.", "all that work here"),
    _COMMON["token-file"],
    Option("name", "name", parse_word, "Name shown for this worker.", "host name"),
    Option(
        "work-dir",
        "work_dir",
        parse_path,
        "Directory for pieces and results while they are needed.",
        "a folder by its name in the user's cache directory",
    ),
    attrs.evolve(
        _COMMON["ffmpeg"],
        parse=parse_programs,
        help="An ffmpeg to use; of several, the first that can drives each encoder and device.",
        repeatable=True,
    ),
    Option(
        "state-dir",
        "state_dir",
        parse_path,
        "Directory in which it is remembered what this machine can do.",
        "the user's state directory",
    ),
    _COMMON["disable-plugin"],
    _COMMON["allow-plugin"],
    Option(
        "drain-timeout",
        "drain_timeout_s",
        duration_between(0.0, 86_400.0),
        "Seconds that running segments may go on after a request to stop.",
        "120",
    ),
    Option("cpus", "cpus", count_between(1, 4096), "CPU cores to use.", "all"),
    _COMMON["log-format"],
    _COMMON["log-level"],
)
