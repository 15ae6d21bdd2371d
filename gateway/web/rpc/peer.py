"""One JSON-RPC connection: who it is, what it is told, what it may do. The dialects' methods work on it."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from gateway.call.status import Cause
from gateway.identity.model import User
from gateway.people.messages import InstantMessage
from gateway.people.presence import PresenceState
from gateway.web.auth.authenticator import Authenticator, TooManyFailures
from gateway.web.auth.links import Link
from gateway.web.checks import is_target
from gateway.web.facade import Gateway, PlaceError, WebCall
from gateway.web.outbox import Close
from gateway.web.rpc import codec
from gateway.web.rpc.calls import Calls
from gateway.web.rpc.dialects import Dialect, Notice, PlainDialect, Problem, connection_state, problem_of
from gateway.web.rpc.directory import CallDirectory
from gateway.web.rpc.entry import Entry, State, shown
from gateway.web.rpc.hub import Device, Hub, RelayedSessions
from gateway.web.rpc.topics import Topics
from gateway.web.settings import WebSettings
from gateway.web.sockets import Socket

_MAX_REFUSALS = 5
_KNOWN_AFTER_END = 64


_ROOM = "\0"


@dataclass(frozen=True, slots=True)
class Context:
    """What all connections share."""

    gateway: Gateway
    hub: Hub
    authenticator: Authenticator
    settings: WebSettings
    topics: Topics
    directory: CallDirectory


class Peer:
    """A Device of the hub, a CallListener of its calls, a PageInbox of its user."""

    def __init__(self, context: Context, socket: Socket) -> None:
        self.context = context
        self.dialect: Dialect = PlainDialect()
        self.calls = Calls(self, context.settings, asyncio.get_running_loop().call_soon)
        self.user: User | None = None
        self._link: Link | None = None
        """By which a guest is here; each of its calls is counted."""
        self.peer_id = ""
        self.is_guest = True
        self.listing: dict[str, Any] = {"capabilities": {}, "metadata": {}, "connected_at": 0}
        self._outbox = socket.outbox
        self._address = socket.address
        self._hold_socket = socket.hold
        self._passed_on = socket.passed_on
        self.relayed = RelayedSessions(None)
        self._states: OrderedDict[str, str] = OrderedDict()
        self._refusals = 0
        self._is_gone = False
        self._watches: dict[str, Callable[[], None]] = {}
        """Ends of the watches, by whom the client named; of rooms behind _ROOM, which is in nobody's name."""
        self._told_elsewhere: list[dict[str, Any]] = []
        self.local_address = ""
        """IP address the client reached us at, if known."""

    # Who it is.

    async def announce(
        self, dialect: Dialect, peer_id: str, token: str | None, capabilities: Any, metadata: dict[str, Any]
    ) -> dict[str, Any]:
        """Take an id: a configured user's with its secret, any other as a guest. The result dialects 1 and 2 share."""
        if self.user is not None:
            raise dialect.error(Problem.ALREADY_ANNOUNCED, f"Already announced as {self.peer_id}")
        user = await self._identify(dialect, peer_id, token)
        self.dialect = dialect
        self.peer_id = user.id
        self.is_guest = not self.context.gateway.is_configured(user.id)
        self.relayed = RelayedSessions(None if self.is_guest else user.id)
        now_ms = int(time.time() * 1000)
        self.listing = {"capabilities": capabilities, "metadata": metadata, "connected_at": now_ms}
        self.user = user
        if not self.context.hub.join(self):
            self.user, self.peer_id = None, ""
            raise dialect.error(Problem.ALREADY_ANNOUNCED, f"Peer already announced: {peer_id}")
        self.calls.on_call = partial(self.context.directory.add, user.id, self.calls)
        if not self.is_guest:
            self.calls.on_change = self._calls_changed
        self.context.gateway.connect(user.id, self.calls)
        self._hold()
        if not self.is_guest:
            # Once the result is out: the page first hears that it is signed in.
            asyncio.get_running_loop().call_soon(self._attend, user.id)
        others = self.context.hub.others(self)
        return {
            "peer_id": user.id,
            "peers_count": 1 + len(others),
            "other_peers": others,
        }

    def _hold(self) -> None:
        """Give way to no newcomer as a user, nor as a guest with a call."""
        if not self._is_gone:
            self._hold_socket(not self.is_guest or len(self.calls) > 0)

    def _attend(self, user_id: str) -> None:
        if not self._is_gone:
            self.context.gateway.attend(user_id, self)

    async def _identify(self, dialect: Dialect, peer_id: str, token: str | None) -> User:
        try:
            if token is None:
                user = await self.context.authenticator.guest(peer_id, passed_on=self._passed_on)
            else:
                user = await self.context.authenticator.user(peer_id, token, self._address)
                if user is None and (found := await self.context.authenticator.guest_by_link(peer_id, token)):
                    user, self._link = found
        except TooManyFailures:
            raise dialect.error(Problem.AUTHENTICATION, "Too many attempts, try again later") from None
        if user is None:
            self._refusals += 1
            if self._refusals >= _MAX_REFUSALS:
                # Later: the error itself is still to be sent.
                asyncio.get_running_loop().call_soon(self._outbox.close, Close.POLICY, "authentication failed")
            raise dialect.error(Problem.AUTHENTICATION, "Authentication required")
        return user

    def announced(self) -> User:
        """The user behind the connection; the dialect's error when it has not announced itself."""
        if self.user is None:
            raise self.dialect.error(Problem.NOT_ANNOUNCED, "Not announced: call announce first")
        return self.user

    @property
    def is_here_by_link(self) -> bool:
        """Whether it is a guest with the rights of a link and nothing beside them."""
        return self._link is not None

    def gone(self) -> None:
        """The socket is closed: end its calls, tell the others."""
        self._is_gone = True
        for stop in self._watches.values():
            stop()
        self._watches.clear()
        self.calls.close()  # first: a channel that is away must not be rung
        self.context.topics.forget(self)
        if self.user is not None:
            self.context.gateway.leave(self.user.id, self)
            self.context.gateway.disconnect(self.user.id, self.calls)
            self.context.hub.leave(self)

    # Calls.

    async def place(self, to: str, sdp: str, caller: User | None = None, inline: bool = False) -> Entry:
        """Call `to` through the gateway. With `inline`, the answer comes in the entry's future."""
        caller = caller or self.announced()
        if not is_target(to):
            raise self.not_found(to)
        if self.calls.full:
            raise self.dialect.error(Problem.LIMIT, "Too many calls on this connection")
        future = asyncio.get_running_loop().create_future() if inline else None
        use = await self._take_use(to)
        try:
            call = await self._placed(to, sdp, caller)
        except BaseException:
            await self._give_back(use)
            raise
        self.context.gateway.trace(call.id, "in", caller.id, "offer", sdp)
        return self.calls.placed(call, to, f"{caller.id}_{to}_{int(time.time() * 1000)}", future, sdp)

    async def _take_use(self, to: str) -> int | None:
        """One call of the link by which a guest is here, if by one; the dialect's error where it is for nobody else
        or has none left."""
        links = self.context.authenticator.links
        if self._link is None or links is None:
            return None
        use = await links.take(self._link) if to == self._link.to else None
        if use is None:
            raise self.not_found(to, Cause.FORBIDDEN)
        return use

    async def _give_back(self, use: int | None) -> None:
        links = self.context.authenticator.links
        if use is not None and self._link is not None and links is not None:
            await links.give_back(self._link, use)

    async def _placed(self, to: str, sdp: str, caller: User) -> WebCall:
        self.calls.placing()
        try:
            async with asyncio.timeout(self.context.settings.setup_timeout):
                return await self.context.gateway.place(self.calls, caller, to, sdp, self._address)
        except PlaceError as error:
            self.calls.not_placed()
            raise self.place_error(to, error, caller) from None
        except TimeoutError:
            self.calls.not_placed()
            raise self.dialect.error(Problem.TIMEOUT, Cause.NO_ANSWER.sentence, _cause_data(Cause.NO_ANSWER)) from None
        except BaseException:
            self.calls.not_placed()
            raise

    async def passing_guest(self) -> User:
        """The caller of an offer without an announcement: the announced user, or a guest for this call."""
        if self.user is not None:
            return self.user
        name = f"guest-{uuid.uuid4().hex[:12]}"
        guest = await self.context.authenticator.guest(name, passed_on=self._passed_on)
        if guest is None:
            raise self.dialect.error(Problem.AUTHENTICATION, "Authentication required")
        return guest

    def place_error(self, to: str, error: PlaceError, caller: User) -> codec.RpcError:
        """What the client is told of a call that the gateway did not take."""
        if error.cause is Cause.NOT_FOUND:
            return self.not_found(to)
        if error.cause is Cause.FORBIDDEN and not self.context.gateway.is_configured(caller.id):
            return self.not_found(to, Cause.FORBIDDEN)
        data = {"cause": error.cause.word, "status": error.status, "reason": error.cause.sentence}
        return self.dialect.error(problem_of(error.cause, error.status), str(error), data)

    def crosses(self) -> codec.RpcError:
        """Return the error of an offer that comes while another one is open: the client answers, and offers again."""
        return self.dialect.error(Problem.IN_PROGRESS, "Negotiation in progress", _cause_data(Cause.GLARE))

    def not_found(self, peer_id: str, cause: Cause = Cause.NOT_FOUND) -> codec.RpcError:
        """Nobody of that id: neither announced nor in a call with this client, nor known to the gateway.

        A guest hears the same, with the cause "forbidden", of everybody it may not call, there or not.
        """
        return self.dialect.error(Problem.NOT_FOUND, f"Peer not found: {peer_id}", _cause_data(cause))

    # PageInbox: what is told beside calls.

    def message(self, message: InstantMessage) -> None:
        user = self.context.gateway.user_of(message.sender)
        known = {} if user is None else {"from_user": user}
        self._notify(
            (
                "message",
                known
                | {
                    "message_id": message.id,
                    "from_peer_id": message.sender,
                    "from_name": message.sender_name,
                    "content_type": message.content_type,
                    "text": message.text,
                    "timestamp": int(message.sent_at * 1000),
                },
            )
        )

    def voicemail(self, new: int, old: int) -> None:
        self._notify(("voicemail", {"new": new, "old": old}))

    async def watch(self, peer_id: str) -> PresenceState:
        """What is seen of that user now; changes are told until `unwatch`. The dialect's error where none is seen."""
        watcher = self.announced()
        if peer_id not in self._watches and len(self._watches) >= self.context.settings.max_watches:
            raise self.dialect.error(Problem.LIMIT, "Too many people are watched on this connection")

        def told(state: PresenceState) -> None:
            self._notify(("presence", presence_params(peer_id, state)))

        try:
            state, stop = await self.context.gateway.watch_presence(watcher, peer_id, told)
        except PlaceError as error:
            raise self.place_error(peer_id, error, watcher) from None
        self.unwatch(peer_id)
        if self._is_gone:
            stop()
        else:
            self._watches[peer_id] = stop
        return state

    def unwatch(self, peer_id: str) -> None:
        """Be told no more; somebody who is not watched is no error."""
        stop = self._watches.pop(peer_id, None)
        if stop is not None:
            stop()

    def watch_room(self, room: str, begin: Callable[[Callable[[dict[str, Any]], None]], Callable[[], None]]) -> None:
        """Tell the client what happens in a room until `unwatch_room`; the dialect's error where it watches too many.

        `begin` has what it is given told, and returns what ends that.
        """
        key = _ROOM + room
        if key not in self._watches and len(self._watches) >= self.context.settings.max_watches:
            raise self.dialect.error(Problem.LIMIT, "Too much is watched on this connection")
        stop = begin(lambda event: self._notify(("room", event)))
        self.unwatch(key)
        self._watches[key] = stop

    def note(self, action: str, **details: Any) -> None:
        """Have the audit log say what the user has done."""
        self.context.authenticator.audit.add(action, self.announced().id, self._address, **details)

    def unwatch_room(self, room: str) -> None:
        """Be told no more; a room that is not watched is no error."""
        self.unwatch(_ROOM + room)

    # Relayed sessions, peer to peer.

    def offered_to(self, peer_id: str, sdp: str) -> str | None:
        """Relay an offer to a guest that this client may call: id of the offer; None: there is none, place a call."""
        target = self.context.hub.reach(self, peer_id, begins=True)
        if target is None:
            return None
        offer_id = self.offer_id(peer_id)
        target.relay_offer(self, offer_id, sdp, "offer")
        return offer_id

    def partner(self, peer_id: str) -> Device:
        """Return the device that takes an answer or a candidate; the dialect's error for nobody in reach."""
        target = self.context.hub.reach(self, peer_id, begins=False)
        if target is not None:
            return target
        may_call = not self.is_guest or self.context.gateway.may_call(self.announced(), peer_id)
        raise self.not_found(peer_id, Cause.NOT_FOUND if may_call else Cause.FORBIDDEN)

    def offer_id(self, peer_id: str) -> str:
        """Make the id of an offer to that peer."""
        return f"{self.peer_id}_{peer_id}_{int(time.time() * 1000)}"

    def relay_offer(self, source: Device, offer_id: str, sdp: str, kind: str) -> None:
        self.relayed.add(source.relayed.key)
        self._notify(self.dialect.offer(self.peer_id, source.peer_id, offer_id, sdp, kind))

    def relay_answer(self, source: str, sdp: str, kind: str) -> None:
        self._notify(self.dialect.answer(self.peer_id, source, sdp, kind))

    def relay_candidate(self, source: str, candidate: str, mid: str | None, index: int | None) -> None:
        self._notify(self.dialect.candidate(self.peer_id, source, candidate, mid, index))

    def relay_disconnect(self, source: str, reason: str | None) -> None:
        self._notify(self.dialect.disconnected(source, reason))

    def _calls_changed(self) -> None:
        for device in self.context.hub.devices(self.peer_id):
            device.notify_elsewhere()

    def elsewhere(self) -> list[Entry]:
        """Calls of the user's other devices."""
        held = self.context.directory.of_user(self.announced().id)
        return [one.entry for one in held if one.calls is not self.calls]

    def notify_elsewhere(self) -> None:
        calls = [shown(entry) for entry in self.elsewhere() if entry.state is State.ANSWERED]
        if calls != self._told_elsewhere:
            self._told_elsewhere = calls
            self._notify(("call.elsewhere", {"calls": calls}))

    @property
    def dialect_name(self) -> str:
        return type(self.dialect).__name__

    def joined_text(self, device: Device) -> str:
        return codec.notification(*self.dialect.joined(device.peer_id, device.listing))

    def left_text(self, peer_id: str) -> str:
        return codec.notification(*self.dialect.left(peer_id))

    def tell_text(self, text: str) -> None:
        self._outbox.send(text)

    # CallListener: what its calls tell.

    def tell_offer(self, entry: Entry, sdp: str, exchange: int) -> None:
        notice = self.dialect.offer(self.peer_id, entry.peer_id, entry.offer_id, sdp, "offer")
        extra: dict[str, Any] = {"exchange": exchange} if exchange else {}
        is_update = entry.state is not State.RINGING
        self._notify_call(
            entry, notice, from_name=entry.caller_name, verified=entry.verified, update=is_update, **extra
        )

    def tell_answer(self, entry: Entry, sdp: str | None) -> None:
        kind = "rollback" if sdp is None else "answer"
        self._notify_call(entry, self.dialect.answer(self.peer_id, entry.peer_id, sdp, kind))

    def tell_candidate(self, entry: Entry, candidate: str, mid: str | None) -> None:
        notice = self.dialect.candidate(self.peer_id, entry.peer_id, candidate, mid, None if not candidate else 0)
        self._notify_call(entry, notice)

    def tell_digit(self, entry: Entry, digit: str, duration_ms: int) -> None:
        notice = "dtmf", {"peer_id": entry.peer_id, "digit": digit, "duration": duration_ms}
        self._notify_call(entry, notice)

    def tell_held(self, entry: Entry, held: bool) -> None:
        self._notify_call(entry, ("call_held", {"peer_id": entry.peer_id, "held": held}))

    def tell_identified(self, entry: Entry, uri: str, name: str) -> None:
        told = {"peer_id": entry.peer_id, "uri": uri, "name": name, "verified": entry.verified}
        self._notify_call(entry, ("call_identified", told))

    def tell_recorded(self, entry: Entry) -> None:
        self._notify_call(entry, ("call_recorded", {"peer_id": entry.peer_id, "recording": entry.recording}))

    def tell_room(self, entry: Entry) -> None:
        told = {"peer_id": entry.peer_id, "room": entry.room, "member": entry.member}
        self._notify_call(entry, ("call_room", told))

    async def press(self, entry: Entry, digit: str, duration_ms: int) -> None:
        """Pass a digit on; raises the dialect's error where the other side has not got it."""
        if not await self.calls.press(entry, digit, duration_ms):
            raise self.dialect.error(Problem.REFUSED, "The other side did not take the digit", {"digit": digit})

    def tell_state(self, entry: Entry, state: State, cause: Cause | None) -> None:
        previous = self._note_state(entry, connection_state(state, cause))
        notice = self.dialect.call_state(entry, state, cause, previous, int(time.time() * 1000))
        self._notify_call(entry, notice)
        # Once the call is in the list, or out of it.
        asyncio.get_running_loop().call_soon(self._hold)

    def tell_connected(self, entry: Entry) -> None:
        previous = self._note_state(entry, "connected")
        notice = self.dialect.connected(entry, previous, int(time.time() * 1000))
        if notice is not None and previous != "connected":
            self._notify_call(entry, notice)

    def _note_state(self, entry: Entry, state: str) -> str:
        """Keep the word for how the connection is; the word before it."""
        previous = self._states.get(entry.call.id, "")
        self._states[entry.call.id] = state
        if len(self._states) > _KNOWN_AFTER_END:
            self._states.popitem(last=False)
        return previous

    def tell_disconnected(self, entry: Entry, cause: Cause) -> None:
        self._notify_call(entry, self.dialect.disconnected(entry.peer_id, cause.word))

    def tell_moved(self, entry: Entry) -> None:
        now_ms = int(time.time() * 1000)
        notice = self.dialect.call_state(entry, State.ENDED, Cause.ELSEWHERE, "", now_ms)
        self._notify(notice, call_id=entry.call.id)
        self._notify(self.dialect.disconnected(entry.peer_id, Cause.ELSEWHERE.word), call_id=entry.call.id)

    def tell_draining(self, seconds: float) -> None:
        self._notify(("server.draining", {"seconds": seconds}))

    def tell_goes_on_elsewhere(self, code: Close, reason: str) -> None:
        self._outbox.close(code, reason)

    def tell_signed_out(self) -> None:
        self._outbox.close(Close.POLICY, "sign in again")

    def repeat(self, entry: Entry, after: int) -> None:
        """Send again what was told of the call after that number."""
        for seq, method, params in list(entry.log):
            if seq > after:
                self._notify((method, params))

    def _notify_call(self, entry: Entry, notice: Notice, **extra: Any) -> None:
        method, params = notice
        entry.seq += 1
        params = params | extra | {"call_id": entry.call.id, "seq": entry.seq}
        entry.log.append((entry.seq, method, params))
        self._trace(entry, "out", method, params)
        self._notify((method, params))

    def _trace(self, entry: Entry, direction: str, method: str, params: dict[str, Any]) -> None:
        text = params.get("sdp") or json.dumps(params, ensure_ascii=False)
        title = " ".join(filter(None, (method, params.get("state"))))
        self.context.gateway.trace(entry.call.id, direction, self.peer_id or "guest", title, text)

    def heard(self, entry: Entry, method: str, params: dict[str, Any]) -> None:
        """The client said this about a call of its own."""
        self._trace(entry, "in", method, params)

    def tell(self, method: str, params: dict[str, Any]) -> None:
        self._notify((method, params))

    def _notify(self, notice: Notice, **extra: Any) -> None:
        method, params = notice
        self._outbox.send(codec.notification(method, params | extra))


def presence_params(peer_id: str, state: PresenceState) -> dict[str, Any]:
    """Somebody's presence as clients are told it."""
    return {"peer_id": peer_id, "status": state.activity.value, "note": state.note}


def _cause_data(cause: Cause) -> dict[str, Any]:
    return {"cause": cause.word, "status": cause.status, "reason": cause.sentence}
