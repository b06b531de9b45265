"""Plugins and ffmpegs made for one test; plugins are found through PYTHONPATH."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

# Software encoders that write other parameter sets than the software backend's.
OTHER_SOFTWARE = """
    import attrs
    from ffcluster.encoders.hookspecs import hookimpl
    from ffcluster.encoders.software import SoftwareBackend


    @attrs.frozen
    class OtherSoftware(SoftwareBackend):
        name: str = "other"

        def arguments(self, *args, **kwargs):
            made = super().arguments(*args, **kwargs)
            words = [*made.output_args, "-refs", "2"]
            if "-x265-params" in words:
                words[words.index("-x265-params") + 1] += ":ctu=64:limit-tu=0:ref=2"
            return attrs.evolve(made, output_args=tuple(words))


    @hookimpl
    def ffcluster_backends():
        return [OtherSoftware()]
"""

# Hardware that is libx264 in truth. Where there is a file FAKE_BROKEN, it breaks after as many
# encodes as the file says.
FAKE_HARDWARE = """
    import itertools
    import os
    import attrs
    from ffcluster.core.model import Capability, Diagnosis, Trouble
    from ffcluster.encoders.hookspecs import hookimpl
    from ffcluster.encoders.software import SoftwareBackend
    from ffcluster.encoders.software_schemas import SCHEMAS

    X264 = next(schema for schema in SCHEMAS if schema.encoder == "libx264")
    FAKE = attrs.evolve(X264, encoder="h264_fake")
    ENCODES = itertools.count()


    def is_broken():
        path = os.environ.get("FAKE_BROKEN", "")
        made = next(ENCODES)
        if not os.path.exists(path):
            return False
        with open(path) as lasts:
            return made >= int(lasts.read())


    @attrs.frozen
    class FakeHardware(SoftwareBackend):
        name: str = "fake"
        schemas: tuple = (FAKE,)

        def detect(self, build, machine):
            if "FAKE_DEVICE" not in os.environ:
                return [Diagnosis(self.name, "", "there is no fake device", "plug one in")]
            return [
                Capability(
                    "h264_fake", FAKE.codec, self.name, os.environ["FAKE_DEVICE"],
                    pix_fmts=("yuv420p",), presets=FAKE.presets, rate_modes=FAKE.rate_modes,
                    threads=1, rank=150, hardware_decode=True, device_name="Fake 4000",
                )
            ]

        def arguments(self, build, capability, profile, video, *, threads, hardware_decode=False):
            made = super().arguments(
                build,
                attrs.evolve(capability, encoder="libx264"),
                attrs.evolve(profile, encoder="libx264"),
                video,
                threads=threads,
            )
            return attrs.evolve(
                made,
                input_args=("-hwaccel", "nonsense") if hardware_decode else (),
                output_args=(*made.output_args, "-refs", "nonsense" if is_broken() else "2"),
            )

        def veto(self, capability, profile, video):
            return None

        def explain(self, capability, outcome):
            cause = "the fake device fell off the bus"
            found = "nonsense" in outcome.stderr
            hint = "plug it in again"
            return Diagnosis(
                self.name, capability.device, cause, hint, capability.encoder, Trouble.BROKEN
            ) if found else None


    @hookimpl
    def ffcluster_backends():
        return [FakeHardware()]
"""


def install(directory: Path, name: str, source: str) -> dict[str, str]:
    """Install a plugin into `directory`; answers the variables with which it is found."""
    module = f"ffcluster_test_{name}"
    (directory / f"{module}.py").write_text(textwrap.dedent(source))
    info = directory / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[ffcluster]\n{name} = {module}\n")
    return {"PYTHONPATH": str(directory)}


def ffmpeg_that(directory: Path, real: str, does: str) -> Path:
    """An ffmpeg that is `real` after the lines `does` have changed its arguments `argv`."""
    path = directory / "ffmpeg"
    path.write_text(
        f"#!{sys.executable}\nimport os, sys\nargv = sys.argv[1:]\n"
        f"{textwrap.dedent(does)}\nos.execv({real!r}, [{real!r}, *argv])\n"
    )
    path.chmod(0o755)
    return path
