"""Bulk transfers over real loopback sockets: whole, in parts, cut, corrupted, cancelled."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from pathlib import Path
from unittest import mock

from twisted.internet import defer
from twisted.internet.defer import CancelledError, ensureDeferred

from ffcluster.errors import DiskFull, NotFound, PeerFull, Refused, TransferFailed, Unauthorized
from ffcluster.net import bulk_client
from tests.net.loopback import BLOCK, TOKEN, CuttingLine, LoopbackCase, payload, until

FILM = payload(10 * BLOCK + 12345)
SHA = hashlib.sha256(FILM).hexdigest()


class Fetching(LoopbackCase):
    async def fetch(
        self, *, port: int | None = None, sha256: str = SHA, size: int = len(FILM)
    ) -> Path:
        target = self.folder / "target"
        client = self.client_at(port) if port else self.client
        await client.fetch("/v1/pieces/film", target, size_bytes=size, sha256=sha256)
        return target

    async def test_whole_file_arrives_and_progress_ends_at_its_size(self) -> None:
        self.offer(FILM)
        seen: list[tuple[int, int]] = []
        await self.client.fetch(
            "/v1/pieces/film",
            self.folder / "target",
            size_bytes=len(FILM),
            sha256=SHA,
            on_bytes=lambda *now: seen.append(now),
        )
        assert (self.folder / "target").read_bytes() == FILM
        assert seen == sorted(seen)
        assert seen[-1] == (len(FILM), len(FILM))

    async def test_empty_file_arrives(self) -> None:
        self.offer(b"")
        target = await self.fetch(sha256=hashlib.sha256(b"").hexdigest(), size=0)
        assert target.read_bytes() == b""

    async def test_cut_fetch_goes_on_where_it_stopped(self) -> None:
        self.offer(FILM)
        line = CuttingLine(self.port, [3 * BLOCK, BLOCK, 100], upwards=False)
        target = await self.fetch(port=await self.listen(line))
        assert target.read_bytes() == FILM
        assert line.cuts == 3

    async def test_earlier_partial_file_is_completed_and_not_fetched_again(self) -> None:
        self.offer(FILM)
        (self.folder / "target").write_bytes(FILM[: 9 * BLOCK])
        line = CuttingLine(self.port, [4 * BLOCK], upwards=False)
        target = await self.fetch(port=await self.listen(line))
        assert target.read_bytes() == FILM
        assert line.cuts == 0

    async def test_partial_file_longer_than_the_film_is_started_over(self) -> None:
        self.offer(FILM)
        (self.folder / "target").write_bytes(FILM + b"x")
        assert (await self.fetch()).read_bytes() == FILM

    async def test_other_content_than_announced_fails_and_leaves_nothing_to_build_on(self) -> None:
        self.offer(payload(len(FILM), b"other"))
        await self.assertFailure(ensureDeferred(self.fetch()), TransferFailed)
        assert (self.folder / "target").read_bytes() == b""

    async def test_longer_file_than_announced_fails(self) -> None:
        self.offer(FILM)
        await self.assertFailure(ensureDeferred(self.fetch(size=len(FILM) - 1)), TransferFailed)

    async def test_missing_file_is_not_found(self) -> None:
        await self.assertFailure(ensureDeferred(self.fetch()), NotFound)

    async def test_file_that_vanished_from_the_disk_is_not_found(self) -> None:
        self.offer(FILM).path.unlink()
        await self.assertFailure(ensureDeferred(self.fetch()), NotFound)

    async def test_file_that_became_shorter_is_cut_and_never_taken_for_whole(self) -> None:
        self.patch(bulk_client, "_PAUSE_S", 0.001)
        self.offer(FILM).path.write_bytes(FILM[:BLOCK])
        await self.assertFailure(ensureDeferred(self.fetch()), TransferFailed)

    async def test_full_disk_is_told_apart_from_a_bad_line(self) -> None:
        self.offer(FILM)
        target = self.folder / "target"
        target.symlink_to("/dev/full")
        await self.assertFailure(ensureDeferred(self.fetch()), DiskFull)

    async def test_cancelled_fetch_ends_at_once_and_is_not_tried_again(self) -> None:
        self.offer(payload(40 * 2**20))
        line = CuttingLine(self.port, [], upwards=False)
        client = self.client_at(await self.listen(line))
        begun: list[int] = []
        fetching = ensureDeferred(
            client.fetch(
                "/v1/pieces/film",
                self.folder / "target",
                size_bytes=40 * 2**20,
                sha256=SHA,
                on_bytes=lambda now, _: begun.append(now),
            )
        )
        await until(lambda: begun)
        fetching.cancel()
        await self.assertFailure(fetching, CancelledError)
        assert line.connections == 1

    async def test_fetch_cancelled_while_the_answer_is_awaited_ends_as_cancelled(self) -> None:
        silent = CuttingLine(1, [], upwards=True)
        silent.buildProtocol = lambda addr: mock.Mock()  # type: ignore[method-assign]
        client = self.client_at(await self.listen(silent))
        fetching = ensureDeferred(
            client.fetch("/v1/pieces/film", self.folder / "target", size_bytes=5, sha256=SHA)
        )
        await until(lambda: (self.folder / "target").exists())
        fetching.cancel()
        await self.assertFailure(fetching, CancelledError)

    async def test_silent_coordinator_is_given_up(self) -> None:
        self.patch(bulk_client, "_SILENCE_LIMIT_S", 0.05)
        self.patch(bulk_client, "_PAUSE_S", 0.001)
        silent = CuttingLine(1, [], upwards=True)
        silent.buildProtocol = lambda addr: mock.Mock()  # type: ignore[method-assign]
        fetching = ensureDeferred(self.fetch(port=await self.listen(silent)))
        await self.assertFailure(fetching, TransferFailed)

    async def test_many_stalled_readers_do_not_hold_up_another(self) -> None:
        self.offer(payload(8 * 2**20), "large")
        self.offer(FILM)
        for _ in range(30):
            stalled = await self.dial()
            stalled.transport.write(b"GET /v1/pieces/large HTTP/1.1\r\nhost: localhost\r\n\r\n")
            stalled.transport.pauseProducing()
        assert (await self.fetch()).read_bytes() == FILM


class Putting(LoopbackCase):
    def source(self, data: bytes = FILM) -> Path:
        path = self.folder / "source"
        path.write_bytes(data)
        return path

    async def put(self, *, port: int | None = None, data: bytes = FILM) -> tuple[int, str]:
        client = self.client_at(port) if port else self.client
        return await client.put("/v1/results/film", self.source(data), block_bytes=BLOCK)

    async def test_file_is_put_in_blocks(self) -> None:
        incoming = self.await_file()
        seen: list[int] = []
        size, sha256 = await self.client.put(
            "/v1/results/film",
            self.source(),
            block_bytes=BLOCK,
            on_bytes=lambda n, _: seen.append(n),
        )
        assert (size, sha256) == (len(FILM), SHA)
        assert incoming.whole
        assert incoming.path.read_bytes() == FILM
        assert seen == [*range(BLOCK, len(FILM), BLOCK), len(FILM)]

    async def test_empty_file_is_put(self) -> None:
        incoming = self.await_file()
        assert await self.put(data=b"") == (0, hashlib.sha256(b"").hexdigest())
        assert incoming.whole
        assert incoming.path.read_bytes() == b""

    async def test_put_cut_in_mid_block_goes_on(self) -> None:
        incoming = self.await_file()
        line = CuttingLine(self.port, [2 * BLOCK + 5000, BLOCK // 2, 40], upwards=True)
        size, sha256 = await self.put(port=await self.listen(line))
        assert (size, sha256) == (len(FILM), SHA)
        assert incoming.path.read_bytes() == FILM
        assert line.cuts == 3

    async def test_put_whose_answers_are_lost_sends_no_block_twice_into_the_file(self) -> None:
        incoming = self.await_file()
        line = CuttingLine(self.port, [10, 250, 10, 300, 20], upwards=False)
        await self.put(port=await self.listen(line))
        assert incoming.path.read_bytes() == FILM
        assert line.cuts == 5

    async def test_later_put_of_the_same_file_goes_on_from_what_is_there(self) -> None:
        incoming = self.await_file()
        incoming.expect(len(FILM))
        incoming.write(0, FILM[: 8 * BLOCK + 7])
        seen: list[int] = []
        size, sha256 = await self.client.put(
            "/v1/results/film",
            self.source(),
            block_bytes=BLOCK,
            on_bytes=lambda n, _: seen.append(n),
        )
        assert (size, sha256) == (len(FILM), SHA)
        assert incoming.path.read_bytes() == FILM
        assert len(seen) == 4

    async def test_resumed_put_asks_first_and_sends_nothing_again(self) -> None:
        incoming = self.await_file()
        incoming.expect(len(FILM))
        incoming.write(0, FILM[: 8 * BLOCK + 7])
        starts: list[int] = []
        take = incoming.take

        def noting(start: int, data: bytes, sha256: str | None) -> None:
            starts.append(start)
            take(start, data, sha256)

        incoming.take = noting  # type: ignore[method-assign]
        for _ in range(2):
            put = self.client.put(
                "/v1/results/film", self.source(), block_bytes=BLOCK, resumed=True
            )
            assert await put == (len(FILM), SHA)
        assert starts == [8 * BLOCK + 7, 9 * BLOCK + 7, 10 * BLOCK + 7]

    async def test_file_whose_bytes_are_all_there_unproven_is_proven(self) -> None:
        incoming = self.await_file()
        incoming.expect(len(FILM))
        incoming.write(0, FILM)
        assert await self.put() == (len(FILM), SHA)
        assert incoming.whole

    async def test_put_again_of_a_whole_file_changes_nothing(self) -> None:
        incoming = self.await_file()
        await self.put()
        await self.put(data=payload(len(FILM), b"other"))
        assert incoming.path.read_bytes() == FILM
        assert incoming.sha256 == SHA

    async def test_bytes_changed_on_the_way_are_sent_again_from_the_start(self) -> None:
        self.patch(bulk_client, "_PAUSE_S", 0.001)
        incoming = self.await_file()
        write, spoiled = incoming.write, []

        def flip(start: int, data: bytes) -> int:
            if start == 0 and not spoiled:
                spoiled.append(start)
                data = b"\x00" + data[1:]
            return write(start, data)

        incoming.write = flip  # type: ignore[method-assign]
        assert await self.put() == (len(FILM), SHA)
        assert incoming.path.read_bytes() == FILM

    async def test_file_that_always_arrives_changed_fails_in_the_end(self) -> None:
        self.patch(bulk_client, "_PAUSE_S", 0.001)
        incoming = self.await_file()
        write = incoming.write
        incoming.write = lambda start, data: write(start, b"\0" * len(data))  # type: ignore[method-assign]
        await self.assertFailure(ensureDeferred(self.put()), TransferFailed)
        assert not incoming.whole

    async def test_source_that_becomes_shorter_fails(self) -> None:
        self.await_file()
        source = self.source()

        def shorten(now: int, _: int) -> None:
            source.write_bytes(FILM[:now])

        putting = self.client.put("/v1/results/film", source, block_bytes=BLOCK, on_bytes=shorten)
        await self.assertFailure(ensureDeferred(putting), TransferFailed)

    async def test_unreadable_source_fails_in_words(self) -> None:
        missing = self.client.put("/v1/results/film", self.folder / "none", block_bytes=BLOCK)
        await self.assertFailure(ensureDeferred(missing), TransferFailed)

    async def test_file_larger_than_allowed_is_refused(self) -> None:
        self.await_file(limit=BLOCK)
        await self.assertFailure(ensureDeferred(self.put()), Refused)

    async def test_nothing_expected_there_is_not_found(self) -> None:
        await self.assertFailure(ensureDeferred(self.put()), NotFound)

    async def test_closed_upload_takes_nothing_more(self) -> None:
        self.patch(bulk_client, "_PAUSE_S", 0.001)
        incoming = self.await_file()
        incoming.discard()
        await self.assertFailure(ensureDeferred(self.put()), TransferFailed)
        assert not incoming.path.exists()

    async def test_same_block_put_twice_at_once_is_written_once(self) -> None:
        incoming = self.await_file()
        write, together = incoming.write, threading.Barrier(2)

        def slow(start: int, data: bytes) -> int:
            # Without a lock both would come here before either had moved the offset.
            with contextlib.suppress(threading.BrokenBarrierError):
                together.wait(0.2)
            return write(start, data)

        incoming.write = slow  # type: ignore[method-assign]
        others = [self.client_at(self.port) for _ in range(2)]
        source = self.source()
        puts = [
            ensureDeferred(c.put("/v1/results/film", source, block_bytes=BLOCK)) for c in others
        ]
        done = await defer.gatherResults(puts)
        assert done == [(len(FILM), SHA)] * 2
        assert incoming.path.read_bytes() == FILM

    async def test_full_disk_on_the_coordinator_fails_the_put(self) -> None:
        incoming = self.await_file()
        incoming.path.symlink_to("/dev/full")
        await self.assertFailure(ensureDeferred(self.put()), PeerFull)

    async def test_cancelled_put_ends_as_cancelled(self) -> None:
        incoming = self.await_file()
        write, go_on = incoming.write, threading.Event()
        self.addCleanup(go_on.set)

        def held(start: int, data: bytes) -> int:
            if start:
                go_on.wait(self.timeout)
            return write(start, data)

        incoming.write = held  # type: ignore[method-assign]
        putting = ensureDeferred(self.put())
        await until(lambda: incoming.offset)
        putting.cancel()
        await self.assertFailure(putting, CancelledError)


class WithToken(LoopbackCase):
    token = TOKEN

    async def test_right_token_opens_both_ways(self) -> None:
        self.offer(FILM)
        self.await_file()
        target = self.folder / "target"
        await self.client.fetch("/v1/pieces/film", target, size_bytes=len(FILM), sha256=SHA)
        assert await self.client.put("/v1/results/film", target, block_bytes=BLOCK) == (
            len(FILM),
            SHA,
        )

    async def test_wrong_token_is_unauthorized_also_when_a_body_was_on_its_way(self) -> None:
        self.offer(FILM)
        incoming = self.await_file()
        client = self.client_at(self.port, "wrong")
        target = self.folder / "target"
        target.write_bytes(FILM)
        await self.assertFailure(
            ensureDeferred(client.put("/v1/results/film", target, block_bytes=BLOCK)), Unauthorized
        )
        await self.assertFailure(
            ensureDeferred(
                client.fetch("/v1/pieces/film", self.folder / "new", size_bytes=9, sha256=SHA)
            ),
            Unauthorized,
        )
        assert incoming.offset == 0
