"""What numbers do beside calling somebody, at a whole gateway: forwarding, do not disturb, pick-up, park."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.app import GatewayApp
from gateway.call.leg import TransferRequested
from gateway.call.status import Cause
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.auth.account import Credentials
from gateway.sip.invite import events
from gateway.sip.invite.incoming import IncomingSession
from tests.app.phones import SDP, Phone
from tests.interop.gateway import PASSWORDS, config_on_free_ports
from tests.net.peers import Application, Recorder
from tests.rows import by_row

ROUTES = [
    {"match": "600", "to": "service:echo"},
    {"match": "601", "to": "service:tone"},
    {"match": "70?", "to": "feature:park"},
    {"match": "[*]8*", "to": "feature:pick-up", "strip": 2},
    {"match": "[*]21*", "to": "feature:forward-always", "strip": 3},
    {"match": "[*]67*", "to": "feature:forward-busy", "strip": 3},
    {"match": "[*]61*", "to": "feature:forward-no-answer", "strip": 3},
    {"match": "[*]00", "to": "feature:forward-off"},
    {"match": "[*]78", "to": "feature:do-not-disturb-on"},
    {"match": "[*]79", "to": "feature:do-not-disturb-off"},
    {"match": "8000", "to": "group:sales"},
]
Answering = Callable[[IncomingSession], None]


class World:
    """A gateway and one user agent that is every phone."""

    def __init__(self, app: GatewayApp, agent: UserAgent) -> None:
        self.app, self.agent = app, agent
        self.rings: asyncio.Queue[tuple[IncomingSession, Recorder]] = asyncio.Queue()

    def called(self, session: IncomingSession, recorder: Recorder) -> None:
        session.ring(180)
        self.rings.put_nowait((session, recorder))

    async def registers(self, user: str) -> None:
        aor, credentials = f"sip:{user}@{self.app.config.domain}", Credentials(user, PASSWORDS[user])
        await self.agent.register(f"sip:{self.app.sip_hostport}", aor=aor, credentials=credentials)

    def dials(self, user: str, number: str) -> Phone:
        return Phone(self.agent, self.app, user, dials=number)

    async def status(self, user: str, number: str) -> int:
        """What becomes of that; who answers is hung up on, and it is waited for the end of the call."""
        phone = self.dials(user, number)
        status = await phone.status()
        phone.session.hangup()
        for call in self.app.calls:
            await call.finished()
        return status

    async def rung(self) -> tuple[IncomingSession, Recorder]:
        return await asyncio.wait_for(self.rings.get(), 30)


@asynccontextmanager
async def world(folder: Path, **changes: str) -> AsyncIterator[World]:
    changes = {"ROUTES": json.dumps(ROUTES), "GROUPS": '[{"name": "sales", "members": ["1002", "1003"]}]', **changes}
    app = GatewayApp(config_on_free_ports(folder, **changes))
    await app.start()
    application = Application(lambda session, recorder: made.called(session, recorder))
    agent = UserAgent(UserAgentConfig(listen=(("127.0.0.1", 0),)), application)
    made = World(app, agent)
    await agent.start()
    try:
        yield made
    finally:
        await agent.close()
        await app.stop()


async def test_a_user_forwards_by_number_and_that_outlives_a_restart(tmp_path: Path) -> None:
    """A tone says that it was done; calls go there until it is taken back."""
    async with world(tmp_path) as at:
        assert await at.status("1001", "1002") == 480
        assert await at.status("1002", "*21600") == 200
        assert await at.status("1001", "1002") == 200
    async with world(tmp_path) as at:
        assert await at.status("1001", "1002") == 200
        assert await at.status("1002", "*00") == 200
        assert await at.status("1001", "1002") == 480


async def test_a_forward_to_where_its_user_may_not_call_is_refused(tmp_path: Path) -> None:
    """By number as by the page; what was set stays."""
    async with world(tmp_path, USERS__1002__MAY_CALL="600, [*]*") as at:
        assert await at.status("1002", "*21601") == 403
        assert await at.status("1002", "*21600") == 200
        assert await at.status("1001", "1002") == 200


async def test_a_forward_to_a_feature_is_refused(tmp_path: Path) -> None:
    """Nobody who calls is parked, or picks up, by somebody else's rules."""
    async with world(tmp_path) as at:
        assert await at.status("1002", "*21701") == 403
        assert await at.status("1002", "*21*8") == 403
        assert await at.status("1001", "1002") == 480


async def test_busy_no_answer_and_do_not_disturb(tmp_path: Path) -> None:
    """Each by its number; a phone that is busy passes the call on, one that is not to be disturbed does not ring."""
    async with world(tmp_path) as at:
        await at.registers("1002")
        assert await at.status("1002", "*78") == 200
        assert await at.status("1001", "1002") == 486
        assert await at.status("1002", "*79") == 200
        assert await at.status("1002", "*67600") == 200
        calling = asyncio.ensure_future(at.status("1001", "1002"))
        session, _ = await at.rung()
        session.reject(486)
        assert await calling == 200
        assert at.rings.empty()


async def test_trunks_and_strangers_have_no_features(tmp_path: Path) -> None:
    """Who calls in from outside forwards nobody's calls, and takes no parked one."""
    trunk = {"name": "office", "uri": "sip:127.0.0.1:5099", "sources": ["127.0.0.1"]}
    async with world(tmp_path, TRUNKS=json.dumps([trunk])) as at:
        for number in ("*21600", "*8", "701"):
            target, body = f"sip:{number}@{at.app.sip_hostport}", SDP.format(port=40000).encode()
            phone = at.agent.invite(target, caller="<sip:anybody@elsewhere.test>", body=body)
            failed = await Recorder(phone).wait(events.Failed)
            assert isinstance(failed, events.Failed)
            assert failed.status == 403


@by_row(
    ("number", "groups", "status"),
    [("*8", "sales", 200), ("*81002", "sales", 200), ("*81003", "sales", 404), ("*8", "other", 404)],
)
async def test_what_rings_in_the_group_is_picked_up_by_number(
    tmp_path: Path, number: str, groups: str, status: int
) -> None:
    """With a number only what rings there."""
    async with world(tmp_path, USERS__1002__PICKUP_GROUPS="sales", USERS__1003__PICKUP_GROUPS=groups) as at:
        await at.registers("1002")
        caller = at.dials("1001", "1002")
        _, callee = await at.rung()
        assert await at.dials("1003", number).status() == status
        if status == 200:
            assert await caller.status() == 200
            await callee.wait(events.Ended)
            assert len(at.app.calls) == 1


class Outcome:
    """What becomes of a transfer."""

    def __init__(self) -> None:
        self.cause: asyncio.Future[Cause] = asyncio.get_running_loop().create_future()

    def accepted(self) -> None: ...

    def ringing(self) -> None: ...

    def ended(self, cause: Cause) -> None:
        self.cause.set_result(cause)


async def parked(at: World, place: str) -> tuple[Cause, Phone]:
    """1001 calls 1002, who parks the call there; how that went, and 1001."""
    caller = at.dials("1001", "1002")
    session, callee = await at.rung()
    session.answer(SDP.format(port=40002).encode())
    assert await caller.status() == 200
    call = next(call for call in at.app.calls if call.caller.is_named(caller.dialog))
    outcome = Outcome()
    call.leg_event(call.legs[1], TransferRequested(place, outcome))
    cause = await asyncio.wait_for(outcome.cause, 30)
    if cause is Cause.NORMAL:
        await callee.wait(events.Ended)
    return cause, caller


async def test_a_parked_call_waits_and_is_taken_back_by_its_number(tmp_path: Path) -> None:
    """Transferred there; whoever dials the place talks with who waits. A place holds one call, and then none."""
    async with world(tmp_path) as at:
        await at.registers("1002")
        assert await at.dials("1003", "701").status() == 404
        cause, waiting = await parked(at, "701")
        assert cause is Cause.NORMAL
        assert (await parked(at, "701"))[0] is Cause.BUSY
        taker = at.dials("1003", "701")
        assert await taker.status() == 200
        taker.session.hangup()
        await asyncio.wait_for(waiting.over, 30)
        assert await at.dials("1003", "701").status() == 404


async def test_calls_that_are_there_are_taken_while_the_gateway_drains(tmp_path: Path) -> None:
    """One that is parked, one that rings, and by another phone of the same user; what else is dialled is refused."""
    async with world(tmp_path, USERS__1002__PICKUP_GROUPS="sales", USERS__1003__PICKUP_GROUPS="sales") as at:
        await at.registers("1002")
        _, waiting = await parked(at, "701")
        caller = at.dials("1001", "1002")
        _, callee = await at.rung()
        draining = asyncio.ensure_future(at.app.drain())
        await asyncio.sleep(0)
        for number in ("600", "1002", "*78", "*21600"):
            assert await at.dials("1003", number).status() == 503
        taker = at.dials("1003", "701")
        assert await taker.status() == 200
        assert await at.dials("1003", "702").status() == 404
        picker = at.dials("1003", "*8")
        assert (await picker.status(), await caller.status()) == (200, 200)
        await callee.wait(events.Ended)
        other = Phone(at.agent, at.app, "1003", picker.name)
        assert await other.status() == 200
        await asyncio.wait_for(picker.over, 30)
        assert len(at.app.calls) == 2
        for phone in (waiting, other):
            phone.session.hangup()
        await asyncio.wait_for(draining, 30)
        assert not len(at.app.calls)


async def test_a_parked_call_rings_back_at_who_parked_it(tmp_path: Path) -> None:
    """sip.park_timeout; once refused it waits and rings again, and is over where it is taken and hung up on."""
    async with world(tmp_path, SIP__PARK_TIMEOUT="0.3") as at:
        await at.registers("1002")
        _, waiting = await parked(at, "703")
        first, _ = await at.rung()
        first.reject(486)
        again, phone = await at.rung()
        again.answer(SDP.format(port=40002).encode())
        await phone.wait(events.Confirmed)
        again.hangup()
        await asyncio.wait_for(waiting.over, 30)
        for call in at.app.calls:
            await call.finished()
        assert at.rings.empty()


async def test_who_hangs_up_while_parked_is_gone(tmp_path: Path) -> None:
    """The place is free again."""
    async with world(tmp_path) as at:
        await at.registers("1002")
        _, waiting = await parked(at, "702")
        [call] = at.app.calls
        waiting.session.hangup()
        await call.finished()
        assert await at.dials("1003", "702").status() == 404
        assert (await parked(at, "702"))[0] is Cause.NORMAL


async def test_a_group_rings_by_its_number(tmp_path: Path) -> None:
    """All at once; the first to answer has the call."""
    async with world(tmp_path) as at:
        for user in ("1002", "1003"):
            await at.registers(user)
        caller = at.dials("1001", "8000")
        (session, _), (_, other) = await at.rung(), await at.rung()
        session.answer(SDP.format(port=40002).encode())
        assert await caller.status() == 200
        assert isinstance(await other.wait(events.Ended), events.Ended)


@pytest.mark.parametrize(("waiting", "second"), [("true", 180), ("false", 486)])
async def test_a_second_call_of_a_phone_rings_or_is_busy(tmp_path: Path, waiting: str, second: int) -> None:
    """users[].call_waiting: a phone with two calls shows both, where its user wants that; the first is not touched."""
    async with world(tmp_path, USERS__1002__CALL_WAITING=waiting) as at:
        await at.registers("1002")
        first = at.dials("1001", "1002")
        session, _ = await at.rung()
        session.answer(SDP.format(port=40002).encode())
        assert await first.status() == 200
        other = at.dials("1003", "1002")
        if second == 180:
            again, _ = await at.rung()
            again.answer(SDP.format(port=40004).encode())
        assert await other.status() == (200 if second == 180 else 486)
        assert len(at.app.calls) == (2 if second == 180 else 1)
        first.session.hangup()
        other.session.hangup()
        for call in at.app.calls:
            await call.finished()
