"""The ladder of one SIP stack: every message that goes in or out, as it happens."""

from __future__ import annotations

from gateway.lesson import arrow, within

import asyncio

from gateway import net
from gateway.sip import Request, Response, parse_message


class Ladder:
    """A tap on one stack: every SIP message in and out is a step."""

    def __init__(self) -> None:
        self.messages: list[Request | Response] = []
        self._more = asyncio.Condition()

    def message(self, direction: net.Direction, data: bytes, flow: net.Flow, time: float) -> None:
        """One message of the stack (net.MessageTap)."""
        message = parse_message(data)
        self.messages.append(message)
        label = name(message) + (f" ({message.content_type})" if message.body else "")
        arrow("alice", label, "bob", back=direction.value == "in")
        self._changed = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        async with self._more:
            self._more.notify_all()

    async def passed(self, *steps: str) -> None:
        """Wait until all of them have gone by; TimeoutError."""
        async with within(8, f"{' and '.join(steps)} on the ladder"), self._more:
            await self._more.wait_for(lambda: {*steps} <= {name(one) for one in self.messages})


def name(message: Request | Response) -> str:
    """How a ladder calls it: "INVITE", "200 INVITE"."""
    return message.method if isinstance(message, Request) else f"{message.status} {message.cseq.method}"
