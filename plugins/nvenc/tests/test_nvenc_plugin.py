"""The nvenc plugin, by the tests that all hardware plugins share and by its own."""

from __future__ import annotations

from typing import ClassVar

import ffcluster_nvenc
from ffcluster.core.profile import Profile
from ffcluster.encoders.backend import Backend
from tests.encoders.builds import builds
from tests.encoders.hardware_contract import VIDEO, HardwareBackendContract

(BACKEND,) = ffcluster_nvenc.ffcluster_backends()


class TestNvenc(HardwareBackendContract):
    backend: ClassVar[Backend] = BACKEND
    platform = "linux"

    def test_constant_quality_never_becomes_zero_which_means_automatic(self) -> None:
        schema = BACKEND.schemas[0]
        made = BACKEND.arguments(
            builds()[0], self.capability(schema, 8), Profile(), VIDEO, threads=0
        )
        words = made.output_args
        assert words[words.index("-cq") + 1] == "26"
        assert words[words.index("-b:v") + 1] == "0"
