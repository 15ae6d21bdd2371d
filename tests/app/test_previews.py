"""Descriptions of callees that cannot be used: a preview is passed over, a 2xx ends the callee that sent it, alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

from gateway.call.state import State
from gateway.media.rtpengine.bencode import Encodable
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.uri import Uri
from tests.app.phones import Phone
from tests.app.scripted_house import GOOD, Callee, House, house
from tests.app.ws_phone import CONTACT, WebSocketPhone
from tests.interop.gateway import PASSWORDS
from tests.media.engine_support import browser_sdp, phone_sdp, until
from tests.media.ng_daemon import daemon

HEAD = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
UNUSABLE = {
    "a refused line": f"{HEAD}m=audio 0 RTP/AVP 0\r\n",
    "digits alone": f"{HEAD}m=audio 40002 RTP/AVP 101\r\na=rtpmap:101 telephone-event/8000\r\n",
    "another codec": f"{HEAD}m=audio 40002 RTP/AVP 97\r\na=rtpmap:97 AMR/8000\r\n",
    "another static codec": f"{HEAD}m=audio 40002 RTP/AVP 18\r\n",
    "a picture alone": f"{HEAD}m=video 40002 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n",
    "the other IP version": GOOD.replace("IP4 127.0.0.1", "IP6 ::1"),
    "no SDP": "nothing that could be read",
    "nothing of SDP but a version": "v=0\r\n",
}
PREVIEWS = UNUSABLE | {
    "more lines than offered": f"{GOOD}m=audio 40004 RTP/AVP 0\r\nm=video 40006 RTP/AVP 96\r\n",
    "an empty ptime": f"{GOOD}a=ptime:\r\n",
    "a name": GOOD.replace("c=IN IP4 127.0.0.1", "c=IN IP4 media.invalid"),
}
"""Descriptions that other rules may find usable are previews, too: what they say is not asked here."""


class Caller(Protocol):
    """A caller of 04711 or of the group of phones."""

    async def dial(self, there: House, number: str) -> None:
        """Begin a call."""

    async def status(self) -> int:
        """The status with which the call is answered, 200 where somebody talks."""

    async def close(self) -> None:
        """Leave."""


class SipCaller:
    async def dial(self, there: House, number: str) -> None:
        self.phone = Phone(there.agent, there.app, "1001", dials=number)

    async def status(self) -> int:
        return await self.phone.status()

    async def close(self) -> None:
        return


class WebSocketCaller:
    async def dial(self, there: House, number: str) -> None:
        domain = there.app.config.domain
        url = f"ws://{there.app.config.web.listen}/sip"
        self.phone = await WebSocketPhone.open(url, "1001", domain, PASSWORDS["1001"])
        uri, contact = Uri.of(number, domain), NameAddr.parse(f"<{CONTACT}>")
        invite = self.phone.ask("INVITE", uri, uri, contact, body=browser_sdp().encode())
        self.answered = asyncio.create_task(invite)

    async def status(self) -> int:
        return (await self.answered).status

    async def close(self) -> None:
        await self.phone.close()


class HttpCaller:
    """A page that hears of the outcome by asking: its answer has come before anybody rang."""

    async def dial(self, there: House, number: str) -> None:
        headers = {"Authorization": f"Bearer alice:{PASSWORDS['alice']}"}
        async with httpx.AsyncClient(base_url=there.app.page_url, headers=headers, timeout=30) as http:
            body = {"sdp": {"type": "offer", "sdp": browser_sdp()}, "to": number}
            placed = asyncio.create_task(http.post("/webrtc/offer", json=body))
            self.answer = await placed
        [self.call] = there.app.calls

    async def status(self) -> int:
        assert self.answer.status_code == 200
        await until(lambda: self.call.state in (State.CONNECTED, State.ENDED))
        return 200 if self.call.state is State.CONNECTED else self.call.cause.status

    async def close(self) -> None:
        return


CALLERS: dict[str, type[Caller]] = {"sip": SipCaller, "websocket": WebSocketCaller, "http": HttpCaller}


@asynccontextmanager
async def calling(there: House, kind: str, number: str) -> AsyncIterator[Caller]:
    """A caller of that kind who has dialled."""
    caller = CALLERS[kind]()
    await caller.dial(there, number)
    try:
        yield caller
    finally:
        await caller.close()


async def previewed(callee: Callee, sdp: str, *, reliable: bool) -> Any:
    """An INVITE that the callee has answered with 183 and this description."""
    invite = await callee.request("INVITE")
    fields = [("Contact", callee.contact), *([("Require", "100rel"), ("RSeq", "1")] if reliable else [])]
    await callee.send(callee.says(invite, 183, sdp, tuple(fields)))
    if reliable:
        await callee.accepts("PRACK")
    return invite


@pytest.mark.parametrize("reliable", [False, True])
@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("preview", PREVIEWS)
async def test_a_preview_that_cannot_be_used_is_passed_over(
    tmp_path: Path, preview: str, caller: str, reliable: bool
) -> None:
    """The call is judged by the 200, also behind a reliable 183, which gets its PRACK; nobody is cancelled."""
    async with house(tmp_path) as there, calling(there, caller, "04711") as placed:
        invite = await previewed(there.trunk, PREVIEWS[preview], reliable=reliable)
        await there.trunk.send(there.trunk.says(invite, 200))
        await there.trunk.request("ACK")
        assert await placed.status() == 200
        assert not there.trunk.has("CANCEL")
        assert not there.trunk.has("BYE")


@pytest.mark.parametrize("preview", UNUSABLE)
async def test_a_usable_preview_behind_an_unusable_one_is_heard(tmp_path: Path, preview: str) -> None:
    """The caller rings at the first 183 and has a description with the second; a bare 200 takes that one."""
    async with house(tmp_path) as there, calling(there, "sip", "04711") as placed:
        assert isinstance(placed, SipCaller)
        invite = await previewed(there.trunk, UNUSABLE[preview], reliable=False)
        assert getattr(await placed.phone.rings, "status", None) == 180
        await there.trunk.send(there.trunk.says(invite, 183))
        await until(lambda: [call.state for call in there.app.calls] == [State.EARLY])
        await there.trunk.send(there.trunk.says(invite, 200, sdp=None))
        assert await placed.status() == 200


@pytest.mark.parametrize("number", ["8000", "1002"])
@pytest.mark.parametrize("preview", UNUSABLE)
async def test_a_preview_of_one_phone_leaves_the_answer_of_another(tmp_path: Path, preview: str, number: str) -> None:
    """Both as phones of one user and as users of one group."""
    async with house(tmp_path, same_user=number == "1002") as there, calling(there, "sip", number) as placed:
        first, second = there.phones
        await previewed(first, UNUSABLE[preview], reliable=False)
        await second.send(second.says(await second.request("INVITE"), 200))
        await second.request("ACK")
        assert await placed.status() == 200
        await first.request("CANCEL")
        assert not second.has("BYE")


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("answer", UNUSABLE)
async def test_a_200_that_cannot_be_used_is_acknowledged_and_ended(tmp_path: Path, answer: str, caller: str) -> None:
    """The caller hears 488."""
    async with house(tmp_path) as there, calling(there, caller, "04711") as placed:
        invite = await there.trunk.request("INVITE")
        await there.trunk.send(there.trunk.says(invite, 200, UNUSABLE[answer]))
        await there.trunk.request("ACK")
        await there.trunk.accepts("BYE")
        assert await placed.status() == 488


@pytest.mark.parametrize("number", ["8000", "1002"])
@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("answer", UNUSABLE)
async def test_a_200_that_cannot_be_used_ends_that_phone_alone(
    tmp_path: Path, answer: str, at_once: bool, number: str
) -> None:
    """The other phone rings on, or has answered at the same moment, and has the call."""
    async with house(tmp_path, same_user=number == "1002") as there, calling(there, "sip", number) as placed:
        first, second = there.phones
        bad, good = await first.request("INVITE"), await second.request("INVITE")
        await first.send(first.says(bad, 200, UNUSABLE[answer]))
        if not at_once:
            await first.request("ACK")
            await first.accepts("BYE")
        await second.send(second.says(good, 200))
        await second.request("ACK")
        assert await placed.status() == 200
        if at_once:
            await first.request("ACK")
            await first.accepts("BYE")
        assert not second.has("BYE")


@pytest.mark.parametrize("preview", [name for name in UNUSABLE if name != "the other IP version"])
async def test_a_preview_that_the_media_engine_refuses_is_passed_over(tmp_path: Path, preview: str) -> None:
    """Also where rtpengine judges it, which relays between IP versions."""

    def judging(request: dict[str, Any]) -> Encodable:
        if request["command"] == "ping":
            return {"result": "pong"}
        if request["command"] in ("offer", "answer") and request["sdp"] in map(str.encode, UNUSABLE.values()):
            return {"result": "error", "error-reason": "no"}
        return {"result": "ok", "sdp": phone_sdp(codecs=("pcmu",)), "tags": {}}

    async with (
        daemon(judging) as (_, (host, port)),
        house(tmp_path, MEDIA__ENGINE=f"rtpengine:{host}:{port}") as there,
    ):
        async with calling(there, "sip", "04711") as placed:
            invite = await previewed(there.trunk, UNUSABLE[preview], reliable=False)
            await there.trunk.send(there.trunk.says(invite, 200))
            await there.trunk.request("ACK")
            assert await placed.status() == 200
            assert not there.trunk.has("CANCEL")
        async with calling(there, "sip", "04711") as placed:
            invite = await there.trunk.request("INVITE")
            await there.trunk.send(there.trunk.says(invite, 200, UNUSABLE[preview]))
            await there.trunk.accepts("BYE")
            assert await placed.status() >= 488
