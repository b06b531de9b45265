"""The videotoolbox plugin, by the tests that all hardware plugins share and by its own."""

from __future__ import annotations

from typing import ClassVar

import ffcluster_videotoolbox
from ffcluster.encoders.backend import Backend
from tests.encoders.hardware_contract import HardwareBackendContract

(BACKEND,) = ffcluster_videotoolbox.ffcluster_backends()


class TestVideoToolbox(HardwareBackendContract):
    backend: ClassVar[Backend] = BACKEND
    platform = "darwin"
