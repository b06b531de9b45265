"""Detection on machines with something wrong, by real ffmpegs that load stub drivers."""

from __future__ import annotations

from unittest import skipIf

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from ffcluster.core.model import Diagnosis, Trouble
from ffcluster.core.profile import RateMode
from ffcluster.encoders.backend import ProbeOutcome
from tests.gpu.cases import (
    BUILDS,
    NODES,
    Impatient,
    ask,
    capability,
    detection,
    encoders,
    nvidia,
    proven,
    scratch,
    told,
    vaapi,
)
from tests.gpu.drivers import Gpu, dump_of, why_not
from tests.gpu.faults import NVENC_8, NVENC_FAULTS, VAAPI_8, VAAPI_FAULTS, Fault

FAMILIES = {"nvenc": NVENC_FAULTS, "vaapi": VAAPI_FAULTS}


@skipIf(bool(why_not()), why_not())
class EveryFaultTest(TestCase):
    """Every fault on every build gives the right trouble, cause and hint, and nothing too much."""

    timeout = 120

    async def check(self, backend: str, fault: Fault, release: str) -> None:
        build = BUILDS[release]
        nodes = NODES[:1] if backend == "vaapi" else ()
        found = await detection(build, fault.gpu, backend, nodes)
        said = "\n".join(map(str, found.diagnoses))
        matching = [
            d
            for d in found.diagnoses
            if d.trouble is fault.trouble and fault.cause in d.cause and fault.hint in d.hint
        ]
        assert matching, said
        if fault.encoder:
            assert fault.encoder in {d.encoder for d in matching}, said
        compiled = {name for name in fault.proven if name in build.encoders}
        assert encoders(found) == compiled, said
        assert len(found.diagnoses) == len(set(found.diagnoses))
        assert all(d.ffmpeg == build.version for d in found.diagnoses)


@skipIf(bool(why_not()), why_not())
class SeveralGpusTest(TestCase):
    """Machines with several GPUs, of which one is different."""

    timeout = 120

    def test_gpu_without_nvenc_is_told_apart_from_the_others(self) -> Deferred[None]:
        return each_build(self._one_without)

    async def _one_without(self, release: str) -> None:
        found = await detection(BUILDS[release], nvidia(GPUS=3, WITHOUT="1"), "nvenc")
        assert encoders(found, "cuda:1") == set()
        for device in ("cuda:0", "cuda:2"):
            assert encoders(found, device) >= NVENC_8
        [reason] = told(found, "no NVENC")
        assert (reason.device, reason.trouble) == ("cuda:1", Trouble.UNSUPPORTED)
        names = {c.device_name for c in found.capabilities}
        assert names == {"Fake GPU 0", "Fake GPU 2"}

    def test_driver_that_fails_on_one_node_leaves_the_other(self) -> Deferred[None]:
        return each_build(self._one_broken)

    async def _one_broken(self, release: str) -> None:
        found = await detection(BUILDS[release], vaapi(BROKEN=NODES[0]), "vaapi", NODES)
        assert encoders(found, NODES[0]) == set()
        assert encoders(found, NODES[1]) >= VAAPI_8
        [reason] = told(found, "does not start")
        assert (reason.device, reason.trouble) == (NODES[0], Trouble.BROKEN)

    def test_devices_are_named_as_their_driver_says(self) -> Deferred[None]:
        return each_build(self._named)

    async def _named(self, release: str) -> None:
        vendor = "Intel iHD driver for Intel(R) Gen Graphics - 23.1.1"
        found = await detection(BUILDS[release], vaapi(VENDOR=vendor), "vaapi", NODES[:1])
        assert {(c.device_name, c.driver) for c in found.capabilities} == {(vendor, "iHD 23.1.1")}


@skipIf(bool(why_not()), why_not())
class SessionsTest(TestCase):
    """Detection needs no more than one session, and takes a full GPU for busy, not for broken."""

    timeout = 120

    def test_one_session_is_enough_to_prove_everything(self) -> Deferred[None]:
        return each_build(self._one_session)

    async def _one_session(self, release: str) -> None:
        locks = scratch() / f"locks-{release}"
        locks.mkdir()
        found = await detection(BUILDS[release], nvidia(SESSIONS=1, SESSION_DIR=locks), "nvenc")
        assert encoders(found) >= NVENC_8
        assert not [d for d in found.diagnoses if d.trouble is Trouble.BUSY], found.diagnoses

    def test_busy_gpu_is_asked_again_and_what_was_found_is_not_kept(self) -> Deferred[None]:
        return each_build(self._busy)

    async def _busy(self, release: str) -> None:
        found = await detection(BUILDS[release], nvidia(OPEN=10), "nvenc")
        assert not found.capabilities
        assert not found.conclusive


@skipIf(bool(why_not()), why_not())
class ExtrasTest(TestCase):
    """What a driver refuses is dropped, one by one; what was dropped is said."""

    timeout = 120

    def test_refused_extras_are_dropped_one_by_one(self) -> Deferred[None]:
        return each_build(self._extras)

    async def _extras(self, release: str) -> None:
        gpu = nvidia(TEMPORAL_AQ=0, LOOKAHEAD=0, BREF=0)
        found = await detection(BUILDS[release], gpu, "nvenc")
        for encoder in NVENC_8:
            proven = capability(found, encoder)
            assert set(proven.without) == {"temporal-aq", "rc-lookahead", "b_ref_mode"}
            dropped = [
                d for d in found.diagnoses if d.trouble is Trouble.DROPPED and d.encoder == encoder
            ]
            assert sorted(d.without for d in dropped) == sorted(proven.without)
            assert all(d.device == "cuda:0" and d.hint for d in dropped)

    def test_one_refused_extra_costs_no_other(self) -> Deferred[None]:
        return each_build(self._one_extra)

    async def _one_extra(self, release: str) -> None:
        found = await detection(BUILDS[release], nvidia(TEMPORAL_AQ=0), "nvenc")
        assert capability(found, "hevc_nvenc").without == ("temporal-aq",)

    def test_gpu_without_b_frames_encodes_without_them(self) -> Deferred[None]:
        return each_build(self._no_b_frames)

    async def _no_b_frames(self, release: str) -> None:
        found = await detection(BUILDS[release], nvidia(BFRAMES=0, BREF=0), "nvenc")
        assert "bf" in capability(found, "hevc_nvenc").without

    def test_icq_gives_way_to_cqp(self) -> Deferred[None]:
        return each_build(self._amd_like)

    async def _amd_like(self, release: str) -> None:
        # CBR, VBR and CQP, as Mesa offers them.
        found = await detection(BUILDS[release], vaapi(RC="0x16"), "vaapi", NODES[:1])
        proven = capability(found, "h264_vaapi")
        assert proven.without == ("ICQ",)
        assert proven.rate_modes == (RateMode.QUALITY, RateMode.BITRATE)
        [reason] = [d for d in told(found, "ICQ") if d.encoder == "h264_vaapi"]
        assert reason.trouble is Trouble.DROPPED
        assert "CQP, CBR, VBR" in reason.cause

    def test_driver_with_cqp_only_offers_no_bit_rate(self) -> Deferred[None]:
        return each_build(self._cqp_only)

    async def _cqp_only(self, release: str) -> None:
        found = await detection(BUILDS[release], vaapi(RC="0x10"), "vaapi", NODES[:1])
        assert capability(found, "h264_vaapi").rate_modes == (RateMode.QUALITY,)

    def test_driver_without_constant_quality_offers_a_bit_rate(self) -> Deferred[None]:
        return each_build(self._bit_rate_only)

    async def _bit_rate_only(self, release: str) -> None:
        found = await detection(BUILDS[release], vaapi(RC="0x06"), "vaapi", NODES[:1])
        assert capability(found, "h264_vaapi").rate_modes == (RateMode.BITRATE,)

    def test_low_power_only_driver_works(self) -> Deferred[None]:
        return each_build(self._low_power)

    async def _low_power(self, release: str) -> None:
        dump = scratch() / f"low-power-{release}"
        gpu = vaapi(ENTRYPOINTS=2, FAKE_DUMP=dump)
        found = await detection(BUILDS[release], gpu, "vaapi", NODES[:1])
        assert encoders(found) >= VAAPI_8
        assert {v["low_power"] for kind, v in dump_of(dump) if kind == "va encode"} == {"1"}


@skipIf(bool(why_not()), why_not())
class LimitsTest(TestCase):
    """Sizes that a device cannot do are known before a job runs into them."""

    timeout = 120

    def test_largest_size_of_nvenc_is_known(self) -> Deferred[None]:
        return each_build(self._nvenc_size)

    async def _nvenc_size(self, release: str) -> None:
        found = await detection(BUILDS[release], nvidia(MAX_WIDTH=4096, MAX_HEIGHT=2304), "nvenc")
        assert capability(found, "h264_nvenc").max_size == (4096, 2304)

    def test_sizes_of_a_va_driver_are_known(self) -> Deferred[None]:
        return each_build(self._vaapi_size)

    async def _vaapi_size(self, release: str) -> None:
        gpu = vaapi(MIN_WIDTH=384, MIN_HEIGHT=130, MAX_WIDTH=7680, MAX_HEIGHT=4320)
        found = await detection(BUILDS[release], gpu, "vaapi", NODES[:1])
        proven = capability(found, "hevc_vaapi")
        assert (proven.min_size, proven.max_size) == ((384, 130), (7680, 4320))


@skipIf(bool(why_not()), why_not())
class InTheMiddleTest(TestCase):
    """What goes wrong while a proven encoder works is explained by the same table."""

    timeout = 120

    def explained(self, release: str, backend: str, encoder: str, gpu: Gpu) -> Diagnosis:
        found = proven(release, backend)
        asked = ask(release, backend, encoder, gpu=gpu, fails=True)
        able = capability(found, encoder, min(c.device for c in found.capabilities))
        outcome = ProbeOutcome(asked.returncode, stderr=asked.stderr)
        said = found.registry.backend(backend).explain(able, outcome)
        assert said is not None
        return said

    def test_full_gpu_is_busy(self) -> None:
        for release in BUILDS:
            said = self.explained(release, "nvenc", "h264_nvenc", nvidia(OPEN=10))
            assert said.trouble is Trouble.BUSY
            assert said.device == "cuda:0"

    def test_failing_gpu_is_broken(self) -> None:
        for release in BUILDS:
            said = self.explained(release, "nvenc", "hevc_nvenc", nvidia(PICTURE=15))
            assert said.trouble is Trouble.BROKEN
            said = self.explained(release, "vaapi", "hevc_vaapi", vaapi(END=1))
            assert said.trouble is Trouble.BROKEN
            assert said.device == NODES[0]

    def test_hanging_driver_is_ended_and_told(self) -> Deferred[None]:
        return each_build(self._hangs)

    async def _hangs(self, release: str) -> None:
        gpu = nvidia(CODECS="h264", FRAME_MS=60_000)
        found = await detection(BUILDS[release], gpu, "nvenc", runner=Impatient)
        assert not found.capabilities
        assert not found.conclusive
        [reason] = told(found, "did not answer in time")
        assert (reason.encoder, reason.trouble) == ("h264_nvenc", Trouble.BROKEN)


async def _one_after_the_other(check: object) -> None:
    for release in BUILDS:
        await check(release)  # type: ignore[operator]


def each_build(check: object) -> Deferred[None]:
    """Run `check` with the release of every ffmpeg at hand."""
    return Deferred.fromCoroutine(_one_after_the_other(check))


def _add(backend: str, fault: Fault, release: str) -> None:
    def test(self: EveryFaultTest) -> Deferred[None]:
        return Deferred.fromCoroutine(self.check(backend, fault, release))

    name = f"test_{backend}_{fault.name}_is_diagnosed_by_ffmpeg_{release}"
    test.__name__ = name
    setattr(EveryFaultTest, name, test)


for _backend, _faults in FAMILIES.items():
    for _fault in _faults:
        for _release in _fault.builds:
            if _release in BUILDS:
                _add(_backend, _fault, _release)
