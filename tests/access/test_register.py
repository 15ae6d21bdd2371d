"""The registrar against a store: what a REGISTER adds, refreshes, removes, lists, and when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from gateway.access.gruu import Gruus
from gateway.access.register import RegisterService
from gateway.identity.mapping import IdentityMap
from gateway.identity.model import Binding, User
from gateway.identity.store import StoreError
from gateway.sip.flow import Flow
from gateway.sip.invite import events
from gateway.sip.message.message import Request
from gateway.sip.message.parser import parse_message
from gateway.sip.registration.registrar import OVERFLOW_REFUSE, RegistrarPolicy
from gateway.store.identity_memory import MemoryStore
from tests.rows import by_row

REALM = "gw.test"
AOR = f"sip:1001@{REALM}"
PHONE = Flow("udp", "192.0.2.7", 5060)


class BrokenStore(MemoryStore):
    """A store whose server went away."""

    async def bindings(self, aor: str, now: float) -> list[Binding]:
        raise StoreError("no connection")


class BusyStore(MemoryStore):
    """A store in which another REGISTER of the same address is quicker, `rivals` times."""

    def __init__(self, rivals: int) -> None:
        super().__init__()
        self.rivals = rivals

    async def bindings(self, aor: str, now: float) -> Sequence[Binding]:
        found = await super().bindings(aor, now)
        if self.rivals:
            self.rivals -= 1
            quicker = Binding(aor, f"sip:rival{self.rivals}@192.0.2.9", now + 300, call_id="other", cseq=1)
            await super().put_binding(quicker, now, 10)
        return found


class Desk:
    """A registrar for phone 1001, with a clock turned by hand."""

    def __init__(self, store: MemoryStore | None = None, policy: RegistrarPolicy | None = None, node: str = "") -> None:
        self.now = 1_000_000.0
        self.store = store or MemoryStore()
        identity = IdentityMap([User("1001", sip=True), User("1002", sip=True)], [], REALM)
        gruus = Gruus(REALM, bytes(32), bytes)
        self.registrar = RegisterService(
            identity, self.store, policy or RegistrarPolicy(), lambda: self.now, node=node, read_gruu=gruus.read
        )
        self._cseq = 0

    async def sent(
        self,
        *contacts: str,
        expires: int | None = 300,
        call_id: str = "c",
        source: Flow = PHONE,
        user: str = "1001",
        path: str = "",
        supported: str = "",
    ) -> events.Reply:
        """What a REGISTER with these contacts is answered."""
        self._cseq += 1
        lines = [
            f"REGISTER sip:{REALM} SIP/2.0",
            "Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1",
            f"From: <sip:{user}@{REALM}>;tag=1",
            f"To: <sip:{user}@{REALM}>",
            *([f"Path: {path}"] if path else []),
            *([f"Supported: {supported}"] if supported else []),
            f"Call-ID: {call_id}",
            f"CSeq: {self._cseq} REGISTER",
            *(f"Contact: {contact}" for contact in contacts),
            *([f"Expires: {expires}"] if expires is not None else []),
        ]
        message = parse_message(("\r\n".join(lines) + "\r\n\r\n").encode())
        assert isinstance(message, Request)
        return await self.registrar.register(message, source, user)

    async def contacts(self) -> set[str]:
        return {binding.contact for binding in await self.store.bindings(AOR, self.now)}


ONE, TWO = "sip:1001@192.0.2.7:5060", "sip:1001@192.0.2.8:5060"


async def test_a_contact_is_added_with_its_flow_and_its_time() -> None:
    """Calls go where the REGISTER came from (RFC 3581), for as long as was granted."""
    desk = Desk()
    reply = await desk.sent(f"<{ONE}>")
    (binding,) = await desk.store.bindings(AOR, desk.now)
    assert reply.status == 200
    assert (binding.contact, binding.received, binding.expires_at) == (ONE, "udp:192.0.2.7:5060", desk.now + 300)
    assert any(name == "Contact" and "expires=300" in str(value) for name, value in reply.headers)


async def test_a_phone_is_to_come_back_soon_to_a_gateway_of_several_that_drains() -> None:
    """What is written down stands as long as ever; who came with a Path is reached by all the others."""
    for node, told in (("sip:gw.test", "60"), ("", "300")):
        desk = Desk(policy=RegistrarPolicy(min_expires=60), node=node)
        desk.registrar.drain()
        reply = await desk.sent(f"<{ONE}>")
        assert f"expires={told}" in str(dict(reply.headers)["Contact"])
        (binding,) = await desk.store.bindings(AOR, desk.now)
        assert binding.expires_at == desk.now + 300
        desk.now += 280
        assert "expires=20" in str(dict((await desk.sent()).headers)["Contact"])
    desk = Desk(node="sip:gw.test")
    desk.registrar.drain()
    reply = await desk.sent(f"<{ONE}>", path="<sip:192.0.2.1;lr>", supported="path")
    assert "expires=300" in str(dict(reply.headers)["Contact"])


async def test_a_refresh_prolongs_and_keeps_what_is_known_of_the_phone() -> None:
    """The codecs its last answer preferred are not forgotten every few minutes."""
    desk = Desk()
    await desk.sent(f"<{ONE}>")
    (binding,) = await desk.store.bindings(AOR, desk.now)
    known = Binding(AOR, ONE, binding.expires_at, binding.call_id, binding.cseq, received="x", codecs=("pcma",))
    await desk.store.put_binding(known, desk.now, 10)
    desk.now += 200
    await desk.sent(f"<{ONE}>")
    (binding,) = await desk.store.bindings(AOR, desk.now)
    assert binding.expires_at == desk.now + 300
    assert binding.codecs == ("pcma",)


async def test_what_is_not_refreshed_is_gone() -> None:
    """At its time, without a sweep."""
    desk = Desk()
    await desk.sent(f"<{ONE}>", expires=60)
    desk.now += 61
    assert await desk.contacts() == set()


async def test_a_contact_is_removed_by_expires_0_and_all_by_the_star() -> None:
    """RFC 3261 section 10.2.2."""
    desk = Desk()
    await desk.sent(f"<{ONE}>")
    await desk.sent(f"<{TWO}>")
    await desk.sent(f"<{ONE}>;expires=0")
    assert await desk.contacts() == {TWO}
    assert (await desk.sent("*", expires=0)).status == 200
    assert await desk.contacts() == set()


async def test_a_register_without_contact_lists_and_changes_nothing() -> None:
    """RFC 3261 section 10.2.3."""
    desk = Desk()
    await desk.sent(f"<{ONE}>")
    reply = await desk.sent(expires=None)
    assert [str(value).partition(">")[0] for name, value in reply.headers if name == "Contact"] == [f"<{ONE}"]
    assert await desk.contacts() == {ONE}


async def test_too_short_a_time_is_423_with_the_least_that_is_granted() -> None:
    """And nothing is stored."""
    desk = Desk()
    reply = await desk.sent(f"<{ONE}>", expires=5)
    assert (reply.status, [str(value) for name, value in reply.headers if name == "Min-Expires"]) == (423, ["60"])
    assert await desk.contacts() == set()


async def test_one_contact_too_many_replaces_the_oldest_or_is_refused() -> None:
    """Reloaded pages leave contacts behind; a strict policy says 403 instead."""
    desk = Desk(policy=RegistrarPolicy(max_contacts=2))
    for number in (1, 2, 3):
        assert (await desk.sent(f"<sip:1001@192.0.2.{number}>", call_id=f"c{number}")).status == 200
        desk.now += 1
    assert await desk.contacts() == {"sip:1001@192.0.2.2", "sip:1001@192.0.2.3"}
    strict = Desk(policy=RegistrarPolicy(max_contacts=1, overflow=OVERFLOW_REFUSE))
    await strict.sent(f"<{ONE}>")
    assert (await strict.sent(f"<{TWO}>", call_id="other")).status == 403
    assert await strict.contacts() == {ONE}


@by_row("contact", ["<sip:", "<mailto:x@y>", "*"])
async def test_a_contact_that_no_call_can_reach_is_400(contact: str) -> None:
    """Nonsense, another scheme, and a star that is not about removing."""
    desk = Desk()
    assert (await desk.sent(contact)).status == 400
    assert await desk.contacts() == set()


async def test_who_was_overtaken_is_decided_again_on_what_stands_then() -> None:
    """Nothing is lost, nothing counts twice, and the limit holds for both together."""
    desk = Desk(BusyStore(rivals=2))
    reply = await desk.sent(f"<{ONE}>")
    assert reply.status == 200
    assert await desk.contacts() == {ONE, "sip:rival0@192.0.2.9", "sip:rival1@192.0.2.9"}


async def test_who_is_overtaken_for_ever_is_503_and_changes_nothing() -> None:
    """Half a REGISTER is none."""
    desk = Desk(BusyStore(rivals=1000))
    assert (await desk.sent(f"<{ONE}>")).status == 503
    assert ONE not in await desk.contacts()


async def test_a_store_that_is_away_is_503() -> None:
    """The phone tries again later."""
    assert (await Desk(BrokenStore()).sent(f"<{ONE}>")).status == 503


@pytest.mark.parametrize(("grace", "left"), [(0.0, set[str]()), (60.0, {ONE})])
async def test_a_binding_outlives_its_websocket_as_configured(grace: float, left: set[str]) -> None:
    """sip.registration.websocket_grace."""
    desk = Desk(policy=RegistrarPolicy(websocket_grace=grace))
    flow = Flow("ws", "192.0.2.7", 5060, "ws:1")
    await desk.sent(f"<{ONE}>", source=flow)
    desk.registrar.flow_lost(flow)
    waiting = tuple(desk.registrar._removals)
    assert len(waiting) == 1
    await asyncio.wait(waiting, timeout=0.1)
    assert await desk.contacts() == left
    await desk.registrar.close()


FLOW = f'<sip:1001@a.invalid;transport=tcp>;+sip.instance="<urn:uuid:{1:032}>";reg-id=1'


@by_row(
    ("contact", "source", "timer", "expected"),
    [
        (FLOW, Flow("tcp", "192.0.2.7", 5060, "1"), 90, 90),
        (FLOW, Flow("tcp", "192.0.2.7", 5060, "1"), 0, None),
        (FLOW, Flow("ws", "192.0.2.7", 5060, "1"), 90, None),
        (f"<{ONE}>", Flow("tcp", "192.0.2.7", 5060, "1"), 90, None),
        (FLOW, PHONE, 90, None),
    ],
)
async def test_a_phone_that_keeps_a_flow_is_expected_to_keep_it_alive(
    contact: str, source: Flow, timer: int, expected: int | None
) -> None:
    """By a connection of its own (Flow-Timer, RFC 5626 section 4.4); a WebSocket has its pings (RFC 7118)."""
    desk = Desk(policy=RegistrarPolicy(flow_timer=timer))
    told: list[tuple[Flow, int]] = []
    desk.registrar._keeps_alive = lambda flow, seconds: told.append((flow, seconds))
    assert (await desk.sent(contact, source=source, supported="outbound")).status == 200
    assert told == ([] if expected is None else [(source, expected)])


@pytest.mark.parametrize("contact", [FLOW, f"<{ONE}>"])
async def test_a_connection_that_ended_while_its_register_was_answered_leaves_no_binding(contact: str) -> None:
    """Nobody tells of its end any more."""
    desk = Desk(policy=RegistrarPolicy(websocket_grace=0.0))
    desk.registrar._is_reachable = lambda flow: False
    source = Flow("ws" if ONE in contact else "tcp", "192.0.2.7", 5060, "1")
    assert (await desk.sent(contact, source=source, supported="outbound")).status == 200
    await removed(desk)
    assert await desk.contacts() == set()
    assert (await desk.sent(source=source)).status == 200
    assert desk.registrar._by_flow == {}


async def test_a_connection_that_is_lost_here_takes_no_contact_of_another_gateway_with_it() -> None:
    """Both may have a connection that is called the same: addresses behind NAT, numbers that each gives itself."""
    desk = Desk(policy=RegistrarPolicy(websocket_grace=0.0))
    flow = Flow("ws", "192.0.2.7", 5060, "ws:1")
    await desk.sent(f"<{ONE}>", source=flow)
    there = Binding(AOR, TWO, desk.now + 300, call_id="there", cseq=1, received=str(flow), node="sip:there.test")
    await desk.store.put_binding(there, desk.now, 10)
    desk.registrar.flow_lost(flow)
    await removed(desk)
    assert await desk.contacts() == {TWO}


GRUU = f"{AOR};gr="


def device_contact(instance: str, host: str, reg_id: str = "") -> str:
    return f'<sip:1001@{host}>;+sip.instance="<urn:uuid:{instance}>"{reg_id}'


async def test_each_device_behind_one_flow_is_at_its_own_contact() -> None:
    """Whichever of them registered last, and also where the flow is a proxy's that wants to be asked (RFC 3327)."""
    desk = Desk()
    await desk.sent(device_contact("a", "192.0.2.8"))
    await desk.sent(device_contact("b", "192.0.2.9"), path="<sip:edge.test;lr>")
    for instance, contact in (("a", "sip:1001@192.0.2.8"), ("b", "sip:1001@192.0.2.9"), ("c", None)):
        assert await desk.registrar.contact_of(f"{GRUU}urn:uuid:{instance}", PHONE, "1001") == contact


async def test_a_device_with_two_contacts_is_at_the_one_of_the_flow_it_speaks_by() -> None:
    """By an unknown flow, after it came back by another connection, at one of its own nevertheless."""
    desk = Desk()
    other, gruu = Flow("tcp", "192.0.2.7", 40000), f"{GRUU}urn:uuid:a"
    await desk.sent(device_contact("a", "192.0.2.8"))
    desk.now += 1
    await desk.sent(device_contact("a", "192.0.2.9"), source=other)
    assert await desk.registrar.contact_of(gruu, PHONE, "1001") == "sip:1001@192.0.2.8"
    assert await desk.registrar.contact_of(gruu, other, "1001") == "sip:1001@192.0.2.9"
    assert await desk.registrar.contact_of(gruu, Flow("tcp", "192.0.2.7", 1), "1001") in await desk.contacts()


async def test_nobody_is_told_the_contact_of_another_users_device() -> None:
    """Whoever calls itself by a GRUU that is not its own, or by none of ours, or has expired."""
    desk = Desk()
    await desk.sent(device_contact("a", "192.0.2.8"))
    gruu = f"{GRUU}urn:uuid:a"
    for user in ("1002", "nobody", None):
        assert await desk.registrar.contact_of(gruu, PHONE, user) is None
    assert await desk.registrar.contact_of("sip:1001@elsewhere.test;gr=urn:uuid:a", PHONE, "1001") is None
    desk.now += 301
    assert await desk.registrar.contact_of(gruu, PHONE, "1001") is None
    assert await Desk(BrokenStore()).registrar.contact_of(gruu, PHONE, "1001") is None


EDGE_FLOWS = [f"<sip:flow{number}@edge.test;lr;ob>" for number in (1, 2)]


async def by_edge(desk: Desk, number: int) -> None:
    contact = device_contact("a", "192.0.2.8", f";reg-id={number}")
    reply = await desk.sent(contact, path=EDGE_FLOWS[number - 1], supported="outbound, path")
    assert reply.status == 200


async def flows_of(desk: Desk) -> dict[int | None, Binding]:
    return {binding.reg_id: binding for binding in await desk.store.bindings(AOR, desk.now)}


async def removed(desk: Desk) -> None:
    await asyncio.wait(tuple(desk.registrar._removals), timeout=30)


async def test_a_flow_that_its_edge_proxy_has_lost_is_removed() -> None:
    """That one alone, however often it is said, and whatever was learned of the phone in the meantime (RFC 5626)."""
    desk = Desk()
    await by_edge(desk, 1)
    await by_edge(desk, 2)
    failed = (await flows_of(desk))[2]
    await desk.store.put_binding(replace(failed, codecs=("pcma",)), desk.now, 10)
    for _ in range(2):
        desk.registrar.flow_failed(failed)
    await removed(desk)
    assert set(await flows_of(desk)) == {1}


async def test_a_flow_that_was_registered_again_before_it_was_removed_stays() -> None:
    """What was said is of the flow before; the same holds for one that has gone by itself."""
    desk = Desk()
    await by_edge(desk, 2)
    failed = (await flows_of(desk))[2]
    await by_edge(desk, 2)
    desk.registrar.flow_failed(failed)
    await removed(desk)
    assert set(await flows_of(desk)) == {2}
    desk.now += 301
    desk.registrar.flow_failed(failed)
    await removed(desk)


async def test_a_flow_is_removed_though_others_change_the_address_meanwhile() -> None:
    """What they stored stands; who is overtaken for ever, and a store that is away, leave it where it is."""
    store = BusyStore(rivals=0)
    desk = Desk(store)
    await by_edge(desk, 2)
    failed = (await flows_of(desk))[2]
    store.rivals = 1000
    desk.registrar.flow_failed(failed)
    await removed(desk)
    store.rivals = 0
    assert 2 in await flows_of(desk)
    store.rivals = 2
    desk.registrar.flow_failed(failed)
    await removed(desk)
    assert {"sip:rival0@192.0.2.9", "sip:rival1@192.0.2.9"} < await desk.contacts()
    assert 2 not in await flows_of(desk)
    broken = Desk(BrokenStore())
    broken.registrar.flow_failed(failed)
    task, *_ = broken.registrar._removals
    await removed(broken)
    assert task.exception() is None
