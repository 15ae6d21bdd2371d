"""Phones that do as they are told, each by its one connection: over WebSocket with an invalid Contact, and over TCP."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from abc import ABC, abstractmethod
from collections import deque
from typing import ClassVar, TypeVar

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from gateway.sip.auth.client import ClientCredentials, DigestClient
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.framing import StreamFramer
from gateway.sip.message.message import Request, Response
from gateway.sip.message.parser import parse_message
from gateway.sip.message.uri import Uri
from tests.app.phones import SDP
from tests.interop.stranger import Stranger

M = TypeVar("M", Request, Response)
CONTACT = "sip:k3v1@df7jal23ls0d.invalid;transport=ws"


class ScriptedPhone(ABC):
    """One user at one connection; what comes is kept until it is asked for."""

    transport: ClassVar[str]
    via_parameters: ClassVar[str] = ""

    def __init__(self, user: str, domain: str, password: str) -> None:
        self.uri = Uri.of(user, domain)
        self._digest = DigestClient(ClientCredentials(user, "gateway", password=password))
        self._numbers = itertools.count(1)
        self._own = secrets.token_hex(4)  # no other phone's transactions are taken for this one's
        self._got: list[Request | Response] = []
        self.challenges = 0
        """How often it was asked who it is."""

    async def answer(self, invite: Request, contact: str) -> None:
        """A 200 with a description."""
        body = SDP.format(port=40000).encode()
        target = NameAddr.parse(f"<{contact}>")
        kind = "application/sdp"
        await self.send(build.response(invite, 200, to_tag="phone", contact=target, body=body, content_type=kind))

    def knows_nonces_of(self, other: ScriptedPhone) -> None:
        """Sign with what the other one was challenged with."""
        self._digest = other._digest

    @abstractmethod
    async def write(self, data: bytes) -> None:
        """Send octets."""

    @abstractmethod
    async def read(self) -> Request | Response:
        """The next message."""

    @abstractmethod
    async def close(self) -> None:
        """Close the connection."""

    async def register(
        self, expires: int = 600, contact: str = CONTACT, supported: str = "", call_id: str = ""
    ) -> Response:
        """The final answer to a REGISTER, its challenge answered; `contact` may have parameters behind its ">"."""
        value = contact if contact.startswith("<") else f"<{contact}>"
        address = NameAddr.parse(f"{value};expires={expires}")
        headers = (("Supported", supported),) if supported else ()
        registrar = Uri.of(None, self.uri.host)
        return await self.ask("REGISTER", registrar, self.uri, address, call_id=call_id, headers=headers)

    def next_number(self) -> int:
        """For the CSeq of a request that is sent as it is."""
        return next(self._numbers)

    def number_from(self, number: int) -> None:
        """Send `number` as the next CSeq: those below it were used by the phone that this one was before."""
        self._numbers = itertools.count(number)

    async def ask(
        self,
        method: str,
        uri: Uri,
        to: Uri,
        contact: NameAddr | None,
        body: bytes = b"",
        call_id: str = "",
        headers: build.Fields = (),
        content_type: str = "application/sdp",
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
                headers=headers,
                body=body,
                content_type=content_type if body else None,
            )
            await self.send(self._digest.authorize(request, "gateway", "cnonce"))
            answer = await self.final(method)
            if method == "INVITE":
                await self.send(_ack(request, answer))
            self.challenges += answer.status in (401, 407)
            if answer.status not in (401, 407):
                self._digest.accepted("gateway")
                break
            if not self._digest.challenged(answer, "gateway"):
                break
        return answer

    async def send(self, message: Request | Response) -> None:
        """Send it; a request gets a Via that names nobody (RFC 7118 section 5)."""
        if isinstance(message, Request):
            branch = f"z9hG4bK{self._own}{next(self._numbers)}"
            via = f"SIP/2.0/{self.transport} df7jal23ls0d.invalid{self.via_parameters};branch={branch}"
            message = message.with_headers(message.headers.prepend("Via", via))
        await self.write(message.write())

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
        async with asyncio.timeout(30):
            while True:
                for message in self._got:
                    if isinstance(message, kind):
                        self._got.remove(message)
                        return message
                self._got.append(await self.read())

    def has(self, method: str) -> bool:
        """Whether a request of this method has come that was not asked for yet."""
        return any(isinstance(one, Request) and one.method == method for one in self._got)


class WebSocketPhone(ScriptedPhone):
    """Over WebSocket, as browsers do."""

    transport = "WS"

    def __init__(self, socket: ClientConnection, user: str, domain: str, password: str) -> None:
        super().__init__(user, domain, password)
        self.socket = socket

    @classmethod
    async def open(cls, url: str, user: str, domain: str, password: str) -> WebSocketPhone:
        """A phone whose socket is up; raises InvalidStatus for a handshake that is refused."""
        return cls(await connect(url, subprotocols=[Subprotocol("sip")]), user, domain, password)

    async def write(self, data: bytes) -> None:
        await self.socket.send(data.decode())

    async def read(self) -> Request | Response:
        data = await self.socket.recv()
        return parse_message(data if isinstance(data, bytes) else data.encode())

    async def close(self) -> None:
        await self.socket.close()


class UdpPhone(ScriptedPhone):
    """At a socket of its own."""

    transport = "UDP"
    via_parameters = ";rport"

    def __init__(self, socket: Stranger, place: tuple[str, int], user: str, domain: str, password: str) -> None:
        super().__init__(user, domain, password)
        self.socket, self.place, self._read = socket, place, 0

    async def write(self, data: bytes) -> None:
        self.socket.send(data, self.place)

    async def read(self) -> Request | Response:
        await self.socket.more_than(self._read)
        self._read += 1
        return parse_message(self.socket.received[self._read - 1][0])

    async def close(self) -> None:
        self.socket.close()


class TcpPhone(ScriptedPhone):
    """Over TCP."""

    transport = "TCP"

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, user: str, domain: str, password: str
    ) -> None:
        super().__init__(user, domain, password)
        self._reader = reader
        self.writer = writer
        self._framer = StreamFramer()
        self._frames: deque[Request | Response] = deque()

    @classmethod
    async def open(cls, host: str, port: int, user: str, domain: str, password: str) -> TcpPhone:
        """A phone whose connection is up."""
        return cls(*await asyncio.open_connection(host, port), user, domain, password)

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def read(self) -> Request | Response:
        while not self._frames:
            data = await self._reader.read(65536)
            if not data:
                raise ConnectionError("the connection is closed")
            self._frames += [one for one in self._framer.feed(data) if isinstance(one, Request | Response)]
        return self._frames.popleft()

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


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
