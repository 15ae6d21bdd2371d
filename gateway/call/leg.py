"""Leg: one side of a call on any protocol; requests of the call and events of the far end.

An *exchange* is an offer with its answer (RFC 3264), numbered by its offerer: `Leg.offer` carries the call's number,
repeated in `OfferAnswered`; `Offered` carries the leg's number, repeated in `answer_offer`. Messages about a closed
exchange are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from gateway.call.routing import Caller
from gateway.call.status import Cause
from gateway.media.engine import Party
from gateway.plain import plain_name


def _nobody(got: bool) -> None:
    """Ignore the outcome of a digit."""


@dataclass(frozen=True, slots=True)
class Diversion:
    """A diversion of the call from one callee to the next (RFC 5806, RFC 7044)."""

    uri: str
    """SIP URI of the diverting callee."""
    reason: str
    """Reason of RFC 5806: "unconditional", "user-busy", "no-answer", "unavailable", "do-not-disturb"."""
    is_private: bool = False
    """True if only trunks trusted with identities may see the diversion."""
    in_history: bool = False
    """True if `Address.history` contains the diversion."""


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """An earlier target of the call (hi-entry, RFC 7044)."""

    uri: str
    """SIP URI, with the Reason for the next target in its URI headers."""
    index: str
    """Index of the entry: "1", "1.1"."""
    change: str = ""
    """Parameter "rc", "mp" or "np" of the entry, with its value."""
    is_private: bool = False
    """True if only trunks trusted with identities may see the entry."""


Verdict = Literal["passed", "failed", "none"]
"""A trunk's verification of the caller's signature (verstat, 3GPP TS 24.229); "none" without verification."""


@dataclass(frozen=True, slots=True)
class Address:
    """Identity of a leg's far end."""

    uri: str
    """SIP URI ("sip:1001@gateway.example"); the identity map assigns one to web users, too."""
    display_name: str = ""
    hops: int = 70
    """Remaining Max-Forwards, which ends loops of gateways (RFC 3261 section 8.1.1.6)."""

    diversions: tuple[Diversion, ...] = ()
    """Diversions before the current callee, latest first."""

    source: str = ""
    """IP address of a guest's browser, if known."""

    asserted: str = ""
    """Real SIP URI of a caller with privacy (RFC 3323); "" without."""

    history: tuple[HistoryEntry, ...] = ()
    """Earlier targets reported by a trunk, earliest first."""

    verified: Verdict = "none"
    """Verification of the caller's signature by the incoming trunk."""

    signed: tuple[tuple[str, str], ...] = ()
    """Identity and Date fields with the caller's signature (RFC 8224), for outgoing trunks."""

    def __post_init__(self) -> None:
        if (name := plain_name(self.display_name)) is not self.display_name:
            object.__setattr__(self, "display_name", name)

    @property
    def user(self) -> str:
        """User part of the URI, or the whole URI if empty."""
        return self.uri.partition(":")[2].partition("@")[0] or self.uri


@dataclass(frozen=True, slots=True)
class LegEvent:
    """An action of a leg's far end; subclasses define the kind."""


@dataclass(frozen=True, slots=True)
class Ringing(LegEvent):
    """The callee is alerting; `sdp` is the early answer of a 183."""

    sdp: str | None = None
    is_another: bool = False
    """True if a different phone of the leg replaces the earlier, failed one."""


@dataclass(frozen=True, slots=True)
class Answered(LegEvent):
    """The callee accepted; `sdp` is its answer, or None if the early answer stands.

    `CalleeLeg.keep_answer` or `refuse_answer` follows; until then further phones of the leg ring on.
    """

    sdp: str | None = None
    repeated: str | None = None
    """SDP of a 2xx after a reliable 1xx with the answer; used if the early answer was unusable."""


@dataclass(frozen=True, slots=True)
class Rejected(LegEvent):
    """The callee rejected the call."""

    cause: Cause
    retry_after: int | None = None
    """Retry-After of the callee in seconds (RFC 3261 section 20.33); None if absent."""
    said: str = field(default="", compare=False)
    """Status and reason phrase of the far end, "403 From and credentials differ"; "" without a response."""


@dataclass(frozen=True, slots=True)
class Redirected(LegEvent):
    """The callee, or one of its phones, redirects the call (3xx, RFC 3261 section 21.3)."""

    targets: tuple[str, ...]
    """SIP URIs, best first."""
    is_over: bool
    """True if no further phone of the leg is invited."""
    diversions: tuple[Diversion, ...] = ()
    """Diversions on the way to the callee."""
    legs: tuple[CalleeLeg, ...] = ()
    """New legs for the same callee with a different offer, for rejected media or the second IP version; `targets` is
    then empty.
    """
    then: Callable[[Cause], None] | None = field(default=None, compare=False)
    """Called with a cause after all targets have failed; the leg's next phones wait for the call."""
    time: float | None = None
    """Seconds to wait for each target; None for the duration of the attempt."""


@dataclass(frozen=True, slots=True)
class HungUp(LegEvent):
    """The far end hung up, cancelled, or was lost."""

    cause: Cause = Cause.NORMAL


@dataclass(frozen=True, slots=True)
class Offered(LegEvent):
    """The far end changes the session (re-INVITE, UPDATE); `Leg.answer_offer` replies once."""

    exchange: int
    """The leg's exchange number."""
    sdp: str | None
    """Offer; None asks for our offer (re-INVITE without SDP), answered by `Confirmed`."""
    repeats: bool = False
    """True if the offer repeats the last description, which changes nothing for the peer."""


@dataclass(frozen=True, slots=True)
class OfferCancelled(LegEvent):
    """The far end cancelled an unanswered offer."""

    exchange: int


@dataclass(frozen=True, slots=True)
class OfferAnswered(LegEvent):
    """Outcome of `Leg.offer`; `sdp` is None for a rejection, which keeps the session unchanged."""

    exchange: int
    """Number given to `Leg.offer`."""
    sdp: str | None
    cause: Cause = Cause.NOT_ACCEPTABLE
    """Cause of a rejection."""


@dataclass(frozen=True, slots=True)
class Confirmed(LegEvent):
    """Answer of a far end to the offer it had asked for (in ACK or PRACK, RFC 3261 section 13.2.1)."""

    exchange: int
    """0 for the offer of `CallerLeg.answer`, else the number of the `Offered` event."""
    sdp: str | None
    """Answer; None if the far end sent none, so that nothing was agreed."""


@dataclass(frozen=True, slots=True)
class AnswerChanged(LegEvent):
    """The far end changed its description in answer to a session refresh.

    A new offer of the call brings the change into effect.
    """


@dataclass(frozen=True, slots=True)
class Renamed(LegEvent):
    """The identity of the far end changed (RFC 4916); `Leg.address` is updated."""


@dataclass(frozen=True, slots=True)
class CandidateAdded(LegEvent):
    """A trickled ICE candidate of the far end; "" marks the end (RFC 8840)."""

    candidate: str
    mid: str | None = None


@dataclass(frozen=True, slots=True)
class DigitPressed(LegEvent):
    """A DTMF digit from signalling (SIP INFO, JSON-RPC), not from media."""

    digit: str
    duration_ms: int = 160
    told: Callable[[bool], None] = field(default=_nobody, compare=False, repr=False)
    """Called once with True if the peer received the digit."""


@dataclass(frozen=True, slots=True)
class KeyFrameRequested(LegEvent):
    """The far end asks for a key frame by signalling (RFC 5168)."""


@dataclass(frozen=True, slots=True)
class Away(LegEvent):
    """The client vanished (socket or flow closed) and may return; the leg remains."""


@dataclass(frozen=True, slots=True)
class Returned(LegEvent):
    """The client is back; `sdp` is a new offer with ICE restart, or None for intact media.

    `Leg.answer_offer` answers the offer with the same exchange number.
    """

    exchange: int = 0
    sdp: str | None = None


@dataclass(frozen=True, slots=True)
class SignallingChanged(LegEvent):
    """Stored values of the leg (`Leg.values`) changed; the call has nothing to answer."""

    is_first: bool = False
    """True if only `Leg.is_unaware` is about to change: the far end is about to see the call."""


@dataclass(frozen=True, slots=True)
class DialogName:
    """Name of a dialog on the gateway's side (RFC 3891 section 3), for comparison only.

    Never put into messages: the parser accepts tags that are invalid in output.
    """

    call_id: str
    local_tag: str
    remote_tag: str


LegName = str | DialogName
"""Name of a leg: a local word (web call id, parking place) or a SIP dialog."""


class TransferReport(Protocol):
    """Reports the progress of a transfer to its sender; calls after `ended` are ignored."""

    def accepted(self) -> None:
        """Report that the transfer has started."""

    def ringing(self) -> None:
        """Report that the target is alerting."""

    def ended(self, cause: Cause) -> None:
        """Report the outcome: NORMAL for success, else the cause; the call then stays as it was, unless ended."""


@dataclass(frozen=True, slots=True)
class TransferRequested(LegEvent):
    """The far end transfers its peer to a target (REFER, RFC 5589)."""

    to: str
    """Target: a dialled number or SIP URI."""
    report: TransferReport
    consultation: LegName | None = None
    """Name (`Leg.is_named`) of a second call of the far end, for an attended transfer to its peer."""
    caller: Caller | None = None
    """Operator who requests and pays for the transfer; None for the far end itself."""


LegListener = Callable[["Leg", LegEvent], None]


class Leg(Protocol):
    """Side of a call. Methods report failures of the far end by events, never by exceptions.

    Methods return without waiting for the network. Events arrive in the event loop, in order, after `listen`.
    """

    @property
    def party(self) -> Party:
        """Side of the call as known to the media engine; `party.tag` is the leg's id."""

    @property
    def address(self) -> Address:
        """Far end: the caller's own address, or the dialled callee."""

    @property
    def references(self) -> tuple[str, ...]:
        """SIP Call-IDs of the leg, of every phone invited; () for other protocols."""

    @property
    def identity(self) -> str | None:
        """Authenticated or called identity: user id or "trunk:NAME"; None if unknown."""

    def is_named(self, name: LegName) -> bool:
        """Return True if the leg's protocol uses the name: a SIP dialog or a web call id."""

    @property
    def signalling_lost(self) -> bool:
        """True while the client is unreachable; media may still flow."""

    def when_left(self, told: Callable[[], None]) -> bool:
        """Call `told` once the far end has confirmed the end; return False if no confirmation is due.

        Called once, after the end.
        """

    @property
    def may_return(self) -> bool:
        """True if the client may return after lost media: the leg is then away instead of ended."""

    @property
    def is_unaware(self) -> bool:
        """True if the far end has not seen the call yet.

        `SignallingChanged` comes before a change, unless the call itself causes it.
        """

    def awaited(self) -> None:
        """Note that the call waits for the client: its next message counts as its return."""

    @property
    def can_update(self) -> bool:
        """True if `offer` reaches the far end; a bare HTTP session cannot be re-offered."""

    def listen(self, listener: LegListener, *, instead_of: LegListener | None = None) -> None:
        """Deliver events, earlier ones included, to the single `listener`.

        `instead_of` replaces only the given listener, because the leg may have moved to a second call.
        """

    async def offer(self, exchange: int, sdp: str) -> None:
        """Offer a new description to an answered far end; an OfferAnswered event with `exchange` follows."""

    def forget_offer(self, exchange: int, *, timed_out: bool) -> None:
        """Stop waiting for the answer to our offer; `timed_out` means that a late answer is unlikely."""

    def take_back_offer(self, exchange: int) -> bool:
        """Withdraw an unsent offer; return False if it was sent or answered, so that its outcome follows."""

    def note_limit(self, cause: Cause, limit: str, retry_after: int | None) -> None:
        """Keep the name of a reached limit ("" for none) for a rejection with `cause`, and the smallest Retry-After."""

    async def answer_offer(self, exchange: int, sdp: str | None, cause: Cause = Cause.NOT_ACCEPTABLE) -> None:
        """Answer an Offered event, with an offer where requested; `sdp` None rejects it with `cause`."""

    async def candidate(self, candidate: str, mid: str | None) -> None:
        """Send one of our ICE candidates, if the front end trickles."""

    async def digit(self, digit: str, duration_ms: int, *, sent: bool, told: Callable[[bool], None]) -> None:
        """Send a digit of the peer; `told` is called once with True if the far end received it.

        `sent` means that the media already carries the digit, so that only a display needs the call.
        """

    def ask_key_frame(self) -> None:
        """Ask the far end for a key frame by signalling, where RTCP cannot."""

    async def connected(self) -> None:
        """Note that media can flow: ICE and DTLS are up, or a first RTP packet arrived."""

    def refer(self, to: str, report: TransferReport, replaces: DialogName | None = None) -> None:
        """Ask the far end to call `to` instead of the gateway; `report.ended` without `accepted` means a refusal.

        `replaces` is an unguessable name that lets the new call replace a leg here (RFC 3891).
        """

    async def held(self, held: bool) -> None:
        """Show that the peer has started or ended hold."""

    async def identified(self, peer: Address) -> None:
        """Show that the peer is now `peer` (RFC 4916)."""

    def values(self) -> dict[str, Any] | None:
        """Return plain values for resuming or ending the leg in a new process; None if impossible."""

    async def end(self, cause: Cause) -> None:
        """Reject, cancel or hang up, as the leg's state requires; idempotent."""


class CallerLeg(Leg, Protocol):
    """Calling side: its offer is answered, or a caller without an offer gets ours."""

    async def early_answer(self, sdp: str) -> None:
        """Send the answer before the callee rings, if the front end supports early answers."""

    async def ring(self, sdp: str | None) -> None:
        """Report ringing; `sdp` is an answer for early media."""

    async def answer(self, sdp: str) -> bool:
        """Report the callee's answer; `sdp` is the final answer, or our offer to a caller without one.

        Return False if the front end already has a different answer and needs a re-offer.
        """


def only_secure(legs: Iterable[CalleeLeg], dialled: str) -> list[CalleeLeg]:
    """Return the legs allowed for `dialled`: for a sips URI only those reached by TLS (RFC 5630)."""
    return [leg for leg in legs if not dialled.lower().startswith("sips:") or leg.only_secure()]


class CalleeLeg(Leg, Protocol):
    """Called side: several may be invited, one answers."""

    def only_secure(self) -> bool:
        """Drop destinations without TLS before the INVITE; return True if one remains."""

    async def invite(self, sdp: str, caller: Address) -> None:
        """Invite the far end with our offer and the caller's address."""

    def next_preview(self) -> str | None:
        """Return the next early description of a further phone; None if no further one exists."""

    async def keep_answer(self) -> None:
        """Give the call to the phone that sent `Answered`, and end the leg's further phones."""

    async def refuse_answer(self, cause: Cause) -> None:
        """End the phone that sent `Answered`, because its description is unusable.

        Further phones ring on; the next `Answered` or `Rejected` follows.
        """
