"""A trunk's `codecs` are the only ones of calls with it, in both directions, on the wire."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest_asyncio

from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.auth.account import Credentials
from gateway.sip.invite import events
from gateway.sip.invite.incoming import IncomingSession
from sdp.description import SessionDescription
from tests.interop.gateway import PASSWORDS, Gateway, config_on_free_ports, gateway_with
from tests.net.peers import LOOPBACK, OFFER, Application, Recorder

BOTH = OFFER.replace(b"AVP 0", b"AVP 0 8") + b"a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n"
PCMU = OFFER + b"a=rtpmap:0 PCMU/8000\r\n"
PCMA = OFFER.replace(b"AVP 0", b"AVP 8") + b"a=rtpmap:8 PCMA/8000\r\n"
AT_THE_TRUNK = "127.0.0.2"


def codecs_of(body: bytes) -> set[str]:
    """Names of the codecs in a description, digits apart."""
    [audio] = SessionDescription.parse(body).media
    return {line.partition(" ")[2].partition("/")[0].lower() for line in audio.values("rtpmap")} - {"telephone-event"}


@dataclass(frozen=True)
class Rig:
    """A gateway, and a PBX that answers every call of its trunk with PCMA."""

    gateway: Gateway
    pbx: UserAgent
    calls: Application

    async def from_pbx(self, offer: bytes) -> events.SessionEvent:
        """How a call of the PBX for the echo comes out."""
        uri = f"sip:4989@{self.gateway.app.sip_hostport}"
        session = self.pbx.invite(uri, caller=f"<sip:0172@{AT_THE_TRUNK}>", body=offer)
        return await Recorder(session).wait_for_one_of(events.Answered, events.Failed)


def answers(session: IncomingSession, recorder: Recorder) -> None:
    session.answer(PCMA)


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    calls = Application(answers)
    pbx = UserAgent(UserAgentConfig(listen=((AT_THE_TRUNK, 0),)), calls)
    await pbx.start()
    trunk = {
        "name": "office",
        "uri": f"sip:{AT_THE_TRUNK}:{pbx.listening[0][2]}",
        "sources": [AT_THE_TRUNK],
        "codecs": ["pcma"],
        "options_interval": 0,
    }
    routes = [{"match": "0*", "to": "trunk:office", "strip": 1}, {"match": "4989", "to": "service:echo"}]
    config = config_on_free_ports(tmp_path, TRUNKS=json.dumps([trunk]), ROUTES=json.dumps(routes))
    try:
        async with gateway_with(config, tmp_path / "gateway.log") as gateway:
            yield Rig(gateway, pbx, calls)
            for call in gateway.app.calls:
                call.stop()
            await gateway.idle()
    finally:
        await pbx.close()


async def test_a_call_through_the_trunk_offers_nothing_else(rig: Rig) -> None:
    """Whatever the phone that calls speaks besides."""
    phone = UserAgent(UserAgentConfig(listen=LOOPBACK), Application())
    await phone.start()
    try:
        session = phone.invite(
            f"sip:0600@{rig.gateway.app.sip_hostport}",
            caller=f"<sip:1001@{rig.gateway.config.domain}>",
            body=BOTH,
            credentials=Credentials("1001", PASSWORDS["1001"]),
        )
        await Recorder(session).wait(events.Answered)
        there = await rig.calls.calls.get()
        assert codecs_of(there.session.remote_body) == {"pcma"}
    finally:
        await phone.close()


async def test_a_call_of_the_trunk_is_answered_with_nothing_else(rig: Rig) -> None:
    """Though it prefers another one that the gateway knows."""
    answered = await rig.from_pbx(BOTH)
    assert isinstance(answered, events.Answered)
    assert codecs_of(answered.body) == {"pcma"}


async def test_a_call_of_the_trunk_without_them_is_488(rig: Rig) -> None:
    """PCMU alone, which a phone of the gateway may speak."""
    failed = await rig.from_pbx(PCMU)
    assert isinstance(failed, events.Failed)
    assert failed.status == 488
