"""A scripted gateway for the web room's tests: it records what it is asked and says what the test wants."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from websockets.asyncio.client import ClientConnection, connect

from gateway.call.leg import TransferReport, Verdict
from gateway.call.status import Cause
from gateway.identity.lookalike import skeleton
from gateway.identity.model import User
from gateway.people.board import Board
from gateway.people.messages import Outcome
from gateway.people.presence import Activity, PresenceState
from gateway.web.app import WaysIn, WebServer, WebSettings, create_app, serve
from gateway.web.auth.links import GuestLinks
from gateway.web.auth.oidc import OpenIdProvider
from gateway.web.conferencing import AgentConnection, RefusedError
from gateway.web.facade import AccountError, LeftCall, PageInbox, PlaceError, UserDirectory, WebChannel
from gateway.web.outbox import Outbox
from gateway.web.push.sender import PushSender, read_key
from gateway.web.push.subscriptions import Subscriptions

SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\n"
ANSWER = SDP.replace("- 1 1", "- 2 2")


@dataclass(eq=False)
class FakeCall:
    """Records what the channel does with it; `log` holds (method, arguments)."""

    id: str
    channel: WebChannel
    to: str = ""
    caller: User | None = None
    offer: str = ""
    log: list[tuple[Any, ...]] = field(default_factory=list)
    on_event: Callable[[FakeCall, tuple[Any, ...]], None] | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    unanswered: list[int] = field(default_factory=list)
    """Numbers of the offers that its client has not answered."""
    offered: int = 0
    named: list[int] = field(default_factory=list)
    """Which offers the answers to them have named; 0: none."""
    takes_digits: bool | None = True
    """Whether the other side gets them; None: nobody ever says."""

    def _note(self, *event: Any) -> None:
        self.log.append(event)
        self.changed.set()
        if self.on_event is not None:
            self.on_event(self, event)

    def limit_of(self, cause: Cause) -> tuple[str, int | None]:
        return "", None

    def ring(self) -> None:
        self._note("ring")

    def answer(self, sdp: str) -> None:
        self._note("answer", sdp)

    def reject(self, cause: Cause) -> None:
        self._note("reject", cause)

    def hangup(self, cause: Cause = Cause.NORMAL) -> None:
        self._note("hangup", cause)

    def candidate(self, candidate: str, mid: str | None) -> None:
        self._note("candidate", candidate, mid)

    def digit(self, digit: str, duration_ms: int, told: Callable[[bool], None]) -> None:
        self._note("digit", digit, duration_ms)
        if self.takes_digits is not None:
            told(self.takes_digits)

    def update(self, sdp: str) -> None:
        self._note("update", sdp)

    def offers(self, sdp: str) -> None:
        """The gateway changes the call."""
        self.offered += 1
        self.unanswered.append(self.offered)
        self.channel.updated(self, sdp, "offer")

    @property
    def open_offer(self) -> int:
        return self.unanswered[-1] if self.unanswered else 0

    def update_answer(self, sdp: str | None, exchange: int = 0) -> bool:
        if not self.unanswered or exchange not in (0, *self.unanswered):
            return False
        self.named.append(exchange)
        del self.unanswered[: self.unanswered.index(exchange or self.unanswered[0]) + 1]
        self._note("update_answer", sdp)
        return True

    def transfer(self, to: str, consultation: str | None, report: TransferReport) -> None:
        self.report = report
        self._note("transfer", to, consultation)

    def away(self) -> None:
        self._note("away")

    def returned(self, channel: WebChannel, sdp: str | None) -> None:
        self.returned_to = channel
        self._note("returned", sdp)

    async def happens(self, *event: Any) -> None:
        """Wait until the channel has done that."""
        async with asyncio.timeout(30):
            while event not in self.log:
                self.changed.clear()
                await self.changed.wait()


Script = Callable[[FakeCall], Any]


class _Listed:
    def __init__(self, gateway: FakeGateway) -> None:
        self._gateway = gateway

    async def listed(self) -> list[dict[str, Any]]:
        plain = {"display_name": "", "web": True, "sip": False, "phones": 0}
        gateway = self._gateway
        return [
            {"id": name, "role": gateway.roles.get(name, "user"), "pages": len(gateway.channels.get(name, ()))} | plain
            for name in gateway.secrets
        ]


class FakeAgents:
    """Lets no program in."""

    def admits(self, name: str, token: str) -> bool:
        return False

    def connected(self, name: str, outbox: Outbox) -> AgentConnection:
        raise AssertionError("nobody was admitted")


class FakePersonalRooms:
    """Room 8000 of alice's; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.refusal: RefusedError | None = None

    def _done(self, *what: Any) -> dict[str, Any]:
        self.asked.append(what)
        if self.refusal is not None:
            raise self.refusal
        shown = {"room": "8000", "title": "Round", "by": "alice", "has_pin": True, "used": False}
        return shown | {"since": 1.0, "ends": 2.0}

    def may_open(self, user: User) -> bool:
        return True

    def listed(self, user: User) -> list[dict[str, Any]]:
        return [self._done("opened", user.id)]

    async def open(self, user: User, title: str, number: str | None, pin: str | None) -> dict[str, Any]:
        return self._done("open", user.id, title, number, pin) | {"pin": "471147"}

    async def change(self, user: User, number: str, title: str | None, pin: str | None) -> dict[str, Any]:
        return self._done("change", user.id, number, title, pin)

    async def close(self, user: User, number: str) -> None:
        self._done("close", user.id, number)


class FakeRooms:
    """A room "team" with alice in it, and one recording; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.refusal: RefusedError | None = None
        self.watchers: list[Callable[[dict[str, Any]], None]] = []
        self.folder = Path()
        self.agents = FakeAgents()
        self.personal = FakePersonalRooms()

    def _asked(self, *what: Any) -> None:
        self.asked.append(what)
        if self.refusal is not None:
            raise self.refusal

    def is_linked_room(self, room: str) -> bool:
        return False

    def room_link(self, room: str) -> str:
        raise AssertionError("no room is linked")

    def watch_phones(self, room: str, told: Callable[[str, bool], None]) -> Callable[[], None]:
        raise AssertionError("no room is linked")

    def list_rooms(self, user: User) -> list[dict[str, Any]]:
        self._asked("list", user.id)
        return [{"name": "team", "members": 1, "locked": False, "recording": False, "speaker": None}]

    def room_members(self, user: User, room: str) -> dict[str, Any]:
        self._asked("members", user.id, room)
        member = {"id": "1", "uri": "sip:alice@x", "display_name": "Alice", "user": "alice", "muted": False}
        member |= {"video": True, "sees": "2", "pictures": {"v1": "2"}}
        state = {"locked": False, "recording": False, "speaker": "1", "moderates": True}
        return {"name": room, "members": [member]} | state

    async def change_room(self, user: User, room: str, action: str, member: str = "") -> None:
        self._asked("change", user.id, room, action, member)

    def watch_room(self, user: User, room: str, told: Callable[[dict[str, Any]], None]) -> Callable[[], None]:
        self._asked("watch", user.id, room)
        self.watchers.append(told)
        return lambda: self.watchers.remove(told)

    def rights(self, user: User) -> dict[str, bool]:
        self._asked("rights", user.id)
        return {"record": True, "voicemail": True}

    async def play_sound(self, call_id: str, sound: str, party: str | None) -> None:
        raise RefusedError("There is no such sound (media.sounds)", 404)

    async def transfer_call(self, user: User, call_id: str, to: str, party: str | None) -> None:
        self._asked("transfer", user.id, call_id, to, party)

    def stop_sound(self, call_id: str) -> None:
        raise RefusedError("There is no such call", 404)

    def record_call(self, user: User, call_id: str, *, on: bool) -> None:
        self._asked("record", user.id, call_id, on)

    async def merge_calls(self, user: User, call_ids: list[str]) -> str:
        self._asked("merge", user.id, *call_ids)
        return "room-1"

    async def list_voicemail(self, user: User) -> list[dict[str, Any]]:
        self._asked("voicemail", user.id)
        return [{"id": "m", "caller": "sip:b@x", "display_name": "", "at": 1.0, "seconds": 2.0, "new": True}]

    async def voicemail(self, user: User, message_id: str) -> Path:
        self._asked("message", user.id, message_id)
        return self.folder / message_id

    async def remove_voicemail(self, user: User, message_id: str) -> None:
        self._asked("remove message", user.id, message_id)

    async def list_recordings(self) -> list[dict[str, Any]]:
        self._asked("recordings")
        return [{"name": "a.wav", "size": 44, "call": "x"}]

    async def recording(self, name: str) -> Path:
        self._asked("recording", name)
        return self.folder / name

    async def remove_recording(self, name: str) -> None:
        self._asked("remove", name)


class FakeGateway:
    """Users alice (wonder) and bob (builder); `script` says what becomes of a placed call."""

    def __init__(self) -> None:
        self.secrets = {"alice": "wonder", "bob": "builder"}
        self.guests_allowed = True
        self.guests_may_call: tuple[str, ...] = ("*",)
        self.roles: dict[str, str] = {}
        self.aliases: dict[str, tuple[str, ...]] = {}
        self.unseen: set[str] = set()
        self.channels: dict[str, list[WebChannel]] = {}
        self.inboxes: dict[str, list[PageInbox]] = {}
        self.messages: list[tuple[str, str, str, str]] = []
        self.message_outcome = Outcome.DELIVERED
        self.board: Board[PresenceState] = Board(PresenceState())
        self.said: list[tuple[str, PresenceState | None]] = []
        self.calls: list[FakeCall] = []
        self.traced: list[dict[str, Any]] = []
        self.accounts: dict[str, dict[str, Any]] = {}
        self.bans: dict[str, dict[str, Any]] = {}
        self.conferencing = FakeRooms()
        self.script: Script = lambda call: call.channel.early_answer(call, ANSWER)
        self.rules: dict[str, Any] = {"always": None, "busy": None, "do_not_disturb": False}
        self.left: dict[tuple[str, str], LeftCall] = {}
        self.sessions: list[LeftCall] = []
        self.active = 0
        self.attempts = 0
        self.status = "ok"
        self.reload_refused: str | None = None
        self.placed = asyncio.Event()

    async def authenticate(self, user: str, secret: str | None) -> User | None:
        self.attempts += 1
        if user == "" and secret == "token-of-alice":
            user, secret = "alice", "wonder"
        if user in self.secrets:
            return User(user, web=True) if self.secrets[user] == secret else None
        return User(user, may_call=self.guests_may_call) if self.guests_allowed and secret is None else None

    def is_configured(self, user_id: str) -> bool:
        return user_id.casefold() in self.secrets

    def resembles_user(self, name: str) -> bool:
        return skeleton(name) in map(skeleton, self.secrets)

    def find_user(self, name: str) -> User | None:
        known = next((user for user, names in self.aliases.items() if {name, f"sip:{name}"} & {*names}), name.lower())
        if known not in self.secrets:
            return None
        return User(known, web=True, role=self.roles.get(known, "user"), aliases=self.aliases.get(known, ()))

    def credential_mark(self, user_id: str) -> str | None:
        return self.secrets.get(user_id)

    def user_of(self, uri: str) -> str | None:
        name, _, host = uri.removeprefix("sip:").partition("@")
        return name if host == "gateway.example" and name in self.secrets else None

    def may_call(self, user: User, target: str) -> bool:
        return user.may_call == ("*",) or target in user.may_call

    @property
    def visibility(self) -> Hashable:
        return frozenset(self.unseen)

    def may_see(self, user: User, peer_id: str) -> bool:
        return peer_id not in self.unseen

    def connect(self, user_id: str, channel: WebChannel) -> None:
        self.channels.setdefault(user_id, []).append(channel)

    def disconnect(self, user_id: str, channel: WebChannel) -> None:
        self.channels[user_id].remove(channel)

    def attend(self, user_id: str, inbox: PageInbox) -> None:
        self.inboxes.setdefault(user_id, []).append(inbox)

    def leave(self, user_id: str, inbox: PageInbox) -> None:
        if inbox in self.inboxes.get(user_id, []):
            self.inboxes[user_id].remove(inbox)

    async def send_message(self, sender: User, to: str, text: str, content_type: str = "text/plain") -> Outcome:
        self.messages.append((sender.id, to, text, content_type))
        return self.message_outcome

    async def watch_presence(
        self, watcher: User, target: str, told: Callable[[PresenceState], None]
    ) -> tuple[PresenceState, Callable[[], None]]:
        if target == "nobody":
            raise PlaceError(Cause.NOT_FOUND)
        if target == "hidden":
            raise PlaceError(Cause.FORBIDDEN)
        self.board.set(target, PresenceState(Activity.AVAILABLE))
        return self.board.of(target), self.board.watch(target, told)

    def set_presence(self, user: User, state: PresenceState | None) -> None:
        self.said.append((user.id, state))

    async def place(self, channel: WebChannel, caller: User, to: str, sdp: str, source: str = "") -> FakeCall:
        if to == "nobody":
            raise PlaceError(Cause.NOT_FOUND)
        if to == "forbidden" or (caller.may_call and not self.may_call(caller, to)):
            raise PlaceError(Cause.FORBIDDEN)
        if to == "full":
            raise PlaceError(Cause.OVERLOADED)
        if to == "malformed":
            raise PlaceError(Cause.ERROR, "SDP line 1: no version", 400)
        if to == "codec":
            raise PlaceError(Cause.NOT_ACCEPTABLE)
        if to == "crash":
            raise KeyError("secret detail")
        call = FakeCall(f"call-{len(self.calls) + 1}", channel, to, caller, sdp)
        self.calls.append(call)
        self.placed.set()
        result = self.script(call)
        if asyncio.iscoroutine(result):
            await result
        return call

    def ring_user(
        self,
        user_id: str,
        caller: str = "sip:1001@gateway.example",
        name: str = "Desk",
        verified: Verdict = "none",
    ) -> FakeCall:
        """An incoming call for the user's last channel."""
        channel = self.channels[user_id][-1]
        call = FakeCall(f"call-{len(self.calls) + 1}", channel)
        self.calls.append(call)
        channel.incoming(call, caller, name, SDP, verified)
        return call

    async def call_to_come(self, user_id: str, call_id: str) -> bool:
        return False

    def watch_left_sessions(self, take: Callable[[LeftCall], None]) -> None:
        self.take_session = take
        for left in self.sessions:
            take(left)

    def left_call(self, user_id: str, call_id: str) -> LeftCall | None:
        return self.left.get((user_id, call_id))

    def forwarding(self, user: User) -> dict[str, Any]:
        return dict(self.rules)

    def forward(self, user: User, changes: dict[str, Any]) -> dict[str, Any]:
        if "0" in changes.values():
            raise PlaceError(Cause.FORBIDDEN, "no outside line")
        self.rules |= changes
        return dict(self.rules)

    def ice_servers(self, client: str, user: str | None) -> list[dict[str, Any]]:
        stun: list[dict[str, Any]] = [{"urls": ["stun:stun.example.com:3478"]}]
        return stun if user is None else [*stun, {"urls": ["turn:t"], "username": user or "guest", "credential": "c"}]

    def list_calls(self) -> list[dict[str, Any]]:
        return [
            {
                "id": call.id,
                "caller": "sip:a@x",
                "dialled": call.to,
                "state": "connected",
                "seconds": 1.0,
                "parties": [],
            }
            for call in self.calls
            if ("stopped",) not in call.log
        ]

    async def call_details(self, call_id: str) -> dict[str, Any] | None:
        found = next((call for call in self.list_calls() if call["id"] == call_id), None)
        stream = {"packets": 5, "lost": 1, "jitter_ms": 1.5, "codec": "opus", "mos": 4.2}
        text = {"received": 3, "sent": 4, "missing": 0, "dropped": 0, "malformed": 0}
        media = [{"party": "sip:a@x", "received": stream, "sent": stream, "text": text}]
        return None if found is None else found | {"media": media, "messages": self.traced}

    def trace(self, call_id: str, direction: str, user: str, title: str, text: str) -> None:
        self.traced.append({"at": 1.0, "direction": direction, "peer": f"web:{user}", "title": title, "text": text})

    async def reload(self) -> dict[str, Any]:
        if self.reload_refused is not None:
            raise AccountError(self.reload_refused, 409)
        return {"applied": ["users"], "waiting": ["web.listen"], "certificates": []}

    def end_call(self, call_id: str) -> bool:
        for call in self.calls:
            if call.id == call_id and ("stopped",) not in call.log:
                call.log.append(("stopped",))
                return True
        return False

    @property
    def users(self) -> UserDirectory:
        """The real one over a store in memory is in tests/app/test_users.py; here it can only be read."""
        return cast("UserDirectory", _Listed(self))

    def list_bans(self) -> list[dict[str, Any]]:
        return list(self.bans.values())

    def lift_ban(self, address: str) -> bool:
        return self.bans.pop(address, None) is not None

    def list_trunks(self) -> list[dict[str, Any]]:
        return [{"name": "office", "uri": "sip:pbx.example", "registered": True, "reachable": True, "places": []}]

    def list_accounts(self) -> list[dict[str, Any]]:
        return list(self.accounts.values())

    def account_of(self, user_id: str) -> dict[str, Any] | None:
        return self.accounts.get(user_id)

    def list_registrars(self, *, by_user: bool = False) -> list[str]:
        return ["office"]

    async def set_account(self, user_id: str, given: dict[str, str | None], *, by_user: bool) -> dict[str, Any]:
        if given["registrar"] != "office":
            raise AccountError("There is no such registrar (accounts.registrars)", 404)
        shown = {"user": user_id, "registrar": "office", "username": given["username"]}
        self.accounts[user_id] = shown | {"configured": False, "state": "registering", "status": 0}
        return self.accounts[user_id]

    async def remove_account(self, user_id: str, *, by_user: bool) -> bool:
        return self.accounts.pop(user_id, None) is not None

    def health(self) -> dict[str, Any]:
        return {"active_calls": self.active, "status": self.status}


@contextlib.asynccontextmanager
async def running(
    gateway: FakeGateway,
    settings: WebSettings | None = None,
    port: int = 0,
    provider: OpenIdProvider | None = None,
    links: GuestLinks | None = None,
) -> AsyncIterator[WebServer]:
    """The front ends of `gateway` on loopback, on a free port unless it is said."""
    settings = settings or WebSettings(open_rooms=True)
    subscriptions = Subscriptions(None, gateway.credential_mark)
    push = PushSender(subscriptions, read_key(None), "mailto:postmaster@gateway.example", services=())
    app = create_app(gateway, settings, WaysIn(push=push, provider=provider, links=links))
    server = await serve(app, "127.0.0.1", port, settings=settings)
    try:
        yield server
    finally:
        await server.stop()


class RpcClient:
    """A JSON-RPC client: responses by id, notifications in order."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.inbox: list[dict[str, Any]] = []
        self._ids = 0

    async def frame(self) -> Any:
        """The next frame as it comes."""
        async with asyncio.timeout(30):
            return json.loads(await self.socket.recv())

    async def request(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a request and wait for its response; what comes before goes to `inbox`."""
        self._ids += 1
        await self.send({"jsonrpc": "2.0", "method": method, "params": params, "id": self._ids})
        while True:
            frame: dict[str, Any] = await self.frame()
            if isinstance(frame, dict) and "method" not in frame:
                assert frame["id"] == self._ids
                return frame
            self.inbox.append(frame)

    async def ok(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a request that succeeds."""
        response = await self.request(method, **params)
        assert "result" in response, response
        result: dict[str, Any] = response["result"]
        return result

    async def fails(self, method: str, **params: Any) -> dict[str, Any]:
        """The error of a request that fails."""
        response = await self.request(method, **params)
        assert "error" in response, response
        error: dict[str, Any] = response["error"]
        return error

    async def notify(self, method: str, **params: Any) -> None:
        """Send a notification."""
        await self.send({"jsonrpc": "2.0", "method": method, "params": params})

    async def send(self, value: Any) -> None:
        """Send any JSON."""
        await self.socket.send(json.dumps(value))

    async def notified(self, method: str, **match: Any) -> dict[str, Any]:
        """The next notification of that method (with those members), others before it are dropped."""
        while True:
            frame = self.inbox.pop(0) if self.inbox else await self.frame()
            if frame.get("method") == method and match.items() <= frame["params"].items():
                params: dict[str, Any] = frame["params"]
                return params

    async def next_notice(self) -> tuple[str, dict[str, Any]]:
        """The next notification, whatever it is."""
        frame = self.inbox.pop(0) if self.inbox else await self.frame()
        return frame["method"], frame["params"]

    async def silent(self) -> None:
        """Nothing waits: a request is answered first."""
        assert self.inbox == []
        await self.request("server.info")
        assert self.inbox == []


@contextlib.asynccontextmanager
async def rpc(server: WebServer, peer_id: str | None = None, **params: Any) -> AsyncIterator[RpcClient]:
    """A client on /rpc, announced as `peer_id` if given."""
    async with connect(f"ws://127.0.0.1:{server.port}/rpc", compression=None, open_timeout=30) as socket:
        client = RpcClient(socket)
        if peer_id is not None:
            await client.ok("announce", peer_id=peer_id, **params)
        yield client
