"""A trunk that is an ICE-lite agent with DTLS-SRTP, as WhatsApp's servers are, through a whole gateway."""

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
from sdp import SessionDescription
from tests.app.tone_peers import TONES, Browser, tones_in
from tests.interop.gateway import config_on_free_ports
from tests.media.engine_support import until
from tests.media.lite_phone import LitePhone
from tests.net.peers import LOOPBACK, Application, Recorder, address

OURS = TONES["1001"]


class LiteTrunk(LitePhone):
    """One call of the trunk, that it makes or answers."""

    session: InviteSession

    def take_call(self, session: Any, recorder: Recorder) -> None:
        """Answer with a=ice-lite, and speak on after later exchanges."""
        self.session, self.recorder = session, recorder
        recorder._react = self._react
        session.answer(self.sdp(setup="active").encode())
        self.begin(session.request.body.decode())
        self.play(OURS)

    def _react(self, event: SessionEvent) -> None:
        if isinstance(event, events.OfferAnswered) and event.body:
            self.begin(event.body.decode())

    async def offers(self, direction: str = "sendrecv") -> int:
        """The status that a re-INVITE gets."""
        number = self.session.offer(self.sdp(setup="actpass", direction=direction).encode())

        def answers() -> list[int]:
            found = [each for each in self.recorder.events if isinstance(each, events.OfferAnswered)]
            return [each.status for each in found if each.exchange == number]

        await until(answers)
        return answers()[0]

    async def call(self, agent: UserAgent, uri: str) -> str:
        """Offer a=ice-lite; the answer, which may be an early one."""
        answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def heard(event: SessionEvent) -> None:
            if isinstance(event, events.Provisional | events.Answered) and event.body and not answered.done():
                answered.set_result(event.body)
            elif isinstance(event, events.Failed):
                answered.set_exception(AssertionError(event.status))
            elif isinstance(event, events.Offered):
                self.session.answer_offer(event.exchange, self.sdp(setup="active").encode())

        self.session = agent.invite(uri, caller="<sip:4711@lite.test>", body=self.sdp(setup="actpass").encode())
        self.session.listen(heard)
        answer = (await asyncio.wait_for(answered, 30)).decode()
        assert SessionDescription.parse(answer).media[0].value("setup") == "passive"
        self.begin(answer)
        self.play(OURS)
        return answer

    def hears(self) -> set[float]:
        self.packets = self.packets[-100:]
        return tones_in(*self.heard("pcmu"))


@asynccontextmanager
async def at_work(folder: Path, plane: str) -> AsyncIterator[tuple[LiteTrunk, UserAgent, GatewayApp, Browser]]:
    """The trunk, its SIP, the gateway, and Alice's page."""
    lite = LiteTrunk()
    agent = UserAgent(UserAgentConfig(listen=LOOPBACK), Application(lite.take_call))
    async with AsyncExitStack() as stack:
        await lite.open()
        stack.push_async_callback(lite.close)
        await agent.start()
        stack.push_async_callback(agent.close)
        trunk = {"name": "lite", "uri": address(agent, "").replace("sip:@", "sip:"), "options_interval": 0}
        app = GatewayApp(
            config_on_free_ports(
                folder,
                MEDIA__PLANE=plane,
                MEDIA__ICE_PEERS_ALLOWED='["127.0.0.0/8"]',
                TRUNKS=json.dumps([{**trunk, "webrtc": True, "sources": ["127.0.0.1"]}]),
                ROUTES='[{"match": "0*", "to": "trunk:lite", "strip": 1}]',
            )
        )
        await app.start()
        stack.push_async_callback(app.stop)
        alice = await stack.enter_async_context(Browser("alice"))
        await alice.open(app.signed_in_url("alice"))
        yield lite, agent, app, alice


async def hear_each_other(lite: LiteTrunk, page: Browser) -> None:
    """Each has the other's tone in what comes from now on."""
    page.ear.forget()
    lite.packets.clear()
    await until(lambda: page.hears() == {OURS})
    await until(lambda: lite.hears() == {TONES["alice"]})


@pytest.mark.parametrize("plane", ["python", "native"])
async def test_a_page_calls_a_trunk_that_is_ice_lite(tmp_path: Path, plane: str) -> None:
    """Offered ICE because the trunk says `webrtc`; tones both ways on the pair that the gateway nominates."""
    async with at_work(tmp_path, plane) as (lite, _, _, alice):
        await alice.dial("0600")
        await alice.status("talking")
        await hear_each_other(lite, alice)
        assert all("ICE-CONTROLLING" in each.attributes for each in lite.checks)


@pytest.mark.parametrize("plane", ["python", "native"])
async def test_a_trunk_that_is_ice_lite_calls_a_page(tmp_path: Path, plane: str) -> None:
    """Its offer was refused with 488; the answer says no a=ice-lite."""
    async with at_work(tmp_path, plane) as (lite, agent, app, alice):
        call = asyncio.ensure_future(lite.call(agent, f"sip:alice@{app.sip_hostport}"))
        await alice.status("ringing")
        await alice.accept()
        assert "a=ice-lite" not in await call
        await hear_each_other(lite, alice)


@pytest.mark.parametrize("plane", ["python", "native"])
async def test_a_trunk_that_is_ice_lite_holds_resumes_and_restarts_ice(tmp_path: Path, plane: str) -> None:
    """Tones both ways after its hold, and after other credentials of its own."""
    async with at_work(tmp_path, plane) as (lite, _, _, alice):
        await alice.dial("0600")
        await alice.status("talking")
        await hear_each_other(lite, alice)
        assert [await lite.offers(direction) for direction in ("sendonly", "sendrecv")] == [200, 200]
        await hear_each_other(lite, alice)
        lite.restart_ice()
        assert await lite.offers() == 200
        await hear_each_other(lite, alice)
