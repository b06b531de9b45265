from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffcluster.core.profile import FilterScope, VideoFilter
from ffcluster.encoders.filter_table import FILTERS, REFUSED
from ffcluster.encoders.filters import (
    chain_text,
    checked_filter,
    filter_text,
    make_filter,
    parse_filters,
    split_at_window,
)
from ffcluster.errors import InvalidOption, UnsupportedOption


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("scale=1280:-2", ["scale=w=1280:h=-2"]),
        ("scale=width=1280:height=-2:flags=lanczos", ["scale=w=1280:h=-2:flags=lanczos"]),
        ("scale='min(1280,iw)':-2", [r"scale=w=min(1280\,iw):h=-2"]),
        (r"scale=min(1280\,iw):-2", [r"scale=w=min(1280\,iw):h=-2"]),
        ("crop=iw-16:ih:8:0,yadif", ["crop=w=iw-16:h=ih:x=8:y=0", "yadif"]),
        (" hflip , vflip ", ["hflip", "vflip"]),
        ("crop=in_w / 2:ih", ["crop=w=in_w/2:h=ih"]),
        ("format=yuv420p10le|yuv420p", ["format=pix_fmts=yuv420p10le|yuv420p"]),
        ("fps=30000/1001", ["fps=fps=30000/1001"]),
        ("setdar=16/9,setsar=r=1/1", ["setdar=dar=16/9", "setsar=sar=1/1"]),
    ],
)
def test_chains_are_read_as_ffmpeg_reads_them(text: str, written: list[str]) -> None:
    assert chain_text(parse_filters(text)) == written


@pytest.mark.parametrize(
    ("text", "scope", "context", "keeps_timing"),
    [
        ("scale=64:64", FilterScope.FRAME, 0, True),
        ("yadif", FilterScope.WINDOW, 2, True),
        ("yadif=mode=2:parity=tff", FilterScope.WINDOW, 2, True),
        ("yadif=1", FilterScope.STREAM, 0, False),
        ("bwdif", FilterScope.STREAM, 0, False),
        ("bwdif=send_frame", FilterScope.WINDOW, 2, True),
        ("atadenoise=s=9", FilterScope.WINDOW, 5, True),
        ("hqdn3d", FilterScope.STREAM, 0, True),
        ("fps=25", FilterScope.STREAM, 0, False),
        ("mpdecimate", FilterScope.STREAM, 0, False),
    ],
)
def test_how_far_a_filter_looks_follows_from_its_options(
    text: str, scope: FilterScope, context: int, keeps_timing: bool
) -> None:
    (found,) = parse_filters(text)
    assert (found.scope, found.context_frames, found.keeps_timing) == (scope, context, keeps_timing)


@pytest.mark.parametrize(
    "text",
    [
        "scale=w=1280",
        "scale=1280:-2:bogus=1",
        "scale=1280:720:720:720",
        "scale=t:-2",
        "scale=n*2:-2",
        "scale=2iw:-2",
        "scale=0x10:-2",
        "scale=(iw:-2",
        "scale=random(1):ih",
        "crop=ld(0):ih",
        "crop=w=iw:w=ih",
        "eq=contrast=print(1)",
        "eq=contrast=1:eval=frame",
        "delogo=x=1",
        "fps",
        "fps=0",
        "unsharp=la=nan",
        "gblur=sigma=inf",
        "pad=iw:ih:0:0:black,",
        "",
        "hflip=1",
        "hflip;vflip",
        "[0:v]hflip",
        "hflip[out]",
        "split[a][b]",
        "yadif=mode=send_frame:x",
        "scale=1280:-2:flags=print_info",
        "x" * 5000,
        ",".join(["hflip"] * 33),
    ],
)
def test_what_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(InvalidOption):
        parse_filters(text)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_filters_that_are_refused_by_name_say_why(name: str) -> None:
    with pytest.raises(UnsupportedOption) as caught:
        parse_filters(f"{name}=x")
    assert REFUSED[name] in str(caught.value)
    assert name not in FILTERS


def test_filter_from_a_peer_is_not_believed() -> None:
    claimed = VideoFilter("fps", (("fps", "5"),), FilterScope.FRAME, 0, keeps_timing=True)
    assert checked_filter(claimed) == make_filter("fps", (("fps", "5"),))
    with pytest.raises(UnsupportedOption):
        filter_text(VideoFilter("movie", (("filename", "/etc/passwd"),)))
    with pytest.raises(InvalidOption):
        filter_text(VideoFilter("scale", (("w", "iw,movie=x"), ("h", "1"))))


def test_chain_is_split_after_the_last_filter_that_needs_context() -> None:
    filters = parse_filters("crop=iw-2:ih,yadif,scale=64:64")
    before, after = split_at_window(filters)
    assert [f.name for f in before] == ["crop", "yadif"]
    assert [f.name for f in after] == ["scale"]
    assert split_at_window(filters[2:]) == ((), filters[2:])


@given(st.text(max_size=60))
def test_any_text_is_a_chain_or_refused(text: str) -> None:
    try:
        filters = parse_filters(text)
    except InvalidOption:
        return
    assert all(f.name in FILTERS for f in filters)


words = st.sampled_from(
    [*sorted(FILTERS)[:12], "movie", "=", ":", ",", "'", "\\", "[a]", ";", "w", "iw", "64", "-2"]
)


@given(st.lists(words, max_size=10).map("".join))
def test_what_is_read_is_written_so_that_it_is_read_the_same(text: str) -> None:
    try:
        filters = parse_filters(text)
    except InvalidOption:
        return
    assert parse_filters(",".join(chain_text(filters))) == filters
