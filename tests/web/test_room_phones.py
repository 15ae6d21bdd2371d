"""A browser of the room server and its room's phones: what it says while its call is placed, and where that fails."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gateway.call.status import Cause
from gateway.web.facade import PlaceError
from gateway.web.rooms.phones import PhonesOfRoom
from tests.web.fake import ANSWER, SDP, FakeCall, FakeGateway, FakeRooms

pytestmark = pytest.mark.asyncio


class Rooms(FakeRooms):
    """Those of the room server are linked."""

    def room_link(self, room: str) -> str:
        return f"link-{room}"


class Gateway(FakeGateway):
    """Says whether it takes a call when the test does: True, False, or how it breaks."""

    def __init__(self) -> None:
        super().__init__()
        self.conferencing = Rooms()
        self.verdicts: list[asyncio.Future[bool]] = []

    async def place(self, *arguments: Any) -> FakeCall:
        self.verdicts.append(asyncio.get_running_loop().create_future())
        if not await self.verdicts[-1]:
            raise PlaceError(Cause.OVERLOADED)
        return await super().place(*arguments)


class Browser:
    """One of the room."""

    def __init__(self, gateway: Gateway) -> None:
        self.phones = PhonesOfRoom(gateway, "team")
        self.answers: list[Any] = []
        self.phones._say = self.answers.append

    def offers(self, number: int) -> str:
        sdp = SDP.replace("- 1 1", f"- 1 {number}")
        self.phones.send(json.dumps({"type": "offer", "offer": {"type": "offer", "sdp": sdp}, "from_peer_id": "ann"}))
        return sdp

    def trickles(self, *ports: int) -> None:
        for port in ports:
            init = {"candidate": f"candidate:1 1 udp 1 192.0.2.1 {port} typ host", "sdpMid": "0", "sdpMLineIndex": 0}
            self.phones.send(json.dumps({"type": "ice_candidate", "candidate": init, "from_peer_id": "ann"}))


async def decided(gateway: Gateway, verdict: bool | Exception) -> None:
    """The call that is being placed is taken, or not."""
    await asyncio.sleep(0)
    assert not gateway.verdicts[-1].done()
    if isinstance(verdict, Exception):
        gateway.verdicts[-1].set_exception(verdict)
    else:
        gateway.verdicts[-1].set_result(verdict)
    for _ in range(5):
        await asyncio.sleep(0)


def ports_of(call: FakeCall) -> list[int]:
    return [int(each[1].split()[5]) for each in call.log if each[0] == "candidate"]


@pytest.mark.parametrize("failure", [False, KeyError("secret detail")], ids=["refused", "broken"])
async def test_an_offer_that_waited_is_placed_where_the_one_before_was_not_taken(failure: bool | Exception) -> None:
    """With the candidates that came meanwhile; once it stands nothing waits, and it is changed by no old offer."""
    gateway = Gateway()
    browser = Browser(gateway)
    browser.offers(1)
    latest = browser.offers(2)
    browser.trickles(1000)
    await decided(gateway, failure)
    assert not gateway.calls
    await decided(gateway, True)
    [call] = gateway.calls
    assert (call.offer, call.log) == (latest, [("candidate", "candidate:1 1 udp 1 192.0.2.1 1000 typ host", "0")])
    assert [each.sdp for each in browser.answers] == [ANSWER]


async def test_nothing_of_a_call_that_was_not_taken_reaches_the_next_one() -> None:
    """Its candidates, before and after the refusal; the next one has all of its own."""
    gateway = Gateway()
    browser = Browser(gateway)
    browser.offers(1)
    browser.trickles(*range(1000, 1050))
    await decided(gateway, False)
    browser.trickles(*range(1050, 1064))
    browser.offers(2)
    browser.trickles(*range(2000, 2040))
    await decided(gateway, True)
    [call] = gateway.calls
    browser.trickles(*range(2040, 2064))
    assert ports_of(call) == [*range(2000, 2064)]


async def test_candidates_of_one_offer_are_capped_and_another_offer_has_as_many() -> None:
    """While it is placed, in the call, and after an offer in the call (an ICE restart)."""
    gateway = Gateway()
    browser = Browser(gateway)
    browser.offers(1)
    browser.trickles(*range(1000, 1100))
    await decided(gateway, True)
    [call] = gateway.calls
    assert ports_of(call) == [*range(1000, 1064)]
    restart = browser.offers(2)
    browser.trickles(*range(2000, 2100))
    assert call.log[64] == ("update", restart)
    assert ports_of(call)[64:] == [*range(2000, 2064)]


async def test_an_offer_that_came_while_the_first_was_placed_changes_the_call() -> None:
    """Once; a browser that has left meanwhile is hung up, and what waits is placed no more."""
    gateway = Gateway()
    browser = Browser(gateway)
    browser.offers(1)
    latest = browser.offers(2)
    await decided(gateway, True)
    [call] = gateway.calls
    assert call.log == [("update", latest)]
    browser.phones.close(1000)
    other = Browser(gateway)
    other.offers(1)
    other.offers(2)
    await asyncio.sleep(0)
    other.phones.send(json.dumps({"type": "peer_left", "peer_id": "ann"}))
    await decided(gateway, False)
    assert len(gateway.verdicts) == 2
