"""The error texts of each family of hardware encoders; see `troubles` for how they are read.

Recorded with ffmpeg 5.1, 7.1 and 9.0 where a driver or a stand-in for one could be made to fail.
"""

from __future__ import annotations

from collections.abc import Sequence

from ffcluster.core.model import Trouble
from ffcluster.encoders.troubles import About, Rule

_OLDER_FFMPEG = "or give this worker an older ffmpeg with a second --ffmpeg"
_REPORT = "report it together with `ffcluster doctor --fresh --json`"
_OTHER = "use another GPU, or a software encoder"
_LEFT_OUT = "leave it out for this GPU; the default settings do without it"
_SMALLER = "scale the picture, or use another encoder"
_GONE = "look into the system's log for resets of the GPU; try again, and use fewer slots"

NVENC: Sequence[Rule] = (
    Rule(
        r"Cannot load (?:libcuda\.so\.1|nvcuda\.dll)",
        Trouble.MISSING,
        "NVIDIA's driver is not here",
        "install NVIDIA's driver; in a container give it the GPU (--gpus all) and set "
        "NVIDIA_DRIVER_CAPABILITIES=video,compute,utility",
        about=About.FAMILY,
    ),
    Rule(
        r"Cannot load (?:libnvidia-encode\.so\.1|nvEncodeAPI(?:64)?\.dll)",
        Trouble.MISSING,
        "NVIDIA's driver is here without its video encoder library",
        "in a container set NVIDIA_DRIVER_CAPABILITIES=video,compute,utility; elsewhere install "
        "the driver's encode library (libnvidia-encode)",
        about=About.FAMILY,
    ),
    Rule(
        r"Cannot load (?:libnvcuvid\.so\.1|nvcuvid\.dll)",
        Trouble.MISSING,
        "NVIDIA's driver is here without its video decoder library",
        "in a container set NVIDIA_DRIVER_CAPABILITIES=video,compute,utility",
        about=About.DEVICE,
    ),
    Rule(
        r"CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
        Trouble.BROKEN,
        "NVIDIA's kernel module and its libraries are of different versions",
        "restart the machine, which an update of the driver asks for",
        about=About.FAMILY,
    ),
    Rule(
        r"CUDA_ERROR_NO_DEVICE|No CUDA capable devices found",
        Trouble.MISSING,
        "NVIDIA's driver sees no GPU",
        "in a container give it the GPU (--gpus all); check `nvidia-smi` and CUDA_VISIBLE_DEVICES",
        about=About.FAMILY,
    ),
    Rule(
        r"(?s)Required: (?P<needs>[\d.]+) Found: (?P<has>[\d.]+)"
        r".*minimum required Nvidia driver for nvenc is (?P<driver>[\d.]+)",
        Trouble.UNSUPPORTED,
        "NVIDIA's driver is too old for this ffmpeg: it offers NVENC {has}, and {needs} is needed",
        "update the driver to {driver} or newer, " + _OLDER_FFMPEG,
        about=About.FAMILY,
    ),
    Rule(
        r"Required: (?P<needs>[\d.]+) Found: (?P<has>[\d.]+)",
        Trouble.UNSUPPORTED,
        "NVIDIA's driver is too old for this ffmpeg: it offers NVENC {has}, and {needs} is needed",
        "update the driver, " + _OLDER_FFMPEG,
        about=About.FAMILY,
    ),
    Rule(
        r"minimum required Nvidia driver for nvenc is ([\d.]+)",
        Trouble.UNSUPPORTED,
        "NVIDIA's driver is too old for this ffmpeg",
        "update the driver to {0} or newer, " + _OLDER_FFMPEG,
        about=About.FAMILY,
    ),
    Rule(
        r"OpenEncodeSessionEx failed: invalid version \(15\)",
        Trouble.UNSUPPORTED,
        "NVIDIA's driver and this ffmpeg speak different versions of NVENC",
        "update the driver, " + _OLDER_FFMPEG,
        about=About.FAMILY,
    ),
    Rule(
        r"(?:OpenEncodeSessionEx|InitializeEncoder) failed: out of memory \(10\)"
        r"|OpenEncodeSessionEx failed: incompatible client key \(21\)|CUDA_ERROR_OUT_OF_MEMORY",
        Trouble.BUSY,
        "the GPU opens no further encoding session",
        "its sessions or its memory are used up: wait, end other programs that encode on it, or "
        "give this worker fewer slots",
        about=About.DEVICE,
    ),
    Rule(
        r"OpenEncodeSessionEx failed: (?:unsupported device \(2\)|no encode device \(1\))",
        Trouble.UNSUPPORTED,
        "this GPU has no NVENC",
        "some NVIDIA GPUs (H100, A100 and other data-centre ones, and some small ones) decode "
        "only: encode in software here, or use another GPU",
        about=About.DEVICE,
    ),
    Rule(
        r"OpenEncodeSessionEx failed: ([^:\n]+)",
        Trouble.BROKEN,
        "the GPU opens no encoding session: {0}",
        "update the driver, or restart the machine",
        about=About.DEVICE,
    ),
    Rule(
        r"cuInit\(0\) failed -> (CUDA_ERROR_\w+)",
        Trouble.BROKEN,
        "NVIDIA's driver does not start: {0}",
        "check `nvidia-smi`; update the driver or restart the machine",
        about=About.FAMILY,
    ),
    Rule(
        r"\] Codec not supported",
        Trouble.UNSUPPORTED,
        "this GPU cannot encode this codec",
        "a newer GPU can (AV1 needs an RTX 40 or newer)",
    ),
    Rule(
        r"10 bit encode not supported", Trouble.UNSUPPORTED, "this GPU cannot encode 10 bit", _OTHER
    ),
    Rule(r"YUV444P not supported", Trouble.UNSUPPORTED, "this GPU cannot encode 4:4:4", _OTHER),
    Rule(r"YUV422P not supported", Trouble.UNSUPPORTED, "this GPU cannot encode 4:2:2", _OTHER),
    Rule(
        r"Lossless encoding not supported",
        Trouble.UNSUPPORTED,
        "this GPU cannot encode losslessly",
        _OTHER,
    ),
    Rule(
        r"Max B-frames \d+ exceed (\d+)",
        Trouble.UNSUPPORTED,
        "this GPU takes at most {0} B-frames here",
        _LEFT_OUT,
        drops="bf",
    ),
    Rule(
        r"Temporal AQ not supported",
        Trouble.UNSUPPORTED,
        "this GPU has no temporal AQ",
        _LEFT_OUT,
        drops="temporal-aq",
    ),
    Rule(
        r"RC lookahead not supported",
        Trouble.UNSUPPORTED,
        "this GPU has no lookahead",
        _LEFT_OUT,
        drops="rc-lookahead",
    ),
    Rule(
        r"(?:B frame|B frames) (?:as references? |reference mode )?(?:is|are) not supported"
        r"|B frame reference mode",
        Trouble.UNSUPPORTED,
        "this GPU takes no B-frames as references",
        _LEFT_OUT,
        drops="b_ref_mode",
    ),
    Rule(
        r"Weighted Prediction not supported",
        Trouble.UNSUPPORTED,
        "this GPU has no weighted prediction",
        _LEFT_OUT,
        drops="weighted_pred",
    ),
    Rule(
        r"\b(Width|Height) (\d+) exceeds (\d+)",
        Trouble.UNSUPPORTED,
        "{0} {2} is the most that this GPU encodes, not {1}",
        _SMALLER,
    ),
    Rule(
        r"Frame Dimension less than the minimum supported value",
        Trouble.UNSUPPORTED,
        "the picture is smaller than this GPU encodes",
        _SMALLER,
    ),
    Rule(
        r"InitializeEncoder failed: (?:invalid|unsupported) param \(\d+\)",
        Trouble.UNSUPPORTED,
        "this GPU does not take B-frames as references here",
        _LEFT_OUT,
        drops="b_ref_mode",
    ),
    Rule(
        r"InitializeEncoder failed: ([^:\n]+)",
        Trouble.UNSUPPORTED,
        "this GPU does not take these settings: {0}",
        "update the driver, or use another encoder",
    ),
    Rule(
        r"Using global_quality with nvenc is not supported",
        Trouble.BROKEN,
        "this ffmpeg takes no -global_quality for NVENC",
        "this is a fault of the plugin: " + _REPORT,
    ),
    Rule(
        r"CUDA_ERROR_(?:ECC_UNCORRECTABLE|LAUNCH_FAILED|ILLEGAL_ADDRESS|UNKNOWN|DEVICE_UNAVAILABLE)"
        r"|(?:EncodePicture|LockBitstream|nvEncEncodePicture)[^\n]* failed[^\n]*",
        Trouble.BROKEN,
        "the GPU failed while it encoded",
        _GONE,
        about=About.DEVICE,
    ),
    Rule(
        # As a trailer of something else it says nothing.
        r"(?s)\A(?!.*(?:failed|not supported|exceed|CUDA_ERROR)).*No capable devices found",
        Trouble.MISSING,
        "ffmpeg finds no such GPU with NVENC",
        "check `nvidia-smi -L` and CUDA_VISIBLE_DEVICES; H100 and A100 decode only",
        about=About.DEVICE,
    ),
)

VAAPI: Sequence[Rule] = (
    Rule(
        r"vaMapBuffer2",
        Trouble.UNSUPPORTED,
        "this system's libva is too old for this ffmpeg, which crashes on it",
        "update libva to 2.21 or newer, or use the system's own ffmpeg with a second --ffmpeg",
        about=About.FAMILY,
        after_signal=True,
    ),
    Rule(
        r"No VA display found for device:? ?([^\s.]*)",
        Trouble.MISSING,
        "the device cannot be opened",
        "add the user that runs this worker to the groups render and video "
        "(usermod -aG render,video USER), or give the container --device /dev/dri",
        about=About.DEVICE,
    ),
    Rule(
        r"Failed to initialise VAAPI connection: -1",
        Trouble.MISSING,
        "there is no VA driver for this GPU",
        "install it (Intel: intel-media-va-driver or i965-va-driver; AMD: mesa-va-drivers), and "
        "check LIBVA_DRIVER_NAME and LIBVA_DRIVERS_PATH",
        about=About.DEVICE,
    ),
    Rule(
        r"Failed to initialise VAAPI connection: (-?\d+) \(([^)]*)\)",
        Trouble.BROKEN,
        "the VA driver does not start: {1} ({0})",
        "check that the driver fits this GPU (`vainfo`), and LIBVA_DRIVER_NAME",
        about=About.DEVICE,
    ),
    Rule(
        r"No usable encoding profile found",
        Trouble.UNSUPPORTED,
        "the driver cannot encode this codec at this bit depth",
        "the GPU may be too old for it, or the driver is the free one without encoders "
        "(Intel: intel-media-va-driver-non-free)",
    ),
    Rule(
        r"No usable encoding entrypoint found for profile (\w+)",
        Trouble.UNSUPPORTED,
        "the driver decodes {0} and does not encode it",
        "the GPU may have no encoder for it, or the driver is the free one without encoders "
        "(Intel: intel-media-va-driver-non-free)",
    ),
    Rule(
        r"Driver does not support CQP RC mode \(supported modes: ([^)]*)\)",
        Trouble.UNSUPPORTED,
        "the driver has no constant quality; it can do {0}",
        "use a bit rate",
        drops="quality",
    ),
    Rule(
        r"Driver does not support (\w+) RC mode(?: \(supported modes: ([^)]*)\))?",
        Trouble.UNSUPPORTED,
        "the driver has no rate control {0}; it can do {1}",
        "another kind of rate control is used",
        drops="{0}",
    ),
    Rule(
        r"Driver does not support any RC mode compatible with selected options "
        r"\(supported modes: ([^)]*)\)",
        Trouble.UNSUPPORTED,
        "the driver can only do {0}, which does not fit these settings",
        "use another kind of rate control",
    ),
    Rule(
        r"Hardware does not support encoding at size (\d+x\d+) "
        r"\(constraints: width (\d+)-(\d+) height (\d+)-(\d+)\)",
        Trouble.UNSUPPORTED,
        "the GPU encodes {1}x{3} to {2}x{4}, not {0}",
        _SMALLER,
    ),
    Rule(
        r"Driver does not support any reference frames",
        Trouble.UNSUPPORTED,
        "the driver encodes no P-frames",
        "update the driver, or use another encoder",
    ),
    Rule(
        r"Failed to (?:begin|end) picture encode issue: (-?\d+ \([^)]*\))",
        Trouble.BROKEN,
        "the driver or the GPU failed while it encoded: {0}",
        _GONE,
        about=About.DEVICE,
    ),
    Rule(
        r"Failed to create (?:temp )?encode pipeline (?:context|configuration): \d+ "
        r"\(resource allocation failed\)",
        Trouble.BUSY,
        "the driver has no room for another encode",
        "its memory or its sessions are used up: wait, or give this worker fewer slots",
        about=About.DEVICE,
    ),
    Rule(
        r"Failed to create (?:temp )?encode pipeline \w+: (-?\d+ \([^)]*\))",
        Trouble.UNSUPPORTED,
        "the driver refuses these settings: {0}",
        "update the driver, or use another encoder",
    ),
    Rule(
        r"Failed to upload frame: -?\d+",
        Trouble.BROKEN,
        "the picture does not reach the GPU",
        "update the driver, or use another encoder",
        about=About.DEVICE,
    ),
)

QSV: Sequence[Rule] = (
    Rule(
        r"Error (?:creating|initializing) an? (?:internal |child )?MFX session: ?[^\n]*?-(9|3)\b",
        Trouble.MISSING,
        "Intel's video runtime is not here (MFX session: -{0})",
        "install libmfx-gen1.2 (11th generation and newer) or libmfx1, the Media SDK (older), "
        "beside intel-media-va-driver-non-free",
        about=About.DEVICE,
    ),
    Rule(
        r"Error (?:creating|initializing) an? (?:internal |child )?MFX session(?:: ?([^\n]*))?",
        Trouble.BROKEN,
        "Intel's video runtime does not start: {0}",
        "check that libmfx-gen1.2 or libmfx1 fits this GPU, and `vainfo`",
        about=About.DEVICE,
    ),
    Rule(
        r"Low power mode is unsupported",
        Trouble.UNSUPPORTED,
        "the chip has no low-power encoder for this, or its HuC firmware is not loaded",
        "load it (i915.enable_guc=2), or leave low power out",
        drops="low_power",
    ),
    Rule(
        r"(?:Current|Selected) ([\w ]+?) is unsupported",
        Trouble.UNSUPPORTED,
        "the chip does not take this {0}",
        "low power may need HuC firmware (i915.enable_guc=2); update the driver and the runtime",
    ),
    Rule(
        r"Error initializing the encoder: (?:device busy|memory allocation error|device lost)"
        r"[^\n]*",
        Trouble.BUSY,
        "the chip has no room for another encode",
        "wait, or give this worker fewer slots",
        about=About.DEVICE,
    ),
    *VAAPI,
    Rule(
        r"Device creation failed: -\d+",
        Trouble.MISSING,
        "Intel's video runtime does not open the GPU",
        "install libmfx-gen1.2 (11th generation and newer) or libmfx1 (older) beside "
        "intel-media-va-driver-non-free; check `vainfo` and the groups render and video",
        about=About.DEVICE,
    ),
)

AMF: Sequence[Rule] = (
    Rule(
        r"DLL (libamfrt64\.so\.1|amfrt(?:64|32)\.dll) failed to open",
        Trouble.MISSING,
        "AMD's encoder runtime ({0}) is not here",
        "use VAAPI, which reaches the same GPU (ffcluster-plugin-vaapi), or install AMD's driver "
        "with AMF",
        about=About.FAMILY,
    ),
    Rule(
        r"CreateComponent\(([^)]*)\) failed with error (\d+)",
        Trouble.UNSUPPORTED,
        "the GPU or its driver does not offer {0} (error {1})",
        "update the driver, or use another encoder",
    ),
    Rule(
        r"(?:AMF failed to|Failed to) initialise (?:on )?(?:the given )?(?:Vulkan|D3D\d+)[^\n]*",
        Trouble.MISSING,
        "AMD's encoder runtime reaches no GPU",
        "check that AMD's GPU is visible to this user; on Linux VAAPI is the easier way",
        about=About.DEVICE,
    ),
    Rule(
        r"encoder->Init\(\) failed with error (\d+)",
        Trouble.UNSUPPORTED,
        "the GPU refuses these settings (error {0})",
        "update the driver, or use another encoder",
    ),
)

VIDEOTOOLBOX: Sequence[Rule] = (
    Rule(
        r"[Cc]annot create compression session: -(12903|12915)",
        Trouble.BUSY,
        "VideoToolbox opens no further session (-{0})",
        "wait, end other programs that encode, or give this worker fewer slots",
        about=About.DEVICE,
    ),
    Rule(
        r"[Cc]annot create compression session: -12908",
        Trouble.UNSUPPORTED,
        "VideoToolbox has no encoder for this (-12908)",
        "this Mac cannot encode it, or all its encoders are in use",
    ),
    Rule(
        r"[Cc]annot create compression session: (-?\d+)",
        Trouble.BROKEN,
        "VideoToolbox opens no session ({0})",
        "try again, or restart the machine",
    ),
    Rule(
        r"-q:v qscale not available",
        Trouble.UNSUPPORTED,
        "this Mac has no constant quality",
        "Macs with an Intel processor need a bit rate",
        drops="quality",
    ),
)


__all__ = ["AMF", "NVENC", "QSV", "VAAPI", "VIDEOTOOLBOX"]
