"""SIP requests and responses whose optional headers are dropped, emptied or garbled, against a user agent.

`OPTIONAL` lists the headers that no request needs; `faults` says of one mutated message how it was refused.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gateway.sip.flow import Flow
from gateway.sip.invite.session import InviteSession
from gateway.sip.message import build
from gateway.sip.message.message import Request, Response
from gateway.sip.message.parser import parse_message
from gateway.testing.clock import ManualClock
from gateway.testing.network import LossyNetwork
from gateway.testing.sip_peer import AgentNode, Puppet, SessionLog

PEER, US = ("192.0.2.9", 5070), ("192.0.2.1", 5060)
SDP = "v=0\r\no=a 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"

OPTIONAL: dict[str, str] = {
    "Accept": "application/sdp",
    "Accept-Contact": "*;audio",
    "Accept-Encoding": "identity",
    "Accept-Language": "en",
    "Alert-Info": "<http://192.0.2.9/ring>",
    "Allow": "INVITE, ACK, BYE, CANCEL, UPDATE",
    "Allow-Events": "presence",
    "Call-Info": "<http://192.0.2.9/me>;purpose=info",
    "Content-Disposition": "session",
    "Content-Language": "en",
    "Date": "Sat, 13 Nov 2010 23:29:00 GMT",
    "Diversion": "<sip:c@example.net>;reason=unconditional",
    "Expires": "600",
    "Geolocation": "<sip:g@example.net>",
    "History-Info": "<sip:c@example.net>;index=1",
    "Identity": "a.b.c;info=<https://example.net/c>",
    "In-Reply-To": "x@example.net",
    "Max-Forwards": "70",
    "MIME-Version": "1.0",
    "Min-SE": "90",
    "Organization": "Office",
    "P-Access-Network-Info": "IEEE-802.11",
    "P-Asserted-Identity": "<sip:a@example.net>",
    "P-Called-Party-ID": "<sip:b@example.net>",
    "P-Charging-Vector": "icid-value=1",
    "P-Early-Media": "supported",
    "P-Preferred-Identity": "<sip:a@example.net>",
    "Priority": "normal",
    "Privacy": "none",
    "Proxy-Authorization": 'Digest username="a", realm="elsewhere", nonce="n", uri="sip:b", response="0"',
    "Reason": "Q.850;cause=16",
    "Recv-Info": "infodtmf",
    "Referred-By": "<sip:c@example.net>",
    "Reject-Contact": "*;video",
    "Remote-Party-ID": "<sip:a@example.net>;party=calling",
    "Reply-To": "<sip:a@example.net>",
    "Request-Disposition": "proxy",
    "Retry-After": "5",
    "Route": "<sip:192.0.2.1;lr>",
    "Server": "Desk/1.0",
    "Service-Route": "<sip:192.0.2.1;lr>",
    "Session-Expires": "1800;refresher=uac",
    "Subject": "Lunch",
    "Supported": "100rel, timer",
    "Timestamp": "54",
    "Unsupported": "x",
    "User-Agent": "Desk/1.0",
    "Warning": '399 example.net "none"',
    "X-Vendor": "1",
}
"""Headers without which every request below is served, each with a value as peers write it.

Not among them are demands (Require, Replaces), what names a transaction, dialog or route, what one method is about
(Event, RAck, Refer-To, ...) and how its body is coded: such a header that cannot be read gets a 4xx.
"""
OF_RESPONSE = (*(name for name in OPTIONAL if name not in ("Max-Forwards", "Route")), "Require", "RSeq", "SIP-ETag")
"""Nobody can refuse a response, so its Require and RSeq are optional, too."""

GARBLED: Sequence[str] = (
    "",
    "@",
    "<",
    ">",
    '"',
    ",",
    ",,",
    ";",
    "=",
    "<<>>",
    "<sip:",
    '"x',
    "a b c",
    "-1",
    "99999999999999999999999",
    "\x00",
    "a\x00b\x0b\x0c\x7f",
    "\x1b[31m",
    "\xff\xfe",
    "%00",
    "\u202e",
    "=" * 300,
    "<sip:a@b>;" * 40,
    "x" * 3000,
)
"""Values that say nothing. One that is well formed and says something else is none of them: `Accept: text/plain`."""


def garbled(value: str, chance: random.Random) -> str:
    """Return `value` with octets changed, taken or put in, or one of GARBLED; never a line end, never a `\\t`."""
    if chance.random() < 0.3:
        return chance.choice(GARBLED)
    text = list(value)
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        place = chance.randrange(len(text) + 1)
        text[place : place + chance.choice((0, 0, 1, 4))] = chance.choice(
            (
                "",
                "<",
                ">",
                '"',
                ",",
                ";",
                "=",
                "@",
                "\\",
                " ",
                "\x00",
                "\x01",
                "\x7f",
                "%",
                chr(chance.randrange(32, 0x250)),
            )
        )
    return "".join(text)


@dataclass(frozen=True, slots=True)
class Question:
    """One request that a user agent serves with 2xx."""

    method: str
    lines: tuple[str, ...] = ()
    """Headers that the method needs."""
    body: str = ""
    in_dialog: bool = False

    def __str__(self) -> str:
        return f"{self.method} in a dialog" if self.in_dialog else self.method


CONTACT = "Contact: <sip:a@192.0.2.9:5070>"
_TYPE = "Content-Type: application/sdp"
QUESTIONS = (
    Question("INVITE", (CONTACT, _TYPE), SDP),
    Question("INVITE", (CONTACT,)),
    Question("OPTIONS"),
    Question("REGISTER", (CONTACT,)),
    Question("INVITE", (CONTACT, _TYPE), SDP, in_dialog=True),
    Question("UPDATE", (CONTACT,), in_dialog=True),
    Question("INFO", in_dialog=True),
    Question("OPTIONS", in_dialog=True),
    Question("BYE", in_dialog=True),
)
_ACK = Question("ACK", (CONTACT,))
DECIDES = frozenset(("Accept", "Expires", "Max-Forwards", "Session-Expires"))
"""Headers of which a readable value may rightly refuse a request (406, 423, 483, 422): not garbled by chance."""


def written(
    question: Question, header: str = "", value: str | None = None, *, to_tag: str = "", number: int = 1
) -> bytes:
    """The request with every optional header; `header` at `value`, or left out where that is None."""
    body = question.body.encode()
    fields = {**OPTIONAL, header: value}
    if not body:
        fields = {name: one for name, one in fields.items() if not name.startswith("Content-") or name == header}
    tag = f";tag={to_tag}" if to_tag else ""
    head = [
        f"{question.method} sip:b@192.0.2.1 SIP/2.0",
        f"Via: SIP/2.0/UDP 192.0.2.9:5070;rport;branch=z9hG4bK{number}",
        "From: <sip:a@example.net>;tag=ft",
        f"To: <sip:b@192.0.2.1>{tag}",
        "Call-ID: c1",
        f"CSeq: {number} {question.method}",
        *question.lines,
        *(f"{name}: {one}" for name, one in fields.items() if one is not None),
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


class Bench:
    """A user agent that takes every call, and a puppet that asks it; one call serves for what is asked in it."""

    def __init__(self) -> None:
        self.network = LossyNetwork(ManualClock())
        self.agent, self.puppet = AgentNode(self.network, US), Puppet(self.network, PEER)
        self.agent.on_call = _answered
        self._tag = ""
        self._number = 0

    def statuses(self, question: Question, header: str, value: str | None, line: str = "") -> list[int]:
        """Ask the question with that header at `value`; return the final answers to it, the last one first.

        `line` stands before the last header.
        """
        if question.in_dialog and not self._tag:
            self._begin()
        asked = self._written(question, header, value)
        place = asked.index(b"Content-Length:")
        self._send(asked[:place] + (line.encode() + b"\r\n" if line else b"") + asked[place:])
        found = [status for status in self.puppet.statuses() if status >= 200][::-1]
        if question.in_dialog and question.method == "INVITE":
            self._acknowledge()
        return found

    def _begin(self) -> None:
        """Have a call that the agent has answered."""
        self._send(self._written(QUESTIONS[0]))
        [answer] = [one for one in self.puppet.take() if isinstance(one, Response) and one.status == 200]
        self._tag = answer.to_tag or ""
        self._acknowledge()

    def _acknowledge(self) -> None:
        self._number -= 1
        self._send(self._written(_ACK))

    def _written(self, question: Question, header: str = "", value: str | None = None) -> bytes:
        self._number += 1
        return written(question, header, value, to_tag=self._tag, number=self._number)

    def _send(self, data: bytes) -> None:
        self.puppet.send(data, US)
        self.network.run(0.1)


def _answered(session: InviteSession, log: SessionLog) -> None:
    session.answer(SDP.encode())  # type: ignore[attr-defined]


def faults(question: Question, header: str, values: Sequence[str | None]) -> list[str]:
    """Say at which values of that header the request was refused, and how; None stands for a header left out."""
    bench, found = Bench(), list[str]()
    for value in values:
        statuses = bench.statuses(question, header, value)
        is_served = bool(statuses) and 200 <= statuses[0] < 300
        if not is_served:
            found.append(f"{question}: {header}: {value!r} gets {statuses or 'no answer'}")
        if not is_served or not question.in_dialog or question.method == "BYE":
            bench = Bench()
    return found


def fault(question: Question, header: str, value: str | None) -> str | None:
    """Say how the request was refused that is served without that header; None where it was served."""
    return next(iter(faults(question, header, (value,))), None)


def line_fault(question: Question, line: str) -> str | None:
    """Say how the request was refused that has one more line; None where it was served."""
    found = Bench().statuses(question, "", None, line)
    return None if found and 200 <= found[0] < 300 else f"{question}: {line!r} gets {found or 'no answer'}"


def answered_fault(header: str, value: str, status: int) -> str | None:
    """Say how a call ended whose callee answers with that header at `value`; None where it stands, acknowledged."""
    return answered_line_fault(f"{header}: {value}", status)


def answered_line_fault(added: str, status: int) -> str | None:
    """Say how a call ended whose callee answers with one more line; None where it stands, acknowledged."""
    network = LossyNetwork(ManualClock())
    agent, puppet = AgentNode(network, US), Puppet(network, PEER)

    def react(message: Request | Response) -> None:
        if isinstance(message, Request) and message.method == "INVITE":
            for one in dict.fromkeys((status, 200)):
                with_it = one == status
                answer = build.response(message, one, to_tag="theirs", headers=(("Contact", "<sip:b@192.0.2.9:5070>"),))
                answer = answer.with_body(SDP.encode(), "application/sdp") if one == 200 else answer
                head, _, body = answer.write().partition(b"\r\n\r\n")
                line = f"\r\n{added}".encode() if with_it else b""
                puppet.send(head + line + b"\r\n\r\n" + body, US)

    puppet.react = react
    plain = parse_message(written(QUESTIONS[0]))
    assert isinstance(plain, Request)
    session = agent.core.invite(plain.with_headers(plain.headers.without("Via", *OPTIONAL)), Flow("udp", *PEER))
    log = SessionLog(session)
    network.run(0.5)
    methods = [message.method for message in puppet.take() if isinstance(message, Request)]
    if "Answered" in log.kinds and "ACK" in methods and "BYE" not in methods:
        return None
    return f"{status} with {added!r} gives {log.kinds}, {methods}"


def hunt(chance: random.Random) -> Iterator[str | None]:
    """Try one mutation after the other, for ever; give what is wrong with each."""
    while True:
        question, header = chance.choice(QUESTIONS), chance.choice(list(OPTIONAL))
        value = chance.choice(GARBLED) if header in DECIDES else garbled(OPTIONAL[header], chance)
        yield fault(question, header, value)
        name = chance.choice(OF_RESPONSE)
        yield answered_fault(name, garbled(OPTIONAL.get(name, "1"), chance), chance.choice((180, 183, 200)))
