"""The amf plugin, by the tests that all hardware plugins share and by its own."""

from __future__ import annotations

from typing import ClassVar

import ffcluster_amf
from ffcluster.encoders.backend import Backend
from tests.encoders.hardware_contract import HardwareBackendContract

(BACKEND,) = ffcluster_amf.ffcluster_backends()


class TestAmf(HardwareBackendContract):
    backend: ClassVar[Backend] = BACKEND
    platform = "win32"
