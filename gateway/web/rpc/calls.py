"""The calls of one JSON-RPC connection: the gateway's events to notifications, the client's words to the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from gateway.call.leg import Verdict
from gateway.call.status import Cause, cause_of_word
from gateway.web.facade import WebCall
from gateway.web.outbox import Close
from gateway.web.rpc.entry import CallEnded, CallListener, Entry, Picture, State, picture_of
from gateway.web.settings import WebSettings

_LET_GO_AFTER = 1.0
"""Seconds from the end of the last call to the close of a client that is to move: a request may be under way."""


class Calls:
    """A WebChannel (see `facade`) for as many calls as the settings allow.

    A call belongs to its user: when the socket goes, the calls of a client that announced itself are *away*, and
    go on here until another connection of the same user takes them (`take_over`) or they end.
    """

    can_update = True
    session: Mapping[str, Any] | None = None

    def __init__(
        self, listener: CallListener, settings: WebSettings, later: Callable[[Callable[[], None]], object]
    ) -> None:
        self._listener = listener
        self._settings = settings
        self._later = later
        self._entries: dict[str, Entry] = {}
        self._early: dict[str, list[Callable[[], None]]] = {}
        self._placing = 0
        self._closed = False
        self._is_to_move = False
        """Whether the gateway drains and the client is to be at another one once it has no call."""
        self.on_call: Callable[[Entry], None] | None = None
        """Told of every call that is this client's for good: placed, or accepted."""
        self.on_change: Callable[[], None] | None = None
        """Told when one of its calls was answered, taken from another connection, or has ended."""
        self.grace: float | None = None
        """Seconds the calls wait for a client that said it goes (a reload or a closed tab); None: as any other."""

    def __len__(self) -> int:
        return len(self._entries) + self._placing

    @property
    def full(self) -> bool:
        """Whether no further call fits on this connection."""
        return len(self) >= self._settings.max_calls_per_connection

    def entries(self) -> list[Entry]:
        """Every call, in order of its beginning."""
        return list(self._entries.values())

    def by_id(self, call_id: str) -> Entry | None:
        """The call of that id."""
        return self._entries.get(call_id)

    def find(self, peer_id: str, call_id: str | None = None) -> Entry | None:
        """The call with that peer, the latest one unless `call_id` says which."""
        if call_id is not None:
            entry = self._entries.get(call_id)
            return entry if entry is not None and entry.peer_id == peer_id else None
        for entry in reversed(self._entries.values()):
            if entry.peer_id == peer_id:
                return entry
        return None

    # What the client does.

    def placing(self) -> None:
        """An offer is on its way to the gateway: its events may come before its handle."""
        self._placing += 1

    def not_placed(self) -> None:
        """The gateway did not take the offer."""
        self._placing -= 1
        if not self._placing:
            self._early.clear()

    def placed(
        self,
        call: WebCall,
        peer_id: str,
        offer_id: str,
        inline: asyncio.Future[str] | None,
        sdp: str = "",
    ) -> Entry:
        """The gateway took it, with that offer; nothing is told of it until `release`."""
        entry = Entry(call, peer_id, True, State.CALLING, offer_id, inline=inline, own=picture_of(sdp))
        self._entries[call.id] = entry
        self._tell(entry, partial(self._listener.tell_state, entry, State.CALLING, None))
        for event in self._early.pop(call.id, []):
            event()
        self.not_placed()
        if self.on_call is not None:
            self.on_call(entry)
        if self._closed:
            call.hangup(Cause.CANCELLED)
        return entry

    def release(self, entry: Entry) -> None:
        """The client knows of the call: tell it what happened meanwhile."""
        held, entry.held = entry.held or [], None
        for notice in held:
            notice()

    def _tell(self, entry: Entry, notice: Callable[[], None]) -> None:
        if entry.held is not None:
            entry.held.append(notice)
        else:
            notice()

    def accept(self, entry: Entry, sdp: str | None, exchange: int = 0) -> bool:
        """The client answers an offer of ours, None refuses a re-offer; False when none waits, or not that one.

        `exchange` is the number that the re-offer was told with; 0: it answers them in order.
        """
        if entry.state is State.ANSWERED:
            was_asked = entry.call.update_answer(sdp, exchange)
            if was_asked and sdp is not None:
                self._shows(entry, picture_of(sdp))
            return was_asked
        if entry.outgoing or entry.state is not State.RINGING or sdp is None:
            return False
        entry.own = picture_of(sdp)
        entry.call.answer(sdp)
        if self.on_call is not None:
            self.on_call(entry)
        if entry.state is State.RINGING:
            self._advance(entry, State.ANSWERED)
        return True

    def reoffer(self, entry: Entry, sdp: str) -> bool:
        """The client changes a call; False when it is not answered yet or another change is under way."""
        if entry.state is not State.ANSWERED or entry.offering or entry.call.open_offer:
            return False
        entry.offering = True
        entry.proposed = picture_of(sdp)
        entry.call.update(sdp)
        return True

    def trickle(self, entry: Entry, candidate: str, mid: str | None) -> bool:
        """One more candidate of the client; False when there were too many."""
        entry.candidates += 1
        if entry.candidates > self._settings.max_candidates:
            return False
        entry.call.candidate(candidate, mid)
        return True

    async def press(self, entry: Entry, digit: str, duration_ms: int) -> bool:
        """The client presses a digit; whether the other side has got it, False where that is not known in time."""
        got = asyncio.get_running_loop().create_future()
        entry.call.digit(digit, duration_ms, lambda has_it: None if got.done() else got.set_result(has_it))
        try:
            return await asyncio.wait_for(got, self._settings.digit_timeout)
        except TimeoutError:
            return False

    def hang_up(self, entry: Entry, reason: str | None) -> None:
        """The client ends the call, gives up, or refuses it with "declined" or "busy"."""
        del self._entries[entry.call.id]
        ringing = not entry.outgoing and entry.state is State.RINGING
        if ringing:
            cause = cause_of_word(reason, Cause.DECLINED)
            cause = cause if cause in (Cause.BUSY, Cause.UNAVAILABLE) else Cause.DECLINED
            entry.call.reject(cause)
        else:
            cause = Cause.NORMAL if entry.state is State.ANSWERED else Cause.CANCELLED
            entry.call.hangup(cause)
        self._finish(entry, cause)

    def close(self) -> None:
        """The socket has gone: the calls of a known client are away, those of an unknown one end."""
        self._closed = True
        for entry in self.entries():
            if entry.inline is not None:
                entry.inline.cancel()
            ringing = not entry.outgoing and entry.state is State.RINGING
            if self.on_call is None or (entry.inline is not None and not entry.described):
                self._drop(entry, ringing)
            else:
                self._away(entry, ringing)
        if self.grace is not None and self._entries:
            asyncio.get_running_loop().call_later(self.grace, self._give_up)

    def leave(self, grace: float) -> None:
        """The client says that it goes: its media will end before its socket does, and that is no failure."""
        self.grace = grace
        for entry in self.entries():
            self._away(entry, not entry.outgoing and entry.state is State.RINGING)

    def _away(self, entry: Entry, ringing: bool) -> None:
        entry.call.away()
        if ringing:
            # The page that comes back is rung anew.
            self._entries.pop(entry.call.id, None)

    def _drop(self, entry: Entry, ringing: bool) -> None:
        self._entries.pop(entry.call.id, None)
        if ringing:
            entry.call.reject(Cause.UNAVAILABLE)
            return
        cause = Cause.NORMAL if entry.state is State.ANSWERED else Cause.CANCELLED
        entry.call.hangup(cause)
        self._finish(entry, cause)  # what of the client comes later finds it ended

    def _give_up(self) -> None:
        """The client that said it goes has not come back: what is still here ends."""
        for entry in self.entries():
            self._drop(entry, ringing=False)

    def end(self, entry: Entry) -> None:
        """The user gives it up over another connection; a client that is still here is told that it has ended."""
        self._drop(entry, ringing=False)

    def take_over(self, entry: Entry, former: Calls, sdp: str | None) -> None:
        """Take a call of another connection of the same user; `sdp` is an offer, None where the media stands.

        The offer is answered by `tell_answer`. A device that still has the call is told that it went elsewhere.
        """
        former._entries.pop(entry.call.id, None)
        former._idle()
        if not former._closed:
            entry.call.away()
            # Not before the media is this device's: the other closes its own then, and would end the call with it.
            entry.moved = partial(former._listener.tell_moved, entry)
        self._entries[entry.call.id] = entry
        entry.offering = sdp is not None
        entry.proposed = entry.own if sdp is None else picture_of(sdp)
        entry.described = True
        entry.connected = entry.connected and sdp is None
        entry.call.returned(self, sdp)
        if sdp is None:
            self._tell_former(entry)
        self._changed()

    # What the gateway tells (WebChannel).

    def incoming(self, call: WebCall, caller_uri: str, caller_name: str, sdp: str, verified: Verdict = "none") -> None:
        if self._closed or self.full:
            call.reject(Cause.UNAVAILABLE if self._closed else Cause.BUSY)
            return
        entry = Entry(call, caller_uri, False, State.RINGING, call.id, caller_name, verified, held=None)
        entry.ours = picture_of(sdp)
        self._entries[call.id] = entry
        self._listener.tell_offer(entry, sdp, 0)
        self._later(call.ring)

    def early_answer(self, call: WebCall, sdp: str) -> None:
        self._on(call, lambda entry: self._describe(entry, sdp))

    def ringing(self, call: WebCall, sdp: str | None) -> None:
        def handle(entry: Entry) -> None:
            self._describe(entry, sdp)
            if entry.state is State.CALLING:
                self._advance(entry, State.RINGING)

        self._on(call, handle)

    def answered(self, call: WebCall, sdp: str | None) -> None:
        def handle(entry: Entry) -> None:
            self._describe(entry, sdp)
            if entry.state is not State.ANSWERED:
                self._advance(entry, State.ANSWERED)

        self._on(call, handle)

    def updated(self, call: WebCall, sdp: str | None, kind: str) -> None:
        def handle(entry: Entry) -> None:
            if kind == "offer" and sdp is not None:
                entry.ours = picture_of(sdp)
                self._tell(entry, partial(self._listener.tell_offer, entry, sdp, call.open_offer))
            elif entry.offering:
                entry.offering = False
                if sdp is not None:
                    entry.ours = picture_of(sdp)
                    self._shows(entry, entry.proposed)
                self._tell_former(entry)
                self._tell(entry, partial(self._listener.tell_answer, entry, sdp))

        self._on(call, handle)

    def candidate(self, call: WebCall, candidate: str, mid: str | None) -> None:
        def handle(entry: Entry) -> None:
            self._tell(entry, partial(self._listener.tell_candidate, entry, candidate, mid))

        self._on(call, handle)

    def connected(self, call: WebCall) -> None:
        def handle(entry: Entry) -> None:
            entry.connected = True
            if entry.state is State.ANSWERED:
                self._tell(entry, partial(self._listener.tell_connected, entry))

        self._on(call, handle)

    def digit(self, call: WebCall, digit: str, duration_ms: int) -> None:
        def handle(entry: Entry) -> None:
            self._tell(entry, partial(self._listener.tell_digit, entry, digit, duration_ms))

        self._on(call, handle)

    def held(self, call: WebCall, held: bool) -> None:
        def handle(entry: Entry) -> None:
            self._tell(entry, partial(self._listener.tell_held, entry, held))

        self._on(call, handle)

    def identified(self, call: WebCall, uri: str, name: str, verified: Verdict = "none") -> None:
        def handle(entry: Entry) -> None:
            entry.caller_name, entry.verified = name, verified
            self._tell(entry, partial(self._listener.tell_identified, entry, uri, name))

        self._on(call, handle)

    def recorded(self, call: WebCall, recording: bool) -> None:
        def handle(entry: Entry) -> None:
            entry.recording = recording
            self._tell(entry, partial(self._listener.tell_recorded, entry))

        self._on(call, handle)

    def in_room(self, call: WebCall, room: str, member: str) -> None:
        def handle(entry: Entry) -> None:
            entry.room, entry.member = room, member
            self._tell(entry, partial(self._listener.tell_room, entry))

        self._on(call, handle)

    def ended(self, call: WebCall, cause: Cause) -> None:
        def handle(entry: Entry) -> None:
            del self._entries[call.id]
            self._finish(entry, cause, partial(self._listener.tell_disconnected, entry, cause))

        self._on(call, handle)

    def moved(self, call: WebCall) -> None:
        entry = self._entries.pop(call.id, None)
        if entry is not None:
            # Nothing is told of it: for its client it goes on.
            entry.state, entry.is_others = State.ENDED, True
            self._listener.tell_goes_on_elsewhere(Close.GOING_AWAY, "another gateway has the call")

    def draining(self, seconds: float, elsewhere: bool) -> None:
        self._listener.tell_draining(seconds)
        self._is_to_move = elsewhere
        self._idle()

    def _idle(self) -> None:
        """A call has ended, or there was none: once what is on its way is out, a client that is to move is let go."""
        if self._is_to_move:
            asyncio.get_running_loop().call_later(_LET_GO_AFTER, self._let_go)

    def _let_go(self) -> None:
        if not len(self) and not self._closed:
            self._listener.tell_goes_on_elsewhere(Close.SERVICE_RESTART, "the gateway drains")

    def signed_out(self) -> None:
        self._listener.tell_signed_out()

    def _on(self, call: WebCall, handle: Callable[[Entry], None]) -> None:
        entry = self._entries.get(call.id)
        if entry is None:
            if self._placing:
                self._early.setdefault(call.id, []).append(lambda: self._on(call, handle))
            return
        handle(entry)

    def _describe(self, entry: Entry, sdp: str | None) -> None:
        if sdp is None or entry.described:
            return
        entry.described, entry.ours = True, picture_of(sdp)
        if entry.inline is None:
            self._tell(entry, partial(self._listener.tell_answer, entry, sdp))
        elif not entry.inline.done():
            entry.inline.set_result(sdp)

    def _advance(self, entry: Entry, state: State) -> None:
        entry.state = state
        self._tell(entry, partial(self._listener.tell_state, entry, state, None))
        if state is not State.ANSWERED:
            return
        self._changed()
        if entry.connected:
            self._tell(entry, partial(self._listener.tell_connected, entry))

    def _shows(self, entry: Entry, picture: Picture) -> None:
        entry.own = picture
        self._changed()

    def _tell_former(self, entry: Entry) -> None:
        moved, entry.moved = entry.moved, None
        if moved is not None:
            moved()

    def _finish(self, entry: Entry, cause: Cause, last: Callable[[], None] | None = None) -> None:
        """`last` is told behind all else."""
        self._tell_former(entry)
        if entry.inline is not None and not entry.inline.done():
            entry.inline.set_exception(CallEnded(cause))
        entry.state = State.ENDED
        entry.cause = cause
        self._tell(entry, partial(self._listener.tell_state, entry, State.ENDED, cause))
        if last is not None:
            self._tell(entry, last)
        self._changed()
        self._idle()

    def _changed(self) -> None:
        if self.on_change is not None:
            self.on_change()
