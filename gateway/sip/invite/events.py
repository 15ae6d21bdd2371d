"""What an INVITE session tells its listener, and what the application tells the core."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from gateway.sip.message.fields import Headers

Field = tuple[str, str]


@dataclass(frozen=True, slots=True)
class SessionEvent:
    """Something the far end of a session did; subclasses say what.

    The last event of every session is either `Failed` (it never was answered) or `Ended`.
    """


@dataclass(frozen=True, slots=True)
class Provisional(SessionEvent):
    """UAC: a 101-199 came; `body` is its session description, b"" without one."""

    status: int
    reason: str
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answered(SessionEvent):
    """UAC: the first 2xx came. `body` is the answer, or the offer when the INVITE had none (then `acknowledge`)."""

    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Failed(SessionEvent):
    """UAC: no call; `status` is the final response, or 408 (nobody answered) or 503 (nobody reached) of our own."""

    status: int
    reason: str
    headers: Headers


@dataclass(frozen=True, slots=True)
class Confirmed(SessionEvent):
    """UAS: the ACK of our 2xx came; `body` is the answer when the INVITE or re-INVITE had no offer, else b""."""

    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Ended(SessionEvent):
    """The session is over.

    `by` is "remote" (BYE, CANCEL), "local" (`hangup`, `reject`), "timeout" (no ACK, a dead peer, an expired
    session timer) or "error" (the peer no longer knows the call). `cause` is a SIP status and `q850` a Q.850
    cause, both from the Reason header or, for "timeout" and "error", from what went wrong.
    """

    by: Literal["remote", "local", "timeout", "error"]
    cause: int | None = None
    q850: int | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Reoffer(SessionEvent):
    """The far end wants to change the session; `body` is its offer, b"" when it asks for ours."""

    body: bytes = b""


@dataclass(frozen=True, slots=True)
class ReofferAnswered(SessionEvent):
    """The outcome of our `reoffer`: `body` is the answer of a 2xx, None when it was refused."""

    status: int
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class InfoReceived(SessionEvent):
    """An INFO came and has been answered 200; `content_type` without parameters, in lower case."""

    content_type: str
    body: bytes


SessionHandler = Callable[[SessionEvent], None]


@dataclass(frozen=True, slots=True)
class Accepted:
    """The application lets a request in; `identity` is who sent it, None for an anonymous but admitted peer."""

    identity: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The application turns a request away, a challenge (401, 407) included."""

    status: int
    reason: str | None = None
    headers: tuple[Field, ...] = ()


Verdict = Accepted | Refused


@dataclass(frozen=True, slots=True)
class Reply:
    """The application's answer to a REGISTER."""

    status: int
    reason: str | None = None
    headers: tuple[Field, ...] = ()
