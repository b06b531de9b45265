"""A frame rate for a muxer's Matroska header."""

from __future__ import annotations

import io

import av
import pytest

from ffcluster.media.ebml import with_default_duration


class _Pipe(io.RawIOBase):
    """A target that cannot seek, as pieces are written."""

    def __init__(self) -> None:
        self.data = b""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        self.data += bytes(data)  # type: ignore[call-overload]
        return len(bytes(data))  # type: ignore[call-overload]


def _film(rate: int) -> tuple[bytes, bytes]:
    """Header and clusters of a short film that declares `rate`."""
    pipe = _Pipe()
    output = av.open(pipe, "w", format="matroska")
    stream = output.add_stream("ffv1", rate=rate, width=16, height=16, pix_fmt="yuv420p")
    output.start_encoding()
    header = pipe.data
    for n in range(5):
        frame = av.VideoFrame(16, 16, "yuv420p")
        frame.pts = n
        output.mux(stream.encode(frame))
    output.mux(stream.encode(None))
    output.close()
    return pipe.data[: len(header)], pipe.data[len(header) :]


@pytest.mark.parametrize("declared", [1_000_000_000 // 50, 41_708_333])
def test_declared_rate_replaces_the_muxers_and_the_film_stays_readable(declared: int) -> None:
    header, rest = _film(10)
    patched = with_default_duration(header, declared)
    with av.open(io.BytesIO(patched + rest)) as film:
        stream = film.streams.video[0]
        assert abs(float(stream.average_rate or 0) - 1e9 / declared) < 0.01
        assert len([p for p in film.demux(stream) if p.size]) == 5


def test_what_is_no_matroska_header_stays_as_it_is() -> None:
    header, _ = _film(10)
    no_tracks = header[: header.index(b"\x16\x54\xae\x6b")]
    assert with_default_duration(no_tracks, 1) == no_tracks
