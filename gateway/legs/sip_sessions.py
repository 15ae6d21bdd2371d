"""What the SIP legs ask of the user agent, and where a callee's phones are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from gateway.call.leg import Address, DialogName
from gateway.legs.sip_info import InfoSession
from gateway.media.engine import Dtmf, Kind
from gateway.sip.auth.account import Credentials
from gateway.sip.dialogs.dialog import Dialog
from gateway.sip.flow import Flow
from gateway.sip.invite import events
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Message
from gateway.sip.message.uri import Uri
from gateway.sip.message.values import Replaces


class Session(InfoSession, Protocol):
    """One INVITE usage as the legs drive it in either role (gateway.sip.user_agent)."""

    call_id: str
    """Call-ID of its dialog."""
    source: Flow
    """Where its peer speaks from."""
    dialog: Dialog | None
    """Until its far end has answered its BYE it is not over."""
    changed: Callable[[], None]
    """Called when what `values` gives is another, before a message leaves that shows it."""

    def values(self) -> dict[str, Any] | None:
        """What another process needs to go on with it or to end it, as JSON can hold it; None where nothing is left."""

    def listen(self, handler: Callable[[events.SessionEvent], None]) -> None: ...

    def identify(self, local: NameAddr, headers: Iterable[tuple[str, object]] = ()) -> None: ...

    def hangup(self, reason_header: str | None = None) -> None: ...

    def refer(self, target: Uri, told: Callable[[int, bool], None]) -> None: ...

    def offer(self, body: bytes) -> int: ...

    def take_back_offer(self, exchange: int) -> bool: ...

    def answer_offer(self, exchange: int, body: bytes) -> None: ...

    def refuse_offer(self, exchange: int, status: int = 488, reason_header: str | None = None) -> None: ...


def names_of(sessions: Iterable[Session]) -> tuple[DialogName, ...]:
    """Names of the dialogs of sessions that have one; a dialog without a remote tag (RFC 2543) has none."""
    dialogs = (session.dialog.id for session in sessions if session.dialog is not None)
    return tuple(DialogName(one.call_id, one.local_tag, one.remote_tag) for one in dialogs if one.remote_tag)


def named_by(replaces: Replaces) -> DialogName:
    """The dialog that a Replaces of a peer means: its to-tag is the tag of our side (RFC 3891 section 3)."""
    return DialogName(replaces.call_id, local_tag=replaces.to_tag, remote_tag=replaces.from_tag)


class ResumedSession(Session, Protocol):
    """One that another process has set up."""

    def refresh_target(self) -> None:
        """Tell the far end where its requests go from now on."""


class CallerSession(Session, Protocol):
    """The server side of an INVITE."""

    @property
    def initial_offer(self) -> bytes:
        """The description the INVITE brought, also out of a multipart body."""

    @property
    def is_silent(self) -> bool:
        """Whether nothing has been sent to who calls."""

    noticed: Callable[[], None]
    """Called before a 100 leaves, which is the first thing that who calls sees."""

    def ring(self, status: int = 180, reason: str | None = None, body: bytes | None = None) -> None: ...

    def answer(self, body: bytes) -> int | None: ...

    def reject(self, status: int, reason: str | None = None, headers: Iterable[tuple[str, object]] = ()) -> None: ...


class CalleeSession(Session, Protocol):
    """The client side of an INVITE."""

    @property
    def has_responded(self) -> bool:
        """Whether anything has come from there yet."""

    def judge_answer(self) -> None:
        """Hold answers of other branches of a forked INVITE until one of the next two."""

    def keep_answer(self) -> None:
        """Give the call to the branch that answered."""

    def refuse_answer(self, status: int, reason_header: str | None = None) -> bool:
        """End the branch that answered, where another has answered or may; False: hang up."""


Reader = Callable[[Message, str | None], Address | None]
"""Who that identity is by a message of its own, as far as it is believed; None: it says nothing that counts."""


def nobody(message: Message, identity: str | None) -> None:
    """The reader that believes nobody."""


def nothing(caller: Address) -> tuple[tuple[str, object], ...]:
    """No further fields."""
    return ()


def nobody_asks() -> None:
    """Told of a flow that has failed where nobody wants to know."""


class Inviter(Protocol):
    """What sends INVITEs (gateway.net.user_agent.UserAgent)."""

    def invite(
        self,
        target: Uri | str,
        *,
        caller: NameAddr | str,
        body: bytes,
        route: Sequence[str] = (),
        received: str | None = None,
        family: int = 0,
        credentials: Credentials | None = None,
        timeout: float = 0.0,
        max_forwards: int = 70,
        identity: str | None = None,
        headers: Iterable[tuple[str, object]] = (),
        by_flow: bool = False,
    ) -> CalleeSession: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a far end is told of whom it talks with, beside From: by default nothing, as befits strangers."""

    is_user: bool = False
    """A user of ours, who may know what the other does not keep to itself."""
    is_trunk: bool = False
    asserts: bool = False
    """Trusted with who it is (P-Asserted-Identity), also where that is hidden from who is called (RFC 3325)."""
    prefers: bool = False
    """Asked to show who it is (P-Preferred-Identity): it knows us as its customer, and decides (RFC 3325)."""
    signed: bool = False
    """Given the signature of the caller's own network (RFC 8224)."""

    @property
    def is_known(self) -> bool:
        """No stranger, to whom a diversion would tell who was called before."""
        return self.is_user or self.is_trunk


@dataclass(frozen=True, slots=True)
class Destination:
    """One place to send an INVITE to: a registered contact, or a URI behind a trunk."""

    uri: str
    """Request-URI."""
    route: tuple[str, ...] = ()
    """Route set to preload: Path of the registration, or the trunk's outbound proxy."""
    received: str | None = None
    """Flow the registration came over, "udp:192.0.2.7:5060"."""
    source: str | None = None
    """IP address of that flow; private media addresses may be latched to it."""
    family: int = 0
    """IP version by which the name in `uri`, or in the first of `route`, is to be reached, 4 or 6; 0: by any."""
    credentials: Credentials | None = field(default=None, repr=False)
    aor: str | None = None
    """Address of record this contact is registered for, None behind a trunk."""
    caller: NameAddr | None = None
    """From value that the far end wants to see instead of the caller's own."""
    identity: str | None = None
    """Who is there, as the gatekeeper names them: only they may go on with the call from another address."""
    shown: Shown = Shown()
    """What it is told of whom it talks with, beside From."""
    others: tuple[Destination, ...] = ()
    """Other flows to the same device, best first, should this one fail (RFC 5626 section 7)."""
    looks_up: bool = False
    """Whether who is there looks the URI up once more, as another gateway of the cluster does."""
    rank: int = 0
    """Those of one rank are asked together, lower ranks before higher ones."""
    is_flow: bool = False
    """Whether we are registered by that flow: what is asked in the call is to come back by it (RFC 5626 4.3)."""
    told: Callable[[Address], Iterable[tuple[str, object]]] = nothing
    """Further fields of the INVITE, of who calls."""
    flow_failed: Callable[[], None] = field(default=nobody_asks, compare=False)
    """Called when an edge proxy says that the flow is no more (430, RFC 5626 section 11.5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalleeSettings:
    """What a callee leg is told besides where."""

    kind: Kind = Kind.RTP
    instead: tuple[Kind, ...] = ()
    """What a phone is offered that refuses `kind` for what it is, one after the other; (): that is its last word."""
    prefer: tuple[str, ...] = ()
    """Codecs the callee is known to prefer, best first."""
    codecs: tuple[str, ...] = ()
    """The only ones the callee takes, best first; (): those of every phone."""
    dtmf: Dtmf = Dtmf.AUTO
    """How the callee takes digits."""
    owner: str | None = None
    """Whose the callee is: the user's id, "trunk:NAME"."""
    no_answer: float = 180.0
    """Seconds until SIP itself gives up a callee that neither answers nor refuses; longer than the call's own."""
    patience: float = 0.0
    """Seconds that one rank of destinations is given before the next one, 0 for as long as it likes."""
    flow_timeout: float = 4.0
    """Seconds without any response after which the next flow to the same device is tried."""
    by_version: bool = False
    """Whether each IP version has an address of its own for media, so that an offer is good for phones of one."""
    failover: bool = False
    """The destinations are places of one callee: the next is asked only where nobody is at the one before.

    Else they are devices, and one that is busy or refuses is followed by the next (RFC 3261 section 16.6).
    """
