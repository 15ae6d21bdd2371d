"""A name server on loopback, for tests."""

from __future__ import annotations

import asyncio

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

Zone = dict[tuple[str, str], list[str]]
"""Records by name and type."""


class NameServer(asyncio.DatagramProtocol):
    """Answers from a zone and counts the questions."""

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self.asked: list[tuple[str, str]] = []
        self.silent = False
        self.mute: set[str] = set()
        """Names of which it says nothing."""
        self.mute_kinds: set[str] = set()
        """Types of records of which it says nothing."""
        self.fails = False
        """It cannot say anything of any name (SERVFAIL)."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        name, kind = query.question[0].name, query.question[0].rdtype
        key = (name.to_text().lower(), dns.rdatatype.to_text(kind))
        self.asked.append(key)
        if self.silent or key[0] in self.mute or key[1] in self.mute_kinds:
            return
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA | dns.flags.AA
        records = self.zone.get(key)
        if self.fails:
            response.set_rcode(dns.rcode.SERVFAIL)
        elif records:
            response.answer.append(dns.rrset.from_text(name, 60, "IN", key[1], *records))
        elif not any(known == key[0] for known, _ in self.zone):
            response.set_rcode(dns.rcode.NXDOMAIN)
        self.transport.sendto(response.to_wire(), addr)  # type: ignore[attr-defined]
