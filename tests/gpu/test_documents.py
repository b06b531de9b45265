"""The stubs and the faults are written down where people look for them."""

from __future__ import annotations

import re
from pathlib import Path

from tests.gpu.drivers import SOURCES
from tests.gpu.faults import NVENC_FAULTS, VAAPI_FAULTS

DOCUMENT = Path(__file__).parents[2] / "docs" / "hardware.md"
VARIABLE = re.compile(r"FAKE_[A-Z0-9_]+")


def test_every_variable_of_the_stubs_is_documented_and_every_documented_one_is_read():
    documented = set(VARIABLE.findall((SOURCES / "fake.h").read_text().split("*/")[0]))
    read = set()
    for source in SOURCES.iterdir():
        code = source.read_text().split("*/", 1)[1] if source.name == "fake.h" else None
        text = source.read_text() if code is None else code
        read |= set(re.findall(r'"(FAKE_[A-Z0-9_]+)"', text))
    assert read == documented


def test_every_fault_is_in_the_document_on_hardware():
    text = DOCUMENT.read_text()
    for backend, faults in (("nvenc", NVENC_FAULTS), ("vaapi", VAAPI_FAULTS)):
        for fault in faults:
            builds = ", ".join(release.replace("_", ".") for release in fault.builds)
            start = f"| {backend}: {fault.name.replace('_', ' ')} | `{fault.stderr}` "
            [row] = [line for line in text.splitlines() if line.startswith(start)]
            assert row.endswith(f"| {builds} |")
            assert f"| {fault.trouble.value} |" in row
            assert fault.cause in row
            assert fault.hint in row
