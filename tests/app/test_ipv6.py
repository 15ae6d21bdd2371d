"""A gateway that phones know by its IPv6 address alone, and one with phones of both IP versions."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway.config import SipListen
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.auth.account import Credentials
from gateway.sip.invite.events import Answered, OfferAnswered, SessionEvent
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.invite.session import InviteSession
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from tests.app.phones import SDP, Phone
from tests.app.ws_phone import TcpPhone
from tests.interop.gateway import PASSWORDS, config_on_free_ports, gateway_with
from tests.media.engine_support import Phone as Media
from tests.media.engine_support import frequency_of, until
from tests.net.peers import LOOPBACK, Application, Recorder
from tests.ports import free_port
from tests.rows import by_row


@pytest.mark.parametrize("dialled", ["1001@[::1]", "1001@[::1]:{port}"])
async def test_phones_register_and_call_at_its_address(tmp_path: Path, dialled: str) -> None:
    """The address of its listener is one of its names, with brackets as a URI has it, and with or without a port."""
    port = free_port()
    config = config_on_free_ports(tmp_path, SIP__LISTEN=f'["udp:[::1]:{port}", "tcp:[::1]:{port}"]')
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(gateway_with(config, tmp_path / "gateway.log"))
        caller = UserAgent(UserAgentConfig(listen=(("::1", 0),)), Application())
        await caller.start()
        stack.push_async_callback(caller.close)
        phone = await TcpPhone.open("::1", port, "1001", "[::1]", PASSWORDS["1001"])
        stack.push_async_callback(phone.close)
        contact = "sip:1001@a.invalid;transport=tcp"
        assert (await phone.register(contact=contact)).status == 200
        uri = f"sip:{dialled.format(port=port)}"
        call = Phone(caller, gateway.app, "1002", request_uri=uri, received=f"udp:[::1]:{port}")
        await phone.answer(await phone.request("INVITE"), contact)
        assert await call.status() == 200
        await phone.request("ACK")
        call.session.hangup()
        await phone.send(build.response(await phone.request("BYE"), 200))


async def test_wildcards_of_both_ip_versions_share_a_port(tmp_path: Path) -> None:
    """What docs/deployment.md says for phones of both: each registers at its own address, by UDP and TCP."""
    port = free_port()
    listen = [f"{transport}:{host}:{port}" for transport in ("udp", "tcp") for host in ("0.0.0.0", "[::]")]
    config = config_on_free_ports(tmp_path, SIP__LISTEN=json.dumps(listen), RTP__LISTEN="0.0.0.0, ::")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(gateway_with(config, tmp_path / "gateway.log"))
        for host, name in (("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")):
            phone = await TcpPhone.open(host, port, "1001", name, PASSWORDS["1001"])
            stack.push_async_callback(phone.close)
            assert (await phone.register(contact="sip:1001@a.invalid;transport=tcp")).status == 200
            agent = UserAgent(UserAgentConfig(listen=((host, 0),)), Application())
            await agent.start()
            stack.push_async_callback(agent.close)
            registration = await agent.register(
                f"sip:{name}:{port}",
                aor=f"sip:1002@{name}",
                credentials=Credentials("1002", PASSWORDS["1002"]),
            )
            assert registration.registered


async def test_phones_of_both_ip_versions_talk(tmp_path: Path) -> None:
    """A tone each way, and again once the caller has gone on at an address of the other version (re-INVITE)."""
    config = config_on_free_ports(tmp_path, RTP__LISTEN="127.0.0.1, ::1")
    port = config.sip.listen[0].port
    listen = [*config.sip.listen, SipListen("tcp", "::1", port)]
    config = config.model_copy(update={"sip": config.sip.model_copy(update={"listen": tuple(listen)})})
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(gateway_with(config, tmp_path / "gateway.log"))
        callee = await TcpPhone.open("::1", port, "1001", "[::1]", PASSWORDS["1001"])
        stack.push_async_callback(callee.close)
        contact = "sip:1001@a.invalid;transport=tcp"
        assert (await callee.register(contact=contact)).status == 200
        here, there, moved = (Media(["pcmu"], ssrc=number) for number in (1, 2, 3))
        for media, host in ((here, "127.0.0.1"), (there, "::1"), (moved, "::1")):
            await media.open(host)
            stack.push_async_callback(media.close)
        caller = UserAgent(UserAgentConfig(listen=LOOPBACK), Application())
        await caller.start()
        stack.push_async_callback(caller.close)
        answers: asyncio.Queue[bytes] = asyncio.Queue()

        def heard(event: SessionEvent) -> None:
            if isinstance(event, Answered | OfferAnswered) and event.body:
                answers.put_nowait(event.body)

        session = caller.invite(
            f"sip:1001@{config.domain}",
            received=f"udp:127.0.0.1:{port}",
            caller=f"<sip:1002@{config.domain}>",
            credentials=Credentials("1002", PASSWORDS["1002"]),
            body=here.sdp().encode(),
        )
        session.listen(heard)
        invite = await callee.request("INVITE")
        there.take(invite.body.decode())
        assert there.remote[0] == "::1"
        body, target = there.sdp().encode(), NameAddr.parse(f"<{contact}>")
        kind = "application/sdp"
        await callee.send(build.response(invite, 200, to_tag="phone", contact=target, body=body, content_type=kind))
        here.take((await asyncio.wait_for(answers.get(), 30)).decode())
        assert here.remote[0] == "127.0.0.1"
        here.play(400.0)
        there.play(700.0)
        await until(lambda: hears(here, 700.0) and hears(there, 400.0))
        session.offer(moved.sdp().encode())
        again = await callee.request("INVITE")
        there.take(again.body.decode())
        body = there.sdp().encode()
        await callee.send(build.response(again, 200, to_tag="phone", contact=target, body=body, content_type=kind))
        moved.take((await asyncio.wait_for(answers.get(), 30)).decode())
        assert moved.remote[0] == "::1"
        moved.play(1000.0)
        await until(lambda: hears(moved, 700.0) and hears(there, 1000.0))
        session.hangup()
        await callee.send(build.response(await callee.request("BYE"), 200))
        await gateway.idle()


@by_row(("first", "further"), [("[::1]", "127.0.0.1"), ("127.0.0.1", "[::1]"), ("localhost", None)])
async def test_each_place_of_a_trunk_is_offered_the_address_of_its_own_version(
    tmp_path: Path, first: str, further: str | None
) -> None:
    """Where nobody is at the first one: another place, or the other version of the same name."""
    places: dict[str, Application] = {}
    async with AsyncExitStack() as stack:
        ports = {}
        for host in ("127.0.0.1", "::1") if further is not None else ("::1",):

            def answer(session: IncomingSession, recorder: Recorder, host: str = host) -> None:
                if host == first.strip("[]"):
                    session.reject(503)
                else:
                    session.answer(f"{SDP.format(port=40000)}".replace("IP4 127.0.0.1", offered(session)).encode())

            places[host] = Application(answer)
            agent = UserAgent(UserAgentConfig(listen=((host, 0),)), places[host])
            await agent.start()
            stack.push_async_callback(agent.close)
            ports[host] = agent.listening[0][2]
        trunk = {"name": "office", "uri": f"sip:{first}:{ports[first.strip('[]') if further else '::1']}"}
        if further is not None:
            trunk["fallback_uris"] = [f"sip:{further}:{ports[further.strip('[]')]}"]  # type: ignore[assignment]
        port = free_port()
        config = config_on_free_ports(
            tmp_path,
            RTP__LISTEN="127.0.0.1, ::1",
            SIP__LISTEN=json.dumps([f"udp:127.0.0.1:{port}", f"udp:[::1]:{port}"]),
            TRUNKS=json.dumps([{**trunk, "options_interval": 0}]),
            ROUTES=json.dumps([{"match": "0*", "to": "trunk:office", "strip": 1}]),
        )
        gateway = await stack.enter_async_context(gateway_with(config, tmp_path / "gateway.log"))
        caller = UserAgent(UserAgentConfig(listen=LOOPBACK), Application())
        await caller.start()
        stack.push_async_callback(caller.close)
        call = Phone(caller, gateway.app, "1001", dials="0900")
        assert await call.status() == 200
        asked = {host: place.calls.get_nowait().session for host, place in places.items()}
        told = {host: offered(session) for host, session in asked.items()}
        assert told == {host: f"IP6 {host}" if ":" in host else f"IP4 {host}" for host in places}
        call.session.hangup()
        await gateway.idle()


def offered(session: InviteSession) -> str:
    """The address for media of the offer that an INVITE has brought."""
    assert isinstance(session, IncomingSession)
    [line] = [line for line in session.initial_offer.decode().splitlines() if line.startswith("c=")]
    return line.removeprefix("c=IN ")


def hears(phone: Media, frequency: float) -> bool:
    return abs(frequency_of(*phone.heard("pcmu")) - frequency) < 10
