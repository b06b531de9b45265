"""Slots of devices: who may encode, and who waits behind whom."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred

from ffcluster.core.model import Capability
from ffcluster.core.profile import Codec
from ffcluster.services.worker.slots import Slots

X264 = Capability("libx264", Codec.H264, slots=2)
NVENC = Capability("h264_nvenc", Codec.H264, "nvenc", "cuda:0", slots=1)
HEVC_NVENC = Capability("hevc_nvenc", Codec.HEVC, "nvenc", "cuda:0", slots=2)


def test_slots_are_given_in_order_of_epochs() -> None:
    slots = Slots()
    granted = [slots.ask(epoch, X264) for epoch in (3, 4, 2, 1)]
    assert [slot.called for slot in granted] == [True, True, False, False]
    slots.release(3)
    assert [slot.called for slot in granted] == [True, True, False, True]
    slots.release(4)
    assert all(slot.called for slot in granted)


def test_each_device_has_slots_of_its_own() -> None:
    slots = Slots()
    granted = [slots.ask(epoch, X264) for epoch in (1, 2, 3)]
    granted += [slots.ask(epoch, NVENC) for epoch in (4, 5)]
    assert [slot.called for slot in granted] == [True, True, False, True, False]
    slots.release(4)
    assert [slot.called for slot in granted] == [True, True, False, True, True]


def test_encoders_on_one_device_share_its_slots_in_order_of_epochs() -> None:
    slots = Slots()
    granted = [slots.ask(1, HEVC_NVENC), slots.ask(2, NVENC), slots.ask(3, HEVC_NVENC)]
    # The second needs the whole device; the third would fit and waits behind it all the same.
    assert [slot.called for slot in granted] == [True, False, False]
    slots.release(1)
    assert [slot.called for slot in granted] == [True, True, False]


def test_slot_given_back_at_once_passes_to_the_next_and_no_further() -> None:
    slots = Slots()
    granted = [slots.ask(epoch, X264) for epoch in (1, 2)]
    fallen: list[int] = []

    def fall(_: None, epoch: int) -> None:
        fallen.append(epoch)
        slots.release(epoch)

    granted += [slots.ask(epoch, X264).addCallback(fall, epoch) for epoch in (3, 4, 5)]
    granted.append(slots.ask(6, X264))
    slots.release(1)
    assert fallen == [3, 4, 5]
    assert granted[5].called
    assert sorted(slots) == [2, 6]


def test_cancelled_wait_gives_way_to_those_behind() -> None:
    slots = Slots()
    granted: list[Deferred[None]] = [slots.ask(epoch, X264) for epoch in (1, 2, 3, 4)]
    granted[2].addErrback(lambda failure: failure.trap(CancelledError))
    granted[2].cancel()
    slots.release(3)
    slots.release(1)
    assert granted[3].called
    assert sorted(slots) == [2, 4]


def test_release_without_a_slot_changes_nothing() -> None:
    slots = Slots()
    slots.ask(1, X264)
    slots.release(7)
    assert list(slots) == [1]
