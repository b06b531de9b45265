"""For authors of plugins: the contract suite, recordings, and fakes. Not used by ffcluster itself.

```python
from ffcluster.testing import BackendContract, recordings_in

class TestMine(BackendContract):
    backend = MyBackend()
    recordings = recordings_in(Path(__file__).with_name("recordings"))
```

Only `BackendContract` needs pytest; the rest works without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ffcluster.testing.fakes import (
    FakeBackend,
    entry_point,
    fake_build,
    fake_machine,
    sample_video,
)
from ffcluster.testing.linting import complaints, sampled_profiles
from ffcluster.testing.recording import (
    RecordedCommand,
    Recording,
    UnrecordedCommand,
    load_recording,
    recordings_in,
    replay,
    save_recording,
)
from ffcluster.testing.running import builds, detect_here, read_build, run_ffmpeg

if TYPE_CHECKING:
    from ffcluster.testing.contract import BackendContract


def __getattr__(name: str) -> Any:
    # Imported at need: it is the only part that needs pytest.
    if name == "BackendContract":
        import pytest

        # Failures then show what was compared, as in the author's own tests.
        pytest.register_assert_rewrite("ffcluster.testing.contract")
        from ffcluster.testing.contract import BackendContract

        return BackendContract
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "BackendContract",
    "FakeBackend",
    "RecordedCommand",
    "Recording",
    "UnrecordedCommand",
    "builds",
    "complaints",
    "detect_here",
    "entry_point",
    "fake_build",
    "fake_machine",
    "load_recording",
    "read_build",
    "recordings_in",
    "replay",
    "run_ffmpeg",
    "sample_video",
    "sampled_profiles",
    "save_recording",
]
