"""Legs whose far end is a browser: one for a caller, one for a callee with all its open pages.

The channels come from the web room, which knows HTTP, JSON-RPC and WebSockets; here a channel is
only the Protocol below, and a handle is what the channel drives the leg with.
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
"""Offers sent to one page whose answers may still come."""


class Channel(Protocol):
    """One browser as the legs see it; every method returns at once and tolerates a socket that is gone."""

    @property
    def can_update(self) -> bool: ...

    @property
    def session(self) -> Mapping[str, Any] | None:
        """What another process needs to answer for the call over requests of its client; None: it has a connection."""

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
        """Another gateway goes on with it: the page is to look for it there."""


class Waker(Protocol):
    """Wakes the user's browsers whose pages are closed."""

    def call(self, user: str, caller: Address) -> None:
        """Somebody calls."""

    def over(self, user: str, caller: Address, cause: Cause) -> None:
        """That call rings no more: it has ended, or was answered or declined elsewhere."""


class WebHandle:
    """What a channel drives its side of a call with (facade.WebCall)."""

    def __init__(self, call_id: str, leg: BrowserLeg, emit: Callable[[WebHandle, LegEvent], None]) -> None:
        self.id = call_id
        self._leg = leg
        self._emit = emit
        self._offers = 0
        self._unanswered: deque[int] = deque(maxlen=_OFFERS_REMEMBERED)
        """Offers that the page was sent by `Channel.updated`; it answers them in order."""
        self._open = 0
        """The one of them that the call waits for; 0: none."""
        self._moot = 0
        """Up to this number they are not answered any more, once there is a later one."""

    def limit_of(self, cause: Cause) -> tuple[str, int | None]:
        """Return the limit for which the call ends with `cause` ("": none), and seconds until a next try."""
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
        """The page presses a digit; `told` hears whether the other side has got it, while the call lasts."""
        self._emit(self, DigitPressed(digit, duration_ms, told))

    def update(self, sdp: str) -> None:
        """An offer of the page; answered by `Channel.updated(..., "answer")`."""
        if self._unanswered and not self._open:
            # Who offers has taken those back that came before (RFC 8829 section 4.1.10.2).
            self._moot = self._unanswered[-1]
        self._offers += 1
        self._leg.asked(self)
        self._emit(self, Offered(self._offers, sdp))

    @property
    def open_offer(self) -> int:
        """Number of the offer to the page whose answer the call waits for; 0: none."""
        return self._open

    def update_answer(self, sdp: str | None, exchange: int = 0) -> bool:
        """Its answer to the offer of that number, 0 the oldest that it has not answered; None refuses it.

        False: there is none, or it is answered, or was given up and another has taken its place.
        """
        if not self._unanswered or exchange not in (0, *self._unanswered):
            return False
        exchange = exchange or self._unanswered[0]
        while self._unanswered.popleft() != exchange:
            pass  # whoever answers a later one has let those before be
        if exchange == self._open:
            self._open = 0
        self._emit(self, OfferAnswered(exchange, sdp))
        return True

    def transfer(self, to: str, consultation: str | None, report: TransferReport) -> None:
        """The page leaves the call to whoever `to` means, or to the other side of its call `consultation`."""
        self._emit(self, TransferRequested(to, report, consultation))

    def away(self) -> None:
        """The page's socket has gone; it may come back within `limits.reattach_time`."""
        self._emit(self, Away())

    def returned(self, channel: Channel, sdp: str | None) -> None:
        """The page is back, over `channel`; with an offer (an ICE restart, a new connection), or its media stood.

        An offer is answered by `Channel.updated(..., "answer")`. What it was asked before it vanished is moot.
        """
        self._unanswered.clear()
        self._open = 0
        self._leg.reattach(self, channel)
        if sdp is not None:
            self._offers += 1
        self._emit(self, Returned(self._offers, sdp))

    def asked(self, exchange: int) -> None:
        """The page is sent the offer of that number (the leg's side)."""
        while self._unanswered and self._unanswered[0] <= self._moot:
            self._unanswered.popleft()
        self._open = exchange
        self._unanswered.append(exchange)

    def forget(self, exchange: int, *, timed_out: bool) -> None:
        """The call waits no more for the answer to the offer of that number (the leg's side).

        Until it is sent another one the page may answer it yet: it is then offered again what stands.
        """
        if exchange == self._open:
            self._open = 0
        if timed_out:
            self._moot = exchange


class BrowserLeg(LegBase):
    """What the two roles share: whose it is, the channel in use and the handle it knows us by."""

    is_caller = False
    """Whether its page dialled."""

    def __init__(self, tag: str, address: Address, user: str = "", *, reoffered: bool = True) -> None:
        super().__init__(Party(tag, Kind.WEBRTC, owner=user or None, reoffered=reoffered), address, user or None)
        self.user = user
        """Id of the user whose browser it is; only that user takes its call up again."""
        self._channel: Channel | None = None
        self._session: Mapping[str, Any] | None = None
        """Of a call that another process has set up, as it was written down."""
        self._handle: WebHandle | None = None
        self._has_had_media = False
        self._recorded = False
        self._place = "", ""
        self._is_asked = False
        """True while the page waits for the answer to an offer of its own."""
        self._waiting: tuple[int, str] | None = None
        """An offer to the page that waits for that: number and description."""

    @property
    def in_use(self) -> WebHandle | None:
        """The handle of the page that has the call; None while several ring."""
        return self._handle

    @property
    def session(self) -> Mapping[str, Any] | None:
        """As `Channel.session` gave it to the process before."""
        return self._session

    @property
    def dialog_names(self) -> tuple[DialogName, ...]:
        """Name of the call of a page, which has no dialog of SIP: a phone picks it up by that (RFC 3891)."""
        tag = self._party.tag
        return (DialogName(tag, tag, tag),)

    def is_named(self, name: LegName) -> bool:
        return super().is_named(name) or name in self.dialog_names

    @property
    def can_update(self) -> bool:
        return self._channel is not None and self._channel.can_update

    @property
    def may_return(self) -> bool:
        # The media of a page that is reloaded may end before it has said that it goes.
        return self._signalling_lost or (self._has_had_media and self.can_update)

    def reattach(self, handle: WebHandle, channel: Channel) -> None:
        """The page behind `handle` is reached over `channel` from now on."""
        if handle is self._handle:
            self._channel = channel
            self._is_asked, self._waiting = False, None

    def asked(self, handle: WebHandle) -> None:
        """Have offers to the page wait: it has made one, which came first."""
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
        """Another gateway goes on with the call: the page is to go there; one that takes no call up again hears of its
        end.
        """
        channel, handle = self._channel, self._handle
        if channel is not None and handle is not None and channel.can_update and not self._over:
            self._over = True
            channel.moved(handle)

    def note(self, *, recorded: bool, room: str, member: str) -> None:
        """Tell the page that has the call what is new: it is recorded, or is in a room under that member's id.

        What no page can be told now is to be noted again: at the next change of the call.
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
        """An event of the channel that has the call."""
        if isinstance(event, HungUp):
            self._over = True
            # A page that hung up itself is told so too: its call list ends in one place only.
            channel.ended(handle, event.cause)
        self._deliver(event)


class WebResumedLeg(BrowserLeg):
    """A browser whose call another process has set up: nobody is there until its page comes back."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        """`values` as `BrowserLeg.values` gives them; raises LookupError or TypeError for others."""
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
        """The answer that the browser has: one offer takes one answer (RFC 3264)."""

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
    """A web user who is called: every open page rings, the first to accept has the call."""

    def __init__(
        self, tag: str, address: Address, channels: Iterable[Channel], user: str = "", waker: Waker | None = None
    ) -> None:
        super().__init__(tag, address, user)
        self._waker: Waker | None = waker
        """Who is still to be told that the call rings no more."""
        self._ringing: dict[WebHandle, Channel] = {self._new_handle(): channel for channel in channels}
        self._refusals: list[Cause] = []
        self._invitation: tuple[Address, str] | None = None
        """Who calls, and our offer, while anybody may still answer it."""
        self._nobody_yet = not self._ringing
        """No page was open, and none has come."""

    def _new_handle(self) -> WebHandle:
        return WebHandle(self.party.tag, self, self._happened)

    async def invite(self, sdp: str, caller: Address) -> None:
        self._invitation = (caller, sdp)
        if self._waker is not None:
            self._waker.call(self.user, caller)
        for handle, channel in list(self._ringing.items()):
            if handle not in self._ringing:
                break  # the page before refused for all of them
            channel.incoming(handle, caller.uri, caller.display_name, sdp, caller.verified)
        if self._ringing:
            self._deliver(Ringing())

    @property
    def rings(self) -> bool:
        """Whether a page may still answer."""
        return not self._over and self._channel is None

    def add(self, channel: Channel) -> None:
        """Another page of the user has opened, or the one that was reloaded: it rings, too."""
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
        """No page has opened in time, though its user's browsers were woken."""
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
                # The person refused, not the page: nothing else rings on.
                self._over = True
                self._silence(cause)
                self._tell_sleepers(Cause.ELSEWHERE)
                self._deliver(event)
            case Rejected() | HungUp():
                # One page is busy or gone; the others ring on.
                self._ringing.pop(handle).ended(handle, event.cause)
                self._refusals.append(event.cause if isinstance(event, Rejected) else Cause.UNAVAILABLE)
                if not self._ringing:
                    self._over = True
                    refusal = most_telling(self._refusals)
                    self._tell_sleepers(refusal)
                    self._deliver(Rejected(refusal))
            case Away():
                # A reload while it rang: the page that comes back is a new one.
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
