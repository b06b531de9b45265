"""What software encoders' error texts mean and what helps, as data; see `troubles` for the rest."""

from __future__ import annotations

from collections.abc import Sequence

from ffcluster.core.model import Trouble
from ffcluster.encoders.troubles import Rule

_MEMORY = "give this worker fewer slots (--slots), or more memory"
_VALUE = "change the setting it names; `ffcluster encode --dry-run` shows all of them"

RULES: Sequence[Rule] = (
    Rule(
        r"malloc of size \d+ failed|Cannot allocate memory|std::bad_alloc|[Oo]ut of memory"
        r"|Insufficient [Rr]esources|[Ff]ailed to allocate|[Mm]emory allocation (?:error|failed)",
        Trouble.BUSY,
        "the machine has no memory left for this encoder",
        _MEMORY,
    ),
    Rule(
        r"",
        Trouble.BUSY,
        "the system ended ffmpeg (SIGKILL), most likely because memory ran out",
        _MEMORY,
        returncodes=(-9, 137),
        after_signal=True,
    ),
    Rule(
        r"",
        Trouble.BROKEN,
        "ffmpeg was built for a newer processor than this machine's (SIGILL)",
        "use another ffmpeg, for example the system's own, with --ffmpeg",
        returncodes=(-4, 132),
        after_signal=True,
    ),
    Rule(
        r"",
        Trouble.BROKEN,
        "the encoder crashed",
        "use another ffmpeg with --ffmpeg, and report it to where this one came from",
        after_signal=True,
    ),
    Rule(
        r"Error setting preset/tune (\S+)",
        Trouble.UNSUPPORTED,
        "libx264 has no such preset or tune: {0}",
        _VALUE,
    ),
    Rule(
        r"(x26[45]) \[error\]: (?!malloc)([^\r\n]+)",
        Trouble.UNSUPPORTED,
        "{0} refuses: {1}",
        _VALUE,
    ),
    Rule(
        r"Svt\[error\]: (?:Instance \d+: ?)?([^\r\n]+)",
        Trouble.UNSUPPORTED,
        "SVT-AV1 refuses: {0}",
        _VALUE,
    ),
    Rule(
        r"\[lib(vpx-vp9|aom-av1) @ [^\]]+\] +Additional information: ([^\r\n]+)",
        Trouble.UNSUPPORTED,
        "lib{0} refuses: {1}",
        _VALUE,
    ),
    Rule(
        r"Value \S+ for parameter '([\w-]+)' out of range (\[[^\]]+\])",
        Trouble.UNSUPPORTED,
        "this ffmpeg takes {0} only within {1}",
        _VALUE,
    ),
)
