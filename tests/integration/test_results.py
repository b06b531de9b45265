"""What is believed of a result that a worker sent: nothing that its packets do not show."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
from av.packet import Packet

from ffcluster.media.bitstream import in_band_prefix
from ffcluster.media.opening import HelperError
from ffcluster.media.results import examine
from tests.inputs import ffmpeg, pictures

_CODECS = {
    "h264": ("libx264", "-x264-params", "scenecut=0:ref=1", "scenecut=0:ref=4"),
    "hevc": ("libx265", "-x265-params", "log-level=none:ctu=16", "log-level=none:ctu=64"),
}


def encoded(path: Path, codec: str, settings: str) -> Path:
    encoder, option, *_ = _CODECS[codec]
    ffmpeg(*pictures(24, size="128x96"), "-pix_fmt", "yuv420p", "-c:v", encoder, "-preset",
           "ultrafast", "-g", "8", option, settings, str(path))  # fmt: skip
    return path


def with_sets_of(other: Path, source: Path, target: Path, codec: str, keyframes: set[int]) -> Path:
    """Copy `source` and put the parameter sets of `other` before some of its keyframes."""
    with av.open(str(other)) as donor:
        prefix = in_band_prefix(codec, donor.streams.video[0].codec_context.extradata or b"")
    with av.open(str(source)) as film, av.open(str(target), "w") as copy:
        video = film.streams.video[0]
        written = copy.add_stream_from_template(video, opaque=True)
        number = -1
        for packet in film.demux(video):
            if not packet.size:
                continue
            number += packet.is_keyframe
            out = packet
            if packet.is_keyframe and number in keyframes:
                out = Packet(prefix + bytes(packet))
                out.pts, out.dts, out.duration = packet.pts, packet.dts, packet.duration
                out.is_keyframe, out.time_base = True, packet.time_base
            out.stream = written
            copy.mux_one(out)
    return target


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_foreign_sets_at_every_keyframe_make_another_kind(tmp_path: Path, codec: str) -> None:
    _, _, one, other = _CODECS[codec]
    plain = encoded(tmp_path / "plain.mkv", codec, one)
    donor = encoded(tmp_path / "donor.mkv", codec, other)
    mixed = with_sets_of(donor, plain, tmp_path / "mixed.mkv", codec, {0, 1, 2})
    kinds = [examine(path, codec, 24)["parameter_sets"] for path in (plain, donor, mixed)]
    assert len(set(kinds)) == 3
    # Its own sets in band say nothing new.
    same = with_sets_of(plain, plain, tmp_path / "same.mkv", codec, {0, 1, 2})
    assert examine(same, codec, 24)["parameter_sets"] == kinds[0]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize("keyframes", [{0}, {2}])
def test_sets_that_change_on_the_way_are_refused(
    tmp_path: Path, codec: str, keyframes: set[int]
) -> None:
    """They would still rule when the next segment begins, which may have been made without them."""
    _, _, one, other = _CODECS[codec]
    plain = encoded(tmp_path / "plain.mkv", codec, one)
    donor = encoded(tmp_path / "donor.mkv", codec, other)
    changing = with_sets_of(donor, plain, tmp_path / "changing.mkv", codec, keyframes)
    with pytest.raises(HelperError, match="changes its parameter sets"):
        examine(changing, codec, 24)
