"""One authenticated connection, without any I/O: version negotiation, liveness, back-off."""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs

from ffcluster.errors import ProtocolError
from ffcluster.net.messages import PROTOCOL_VERSIONS, Hello

# Seconds of silence after which a side sends a heartbeat, until a welcome says otherwise.
HEARTBEAT_S = 5.0
# A side that missed so many heartbeats of the other in a row gives it up.
BEATS_MISSED = 4
SILENCE_LIMIT_S = BEATS_MISSED * HEARTBEAT_S
# No welcome makes the sides talk more often than this.
_SHORTEST_HEARTBEAT_S = 0.1


def negotiate(hello: Hello) -> int:
    """The highest protocol version that both sides speak.

    Raises:
        ProtocolError: There is none.
    """
    common = set(hello.protocols) & set(PROTOCOL_VERSIONS)
    if not common:
        raise ProtocolError(
            message=f"No common protocol version: the peer speaks {sorted(hello.protocols)}, "
            f"this side {sorted(PROTOCOL_VERSIONS)}.",
            advice="Install the same version of ffcluster on both machines.",
        )
    return max(common)


@attrs.define
class Liveness:
    """When each side was last heard, in monotonic seconds, and how long either may be silent.

    Attributes:
        heard_at: When something of the peer arrived.
        said_at: When something was sent to it.
        heartbeat_s: Silence after which a heartbeat is due.
    """

    heard_at: float
    said_at: float
    heartbeat_s: float = HEARTBEAT_S

    def agree(self, heartbeat_s: float) -> None:
        """Keep to what a welcome said."""
        self.heartbeat_s = max(heartbeat_s, _SHORTEST_HEARTBEAT_S)

    @property
    def limit_s(self) -> float:
        """Silence after which the peer is given up."""
        return BEATS_MISSED * self.heartbeat_s

    @property
    def look_every_s(self) -> float:
        """How often to ask `must_speak` and `given_up`, so that neither comes late."""
        return self.heartbeat_s / 4

    def heard(self, now: float) -> None:
        """Something arrived."""
        self.heard_at = now

    def said(self, now: float) -> None:
        """Something was sent."""
        self.said_at = now

    def must_speak(self, now: float) -> bool:
        """Whether a heartbeat is due."""
        return now - self.said_at >= self.heartbeat_s

    def given_up(self, now: float) -> bool:
        """Whether the peer was silent for too long."""
        return now - self.heard_at >= self.limit_s


@attrs.define
class BackOff:
    """Delays between attempts to connect: exponential, with jitter, bounded.

    Attributes:
        base_s: Mean of the first delay.
        limit_s: No delay is longer.
        random: Gives numbers in [0, 1); injected so that tests are repeatable.
    """

    base_s: float
    random: Callable[[], float]
    limit_s: float = 60.0
    failures: int = 0

    def failed(self, within_s: float = math.inf) -> float:
        """Count a failure and say how many seconds to wait.

        Args:
            within_s: No mean is longer; for one who is awaited.
        """
        mean_s = min(self.base_s * 2.0**self.failures, self.limit_s, within_s)
        self.failures = min(self.failures + 1, 32)
        # Half of the delay is random, so that many workers do not come back at the same moment.
        return min(mean_s * (0.5 + self.random()), self.limit_s)

    def succeeded(self) -> None:
        """A session was opened: the next delay starts from the base again."""
        self.failures = 0
