"""Why options of ffmpeg that ffcluster could know are refused, in words."""

from __future__ import annotations

from collections.abc import Mapping

_FILES = "ffcluster names the files that are read and written"
_STREAMS = "ffcluster carries over every stream; --audio and --subtitles decide over them"
_TIMES = "ffcluster encodes the whole film and keeps every frame's time"
_RATE = "ffcluster keeps the source's frames; -vf fps=N changes their number"
_PROCESS = "ffcluster decides how ffmpeg runs"
_DEVICES = "ffcluster chooses the device"
_CONTAINER = "ffcluster decides how the container is written"
_METADATA = "ffcluster carries over the source's metadata"
_GRAPH = "only a single chain of filters is possible: use -vf"
_PASSES = "every segment is encoded in one pass"


def _because(reason: str, names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), reason)


_REASONS: Mapping[str, str] = {
    **_because(
        _FILES,
        "i f y n o attach dump_attachment report vstats_file passlogfile progress filter_script "
        "filter_complex_script vstats stream_loop protocol_whitelist format_whitelist psnr "
        "sdp_file qphist dump",
    ),
    **_because(_STREAMS, "map map_channel vn dn disposition stream_group c ignore_unknown"),
    **_because(
        _TIMES,
        "ss sseof t to frames itsoffset itsscale copyts start_at_zero avoid_negative_ts shortest "
        "accurate_seek seek_timestamp output_ts_offset bsf",
    ),
    **_because(_RATE, "r fpsmax vsync fps_mode enc_time_base force_fps re readrate"),
    **_because(
        _PROCESS,
        "threads thread_type thread_queue_size filter_threads nostdin stdin hide_banner loglevel v "
        "stats nostats stats_period benchmark cpuflags xerror timelimit max_alloc "
        "max_muxing_queue_size strict err_detect debug",
    ),
    **_because(
        _DEVICES,
        "hwaccel hwaccel_device hwaccel_output_format init_hw_device filter_hw_device gpu "
        "vaapi_device qsv_device",
    ),
    **_because(
        _CONTAINER,
        "movflags tag vtag atag brand use_editlist cluster_size_limit muxdelay muxpreload "
        "flush_packets fflags default_mode segment_time write_tmcd video_track_timescale",
    ),
    **_because(_METADATA, "metadata map_metadata map_chapters map_metadata timecode target"),
    **_because(_GRAPH, "filter_complex lavfi"),
    **_because(_PASSES, "pass 2pass"),
    **_because(
        "only the audio's codec and bit rate can be chosen (-c:a, -b:a)",
        "ac ar sample_fmt aq channel_layout ch_layout vol",
    ),
    **_because("the source's rotation is kept", "autorotate noautorotate display_rotation"),
    "force_key_frames": "its times count from the start of the film; -g sets their distance",
    "aspect": "use -vf setdar or setsar",
    "sws_flags": "give the flags to the filter: -vf scale=...:flags=...",
    "x265-stats": "it writes a file",
    "stats_file": "it writes a file",
    "aom-params": "libaom's own options are known only by ffmpeg's names for them",
    "deinterlace": "use -vf yadif or -vf bwdif",
    "field_order": "the source's field order is kept; -vf setparams=field_mode changes it",
    "top": "the source's field order is kept; -vf setparams=field_mode changes it",
    "rc": "it follows from -cq, -b:v and -maxrate",
}


def reason_for(name: str, stream: str) -> str:
    """Why `-NAME:STREAM` is refused."""
    if name.startswith("/"):
        return "it reads its value from a file"
    if name == "filter":
        return "only the video can be filtered: use -vf"
    if name in ("c", "b", "preset", "profile", "crf", "g", "bf") and stream:
        return f"{stream!r} is none of the streams that can be set: use :v, :a or (for -c) :s"
    if name.startswith(("hls_", "segment_", "dash_")):
        return _CONTAINER
    return _REASONS.get(name, "ffcluster does not know it")
