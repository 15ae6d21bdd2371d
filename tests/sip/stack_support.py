"""A stack without a network, and requests for it."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.sip.flow import Flow
from gateway.sip.message.message import Response
from gateway.sip.message.parser import parse_message
from gateway.sip.transactions.admission import AdmissionLimits
from gateway.sip.transactions.config import StackConfig
from gateway.sip.transactions.layer import Stack

SOURCE = Flow("udp", "192.0.2.9", 5070, "here")
FREE = StackConfig(admission=AdmissionLimits(rate=0))


def counting() -> Iterator[str]:
    number = 0
    while True:
        number += 1
        yield f"token{number:08d}"


def stack_of(config: StackConfig = FREE) -> Stack:
    tokens = counting()
    return Stack(config, token=lambda: next(tokens), sent_by=lambda flow: ("192.0.2.1", 5060))


def text(
    method: str = "OPTIONS",
    *,
    branch: str = "z9hG4bKone",
    call_id: str = "c1",
    cseq: int = 1,
    tag: str = "ft",
    via: str = "192.0.2.9:5070;rport",
    extra: str = "",
    to_tag: str = "",
    padding: int = 400,
) -> bytes:
    """A request; padded, so that answers are never held back for their size."""
    to = f";tag={to_tag}" if to_tag else ""
    lines = [
        f"{method} sip:gateway.example SIP/2.0",
        f"Via: SIP/2.0/UDP {via}{';branch=' + branch if branch else ''}",
        f"From: <sip:a@example.net>;tag={tag}",
        f"To: <sip:b@gateway.example>{to}",
        f"Call-ID: {call_id}",
        f"CSeq: {cseq} {method}",
        "Max-Forwards: 70",
        f"X-Padding: {'x' * padding}",
    ]
    if extra:
        lines.append(extra)
    return ("\r\n".join(lines) + "\r\nContent-Length: 0\r\n\r\n").encode()


def answers(stack: Stack) -> list[tuple[Response, Flow]]:
    found = []
    for data, flow in stack.datagrams():
        message = parse_message(data)
        assert isinstance(message, Response)
        found.append((message, flow))
    return found
