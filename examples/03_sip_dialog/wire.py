"""The wire between two phones: passes on, prints and remembers what they say."""

from __future__ import annotations

from gateway.lesson import arrow

import asyncio

from gateway.sip import Request, Response, parse_message


class Wire(asyncio.DatagramProtocol):
    """One UDP socket between Alice and Bob: passes every datagram on unchanged, and prints it as a step of a ladder."""

    transport: asyncio.DatagramTransport
    alice: tuple[str, int]
    bob: tuple[str, int]

    def __init__(self) -> None:
        self.messages: list[Request | Response] = []

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        message = parse_message(data)
        self.messages.append(message)
        label = message.method if isinstance(message, Request) else f"{message.status} {message.phrase}"
        arrow("Alice", f"{label} (CSeq {message.cseq})", "Bob", back=addr != self.alice, width=40)
        self.transport.sendto(data, self.bob if addr == self.alice else self.alice)

    async def carried(self, steps: str) -> bool:
        """Wait for all of these steps ("INVITE, 180 INVITE"); whether nothing else went by, repetitions aside."""
        wanted = set(steps.split(", "))
        seen: set[str] = set()
        for _ in range(500):
            seen = {m.method if isinstance(m, Request) else f"{m.status} {m.cseq.method}" for m in self.messages}
            if seen >= wanted:
                break
            await asyncio.sleep(0.01)
        return seen == wanted
