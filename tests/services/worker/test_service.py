"""The worker's life: what it offers, and coming back after a loss."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from ffcluster.core.model import Capability, Diagnosis, Measurement
from ffcluster.core.profile import Codec
from ffcluster.encoders.backend import Machine
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.errors import NoUsableEncoder, Refused, Unreachable
from ffcluster.net import messages
from ffcluster.net.session import HEARTBEAT_S
from ffcluster.services.machine.detection import Examined
from ffcluster.services.settings.config import WorkerSettings
from ffcluster.services.worker import service as worker_module
from ffcluster.services.worker.service import EXIT_REFUSED, EXIT_UNREACHABLE, WorkerService

X264 = Capability("libx264", Codec.H264, slots=4, threads=2)
NVENC = Capability("h264_nvenc", Codec.H264, "nvenc", "cuda:0", slots=3)
NEW = FfmpegBuild("/new/ffmpeg", "9.0.2", 9)
OLD = FfmpegBuild("/old/ffmpeg", "5.1.9", 5)
MISSING = Diagnosis("vaapi", "", "there is no render node", "load the driver", "h264_vaapi")
MEASURED = Measurement("libx264", "", "medium", 1280, 720, 90.0, 3.6, 2)
EXAMINED = Examined(
    machine=Machine(8, "linux"),
    builds=(NEW, OLD),
    capabilities=(X264, NVENC),
    diagnoses=(MISSING,),
    proven_with={X264.key: NEW, NVENC.key: OLD},
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


# --- what it offers ------------------------------------------------------------------------------


def prepared(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, found: Examined = EXAMINED, **settings: Any
) -> WorkerService:
    async def examine(*_: object, **__: object) -> Examined:
        return found

    async def measurements(_: Path) -> tuple[Measurement, ...]:
        return (MEASURED,)

    def at_once(call: Any, *arguments: Any) -> Deferred[Any]:
        made: Deferred[Any] = Deferred()
        made.callback(call(*arguments))
        return made

    monkeypatch.setattr(worker_module, "examine_machine", examine)
    monkeypatch.setattr(worker_module, "load_measurements", measurements)
    monkeypatch.setattr(worker_module, "deferToThread", at_once)
    work_dir = tmp_path / f"work-{len(list(tmp_path.iterdir()))}"
    service = WorkerService(Clock(), WorkerSettings(name="attic", work_dir=work_dir, **settings))
    outcome: list[Any] = []
    Deferred.fromCoroutine(service._prepare()).addBoth(outcome.append)
    if outcome[0] is not None:
        outcome[0].raiseException()
    return service


def test_the_greeting_says_what_works_what_does_not_and_how_fast(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hello = prepared(monkeypatch, tmp_path)._hello()
    assert hello.capabilities == (X264, NVENC)
    assert hello.builds == ("9.0.2", "5.1.9")
    assert (hello.ffmpeg, hello.cpus) == ("9.0.2", 8)
    assert hello.diagnoses == (MISSING,)
    assert hello.measurements == (MEASURED,)


def test_what_is_too_much_for_a_greeting_is_cut(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    many = tuple(Diagnosis("vaapi", "", f"cause {n}") for n in range(1000))
    found = Examined(
        machine=EXAMINED.machine, builds=(NEW,) * 40, capabilities=(X264,), diagnoses=many
    )
    hello = prepared(monkeypatch, tmp_path, found)._hello()
    assert len(hello.diagnoses) == messages.MAX_DIAGNOSES
    assert len(hello.builds) == messages.MAX_BUILDS


def test_slots_are_set_for_the_cpu_and_for_devices_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    x264, nvenc = prepared(monkeypatch, tmp_path, slots=2, device_slots=5)._hello().capabilities
    assert (x264.slots, x264.threads) == (2, 4)
    assert (nvenc.slots, nvenc.threads) == (5, 0)
    x264, nvenc = prepared(monkeypatch, tmp_path, slots=2)._hello().capabilities
    assert (x264.slots, nvenc.slots) == (2, 3)


def test_each_capability_is_used_with_the_ffmpeg_that_proved_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    service = prepared(monkeypatch, tmp_path, device_slots=9)
    x264, nvenc = service._hello().capabilities
    assert service.build_for(x264) is NEW
    assert service.build_for(nvenc) is OLD


def test_only_the_encoder_that_was_named_is_offered(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hello = prepared(monkeypatch, tmp_path, encoder="h264_nvenc")._hello()
    assert [c.encoder for c in hello.capabilities] == ["h264_nvenc"]


def test_an_encoder_that_does_not_work_is_an_error_with_its_cause_and_hint(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(NoUsableEncoder) as raised:
        prepared(monkeypatch, tmp_path, encoder="h264_vaapi")
    assert "h264_vaapi" in raised.value.message
    assert "h264_nvenc, libx264" in raised.value.advice
    assert "there is no render node: load the driver" in raised.value.advice


# --- coming back ---------------------------------------------------------------------------------


class Service(WorkerService):
    """A worker that knows what its machine can do, and dials into nothing."""

    dialled: int = 0
    outcome: Any = None

    async def _prepare(self) -> None:
        """Nothing to find out."""

    async def _serve(self) -> str:
        self.dialled += 1
        outcome = self.outcome
        if isinstance(outcome, Exception):
            raise outcome
        self._back_off.succeeded()
        return await outcome


def started(clock: Clock, outcome: Any, **settings: Any) -> Service:
    service = Service(clock, WorkerSettings(name="attic", work_dir=Path("/none"), **settings))
    service._back_off.random = lambda: 0.5
    service.outcome = outcome
    service.startService()
    return service


def dials_by_time(service: Service, clock: Clock, seconds: int) -> list[int]:
    times = []
    for second in range(seconds):
        before = service.dialled
        clock.advance(1)
        if service.dialled > before:
            times.append(second + 1)
    return times


def test_worker_dials_again_with_growing_delays_while_the_coordinator_is_away(
    clock: Clock,
) -> None:
    service = started(clock, Unreachable(message="away"), reconnect_delay_s=3.0)
    assert service.dialled == 1
    assert dials_by_time(service, clock, 200) == [3, 9, 21, 45, 93, 153]


def test_worker_that_holds_attempts_comes_back_within_its_lease_however_long_that_takes(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Service, "_has_work", True)
    service = started(clock, Unreachable(message="away"), reconnect_delay_s=3.0)
    times = dials_by_time(service, clock, 200)
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert max(pauses) <= 2 * HEARTBEAT_S
    service._heartbeat_s = 0.5
    clock.advance(10)
    assert len(dials_by_time(service, clock, 10)) == 10


def test_worker_that_drains_dials_for_as_long_as_it_has_something_to_deliver(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Service, "_has_work", True)
    service = started(clock, Unreachable(message="away"), reconnect_delay_s=1.0)
    service._draining = True
    assert dials_by_time(service, clock, 5) != []
    monkeypatch.setattr(Service, "_has_work", False)
    dials_by_time(service, clock, 20)
    assert dials_by_time(service, clock, 200) == []


def test_refusal_is_tried_again_too_because_the_token_may_be_put_right(clock: Clock) -> None:
    service = started(clock, Refused(message="no"), reconnect_delay_s=3.0)
    assert dials_by_time(service, clock, 10) == [3, 9]


def test_worker_comes_back_after_a_restart_of_the_coordinator_and_delays_start_anew(
    clock: Clock,
) -> None:
    service = started(clock, Unreachable(message="away"), reconnect_delay_s=3.0)
    dials_by_time(service, clock, 20)
    held: Deferred[str] = Deferred()
    service.outcome = held
    assert dials_by_time(service, clock, 30) == [1]
    service.outcome = Unreachable(message="away")
    held.callback("the coordinator stops")
    assert dials_by_time(service, clock, 10) == [3, 9]


def test_worker_that_is_not_persistent_ends_with_a_code_and_a_reason(clock: Clock) -> None:
    for outcome, code in (
        (Unreachable(message="nobody there"), EXIT_UNREACHABLE),
        (Refused(message="not you"), EXIT_REFUSED),
    ):
        service = started(clock, outcome, persistent=False)
        assert service.finished.result == code
        assert outcome.message in service.failure
        assert service.dialled == 1
