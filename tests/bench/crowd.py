"""Many workers or many viewers of one coordinator, in a process of their own.

`python -m tests.bench.crowd workers PORT COUNT` accepts every offer and tells progress once in
`--every` seconds; nothing is encoded. `python -m tests.bench.crowd viewers PORT COUNT` reads live
events, those that `--query` asks for. Each line on standard input is answered by what was read so
far; both end when it is closed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import selectors
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs

from ffcluster.core.model import Capability
from ffcluster.core.profile import Codec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ffcluster.net.websocket import Connection

CAPABILITY = Capability("libx264", Codec.H264, presets=("ultrafast", "medium"), ffmpeg="7.1")
_FPS = 0.25
_REQUEST = (
    "GET /api/v1/events{query} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    "Accept: text/event-stream\r\n\r\n"
)


@contextmanager
def crowd(kind: str, port: int, count: int, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A process with so many `workers` or `viewers`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.crowd", kind, str(port), str(count), *options],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


@attrs.frozen
class Read:
    """What a crowd of viewers read so far.

    Attributes:
        open: Streams that still go on.
        bytes: Read by all of them.
        resets: Times that one of them was told to look anew.
    """

    open: int
    bytes: int
    resets: int


def read_so_far(process: subprocess.Popen[str]) -> Read:
    """Ask a crowd of viewers."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return Read(**json.loads(process.stdout.readline()))


# --- in the process of the crowd ------------------------------------------------------------------


def _viewers(port: int, count: int, query: str) -> None:
    waiting = selectors.DefaultSelector()
    waiting.register(sys.stdin, selectors.EVENT_READ)
    for _ in range(count):
        stream = socket.create_connection(("127.0.0.1", port))
        stream.sendall(_REQUEST.format(query=query, port=port).encode())
        waiting.register(stream, selectors.EVENT_READ)
    still_open, total, resets = count, 0, 0
    while True:
        for key, _ in waiting.select():
            if key.fileobj is sys.stdin:
                # Past Python's buffer: what it holds would never wake the selector.
                if not os.read(key.fd, 4096):
                    return
                print(json.dumps(attrs.asdict(Read(still_open, total, resets))), flush=True)
                continue
            data = os.read(key.fd, 2**18)
            total += len(data)
            resets += data.count(b"event: reset\n")
            if not data:
                still_open -= 1
                waiting.unregister(key.fileobj)


def _workers(port: int, count: int, every_s: float) -> None:
    from twisted.internet import reactor as _reactor
    from twisted.internet.defer import ensureDeferred
    from twisted.internet.protocol import Protocol
    from twisted.internet.stdio import StandardIO
    from twisted.internet.task import LoopingCall

    from ffcluster.net.address import CoordinatorAddress
    from ffcluster.net.websocket import dial

    reactor: Any = _reactor

    class Parent(Protocol):
        def connectionLost(self, reason: Any = None) -> None:
            if reactor.running:
                reactor.stop()

    async def join() -> None:
        for number in range(count):
            worker = _Worker(number, every_s)
            await dial(reactor, CoordinatorAddress("127.0.0.1", port), worker)
            worker.greet()
            # They join one after the other, so that they do not all speak at the same moment.
            LoopingCall(worker.tell).start(every_s, now=False)

    StandardIO(Parent())
    reactor.callWhenRunning(lambda: ensureDeferred(join()).addErrback(_broken))
    reactor.run()


def _broken(failure: Any) -> None:
    failure.printTraceback()
    os._exit(1)


class _Worker:
    """One worker that seems to be busy."""

    def __init__(self, number: int, every_s: float) -> None:
        self._number = number
        self._every_s = every_s
        self._connection: Connection | None = None
        # Frames to encode and frames that seem to be encoded, by epoch.
        self._held: dict[int, tuple[int, float]] = {}

    def opened(self, connection: Connection) -> None:
        self._connection = connection

    def greet(self) -> None:
        """Say hello; only then anything is offered."""
        from ffcluster.net import messages

        self._say(
            messages.Hello(
                protocols=messages.PROTOCOL_VERSIONS,
                role="worker",
                worker_id=f"busy{self._number}",
                name=f"busy-{self._number:03}",
                cpus=8,
                capabilities=(CAPABILITY,),
                builds=(CAPABILITY.ffmpeg,),
                ffmpeg=CAPABILITY.ffmpeg,
            )
        )

    def received(self, payload: bytes) -> None:
        from ffcluster.net import messages

        document = json.loads(payload)
        epoch = document.get("epoch")
        if document["type"] == messages.Offer.TYPE:
            frames = document["order"]["frames"]
            self._held[epoch] = (frames["stop"] - frames["first"], 0.0)
            self._say(messages.Accepted(epoch))
            self._say(messages.Started(epoch))
        elif document["type"] == messages.Revoke.TYPE:
            self._held.pop(epoch, None)

    def closed(self, reason: str) -> None:
        self._connection = None

    def tell(self) -> None:
        """Say how far it is."""
        from ffcluster.net import messages

        rows = []
        for epoch, (frames, done) in self._held.items():
            # Never quite done: there is no result to bring.
            done = min(done + _FPS * self._every_s, frames - 1.0)
            self._held[epoch] = (frames, done)
            # As a real one, a rate is never the same twice.
            rate = _FPS * (1 + 0.05 * math.sin(epoch + 7 * time.monotonic()))
            rows.append(messages.AttemptProgress(epoch, int(done), rate))
        self._say(messages.Progress(tuple(rows)) if rows else messages.Heartbeat())

    def _say(self, message: Any) -> None:
        from ffcluster.net import codec

        if self._connection is not None:
            self._connection.send(codec.encode(message))


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.crowd", description=__doc__)
    parser.add_argument("kind", choices=("workers", "viewers"))
    parser.add_argument("port", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("--every", type=float, default=1.0, metavar="SECONDS")
    parser.add_argument("--query", default="", help="of the stream, for example ?about=jobs")
    options = parser.parse_args()
    if options.kind == "workers":
        _workers(options.port, options.count, options.every)
    else:
        _viewers(options.port, options.count, options.query)


if __name__ == "__main__":
    _main()
