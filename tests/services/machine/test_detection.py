"""What was found out is remembered until something that it depends on changes."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from unittest import mock

import attrs
import orjson
import pytest
from twisted.internet import reactor

from ffcluster.core.model import Capability, CapabilityKey, Diagnosis, Trouble
from ffcluster.core.profile import Codec
from ffcluster.encoders.backend import EncoderSchema, Finding, Machine, Probe, ProbeOutcome
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.registry import Registry
from ffcluster.errors import FfmpegMissing
from ffcluster.media.machine import Whereabouts
from ffcluster.media.runner import Runner
from ffcluster.services.machine import detection
from ffcluster.services.machine.detection import CACHE_NAME, Examined, examine_machine
from ffcluster.testing import FakeBackend, entry_point
from tests.integration.media_case import MediaCase, asynchronous

if os.name != "posix":
    pytest.skip("stands in for ffmpeg with a script", allow_module_level=True)

SCRIPT = """#!{python}
import sys
words = sys.argv[1:]
if "-version" in words:
    print("ffmpeg version {version} Copyright")
elif "-encoders" in words:
    print(" V..... {encoder}           an encoder")
elif "-filters" not in words:
    open({log!r}, "a").write(words[-1] + "\\n")
    sys.exit({code})
"""


@attrs.define
class TryingBackend(FakeBackend):
    """Tries each encoder that a build lists, and believes exit code 0."""

    schemas: Sequence[EncoderSchema] = (
        EncoderSchema(encoder="h264_fake", codec=Codec.H264),
        EncoderSchema(encoder="hevc_fake", codec=Codec.HEVC),
    )
    trouble: Trouble = Trouble.MISSING

    def detect(self, build: FfmpegBuild, machine: Machine) -> Sequence[Finding]:
        found: list[Finding] = []
        for schema in self.schemas:
            if schema.encoder in build.encoders:
                found.append(Probe("fake", ("try", schema.encoder), schema.encoder, device="gpu"))
            else:
                found.append(Diagnosis("fake", "", "not in this ffmpeg", encoder=schema.encoder))
        return found

    def interpret(self, probe: Probe, outcome: ProbeOutcome) -> Sequence[Finding]:
        if outcome.returncode != 0:
            return [Diagnosis("fake", "gpu", "no", "do", probe.encoder, self.trouble)]
        codec = next(s.codec for s in self.schemas if s.encoder == probe.encoder)
        return [Capability(probe.encoder, codec, "fake", "gpu", pix_fmts=("nv12",), slots=3)]


class Detecting(MediaCase):
    def setUp(self) -> None:
        super().setUp()
        self.state = self.directory / "state"
        self.root = self.directory / "root"
        self.root.mkdir()
        self.ffmpeg = self.make_ffmpeg("ffmpeg")
        self.backend = TryingBackend()
        self.point: EntryPoint = entry_point("fake", lambda: [self.backend])

    def make_ffmpeg(self, name: str, encoder: str = "h264_fake", code: int = 0) -> Path:
        path = self.directory / name
        path.write_text(
            SCRIPT.format(
                python=sys.executable,
                version=f"9.0-{name}",
                encoder=encoder,
                log=str(self.directory / "log"),
                code=code,
            )
        )
        path.chmod(0o755)
        return path

    @property
    def tries(self) -> int:
        """How many probes have run."""
        log = self.directory / "log"
        return len(log.read_text().splitlines()) if log.exists() else 0

    async def examine(
        self,
        *ffmpegs: Path,
        state: Path | None = None,
        disabled: Sequence[str] = (),
        cpus: int = 2,
        fresh: bool = False,
        environ: dict[str, str] | None = None,
    ) -> Examined:
        runner = Runner(reactor, environ=os.environ if environ is None else environ)
        self.addCleanup(runner.close)
        return await examine_machine(
            runner,
            ffmpegs or [self.ffmpeg],
            Registry.of([self.point], disabled),
            state or self.state,
            fresh=fresh,
            cpus=cpus,
            where=Whereabouts(platform="linux", root=self.root, environ={}, release="6.1"),
        )

    @asynchronous
    async def test_second_look_tries_nothing_and_finds_the_same(self) -> None:
        first = await self.examine()
        assert [c.encoder for c in first.capabilities] == ["h264_fake"]
        assert first.capabilities[0].ffmpeg == "9.0-ffmpeg"
        assert [d.cause for d in first.diagnoses] == ["not in this ffmpeg"]
        assert [t.probe.encoder for t in first.tried] == ["h264_fake"]
        assert [t.outcome.returncode for t in first.tried] == [0]
        assert not first.cached
        second = await self.examine()
        assert second == attrs.evolve(first, cached=True, tried=())
        assert self.tries == 1

    @asynchronous
    async def test_fresh_look_tries_again_and_is_remembered(self) -> None:
        await self.examine()
        assert not (await self.examine(fresh=True)).cached
        assert self.tries == 2
        assert (await self.examine()).cached

    @asynchronous
    async def test_nothing_is_remembered_without_a_place_for_it(self) -> None:
        runner = Runner(reactor)
        self.addCleanup(runner.close)
        for _ in range(2):
            await examine_machine(runner, [self.ffmpeg], Registry.of([self.point]), None, cpus=2)
        assert self.tries == 2

    @asynchronous
    async def test_whatever_findings_depend_on_makes_them_worthless_when_it_changes(self) -> None:
        def touch() -> None:
            os.utime(self.ffmpeg, (1, 1))

        def add_driver() -> None:
            (self.root / "proc/driver/nvidia").mkdir(parents=True)
            (self.root / "proc/driver/nvidia/version").write_text("NVRM version: x  535.104.05  y")

        def add_device() -> None:
            (self.root / "dev/dri").mkdir(parents=True)
            (self.root / "dev/dri/renderD128").touch()

        changes: list[Callable[[], None]] = [touch, add_driver, add_device]
        await self.examine()
        for number, change in enumerate(changes, 2):
            change()
            assert not (await self.examine()).cached, change
            assert self.tries == number
            assert (await self.examine()).cached
        assert not (await self.examine(cpus=4)).cached
        visible = {**os.environ, "CUDA_VISIBLE_DEVICES": "1"}
        assert not (await self.examine(environ=visible)).cached
        unrelated = {**os.environ, "EDITOR": "ed", "HOME": "/nowhere"}
        assert (await self.examine(environ=unrelated)).cached

    @asynchronous
    async def test_plugin_of_another_version_is_asked_anew(self) -> None:
        await self.examine()
        folder = Path(tempfile.mkdtemp(dir=self.directory)) / "fake-2.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: fake\nVersion: 2.0\n")
        from importlib.metadata import PathDistribution

        self.point = EntryPoint(self.point.name, self.point.value, self.point.group)._for(
            PathDistribution(folder)
        )  # type: ignore[attr-defined]
        assert not (await self.examine()).cached
        assert not (await self.examine(disabled=["fake"])).capabilities

    @asynchronous
    async def test_plugin_whose_code_was_changed_in_place_is_asked_anew(self) -> None:
        code = self.directory / "own" / "module.py"
        code.parent.mkdir()
        code.write_text("1")
        sys.modules[self.point.module].__file__ = str(code)
        with mock.patch.object(detection, "entry_points", return_value=[self.point]):
            await self.examine()
            assert (await self.examine()).cached
            code.write_text("22")
            assert not (await self.examine()).cached

    @asynchronous
    async def test_damaged_cache_is_ignored_and_written_anew(self) -> None:
        await self.examine()
        path = self.state / CACHE_NAME
        whole = path.read_bytes()
        for damage in (b"", whole[:-20], whole.replace(b'"slots":3', b'"slots":"3"'), b"[" * 9999):
            path.write_bytes(damage)
            assert not (await self.examine()).cached
            assert (await self.examine()).cached

    @asynchronous
    async def test_cache_with_what_this_machine_cannot_have_found_is_not_believed(self) -> None:
        hostile: list[dict[str, object]] = [
            {"slots": 10**6}, {"slots": 0}, {"threads": -1}, {"backend": "else"},
            {"encoder": "libx264"}, {"codec": "av1"}, {"max_size": [-1, 4]},
        ]  # fmt: skip
        path = self.state / CACHE_NAME
        for fields in hostile:
            await self.examine(fresh=True)
            document = orjson.loads(path.read_bytes())
            document["content"]["entries"][0]["capabilities"][0].update(fields)
            path.write_bytes(orjson.dumps(document))
            found = await self.examine()
            assert not found.cached, fields
            assert found.capabilities[0].slots == 3

    @asynchronous
    async def test_unwritable_place_only_costs_the_memory(self) -> None:
        self.state.touch()
        found = await self.examine()
        assert found.capabilities
        assert not (await self.examine()).cached

    @asynchronous
    async def test_busy_device_is_asked_again_the_next_time(self) -> None:
        self.ffmpeg = self.make_ffmpeg("ffmpeg", code=1)
        self.backend.trouble = Trouble.BUSY
        await self.examine()
        assert not (await self.examine()).cached
        self.backend.trouble = Trouble.UNSUPPORTED
        await self.examine()
        assert (await self.examine()).cached

    @asynchronous
    async def test_plugin_that_raises_is_told_and_asked_again(self) -> None:
        def broken(probe: Probe, outcome: ProbeOutcome) -> Sequence[Finding]:
            raise RuntimeError("strange outcome")

        self.backend = FakeBackend(found=[Probe("fake", ("try",))], answer=broken)  # type: ignore[assignment]
        found = await self.examine()
        assert [error.plugin for error in found.errors] == ["fake"]
        assert not (await self.examine()).cached

    @asynchronous
    async def test_first_build_that_proves_an_encoder_gets_it(self) -> None:
        new = self.make_ffmpeg("new", code=187)
        old = self.make_ffmpeg("old")
        other = self.make_ffmpeg("other", encoder="hevc_fake")
        found = await self.examine(new, old, other)
        assert [b.version for b in found.builds] == ["9.0-new", "9.0-old", "9.0-other"]
        used = {c.encoder: c.ffmpeg for c in found.capabilities}
        assert used == {"h264_fake": "9.0-old", "hevc_fake": "9.0-other"}
        assert {c.encoder: found.build_for(c).path for c in found.capabilities} == {
            "h264_fake": str(old),
            "hevc_fake": str(other),
        }
        assert set(found.proven_with) == {
            CapabilityKey("h264_fake", "gpu"),
            CapabilityKey("hevc_fake", "gpu"),
        }
        # What one build lacks and another has is no trouble of this machine.
        assert found.diagnoses == ()

    @asynchronous
    async def test_trouble_that_every_build_has_is_told_once(self) -> None:
        one, two = self.make_ffmpeg("one", code=1), self.make_ffmpeg("two", code=1)
        found = await self.examine(one, two)
        told = [(d.encoder, d.cause, d.ffmpeg) for d in found.diagnoses]
        assert told == [("hevc_fake", "not in this ffmpeg", ""), ("h264_fake", "no", "")]
        mixed = await self.examine(one, self.make_ffmpeg("bare", encoder="none"))
        assert ("h264_fake", "no", "9.0-one") in [
            (d.encoder, d.cause, d.ffmpeg) for d in mixed.diagnoses
        ]

    @asynchronous
    async def test_same_ffmpeg_named_twice_is_one(self) -> None:
        found = await self.examine(self.ffmpeg, self.ffmpeg)
        assert len(found.builds) == 1

    @asynchronous
    async def test_only_new_builds_are_tried_beside_known_ones(self) -> None:
        await self.examine()
        found = await self.examine(self.ffmpeg, self.make_ffmpeg("second"))
        assert not found.cached
        assert self.tries == 2
        assert (await self.examine(self.ffmpeg, self.directory / "second")).cached

    @asynchronous
    async def test_named_ffmpeg_that_is_not_there_is_an_error(self) -> None:
        with pytest.raises(FfmpegMissing):
            await self.examine(self.ffmpeg, self.directory / "nowhere")
        other = self.directory / "other"
        other.write_text("#!/bin/sh\necho something else\n")
        other.chmod(0o755)
        with pytest.raises(FfmpegMissing):
            await self.examine(self.ffmpeg, other)
