"""One side of a call, whatever it speaks: what the call asks of it, and what it tells the call.

An *exchange* is one offer with its answer (RFC 3264). Whoever offers numbers it: `Leg.offer` carries
the call's number and `OfferAnswered` names it; `Offered` carries the leg's number and `answer_offer`
names it. What names an exchange that is over is told to nobody.
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
    """Nobody waits to hear whether a digit was got."""


@dataclass(frozen=True, slots=True)
class Diversion:
    """One time that a call went on to somebody else than who was called (RFC 5806, RFC 7044)."""

    uri: str
    """Who was called and is not asked, or has not taken it."""
    reason: str
    """The word of RFC 5806: "unconditional", "user-busy", "no-answer", "unavailable", "do-not-disturb"."""
    is_private: bool = False
    """Only trunks that are trusted with who calls are told of it."""
    in_history: bool = False
    """`Address.history` tells of it already."""


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One target that the call has had before it came here (an hi-entry, RFC 7044)."""

    uri: str
    """With the Reason why it went on from there, in its URI headers."""
    index: str
    """Where it stands among the others: "1", "1.1"."""
    change: str = ""
    """The entry's "rc", "mp" or "np" parameter with its value."""
    is_private: bool = False
    """Only trunks that are trusted with who calls are told who it was."""


Verdict = Literal["passed", "failed", "none"]
"""What a trunk has found out about the signature of a caller's number (verstat, 3GPP TS 24.229); "none": nothing."""


@dataclass(frozen=True, slots=True)
class Address:
    """Who is at the far end of a leg."""

    uri: str
    """SIP URI ("sip:1001@gateway.example"), also for web users: the identity map gives them one."""
    display_name: str = ""
    hops: int = 70
    """How often the call may still be passed on, so that a loop of gateways ends (RFC 3261 section 8.1.1.6)."""

    diversions: tuple[Diversion, ...] = ()
    """How the call came to the one who is asked, the latest first."""

    source: str = ""
    """IP address of a guest's browser, where it is known."""

    asserted: str = ""
    """SIP URI of who it really is, where it wants to be hidden from who is called (RFC 3323)."""

    history: tuple[HistoryEntry, ...] = ()
    """Whom the call was for before it came here, as a trunk says, the first first."""

    verified: Verdict = "none"
    """What the trunk that the call came by has found of its signature."""

    signed: tuple[tuple[str, str], ...] = ()
    """The caller's signature, Identity and Date fields (RFC 8224), for other trunks to see."""

    def __post_init__(self) -> None:
        if (name := plain_name(self.display_name)) is not self.display_name:
            object.__setattr__(self, "display_name", name)

    @property
    def user(self) -> str:
        """The part before the @, without scheme."""
        return self.uri.partition(":")[2].partition("@")[0] or self.uri


@dataclass(frozen=True, slots=True)
class LegEvent:
    """Something the far end of a leg did; subclasses say what."""


@dataclass(frozen=True, slots=True)
class Ringing(LegEvent):
    """The callee is being alerted; `sdp` is its early answer when it sent one (183)."""

    sdp: str | None = None
    is_another: bool = False
    """True: another far end of the leg has sent it, in the place of the one before, which is gone."""


@dataclass(frozen=True, slots=True)
class Answered(LegEvent):
    """The callee accepted; `sdp` is its answer, or None when the early one stands.

    `CalleeLeg.keep_answer` or `refuse_answer` follows: until then others of the leg ring on.
    """

    sdp: str | None = None
    repeated: str | None = None
    """Description of a 2xx behind a reliable 1xx with the answer: it counts where that one could not be used."""


@dataclass(frozen=True, slots=True)
class Rejected(LegEvent):
    """The callee will not take the call."""

    cause: Cause
    retry_after: int | None = None
    """Seconds after which it may be asked again, where it has said so (RFC 3261 section 20.33)."""
    said: str = field(default="", compare=False)
    """Words of the far end, "403 From and credentials differ"; "": it answered nothing."""


@dataclass(frozen=True, slots=True)
class Redirected(LegEvent):
    """The callee, or one of its phones, names others to ask instead (3xx, RFC 3261 section 21.3)."""

    targets: tuple[str, ...]
    """SIP URIs, best first."""
    is_over: bool
    """Nobody else of the leg is asked any more."""
    diversions: tuple[Diversion, ...] = ()
    """Those that had brought the call to this callee."""
    legs: tuple[CalleeLeg, ...] = ()
    """The same callee's own, which ask it by another offer: for other media than were refused, or by the other IP
    version; without `targets`."""
    then: Callable[[Cause], None] | None = field(default=None, compare=False)
    """To be called once none of the targets has taken the call, for that reason: the leg's next phones wait for it."""
    time: float | None = None
    """Seconds for which they wait for each that is asked; None: as long as the attempt."""


@dataclass(frozen=True, slots=True)
class HungUp(LegEvent):
    """The far end ended the call, gave up (CANCEL), or was lost."""

    cause: Cause = Cause.NORMAL


@dataclass(frozen=True, slots=True)
class Offered(LegEvent):
    """The far end wants to change the session (re-INVITE, UPDATE); replied to once, by `Leg.answer_offer`."""

    exchange: int
    """The leg's number of it."""
    sdp: str | None
    """None: it asks for our offer (a re-INVITE without one); its answer comes as `Confirmed`."""
    repeats: bool = False
    """The far end offers what it has said last: nothing changes for the other side."""


@dataclass(frozen=True, slots=True)
class OfferCancelled(LegEvent):
    """The far end took an offer back that we have not answered yet."""

    exchange: int


@dataclass(frozen=True, slots=True)
class OfferAnswered(LegEvent):
    """The outcome of our `Leg.offer`; `sdp` None means that it was refused and all stays as it was."""

    exchange: int
    """The number `Leg.offer` was given."""
    sdp: str | None
    cause: Cause = Cause.NOT_ACCEPTABLE
    """Why it was refused."""


@dataclass(frozen=True, slots=True)
class Confirmed(LegEvent):
    """The answer of a far end that had asked for our offer (in ACK or PRACK, RFC 3261 section 13.2.1)."""

    exchange: int
    """0: the offer that `CallerLeg.answer` gave; else the number of its `Offered`."""
    sdp: str | None
    """None: it gave no answer, so nothing was agreed."""


@dataclass(frozen=True, slots=True)
class AnswerChanged(LegEvent):
    """The far end has changed its side of what stands without an offer of the call's (in answer to a refresh).

    What it said is heard when it is offered again what stands.
    """


@dataclass(frozen=True, slots=True)
class Renamed(LegEvent):
    """The far end is somebody else now, or called otherwise (RFC 4916): `Leg.address` says who."""


@dataclass(frozen=True, slots=True)
class CandidateAdded(LegEvent):
    """A trickled ICE candidate of the far end; "" ends the list (RFC 8840)."""

    candidate: str
    mid: str | None = None


@dataclass(frozen=True, slots=True)
class DigitPressed(LegEvent):
    """A DTMF digit that came by signalling (SIP INFO, JSON-RPC), not in the media."""

    digit: str
    duration_ms: int = 160
    told: Callable[[bool], None] = field(default=_nobody, compare=False, repr=False)
    """Hears once whether the other side has got it."""


@dataclass(frozen=True, slots=True)
class KeyFrameRequested(LegEvent):
    """The far end wants a whole picture of whom it sees, by signalling (RFC 5168)."""


@dataclass(frozen=True, slots=True)
class Away(LegEvent):
    """The client vanished (its socket closed, its flow died) and may come back; the leg is still there."""


@dataclass(frozen=True, slots=True)
class Returned(LegEvent):
    """The client is back; `sdp` is its new offer with an ICE restart, None where its media stands as it was.

    An offer is answered by `Leg.answer_offer` with this exchange.
    """

    exchange: int = 0
    sdp: str | None = None


@dataclass(frozen=True, slots=True)
class SignallingChanged(LegEvent):
    """What `Leg.values` gives is another now; nothing that the call has to answer."""

    is_first: bool = False
    """Nothing has changed, but the far end is about to see that the call has come (`Leg.is_unaware`)."""


@dataclass(frozen=True, slots=True)
class DialogName:
    """Name of a dialog at the gateway's side (RFC 3891 section 3): compared with others, never built into text.

    The parser accepts tags that no message of ours may hold.
    """

    call_id: str
    local_tag: str
    remote_tag: str


LegName = str | DialogName
"""A word of ours (a web call's id, a parking place), or the dialog of a SIP phone."""


class TransferReport(Protocol):
    """How whoever asked for a transfer hears what becomes of it; what comes after `ended` does nothing."""

    def accepted(self) -> None:
        """It is tried."""

    def ringing(self) -> None:
        """Whom the call is to go to is being alerted."""

    def ended(self, cause: Cause) -> None:
        """NORMAL: it is done; else why not: the call stays what it was, unless it is over."""


@dataclass(frozen=True, slots=True)
class TransferRequested(LegEvent):
    """The far end wants to leave the call to somebody else (REFER, RFC 5589)."""

    to: str
    """What it would dial: a number or a SIP URI."""
    report: TransferReport
    consultation: LegName | None = None
    """Name (`Leg.is_named`) of another call of its own, whose other side is meant: an attended transfer."""
    caller: Caller | None = None
    """Who asks in its place, and pays for it: an operator; None: the far end itself."""


LegListener = Callable[["Leg", LegEvent], None]


class Leg(Protocol):
    """One side of a call. Methods never raise for what the far end does; they report events.

    Every method returns at once in spirit: what takes time on the wire happens behind it and
    comes back as an event. Events are delivered in the event loop, in order, after `listen`.
    """

    @property
    def party(self) -> Party:
        """What the media engine is to know of this side; `party.tag` is the leg's id."""

    @property
    def address(self) -> Address:
        """The far end: the caller's own address, or the callee that was dialled."""

    @property
    def references(self) -> tuple[str, ...]:
        """What its own protocol calls this call: SIP Call-IDs, of each phone that was asked; () for none."""

    @property
    def identity(self) -> str | None:
        """Who the far end has proved to be, or was called as: a user's id, "trunk:NAME"; None: nobody knows."""

    def is_named(self, name: LegName) -> bool:
        """Whether its own protocol calls this leg so: a SIP dialog, a web call's id."""

    @property
    def signalling_lost(self) -> bool:
        """Whether its client cannot be reached at the moment, though its media may flow on."""

    def when_left(self, told: Callable[[], None]) -> bool:
        """Have `told` called once its far end has answered that the call is over; False: there is nothing to wait for.

        Asked once, after the end.
        """

    @property
    def may_return(self) -> bool:
        """Whether its client may come back where its media has ended: then it is away and not gone."""

    @property
    def is_unaware(self) -> bool:
        """Whether its far end has seen nothing of the call yet.

        `SignallingChanged` comes before it does, unless it is by what the call asks of the leg.
        """

    def awaited(self) -> None:
        """The call waits for its client from now on: what that sends next says that it is back."""

    @property
    def can_update(self) -> bool:
        """Whether `offer` reaches the far end (a bare HTTP session cannot be re-offered)."""

    def listen(self, listener: LegListener, *, instead_of: LegListener | None = None) -> None:
        """Have events delivered to `listener`; one listener, events before it are kept.

        `instead_of`: only where they go to that one now; the leg may have moved to another call meanwhile.
        """

    async def offer(self, exchange: int, sdp: str) -> None:
        """Answered legs: re-offer the session; the outcome is one OfferAnswered event of that number."""

    def forget_offer(self, exchange: int, *, timed_out: bool) -> None:
        """Nobody waits any more for its answer to our offer of that number; `timed_out`: it is not likely to come."""

    def take_back_offer(self, exchange: int) -> bool:
        """Withdraw our offer of that number; False: it has been sent, or answered, and its outcome comes."""

    def note_limit(self, cause: Cause, limit: str, retry_after: int | None) -> None:
        """Keep, for a refusal with `cause`, the limit reached ("": none) and the fewest seconds until a next try."""

    async def answer_offer(self, exchange: int, sdp: str | None, cause: Cause = Cause.NOT_ACCEPTABLE) -> None:
        """Answer its Offered event of that number, with an offer where it asked for one; None refuses with `cause`."""

    async def candidate(self, candidate: str, mid: str | None) -> None:
        """Pass one of our ICE candidates on, where the front end trickles."""

    async def digit(self, digit: str, duration_ms: int, *, sent: bool, told: Callable[[bool], None]) -> None:
        """The other side has pressed a digit; `told` hears once whether the far end has got it.

        `sent`: it has gone into the media, so that only a front end that can show it need say so. Else it is passed
        on by signalling.
        """

    def ask_key_frame(self) -> None:
        """Who sees the far end wants a whole picture of it, and its media cannot be asked."""

    async def connected(self) -> None:
        """Media can flow between its far end and us: ICE and DTLS are up, or its first RTP packet came."""

    def refer(self, to: str, report: TransferReport, replaces: DialogName | None = None) -> None:
        """Ask its far end to call the URI `to` in our place; `report.ended` without `accepted`: it will not.

        `replaces`: name by which that call takes a place here (RFC 3891), of words of ours.
        """

    async def held(self, held: bool) -> None:
        """The other side holds this one now, or has taken it back; for front ends that can show it."""

    async def identified(self, peer: Address) -> None:
        """It talks with `peer` now, whom it may not know yet (RFC 4916); for front ends that can show it."""

    def values(self) -> dict[str, Any] | None:
        """What another process needs to go on with it or to end it, in plain types; None where it cannot."""

    async def end(self, cause: Cause) -> None:
        """Reject, cancel or hang up, as the leg's own state wants it; idempotent."""


class CallerLeg(Leg, Protocol):
    """The side that dialled: its offer came with the call and we answer it, or it had none and gets ours."""

    async def early_answer(self, sdp: str) -> None:
        """Here is the answer before the callee rings, if the front end can carry one."""

    async def ring(self, sdp: str | None) -> None:
        """The callee rings; `sdp` is an answer for early media."""

    async def answer(self, sdp: str) -> bool:
        """The callee accepted; `sdp` is the final answer, or our offer to a caller that made none.

        False: the front end has an answer already and cannot carry this other one, so it wants a re-offer.
        """


def only_secure(legs: Iterable[CalleeLeg], dialled: str) -> list[CalleeLeg]:
    """Of those who stand for `dialled`, whoever may be asked: for a sips URI those reached by TLS alone (RFC 5630)."""
    return [leg for leg in legs if not dialled.lower().startswith("sips:") or leg.only_secure()]


class CalleeLeg(Leg, Protocol):
    """A side that is asked; several may be, one answers."""

    def only_secure(self) -> bool:
        """Before it is asked: leave out who is reached without TLS; whether anybody is left."""

    async def invite(self, sdp: str, caller: Address) -> None:
        """Ask the far end, with our offer and who is calling."""

    def next_preview(self) -> str | None:
        """Return the early description of a far end after the one that was given last; None where there is no other."""

    async def keep_answer(self) -> None:
        """Give the call to the far end whose `Answered` came, and end the others of the leg."""

    async def refuse_answer(self, cause: Cause) -> None:
        """End the far end whose `Answered` came: its description cannot be used.

        The others of the leg ring on. `Answered` of the next or `Rejected` follows.
        """
