"""BAD: workers that lie and peers that attack. None of what they say may count."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory, Protocol

from ffcluster.core.model import JobRequest
from ffcluster.errors import EncodeFailed, ErrorReport, FfclusterError
from ffcluster.net import messages
from tests.chaos.film import LOSSLESS, LOSSY, RATE, Wrong
from tests.chaos.peers import Liar, Lie, Workshop, honest, joined, noise, truncated
from tests.chaos.processes import reactor, sleep
from tests.chaos.rig import LEASE_S
from tests.chaos.run import Fault, Run, Scenario


@contextlib.asynccontextmanager
async def _liar(run: Run, lie: Lie) -> AsyncIterator[Liar]:
    """A liar with the encoder of an honest worker."""
    views = await run.rig.ask("workers")
    capability = next(v.capabilities[0] for v in views if v.name == "w1")
    workshop = Workshop()
    liar = Liar(workshop, run.rig.directory / "liar", run.rig.port, capability, lie)
    try:
        async with joined(liar):
            yield liar
    finally:
        await workshop.close()
        await run.rig.ask("remove_worker", liar.worker_id)


def _lying(lie: Lie) -> Fault:
    """A liar that joins when the job begins, beside the honest workers."""

    async def fault(run: Run) -> None:
        async with _liar(run, lie) as liar:
            await run.committed(99)
        run.lied |= liar.lied
        run.facts |= {"offers": len(liar.offers), "lies": len(liar.lied), "told": liar.told[:3]}
        if not liar.offers:
            run.missed()

    return fault


# --- results -------------------------------------------------------------------------------------


async def _too_few_frames(liar: Liar, offer: messages.Offer) -> None:
    liar.lies_about(offer)
    end = offer.order.trim_end_s
    if end is None:
        raise EncodeFailed(message="the last segment is for others")
    order = attrs.evolve(offer.order, trim_end_s=end - Fraction(2, RATE), counts_frames=False)
    made = await liar.make(offer, order)
    wanted = len(offer.order.frames)
    proof = attrs.evolve(made.proof, encoded_frames=wanted, decoded_frames=wanted)
    await liar.deliver(offer, attrs.evolve(made, proof=proof))


async def _another_segment(liar: Liar, offer: messages.Offer) -> None:
    """The first result of a job is honest; it is delivered again for every other segment."""
    if not liar.kept:
        made = await liar.make(offer)
        liar.kept.append((offer, made))
        await liar.deliver(offer, made)
        return
    first, made = liar.kept[0]
    if first.order.frames != offer.order.frames:
        liar.lies_about(offer)
    await liar.deliver(offer, made)


async def _neighbouring_frames(liar: Liar, offer: messages.Offer) -> None:
    """As many frames as wanted, and every one of them one place too early."""
    start, end = offer.order.trim_start_s, offer.order.trim_end_s
    if start is None or end is None:
        await honest(liar, offer)
        return
    liar.lies_about(offer)
    one = Fraction(1, RATE)
    order = attrs.evolve(offer.order, trim_start_s=start - one, trim_end_s=end - one)
    await liar.deliver(offer, await liar.make(offer, order))


async def _noise(liar: Liar, offer: messages.Offer) -> None:
    liar.lies_about(offer)
    made = await liar.make(offer)
    await liar.deliver(offer, noise(made, liar.directory / f"{offer.epoch}.noise"))


async def _half(liar: Liar, offer: messages.Offer) -> None:
    liar.lies_about(offer)
    made = await liar.make(offer)
    await liar.deliver(offer, truncated(made, liar.directory / f"{offer.epoch}.half", 0.6))


async def _another_hash(liar: Liar, offer: messages.Offer) -> None:
    liar.lies_about(offer)
    await liar.deliver(offer, await liar.make(offer), sha256="00" * 32)


async def _another_size(liar: Liar, offer: messages.Offer) -> None:
    liar.lies_about(offer)
    made = await liar.make(offer)
    await liar.deliver(offer, made, size_bytes=made.path.stat().st_size + 1)


async def _nothing_put(liar: Liar, offer: messages.Offer) -> None:
    liar.lies_about(offer)
    proof = (await liar.make(offer)).proof
    liar.say(messages.Result(offer.epoch, 1000, "ab" * 32, proof))


async def _twice(liar: Liar, offer: messages.Offer) -> None:
    """Right, but put and told more than once, as after a cut line."""
    made = await liar.make(offer)
    await liar.deliver(offer, made)
    try:
        await liar.deliver(offer, made)
    except FfclusterError:
        liar.told.append("the second upload was refused")
    size = made.path.stat().st_size
    for sha256 in ("00" * 32, "ff" * 32):
        liar.say(messages.Result(offer.epoch, size, sha256, made.proof))


async def _changed_afterwards(liar: Liar, offer: messages.Offer) -> None:
    """Right, and then other bytes of the same size are put to the same place."""
    made = await liar.make(offer)
    await liar.deliver(offer, made)
    other = noise(made, liar.directory / f"{offer.epoch}.other")
    try:
        await liar.bulk.put(offer.upload, other.path, block_bytes=liar.block_bytes)
    except FfclusterError:
        liar.told.append("the second upload was refused")


# --- epochs --------------------------------------------------------------------------------------


async def _forged_epochs(liar: Liar, offer: messages.Offer) -> None:
    """Its own attempt is done well; beside it, it speaks for everybody else's."""
    made = await liar.make(offer)
    size = made.path.stat().st_size
    error = ErrorReport.of(EncodeFailed(message="forged"))
    own = {o.epoch for o in liar.offers}
    others = [n for n in range(max(0, offer.epoch - 6), offer.epoch + 4) if n not in own]
    for epoch in [*others, 10**6, 2**53 - 1]:
        liar.say(messages.Started(epoch))
        liar.say(messages.Progress((messages.AttemptProgress(epoch, 25, 1e6),)))
        liar.say(messages.Result(epoch, size, "ab" * 32, made.proof))
        liar.say(messages.Failed(epoch, error))
        liar.say(messages.Returned(epoch))
    await liar.deliver(offer, made)


async def _disowned(liar: Liar, offer: messages.Offer) -> None:
    """Gives attempts back, and delivers them all the same."""
    liar.lies_about(offer)
    made = await liar.make(offer)
    if len(liar.offers) > 6:
        liar.lied.discard(offer.epoch)
        await liar.deliver(offer, made)
        return
    liar.say(messages.Returned(offer.epoch))
    await sleep(0.2)
    try:
        await liar.deliver(offer, made)
    except FfclusterError as refused:
        liar.told.append(refused.message)


async def _keeps(liar: Liar, offer: messages.Offer) -> None:
    """Makes the first result and delivers nothing of it."""
    if liar.kept or liar.silent:
        liar.say(messages.Returned(offer.epoch))
        return
    liar.kept.append((offer, await liar.make(offer)))


async def _after_its_lease(run: Run) -> None:
    """A worker that was silent for longer than its lease comes back with a finished result."""
    async with _liar(run, _keeps) as liar:
        while not liar.kept and not (await run.rig.job(run.job_id)).ended:
            await sleep(0.05)
        if not liar.kept:
            run.missed()
            return
        offer, made = liar.kept[0]
        run.fault_at = time.time()
        liar.silent = True
        liar.lies_about(offer)
        await sleep(1.5 * LEASE_S)
        await liar.hang_up()
        liar.silent = False
        await liar.join(messages.Held(offer.epoch, offer.job_id, encoded=True))
        with contextlib.suppress(FfclusterError):
            await liar.deliver(offer, made)
        liar.say(messages.Result(offer.epoch, made.path.stat().st_size, "ab" * 32, made.proof))
        await sleep(0.3)
        run.lied |= liar.lied
        run.facts["revoked"] = sorted(liar.revoked)
        if offer.epoch not in liar.revoked:
            raise Wrong("a result that came after its lease was not refused")


# --- messages and names --------------------------------------------------------------------------

_HOSTILE = (
    b"[" * 100_000,
    b'{"type":"progress","attempts":' + b'[{"a":' * 5000 + b"1" + b"}]" * 5000 + b"}",
    b'{"type":"started","epoch":' + b"9" * 100_000 + b"}",
    b'{"type":"started","epoch":1e400}',
    b'{"type":"started","epoch":-1}',
    b'{"type":"failed","epoch":1,"error":{"code":"../..","message":"' + b"A" * 70_000 + b'"}}',
    b'{"type":"\xff\xfe"}',
    b"null",
    b"x" * (5 * 2**20),
)


def _hostile_messages() -> Fault:
    async def fault(run: Run) -> None:
        ended = []
        for payload in _HOSTILE:
            async with _liar(run, _idle) as liar:
                for _ in range(12):
                    liar.say_raw(payload)
                for _ in range(50):
                    await sleep(0.1 if liar.connected else 0.0)
                ended.append(not liar.connected)
        run.facts["ended"] = ended
        if not all(ended):
            raise Wrong(f"a peer that sends nonsense twelve times is kept: {ended}")

    return fault


async def _idle(liar: Liar, offer: messages.Offer) -> None:
    liar.say(messages.Returned(offer.epoch))


def _names() -> Fault:
    async def fault(run: Run) -> None:
        before = _everything(run.rig.directory.parent)
        accepted = []
        for make in _EVIL:
            try:
                view = await (await run.rig.client()).submit(make(run))
            except FfclusterError:
                continue
            accepted.append((view.id, view.spec.output_name, make(run).server_path))
            await run.rig.ask("cancel", view.id)
        statuses = [await _raw(run.rig.port, path) for path in _PATHS]
        await run.committed(99)
        run.facts["statuses"] = statuses
        if accepted:
            raise Wrong(f"requests with hostile names were accepted: {accepted}")
        if any(status.startswith("2") for status in statuses):
            raise Wrong(f"hostile paths were answered: {statuses}")
        strange = {p for p in _everything(run.rig.directory.parent) - before if "evil" in p}
        if strange:
            raise Wrong(f"files appeared: {strange}")

    return fault


def _everything(directory: Path) -> set[str]:
    return {str(path) for path in directory.rglob("*evil*")}


def _request(run: Run, **fields: Any) -> JobRequest:
    return attrs.evolve(
        JobRequest(run.rig.film.name, server_path=str(run.rig.film), profile=LOSSLESS.profile),
        **fields,
    )


_EVIL: tuple[Callable[[Run], JobRequest], ...] = (
    lambda run: _request(run, output_name="../evil.mkv"),
    lambda run: _request(run, output_name="/tmp/evil.mkv"),
    lambda run: _request(run, output_name="a/../../evil.mkv"),
    lambda run: _request(run, output_name=".evil.mkv"),
    lambda run: _request(run, output_name="evil\x00.mkv"),
    lambda run: _request(run, output_name="evil\\..\\x.mkv"),
    lambda run: _request(run, server_path="concat:evil|x"),
    lambda run: _request(run, server_path=None, upload_id="../../evil"),
)
_PATHS = (
    ("GET", "/v1/outputs/../../../../etc/passwd"),
    ("GET", "/v1/pieces/..%2f..%2f..%2fetc%2fpasswd"),
    ("GET", "/v1/results/1"),
    ("PUT", "/v1/results/../evil"),
    ("PUT", "/v1/results/..%2fevil"),
    ("PUT", "/v1/uploads/evil"),
    ("DELETE", "/v1/results/1"),
)


class _Raw(Protocol):
    """Sends one request as it is written, and keeps the status line."""

    transport: Any

    def __init__(self, request: bytes, status: Deferred[str]) -> None:
        self._request = request
        self._status = status
        self._seen = b""

    def connectionMade(self) -> None:
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        self._seen += data

    def connectionLost(self, reason: Any = None) -> None:
        line = self._seen.split(b"\r\n")[0].decode(errors="replace")
        self._status.callback(line.partition(" ")[2] or "closed")


async def _raw(port: int, path: tuple[str, str]) -> str:
    method, target = path
    body = b"evil" if method == "PUT" else b""
    head = f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"
    if body:
        head += "Content-Range: bytes 0-3/4\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    status: Deferred[str] = Deferred()
    factory = ClientFactory()
    factory.noisy = False
    factory.buildProtocol = lambda _: _Raw(head.encode() + body, status)  # type: ignore[method-assign, assignment]
    reactor.connectTCP("127.0.0.1", port, factory)
    return await status


SCENARIOS = [
    Scenario("R5", "delivers after its lease", _after_its_lease),
    *(
        Scenario("BAD", name, _lying(lie), making=making)
        for name, lie, making in (
            ("too few frames", _too_few_frames, None),
            ("another segment's result", _another_segment, LOSSY),
            ("another segment's result, lossless", _another_segment, LOSSLESS),
            ("one frame too early", _neighbouring_frames, LOSSY),
            ("noise", _noise, None),
            ("half a result", _half, None),
            ("another hash", _another_hash, None),
            ("another size", _another_size, None),
            ("nothing put", _nothing_put, None),
            ("delivered twice", _twice, None),
            ("changed after delivery", _changed_afterwards, None),
            ("others' epochs", _forged_epochs, None),
            ("returned and delivered", _disowned, None),
        )
    ),
    Scenario("BAD", "hostile messages", _hostile_messages()),
    Scenario("BAD", "hostile names", _names()),
]
