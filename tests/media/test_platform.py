"""What each operating system has and lacks."""

from __future__ import annotations

import os
import signal

import pytest

from ffcluster.media import platform
from ffcluster.media.platform import Platform, chooses_device, detect

TOOLS = {"setsid": "/usr/bin/setsid", "setpriv": "/usr/bin/setpriv", "nice": "/usr/bin/nice"}


def test_linux_gets_a_session_a_death_signal_and_niceness() -> None:
    linux = detect("linux", TOOLS.get)
    assert linux.prefix(5) == (
        "/usr/bin/setsid", "/usr/bin/setpriv", "--pdeathsig", "KILL", "--",
        "/usr/bin/nice", "-n", "5",
    )  # fmt: skip
    assert linux.prefix() == linux.prefix(5)[:5]
    assert linux.limitations() == ()
    assert linux.progress_fd == 3


def test_mac_says_what_it_lacks() -> None:
    mac = detect("darwin", TOOLS.get)
    assert mac.prefix(5) == ("/usr/bin/nice", "-n", "5")
    assert len(mac.limitations()) == 2
    assert any("death of a parent" in sentence for sentence in mac.limitations())


def test_windows_has_no_prefix_and_reports_progress_on_stdout() -> None:
    windows = detect("win32", TOOLS.get)
    assert windows.prefix(5) == ()
    assert windows.progress_fd == 1
    assert len(windows.limitations()) == 3


def test_environment_is_scrubbed_in_the_c_locale() -> None:
    found = Platform("linux").environment(
        {"PATH": "/bin", "FFREPORT": "file=x", "AWS_SECRET": "s", "CUDA_VISIBLE_DEVICES": "1",
         "LC_ALL": "de_DE.UTF-8", "LD_PRELOAD": "x.so"}
    )  # fmt: skip
    assert found["PATH"] == "/bin"
    assert found["CUDA_VISIBLE_DEVICES"] == "1"
    assert found["LC_ALL"] == "C"
    assert not {"FFREPORT", "AWS_SECRET", "LD_PRELOAD"} & found.keys()


@pytest.mark.parametrize(
    "name",
    ["LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "LIBVA_DRIVER_NAME",
     "LIBVA_DRIVERS_PATH", "ONEVPL_SEARCH_PATH", "ONEVPL_PRIORITY_PATH", "VK_DRIVER_FILES",
     "RADV_PERFTEST", "DRI_PRIME", "XDG_RUNTIME_DIR"],
)  # fmt: skip
def test_what_drivers_look_at_reaches_them(name: str) -> None:
    assert Platform("linux").environment({name: "value"})[name] == "value"


def test_variables_that_choose_devices_are_told_apart_from_the_rest() -> None:
    assert chooses_device("CUDA_VISIBLE_DEVICES")
    assert chooses_device("libva_driver_name")
    assert not chooses_device("PATH")
    assert not chooses_device("FAKE_OPEN")


def test_whole_group_is_signalled_where_the_process_leads_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[object] = []
    monkeypatch.setattr(os, "getpgid", lambda pid: pid)
    monkeypatch.setattr(os, "killpg", lambda pid, number: sent.append((pid, number)))
    Platform("linux", setsid="/usr/bin/setsid").send(77, "TERM", sent.append)
    assert sent == [(77, signal.SIGTERM)]


def test_process_alone_is_signalled_before_it_leads_a_group(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[object] = []
    monkeypatch.setattr(os, "getpgid", lambda pid: 1)
    Platform("linux", setsid="/usr/bin/setsid").send(77, "KILL", sent.append)
    Platform("win32").send(78, "TERM", sent.append)
    assert sent == ["KILL", "TERM"]


def test_process_that_is_gone_is_not_signalled(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(pid: int) -> int:
        raise ProcessLookupError

    def no_group(pid: int, number: int) -> None:
        raise ProcessLookupError

    monkeypatch.setattr(os, "getpgid", gone)
    monkeypatch.setattr(os, "killpg", no_group)
    Platform("linux", setsid="/usr/bin/setsid").send(77, "KILL", pytest.fail)


def test_what_a_process_that_is_gone_has_started_is_signalled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gone(pid: int) -> int:
        raise ProcessLookupError

    sent: list[object] = []
    monkeypatch.setattr(os, "getpgid", gone)
    monkeypatch.setattr(os, "killpg", lambda pid, number: sent.append((pid, number)))
    Platform("linux", setsid="/usr/bin/setsid").send(77, "KILL", pytest.fail)
    assert sent == [(77, signal.SIGKILL)]


def test_removing_what_is_gone_is_no_error(tmp_path: object) -> None:
    from pathlib import Path

    platform.remove(Path(str(tmp_path)) / "none")
