"""A phone behind a NAT that gives it another port in the middle of its call, at a whole gateway."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from gateway.app import GatewayApp
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.auth.account import Credentials
from gateway.sip.invite.events import OfferAnswered, Offered, SessionEvent
from gateway.sip.invite.incoming import IncomingSession
from tests.app.phones import SDP, Phone
from tests.interop.gateway import PASSWORDS, config_on_free_ports
from tests.net.peers import ANSWER, LOOPBACK, Application, Recorder, port_of

OUTSIDE = "127.0.0.88"


class _Socket(asyncio.DatagramProtocol):
    """One of the NAT's: what comes goes to `to` by the socket `by`."""

    def __init__(self) -> None:
        self.by: _Socket | None = None
        self.to: tuple[str, int] | None = None
        self.transport: Any = None

    def datagram_received(self, data: bytes, source: tuple[str, int]) -> None:
        if self.by is not None and self.to is not None:
            self.by.transport.sendto(data, self.to)


class Nat:
    """Between one phone and the gateway."""

    def __init__(self) -> None:
        self.inside = _Socket()
        self.outsides: list[_Socket] = []

    async def open(self, phone: tuple[str, int], gateway: tuple[str, int]) -> tuple[str, int]:
        """Where the phone sends to; what comes back is sent on to `phone`."""
        self._phone = phone
        await self._bound(self.inside, "127.0.0.1")
        self.inside.to = gateway
        await self.rebind()
        host, port = self.inside.transport.get_extra_info("sockname")
        return host, port

    async def _bound(self, socket: _Socket, host: str) -> None:
        loop = asyncio.get_running_loop()
        socket.transport, _ = await loop.create_datagram_endpoint(lambda: socket, local_addr=(host, 0))

    async def rebind(self) -> None:
        """Another port outside; the one before takes what comes and passes nothing on."""
        if self.outsides:
            self.outsides[-1].by = None
        outside = _Socket()
        await self._bound(outside, OUTSIDE)
        outside.by, outside.to, self.inside.by = self.inside, self._phone, outside
        self.outsides.append(outside)

    def close(self) -> None:
        for socket in (self.inside, *self.outsides):
            socket.transport.close()


def _answering_offers(session: IncomingSession, recorder: Recorder) -> None:
    def react(event: SessionEvent) -> None:
        if isinstance(event, Offered):
            session.answer_offer(event.exchange, ANSWER.replace(b"- 1 1", b"- 1 2"))

    recorder._react = react
    session.answer(ANSWER)


async def _register(desk: UserAgent, app: GatewayApp, place: tuple[str, int]) -> None:
    account = Credentials("1001", PASSWORDS["1001"])
    registrar = "sip:{}:{}".format(*place)
    made = await desk.register(registrar, aor=f"sip:1001@{app.config.domain}", credentials=account)
    assert made.registered


async def test_a_phone_that_has_registered_by_another_port_hears_of_a_hold(tmp_path: Path) -> None:
    """The hold goes to where the phone is by now, and the call goes on."""
    app, calls, nat = GatewayApp(config_on_free_ports(tmp_path)), Application(_answering_offers), Nat()
    desk = UserAgent(UserAgentConfig(listen=LOOPBACK), calls)
    other = UserAgent(UserAgentConfig(listen=LOOPBACK), Application())
    await app.start()
    await desk.start()
    await other.start()
    try:
        host, port = app.sip_hostport.rsplit(":", 1)
        place = await nat.open(("127.0.0.1", port_of(desk, "udp")), (host, int(port)))
        await _register(desk, app, place)
        caller = Phone(other, app, "1002", dials="1001")
        assert await caller.status() == 200
        heard = await asyncio.wait_for(calls.calls.get(), 30)
        recorder = Recorder(caller.session)
        await nat.rebind()
        await _register(desk, app, place)
        number = caller.session.offer(SDP.format(port=40000).replace("a=rtpmap", "a=sendonly\r\na=rtpmap").encode())
        answered = await recorder.wait(OfferAnswered)
        assert isinstance(answered, OfferAnswered)
        assert (answered.exchange, answered.status) == (number, 200)
        assert await heard.wait(Offered) is not None
    finally:
        nat.close()
        await other.close()
        await desk.close()
        await app.stop()
