"""Times of packets from times of frames. Pure; standard library only.

A frame is known by its rank in presentation order: the packet of rank r gets the r-th of the
presentation times, and decoding times follow from them by one delay for the whole film.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction


def ranks(times: Sequence[int]) -> list[int]:
    """Presentation rank of each packet, given the packets' times in decode order."""
    by_time = sorted(range(len(times)), key=times.__getitem__)
    rank = [0] * len(times)
    for position, packet in enumerate(by_time):
        rank[packet] = position
    return rank


def reorder_delay(rank: Sequence[int]) -> int:
    """Largest number of frames by which a packet is decoded after its presentation rank."""
    return max((position - r for position, r in enumerate(rank)), default=0)


def decode_time(shown: Sequence[int], position: int, delay: int, step: int) -> int:
    """Decoding time of the packet at `position` in decode order.

    It is the presentation time of the frame `delay` ranks earlier, which never exceeds the
    packet's own; before the first frame times go on backwards by `step`.
    """
    if position >= delay:
        return shown[position - delay]
    return shown[0] - (delay - position) * step


def rescale(ticks: int, source: Fraction, target: Fraction) -> int:
    """Turn ticks of one time base into the nearest of another, halves away from zero."""
    value = ticks * source / target
    doubled = abs(value.numerator) * 2 + value.denominator
    whole = doubled // (2 * value.denominator)
    return whole if value >= 0 else -whole


def to_seconds(ticks: Fraction | int, time_base: Fraction) -> str:
    """Write ticks as an exact fraction of a second, `num/den`."""
    value = ticks * time_base
    return f"{value.numerator}/{value.denominator}"
