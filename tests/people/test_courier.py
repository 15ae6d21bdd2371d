"""Messages reach every device, or wait for one: in order, each once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from gateway.people import courier as couriers
from gateway.people.courier import Courier, Device, Keeping
from gateway.people.messages import InstantMessage, MessageStoreError, Outcome
from gateway.store.messages_memory import MemoryMessages


class Phone:
    """A device that answers what the test says."""

    def __init__(self, outcome: Outcome = Outcome.DELIVERED) -> None:
        self.outcome = outcome
        self.got: list[str] = []
        self.hold: asyncio.Event | None = None

    async def deliver(self, message: InstantMessage) -> Outcome:
        if self.hold is not None:
            await self.hold.wait()
        if self.outcome is Outcome.DELIVERED:
            self.got.append(message.text)
        return self.outcome


class Rig:
    """A courier, alice's devices, and what is kept."""

    def __init__(self, *devices: Device, limit: int = 10, keeps: bool = True) -> None:
        self.devices: list[Device] = list(devices)
        self.now = 100.0
        self.store = MemoryMessages()
        self.changes: list[str] = []
        keeping = Keeping(store=self.store, limit=limit) if keeps else None
        self.courier = Courier(self._devices_of, lambda: self.now, keeping, self.changes.append)
        self._count = 0

    async def _devices_of(self, user: str) -> Sequence[Device]:
        return list(self.devices)

    async def send(self, text: str, *, expires_at: float = 1000.0, keep: bool = True) -> Outcome:
        self._count += 1
        message = InstantMessage(
            id=str(self._count),
            sender="sip:bob@gw.test",
            recipient="alice",
            body=text.encode(),
            sent_at=self.now,
            expires_at=expires_at,
        )
        return await self.courier.send(message, keep=keep)

    async def arrive(self) -> None:
        """A device registers; wait until what was kept has been dealt with."""
        self.courier.arrived("alice")
        await self.settle()

    async def settle(self) -> None:
        while tasks := tuple(self.courier._emptying.values()):
            await asyncio.gather(*tasks)
            await asyncio.sleep(0)  # From Python 3.12 on what is done already lets nothing else run.

    async def kept(self) -> int:
        return await self.courier.kept("alice")


async def test_every_device_gets_it() -> None:
    """One that takes it is enough for the sender."""
    good, bad = Phone(), Phone(Outcome.REFUSED)
    rig = Rig(good, bad, Phone(Outcome.UNAVAILABLE))
    assert await rig.send("hello") is Outcome.DELIVERED
    assert good.got == ["hello"]
    assert await rig.kept() == 0


async def test_a_refusal_is_told_and_nothing_is_kept() -> None:
    """A device that is there and wants none speaks for its user."""
    rig = Rig(Phone(Outcome.UNAVAILABLE), Phone(Outcome.REFUSED))
    assert await rig.send("hello") is Outcome.REFUSED
    assert await rig.kept() == 0


@pytest.mark.parametrize("device", [None, Phone(Outcome.UNAVAILABLE)])
async def test_who_is_away_gets_it_later_once_and_in_order(device: Phone | None) -> None:
    """Without a device, or where none answers."""
    rig = Rig(*([device] if device else []))
    for text in ("one", "two", "three"):
        assert await rig.send(text) is Outcome.STORED
    phone = Phone()
    rig.devices = [phone]
    rig.courier.arrived("alice")
    rig.courier.arrived("alice")
    await rig.arrive()
    assert phone.got == ["one", "two", "three"]
    assert await rig.kept() == 0
    await rig.arrive()
    assert phone.got == ["one", "two", "three"]
    assert rig.changes == ["alice"] * 6


async def test_nothing_overtakes_what_waits() -> None:
    """A message that comes while older ones are being delivered is delivered behind them."""
    rig = Rig()
    await rig.send("old")
    phone = Phone()
    phone.hold = asyncio.Event()
    rig.devices = [phone]
    rig.courier.arrived("alice")
    assert await rig.send("new") is Outcome.STORED
    phone.hold.set()
    await rig.settle()
    assert phone.got == ["old", "new"]


async def test_a_device_that_goes_again_leaves_the_rest_in_the_store() -> None:
    """What it did not take is delivered to the next."""
    rig = Rig()
    await rig.send("one")
    await rig.send("two")
    rig.devices = [Phone(Outcome.UNAVAILABLE)]
    await rig.arrive()
    assert await rig.kept() == 2
    phone = Phone()
    rig.devices = [phone]
    await rig.arrive()
    assert phone.got == ["one", "two"]


async def test_who_comes_while_a_message_is_put_away_does_not_miss_it() -> None:
    """The registration falls between the look for devices and the store."""
    rig = Rig()
    slow = Phone(Outcome.UNAVAILABLE)
    slow.hold = asyncio.Event()
    rig.devices = [slow]
    sending = asyncio.create_task(rig.send("hello"))
    await asyncio.sleep(0)
    phone = Phone()
    rig.devices = [phone]
    rig.courier.arrived("alice")
    slow.hold.set()
    assert await sending is Outcome.STORED
    await rig.settle()
    assert phone.got == ["hello"]


async def test_what_is_kept_is_bounded_and_does_not_last_for_ever() -> None:
    """Beyond the limit the sender is told; what has expired is not delivered."""
    rig = Rig(limit=2)
    assert [await rig.send(text) for text in "abc"] == [Outcome.STORED, Outcome.STORED, Outcome.UNAVAILABLE]
    rig.now = 1000.0
    phone = Phone()
    rig.devices = [phone]
    await rig.arrive()
    assert phone.got == []
    assert await rig.courier.expire(rig.now) == 2
    rig.devices = []
    assert await rig.send("late", expires_at=rig.now) is Outcome.UNAVAILABLE


async def test_what_is_of_the_moment_is_not_kept() -> None:
    """Nobody wants to hear tomorrow that somebody was typing; nor is anything kept where nothing is to be."""
    rig = Rig()
    assert await rig.send("typing", keep=False) is Outcome.UNAVAILABLE
    bare = Rig(keeps=False)
    assert await bare.send("hello") is Outcome.UNAVAILABLE
    await bare.arrive()
    assert await bare.kept() == 0
    assert await bare.courier.expire(0) == 0


class Broken(MemoryMessages):
    """A store whose disk is full, with something for alice on it."""

    async def recipients(self) -> set[str]:
        return {"alice"}

    async def pending(self, user: str, now: float) -> Sequence[InstantMessage]:
        raise MessageStoreError("no space left")


async def test_a_store_that_fails_hurts_nobody_else() -> None:
    """The sender is asked to try later, and the arrival goes on."""
    rig = Rig(Phone())
    rig.courier = Courier(rig._devices_of, lambda: 0.0, Keeping(store=Broken()))
    await rig.courier.open()
    assert await rig.send("hello") is Outcome.TOO_MANY
    await rig.arrive()
    with pytest.raises(MessageStoreError):
        await rig.kept()


async def test_closing_leaves_what_is_under_way_in_the_store() -> None:
    """It is delivered after the next start."""
    rig = Rig()
    await rig.send("hello")
    phone = Phone()
    phone.hold = asyncio.Event()
    rig.devices = [phone]
    rig.courier.arrived("alice")
    await asyncio.sleep(0)
    await rig.courier.close()
    assert [one.text for one in await rig.store.pending("alice", 0)] == ["hello"]
    rig.courier.arrived("alice")
    assert not rig.courier._emptying


async def test_what_was_kept_before_a_restart_is_delivered_after_it() -> None:
    """The store is asked once at the start who has something there, and not at every registration of others."""
    rig = Rig()
    await rig.send("hello")
    asked: list[str] = []

    class Counting(MemoryMessages):
        async def pending(self, user: str, now: float) -> Sequence[InstantMessage]:
            asked.append(user)
            return await super().pending(user, now)

    store = Counting()
    store._kept = rig.store._kept
    again = Courier(rig._devices_of, lambda: 100.0, Keeping(store=store))
    await again.open()
    phone = Phone()
    rig.devices = [phone]
    for _ in range(100):
        again.arrived("bob")
    assert (asked, again._emptying) == ([], {})
    again.arrived("alice")
    await asyncio.gather(*again._emptying.values())
    assert phone.got == ["hello"]
    assert await again.kept("alice") == 0
    asked.clear()
    again.arrived("alice")
    assert (asked, again._emptying) == ([], {})


class Shared(MemoryMessages):
    """A store that several gateways use; what another one delivers just now cannot be claimed."""

    is_shared = True

    def __init__(self) -> None:
        super().__init__()
        self.claimed: set[str] = set()

    async def claim(self, message_id: str, seconds: float) -> bool:
        if message_id in self.claimed or message_id not in await self.ids():
            return False
        self.claimed.add(message_id)
        return True

    async def ids(self) -> set[str]:
        return {one.id for user in await self.recipients() for one in await self.pending(user, 0)}

    async def remove(self, message_id: str) -> None:
        await super().remove(message_id)
        self.claimed.discard(message_id)

    async def release(self, message_id: str) -> None:
        self.claimed.discard(message_id)


def two_gateways() -> tuple[Rig, Rig]:
    """Two couriers over one store."""
    one, two = Rig(), Rig()
    shared = Shared()
    for rig in (one, two):
        rig.store = shared
        keeping = Keeping(store=shared, limit=10)
        rig.courier = Courier(rig._devices_of, lambda: 100.0, keeping, rig.changes.append, lambda: {"alice"})
    return one, two


async def test_what_one_gateway_has_kept_another_delivers() -> None:
    """As soon as somebody arrives there, though it was never told that anything waits."""
    one, two = two_gateways()
    assert await one.send("hello") is Outcome.STORED
    phone = Phone()
    two.devices.append(phone)
    await two.arrive()
    assert phone.got == ["hello"]
    assert await one.kept() == 0


async def test_a_page_at_another_gateway_gets_it_at_the_next_sweep() -> None:
    """Nobody arrives there: its page was open all the time."""
    one, two = two_gateways()
    phone = Phone()
    two.devices.append(phone)
    assert await one.send("hello") is Outcome.STORED
    await two.courier.expire(100.0)
    await two.settle()
    assert phone.got == ["hello"]


async def test_two_gateways_deliver_each_message_once() -> None:
    """Somebody arrives at both at the same moment."""
    one, two = two_gateways()
    for text in "abc":
        await one.store.put(
            InstantMessage(
                id=text, sender="sip:bob@gw.test", recipient="alice", body=text.encode(), sent_at=1, expires_at=999
            ),
            10,
        )
    phones = [Phone(), Phone()]
    for rig, phone in zip((one, two), phones, strict=True):
        phone.hold = asyncio.Event()
        rig.devices.append(phone)
        rig.courier.arrived("alice")
    await asyncio.sleep(0)
    for phone in phones:
        assert phone.hold is not None
        phone.hold.set()
    for rig in (one, two):
        await rig.settle()
    assert sorted(phones[0].got + phones[1].got) == ["a", "b", "c"]
    assert await one.kept() == 0


async def test_what_is_not_delivered_is_for_others_again() -> None:
    """The claim ends with the try."""
    one, two = two_gateways()
    await one.send("hello")
    gone, there = Phone(Outcome.UNAVAILABLE), Phone()
    one.devices.append(gone)
    await one.arrive()
    two.devices.append(there)
    await two.arrive()
    assert there.got == ["hello"]


async def test_a_device_that_takes_too_long_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before what was claimed is another gateway's to deliver as well; what another device took, is taken."""
    assert couriers.PATIENCE < couriers.CLAIMED
    monkeypatch.setattr(couriers, "PATIENCE", 0.01)
    slow, quick = Phone(), Phone()
    slow.hold = asyncio.Event()
    one, two = two_gateways()
    await one.send("hello")
    one.devices.append(slow)
    await asyncio.wait_for(one.arrive(), 30)
    assert await one.kept() == 1
    two.devices += [slow, quick]
    await asyncio.wait_for(two.arrive(), 30)
    assert (quick.got, await two.kept()) == (["hello"], 0)


async def test_nothing_overtakes_what_another_gateway_is_delivering() -> None:
    """Who delivers the first goes on with the next, that which was put there meanwhile as well."""
    one, two = two_gateways()
    slow, quick = Phone(), Phone()
    await one.send("old")
    slow.hold = asyncio.Event()
    one.devices.append(slow)
    one.courier.arrived("alice")
    await asyncio.sleep(0)
    two.devices.append(quick)
    two._count = 10
    assert await two.send("new") is Outcome.STORED
    await two.settle()
    assert quick.got == []
    slow.hold.set()
    await one.settle()
    assert slow.got == ["old", "new"]
    assert await one.kept() == 0


async def test_what_a_device_refuses_is_tried_once_at_each_arrival() -> None:
    """And what was put behind it is delivered."""
    rig = Rig()
    await rig.send("one")
    refusing = Phone(Outcome.REFUSED)
    rig.devices = [refusing]
    await asyncio.wait_for(rig.arrive(), 30)
    assert await rig.kept() == 1
