"""Legs with a browser as far end: a caller, or a callee with all open pages.

Channels come from the web room, which implements HTTP, JSON-RPC and WebSockets. Legs see only the Protocol below; a
channel drives a leg by a handle.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Protocol

from gateway.call.journal import address_of
from gateway.call.leg import (
    Address,
    Answered,
    Away,
    CandidateAdded,
    DialogName,
    DigitPressed,
    HungUp,
    LegEvent,
    LegName,
    OfferAnswered,
    Offered,
    Rejected,
    Returned,
    Ringing,
    TransferReport,
    TransferRequested,
    Verdict,
)
from gateway.call.status import Cause, most_telling
from gateway.legs.base import LegBase
from gateway.media.engine import Kind, Party

_OFFERS_REMEMBERED = 16
"""Pending offers remembered for a page."""


class Channel(Protocol):
    """A browser as seen by a leg; methods return at once and tolerate a closed socket."""

    @property
    def can_update(self) -> bool: ...

    @property
    def session(self) -> Mapping[str, Any] | None:
        """State that lets a new process answer for the call on its client's requests; None if the channel is a
        connection.
        """

    def incoming(
        self, call: WebHandle, caller_uri: str, caller_name: str, sdp: str, verified: Verdict = "none"
    ) -> None: ...

    def early_answer(self, call: WebHandle, sdp: str) -> None: ...

    def ringing(self, call: WebHandle, sdp: str | None) -> None: ...

    def answered(self, call: WebHandle, sdp: str | None) -> None: ...

    def updated(self, call: WebHandle, sdp: str | None, kind: Literal["offer", "answer"]) -> None: ...

    def candidate(self, call: WebHandle, candidate: str, mid: str | None) -> None: ...

    def connected(self, call: WebHandle) -> None: ...

    def digit(self, call: WebHandle, digit: str, duration_ms: int) -> None: ...

    def held(self, call: WebHandle, held: bool) -> None: ...

    def identified(self, call: WebHandle, uri: str, name: str, verified: Verdict = "none") -> None: ...

    def recorded(self, call: WebHandle, recording: bool) -> None: ...

    def in_room(self, call: WebHandle, room: str, member: str) -> None: ...

    def ended(self, call: WebHandle, cause: Cause) -> None: ...

    def moved(self, call: WebHandle) -> None:
        """Tell the page to continue the call at a second gateway."""


class Waker(Protocol):
    """Push notifications for users without an open page."""

    def call(self, user: str, caller: Address) -> None:
        """Announce an incoming call."""

    def over(self, user: str, caller: Address, cause: Cause) -> None:
        """Withdraw a call that has ended or was answered or declined elsewhere."""


class WebHandle:
    """A channel's control of its side of a call (facade.WebCall)."""

    def __init__(self, call_id: str, leg: BrowserLeg, emit: Callable[[WebHandle, LegEvent], None]) -> None:
        self.id = call_id
        self._leg = leg
        self._emit = emit
        self._offers = 0
        self._unanswered: deque[int] = deque(maxlen=_OFFERS_REMEMBERED)
        """Offers sent to the page by `Channel.updated`, answered in order."""
        self._open = 0
        """Number of the offer with an awaited answer; 0 for none."""
        self._moot = 0
        """Highest number of abandoned offers, dropped as soon as a later offer is sent."""

    def limit_of(self, cause: Cause) -> tuple[str, int | None]:
        """Return the limit behind `cause` ("" for none) and the seconds until a retry makes sense."""
        return self._leg.limit_of(cause)

    def ring(self) -> None:
        self._emit(self, Ringing())

    def answer(self, sdp: str) -> None:
        self._emit(self, Answered(sdp))

    def reject(self, cause: Cause) -> None:
        self._emit(self, Rejected(cause))

    def hangup(self, cause: Cause = Cause.NORMAL) -> None:
        self._emit(self, HungUp(cause))

    def candidate(self, candidate: str, mid: str | None) -> None:
        self._emit(self, CandidateAdded(candidate, mid))

    def digit(self, digit: str, duration_ms: int, told: Callable[[bool], None]) -> None:
        """Send a digit of the page; `told` gets True if the far end received it during the call."""
        self._emit(self, DigitPressed(digit, duration_ms, told))

    def update(self, sdp: str) -> None:
        """Send an offer of the page; the answer goes to `Channel.updated(..., "answer")`."""
        if self._unanswered and not self._open:
            # An offer of the page implies a rollback of earlier offers to the page (RFC 8829 section 4.1.10.2).
            self._moot = self._unanswered[-1]
        self._offers += 1
        self._leg.asked(self)
        self._emit(self, Offered(self._offers, sdp))

    @property
    def open_offer(self) -> int:
        """Number of the offer to the page with an awaited answer; 0 for none."""
        return self._open

    def update_answer(self, sdp: str | None, exchange: int = 0) -> bool:
        """Answer the offer with number `exchange`, 0 for the oldest unanswered; None rejects.

        Return False if no such offer is open: none was sent, or it was answered or replaced.
        """
        if not self._unanswered or exchange not in (0, *self._unanswered):
            return False
        exchange = exchange or self._unanswered[0]
        while self._unanswered.popleft() != exchange:
            pass  # an answer to a later offer skips earlier ones
        if exchange == self._open:
            self._open = 0
        self._emit(self, OfferAnswered(exchange, sdp))
        return True

    def transfer(self, to: str, consultation: str | None, report: TransferReport) -> None:
        """Transfer the far end to target `to`, or to the far end of the page's call `consultation`."""
        self._emit(self, TransferRequested(to, report, consultation))

    def away(self) -> None:
        """Report a lost socket; the page may return within `limits.reattach_time`."""
        self._emit(self, Away())

    def returned(self, channel: Channel, sdp: str | None) -> None:
        """Continue over `channel` after a page has returned, with an offer (ICE restart, new connection) or with intact
        media.

        The answer goes to `Channel.updated(..., "answer")`. Earlier offers to the page are void.
        """
        self._unanswered.clear()
        self._open = 0
        self._leg.reattach(self, channel)
        if sdp is not None:
            self._offers += 1
        self._emit(self, Returned(self._offers, sdp))

    def asked(self, exchange: int) -> None:
        """Note an offer sent to the page."""
        while self._unanswered and self._unanswered[0] <= self._moot:
            self._unanswered.popleft()
        self._open = exchange
        self._unanswered.append(exchange)

    def forget(self, exchange: int, *, timed_out: bool) -> None:
        """Stop waiting for the answer to an offer.

        Until the next offer, a late answer is still taken; the call then offers its current description again.
        """
        if exchange == self._open:
            self._open = 0
        if timed_out:
            self._moot = exchange


class BrowserLeg(LegBase):
    """A browser in either role: its user, the channel in use and the handle for the channel."""

    is_caller = False
    """True if the page dialled."""

    def __init__(self, tag: str, address: Address, user: str = "", *, reoffered: bool = True) -> None:
        super().__init__(Party(tag, Kind.WEBRTC, owner=user or None, reoffered=reoffered), address, user or None)
        self.user = user
        """Id of the browser's user, the only user who may resume the call."""
        self._channel: Channel | None = None
        self._session: Mapping[str, Any] | None = None
        """Stored channel session of a call set up by a previous process."""
        self._handle: WebHandle | None = None
        self._has_had_media = False
        self._recorded = False
        self._place = "", ""
        self._is_asked = False
        """True while an offer of the page waits for its answer."""
        self._waiting: tuple[int, str] | None = None
        """Number and description of an offer to the page, held back while the page's own offer is pending."""

    @property
    def in_use(self) -> WebHandle | None:
        """Handle of the page with the call; None while several pages ring."""
        return self._handle

    @property
    def session(self) -> Mapping[str, Any] | None:
        """Stored channel session of a call set up by a previous process."""
        return self._session

    @property
    def dialog_names(self) -> tuple[DialogName, ...]:
        """Dialog name of a page's call, which has no SIP dialog; a phone picks up the call by it (RFC 3891)."""
        tag = self._party.tag
        return (DialogName(tag, tag, tag),)

    def is_named(self, name: LegName) -> bool:
        return super().is_named(name) or name in self.dialog_names

    @property
    def can_update(self) -> bool:
        return self._channel is not None and self._channel.can_update

    @property
    def may_return(self) -> bool:
        # A reloading page may lose its media before its socket reports the departure.
        return self._signalling_lost or (self._has_had_media and self.can_update)

    def reattach(self, handle: WebHandle, channel: Channel) -> None:
        """Continue over `channel` for the page behind `handle`."""
        if handle is self._handle:
            self._channel = channel
            self._is_asked, self._waiting = False, None

    def asked(self, handle: WebHandle) -> None:
        """Hold back offers to the page: its own offer came first."""
        self._is_asked = handle is self._handle

    async def offer(self, exchange: int, sdp: str) -> None:
        if self._is_asked:
            self._waiting = exchange, sdp
        elif self._channel is not None and self._handle is not None:
            self._handle.asked(exchange)
            self._channel.updated(self._handle, sdp, "offer")

    def take_back_offer(self, exchange: int) -> bool:
        if self._waiting is None or self._waiting[0] != exchange:
            return False
        self._waiting = None
        return True

    def forget_offer(self, exchange: int, *, timed_out: bool) -> None:
        if not self.take_back_offer(exchange) and self._handle is not None:
            self._handle.forget(exchange, timed_out=timed_out)

    async def answer_offer(self, exchange: int, sdp: str | None, cause: Cause = Cause.NOT_ACCEPTABLE) -> None:
        if self._channel is not None and self._handle is not None:
            self._channel.updated(self._handle, sdp, "answer")
        self._is_asked, waiting, self._waiting = False, self._waiting, None
        if waiting is not None:
            await self.offer(*waiting)

    async def candidate(self, candidate: str, mid: str | None) -> None:
        if self._channel is not None and self._handle is not None:
            self._channel.candidate(self._handle, candidate, mid)

    async def connected(self) -> None:
        self._has_had_media = True
        if self._channel is not None and self._handle is not None:
            self._channel.connected(self._handle)

    async def digit(self, digit: str, duration_ms: int, *, sent: bool, told: Callable[[bool], None]) -> None:
        if self._channel is not None and self._handle is not None:
            self._channel.digit(self._handle, digit, duration_ms)
        told(sent or self.can_update)

    async def held(self, held: bool) -> None:
        if self._channel is not None and self._handle is not None:
            self._channel.held(self._handle, held)

    async def identified(self, peer: Address) -> None:
        if self._channel is not None and self._handle is not None:
            self._channel.identified(self._handle, peer.uri, peer.display_name, peer.verified)

    def leave(self) -> None:
        """Send the page to a second gateway, which continues the call. A page without resumption hears the end of its
        call.
        """
        channel, handle = self._channel, self._handle
        if channel is not None and handle is not None and channel.can_update and not self._over:
            self._over = True
            channel.moved(handle)

    def note(self, *, recorded: bool, room: str, member: str) -> None:
        """Tell the page about recording, or about its room and member id.

        Without a reachable page, call again at the next change of the call.
        """
        if self._channel is None or self._handle is None or self._over:
            return
        if (room, member) != self._place:
            self._place = room, member
            self._channel.in_room(self._handle, room, member)
        if recorded is not self._recorded:
            self._recorded = recorded
            self._channel.recorded(self._handle, recorded)

    def values(self) -> dict[str, Any] | None:
        channel, session = self._channel, self._session
        returns = session is None if channel is None else channel.can_update
        if channel is not None:
            session = channel.session
        values = {"kind": "web", "user": self.user, "is_caller": self.is_caller, "returns": returns}
        return values if session is None else {**values, "session": dict(session)}

    def _heard(self, channel: Channel, handle: WebHandle, event: LegEvent) -> None:
        """Deliver an event of the channel with the call."""
        if isinstance(event, HungUp):
            self._over = True
            # A page that hung up is notified, too, so that its call list ends in one place only.
            channel.ended(handle, event.cause)
        self._deliver(event)


class WebResumedLeg(BrowserLeg):
    """Browser of a call set up by a previous process, absent until its page returns."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        """`values` come from `BrowserLeg.values`; raises LookupError or TypeError for others."""
        super().__init__(values["party"]["tag"], address_of(values["address"]), values["user"])
        self.is_caller = values["is_caller"]
        self._session = values.get("session")
        self._handle = WebHandle(self.party.tag, self, self._happened)

    def _happened(self, handle: WebHandle, event: LegEvent) -> None:
        if self._channel is not None and not self._over:
            self._heard(self._channel, handle, event)
        elif isinstance(event, DigitPressed):
            event.told(False)

    async def end(self, cause: Cause) -> None:
        if not self._over:
            self._over = True
            if self._channel is not None and self._handle is not None:
                self._channel.ended(self._handle, cause)


class WebCallerLeg(BrowserLeg):
    """A browser that dialled."""

    is_caller = True

    def __init__(self, tag: str, address: Address, channel: Channel, user: str = "") -> None:
        super().__init__(tag, address, user, reoffered=channel.can_update)
        self.handle = WebHandle(tag, self, self._happened)
        self._caller = channel
        self._channel, self._handle = channel, self.handle
        self._given: str | None = None
        """Answer given to the browser: an offer has one answer (RFC 3264)."""

    def reattach(self, handle: WebHandle, channel: Channel) -> None:
        super().reattach(handle, channel)
        self._caller = channel

    def _happened(self, handle: WebHandle, event: LegEvent) -> None:
        if not self._over:
            self._heard(self._caller, handle, event)
        elif isinstance(event, DigitPressed):
            event.told(False)

    async def early_answer(self, sdp: str) -> None:
        self._given = sdp
        self._caller.early_answer(self.handle, sdp)

    async def ring(self, sdp: str | None) -> None:
        self._caller.ringing(self.handle, self._news(sdp))

    async def answer(self, sdp: str) -> bool:
        self._caller.answered(self.handle, self._news(sdp))
        return sdp == self._given

    def _news(self, sdp: str | None) -> str | None:
        if sdp is None or self._given is not None:
            return None
        self._given = sdp
        return sdp

    async def end(self, cause: Cause) -> None:
        if not self._over:
            self._over = True
            self._caller.ended(self.handle, cause)


class WebCalleeLeg(BrowserLeg):
    """A called web user: every open page rings, the first to accept gets the call."""

    def __init__(
        self, tag: str, address: Address, channels: Iterable[Channel], user: str = "", waker: Waker | None = None
    ) -> None:
        super().__init__(tag, address, user)
        self._waker: Waker | None = waker
        """Waker still to be notified of the end of ringing."""
        self._ringing: dict[WebHandle, Channel] = {self._new_handle(): channel for channel in channels}
        self._refusals: list[Cause] = []
        self._invitation: tuple[Address, str] | None = None
        """Caller and our offer, after `invite`."""
        self._nobody_yet = not self._ringing
        """True if no page was open and none has opened since."""

    def _new_handle(self) -> WebHandle:
        return WebHandle(self.party.tag, self, self._happened)

    async def invite(self, sdp: str, caller: Address) -> None:
        self._invitation = (caller, sdp)
        if self._waker is not None:
            self._waker.call(self.user, caller)
        for handle, channel in list(self._ringing.items()):
            if handle not in self._ringing:
                break  # the previous page declined for all
            channel.incoming(handle, caller.uri, caller.display_name, sdp, caller.verified)
        if self._ringing:
            self._deliver(Ringing())

    @property
    def rings(self) -> bool:
        """True while a page may still answer."""
        return not self._over and self._channel is None

    def add(self, channel: Channel) -> None:
        """Ring on a newly opened or reloaded page."""
        if self._invitation is None or not self.rings:
            return
        caller, sdp = self._invitation
        came_back = not self._ringing
        handle = self._new_handle()
        self._ringing[handle] = channel
        channel.incoming(handle, caller.uri, caller.display_name, sdp, caller.verified)
        if came_back and self._ringing:
            self._deliver(Ringing() if self._nobody_yet else Returned())
            self._nobody_yet = False

    def nobody_came(self) -> None:
        """Reject the call: no page opened in time after the push notification."""
        if self._nobody_yet and not self._over:
            self._over = True
            self._tell_sleepers(Cause.UNAVAILABLE)
            self._deliver(Rejected(Cause.UNAVAILABLE))

    def _tell_sleepers(self, cause: Cause) -> None:
        waker, self._waker = self._waker, None
        if waker is not None and self._invitation is not None:
            waker.over(self.user, self._invitation[0], cause)

    def _happened(self, handle: WebHandle, event: LegEvent) -> None:
        if self._channel is not None and handle is self._handle and not self._over:
            self._heard(self._channel, handle, event)
        elif isinstance(event, DigitPressed):
            event.told(False)
        elif self._channel is None and not self._over:
            self._before_answer(handle, event)

    def _before_answer(self, handle: WebHandle, event: LegEvent) -> None:
        channel = self._ringing.get(handle)
        if channel is None:
            return
        match event:
            case Answered():
                self._channel, self._handle = channel, handle
                del self._ringing[handle]
                self._silence(Cause.ELSEWHERE)
                self._tell_sleepers(Cause.ELSEWHERE)
                self._deliver(event)
            case Rejected(cause=Cause.DECLINED as cause):
                # The user declined, so no further page rings.
                self._over = True
                self._silence(cause)
                self._tell_sleepers(Cause.ELSEWHERE)
                self._deliver(event)
            case Rejected() | HungUp():
                # A busy or closed page; the remaining pages ring on.
                self._ringing.pop(handle).ended(handle, event.cause)
                self._refusals.append(event.cause if isinstance(event, Rejected) else Cause.UNAVAILABLE)
                if not self._ringing:
                    self._over = True
                    refusal = most_telling(self._refusals)
                    self._tell_sleepers(refusal)
                    self._deliver(Rejected(refusal))
            case Away():
                # A reload while ringing: the returning page is a new one.
                del self._ringing[handle]
                if not self._ringing:
                    self._deliver(event)
            case CandidateAdded():
                self._deliver(event)

    def _silence(self, cause: Cause) -> None:
        for handle, channel in self._ringing.items():
            channel.ended(handle, cause)
        self._ringing.clear()

    async def end(self, cause: Cause) -> None:
        if self._over:
            return
        self._over = True
        self._tell_sleepers(cause)
        if self._channel is not None and self._handle is not None:
            self._channel.ended(self._handle, cause)
        self._silence(cause)
