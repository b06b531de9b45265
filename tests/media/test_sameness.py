"""What of a file counts when two encodings are compared."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from ffcluster.media.sameness import Stretch


def test_whole_file_needs_no_filter() -> None:
    assert Stretch(Path("a.mkv")).chain() == ()


def test_frames_outside_are_dropped_by_their_times() -> None:
    stretch = Stretch(Path("a.mkv"), Fraction(1, 3), Fraction(2))
    assert stretch.chain() == ("trim=start=0.333333:end=2.000000",)
    assert Stretch(Path("a.mkv"), None, Fraction(2)).chain() == ("trim=end=2.000000",)
