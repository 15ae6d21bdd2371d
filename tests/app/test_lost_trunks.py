"""A PBX that dies under a call: its trunk answers OPTIONS no more, its media is silent, and the call ends soon."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from gateway.call.status import Cause
from gateway.net import IncomingSession, UserAgent
from gateway.net.config import UserAgentConfig
from gateway.sip.message import build
from gateway.sip.message.message import Request
from tests.app.desk import Desk, desks
from tests.app.phones import Phone
from tests.app.places import place
from tests.app.scripted_house import house
from tests.interop.gateway import config_on_free_ports, gateway_with
from tests.media.engine_support import Phone as RtpPhone
from tests.media.engine_support import until
from tests.media.rtpengine_support import shared
from tests.net.peers import Application, Recorder
from tests.ports import free_port

AT_THE_TRUNK = "127.0.0.2"
USERS = json.dumps([{"id": "1001", "sip": True, "may_call": ["*", "0*"]}])
ROUTES = json.dumps([{"match": "0*", "to": "trunk:office", "strip": 1}])
WITHIN = 5.0
"""Seconds, of which two are the limit, and the rest two looks at a call."""
SOON = 8.0
"""Seconds, of which two are the limit, and the rest OPTIONS and their last answers."""


class Pbx:
    """It answers every call with a tone."""

    def __init__(self) -> None:
        self.agent = UserAgent(UserAgentConfig(listen=((AT_THE_TRUNK, 0),)), Application(self._answers))
        self.rtp = RtpPhone(("pcmu",), ssrc=77)

    def _answers(self, session: IncomingSession, recorder: Recorder) -> None:
        self.rtp.take(session.initial_offer.decode())
        session.answer(self.rtp.sdp().encode())
        self.rtp.play(700.0)

    async def open(self) -> str:
        await self.agent.start()
        await self.rtp.open(AT_THE_TRUNK)
        return f"sip:{AT_THE_TRUNK}:{self.agent.listening[0][2]}"

    async def die(self) -> None:
        """Be gone from the network without a BYE."""
        await self.agent._shell.close()


@pytest.mark.parametrize("plane", ["python", "native"])
@pytest.mark.parametrize("silent", ["both", "OPTIONS"])
async def test_a_call_ends_soon_whose_peer_is_silent_in_media_and_signalling(
    tmp_path: Path, silent: str, plane: str
) -> None:
    """Long before `rtp.media_timeout`; while its media goes on, a trunk that answers no OPTIONS ends nothing."""
    await lose_the_trunk(tmp_path, silent, MEDIA__PLANE=plane)


@pytest.mark.wall
async def test_a_call_on_rtpengine_ends_as_soon_once_its_trunk_is_lost(tmp_path: Path) -> None:
    """The daemon is asked more often than at other times."""
    host, port = shared().address
    await lose_the_trunk(tmp_path, "media later", MEDIA__ENGINE=f"rtpengine:{host}:{port}")


async def lose_the_trunk(folder: Path, silent: str, **media: str) -> None:
    """Have a PBX die under a call, at once, in its signalling alone, or in its media afterwards."""
    pbx, caller = Pbx(), Desk("1001")
    trunk = {"name": "office", "uri": await pbx.open(), "sources": [AT_THE_TRUNK], "options_interval": 1}
    config = config_on_free_ports(
        folder, USERS=USERS, TRUNKS=json.dumps([trunk]), ROUTES=ROUTES, RTP__UNREACHABLE_TIMEOUT="2", **media
    )
    async with gateway_with(config, folder / "gateway.log") as gateway, desks(gateway.app, caller):
        reachability = gateway.app._reachability
        await until(lambda: reachability.of("office").value == "reachable")
        caller.dial(gateway.app, "0600")
        await caller.is_up()
        caller.rtp.play(400.0)
        await until(lambda: caller.hears(700.0))
        [call] = gateway.app.calls
        if silent == "both":
            await pbx.rtp.close()
        await pbx.die()
        await until(lambda: reachability.of("office").value == "unreachable")
        if silent == "both":
            await asyncio.wait_for(call.finished(), SOON)
            assert call.cause is Cause.MEDIA_TIMEOUT
            return
        caller.rtp.packets.clear()
        await until(lambda: len(caller.rtp.packets) > 200)
        assert call.state.value != "ended"
        await pbx.rtp.close()
        if silent == "media later":
            await asyncio.wait_for(call.finished(), WITHIN)
            assert call.cause is Cause.MEDIA_TIMEOUT


@pytest.mark.parametrize("has_answered", [True, False])
async def test_a_trunk_that_answered_the_process_before_is_lost_to_this_one(tmp_path: Path, has_answered: bool) -> None:
    """A call on it with silent media ends soon; one on a trunk that has never answered an OPTIONS does not."""
    port = free_port()
    if has_answered:
        async with house(tmp_path, options_interval=1, trunk_port=port) as there:
            await there.trunk.accepts("OPTIONS")
            await until(lambda: there.app._reachability.of("pbx").value == "reachable")
    async with house(tmp_path, options_interval=1, trunk_port=port, RTP__UNREACHABLE_TIMEOUT="2") as there:
        await until(lambda: there.app._reachability.of("pbx").value == "unreachable")
        phone = Phone(there.agent, there.app, "1001", dials="04711")
        invite = await there.trunk.request("INVITE")
        await there.trunk.send(there.trunk.says(invite, 200))
        assert await phone.status() == 200
        ends = asyncio.ensure_future(there.trunk.accepts("BYE"))
        done, _ = await asyncio.wait([ends], timeout=SOON)
        assert bool(done) is has_answered
        if not has_answered:
            phone.session.hangup()
            await ends


@pytest.mark.parametrize("answer", [503, None])
async def test_a_call_that_a_trunk_leaves_unanswered_has_it_asked_at_once(tmp_path: Path, answer: int | None) -> None:
    """Its next question would have come thirty seconds later; another refusal than 503 asks nothing."""
    state = "reachable"

    def said(request: Request, number: int) -> list[bytes]:
        if request.method == "OPTIONS" and state == "reachable":
            return [build.response(request, 200, to_tag="t").write()]
        return [] if answer is None else [build.response(request, answer, to_tag="t").write()]

    loop = asyncio.get_running_loop()
    async with place(said, AT_THE_TRUNK) as trunk:
        host, port = trunk.address
        uris = [f"sip:{host}:{port}", f"sip:{host}:{free_port()}"]
        made = {"name": "office", "uri": uris[0], "fallback_uris": uris[1:], "options_interval": 30}
        config = config_on_free_ports(tmp_path, USERS=USERS, TRUNKS=json.dumps([made]), ROUTES=ROUTES)
        async with gateway_with(config, tmp_path / "gateway.log") as gateway:
            reachability = gateway.app._reachability
            await until(lambda: reachability.place("office", uris[0]).value == "reachable")
            begun, state = loop.time(), "dead"
            caller = Desk("1001")
            async with desks(gateway.app, caller):
                caller.dial(gateway.app, "0600")
                await until(lambda: reachability.of("office").value == "unreachable")
            assert loop.time() - begun < 10
