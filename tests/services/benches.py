"""What tests of a worker's attempts need: offers, attempts that do nothing, a workshop."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred

from ffcluster.core.media import VideoFormat
from ffcluster.core.model import Capability, EncodeOrder
from ffcluster.core.profile import Codec, Profile
from ffcluster.core.timeline import FrameRange, TimeBase
from ffcluster.net import messages

VIDEO = VideoFormat("h264", 4, 4, "yuv420p", TimeBase(1, 25))
CAPABILITIES = (
    Capability("libx264", Codec.H264, slots=2),
    Capability("h264_nvenc", Codec.H264, "nvenc", "cuda:0", slots=1),
)


def offer(
    epoch: int, encoder: str = "libx264", device: str = "", job_id: str = "job1"
) -> messages.Offer:
    order = EncodeOrder(FrameRange(0, 10), Profile(), encoder, VIDEO, device)
    piece = messages.Piece("/v1/pieces/a", 1, "0" * 64)
    return messages.Offer(epoch, job_id, order, piece, "/v1/results/a")


@attrs.define(eq=False)
class FakeAttempt:
    """An attempt that does only what a test tells it to.

    Attributes:
        heard: What it was told: `start`, `part`, `stop`, `give back`, or a path to resume by.
        ends: Whether it is over as soon as it is stopped.
    """

    bench: Any
    offer: messages.Offer
    capability: Capability
    encoding: bool = False
    encoded: bool = False
    fetched: bool = False
    stopped: bool = False
    ends: bool = True
    frames: int = 0
    fps: float = 0.0
    done: Deferred[None] = attrs.field(factory=Deferred)
    heard: list[str] = attrs.field(factory=list)

    @property
    def lasts(self) -> bool:
        return self.fetched and not self.stopped

    def start(self) -> None:
        self.heard.append("start")

    def part(self) -> None:
        self.heard.append("part")

    def resume(self, upload: str) -> None:
        self.heard.append(upload)

    def when_done(self) -> Deferred[None]:
        over: Deferred[None] = Deferred()

        def fire(_: None) -> None:
            if not over.called:
                over.callback(None)

        self.done.addCallback(fire)
        return over

    def stop(self, *, give_back: bool) -> Deferred[None]:
        self.heard.append("give back" if give_back else "stop")
        self.stopped = True
        if self.ends and not self.done.called:
            self.done.callback(None)
        return self.when_done()


class _Registry:
    def backend(self, name: str) -> object:
        return object()


@attrs.define
class FakeWorkshop:
    """A machine on which nothing is encoded."""

    runner: Any = None
    registry: Any = attrs.field(factory=_Registry)

    def build_for(self, capability: Capability) -> Any:
        return None
