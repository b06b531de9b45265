"""Settings: names, defaults, order of precedence, and errors that name what is allowed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ffcluster.errors import InvalidOption
from ffcluster.services.settings.config import (
    ServerSettings,
    WorkerSettings,
    load_server_settings,
    load_worker_settings,
    read_token_file,
)
from ffcluster.services.settings.options import SERVER_OPTIONS, WORKER_OPTIONS

SECRET = "correct-horse-battery-staple"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "ffcluster.toml"
    path.write_text(text)
    return path


def secret_file(tmp_path: Path, text: str = SECRET, mode: int = 0o600) -> Path:
    path = tmp_path / "token"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_server_defaults_are_the_documented_ones() -> None:
    settings = load_server_settings({})
    assert settings == ServerSettings()
    assert settings.required_workers == 3
    assert settings.benchmark_duration_s == 10.0
    assert settings.port == 5001
    assert settings.exactly is True
    assert settings.block_bytes == 1024 * 1024
    assert settings.max_retries == 3
    assert settings.retry_delay_s == 5.0
    assert settings.interface == "127.0.0.1"
    assert settings.profile is None
    assert settings.output_name is None
    assert settings.shutdown_when_done is False
    assert settings.database == "sqlite:///ffcluster.db"
    assert settings.lease_s == 30.0
    assert settings.max_disk_bytes is None
    assert settings.min_free_bytes == 2**30
    assert (settings.poison_after, settings.quarantine_after) == (3, 3)
    assert settings.quarantine_s == 60.0
    assert settings.keep_failed_s == 86_400.0
    assert settings.events_kept == 100_000


def test_worker_defaults_are_the_documented_ones() -> None:
    settings = load_worker_settings({})
    assert settings == WorkerSettings()
    assert (settings.host, settings.port) == ("localhost", 5001)
    assert settings.benchmark_duration_s == 10.0
    assert settings.reconnect_delay_s == 3.0
    assert settings.persistent is True
    assert settings.slots is None
    assert settings.name


SERVER_VALUES = [
    ("required-clients", "7", "required_workers", 7),
    ("required-workers", "7", "required_workers", 7),
    ("benchmark-duration", "2m", "benchmark_duration_s", 120.0),
    ("file-name-output", "film.mkv", "output_name", "film.mkv"),
    ("port", "0", "port", 0),
    ("exactly", "no", "exactly", False),
    ("chunk-size", "1MB", "block_bytes", 1_000_000),
    ("chunk-size", "512KiB", "block_bytes", 512 * 1024),
    ("chunk-size", "65536", "block_bytes", 65536),
    ("chunk-size", "2M", "block_bytes", 2 * 1024 * 1024),
    ("max-retries", "0", "max_retries", 0),
    ("retry-delay", "500ms", "retry_delay_s", 0.5),
    ("interface", "localhost", "interface", "127.0.0.1"),
    ("stall-timeout", "90", "stall_timeout_s", 90.0),
    ("upload-limit", "2GB", "upload_limit_bytes", 2_000_000_000),
    ("shutdown-when-done", "true", "shutdown_when_done", True),
    ("webhook-allow-private", "true", "webhook_allow_private", True),
    ("database", "postgresql://films@db/films", "database", "postgresql://films@db/films"),
    ("lease", "2m", "lease_s", 120.0),
    ("max-disk", "50GiB", "max_disk_bytes", 50 * 2**30),
    ("min-free", "0", "min_free_bytes", 0),
    ("poison-after", "2", "poison_after", 2),
    ("quarantine-after", "5", "quarantine_after", 5),
    ("quarantine", "10m", "quarantine_s", 600.0),
    ("keep-failed", "48h", "keep_failed_s", 172_800.0),
    ("keep-uploads", "0", "keep_uploads_s", 0.0),
    ("events-kept", "0", "events_kept", 0),
]


@pytest.mark.parametrize(("name", "value", "field", "expected"), SERVER_VALUES)
def test_server_option_reaches_its_setting(
    name: str, value: str, field: str, expected: object
) -> None:
    assert getattr(load_server_settings({name: value}), field) == expected


WORKER_VALUES = [
    ("server-ip", "films.example", "host", "films.example"),
    ("server-ip", "[::1]", "host", "::1"),
    ("server-port", "6000", "port", 6000),
    ("benchmark-duration", "3s", "benchmark_duration_s", 3.0),
    ("reconnect-delay", "1.5", "reconnect_delay_s", 1.5),
    ("persistent", "false", "persistent", False),
    ("slots", "4", "slots", 4),
    ("encoder", "libx265", "encoder", "libx265"),
    ("name", "attic.box", "name", "attic.box"),
    ("drain-timeout", "0", "drain_timeout_s", 0.0),
    ("cpus", "2", "cpus", 2),
]


@pytest.mark.parametrize(("name", "value", "field", "expected"), WORKER_VALUES)
def test_worker_option_reaches_its_setting(
    name: str, value: str, field: str, expected: object
) -> None:
    assert getattr(load_worker_settings({name: value}), field) == expected


BAD_SERVER_VALUES = [
    ("log-format", "xml", "text, json"),
    ("log-level", "loud", "debug, info, warn, error"),
    ("required-clients", "0", "1 to 10000"),
    ("required-workers", "many", "whole number"),
    ("benchmark-duration", "soon", "number of seconds"),
    ("benchmark-duration", "0", "from 0.1"),
    ("ffmpeg-params", "", "not empty"),
    ("file-name-output", "../film.mkv", "--output-dir"),
    ("file-name-output", "film.avi", "mp4"),
    ("output-dir", "", "path"),
    ("disable-plugin", "a/b", "letters"),
    ("allow-plugin", [], "not none"),
    ("port", "70000", "65535"),
    ("exactly", "perhaps", "true or false"),
    ("chunk-size", "1 parsec", "KiB"),
    ("chunk-size", "1KiB", "from 64 KiB to 64 MiB"),
    ("chunk-size", "1GiB", "from 64 KiB to 64 MiB"),
    ("max-retries", "-1", "0 to 100"),
    ("retry-delay", "-5", "seconds"),
    ("interface", "example.org", "127.0.0.1|localhost"),
    ("interface", "", "0.0.0.0"),
    ("allowed-hosts", "https://films.example", "without a port"),
    ("state-dir", "", "path"),
    ("source-dir", "/no/such/place", "exist"),
    ("watch-dir", "/no/such/place", "there is no directory"),
    ("stall-timeout", "0", "from 1"),
    ("upload-limit", "9", "1 MiB"),
    ("ffmpeg", "no-such-ffmpeg", "program"),
    ("shutdown-when-done", "maybe", "true or false"),
    ("webhook-allow-private", "maybe", "true or false"),
    ("token-file", "/no/such/token", "cannot be read"),
    ("profile", "nowhere", "no such profile"),
    ("database", "mysql://db/films", "sqlite:///PATH or postgresql://"),
    ("lease", "0.5", "from 1 to 3600"),
    ("max-disk", "1KiB", "1 MiB"),
    ("min-free", "-1", "KiB"),
    ("poison-after", "0", "1 to 1000"),
    ("quarantine-after", "0", "1 to 1000"),
    ("quarantine", "2h", "0 to 3600"),
    ("keep-failed", "forever", "number of seconds"),
    ("keep-uploads", "-1", "number of seconds"),
    ("events-kept", "some", "whole number"),
]


@pytest.mark.parametrize(("name", "value", "allowed"), BAD_SERVER_VALUES)
def test_bad_server_value_is_refused_with_option_and_what_is_allowed(
    name: str, value: str, allowed: str
) -> None:
    with pytest.raises(InvalidOption) as caught:
        load_server_settings({name: value})
    text = f"{caught.value.message} {caught.value.advice}"
    assert f"--{name}" in text
    assert any(part in text for part in allowed.split("|"))


def test_password_of_a_database_is_in_no_message_and_no_description() -> None:
    with pytest.raises(InvalidOption) as caught:
        load_server_settings({"database": "mysql://films:hunter2@db/films"})
    assert "hunter2" not in f"{caught.value!r} {caught.value.message} {caught.value.advice}"
    settings = load_server_settings({"database": "postgresql://films:hunter2@db/films"})
    assert "hunter2" not in repr(settings)


BAD_WORKER_VALUES = [
    ("log-format", "xml", "text, json"),
    ("log-level", "loud", "debug, info, warn, error"),
    ("server-ip", "ws://host", "without ws://"),
    ("server-ip", "host:5001", "without a port"),
    ("server-port", "0", "1 to 65535"),
    ("benchmark-duration", "-1", "seconds"),
    ("reconnect-delay", "0", "from 0.1"),
    ("persistent", "2", "true or false"),
    ("slots", "0", "1 to 1024"),
    ("encoder", "lib x264", "letters"),
    ("name", "a/b", "letters"),
    ("work-dir", "", "path"),
    ("ffmpeg", "/no/such/ffmpeg", "program"),
    ("drain-timeout", "never", "seconds"),
    ("cpus", "0", "1 to"),
    ("token-file", "/no/such/token", "cannot be read"),
    ("device-slots", "0", "1 to 1024"),
    ("state-dir", "", "path"),
    ("disable-plugin", "a b", "letters"),
    ("allow-plugin", "", "letters"),
]


@pytest.mark.parametrize(("name", "value", "allowed"), BAD_WORKER_VALUES)
def test_bad_worker_value_is_refused_with_option_and_what_is_allowed(
    name: str, value: str, allowed: str
) -> None:
    with pytest.raises(InvalidOption) as caught:
        load_worker_settings({name: value})
    assert f"--{name}" in caught.value.message
    assert allowed in caught.value.message


def test_every_option_is_tried_with_a_bad_value() -> None:
    assert {o.name for o in SERVER_OPTIONS} <= {name for name, _, _ in BAD_SERVER_VALUES}
    assert {o.name for o in WORKER_OPTIONS} == {name for name, _, _ in BAD_WORKER_VALUES}


def test_command_line_beats_file_and_file_beats_default(tmp_path: Path) -> None:
    config = write(tmp_path, '[server]\nport = 6001\nchunk-size = "2MiB"\nexactly = false\n')
    settings = load_server_settings({"port": "6002"}, config)
    assert settings.port == 6002
    assert settings.block_bytes == 2 * 1024 * 1024
    assert settings.exactly is False
    assert settings.max_retries == 3


def test_alias_on_the_command_line_beats_the_other_name_in_the_file(tmp_path: Path) -> None:
    config = write(tmp_path, "[server]\nrequired-clients = 2\n")
    assert load_server_settings({"required-workers": "4"}, config).required_workers == 4


def test_worker_takes_several_ffmpegs_in_their_order_each_once(tmp_path: Path) -> None:
    programs = [str(program(tmp_path, name)) for name in ("new", "old")]
    settings = load_worker_settings({"ffmpeg": [*programs, programs[0]]})
    assert settings.ffmpeg == tuple(programs)
    config = write(tmp_path, f"[worker]\nffmpeg = {programs!r}\n")
    assert load_worker_settings({}, config).ffmpeg == tuple(programs)
    assert load_worker_settings({"ffmpeg": programs[1]}, config).ffmpeg == (programs[1],)
    assert load_worker_settings({}).ffmpeg == ()
    with pytest.raises(InvalidOption, match="program that exists"):
        load_worker_settings({"ffmpeg": [programs[0], str(tmp_path / "none")]})


def program(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_plugins_are_left_out_and_allowed_by_name(tmp_path: Path) -> None:
    config = write(tmp_path, '[server]\ndisable-plugin = "qsv"\nallow-plugin = ["software"]\n')
    settings = load_server_settings({}, config)
    assert (settings.disabled_plugins, settings.allowed_plugins) == (("qsv",), ("software",))
    worker = load_worker_settings({"disable-plugin": ["qsv", "amf"]})
    assert (worker.disabled_plugins, worker.allowed_plugins) == (("qsv", "amf"), None)


def test_two_names_of_one_option_together_are_refused() -> None:
    with pytest.raises(InvalidOption, match="two names of one option"):
        load_server_settings({"required-workers": "4", "required-clients": "5"})


@pytest.mark.parametrize(
    ("text", "path", "advice"),
    [
        ("[server]\nprot = 1\n", "$.server.prot", "Did you mean port?"),
        ("[server]\nmax_retries = 1\n", "$.server.max_retries", "Did you mean max-retries?"),
        ("[worker]\nport = 1\n", "$.worker.port", "server-port"),
        ("[servre]\nport = 1\n", "$.servre", "Did you mean server?"),
        ("server = 3\n", "$.server", ""),
    ],
)
def test_unknown_key_is_refused_with_its_path(
    tmp_path: Path, text: str, path: str, advice: str
) -> None:
    with pytest.raises(InvalidOption) as caught:
        load_server_settings({}, write(tmp_path, text))
    assert path in caught.value.message
    assert advice in caught.value.advice


def test_bad_value_in_the_file_names_file_and_path(tmp_path: Path) -> None:
    config = write(tmp_path, '[worker]\nslots = "some"\n')
    with pytest.raises(InvalidOption, match=r"ffcluster\.toml: \$\.worker\.slots = 'some'"):
        load_worker_settings({}, config)


def test_a_boolean_is_no_number_in_the_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="whole number"):
        load_server_settings({}, write(tmp_path, "[server]\nport = true\n"))


def test_file_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="is not TOML"):
        load_server_settings({}, write(tmp_path, "port: 5001"))


def test_missing_config_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="cannot be read"):
        load_server_settings({}, tmp_path / "none.toml")


@pytest.mark.parametrize("interface", ["0.0.0.0", "192.168.1.10", "::"])
def test_other_interface_than_loopback_needs_a_token(interface: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        load_server_settings({"interface": interface})
    assert f"--interface={interface}" in caught.value.message
    assert "ffcluster token > " in caught.value.advice
    assert "--token-file=" in caught.value.advice


@pytest.mark.parametrize("interface", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_token_and_lets_clients_name_any_file(interface: str) -> None:
    settings = load_server_settings({"interface": interface})
    assert settings.token is None
    assert settings.may_read(Path("/anything"))


def test_clients_of_an_open_interface_may_name_no_file_by_default(tmp_path: Path) -> None:
    given = {"interface": "0.0.0.0", "token-file": str(secret_file(tmp_path))}
    settings = load_server_settings(given)
    assert settings.token == SECRET
    assert not settings.may_read(tmp_path / "film.mkv")


def test_source_dir_allows_what_lies_in_it_and_no_link_out_of_it(tmp_path: Path) -> None:
    inside = tmp_path / "films"
    inside.mkdir()
    (tmp_path / "secret.mkv").touch()
    (inside / "link.mkv").symlink_to(tmp_path / "secret.mkv")
    settings = load_server_settings({"source-dir": [str(inside)]})
    assert settings.may_read(inside / "film.mkv")
    assert not settings.may_read(inside / "link.mkv")
    assert not settings.may_read(inside / ".." / "secret.mkv")


def test_token_is_not_in_the_repr(tmp_path: Path) -> None:
    settings = load_server_settings({"token-file": str(secret_file(tmp_path))})
    assert SECRET not in repr(settings)


def test_token_file_may_end_with_a_newline(tmp_path: Path) -> None:
    assert read_token_file(secret_file(tmp_path, f"{SECRET}\n")) == (SECRET, ())


@pytest.mark.parametrize(
    ("text", "problem"),
    [("", "is empty"), (" \n", "is empty"), ("short", "at least 16"), (f"{SECRET} b", "one word")],
)
def test_unusable_token_is_refused_with_the_command_that_makes_one(
    tmp_path: Path, text: str, problem: str
) -> None:
    path = secret_file(tmp_path, text)
    with pytest.raises(InvalidOption, match=problem) as caught:
        read_token_file(path)
    assert caught.value.advice == f"Make one with: ffcluster token > {path}"


def test_token_file_that_others_can_read_brings_a_warning(tmp_path: Path) -> None:
    _, warnings = read_token_file(secret_file(tmp_path, mode=0o644))
    assert len(warnings) == (1 if os.name == "posix" else 0)


def test_missing_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="There is no file"):
        load_server_settings({}, source=tmp_path / "none.mkv")


def test_paths_are_absolute_because_a_daemon_changes_its_directory() -> None:
    assert load_server_settings({"output-dir": "films"}).output_dir == Path.cwd() / "films"
    assert load_worker_settings({"work-dir": "work"}).work_dir == Path.cwd() / "work"


@pytest.mark.parametrize("load", [load_server_settings, load_worker_settings])
def test_log_is_set_by_option_file_or_environment_in_this_order(
    load: Callable[..., ServerSettings | WorkerSettings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert (load({}).log_format, load({}).log_level) == ("text", "info")
    monkeypatch.setenv("FFCLUSTER_LOG_FORMAT", "json")
    monkeypatch.setenv("FFCLUSTER_LOG_LEVEL", "")
    assert (load({}).log_format, load({}).log_level) == ("json", "info")
    table = "server" if load is load_server_settings else "worker"
    path = write(tmp_path, f'[{table}]\nlog-format = "text"\nlog-level = "warn"\n')
    settings = load({"log-level": "debug"}, path)
    assert (settings.log_format, settings.log_level) == ("text", "debug")


def test_log_of_another_form_is_refused_by_what_gave_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidOption, match=r"--log-level=loud: debug, info, warn, error are"):
        load_server_settings({"log-level": "loud"})
    monkeypatch.setenv("FFCLUSTER_LOG_FORMAT", "xml")
    with pytest.raises(InvalidOption, match="FFCLUSTER_LOG_FORMAT = 'xml': text, json are"):
        load_worker_settings({})


@pytest.mark.parametrize("load", [load_server_settings, load_worker_settings])
def test_token_is_in_a_file_or_in_the_environment_and_a_file_goes_before_it(
    load: Callable[..., ServerSettings | WorkerSettings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FFCLUSTER_TOKEN", " a-token-in-the-environment\n")
    assert load({}).token == "a-token-in-the-environment"
    for name in ("named", "given"):
        (tmp_path / name).write_text(f"a-token-in-the-file-{name}")
        (tmp_path / name).chmod(0o600)
    monkeypatch.setenv("FFCLUSTER_TOKEN_FILE", str(tmp_path / "named"))
    assert load({}).token == "a-token-in-the-file-named"
    assert load({"token-file": str(tmp_path / "given")}).token == "a-token-in-the-file-given"


def test_token_in_the_environment_opens_other_interfaces_and_must_be_usable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FFCLUSTER_TOKEN", "a-token-in-the-environment")
    assert load_server_settings({"interface": "0.0.0.0"}).token
    monkeypatch.setenv("FFCLUSTER_TOKEN", "too short")
    with pytest.raises(InvalidOption, match="FFCLUSTER_TOKEN holds no usable token") as caught:
        load_worker_settings({})
    assert "too short" not in caught.value.message
