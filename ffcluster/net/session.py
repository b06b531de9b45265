"""One authenticated connection, without any I/O: version negotiation, liveness, back-off."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from ffcluster.errors import ProtocolError
from ffcluster.net.messages import PROTOCOL_VERSIONS, Hello

# Seconds of silence after which a side sends a heartbeat, and after which it gives the other up.
HEARTBEAT_S = 5.0
SILENCE_LIMIT_S = 20.0


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
    """When each side was last heard, in monotonic seconds."""

    heard_at: float
    said_at: float

    def heard(self, now: float) -> None:
        """Something arrived."""
        self.heard_at = now

    def said(self, now: float) -> None:
        """Something was sent."""
        self.said_at = now

    def must_speak(self, now: float) -> bool:
        """Whether a heartbeat is due."""
        return now - self.said_at >= HEARTBEAT_S

    def given_up(self, now: float) -> bool:
        """Whether the peer was silent for too long."""
        return now - self.heard_at >= SILENCE_LIMIT_S


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

    def failed(self) -> float:
        """Count a failure and say how many seconds to wait."""
        mean_s = min(self.base_s * 2.0**self.failures, self.limit_s)
        self.failures = min(self.failures + 1, 32)
        # Half of the delay is random, so that many workers do not come back at the same moment.
        return min(mean_s * (0.5 + self.random()), self.limit_s)

    def succeeded(self) -> None:
        """A session was opened: the next delay starts from the base again."""
        self.failures = 0
