"""The vaapi plugin, by the tests that all hardware plugins share and by its own."""

from __future__ import annotations

from typing import ClassVar

import ffcluster_vaapi
from ffcluster.core.model import Capability
from ffcluster.core.profile import Profile
from ffcluster.encoders.backend import Backend
from tests.encoders.builds import builds
from tests.encoders.hardware_contract import VIDEO, HardwareBackendContract

(BACKEND,) = ffcluster_vaapi.ffcluster_backends()


class TestVaapi(HardwareBackendContract):
    backend: ClassVar[Backend] = BACKEND
    platform = "linux"

    def test_picture_is_uploaded_after_the_format_and_the_tags(self) -> None:
        schema = BACKEND.schemas[0]
        offered = Capability(
            schema.encoder,
            schema.codec,
            "vaapi",
            "/dev/dri/renderD129",
            ("nv12",),
            without=("ICQ",),
        )
        made = BACKEND.arguments(builds()[0], offered, Profile(), VIDEO, threads=0)
        assert made.filters == ("format=nv12", "hwupload")
        assert made.global_args[:2] == ("-init_hw_device", "vaapi=va:/dev/dri/renderD129")
        assert made.output_args[2:6] == ("-rc_mode", "CQP", "-qp", "24")
