"""When memory is searched for garbage: often and little at a time, so that nobody waits for it.

By itself Python looks at every object that there is whenever there are a quarter more; for a job of
ten thousand segments that stops everything for a tenth of a second, and whoever opens its page
makes enough objects for it. Decides nothing of what is kept.
"""

from __future__ import annotations

import gc

# Python's own thresholds, whatever another coordinator in this process set.
_USUAL = gc.get_threshold()
_NEVER = 2**31 - 1
_LEAST = 200_000


class Garbage:
    """The collector of this process, while a coordinator runs in it.

    What outlived a search is not looked at again, so that a search costs as much as was made since
    the one before. Everything is looked at when twice as much lives as did then, because what was
    put aside may have become garbage meanwhile.
    """

    def __init__(self) -> None:
        self._most = 0

    def begin(self) -> None:
        """Put aside what was read at the start."""
        gc.freeze()
        gc.set_threshold(*_USUAL[:2], _NEVER)

    def end(self) -> None:
        """Leave it to Python again."""
        gc.unfreeze()
        gc.set_threshold(*_USUAL)

    def search(self) -> None:
        """Search what was made since the last time; called every now and then."""
        aside = gc.get_freeze_count()
        if not self._most:
            self._most = max(_LEAST, 2 * aside)
        if aside <= self._most:
            gc.collect()
            gc.freeze()
            return
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        self._most = max(_LEAST, 2 * gc.get_freeze_count())
