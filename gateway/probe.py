"""Probes of one port by one datagram or one connection, within seconds."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
import struct
from collections.abc import Awaitable, Callable, Mapping

PATIENCE = 3.0
"""Seconds that an answer may take."""
ECHO = b"gateway-doctor "
"""First octets of a datagram of `by_echo`, which the machine under test sends back."""
_MOST = 64
"""Datagrams that wait to be read."""
_AGAIN = 0.5
"""Seconds after which a datagram is sent again."""
_COOKIE = 0x2112A442
_BINDING_REQUEST, _BINDING_RESPONSE = 0x0001, 0x0101
_XOR_MAPPED_ADDRESS = 0x0020
_FAMILY_4, _FAMILY_6 = 1, 2


async def mapped_address(host: str, port: int) -> str:
    """The address at which a STUN server sees us (RFC 8489 section 14.2). Raises OSError; waits for ever."""
    request = struct.pack("!HHI", _BINDING_REQUEST, 0, _COOKIE) + secrets.token_bytes(12)
    return await _asked(host, port, lambda place: request, lambda answer: mapped(answer, request))


def mapped(answer: bytes, request: bytes) -> str | None:
    """The address in a STUN answer to `request`; None where it is none."""
    if len(answer) < 20 or answer[4:20] != request[4:20] or answer[:2] != struct.pack("!H", _BINDING_RESPONSE):
        return None
    at = 20
    while at + 4 <= len(answer):
        kind, length = struct.unpack_from("!HH", answer, at)
        if kind == _XOR_MAPPED_ADDRESS:
            return _unmasked(answer[at + 4 : at + 4 + length], request)
        at += 4 + length + (-length & 3)
    return None


def _unmasked(value: bytes, request: bytes) -> str | None:
    """The address of an XOR-MAPPED-ADDRESS: cookie and transaction id are laid over it."""
    size = {_FAMILY_4: 4, _FAMILY_6: 16}.get(value[1] if len(value) > 1 else 0)
    if size is None or len(value) != 4 + size:
        return None
    return str(ipaddress.ip_address(bytes(one ^ other for one, other in zip(value[4:], request[4:], strict=False))))


async def by_sip(host: str, port: int) -> str:
    """The status line that answers OPTIONS over UDP. Raises OSError; waits for ever."""
    uri = f"sip:{hostport((host, port))}"
    return await by_datagram(host, port, lambda place: options(uri, place, place, "UDP"))


async def by_echo(host: str, port: int) -> str:
    """A word where the datagram comes back. Raises OSError; waits for ever."""
    sent = ECHO + secrets.token_hex(8).encode()
    return await _asked(host, port, lambda place: sent, lambda answer: "came back" if answer == sent else None)


async def by_connection(host: str, port: int) -> str:
    """A word where a TCP connection is taken. Raises OSError; waits for ever."""
    _, writer = await asyncio.open_connection(host, port)
    writer.transport.abort()
    return "takes connections"


PROBES: Mapping[str, Callable[[str, int], Awaitable[str]]] = {
    "sip": by_sip,
    "echo": by_echo,
    "tcp": by_connection,
}
"""Probes by the name that POST /api/reach takes."""


async def tried(kind: str, host: str, port: int) -> str | None:
    """Run one of PROBES; None without an answer within PATIENCE."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await PROBES[kind](host, port)
    except (OSError, TimeoutError):
        return None


def options(uri: str, domain: str, place: str, transport: str) -> bytes:
    """Build an OPTIONS request (RFC 3261 section 11) of its own transaction."""
    return (
        f"OPTIONS {uri} SIP/2.0\r\n"
        f"Via: SIP/2.0/{transport} {place};rport;branch=z9hG4bK{secrets.token_hex(8)}\r\n"
        "Max-Forwards: 70\r\n"
        f"From: <sip:doctor@{domain}>;tag={secrets.token_hex(4)}\r\n"
        f"To: <{uri}>\r\n"
        f"Call-ID: {secrets.token_hex(8)}\r\n"
        "CSeq: 1 OPTIONS\r\n"
        f"Contact: <sip:doctor@{place}>\r\n"
        "Accept: application/sdp\r\n"
        "Content-Length: 0\r\n\r\n"
    ).encode()


def status_line(answer: bytes) -> str | None:
    """Quote the status of a SIP response; None for other octets."""
    line = answer.partition(b"\r\n")[0].decode("utf-8", "replace")
    return f'answers "{line.removeprefix("SIP/2.0 ").strip()[:60]}"' if line.startswith("SIP/2.0 ") else None


def hostport(address: tuple[str, int]) -> str:
    """An address as a URI has it."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def by_datagram(host: str, port: int, request: Callable[[str], bytes]) -> str:
    """The status line that answers what `request` makes for the place that it is sent from."""
    return await _asked(host, port, request, status_line)


class _Answers(asyncio.DatagramProtocol):
    """The datagrams that come back, as many as are waited for; a flood is dropped."""

    def __init__(self) -> None:
        self.waiting: asyncio.Queue[bytes] = asyncio.Queue(_MOST)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            self.waiting.put_nowait(data)


async def _asked(host: str, port: int, request: Callable[[str], bytes], read: Callable[[bytes], str | None]) -> str:
    """Send `request`, again every half second, until `read` makes something of an answer; waits for ever."""
    loop = asyncio.get_running_loop()
    transport, answers = await loop.create_datagram_endpoint(_Answers, remote_addr=(host, port))
    try:
        sent = request(hostport(transport.get_extra_info("sockname")))
        while True:
            transport.sendto(sent)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_AGAIN):
                    while (found := read(await answers.waiting.get())) is None:
                        pass
                    return found
    finally:
        transport.close()
