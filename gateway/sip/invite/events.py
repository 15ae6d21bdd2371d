"""Events from an INVITE session to its listener, and replies of the application to the core."""

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
    """Event caused by the far end of a session.

    The last event of a session is `Failed` (never answered) or `Ended`.
    """


@dataclass(frozen=True, slots=True)
class Provisional(SessionEvent):
    """UAC: a 101-199 arrived; `body`: its session description or b"".

    `is_offer`: the INVITE had no offer and the reliable 1xx carries one. `answer_offer(exchange, body)` sends the
    answer in the PRACK (RFC 3262 section 5).
    """

    status: int
    reason: str
    body: bytes = b""
    exchange: int | None = None
    is_offer: bool = False


@dataclass(frozen=True, slots=True)
class Answered(SessionEvent):
    """UAC: the first 2xx arrived; `body`: the answer to our offer, b"" if a reliable 1xx carried the answer.

    `is_offer`: the INVITE had no offer and `body` is the peer's. The ACK waits for `answer_offer(exchange, body)`.
    """

    body: bytes = b""
    exchange: int | None = None
    is_offer: bool = False
    repeated: bytes = b""
    """Description in a 2xx after an answer in a reliable 1xx; ignored if the first answer was usable."""


@dataclass(frozen=True, slots=True)
class Failed(SessionEvent):
    """UAC: the call failed; `status`: the final response, or our own 408 (no answer) or 503 (unreachable)."""

    status: int
    reason: str
    headers: Headers
    contacts: tuple[NameAddr, ...] = ()
    """Alternative targets of a 3xx (RFC 3261 section 21.3)."""


@dataclass(frozen=True, slots=True)
class Confirmed(SessionEvent):
    """UAS: the ACK of our 2xx arrived; `body`: the answer to the 2xx's offer, after an INVITE without offer."""

    body: bytes = b""
    exchange: int | None = None


@dataclass(frozen=True, slots=True)
class Ended(SessionEvent):
    """The session ended.

    `by`: "remote" (BYE, CANCEL), "local" (`hangup`, `reject`), "timeout" (no ACK, dead peer, expired session timer),
    "error" (peer lost the call) or "mistake" (our bug). `cause`: SIP status, `q850`: Q.850 cause.
    """

    by: Literal["remote", "local", "timeout", "error", "mistake"]
    cause: int | None = None
    q850: int | None = None
    text: str = ""

    @classmethod
    def by_peer(cls, request: Request) -> Ended:
        """Return the event for a BYE or CANCEL, with the causes of its Reason header (RFC 3326)."""
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

    `body`: the offer, b"" to request ours. Reply once, by `answer_offer` or `refuse_offer` with `exchange`.
    """

    exchange: int
    body: bytes = b""
    repeats: bool = False
    """True if the offer equals the peer's agreed description, such as its last answer: a refresh."""


@dataclass(frozen=True, slots=True)
class OfferAnswered(SessionEvent):
    """Outcome of our `offer`, exactly one each; `body`: the peer's answer, None if rejected.

    `status`: the final response, 408 or 503 without response, 481 after the dialog's end. Also reports the answer in
    the ACK of a re-INVITE without offer, with the number of its `Offered`.
    """

    exchange: int
    status: int
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class OfferCancelled(SessionEvent):
    """The peer withdrew the `Offered` with number `exchange`; no reply is needed."""

    exchange: int


@dataclass(frozen=True, slots=True)
class FlowLost(SessionEvent):
    """The connection to the peer closed. The dialog remains, and our requests try other routes."""


@dataclass(frozen=True, slots=True)
class FlowFound(SessionEvent):
    """The peer answers again after `FlowLost`, over a new connection."""


@dataclass(frozen=True, slots=True)
class Identified(SessionEvent):
    """The peer changed its identity, by From or as asserted by a trusted peer (RFC 4916, RFC 3325).

    `message`: the accepted re-INVITE or UPDATE, or the 2xx to our INVITE.
    """

    message: Message


@dataclass(frozen=True, slots=True)
class InfoReceived(SessionEvent):
    """An INFO arrived; reply by `answer_info(number, status)`. `content_type`: lower case, without parameters.

    `package`: Info-Package in lower case (RFC 6086), None for a legacy INFO (RFC 2976).
    """

    content_type: str
    body: bytes
    package: str | None = None
    number: int = field(default=0, compare=False)


SessionHandler = Callable[[SessionEvent], None]


@dataclass(frozen=True, slots=True)
class Accepted:
    """The application admits a request; `identity`: its sender, None for an admitted anonymous peer."""

    identity: str | None = None
    is_proof: bool = True
    """False if only the source address, which is easily forged over UDP, identifies the sender."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The application rejects a request, or challenges its sender (401, 407)."""

    status: int
    reason: str | None = None
    headers: tuple[Field, ...] = ()

    @classmethod
    def of(cls, refusal: Refusal) -> Refused:
        """Return the verdict for a refusal by the core."""
        return cls(refusal.status, refusal.reason or None, tuple((name, str(value)) for name, value in refusal.headers))


Verdict = Accepted | Refused


@dataclass(frozen=True, slots=True)
class Reply:
    """Application's answer to a REGISTER."""

    status: int
    reason: str | None = None
    headers: tuple[Field, ...] = ()
