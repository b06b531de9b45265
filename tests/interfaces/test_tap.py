"""Options of the twistd programs: names, defaults, aliases, help, and errors."""

from __future__ import annotations

import io
import signal
from pathlib import Path
from typing import ClassVar

import pytest
from twisted.application.service import Application, IServiceMaker
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, Logger
from twisted.plugin import IPlugin, getPlugins
from twisted.python import usage

from ffcluster.interfaces.program import Program
from ffcluster.interfaces.tap import ServerOptions, TableOptions, WorkerOptions
from ffcluster.services.logs import log_observer

SERVER = {
    "required-clients": "3",
    "required-workers": "",
    "benchmark-duration": "10",
    "ffmpeg-params": "",
    "file-name-output": "",
    "output-dir": "",
    "port": "5001",
    "exactly": "true",
    "no-exactly": "",
    "chunk-size": "1 MiB",
    "max-retries": "3",
    "retry-delay": "5",
    "interface": "127.0.0.1",
    "token-file": "",
    "state-dir": "",
    "config": "",
}
WORKER = {
    "server-ip": "localhost",
    "server-port": "5001",
    "benchmark-duration": "10",
    "reconnect-delay": "3",
    "persistent": "true",
    "no-persistent": "",
    "slots": "",
    "encoder": "",
    "token-file": "",
    "name": "",
    "work-dir": "",
    "ffmpeg": "",
}


def server(*arguments: str) -> ServerOptions:
    options = ServerOptions()
    options.parseOptions(list(arguments))
    return options


def worker(*arguments: str) -> WorkerOptions:
    options = WorkerOptions()
    options.parseOptions(list(arguments))
    return options


@pytest.mark.parametrize(
    ("options", "documented"), [(ServerOptions(), SERVER), (WorkerOptions(), WORKER)]
)
def test_help_names_every_option_with_its_default(
    options: TableOptions, documented: dict[str, str]
) -> None:
    # One line for each option, however the help was wrapped.
    text = " ".join(options.getUsage(width=500).split())
    for name, default in documented.items():
        assert f"--{name}" in text
        if default:
            after = text[text.index(f"--{name}=") :]
            assert f"[default: {default}]" in after[: after.index("]") + 1]


@pytest.mark.parametrize(("table", "page"), [(ServerOptions, "server"), (WorkerOptions, "worker")])
def test_every_option_is_in_the_documentation(table: type[TableOptions], page: str) -> None:
    text = (Path(__file__).parents[2] / "docs" / "options.md").read_text()
    section = text.split(f"## ffcluster-{page}")[1].split("\n## ")[0]
    for option in table.table:
        for name in (option.name, *option.aliases):
            assert f"`--{name} " in section, name
        if option.default.isdigit():
            assert f"| {option.default} |" in section


def test_without_options_defaults_count() -> None:
    assert server().settings.required_workers == 3
    assert worker().settings.port == 5001


@pytest.mark.parametrize("name", ["required-clients", "required-workers"])
def test_both_names_of_the_number_of_workers_work(name: str) -> None:
    assert server(f"--{name}=5").settings.required_workers == 5
    assert server(f"--{name}", "5").settings.required_workers == 5


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], True),
        (["--exactly"], True),
        (["--exactly=true"], True),
        (["--exactly", "true"], True),
        (["--exactly=false"], False),
        (["--exactly", "no"], False),
        (["--no-exactly"], False),
        (["--no-exactly", "--exactly"], True),
        (["--exactly", "--no-exactly"], False),
    ],
)
def test_booleans_are_taken_in_every_usual_form(arguments: list[str], expected: bool) -> None:
    assert server(*arguments).settings.exactly is expected


def test_persistent_can_be_switched_off() -> None:
    assert worker("--no-persistent").settings.persistent is False
    assert worker("--persistent=false").settings.persistent is False


def test_boolean_does_not_swallow_the_film(tmp_path: Path) -> None:
    film = tmp_path / "film.mkv"
    film.touch()
    options = server("--exactly", str(film))
    assert options.settings.exactly is True
    assert options.settings.source == film


def test_film_may_stand_before_the_options(tmp_path: Path) -> None:
    film = tmp_path / "film.mkv"
    film.touch()
    assert server(str(film), "--port", "0").settings.source == film
    assert server(str(film), "--port", "0").settings.port == 0


def test_source_directories_add_up(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    settings = server(f"--source-dir={tmp_path / 'a'}", f"--source-dir={tmp_path / 'b'}").settings
    assert settings.sources_allowed == (tmp_path / "a", tmp_path / "b")


def test_ffmpeg_params_become_the_profile_of_jobs_without_one() -> None:
    profile = server("--ffmpeg-params", "-c:v libx265 -crf 22").settings.profile
    assert profile is not None
    assert profile.encoder == "libx265"
    assert profile.rate.quality == 22


def test_named_profile_of_the_config_file_is_used(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('[server]\nprofile = "web"\n[profile.web]\ncodec = "vp9"\n')
    settings = server(f"--config={config}").settings
    assert settings.profile is not None
    assert settings.profile.codec == "vp9"
    assert set(settings.profiles) == {"web"}


def test_config_file_is_read_and_beaten(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[server]\nport = 6001\nmax-retries = 7\n[worker]\nserver-port = 6001\n")
    settings = server(f"--config={config}", "--port=6002").settings
    assert (settings.port, settings.max_retries) == (6002, 7)
    assert worker("--config", str(config)).settings.port == 6001


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--port=abc"], ["--port=abc", "0 to 65535"]),
        (["--chunk-size", "1KB"], ["--chunk-size=1KB", "64 KiB"]),
        (["--exactly=perhaps"], ["--exactly=perhaps", "true or false"]),
        (["--interface=0.0.0.0"], ["--interface=0.0.0.0", "ffcluster token > "]),
        (["--ffmpeg-params=-vf movie=x"], ["--ffmpeg-params", "movie"]),
        (["--file-name-output=a/b.mp4"], ["--file-name-output=a/b.mp4", "--output-dir"]),
        (["--port"], ["--port needs a value."]),
        (["--no-exactly=3"], ["--no-exactly takes no value."]),
        (["--prot=1"], ["There is no option --prot. Did you mean --port?"]),
        (["--no-such-thing-at-all"], ["There is no option --no-such-thing-at-all."]),
        (["--quarantin=3"], ["--quarantin may be any of --quarantine, --quarantine-after."]),
        (["-x"], ["There is no option -x."]),
        (["missing.mkv"], ["There is no file", "missing.mkv"]),
        (["a.mkv", "b.mkv"], ["One SOURCE"]),
        (["--config=missing.toml"], ["missing.toml", "cannot be read"]),
    ],
)
def test_bad_server_arguments_are_usage_errors(arguments: list[str], parts: list[str]) -> None:
    with pytest.raises(usage.UsageError) as caught:
        server(*arguments)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--server-port=0"], "1 to 65535"),
        (["--slots=none"], "1 to 1024"),
        (["film.mkv"], "options only"),
        (["--port=5001"], "Did you mean --server-port?"),
    ],
)
def test_bad_worker_arguments_are_usage_errors(arguments: list[str], part: str) -> None:
    with pytest.raises(usage.UsageError, match=part):
        worker(*arguments)


def test_twistd_finds_both_programs() -> None:
    makers = {maker.tapname: maker for maker in getPlugins(IServiceMaker)}
    for name, options in (("ffcluster-server", ServerOptions), ("ffcluster-worker", WorkerOptions)):
        assert makers[name].options is options
        assert IPlugin.providedBy(makers[name])
        assert callable(makers[name].makeService)


class _Twistd(usage.Options):
    """What twistd itself was told."""

    optFlags: ClassVar = [["nodaemon", "n", ""], ["syslog", None, ""]]
    optParameters: ClassVar = [["logfile", "l", None, ""], ["prefix", None, "ffcluster", ""]]

    def __init__(self, options: TableOptions) -> None:
        super().__init__()
        self.subCommands = [["run", None, lambda: options, ""]]


def logging_program(*arguments: str) -> Program:
    """A program that twistd would start with these arguments."""
    options = WorkerOptions()
    _Twistd(options).parseOptions(list(arguments))
    program = Program(Clock())
    options.take_log(program)
    return program


@pytest.mark.parametrize("form", ["text", "json"])
def test_log_goes_where_twistd_s_own_would(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for where in (("--nodaemon",), (), ("--logfile=named.log", "--nodaemon")):
        program = logging_program(*where, "run", f"--log-format={form}")
        assert program.observer is not None
        log = Logger(namespace="ffcluster", observer=program.observer)
        log.info("hello")
        log.debug("whisper")
    told = {"out": capsys.readouterr().out}
    told |= {name: (tmp_path / name).read_text() for name in ("twistd.log", "named.log")}
    for name, text in told.items():
        assert "hello" in text, name
        assert text.startswith("{") == (form == "json")
        assert "whisper" not in text


def test_log_file_is_begun_anew_on_sigusr1_as_by_twistd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    program = logging_program("run")
    assert program.observer is not None
    Logger(namespace="ffcluster", observer=program.observer).info("hello")
    program._signals[signal.SIGUSR1]()
    assert "hello" in (tmp_path / "twistd.log.1").read_text()


def test_syslog_takes_text_of_every_level_and_no_other_form(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert logging_program("--syslog", "run", "--log-level=warn").observer is not None
    with pytest.raises(SystemExit):
        logging_program("--syslog", "run", "--log-format=json")
    assert "syslog" in capsys.readouterr().err


def test_twistd_says_what_is_wrong_and_not_its_whole_help(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as left:
        logging_program("run", "--slot=3x")
    assert left.value.code == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "Error: --slots=3x: a whole number from 1 to 1024 is allowed.",
        "See: twistd run --help",
    ]


def test_program_without_twistd_takes_no_log() -> None:
    program = Program(Clock())
    worker().take_log(program)
    assert program.observer is None


def test_twistd_s_application_logs_to_the_program_s_observer() -> None:
    observer = log_observer("json", "info", io.StringIO())
    program = Program(Clock())
    program.observer = observer
    application = Application("ffcluster-worker")
    program.setServiceParent(application)
    assert application.getComponent(ILogObserver) is observer
