"""Read an ffmpeg command line: a call that a cluster can do exactly, or the reason why it cannot.

Pure: looks at no file and starts nothing. Whatever is not understood to the last word is a reason;
`ffcluster.interfaces.dropin.selection` compares a call with what its source holds.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence

import attrs

from ffcluster.core.profile import Codec, Container, Profile
from ffcluster.encoders.containers import check_container
from ffcluster.encoders.ffmpeg_items import Item, split_items
from ffcluster.encoders.ffmpeg_params import read_ffmpeg_params
from ffcluster.encoders.settings import Schemas
from ffcluster.errors import FfclusterError

INFO, WARNING, ERROR = 32, 24, 16
_LEVELS = {
    "quiet": -8, "panic": 0, "fatal": 8, "error": ERROR, "warning": WARNING, "info": INFO,
    "verbose": 40, "debug": 48, "trace": 56,
}  # fmt: skip
_CONTAINERS = {
    "mp4": Container.MP4, "mov": Container.MOV, "matroska": Container.MKV, "webm": Container.WEBM,
}  # fmt: skip
# `.m4v` is another muxer to ffmpeg than mp4.
_SUFFIXES = {
    ".mp4": Container.MP4, ".mov": Container.MOV, ".mkv": Container.MKV, ".webm": Container.WEBM,
}  # fmt: skip
_DEFAULT_ENCODERS = {
    Container.MP4: "libx264", Container.MOV: "libx264", Container.MKV: "libx264",
    Container.WEBM: "libvpx-vp9",
}  # fmt: skip
# Codecs by whose name ffmpeg takes the encoder that follows in every usual build.
_BY_CODEC = {"h264": "libx264", "hevc": "libx265"}
_FLAGS = frozenset(
    {"y", "n", "hide_banner", "nostdin", "stdin", "stats", "nostats", "an", "sn", "dn", "vn"}
    | {"noautorotate", "autorotate"}
)
_TAKES_AAC = (Container.MP4, Container.MOV)
_VIDEO = frozenset({"v", "v:0", "V", "V:0"})
_PASSTHROUGH = frozenset({"passthrough", "0"})
_RATES = _PASSTHROUGH | {"auto", "-1", "cfr", "1", "vfr", "2"}
# What decides how ffmpeg works and not what it writes.
_HARMLESS = frozenset({"threads", "filter_threads", "max_muxing_queue_size", "thread_queue_size"})
_COPIED_ANYWAY = frozenset({"map_metadata", "map_chapters"})
_PROTOCOL = re.compile(r"[A-Za-z0-9+.-]{2,}:|[A-Za-z]:(?![\\/])")
_MAP = re.compile(r"0(?::([vVasdt]|\d{1,3}))?(?::(\d{1,3}))?\??")
_SECONDS = re.compile(r"\d{1,5}(?:\.\d{1,6})?")
_WHOLE = re.compile(r"\d{1,9}")


@attrs.frozen
class Local:
    """The call is one for the local ffmpeg, and why."""

    reason: str


@attrs.frozen
class Map:
    """One `-map`: a kind of streams or "" for all, and the number among them or None for all."""

    kind: str
    number: int | None


@attrs.frozen(kw_only=True)
class Call:
    """A call that a cluster can do, if the source is one that it can do exactly.

    Attributes:
        source: The file to read, as it was written.
        target: The file to write, as it was written.
        container: Its container.
        profile: What it looks and sounds like.
        overwrite: True for `-y`, False for `-n`, None for neither.
        maps: The streams that are wanted; () for ffmpeg's own choice.
        says_audio: Whether it is said what becomes of the sound.
        says_subtitles: Whether it is said what becomes of subtitles.
        leaves_data: Whether data streams are left out.
        autorotates: Whether ffmpeg would turn pictures that are marked as turned.
        faststart: Whether an mp4's index stands before its data.
        keeps_times: Whether ffmpeg would keep every frame's time as it is.
        loglevel: ffmpeg's number for how much is told.
        shows_banner: Whether ffmpeg would tell its version first.
        stats: True for `-stats`, False for `-nostats`, None for neither.
        progress: Where progress is written, as a URL, or "".
        period_s: Seconds between two lines of progress.
        reads_keys: Whether keys on stdin are listened to.
        ignored: Options that change nothing here.
    """

    source: str
    target: str
    container: Container
    profile: Profile
    overwrite: bool | None = None
    maps: tuple[Map, ...] = ()
    says_audio: bool = True
    says_subtitles: bool = True
    leaves_data: bool = False
    autorotates: bool = True
    faststart: bool = False
    keeps_times: bool = False
    loglevel: int = INFO
    shows_banner: bool = True
    stats: bool | None = None
    progress: str = ""
    period_s: float = 0.5
    reads_keys: bool = True
    ignored: tuple[str, ...] = ()


class _NotOurs(Exception):
    """A word of the command line makes it one for the local ffmpeg."""


def read_arguments(argv: Sequence[str], schemas: Schemas) -> Call | Local:
    """Read a command line, without the program's name.

    Args:
        argv: The words.
        schemas: The encoders that are known.
    """
    reader = _Reader()
    try:
        reader.read(argv)
        return reader.call(schemas)
    except _NotOurs as reason:
        return Local(str(reason))


def plain_path(text: str) -> str | None:
    """The path that ffmpeg would open for `text`; None when it is none: a pipe, a protocol."""
    if text.startswith("file:"):
        text = text.removeprefix("file:")
        return text if text and not text.startswith("//") else None
    if not text or text.startswith("-") or _PROTOCOL.match(text):
        return None
    return text


@attrs.define
class _Reader:
    """Reads word after word; what comes before `-i` belongs to the input."""

    source: str = ""
    target: str = ""
    values: dict[str, str] = attrs.field(factory=dict)
    flags: set[str] = attrs.field(factory=set)
    codecs: dict[str, str] = attrs.field(factory=dict)
    maps: list[Map] = attrs.field(factory=list)
    video: list[Item] = attrs.field(factory=list)
    ignored: list[str] = attrs.field(factory=list)

    def read(self, argv: Sequence[str]) -> None:
        """Take in every word."""
        words = list(argv)
        while words:
            word = words.pop(0)
            if self.target:
                raise _NotOurs(f"{word!r} stands behind the output")
            if not word.startswith("-") or word == "-":
                self._file(word)
            elif word[1:] in _FLAGS:
                self._flag(word[1:], words)
            elif not words:
                raise _NotOurs(f"{word} has no value")
            else:
                self._option(word, words.pop(0))
        if {"y", "n"} <= self.flags or {"stats", "nostats"} <= self.flags:
            raise _NotOurs("it contradicts itself")
        if not self.source or not self.target:
            raise _NotOurs("it does not name one input and one output")

    def _file(self, word: str) -> None:
        if not self.source:
            raise _NotOurs(f"the output {word!r} stands before the input")
        self.target = word

    def _flag(self, name: str, words: list[str]) -> None:
        if name in ("y", "n", "hide_banner", "nostdin", "stdin", "stats", "nostats"):
            self.flags.add(name)
        elif name == "autorotate" and words and words[0] == "0" and not self.source:
            words.pop(0)
            self.flags.add("noautorotate")
        elif name in (("an", "sn", "dn") if self.source else ("noautorotate",)):
            self.flags.add(name)
        else:
            raise _NotOurs(f"-{name} is not possible here")

    def _option(self, word: str, value: str) -> None:
        if word == "-i":
            if self.source:
                raise _NotOurs("there are several inputs")
            self.source = value
            return
        found = list(split_items([word, value]))
        item = found[0]
        if len(found) != 1 or not isinstance(item, Item) or item.value != value:
            raise _NotOurs(f"{word} {value} is not understood")
        name = item.name
        if name in _GLOBAL:
            self._once(name, value, _GLOBAL[name])
        elif name in _HARMLESS and _WHOLE.fullmatch(value):
            self.ignored.append(word)
        elif not self.source:
            raise _NotOurs(f"{word} before -i is not possible")
        elif name == "map":
            self.maps.append(_map(value))
        elif name == "c" and item.stream in {"", "a", "s", *_VIDEO}:
            self._codec(item.stream[:1].lower(), word, value)
        elif name in _OUTPUT and not item.stream:
            self._once(name, value, _OUTPUT[name])
        elif name == "vtag" or (name == "tag" and item.stream in _VIDEO):
            self._once("tag", value, lambda tag: tag == "hvc1")
        else:
            self._video(item)

    def _once(self, name: str, value: str, is_known: Callable[[str], bool]) -> None:
        if not is_known(value):
            raise _NotOurs(f"-{name} {value} is not possible")
        name = {"v": "loglevel", "vsync": "fps_mode"}.get(name, name)
        if self.values.get(name, value) != value:
            raise _NotOurs(f"-{name} is given twice")
        self.values[name] = value

    def _codec(self, stream: str, word: str, value: str) -> None:
        """Of several, ffmpeg takes the last that fits; `-c` fits everything."""
        if stream in self.codecs or (not stream and self.codecs):
            raise _NotOurs(f"{word} is given twice, or behind what it would change")
        self.codecs[stream] = value

    def _video(self, item: Item) -> None:
        stream = "v" if item.stream in _VIDEO else item.stream
        if any((item.name, stream or "v") == (o.name, o.stream or "v") for o in self.video):
            raise _NotOurs(f"{item.written} is given twice")
        self.video.append(attrs.evolve(item, stream=stream))

    # --- the call --------------------------------------------------------------------------------

    def call(self, schemas: Schemas) -> Call:
        """Make the call of what was read."""
        for file in (self.source, self.target):
            if plain_path(file) is None:
                raise _NotOurs(f"{file!r} is no file")
        container = self._container()
        profile = self._profile(container, schemas)
        if "tag" in self.values and not _tags_itself(profile, container):
            raise _NotOurs("-tag:v hvc1 is possible for HEVC in mp4 and mov only")
        if "movflags" in self.values and container not in _TAKES_AAC:
            raise _NotOurs("-movflags is possible for mp4 and mov only")
        mode = self.values.get("fps_mode", "auto")
        bases = ("-1", "demux")
        flags = self.flags
        return Call(
            source=self.source,
            target=self.target,
            container=container,
            profile=profile,
            overwrite=False if "n" in flags else "y" in flags or None,
            maps=tuple(self.maps),
            says_audio="an" in flags or self._named("a") is not None or container in _TAKES_AAC,
            says_subtitles="sn" in flags or self._named("s") is not None,
            leaves_data="dn" in flags,
            autorotates="noautorotate" not in flags,
            faststart="movflags" in self.values,
            keeps_times=mode in _PASSTHROUGH and self.values.get("enc_time_base") in bases,
            loglevel=_level(self.values.get("loglevel", "info")) or 0,
            shows_banner="hide_banner" not in flags,
            stats=False if "nostats" in flags else "stats" in flags or None,
            progress=self.values.get("progress", ""),
            period_s=float(self.values.get("stats_period", 0.5)),
            reads_keys="nostdin" not in flags,
            ignored=tuple(self.ignored),
        )

    def _named(self, kind: str) -> str | None:
        return self.codecs.get(kind, self.codecs.get(""))

    def _container(self) -> Container:
        named = self.values.get("f")
        if named is not None:
            return _CONTAINERS[named]
        target = self.target.lower()
        for suffix, container in _SUFFIXES.items():
            if target.endswith(suffix):
                return container
        raise _NotOurs("the output's container is none of mp4, mov, mkv and webm")

    def _profile(self, container: Container, schemas: Schemas) -> Profile:
        encoder = self._encoder(container, schemas)
        words = ["-c:v", encoder]
        for item in self.video:
            if item.stream == "a" and "an" in self.flags:
                continue
            words += [item.written, item.value or ""]
        words += self._other_codecs(container)
        try:
            profile = read_ffmpeg_params(shlex.join(words), schemas).profile(schemas)
            check_container(profile, container)
            if not profile.keeps_timing:
                raise _NotOurs("a filter changes the number or the times of frames")
        except FfclusterError as error:
            raise _NotOurs(error.message) from error
        return profile

    def _encoder(self, container: Container, schemas: Schemas) -> str:
        named = self._named("v") or _DEFAULT_ENCODERS[container]
        encoder = _BY_CODEC.get(named, named)
        if encoder not in schemas:
            what = "copies the video" if named == "copy" else f"asks for the encoder {named!r}"
            raise _NotOurs(f"it {what}")
        names = {item.name for item in self.video}
        if {"s", "filter"} <= names:
            raise _NotOurs("-s beside -vf is not possible")
        return encoder

    def _other_codecs(self, container: Container) -> list[str]:
        words: list[str] = []
        audio, subtitles = self._named("a"), self._named("s")
        if "an" in self.flags:
            words.append("-an")
        elif audio == "opus":
            raise _NotOurs("it asks for the encoder 'opus'")
        elif audio is not None:
            words += ["-c:a", audio]
        elif container in _TAKES_AAC:
            # What ffmpeg takes by itself.
            words += ["-c:a", "aac"]
        if "sn" in self.flags:
            words.append("-sn")
        elif subtitles is not None:
            words += ["-c:s", subtitles]
        return words


def _tags_itself(profile: Profile, container: Container) -> bool:
    return profile.codec is Codec.HEVC and container in _TAKES_AAC


def _map(text: str) -> Map:
    found = _MAP.fullmatch(text)
    if found is None or ((found[1] or "").isdigit() and found[2] is not None):
        raise _NotOurs(f"-map {text} is not possible")
    kind, number = found[1] or "", found[2]
    if kind.isdigit():
        return Map("", int(kind))
    if not kind and number is not None:
        raise _NotOurs(f"-map {text} is not possible")
    return Map(kind, None if number is None else int(number))


def _level(text: str) -> int | None:
    if text in _LEVELS:
        return _LEVELS[text]
    return int(text) if re.fullmatch(r"-?\d{1,3}", text) else None


def _is_progress(text: str) -> bool:
    return text == "-" or bool(re.fullmatch(r"pipe:\d{0,3}", text)) or plain_path(text) is not None


_GLOBAL: Mapping[str, Callable[[str], bool]] = {
    "loglevel": lambda text: _level(text) is not None,
    "v": lambda text: _level(text) is not None,
    "progress": _is_progress,
    "stats_period": lambda text: bool(_SECONDS.fullmatch(text)) and float(text) > 0,
}
_OUTPUT: Mapping[str, Callable[[str], bool]] = {
    "f": _CONTAINERS.__contains__,
    "fps_mode": _RATES.__contains__,
    "vsync": _RATES.__contains__,
    "movflags": {"faststart", "+faststart"}.__contains__,
    "enc_time_base": {"-1", "demux", "0"}.__contains__,
    **{name: {"0"}.__contains__ for name in _COPIED_ANYWAY},
}
