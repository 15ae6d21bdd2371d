"""Protocols between SIP legs and the user agent, and the destinations of a callee."""

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
    """INVITE usage as driven by a leg in either role (gateway.sip.user_agent)."""

    call_id: str
    """Call-ID of the dialog."""
    source: Flow
    """Flow of the peer's requests."""
    dialog: Dialog | None
    """Dialog of the session, alive until the far end has answered our BYE."""
    changed: Callable[[], None]
    """Callback for changed `values`, before the related message is sent."""

    def values(self) -> dict[str, Any] | None:
        """Return JSON-compatible state for resuming or ending the session in a new process; None if nothing is left."""

    def listen(self, handler: Callable[[events.SessionEvent], None]) -> None: ...

    def identify(self, local: NameAddr, headers: Iterable[tuple[str, object]] = ()) -> None: ...

    def hangup(self, reason_header: str | None = None) -> None: ...

    def refer(self, target: Uri, told: Callable[[int, bool], None]) -> None: ...

    def offer(self, body: bytes) -> int: ...

    def take_back_offer(self, exchange: int) -> bool: ...

    def answer_offer(self, exchange: int, body: bytes) -> None: ...

    def refuse_offer(self, exchange: int, status: int = 488, reason_header: str | None = None) -> None: ...


def names_of(sessions: Iterable[Session]) -> tuple[DialogName, ...]:
    """Return dialog names of sessions; a dialog without remote tag (RFC 2543) has none."""
    dialogs = (session.dialog.id for session in sessions if session.dialog is not None)
    return tuple(DialogName(one.call_id, one.local_tag, one.remote_tag) for one in dialogs if one.remote_tag)


def named_by(replaces: Replaces) -> DialogName:
    """Return the dialog named by a peer's Replaces, whose to-tag is our local tag (RFC 3891 section 3)."""
    return DialogName(replaces.call_id, local_tag=replaces.to_tag, remote_tag=replaces.from_tag)


class ResumedSession(Session, Protocol):
    """Session set up by a previous process."""

    def refresh_target(self) -> None:
        """Announce a new Contact to the far end (target refresh)."""


class CallerSession(Session, Protocol):
    """UAS side of an INVITE."""

    @property
    def initial_offer(self) -> bytes:
        """Description of the INVITE, also from a multipart body."""

    @property
    def is_silent(self) -> bool:
        """True until a first response is sent to the caller."""

    noticed: Callable[[], None]
    """Callback before a 100 is sent, the first response to the caller."""

    def ring(self, status: int = 180, reason: str | None = None, body: bytes | None = None) -> None: ...

    def answer(self, body: bytes) -> int | None: ...

    def reject(self, status: int, reason: str | None = None, headers: Iterable[tuple[str, object]] = ()) -> None: ...


class CalleeSession(Session, Protocol):
    """UAC side of an INVITE."""

    @property
    def has_responded(self) -> bool:
        """True once any response has arrived."""

    def judge_answer(self) -> None:
        """Hold 2xx responses of further branches of a forked INVITE until `keep_answer` or `refuse_answer`."""

    def keep_answer(self) -> None:
        """Give the call to the answering branch."""

    def refuse_answer(self, status: int, reason_header: str | None = None) -> bool:
        """End the answering branch; return False if no further branch can answer, so that the caller must hang up."""


Reader = Callable[[Message, str | None], Address | None]
"""Returns the identity in a message, if believed; None for no usable identity. The string is the known identity."""


def nobody(message: Message, identity: str | None) -> None:
    """Return None: no message is believed."""


def nothing(caller: Address) -> tuple[tuple[str, object], ...]:
    """Return no further header fields."""
    return ()


def nobody_asks() -> None:
    """Ignore the event."""


class Inviter(Protocol):
    """Sender of INVITEs (gateway.net.user_agent.UserAgent)."""

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
    """Identity header fields shown to a far end beside From; the default shows none, as for strangers."""

    is_user: bool = False
    """A user of the gateway, entitled to identities without privacy."""
    is_trunk: bool = False
    asserts: bool = False
    """Gets P-Asserted-Identity, private identities included (RFC 3325)."""
    prefers: bool = False
    """Gets P-Preferred-Identity: a provider that knows the gateway as its customer and decides (RFC 3325)."""
    signed: bool = False
    """Gets the signature of the caller's network (RFC 8224)."""

    @property
    def is_known(self) -> bool:
        """True unless a stranger; diversions would reveal earlier callees to strangers."""
        return self.is_user or self.is_trunk


@dataclass(frozen=True, slots=True)
class Destination:
    """Target of an INVITE: a registered contact or a URI behind a trunk."""

    uri: str
    """Request-URI."""
    route: tuple[str, ...] = ()
    """Route set: Path of the registration, or the trunk's outbound proxy."""
    received: str | None = None
    """Flow of the registration, "udp:192.0.2.7:5060"."""
    source: str | None = None
    """IP address of the flow; private media addresses may be latched to it."""
    family: int = 0
    """IP version for resolving the next hop, 4 or 6; 0 for any."""
    credentials: Credentials | None = field(default=None, repr=False)
    aor: str | None = None
    """Address of record of the contact; None behind a trunk."""
    caller: NameAddr | None = None
    """From value required by the far end, instead of the caller's own."""
    identity: str | None = None
    """Identity of the destination in the gatekeeper's terms; only the same identity may continue the call from a new
    address.
    """
    shown: Shown = Shown()
    """Identity header fields for the destination, beside From."""
    others: tuple[Destination, ...] = ()
    """Fallback flows to the same device, best first (RFC 5626 section 7)."""
    is_contact: bool = False
    """True for the Contact of a device behind `others`, tried only after the connection of the device has broken."""
    looks_up: bool = False
    """True if the next hop resolves the URI again, as a second gateway of the cluster does."""
    rank: int = 0
    """Rank of the destination: equal ranks ring together, lower ranks first."""
    is_flow: bool = False
    """True if the gateway is registered over the flow: requests in the call must come back on it (RFC 5626 4.3)."""
    told: Callable[[Address], Iterable[tuple[str, object]]] = nothing
    """Returns further header fields of the INVITE for a caller."""
    flow_failed: Callable[[], None] = field(default=nobody_asks, compare=False)
    """Callback for a 430 from an edge proxy, which reports a lost flow (RFC 5626 section 11.5)."""
    silent: Callable[[], None] = field(default=nobody_asks, compare=False)
    """Callback for a place without any response, or with a 503."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalleeSettings:
    """Settings of a callee leg besides its destinations."""

    kind: Kind = Kind.RTP
    instead: tuple[Kind, ...] = ()
    """Kinds offered in turn to a phone that rejects `kind`; () for no second offer."""
    prefer: tuple[str, ...] = ()
    """Codecs preferred by the callee, best first."""
    codecs: tuple[str, ...] = ()
    """Only codecs allowed for the callee, best first; () for the default list."""
    dtmf: Dtmf = Dtmf.AUTO
    """Way of sending digits to the callee."""
    owner: str | None = None
    """Owner of the callee: user id or "trunk:NAME"."""
    no_answer: float = 180.0
    """Seconds before SIP gives up an unanswered INVITE; longer than the call's own limit."""
    patience: float = 0.0
    """Seconds before the next rank is tried; 0 for no limit."""
    flow_timeout: float = 4.0
    """Seconds without a response before the device's next flow is tried."""
    by_version: bool = False
    """True if each IP version has its own media address, so that an offer suits phones of one version only."""
    failover: bool = False
    """True if destinations are hosts of one callee: the next is tried only after the failure of a host.

    Else destinations are devices, and busy or declining devices are followed by the next (RFC 3261 section 16.6).
    """
