"""Where results are compared with the source, for made-up orders of packets."""

from __future__ import annotations

from pathlib import Path

import pytest

from ffcluster.media.index import FRAME, KEY, IndexTables, MediaIndex, presentation_order
from ffcluster.media.sampling import Packets, choose, source_steps


def index_of(
    directory: Path, pts: list[int], keys: set[int], *, gradual: bool = False
) -> MediaIndex:
    tables = IndexTables()
    for number, time in enumerate(pts):
        tables.pts.append(time)
        tables.dts.append(number)
        tables.pos.append(number)
        tables.size.append(1)
        tables.flags.append(FRAME | (KEY if number in keys else 0))
    tables.order = presentation_order(tables.pts, tables.flags)
    tables.shown.extend(sorted(pts))
    tables.write(directory / "index", {"gradual": gradual})
    return MediaIndex(directory / "index")


def test_packets_of_reordered_frames_are_found_by_rank() -> None:
    packets = Packets([0, 30, 10, 20, 60, 40, 50], [True] + [False] * 6)
    assert packets.by_rank == [0, 2, 3, 1, 5, 6, 4]
    assert packets.span(range(1, 3)) == (0, 3)
    assert packets.steps() == [1, 3, 4, 2, 6, 7, 5]


def test_decoding_starts_at_the_last_keyframe() -> None:
    packets = Packets([0, 1, 2, 3, 4, 5], [True, False, False, True, False, False])
    assert packets.span(range(4, 6)) == (3, 5)
    assert packets.span(range(2, 5)) == (0, 4)


def test_pictures_shown_before_a_keyframe_need_the_one_before_it() -> None:
    packets = Packets([0, 10, 40, 20, 30], [True, False, True, False, False])
    assert packets.start_of == [0, 0, 2, 0, 0]


def test_steps_of_the_source_count_from_its_keyframes(tmp_path: Path) -> None:
    index = index_of(tmp_path, [0, 1, 2, 3, 4, 5, 6, 7], {0, 3, 6})
    assert source_steps(index, 2, 8) == [3, 1, 2, 3, 1, 2]
    index.close()


def test_gradual_sources_start_a_keyframe_earlier(tmp_path: Path) -> None:
    index = index_of(tmp_path, [0, 1, 2, 3, 4, 5, 6, 7], {0, 3, 6}, gradual=True)
    assert source_steps(index, 6, 8)[0] == 4
    index.close()


def test_both_borders_are_compared_where_they_are_near_to_keyframes() -> None:
    assert choose([1] * 100, [1] * 100) == (range(4), range(96, 100))


@pytest.mark.parametrize("frames", [1, 2, 3, 4])
def test_short_segments_are_compared_whole(frames: int) -> None:
    assert choose(list(range(1, frames + 1)), [1] * frames) == (range(frames),)


def test_overlapping_runs_become_one() -> None:
    assert choose([1] * 7, [1] * 7) == (range(7),)


def test_last_frames_far_from_a_keyframe_give_way_to_the_last_that_are_near() -> None:
    steps = list(range(1, 201))
    assert choose(steps, steps) == (range(4), range(31, 35))


def test_keyframe_in_the_result_alone_does_not_help() -> None:
    source = list(range(1, 201))
    result = [n % 100 + 1 for n in range(200)]
    assert choose(source, result)[1] == range(31, 35)


def test_first_frames_may_lie_a_whole_group_behind_a_keyframe() -> None:
    source = [n + 200 for n in range(100)]
    assert choose(source, list(range(1, 101)))[0] == range(4)


def test_source_without_keyframes_is_not_compared_far_in() -> None:
    assert choose([n + 10_000 for n in range(100)], [1] * 100) == ()
