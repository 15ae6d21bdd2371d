"""What an INVITE session tells its listener, and what the application tells the core."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.build import Refusal
from gateway.sip.message.fields import Headers
from gateway.sip.message.message import Message, Request

Field = tuple[str, str]


@dataclass(frozen=True, slots=True)
class SessionEvent:
    """Something the far end of a session did; subclasses say what.

    The last event of every session is either `Failed` (it never was answered) or `Ended`.
    """


@dataclass(frozen=True, slots=True)
class Provisional(SessionEvent):
    """UAC: a 101-199 came; `body` is its session description, b"" without one.

    `is_offer`: the INVITE had no offer and this reliable 1xx brings one, to be answered with
    `answer_offer(exchange, body)`; the answer goes out in its PRACK (RFC 3262 section 5).
    """

    status: int
    reason: str
    body: bytes = b""
    exchange: int | None = None
    is_offer: bool = False


@dataclass(frozen=True, slots=True)
class Answered(SessionEvent):
    """UAC: the first 2xx came; `body` is the answer to our offer, b"" where a reliable 1xx had given it.

    `is_offer`: the INVITE had no offer and `body` is the peer's; `answer_offer(exchange, body)` puts the answer
    into the ACK, which waits for it.
    """

    body: bytes = b""
    exchange: int | None = None
    is_offer: bool = False
    repeated: bytes = b""
    """Description of a 2xx behind a reliable 1xx with the answer: no news where that one could be used."""


@dataclass(frozen=True, slots=True)
class Failed(SessionEvent):
    """UAC: no call; `status` is the final response, or 408 (nobody answered) or 503 (nobody reached) of our own."""

    status: int
    reason: str
    headers: Headers
    contacts: tuple[NameAddr, ...] = ()
    """Where else to ask, of a 3xx (RFC 3261 section 21.3)."""


@dataclass(frozen=True, slots=True)
class Confirmed(SessionEvent):
    """UAS: the ACK of our 2xx came; `body` is the answer to the offer our 2xx made where the INVITE had none."""

    body: bytes = b""
    exchange: int | None = None


@dataclass(frozen=True, slots=True)
class Ended(SessionEvent):
    """The session is over.

    `by` is "remote" (BYE, CANCEL), "local" (`hangup`, `reject`), "timeout" (no ACK, a dead peer, an expired
    session timer), "error" (the peer no longer knows the call) or "mistake" (ours). `cause` is a SIP status and
    `q850` a Q.850 cause, both from the Reason header or, for the last three, from what went wrong.
    """

    by: Literal["remote", "local", "timeout", "error", "mistake"]
    cause: int | None = None
    q850: int | None = None
    text: str = ""

    @classmethod
    def by_peer(cls, request: Request) -> Ended:
        """That of a BYE or CANCEL, with the causes of its Reason header (RFC 3326)."""
        cause = q850 = None
        text = ""
        for reason in request.reason:
            if reason.value.upper() == "SIP":
                cause = reason.cause
            elif reason.value.upper() == "Q.850":
                q850 = reason.cause
            text = text or reason.param("text") or ""
        return cls("remote", cause, q850, text)


@dataclass(frozen=True, slots=True)
class Offered(SessionEvent):
    """The peer wants to change the session (re-INVITE, UPDATE, an offer in PRACK).

    `body` is its offer, b"" when it asks for ours. Reply once, with `answer_offer` or `refuse_offer` and this
    `exchange`.
    """

    exchange: int
    body: bytes = b""
    repeats: bool = False
    """The offer is the description of the peer that stands, such as its answer to our offer: a refresh."""


@dataclass(frozen=True, slots=True)
class OfferAnswered(SessionEvent):
    """The outcome of our `offer`, exactly one for each: `body` is the peer's answer, None when it was refused.

    `status` is the final response, 408 or 503 where none came, 481 where the dialog ended before. The answer in
    the ACK of a re-INVITE that asked for our offer comes as this, too, under the number of its `Offered`.
    """

    exchange: int
    status: int
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class OfferCancelled(SessionEvent):
    """The `Offered` of that number needs no reply any more: its sender took it back."""

    exchange: int


@dataclass(frozen=True, slots=True)
class FlowLost(SessionEvent):
    """The connection to the peer is gone; the dialog stays and requests of ours look for another way."""


@dataclass(frozen=True, slots=True)
class FlowFound(SessionEvent):
    """The peer answers again after `FlowLost`, by a connection that was made anew."""


@dataclass(frozen=True, slots=True)
class Identified(SessionEvent):
    """The peer says who it is now: by From, or by what a trusted one asserts (RFC 4916, RFC 3325).

    `message` is the re-INVITE or UPDATE that was accepted, or the 2xx to our INVITE.
    """

    message: Message


@dataclass(frozen=True, slots=True)
class InfoReceived(SessionEvent):
    """An INFO came, to be answered by `answer_info(number, status)`; `content_type` without parameters, in lower case.

    `package` is its Info-Package (RFC 6086) in lower case, None for an INFO of the older kind (RFC 2976).
    """

    content_type: str
    body: bytes
    package: str | None = None
    number: int = field(default=0, compare=False)


SessionHandler = Callable[[SessionEvent], None]


@dataclass(frozen=True, slots=True)
class Accepted:
    """The application lets a request in; `identity` is who sent it, None for an anonymous but admitted peer."""

    identity: str | None = None
    is_proof: bool = True
    """False where no more is known of the sender than an address, which anybody may write into a datagram."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The application turns a request away, a challenge (401, 407) included."""

    status: int
    reason: str | None = None
    headers: tuple[Field, ...] = ()

    @classmethod
    def of(cls, refusal: Refusal) -> Refused:
        """The same in the application's words."""
        return cls(refusal.status, refusal.reason or None, tuple((name, str(value)) for name, value in refusal.headers))


Verdict = Accepted | Refused


@dataclass(frozen=True, slots=True)
class Reply:
    """The application's answer to a REGISTER."""

    status: int
    reason: str | None = None
    headers: tuple[Field, ...] = ()
