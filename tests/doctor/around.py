"""What tests of the doctor share: configurations, findings, a STUN server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aioice import stun

from gateway.config import Config, checked
from gateway.doctor.findings import Finding, Verdict


def said(findings: Iterable[Finding], subject: str) -> Finding:
    """The one finding of that subject; it says what to do, unless all is well."""
    (found,) = [one for one in findings if one.subject == subject]
    assert bool(found.advice) == (found.verdict is not Verdict.GOOD), found
    return found


def config(**sections: Any) -> Config:
    return checked(Config.model_validate(sections))


def trunk(uri: str) -> dict[str, str]:
    return {"name": "office", "uri": uri}


@asynccontextmanager
async def stun_server(seen: tuple[str, int] | None) -> AsyncIterator[str]:
    """Says that it sees everybody at `seen`; None: says nothing."""

    class Server(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport
            self.asked = 0

        def datagram_received(self, data: bytes, address: Any) -> None:
            request = stun.parse_message(data)
            self.asked += 1
            if seen is None or self.asked == 1:  # the first answer is lost, and one for somebody else comes
                self.transport.sendto(bytes(20), address)
                return
            answer = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, request.transaction_id)
            answer.attributes["SOFTWARE"] = "test"
            answer.attributes["XOR-MAPPED-ADDRESS"] = seen
            self.transport.sendto(bytes(answer), address)

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Server, local_addr=("127.0.0.1", 0))
    try:
        yield "stun:127.0.0.1:{}".format(transport.get_extra_info("sockname")[1])
    finally:
        transport.close()
