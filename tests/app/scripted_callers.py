"""Callers of a house by SIP, WebSocket and HTTP, and descriptions with which no call can be made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import httpx

from gateway.call.state import State
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request
from gateway.sip.message.uri import Uri
from tests.app.phones import Phone
from tests.app.scripted_house import GOOD, Callee, House
from tests.app.ws_phone import CONTACT, WebSocketPhone
from tests.interop.gateway import PASSWORDS
from tests.media.engine_support import browser_sdp, until

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


async def previewed(callee: Callee, sdp: str, *, reliable: bool) -> Request:
    """An INVITE that the callee has answered with 183 and this description."""
    invite = await callee.request("INVITE")
    fields = [("Contact", callee.contact), *([("Require", "100rel"), ("RSeq", "1")] if reliable else [])]
    await callee.send(callee.says(invite, 183, sdp, tuple(fields)))
    if reliable:
        await callee.accepts("PRACK")
    return invite
