"""The qsv plugin, by the tests that all hardware plugins share and by its own."""

from __future__ import annotations

from typing import ClassVar

import ffcluster_qsv
from ffcluster.encoders.backend import Backend
from tests.encoders.hardware_contract import HardwareBackendContract

(BACKEND,) = ffcluster_qsv.ffcluster_backends()


class TestQsv(HardwareBackendContract):
    backend: ClassVar[Backend] = BACKEND
    platform = "linux"
