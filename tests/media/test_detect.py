"""Probes run side by side, but never two on one device; answers lead to further probes at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from ffcluster.core.model import Capability
from ffcluster.core.profile import Codec
from ffcluster.encoders.backend import Finding, Machine, Probe, ProbeOutcome
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.detection import Detection
from ffcluster.encoders.registry import Registry
from ffcluster.media.command import Command
from ffcluster.media.detect import detect
from ffcluster.media.runner import Finished
from ffcluster.testing import FakeBackend, entry_point

BUILD = FfmpegBuild("/bin/ffmpeg", "9.0.2", 9)


class FakeRunning:
    def __init__(self, argv: tuple[str, ...], cancelled: list[str]) -> None:
        self.done: Deferred[Finished] = Deferred(lambda _: cancelled.append(argv[-1]))


class FakeRunner:
    """Runs nothing until told how a command ended."""

    def __init__(self) -> None:
        self.running: dict[str, FakeRunning] = {}
        self.cancelled: list[str] = []
        self.env: dict[str, dict[str, str]] = {}

    def run(self, command: Command, *, timeout_s: float, env: dict[str, str]) -> FakeRunning:
        name = command.argv[-1]
        self.env[name] = env
        self.running[name] = FakeRunning(command.argv, self.cancelled)
        return self.running[name]

    def end(self, name: str, **how: object) -> None:
        self.running.pop(name).done.callback(Finished(**{"returncode": 0, **how}))  # type: ignore[arg-type]


def probe(name: str, device: str = "", **more: object) -> Probe:
    return Probe("fake", (name,), device=device, **more)  # type: ignore[arg-type]


Answer = Callable[[Probe, ProbeOutcome], Sequence[Finding]]


class DetectTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.runner = FakeRunner()
        self.answered: list[str] = []

    def begin(self, *probes: Probe, answer: Answer = lambda _p, _o: ()) -> Deferred[Detection]:
        backend = FakeBackend(found=probes, answer=answer)
        registry = Registry.of([entry_point("fake", lambda: [backend])])
        return Deferred.fromCoroutine(
            detect(
                registry,
                BUILD,
                Machine(2, "linux"),
                self.runner,  # type: ignore[arg-type]
                lambda p, _: self.answered.append(p.argv[0]),
            )
        )

    def test_four_probes_run_at_once_and_the_next_when_one_has_ended(self) -> None:
        detection = self.begin(*(probe(name) for name in "abcdef"))
        assert list(self.runner.running) == ["a", "b", "c", "d"]
        self.runner.end("b")
        assert list(self.runner.running) == ["a", "c", "d", "e"]
        for name in "acdef":
            self.runner.end(name)
        assert self.successResultOf(detection).finished
        assert sorted(self.answered) == list("abcdef")

    def test_one_device_gets_one_probe_at_a_time_and_keeps_no_other_waiting(self) -> None:
        detection = self.begin(
            *(probe(f"first{n}", "cuda:0") for n in range(6)),
            probe("second", "cuda:1"),
            probe("software"),
        )
        assert list(self.runner.running) == ["first0", "second", "software"]
        self.runner.end("second")
        assert list(self.runner.running) == ["first0", "software"]
        self.runner.end("first0")
        assert list(self.runner.running) == ["software", "first1"]
        self.runner.end("software")
        for n in range(1, 6):
            self.runner.end(f"first{n}")
        assert self.successResultOf(detection).conclusive

    def test_what_an_answer_leads_to_does_not_wait_for_the_slowest_probe(self) -> None:
        def answer(asked: Probe, outcome: ProbeOutcome) -> Sequence[Finding]:
            return [probe("again")] if asked.argv == ("quick",) else []

        detection = self.begin(probe("slow"), probe("quick"), answer=answer)
        self.runner.end("quick")
        assert list(self.runner.running) == ["slow", "again"]
        self.runner.end("again")
        self.assertNoResult(detection)
        self.runner.end("slow")
        assert self.successResultOf(detection).finished

    def test_probe_that_was_not_answered_makes_the_findings_inconclusive(self) -> None:
        for how in ({"timed_out": True}, {"returncode": None}):
            detection = self.begin(probe("a"))
            self.runner.end("a", **how)
            assert not self.successResultOf(detection).conclusive

    def test_death_by_signal_is_told_as_a_negative_code(self) -> None:
        seen: list[int | None] = []

        def answer(asked: Probe, outcome: ProbeOutcome) -> Sequence[Finding]:
            seen.append(outcome.returncode)
            return [Capability("h264_fake", Codec.H264, "fake")]

        detection = self.begin(probe("a", env=(("X", "1"),)), answer=answer)
        self.runner.end("a", returncode=None, signal=11)
        assert seen == [-11]
        assert self.runner.env == {"a": {"X": "1"}}
        assert len(self.successResultOf(detection).capabilities) == 1

    def test_cancelling_ends_the_probes_that_run(self) -> None:
        detection = self.begin(probe("a"), probe("b", "cuda:0"), probe("c", "cuda:0"))
        detection.cancel()
        self.failureResultOf(detection)
        assert sorted(self.runner.cancelled) == ["a", "b"]

    def test_device_that_hung_once_is_not_waited_for_again(self) -> None:
        detection = self.begin(probe("a", "gpu"), probe("b", "gpu"), probe("c", "other"))
        self.runner.end("a", timed_out=True, returncode=None)
        assert list(self.runner.running) == ["c"]
        self.runner.end("c")
        found = self.successResultOf(detection)
        assert not found.conclusive
        assert [d.device for d in found.diagnoses if "hung" in d.cause] == ["gpu"]
        assert sorted(self.answered) == ["a", "c"]
