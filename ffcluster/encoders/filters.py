"""Read `-vf` into typed filters, and write typed filters for ffmpeg. Nothing else passes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ffcluster.core.profile import FilterScope, VideoFilter
from ffcluster.encoders.filter_table import FILTERS, REFUSED, FilterSpec
from ffcluster.errors import InvalidOption, UnsupportedOption

_MOST_FILTERS = 32
_LONGEST_CHAIN = 4000
# What ends a value, first for the parser of a filter's options, then for that of the chain.
_OPTION_ENDS = "\\':"
_CHAIN_ENDS = "\\'[],;"


def parse_filters(text: str) -> tuple[VideoFilter, ...]:
    """Read a linear chain as ffmpeg's `-vf` would.

    Raises:
        UnsupportedOption: A filter or an option of it is not known, or it is no single chain.
        InvalidOption: A value is not allowed.
    """
    if len(text) > _LONGEST_CHAIN:
        raise InvalidOption(message="the filter chain is too long", option="filters")
    filters = tuple(_parse_one(part) for part in _split_chain(text))
    if len(filters) > _MOST_FILTERS:
        raise InvalidOption(message="there are too many filters", option="filters")
    return filters


def make_filter(name: str, options: Iterable[tuple[str, str]] = ()) -> VideoFilter:
    """Check a filter's options and find out how far it looks.

    Raises:
        UnsupportedOption: The filter or an option of it is not known.
        InvalidOption: A value is not allowed, or an option is given twice.
    """
    spec = _spec(name)
    checked: dict[str, str] = {}
    for given, value in options:
        option = spec.aliases.get(given, given)
        if option in checked:
            raise InvalidOption(message=f"{name} has {option} twice", option=f"{name}={option}")
        checked[option] = _check_value(name, spec, option, value)
    for option in spec.required:
        if option not in checked:
            raise InvalidOption(message=f"{name} needs {option}", option=f"{name}={option}")
    if len(checked.keys() & set(spec.together)) not in (0, len(spec.together)):
        pair = " and ".join(spec.together)
        raise InvalidOption(message=f"{name} needs {pair} together", option=f"{name}={pair}")
    reach = spec.reach(checked)
    return VideoFilter(
        name, tuple(checked.items()), reach.scope, reach.context_frames, reach.keeps_timing
    )


def checked_filter(video_filter: VideoFilter) -> VideoFilter:
    """The same filter, everything about it found out anew; for filters that came from a peer.

    Raises:
        UnsupportedOption: The filter or an option of it is not known.
        InvalidOption: A value is not allowed.
    """
    return make_filter(video_filter.name, video_filter.options)


def filter_text(video_filter: VideoFilter) -> str:
    """Write one filter for `-vf`, checked once more and escaped for both of ffmpeg's parsers.

    Raises:
        UnsupportedOption: The filter or an option of it is not known.
        InvalidOption: A value is not allowed.
    """
    checked = checked_filter(video_filter)
    if not checked.options:
        return checked.name
    pairs = (name + "=" + _escape(value, _OPTION_ENDS) for name, value in checked.options)
    return checked.name + "=" + _escape(":".join(pairs), _CHAIN_ENDS)


def chain_text(filters: Sequence[VideoFilter]) -> list[str]:
    """Write each of `filters`; joined by commas they are a chain."""
    return [filter_text(f) for f in filters]


def split_at_window(
    filters: Sequence[VideoFilter],
) -> tuple[tuple[VideoFilter, ...], tuple[VideoFilter, ...]]:
    """Split after the last filter that looks at neighbours, which must see more than a segment."""
    positions = [i for i, f in enumerate(filters) if f.scope is FilterScope.WINDOW]
    cut = positions[-1] + 1 if positions else 0
    return tuple(filters[:cut]), tuple(filters[cut:])


def _spec(name: str) -> FilterSpec:
    spec = FILTERS.get(name)
    if spec is None:
        reason = REFUSED.get(name, "ffcluster does not know it")
        raise UnsupportedOption(
            message=f"the filter {name!r} is refused: {reason}",
            option=f"-vf {name}",
            advice="known filters are: " + ", ".join(sorted(FILTERS)),
        )
    return spec


def _check_value(name: str, spec: FilterSpec, option: str, value: str) -> str:
    rule = spec.options.get(option)
    if rule is None:
        raise UnsupportedOption(
            message=f"the filter {name} has no option {option!r} that ffcluster knows",
            option=f"-vf {name}={option}",
            advice="known are: " + (", ".join(sorted(spec.options)) or "none"),
        )
    try:
        return rule.check(value)
    except ValueError as allowed:
        raise InvalidOption(
            message=f"{option} of the filter {name} cannot be {value!r}",
            option=f"-vf {name}={option}",
            advice=f"allowed: {allowed}",
        ) from None


def _escape(text: str, special: str) -> str:
    return "".join("\\" + c if c in special else c for c in text)


def _split_chain(text: str) -> Iterator[str]:
    position = 0
    while True:
        part, position = _token(text, position, ",;[]")
        yield part
        if position >= len(text):
            return
        if text[position] != ",":
            raise UnsupportedOption(
                message=f"{text[position]!r} in a filter chain is refused: "
                "only a single chain without labels is possible",
                option="-vf",
            )
        position += 1


def _token(text: str, position: int, ends: str) -> tuple[str, int]:
    """Read up to one of `ends` as libavutil's `av_get_token`: one level of quotes is undone."""
    out: list[str] = []
    solid = 0
    while position < len(text) and text[position].isspace():
        position += 1
    while position < len(text) and text[position] not in ends:
        character = text[position]
        position += 1
        if character == "\\" and position < len(text):
            out.append(text[position])
            position += 1
            solid = len(out)
        elif character == "'":
            closing = text.find("'", position)
            closing = len(text) if closing < 0 else closing
            out.extend(text[position:closing])
            position = min(closing + 1, len(text))
            solid = len(out)
        else:
            out.append(character)
    # Blanks at the end are dropped, except those that were quoted.
    while len(out) > solid and out[-1].isspace():
        out.pop()
    return "".join(out), position


def _parse_one(part: str) -> VideoFilter:
    name, separator, rest = part.partition("=")
    name = name.strip()
    spec = _spec(name)
    if not separator or not rest:
        return make_filter(name)
    return make_filter(name, _options(name, spec, rest))


def _options(name: str, spec: FilterSpec, text: str) -> list[tuple[str, str]]:
    options: list[tuple[str, str]] = []
    waiting = list(spec.positional)
    position = 0
    while True:
        token, position = _token(text, position, ":")
        key, separator, value = token.partition("=")
        if separator:
            # After the first named value ffmpeg takes no more values without a name.
            waiting = []
            options.append((key.strip(), value))
        elif waiting:
            options.append((waiting.pop(0), token))
        else:
            raise InvalidOption(
                message=f"the filter {name} has no place for {token!r}", option=f"-vf {name}"
            )
        if position >= len(text):
            return options
        position += 1
