"""The faults that the stub drivers can produce, each with what detection must say of it."""

from __future__ import annotations

import attrs

from ffcluster.core.model import Trouble
from tests.gpu.drivers import NODES, Gpu, nvidia, vaapi

NVENC_8 = frozenset({"h264_nvenc", "hevc_nvenc"})
NVENC = NVENC_8 | {"av1_nvenc"}
VAAPI_8 = frozenset({"h264_vaapi", "hevc_vaapi", "vp9_vaapi"})
VAAPI = VAAPI_8 | {"av1_vaapi"}


@attrs.frozen
class Fault:
    """One row: a machine that is not as it should be.

    Attributes:
        name: For the test's name.
        gpu: The drivers.
        trouble: What kind of trouble must be told.
        cause: What its cause must contain.
        hint: What its hint must contain.
        proven: Encoders that must be offered nevertheless, as far as the build has them.
        encoder: The encoder that the diagnosis is about, or "".
        builds: Releases of ffmpeg that it is about.
        stderr: What ffmpeg prints, for the table in the documentation.
    """

    name: str
    gpu: Gpu
    trouble: Trouble
    cause: str
    hint: str
    stderr: str
    proven: frozenset[str] = frozenset()
    encoder: str = ""
    builds: tuple[str, ...] = ("5_1", "9_0")


NVENC_FAULTS = (
    Fault(
        "no_driver", Gpu(), Trouble.MISSING, "driver is not here", "--gpus all",
        "Cannot load libcuda.so.1",
    ),
    Fault(
        "container_without_video", Gpu(cuda=True), Trouble.MISSING, "video encoder library",
        "NVIDIA_DRIVER_CAPABILITIES", "Cannot load libnvidia-encode.so.1",
    ),
    Fault(
        "no_device", nvidia(FAKE_CUDA_INIT=100), Trouble.MISSING, "sees no GPU", "nvidia-smi",
        "CUDA_ERROR_NO_DEVICE",
    ),
    Fault(
        "no_gpus", nvidia(GPUS=0), Trouble.MISSING, "sees no GPU", "CUDA_VISIBLE_DEVICES",
        "No CUDA capable devices found",
    ),
    Fault(
        "driver_mismatch", nvidia(FAKE_CUDA_INIT=803), Trouble.BROKEN, "different versions",
        "restart", "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
    ),
    Fault(
        "cuda_fails", nvidia(FAKE_CUDA_INIT=999), Trouble.BROKEN, "CUDA_ERROR_UNKNOWN",
        "nvidia-smi", "cuInit(0) failed -> CUDA_ERROR_UNKNOWN",
    ),
    Fault(
        "driver_too_old", nvidia(API="11.1"), Trouble.UNSUPPORTED, "11.1", "610",
        "Required: 13.1 Found: 11.1", builds=("9_0",),
    ),
    Fault(
        "driver_older_still", nvidia(API="11.0"), Trouble.UNSUPPORTED, "11.0", "--ffmpeg",
        "Required: 11.1 Found: 11.0", builds=("5_1",),
    ),
    Fault(
        "version_refused", nvidia(OPEN=15), Trouble.UNSUPPORTED, "different versions", "--ffmpeg",
        "OpenEncodeSessionEx failed: invalid version (15)",
    ),
    Fault(
        "sessions_used_up", nvidia(OPEN=10), Trouble.BUSY, "no further encoding session",
        "fewer slots", "OpenEncodeSessionEx failed: out of memory (10)",
    ),
    Fault(
        "memory_used_up", nvidia(CONTEXT=2), Trouble.BUSY, "no further encoding session", "wait",
        "CUDA_ERROR_OUT_OF_MEMORY",
    ),
    Fault(
        "gpu_without_nvenc", nvidia(OPEN=2), Trouble.UNSUPPORTED, "no NVENC", "H100",
        "OpenEncodeSessionEx failed: unsupported device (2)",
    ),
    Fault(
        "no_av1", nvidia(CODECS="h264,hevc"), Trouble.UNSUPPORTED, "cannot encode this codec",
        "RTX 40", "Codec not supported", proven=NVENC_8, encoder="av1_nvenc", builds=("9_0",),
    ),
    Fault(
        "no_10_bit", nvidia(FAKE_NV_10BIT=0), Trouble.UNSUPPORTED, "cannot encode 10 bit", "",
        "10 bit encode not supported", proven=NVENC, encoder="hevc_nvenc",
    ),
    Fault(
        "no_444", nvidia(FAKE_NV_444=0), Trouble.UNSUPPORTED, "cannot encode 4:4:4", "",
        "YUV444P not supported", proven=NVENC, encoder="hevc_nvenc",
    ),
    Fault(
        "no_lossless", nvidia(LOSSLESS=0), Trouble.UNSUPPORTED, "cannot encode losslessly", "",
        "Lossless encoding not supported", proven=NVENC, encoder="h264_nvenc",
    ),
    Fault(
        "encoding_fails", nvidia(PICTURE=3), Trouble.BROKEN, "failed while it encoded",
        "system's log", "EncodePicture failed!",
    ),
    Fault(
        "driver_crashes", nvidia(SIGNAL=11), Trouble.BROKEN, "crashed in the driver (SIGSEGV)",
        "another ffmpeg", "ended by a signal",
    ),
)  # fmt: skip

VAAPI_FAULTS = (
    Fault(
        "no_node", Gpu(va=True), Trouble.MISSING, "cannot be opened", "render",
        "No VA display found for device",
    ),
    Fault(
        "no_permission", vaapi(DENIED=",".join(NODES)), Trouble.MISSING, "cannot be opened",
        "render,video", "No VA display found for device",
    ),
    Fault(
        "driver_not_installed", attrs.evolve(vaapi(), va=False), Trouble.MISSING, "no VA driver",
        "LIBVA_DRIVER_NAME", "Failed to initialise VAAPI connection: -1",
    ),
    Fault(
        "driver_does_not_start", vaapi(INIT=1), Trouble.BROKEN, "operation failed", "vainfo",
        "Failed to initialise VAAPI connection: 1",
    ),
    Fault(
        "old_libva", vaapi(new_libva=False), Trouble.UNSUPPORTED, "libva is too old", "2.21",
        "exit code 134 (abort), vaMapBuffer2", builds=("9_0",),
    ),
    Fault(
        "no_hevc", vaapi(HEVC=0), Trouble.UNSUPPORTED, "cannot encode this codec", "non-free",
        "No usable encoding profile found", proven=VAAPI - {"hevc_vaapi"}, encoder="hevc_vaapi",
    ),
    Fault(
        "no_av1", vaapi(AV1=0), Trouble.UNSUPPORTED, "cannot encode this codec", "",
        "No usable encoding profile found", proven=VAAPI_8, encoder="av1_vaapi", builds=("9_0",),
    ),
    Fault(
        "no_10_bit", vaapi(FAKE_VA_10BIT=0), Trouble.UNSUPPORTED, "10 bit", "",
        "No usable encoding profile found", proven=VAAPI, encoder="hevc_vaapi",
    ),
    Fault(
        "decode_only_driver", vaapi(ENTRYPOINTS=0), Trouble.UNSUPPORTED, "decodes VAProfile",
        "non-free", "No usable encoding entrypoint found", encoder="h264_vaapi",
    ),
    Fault(
        "no_references", vaapi(REFERENCES=0), Trouble.UNSUPPORTED, "no P-frames", "",
        "Driver does not support any reference frames", encoder="hevc_vaapi",
    ),
    Fault(
        "picture_fails", vaapi(END=1), Trouble.BROKEN, "failed while it encoded", "system's log",
        "Failed to end picture encode issue",
    ),
    Fault(
        "no_room", vaapi(FAKE_VA_CONTEXT=2), Trouble.BUSY, "no room", "fewer slots",
        "Failed to create encode pipeline context: 2",
    ),
    Fault(
        "settings_refused", vaapi(FAKE_VA_CONFIG=12), Trouble.UNSUPPORTED, "refuses these settings",
        "", "Failed to create encode pipeline configuration",
    ),
)  # fmt: skip
