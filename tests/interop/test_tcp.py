"""Calls over TCP through the whole gateway: independent peers both ways, and connections that close in mid-call."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.call.state import State
from tests.interop.desk_calls import baresip_calls_browser, browser_calls_baresip
from tests.interop.gateway import (
    PASSWORDS,
    Gateway,
    RpcBrowser,
    config_on_free_ports,
    gateway_with,
)
from tests.interop.sipp import SCENARIOS, Sipp
from tests.interop.stranger import SDP, authorization, status_of
from tests.ports import free_port, free_ports

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]

TCP = "t1"
INSTANCE = "00000000-0000-1000-8000-000a95a0e128"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """A gateway that listens to TCP alone: nothing of a call can have gone by UDP."""
    folder = tmp_path_factory.mktemp("gateway")
    (port,) = free_ports(1)
    config = config_on_free_ports(folder, SIP__LISTEN=f"tcp:127.0.0.1:{port}")
    async with gateway_with(config, folder / "gateway.log") as running:
        yield running


def as_1002(gateway: Gateway, scenario: str, number: str, *arguments: str, port: int | None = None) -> Sipp:
    """sipp as phone 1002 over TCP."""
    account = ("-s", number, "-au", "1002", "-ap", PASSWORDS["1002"])
    place = "{}:{}".format(*gateway.sip)
    return Sipp(place, "-sf", str(SCENARIOS / f"{scenario}.xml"), *account, *arguments, port=port, transport=TCP)


@pytest.mark.parametrize("number", ["600", "601"])
async def test_sipp_calls_a_service_over_tcp(gateway: Gateway, number: str) -> None:
    """Challenged, answered, ended, all on one connection."""
    async with as_1002(gateway, "gateway_call", number, "-auth_uri", f"{number}@{gateway.config.domain}") as phone:
        await phone.finish()
    await gateway.idle()


async def test_sipp_calls_a_browser_over_tcp(gateway: Gateway, alice: RpcBrowser) -> None:
    """The page rings and accepts; sipp's BYE ends the call there."""
    async with as_1002(gateway, "gateway_call", "alice", "-auth_uri", f"alice@{gateway.config.domain}") as phone:
        await alice.status("ringing")
        await alice.accept()
        await phone.finish()
    await alice.status("ready")
    await gateway.idle()


async def test_a_browser_calls_a_phone_that_sipp_plays_over_tcp(gateway: Gateway, alice: RpcBrowser) -> None:
    """Its registration's connection is gone, so the INVITE goes to its Contact; our BYE takes the same way."""
    port = free_port()
    async with as_1002(gateway, "gateway_register", "1002", "-auth_uri", gateway.config.domain, port=port) as phone:
        await phone.finish()
    async with Sipp.uas("uas_basic", port=port, transport=TCP) as phone:
        await phone.bound()
        await alice.dial("1002")
        await alice.status("talking")
        await alice.hang_up()
        await phone.finish()
    await gateway.idle()


async def test_a_browser_calls_baresip_over_tcp(gateway: Gateway, alice: RpcBrowser, tmp_path: Path) -> None:
    """It registers over its connection and is called on it; its sine is found in the browser."""
    await browser_calls_baresip(gateway, alice, tmp_path, "tcp")


async def test_baresip_calls_a_browser_over_tcp(gateway: Gateway, alice: RpcBrowser, tmp_path: Path) -> None:
    """Alice's page rings; once accepted, her tone returns through baresip's bridge; baresip hangs up."""
    await baresip_calls_browser(gateway, alice, tmp_path, "tcp")


class TcpPhone:
    """Phone 1001 by hand: one connection that it calls over, one listener that its Contact names."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.requests: asyncio.Queue[str] = asyncio.Queue()
        """What came to the listener, an INVITE answered with 486 and anything else with 200."""
        self.to_tag = ""
        """Of the call that was answered last."""
        self.outbound = ""
        """Contact parameters by which a REGISTER asks for a flow (RFC 5626 section 4.2)."""
        self._accepted: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def __aenter__(self) -> TcpPhone:
        self._server = await asyncio.start_server(self._taken, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        await self.connect()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for writer in (self.writer, *self._accepted):
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def connect(self) -> None:
        self.reader, self.writer = await asyncio.open_connection(*self.gateway.sip)

    async def _taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._accepted.append(writer)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.requests.put_nowait(head)
        kept = re.findall(r"^(?:Via|From|To|Call-ID|CSeq): .*\r\n", head, re.MULTILINE)
        line = "SIP/2.0 486 Busy Here\r\n" if head.startswith("INVITE") else "SIP/2.0 200 OK\r\n"
        writer.write((line + "".join(kept) + "Content-Length: 0\r\n\r\n").encode())
        await writer.drain()

    async def ask(self, method: str, number: str, cseq: int, *headers: str, to_tag: str = "", body: str = "") -> str:
        """Send a request over the connection; its final response, with the body read off."""
        domain = self.gateway.config.domain
        lines = [
            f"{method} sip:{number}@{domain} SIP/2.0",
            f"Via: SIP/2.0/TCP 127.0.0.1:{self.port};branch=z9hG4bKtcp{self.port}{cseq}{method}",
            "Max-Forwards: 70",
            f"From: <sip:1001@{domain}>;tag=tcp",
            f"To: <sip:{number}@{domain}>{to_tag}",
            f"Call-ID: tcp-{self.port}-{number}",
            f"CSeq: {cseq} {method}",
            f"Contact: <sip:1001@127.0.0.1:{self.port};transport=tcp>{self.outbound}",
            *headers,
            *(["Content-Type: application/sdp"] if body else []),
            f"Content-Length: {len(body)}",
        ]
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
        if method == "ACK":
            return ""
        async with asyncio.timeout(30):
            while True:
                head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
                length = re.search(r"Content-Length: (\d+)", head)
                await self.reader.readexactly(int(length[1]) if length else 0)
                if status_of(head.encode()) >= 200:
                    return head

    async def call(self, number: str) -> None:
        """Call a number that answers."""
        sdp = SDP.format(host="127.0.0.1")
        challenge = await self.ask("INVITE", number, 1, body=sdp)
        await self.ask("ACK", number, 1, to_tag=tag_of(challenge))
        uri = f"sip:{number}@{self.gateway.config.domain}"
        signed = authorization(challenge.encode(), "INVITE", uri, "1001", PASSWORDS["1001"])
        answer = await self.ask("INVITE", number, 2, signed, body=sdp)
        assert status_of(answer.encode()) == 200, answer
        self.to_tag = tag_of(answer)
        await self.ask("ACK", number, 2, to_tag=self.to_tag)
        await self.writer.drain()

    async def register(self, *, as_flow: bool) -> None:
        """Register the Contact over the connection, `as_flow` for this connection alone."""
        self.outbound = f';reg-id=1;+sip.instance="<urn:uuid:{INSTANCE}>"' if as_flow else ""
        supported = ["Supported: path, outbound"] if as_flow else []
        challenge = await self.ask("REGISTER", "1001", 1, *supported)
        uri = f"sip:1001@{self.gateway.config.domain}"
        signed = authorization(challenge.encode(), "REGISTER", uri, "1001", PASSWORDS["1001"])
        assert status_of((await self.ask("REGISTER", "1001", 2, signed, *supported)).encode()) == 200

    async def drop(self, *, after: str) -> None:
        """End the connection at once, without an answer; `after` a request of this method has come by it."""
        if after:
            while not (await self.reader.readuntil(b"\r\n\r\n")).startswith(after.encode()):
                pass
        self.writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


def tag_of(response: str) -> str:
    found = re.search(r"^To: [^\r]*(;tag=[^;\r]+)", response, re.MULTILINE)
    assert found is not None
    return found[1]


async def test_our_bye_reaches_a_caller_whose_connection_has_closed(gateway: Gateway) -> None:
    """PBXs close idle connections; the Contact still listens, and a new connection carries the BYE."""
    async with TcpPhone(gateway) as phone:
        await phone.call("601")
        (call,) = gateway.app.calls
        phone.writer.close()
        await phone.writer.wait_closed()
        assert call.state is State.CONNECTED, "the call lives on without its connection"
        call.stop()
        bye = await asyncio.wait_for(phone.requests.get(), 30)
        assert bye.startswith("BYE sip:1001@127.0.0.1:")
        await gateway.idle()


async def test_a_caller_goes_on_over_a_new_connection(gateway: Gateway) -> None:
    """The BYE of a phone that had to connect again ends the call, and is answered where it came."""
    async with TcpPhone(gateway) as phone:
        await phone.call("601")
        phone.writer.close()
        await phone.writer.wait_closed()
        await phone.connect()
        bye = await phone.ask("BYE", "601", 3, to_tag=phone.to_tag)
        assert status_of(bye.encode()) == 200
        await gateway.idle()


@pytest.mark.parametrize("after", ["", "INVITE"], ids=["before the call", "with the INVITE"])
async def test_a_phone_whose_connection_breaks_is_asked_at_its_contact(
    gateway: Gateway, alice: RpcBrowser, after: str
) -> None:
    """Nothing has come back by the connection, so a new one carries the INVITE (RFC 3261 sections 8.1.3.1, 18.4)."""
    async with TcpPhone(gateway) as phone:
        await phone.register(as_flow=False)
        dropped = asyncio.ensure_future(phone.drop(after=after))
        if not after:
            await dropped
        assert await alice.refused("1001") == "busy"
        await dropped
        assert (await phone.requests.get()).startswith(f"INVITE sip:1001@127.0.0.1:{phone.port}")
        await gateway.idle()


async def test_a_phone_of_a_broken_flow_is_asked_nowhere_else(gateway: Gateway, alice: RpcBrowser) -> None:
    """A flow is its connection: nobody may be reached at such a Contact without it (RFC 5626 section 5.3)."""
    async with TcpPhone(gateway) as phone:
        await phone.register(as_flow=True)
        dropped = asyncio.ensure_future(phone.drop(after="INVITE"))
        assert await alice.refused("1001") == "unreachable"
        await dropped
        assert phone.requests.empty()
        await gateway.idle()
