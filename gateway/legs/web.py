"""Legs whose far end is a browser: one for a caller, one for a callee with all its open pages.

The channels come from the web room, which knows HTTP, JSON-RPC and WebSockets; here a channel is
only the Protocol below, and a handle is what the channel drives the leg with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, Protocol

from gateway.call.leg import (
    Address,
    Answered,
    CandidateAdded,
    DigitPressed,
    HungUp,
    LegEvent,
    Rejected,
    Reoffered,
    Ringing,
    UpdateAnswered,
)
from gateway.call.status import Cause
from gateway.legs.base import LegBase
from gateway.media.engine import Kind, Party


class Channel(Protocol):
    """One browser as the legs see it; every method returns at once and tolerates a socket that is gone."""

    @property
    def can_update(self) -> bool: ...

    def incoming(self, call: WebHandle, caller_uri: str, caller_name: str, sdp: str) -> None: ...

    def early_answer(self, call: WebHandle, sdp: str) -> None: ...

    def ringing(self, call: WebHandle, sdp: str | None) -> None: ...

    def answered(self, call: WebHandle, sdp: str | None) -> None: ...

    def updated(self, call: WebHandle, sdp: str | None, kind: Literal["offer", "answer"]) -> None: ...

    def candidate(self, call: WebHandle, candidate: str, mid: str | None) -> None: ...

    def ended(self, call: WebHandle, cause: Cause) -> None: ...


class WebHandle:
    """What a channel drives its side of a call with (facade.WebCall)."""

    def __init__(self, call_id: str, emit: Callable[[WebHandle, LegEvent], None]) -> None:
        self.id = call_id
        self._emit = emit

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

    def digit(self, digit: str, duration_ms: int = 160) -> None:
        self._emit(self, DigitPressed(digit, duration_ms))

    def update(self, sdp: str) -> None:
        self._emit(self, Reoffered(sdp))

    def update_answer(self, sdp: str | None) -> None:
        self._emit(self, UpdateAnswered(sdp))


class _BrowserLeg(LegBase):
    """What the two roles share: the channel in use and the handle it knows us by."""

    def __init__(self, tag: str, address: Address) -> None:
        super().__init__(Party(tag, Kind.WEBRTC), address)
        self._channel: Channel | None = None
        self._handle: WebHandle | None = None

    @property
    def can_update(self) -> bool:
        return self._channel is not None and self._channel.can_update

    async def update(self, sdp: str) -> None:
        if self._channel is not None and self._handle is not None:
            self._channel.updated(self._handle, sdp, "offer")

    async def update_answer(self, sdp: str | None, cause: Cause = Cause.NOT_ACCEPTABLE) -> None:
        if self._channel is not None and self._handle is not None:
            self._channel.updated(self._handle, sdp, "answer")

    async def candidate(self, candidate: str, mid: str | None) -> None:
        if self._channel is not None and self._handle is not None:
            self._channel.candidate(self._handle, candidate, mid)

    def _heard(self, channel: Channel, handle: WebHandle, event: LegEvent) -> None:
        """An event of the channel that has the call."""
        if isinstance(event, HungUp):
            self._over = True
            # A page that hung up itself is told so too: its call list ends in one place only.
            channel.ended(handle, event.cause)
        self._deliver(event)


class WebCallerLeg(_BrowserLeg):
    """A browser that dialled."""

    def __init__(self, tag: str, address: Address, channel: Channel) -> None:
        super().__init__(tag, address)
        self.handle = WebHandle(tag, self._happened)
        self._caller = channel
        self._channel, self._handle = channel, self.handle
        self._given = False
        """Whether the browser has an answer: one offer takes one answer (RFC 3264)."""

    def _happened(self, handle: WebHandle, event: LegEvent) -> None:
        if not self._over:
            self._heard(self._caller, handle, event)

    async def early_answer(self, sdp: str) -> None:
        self._given = True
        self._caller.early_answer(self.handle, sdp)

    async def ring(self, sdp: str | None) -> None:
        self._caller.ringing(self.handle, self._news(sdp))

    async def answer(self, sdp: str) -> None:
        self._caller.answered(self.handle, self._news(sdp))

    def _news(self, sdp: str | None) -> str | None:
        if sdp is None or self._given:
            return None
        self._given = True
        return sdp

    async def end(self, cause: Cause) -> None:
        if not self._over:
            self._over = True
            self._caller.ended(self.handle, cause)


class WebCalleeLeg(_BrowserLeg):
    """A web user who is called: every open page rings, the first to accept has the call."""

    def __init__(self, tag: str, address: Address, channels: Iterable[Channel]) -> None:
        super().__init__(tag, address)
        self._ringing: dict[WebHandle, Channel] = {WebHandle(tag, self._happened): channel for channel in channels}

    async def invite(self, sdp: str, caller: Address) -> None:
        for handle, channel in list(self._ringing.items()):
            if handle not in self._ringing:
                break  # the page before refused for all of them
            channel.incoming(handle, caller.uri, caller.display_name, sdp)
        if self._ringing:
            self._deliver(Ringing())

    def _happened(self, handle: WebHandle, event: LegEvent) -> None:
        if self._over:
            return
        if self._channel is None:
            self._before_answer(handle, event)
        elif handle is self._handle:
            self._heard(self._channel, handle, event)

    def _before_answer(self, handle: WebHandle, event: LegEvent) -> None:
        channel = self._ringing.get(handle)
        if channel is None:
            return
        match event:
            case Answered():
                self._channel, self._handle = channel, handle
                del self._ringing[handle]
                self._silence(Cause.ELSEWHERE)
                self._deliver(event)
            case Rejected(cause=Cause.DECLINED | Cause.BUSY as cause):
                # The person refused, not the page: nothing else rings on.
                self._over = True
                self._silence(cause)
                self._deliver(event)
            case Rejected() | HungUp():
                self._ringing.pop(handle).ended(handle, event.cause)
                if not self._ringing:
                    self._over = True
                    self._deliver(Rejected(event.cause if isinstance(event, Rejected) else Cause.UNAVAILABLE))
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
        if self._channel is not None and self._handle is not None:
            self._channel.ended(self._handle, cause)
        self._silence(cause)
