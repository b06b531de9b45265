"""One process at a time in a directory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ffcluster.store.dirlock import DirectoryLock

_HOLDER = """
import sys
from pathlib import Path
from ffcluster.store.dirlock import DirectoryLock
lock = DirectoryLock(Path(sys.argv[1]))
print(lock.take(), flush=True)
sys.stdin.read()
"""


def test_second_taker_is_refused_until_the_first_frees_it(tmp_path: Path) -> None:
    first, second = (DirectoryLock(tmp_path / "lock") for _ in range(2))
    assert first.take()
    assert first.take()
    assert not second.take()
    assert (first.held, second.held) == (True, False)
    first.free()
    first.free()
    assert second.take()


def test_lock_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        lock = DirectoryLock(path)
        assert not lock.take()
        holder.kill()
        holder.wait()
        assert lock.take()


def test_lock_that_was_left_behind_is_taken(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("12345")
    assert DirectoryLock(tmp_path / "lock").take()
