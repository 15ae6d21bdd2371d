"""kill -9 of `gateway run`: the next one finds the calls, between real phones and an aiortc browser."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway.demo.phone import DeskPhone
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request
from sdp import SessionDescription
from tests.app.ws_phone import TcpPhone, UdpPhone
from tests.interop.gateway import NEAR, PASSWORDS, PHONE_HZ, TONE_HZ
from tests.interop.house import OTHER_HZ, House, hear_each_other, house, talk
from tests.interop.stranger import stranger
from tests.media.plane_rig import until

SIGNALLING_BACK = 2.0
"""Seconds of wall clock, without those that others had the cores, from a start until SIP and the page are there."""
KILLS = 5
CLOCKS = 0.1
"""Seconds by which the wall clock, by which processes count on, may go otherwise than the one that never goes back."""
ROUTES = [{"match": "601", "to": "service:tone"}, {"match": "70?", "to": "feature:park"}]
REFRESH_OVERDUE = 1000
"""Seconds: more than half of `sip.session_timer.expires`."""

pytestmark = [pytest.mark.wall, pytest.mark.serial, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    changes = {"CDR__ENABLED": "true", "SIP__PARK_TIMEOUT": "5", "ROUTES": json.dumps(ROUTES)}
    async with house(tmp_path_factory.mktemp("gateway"), **changes) as gateway:
        yield gateway


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one(gateway: House) -> DeskPhone:
    return await gateway.phone("1001", PHONE_HZ)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def other(gateway: House) -> DeskPhone:
    return await gateway.phone("1002", OTHER_HZ)


async def up(one: DeskPhone, other: DeskPhone) -> None:
    """1001 has called 1002."""
    one.dial("sip:1002@gateway.example")
    await other.expect("state", state="answered")
    await one.expect("state", state="answered")


async def over(one: DeskPhone, other: DeskPhone) -> None:
    """1001 hangs up, and both know that it is over."""
    one.hangup()
    await asyncio.gather(one.expect("state", state="ended"), other.expect("state", state="ended"))


async def killed(gateway: House) -> None:
    await gateway.kill()
    await gateway.start()


async def hears(phone: DeskPhone, hz: float) -> None:
    """That tone reaches the phone, after what was still on its way."""
    async with asyncio.timeout(8):
        while True:
            await phone.listen()
            if float((await phone.expect("tone")).details["hz"]) == pytest.approx(hz, abs=NEAR):
                return


async def test_phones_go_on_with_their_call(gateway: House, one: DeskPhone, other: DeskPhone) -> None:
    """After a kill they hear each other, each holds and takes back and refreshes; after another the BYE arrives.

    The call's record counts from its answer to that BYE.
    """
    dialled = time.monotonic()
    before = len(gateway.records())
    await up(one, other)
    answered = time.monotonic()
    await killed(gateway)
    await talk(one, other)
    for number, phone in enumerate((one, other)):
        phone.hold()
        await gateway.logged("input=offer-answered", 2 * number + 1)
        phone.unhold()
        await gateway.logged("input=offer-answered", 2 * number + 2)
        phone.update()
        assert (await phone.expect("told", method="UPDATE")).details["code"] == 200
    await talk(one, other)
    await killed(gateway)
    await talk(one, other)
    hung_up = time.monotonic()
    await over(other, one)
    ended = time.monotonic()
    await until(lambda: len(gateway.records()) > before)
    [record] = gateway.records()[before:]
    assert hung_up - answered - CLOCKS <= record["seconds"] <= ended - dialled + CLOCKS
    assert record["cause"] == "normal"


async def test_a_parked_call_comes_back_to_who_parked_it(gateway: House, one: DeskPhone, other: DeskPhone) -> None:
    """Though the gateway dies while it waits."""
    await up(one, other)
    other.transfer("sip:701@gateway.example")
    await other.expect("state", state="ended")
    await killed(gateway)
    await other.expect("state", timeout=30, state="answered")
    await talk(one, other)
    await over(one, other)


async def test_a_refresh_that_is_due_is_sent(gateway: House, one: DeskPhone, other: DeskPhone) -> None:
    """The session timer has run on while nobody was there; the phone answers, and the call goes on."""
    await up(one, other)
    await gateway.kill()
    gateway.age(REFRESH_OVERDUE)
    await gateway.start()
    assert (await other.expect("asked", method="UPDATE")).details["code"] == 200
    await talk(one, other)
    await over(one, other)


async def test_a_phone_by_tcp_behind_nat_is_reached_once_it_registers_again(gateway: House, one: DeskPhone) -> None:
    """Its Contact leads nowhere and its connection died with the gateway: a hold and the BYE come by the next one."""
    contact = "sip:1003@desk.invalid;transport=tcp"

    async def comes() -> TcpPhone:
        phone = await TcpPhone.open("127.0.0.1", gateway.sip, "1003", "gateway.example", PASSWORDS["1003"])
        assert (await phone.register(contact=contact)).status == 200
        return phone

    phone = await comes()
    try:
        one.dial("sip:1003@gateway.example")
        await phone.answer(await phone.request("INVITE"), contact)
        await phone.request("ACK")
        await one.expect("state", state="answered")
        await gateway.kill()
        await phone.close()
        await gateway.start()
        phone = await comes()
        one.hold()
        await phone.answer(await phone.request("INVITE"), contact)
        await phone.request("ACK")
        one.hangup()
        await phone.request("BYE")
        await one.expect("state", state="ended")
    finally:
        await phone.close()


@pytest.mark.parametrize("caller_leaves", [True, False])
async def test_a_call_is_passed_on(gateway: House, one: DeskPhone, other: DeskPhone, caller_leaves: bool) -> None:
    """REFER after a kill, by the caller or the callee: the other hears the new far end, also after another kill."""
    leaves, stays = (one, other) if caller_leaves else (other, one)
    await up(one, other)
    await killed(gateway)
    leaves.transfer("sip:601@gateway.example")
    await leaves.expect("transfer", code=200, final=True)
    await leaves.expect("state", state="ended")
    await hears(stays, TONE_HZ)
    if caller_leaves:
        await killed(gateway)
        await hears(stays, TONE_HZ)
    stays.hangup()
    await stays.expect("state", state="ended")


async def test_a_phone_connects_the_two_it_talks_with(gateway: House, one: DeskPhone, other: DeskPhone) -> None:
    """REFER with Replaces, where both calls are of the process before, one of them on hold."""
    async with gateway.browser() as browser:
        await up(one, other)
        one.consult("sip:alice@gateway.example")
        await browser.status("ringing")
        await browser.accept()
        await one.expect("state", state="answered")
        await hear_each_other(browser, one)
        await killed(gateway)
        assert (await gateway.take_back(browser))["state"] == "answered"
        one.connect()
        await one.expect("transfer", code=200, final=True)
        await hear_each_other(browser, other, OTHER_HZ)
        other.hangup()
        await other.expect("state", state="ended")
        await browser.status("ready")


@pytest.mark.parametrize("incoming", [False, True])
async def test_a_page_takes_its_call_back(gateway: House, one: DeskPhone, incoming: bool) -> None:
    """It signs in again and names its call; they hear each other, a hold is shown, a hang-up of either is heard."""
    async with gateway.browser() as browser:
        if incoming:
            one.dial("sip:alice@gateway.example")
            await browser.status("ringing")
            await browser.accept()
        else:
            await browser.dial("1001")
        await one.expect("state", state="answered")
        await hear_each_other(browser, one)
        await gateway.kill()
        await hear_each_other(browser, one)
        await gateway.start()
        assert (await gateway.take_back(browser))["state"] == "answered"
        await gateway.logged("input=all-returned")
        await hear_each_other(browser, one)
        one.hold()
        await browser.notified("call_held", held=True)
        one.unhold()
        await browser.notified("call_held", held=False)
        await hear_each_other(browser, one)
        if incoming:
            one.hangup()
            await browser.status("ready")
        else:
            await browser.hang_up()
        await one.expect("state", state="ended")


async def test_what_was_being_set_up_ends_with_a_cause(gateway: House, one: DeskPhone, other: DeskPhone) -> None:
    """A phone that rings is cancelled, the caller hears 500, a page is told when it asks; then calls work again."""
    other.on_incoming(180)
    async with gateway.browser() as browser:
        one.dial("sip:1002@gateway.example")
        await other.expect("state", state="ringing")
        await one.expect("state", state="ringing")
        await killed(gateway)
        assert (await one.expect("state", state="ended")).details["code"] == 500
        await other.expect("state", state="ended")
        await gateway.open(browser)
        await browser.dial("1002")
        await other.expect("state", state="ringing")
        await killed(gateway)
        await other.expect("state", state="ended")
        assert (await gateway.take_back(browser))["state"] == "ended"
    other.on_incoming(200)


async def test_a_cancel_that_was_lost_with_the_gateway_is_said_again(gateway: House, one: DeskPhone) -> None:
    """The caller has hung up; the phone rings on, until the next gateway asks what became of it and cancels it."""
    async with stranger() as socket:
        place = ("127.0.0.1", gateway.sip)
        phone = UdpPhone(socket, place, "1003", "gateway.example", PASSWORDS["1003"])
        contact = f"sip:1003@{socket.place[0]}:{socket.place[1]}"
        assert (await phone.register(contact=contact)).status == 200
        one.dial("sip:1003@gateway.example")
        invite = await phone.request("INVITE")
        ringing = build.response(invite, 180, to_tag="phone", contact=NameAddr.parse(f"<{contact}>"))
        await phone.send(ringing)
        await one.expect("state", state="ringing")
        one.hangup()
        await phone.request("CANCEL")
        await one.expect("state", state="ended")
        await gateway.logged("input=caller-hung-up")
        await killed(gateway)
        while (again := await phone.read()).cseq.method != "INVITE":
            assert again.cseq.method in ("CANCEL", "OPTIONS"), again
        assert again.top_via.branch == invite.top_via.branch
        await phone.send(ringing)
        cancel = await phone.request("CANCEL")
        assert cancel.top_via.branch == invite.top_via.branch
        await phone.send(build.response(cancel, 200, to_tag="phone"))
        await phone.send(build.response(invite, 487, to_tag="phone"))
        await phone.request("ACK")


async def test_what_a_phone_is_offered_next_is_newer_than_what_the_dead_gateway_offered(
    gateway: House, one: DeskPhone
) -> None:
    """It has taken a change of which no process heard that it did: it may ignore what is as old (RFC 3264 section 8).

    The session is the same.
    """
    async with stranger() as socket:
        phone = UdpPhone(socket, ("127.0.0.1", gateway.sip), "1003", "gateway.example", PASSWORDS["1003"])
        contact = f"sip:1003@{socket.place[0]}:{socket.place[1]}"
        assert (await phone.register(contact=contact)).status == 200
        one.dial("sip:1003@gateway.example")
        first = await phone.request("INVITE")
        await phone.answer(first, contact)
        await one.expect("state", state="answered")
        one.hold()
        held = await offered(phone, after=first)
        await killed(gateway)
        await phone.answer(held, contact)
        again = await offered(phone, after=held)
        before, now = (SessionDescription.parse(each.body.decode()).origin for each in (held, again))
        assert before is not None
        assert now is not None
        assert now.session_id == before.session_id
        assert now.session_version > before.session_version
        await phone.answer(again, contact)
        one.hangup()
        await phone.request("BYE")
        await one.expect("state", state="ended")


async def offered(phone: UdpPhone, after: Request) -> Request:
    """The next INVITE; those before it may come again."""
    while (invite := await phone.request("INVITE")).cseq.number <= after.cseq.number:
        pass
    return invite


async def test_calls_of_another_version_end_with_a_cause(gateway: House, one: DeskPhone, other: DeskPhone) -> None:
    """Both phones hear BYE, a page is told when it asks: their media would end a minute later, and nobody say why."""
    await up(one, other)
    await gateway.kill()
    gateway.disguise(b"calls 9\n")
    await gateway.start()
    await asyncio.gather(one.expect("state", state="ended"), other.expect("state", state="ended"))
    async with gateway.browser() as browser:
        await gateway.open(browser)
        await browser.dial("1002")
        await other.expect("state", state="answered")
        await gateway.kill()
        gateway.disguise(b"calls 1\n")
        await gateway.start()
        await other.expect("state", state="ended")
        assert (await gateway.take_back(browser))["state"] == "ended"


async def test_what_rings_when_the_plane_is_killed_ends_with_a_cause(
    gateway: House, one: DeskPhone, other: DeskPhone
) -> None:
    """The caller hears 500, the phone that rings is cancelled; the next call has the next plane."""
    other.on_incoming(180)
    one.dial("sip:1002@gateway.example")
    await other.expect("state", state="ringing")
    await one.expect("state", state="ringing")
    plane = gateway.plane
    assert plane is not None
    os.kill(plane, signal.SIGKILL)
    assert (await one.expect("state", state="ended")).details["code"] == 500
    await other.expect("state", state="ended")
    other.on_incoming(200)
    await up(one, other)
    await talk(one, other)
    await over(one, other)


async def test_where_the_plane_is_gone_too_both_sides_are_offered_other_media(
    gateway: House, one: DeskPhone, other: DeskPhone
) -> None:
    """By a re-INVITE each; a phone that holds goes on holding, and takes the call back then."""
    await up(one, other)
    one.hold()
    # Not what the gateway has logged: killed before its 200 left, the phone would wait for that one for many seconds.
    await one.expect("held")
    await gateway.kill()
    await gateway.kill_plane()
    await gateway.start()
    await gateway.logged("input=offer-answered", 2)
    one.unhold()
    await gateway.logged("input=offer-answered", 3)
    await talk(one, other)
    await over(one, other)


async def test_a_restart_on_purpose_keeps_calls_where_that_is_wanted(
    gateway: House, one: DeskPhone, other: DeskPhone
) -> None:
    """SIGTERM ends the process at once and the call goes on; without a call it ends as any other."""
    await gateway.kill()
    await gateway.start(LIMITS__KEEP_CALLS="restart")
    await up(one, other)
    assert await gateway.terminate() == 0
    await gateway.start()
    await talk(one, other)
    one.hangup()
    await gateway.logged("state=ended")
    assert await gateway.terminate() == 0
    assert "Stopped." in gateway.log.read_text(encoding="utf-8")


async def test_calls_end_with_a_cause_where_none_is_to_be_kept_any_more(
    gateway: House, one: DeskPhone, other: DeskPhone
) -> None:
    """What the gateway before has written down is not left alone; nothing is written any more."""
    await gateway.kill()
    await gateway.start(LIMITS__KEEP_CALLS="crash")
    await up(one, other)
    await gateway.kill()
    await gateway.start(LIMITS__KEEP_CALLS="never")
    await asyncio.gather(one.expect("state", state="ended"), other.expect("state", state="ended"))
    await up(one, other)
    await gateway.kill()
    await gateway.start(LIMITS__KEEP_CALLS="crash")
    assert "calls of the gateway before" not in gateway.log.read_text(encoding="utf-8")
    for phone in (one, other):
        phone.hangup()
        await phone.expect("state", state="ended")


async def test_signalling_is_soon_back(gateway: House, one: DeskPhone, other: DeskPhone) -> None:
    """The median of five kills with a call up, without what others had the cores for."""
    await up(one, other)
    for _ in range(KILLS):
        await killed(gateway)
    await talk(one, other)
    await over(one, other)
    back = [each.whole - each.waited for each in gateway.recoveries[-KILLS:]]
    assert statistics.median(back) < SIGNALLING_BACK, gateway.recoveries
