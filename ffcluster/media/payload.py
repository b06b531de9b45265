"""Find out whether a packet brings a picture, from its first bits. Pure; decodes nothing.

A file may list as many packets as frames were asked for and yet show fewer. Formats: H.264 7.3.2.8
and 7.3.3 (first_mb_in_slice), HEVC 7.3.6.1 (first_slice_segment_in_pic_flag), AV1 5.5 and 5.9.2
(show_existing_frame, show_frame), VP9 6.2 and annex B (the same, superframes).
"""

from __future__ import annotations

from collections.abc import Callable

from ffcluster.media.bitstream import BitstreamError, av1_units, nal_units

_H264_PICTURES = frozenset({1, 2, 5})
_HEVC_LAST_PICTURE = 31
_AV1_SEQUENCE, _AV1_HEADER, _AV1_FRAME = 1, 3, 6
_VP9_MARKER = 2


class PictureFinder:
    """Says of each packet of one stream whether it brings a picture that is shown.

    Args:
        codec: FFmpeg's name of the codec; of those that are not known any byte is a picture.
        extradata: The stream's header.
    """

    def __init__(self, codec: str, extradata: bytes) -> None:
        self._codec = codec
        self._extradata = extradata
        # AV1's single pictures have headers without the flags.
        self._is_still = False
        known: dict[str, Callable[[memoryview], bool]] = {
            "h264": self._in_h264,
            "hevc": self._in_hevc,
            "av1": self._in_av1,
            "vp9": self._in_vp9,
        }
        self._look: Callable[[memoryview], bool] = known.get(codec, _any)

    def shows(self, sample: memoryview) -> bool:
        """Whether this packet brings a picture that is shown.

        Raises:
            BitstreamError: It is not laid out as the format says.
        """
        try:
            return self._look(sample)
        except IndexError:
            raise BitstreamError("a packet is cut off") from None

    def _in_h264(self, sample: memoryview) -> bool:
        return any(
            unit[0] & 0x1F in _H264_PICTURES and unit[1] & 0x80
            for unit in nal_units("h264", self._extradata, sample)
            if len(unit) > 1
        )

    def _in_hevc(self, sample: memoryview) -> bool:
        return any(
            unit[0] >> 1 & 0x3F <= _HEVC_LAST_PICTURE and unit[2] & 0x80
            for unit in nal_units("hevc", self._extradata, sample)
            if len(unit) > 2
        )

    def _in_av1(self, sample: memoryview) -> bool:
        for kind, payload in av1_units(bytes(sample)):
            if kind == _AV1_SEQUENCE:
                # seq_profile(3), still_picture(1), reduced_still_picture_header(1)
                self._is_still = bool(payload[0] & 0x08)
            # show_existing_frame(1), frame_type(2), show_frame(1)
            elif kind in (_AV1_HEADER, _AV1_FRAME) and (self._is_still or payload[0] & 0x90):
                return True
        return False

    def _in_vp9(self, sample: memoryview) -> bool:
        start = 0
        sizes = _superframe(sample) or [len(sample)]
        for size in sizes:
            if size and _vp9_shows(sample[start : start + size]):
                return True
            start += size
        return False


def _any(sample: memoryview) -> bool:
    return len(sample) > 0


def _superframe(sample: memoryview) -> list[int]:
    """Sizes of the frames in a VP9 superframe, or [] when it is none."""
    last = sample[-1]
    if last & 0xE0 != 0xC0:
        return []
    frames, width = (last & 7) + 1, (last >> 3 & 3) + 1
    index = 2 + frames * width
    if len(sample) < index or sample[-index] != last:
        return []
    table = bytes(sample[len(sample) - index + 1 : -1])
    return [int.from_bytes(table[n : n + width], "little") for n in range(0, len(table), width)]


def _vp9_shows(frame: memoryview) -> bool:
    bits = frame[0] << 8 | (frame[1] if len(frame) > 1 else 0)
    if bits >> 14 != _VP9_MARKER:
        raise BitstreamError("a VP9 frame does not begin as one")
    # frame_marker(2), profile(2), reserved_zero(1) in profile 3 only, show_existing_frame(1),
    # frame_type(1), show_frame(1)
    after = 5 if bits >> 12 & 3 == 3 else 4
    return bool(bits >> (15 - after) & 1 or bits >> (13 - after) & 1)
