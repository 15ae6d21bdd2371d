"""A phone that speaks SIP over WebSocket as browsers do: an invalid Contact, everything by its one socket."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from typing import TypeVar

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from gateway.sip.auth.client import ClientCredentials, DigestClient
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request, Response
from gateway.sip.message.parser import parse_message
from gateway.sip.message.uri import Uri

M = TypeVar("M", Request, Response)
CONTACT = "sip:k3v1@df7jal23ls0d.invalid;transport=ws"


class WebSocketPhone:
    """One user at one socket; what comes is kept until it is asked for."""

    def __init__(self, socket: ClientConnection, user: str, domain: str, password: str) -> None:
        self.socket = socket
        self.uri = Uri.of(user, domain)
        self._digest = DigestClient(ClientCredentials(user, "gateway", password=password))
        self._numbers = itertools.count(1)
        self._got: list[Request | Response] = []

    @classmethod
    async def open(cls, url: str, user: str, domain: str, password: str) -> WebSocketPhone:
        """A phone whose socket is up; raises InvalidStatus for a handshake that is refused."""
        return cls(await connect(url, subprotocols=[Subprotocol("sip")]), user, domain, password)

    async def register(self, expires: int = 600) -> Response:
        """The final answer to a REGISTER, its challenge answered."""
        contact = NameAddr.parse(f"<{CONTACT}>;expires={expires}")
        return await self.ask("REGISTER", Uri.of(None, self.uri.host), self.uri, contact)

    async def ask(
        self, method: str, uri: Uri, to: Uri, contact: NameAddr, body: bytes = b"", call_id: str = ""
    ) -> Response:
        """The first final response to a request outside a dialog, once the challenge is answered."""
        call_id = call_id or secrets.token_hex(8)
        for _ in range(2):
            request = build.request(
                method,
                uri,
                from_=NameAddr(self.uri).with_tag("here"),
                to=NameAddr(to),
                call_id=call_id,
                cseq=next(self._numbers),
                contact=contact,
                body=body,
                content_type="application/sdp" if body else None,
            )
            await self.send(self._digest.authorize(request, "gateway", "cnonce"))
            answer = await self.final(method)
            if method == "INVITE":
                await self.send(_ack(request, answer))
            if answer.status not in (401, 407) or not self._digest.challenged(answer, "gateway"):
                break
        return answer

    async def send(self, message: Request | Response) -> None:
        """Send it; a request gets a Via that names nobody (RFC 7118 section 5)."""
        if isinstance(message, Request):
            via = f"SIP/2.0/WS df7jal23ls0d.invalid;branch=z9hG4bK{next(self._numbers)}"
            message = message.with_headers(message.headers.prepend("Via", via))
        await self.socket.send(message.write().decode())

    async def final(self, method: str) -> Response:
        """The next final response to a request of this method."""
        while True:
            response = await self._next(Response)
            if response.is_final and response.cseq.method == method:
                return response

    async def request(self, method: str) -> Request:
        """The next request of this method."""
        while True:
            request = await self._next(Request)
            if request.method == method:
                return request

    async def _next(self, kind: type[M]) -> M:
        async with asyncio.timeout(5):
            while True:
                for message in self._got:
                    if isinstance(message, kind):
                        self._got.remove(message)
                        return message
                data = await self.socket.recv()
                self._got.append(parse_message(data if isinstance(data, bytes) else data.encode()))

    async def close(self) -> None:
        """Close the socket."""
        await self.socket.close()


def _ack(invite: Request, answer: Response) -> Request:
    """The ACK of a final response; that of a failure is told by the branch only, so the gateway drops it in silence."""
    contact = answer.contact
    return build.request(
        "ACK",
        contact.uri if contact is not None else invite.uri,
        from_=invite.from_,
        to=answer.to,
        call_id=invite.call_id,
        cseq=invite.cseq.number,
    )
