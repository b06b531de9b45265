"""What a foreign file may be: formats, protocols and sizes. Shared by ffmpeg and PyAV."""

from __future__ import annotations

# 16 times 8K; what claims to be larger is refused before memory is taken for it.
MAX_PIXELS = 16384 * 16384
PROTOCOLS = ("file", "pipe")
# No playlist and nothing else that names further files. Each entry is one of a demuxer's names.
SOURCE_FORMATS = (
    "mov", "matroska", "mpegts", "mpeg", "avi", "flv", "ogg", "mxf", "nut", "asf", "ivf", "rm",
    "h264", "hevc", "mpegvideo", "m4v", "obu", "vc1", "dv", "yuv4mpegpipe", "wtv", "gif",
)  # fmt: skip
PIECE_FORMATS = ("matroska", "nut")
RESULT_FORMATS = ("matroska",)
# Raw streams hold no times at all; they are indexed by decoding.
RAW_FORMATS = frozenset({"h264", "hevc", "mpegvideo", "m4v", "vc1", "obu"})
