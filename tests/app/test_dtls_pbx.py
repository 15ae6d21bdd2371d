"""A PBX that begins another DTLS handshake after each exchange of descriptions, as Asterisk does, through a gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.app import GatewayApp
from gateway.net import InviteSession, SessionEvent
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.invite import events
from tests.app.tone_peers import TONES, Browser, tones_in
from tests.interop.gateway import config_on_free_ports
from tests.media.dtls_phone import Renewing
from tests.media.engine_support import until
from tests.net.peers import LOOPBACK, Application, Recorder, address

OURS = TONES["1001"]


class Pbx(Renewing):
    """One call of the PBX: answers at once, takes whatever is offered, and shakes hands after each exchange."""

    session: InviteSession

    def take_call(self, session: Any, recorder: Recorder) -> None:
        self.session = session
        recorder._react = self._react
        session.answer(self.sdp(setup="active").encode())
        self.begin(session.request.body.decode())
        self.play(OURS)

    def _react(self, event: SessionEvent) -> None:
        if isinstance(event, events.Offered):
            offer = event.body.decode()
            direction = "recvonly" if "a=sendonly" in offer else "sendrecv"
            self.session.answer_offer(event.exchange, self.sdp(setup="active", direction=direction).encode())
            self.begin(offer)
        if isinstance(event, events.OfferAnswered) and event.body:
            self.begin(event.body.decode())

    def offers(self, direction: str = "sendrecv") -> None:
        self.session.offer(self.sdp(setup="active", direction=direction).encode())

    def refreshes(self) -> None:
        """Offer what was said last, under the same version."""
        self.version -= 1
        self.offers()

    def hears(self) -> set[float]:
        self.packets = self.packets[-100:]
        return tones_in(*self.heard("pcmu"))


class Page(Browser):
    """A page that can hold its call."""

    async def hold(self, held: bool) -> None:
        connection = self._connection
        assert connection is not None
        connection.getTransceivers()[0].direction = "sendonly" if held else "sendrecv"
        await connection.setLocalDescription(await connection.createOffer())
        method = "call.hold" if held else "call.resume"
        await self.ask(method, call_id=await self.call_id(), sdp=connection.localDescription.sdp)
        await until(lambda: connection.signalingState == "stable")


@asynccontextmanager
async def at_work(folder: Path, plane: str, *names: str) -> AsyncIterator[tuple[Pbx, list[Page]]]:
    """The PBX behind a gateway that asks for DTLS of it, and pages of these users."""
    pbx = Pbx()
    agent = UserAgent(UserAgentConfig(listen=LOOPBACK), Application(pbx.take_call))
    async with AsyncExitStack() as stack:
        await pbx.open()
        stack.push_async_callback(pbx.close)
        await agent.start()
        stack.push_async_callback(agent.close)
        trunk = {"name": "pbx", "uri": address(agent, "").replace("sip:@", "sip:"), "options_interval": 0}
        app = GatewayApp(
            config_on_free_ports(
                folder,
                MEDIA__PLANE=plane,
                TRUNKS=json.dumps([{**trunk, "srtp": "required"}]),
                RTP__SRTP_KEYING='["dtls"]',
                ROUTES='[{"match": "0*", "to": "trunk:pbx", "strip": 1}]',
            )
        )
        await app.start()
        stack.push_async_callback(app.stop)
        pages = [await stack.enter_async_context(Page(name)) for name in names]
        for name, page in zip(names, pages, strict=True):
            await page.open(app.signed_in_url(name))
        yield pbx, pages


async def hear_each_other(pbx: Pbx, page: Page, name: str) -> None:
    """Each has the other's tone, and no other, in what comes from now on."""
    page.ear.forget()
    pbx.packets.clear()
    await until(lambda: page.hears() == {OURS})
    await until(lambda: pbx.hears() == {TONES[name]})


@pytest.mark.parametrize("plane", ["python", "native"])
async def test_a_pbx_that_begins_dtls_after_each_exchange_stays_audible(tmp_path: Path, plane: str) -> None:
    """The page's hold and resume, the PBX's own and its refresh, and a transfer; tones both ways after each."""
    async with at_work(tmp_path, plane, "alice", "bob") as (pbx, (alice, bob)):
        await alice.dial("0600")
        await alice.status("talking")
        await hear_each_other(pbx, alice, "alice")
        await alice.hold(True)
        await alice.hold(False)
        await hear_each_other(pbx, alice, "alice")
        pbx.refreshes()
        await hear_each_other(pbx, alice, "alice")
        for direction in ("sendonly", "sendrecv"):
            before = pbx.associations[False]
            pbx.offers(direction)
            await until(lambda before=before: pbx.associations[False] is not before and pbx.is_keyed)
        await hear_each_other(pbx, alice, "alice")
        asked = alice.ask("call.transfer", call_id=await alice.call_id(), to_peer_id="bob")
        transfer = asyncio.ensure_future(asked)
        await bob.status("ringing")
        await bob.accept()
        await transfer
        await hear_each_other(pbx, bob, "bob")
