from __future__ import annotations

import pytest

from ffcluster.encoders.pixfmt import describe, nearest, with_depth


@pytest.mark.parametrize(
    ("name", "family", "shift", "depth"),
    [
        ("yuv420p", "yuv", (1, 1), 8),
        ("yuvj422p", "yuv", (1, 0), 8),
        ("yuv444p12le", "yuv", (0, 0), 12),
        ("yuv411p", "yuv", (2, 0), 8),
        ("nv12", "yuv", (1, 1), 8),
        ("nv16", "yuv", (1, 0), 8),
        ("nv20le", "yuv", (1, 0), 10),
        ("p010le", "yuv", (1, 1), 10),
        ("p210le", "yuv", (1, 0), 10),
        ("y210le", "yuv", (1, 0), 10),
        ("uyvy422", "yuv", (1, 0), 8),
        ("gbrp10le", "rgb", (0, 0), 10),
        ("rgb24", "rgb", (0, 0), 8),
        ("rgba64le", "rgb", (0, 0), 16),
        ("gray", "gray", (0, 0), 8),
        ("gray10le", "gray", (0, 0), 10),
    ],
)
def test_names_say_what_a_format_holds(
    name: str, family: str, shift: tuple[int, int], depth: int
) -> None:
    found = describe(name)
    assert found is not None
    assert (found.family, found.shift, found.depth) == (family, shift, depth)


@pytest.mark.parametrize("name", ["", "bayer_rggb8", "yuv999p", "grayf32le", "yuv420p;", "xyz12le"])
def test_names_that_are_not_known_are_nothing(name: str) -> None:
    assert describe(name) is None


@pytest.mark.parametrize(
    ("source", "supported", "chosen"),
    [
        ("yuv422p10le", ("yuv420p", "yuv420p10le"), "yuv420p10le"),
        ("yuv420p12le", ("yuv420p", "yuv420p10le", "yuv444p"), "yuv420p10le"),
        ("yuv420p", ("nv12", "p010le"), "nv12"),
        ("rgb24", ("yuv420p", "yuv444p"), "yuv444p"),
        ("rgb24", ("yuv444p", "gbrp"), "gbrp"),
        ("gray", ("yuv420p", "gray10le", "gray"), "gray"),
        ("yuva420p", ("yuv420p", "yuva420p"), "yuva420p"),
        ("yuv411p", ("yuv420p", "yuv422p", "yuv444p"), "yuv422p"),
        ("p010le", ("yuv420p", "yuv420p10le"), "yuv420p10le"),
    ],
)
def test_nearest_loses_least_and_then_adds_least(
    source: str, supported: tuple[str, ...], chosen: str
) -> None:
    known = describe(source)
    assert known is not None
    assert nearest(known, supported) == chosen


def test_depth_is_changed_without_changing_the_rest() -> None:
    assert with_depth("yuv422p", 10) == "yuv422p10le"
    assert with_depth("nv12", 10) == "yuv420p10le"
    assert with_depth("yuv444p12le", 8) == "yuv444p"
    assert with_depth("rgb24", 10) == "gbrp10le"
    assert with_depth("gray", 10) == "gray10le"
    assert with_depth("nonsense", 10) is None
