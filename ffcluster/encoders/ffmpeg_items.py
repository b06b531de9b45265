"""ffmpeg's options as written, word by word; and what is wrong with them, as one error."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import attrs

from ffcluster.errors import FfclusterError, InvalidOption, UnsupportedOption

_NUMBER = re.compile(r"-\d+(\.\d+)?")
# Options that take no value; what is not known takes one, unless the next word is an option.
_NO_VALUE = frozenset(
    {"an", "sn", "dn", "vn", "y", "n", "hide_banner", "nostdin", "stdin", "nostats", "stats"}
    | {"report", "copyts", "start_at_zero", "shortest", "re", "xerror", "ignore_unknown"}
    | {"copy_unknown", "accurate_seek", "benchmark", "bitexact", "dump", "hex", "vstats"}
    | {"autorotate", "noautorotate"}
)
_SPELLINGS = {
    "codec": "c",
    "vcodec": "c:v",
    "acodec": "c:a",
    "scodec": "c:s",
    "vf": "filter:v",
    "af": "filter:a",
    "ab": "b:a",
    "vb": "b:v",
    "x264opts": "x264-params",
    "speed": "cpu-used",
    "vprofile": "profile:v",
}


@attrs.frozen
class Item:
    """One option as it was written: `-NAME:STREAM VALUE`."""

    name: str
    stream: str
    value: str | None

    @property
    def written(self) -> str:
        """The option as it stood there, without its value."""
        return f"-{self.name}:{self.stream}" if self.stream else f"-{self.name}"


def split_items(words: Sequence[str]) -> Iterator[Item | FfclusterError]:
    """Split a command line into options; what is none comes as an error."""
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if not word.startswith("-") or word == "-":
            yield UnsupportedOption(
                message=f"{word!r} has no place here: ffcluster names the files",
                option=word,
                advice="give only options for the output",
            )
            continue
        name = _SPELLINGS.get(word[1:], word[1:])
        name, _, stream = name.partition(":")
        name = _SPELLINGS.get(name, name)
        value = None
        if name not in _NO_VALUE and position < len(words):
            following = words[position]
            if not following.startswith("-") or _NUMBER.fullmatch(following):
                value = following
                position += 1
        yield Item(name, stream, value)


def raise_all(problems: Sequence[FfclusterError]) -> None:
    """Raise all of `problems` as one error.

    Raises:
        UnsupportedOption: At least one of them was not understood.
        InvalidOption: All were understood.
    """
    if not problems:
        return
    refused = [
        {"option": getattr(p, "option", ""), "reason": p.message, "advice": p.advice}
        for p in problems
    ]
    first = next((p for p in problems if isinstance(p, UnsupportedOption)), problems[0])
    message, advice = first.message, first.advice
    if len(problems) > 1:
        message = f"{len(problems)} options are refused: " + "; ".join(p.message for p in problems)
        advice = "; ".join(dict.fromkeys(p.advice for p in problems if p.advice))
    error = UnsupportedOption if isinstance(first, UnsupportedOption) else InvalidOption
    raise error(
        message=message,
        advice=advice,
        option=getattr(first, "option", ""),
        detail={"refused": refused},
    )
