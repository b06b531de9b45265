"""How much of the workers a job was given lately, which decides whose turn it is."""

from __future__ import annotations

import math

import attrs

# As long as the longest segment encodes, and as long again: what was given to a job before the
# others came is soon forgotten, what was given by turns is not.
HALF_LIFE_S = 60.0


@attrs.define
class Usage:
    """An amount of which half is forgotten after every half-life."""

    _amount_s: float = 0.0
    _at: float = 0.0

    def add(self, amount_s: float, now: float) -> None:
        """Count what is given now, in seconds of all that the job may be given."""
        self._amount_s = self.lately(now) + amount_s
        self._at = now

    def lately(self, now: float) -> float:
        """What of it still counts."""
        return self._amount_s * math.exp2((self._at - now) / HALF_LIFE_S)
