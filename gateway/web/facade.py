"""What the web front ends ask of the gateway, and what the gateway tells them.

A *channel* is one front end's way to one browser: a JSON-RPC peer or an HTTP session.
A *call* is the handle the gateway gives it. Both directions are synchronous and never block;
what takes time comes back as a later call of the other side.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.call.leg import TransferReport, Verdict
from gateway.call.status import Cause
from gateway.errors import GatewayError
from gateway.identity.model import User
from gateway.people.messages import InstantMessage, Outcome
from gateway.people.presence import PresenceState
from gateway.web.conferencing import Conferencing

STATUSES = ("ok", "degraded", "failed", "draining", "overloaded", "full")
"""Statuses of a gateway: it takes new calls while `READY`; of two that hold, the more lasting one is given."""
GUEST = ""
"""User of `Gateway.ice_servers` who may call without an account."""
READY = frozenset({"ok", "degraded"})
"""Statuses of a gateway that takes new calls."""


class PlaceError(GatewayError):
    """A call that could not be placed: nobody there, not allowed, nothing in common, no room."""

    def __init__(
        self, cause: Cause, reason: str = "", status: int | None = None, *, retry_after: int | None = None
    ) -> None:
        super().__init__(reason or cause.sentence)
        self.cause = cause
        self.retry_after = retry_after
        """Seconds after which it may be tried again, where that is known."""
        self.status = cause.status if status is None else status
        """The cause's SIP status, or 400 for a description that cannot be read."""


class AccountError(GatewayError):
    """A user, an identity or a SIP account that is not changed; the sentence is for whoever asked, `status` HTTP's."""

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason)
        self.status = status


class WebCall(Protocol):
    """One call as its channel sees it. Every method may be called at any time; late ones do nothing."""

    @property
    def id(self) -> str: ...

    def limit_of(self, cause: Cause) -> tuple[str, int | None]:
        """Return the limit for which the call ended with `cause` ("": none), and seconds until a next try."""

    def ring(self) -> None: ...

    def answer(self, sdp: str) -> None: ...

    def reject(self, cause: Cause) -> None: ...

    def hangup(self, cause: Cause = Cause.NORMAL) -> None: ...

    def candidate(self, candidate: str, mid: str | None) -> None: ...

    def digit(self, digit: str, duration_ms: int, told: Callable[[bool], None]) -> None:
        """One DTMF digit; `told` hears once whether the other side has got it, unless the call ends before."""

    def update(self, sdp: str) -> None: ...

    @property
    def open_offer(self) -> int:
        """Number of the offer, brought by `WebChannel.updated`, whose answer the gateway waits for; 0: none."""

    def update_answer(self, sdp: str | None, exchange: int = 0) -> bool:
        """Answer the offer of that number, 0 the oldest that is not answered; None refuses it. False: there is none."""

    def transfer(self, to: str, consultation: str | None, report: TransferReport) -> None:
        """Leave the call to whoever `to` means, or to the other side of the user's call `consultation`."""

    def away(self) -> None:
        """The channel's socket has gone: the call waits `limits.reattach_time` for `returned`."""

    def returned(self, channel: WebChannel, sdp: str | None) -> None:
        """The client is back over `channel`; `sdp` its new offer (answered by `updated`), None: its media stood."""


@dataclass(slots=True, kw_only=True)
class LeftCall:
    """A call that a page had at the gateway's process before this one."""

    user: str
    call: WebCall
    peer_id: str
    """Whom the page knows it by: what it dialled, or the caller's URI."""
    name: str
    outgoing: bool
    cause: Cause | None = None
    """Why it has ended, before its page has come back; None: it goes on."""
    session: Mapping[str, Any] | None = None
    """As `WebChannel.session` gave it; None for the call of a page."""
    age: float = 0.0
    """Seconds from its beginning until this process found it, by no clock that can be set."""


class WebChannel(Protocol):
    """Implemented here, called by the gateway's web leg; tolerates being called after its socket has gone."""

    @property
    def can_update(self) -> bool: ...

    @property
    def session(self) -> Mapping[str, Any] | None:
        """What the next process needs to answer for the call over requests of its client; None: it has a connection."""

    def incoming(self, call: WebCall, caller_uri: str, caller_name: str, sdp: str, verified: Verdict = "none") -> None:
        """Callee role: an offer for this user; `verified` is what the caller's trunk says of its number."""

    def early_answer(self, call: WebCall, sdp: str) -> None:
        """Caller role: the answer, before the callee rings."""

    def ringing(self, call: WebCall, sdp: str | None) -> None: ...

    def answered(self, call: WebCall, sdp: str | None) -> None:
        """Caller role: accepted; `sdp` None means that the early answer stands."""

    def updated(self, call: WebCall, sdp: str | None, kind: str) -> None:
        """`kind` "offer": answer it with `update_answer`; "answer": of `update`, None when refused."""

    def candidate(self, call: WebCall, candidate: str, mid: str | None) -> None: ...

    def connected(self, call: WebCall) -> None:
        """Its media can flow: ICE and DTLS are up; again after each of its new connections."""

    def digit(self, call: WebCall, digit: str, duration_ms: int) -> None:
        """The other side has pressed a digit."""

    def held(self, call: WebCall, held: bool) -> None:
        """The other side holds the call now, or has taken it back."""

    def identified(self, call: WebCall, uri: str, name: str, verified: Verdict = "none") -> None:
        """The other side is somebody else now (a transfer, a pick-up), or called otherwise; `verified` as at first."""

    def recorded(self, call: WebCall, recording: bool) -> None:
        """The call, or the room it is in, is recorded from now on, or no more."""

    def in_room(self, call: WebCall, room: str, member: str) -> None:
        """The call is in a conference room under that member's id; "" for both: in none."""

    def ended(self, call: WebCall, cause: Cause) -> None: ...

    def moved(self, call: WebCall) -> None:
        """Another gateway goes on with it: the client is to look for it there."""

    def draining(self, seconds: float, elsewhere: bool) -> None:
        """The gateway takes no new calls and ends in so many seconds at the latest; `elsewhere`: others take them."""

    def signed_out(self) -> None:
        """Its user is no more, or has other rights: the client has to sign in again."""


class PlacedChannel:
    """The part of a WebChannel that one which only places calls, and has nothing to show, does not look at."""

    can_update = False

    @property
    def session(self) -> Mapping[str, Any] | None:
        return None

    def incoming(self, call: WebCall, caller_uri: str, caller_name: str, sdp: str, verified: Verdict = "none") -> None:
        call.reject(Cause.UNAVAILABLE)

    def candidate(self, call: WebCall, candidate: str, mid: str | None) -> None:
        """Our candidates are in the answer; there is no way to send another."""

    def connected(self, call: WebCall) -> None:
        """Its browser sees that for itself."""

    def digit(self, call: WebCall, digit: str, duration_ms: int) -> None: ...

    def held(self, call: WebCall, held: bool) -> None: ...

    def identified(self, call: WebCall, uri: str, name: str, verified: Verdict = "none") -> None: ...

    def recorded(self, call: WebCall, recording: bool) -> None:
        """The beep tells."""

    def in_room(self, call: WebCall, room: str, member: str) -> None: ...

    def moved(self, call: WebCall) -> None:
        """It takes no call up again."""

    def draining(self, seconds: float, elsewhere: bool) -> None:
        """Its next request is answered 503."""

    def signed_out(self) -> None:
        """Each of its requests shows who asks."""


class PageInbox(Protocol):
    """One signed-in page beside its calls; tolerates being told after its socket has gone."""

    def message(self, message: InstantMessage) -> None:
        """Somebody has written."""

    def voicemail(self, new: int, old: int) -> None:
        """So many voice messages wait for its user."""


class UserDirectory(Protocol):
    """Users and identities: those of the configuration to be read, those that administrators make to be changed.

    Each method that changes raises AccountError.
    """

    async def listed(self) -> list[dict[str, Any]]:
        """The fields of `User`, and configured, pages, phones (registered contacts) of every user."""

    async def shown(self, user_id: str) -> dict[str, Any] | None:
        """The same of one; None: there is none."""

    async def make(self, values: dict[str, Any]) -> dict[str, Any]:
        """A new user of these fields, with `password`: "auto" makes one, which is in the answer; None: it has none."""

    async def change(self, user_id: str, values: dict[str, Any]) -> dict[str, Any]:
        """Change these fields; its pages have to sign in again."""

    async def remove(self, user_id: str) -> None:
        """Forget the user; its calls end, its phones are registered no more."""

    def identities(self) -> list[dict[str, Any]]:
        """uri, user, configured of every alias."""

    def identity_of(self, uri: str) -> dict[str, Any] | None:
        """The same of whoever a URI means, by alias, id or rule; None: nobody."""

    async def set_identity(self, uri: str, user_id: str) -> dict[str, Any]:
        """Have a URI mean that user."""

    async def remove_identity(self, uri: str) -> None:
        """It means nobody any more."""


class Gateway(Protocol):
    """What front ends ask for."""

    @property
    def conferencing(self) -> Conferencing:
        """Rooms and recordings."""

    async def authenticate(self, user: str, secret: str | None) -> User | None:
        """Who that is; None: refused. Unknown ids are guests where guests are allowed."""

    def is_configured(self, user_id: str) -> bool:
        """Whether the id belongs to somebody (user, alias): nobody else may announce it."""

    def resembles_user(self, name: str) -> bool:
        """Return True where people take `name` for one of a configured user."""

    def find_user(self, name: str) -> User | None:
        """The web user of that id or alias, in any case and width of its letters."""

    def credential_mark(self, user_id: str) -> str | None:
        """A text that changes with the user's password; None for nobody of ours."""

    def may_call(self, user: User, target: str) -> bool:
        """Whether `user` may dial `target`."""

    def may_see(self, user: User, peer_id: str) -> bool:
        """Whether `user` is told that `peer_id` is there; guests are seen by everybody."""

    @property
    def visibility(self) -> Hashable:
        """Another value once `may_see` or `may_call` may say otherwise than before of the same user."""

    def connect(self, user_id: str, channel: WebChannel) -> None: ...

    def disconnect(self, user_id: str, channel: WebChannel) -> None: ...

    async def place(self, channel: WebChannel, caller: User, to: str, sdp: str, source: str = "") -> WebCall:
        """Call `to`; `source` is the client's IP address. Raises PlaceError.

        Channel events may come before it returns; cancelling abandons.
        """

    def left_call(self, user_id: str, call_id: str) -> LeftCall | None:
        """The call of that id which this user had at the process before this one."""

    def watch_left_sessions(self, take: Callable[[LeftCall], None]) -> None:
        """Hand `take` each call with a `session` that the process before this one had, or a gateway that is gone."""

    async def call_to_come(self, user_id: str, call_id: str) -> bool:
        """Wait for the call of that id which a gateway that is gone had; whether `left_call` has it now."""

    def user_of(self, uri: str) -> str | None:
        """Id of the user that a SIP URI of ours means; None for everybody else's."""

    def attend(self, user_id: str, inbox: PageInbox) -> None:
        """Have `inbox` told what is meant for this configured user, what was kept first."""

    def leave(self, user_id: str, inbox: PageInbox) -> None: ...

    async def send_message(self, sender: User, to: str, text: str, content_type: str = "text/plain") -> Outcome:
        """Write to whoever `to` means, as `place` calls them."""

    async def watch_presence(
        self, watcher: User, target: str, told: Callable[[PresenceState], None]
    ) -> tuple[PresenceState, Callable[[], None]]:
        """What `watcher` sees of whom `target` means; `told` hears of changes until what is returned is called.

        Raises PlaceError: NOT_FOUND for nobody of ours, FORBIDDEN for who may not be seen.
        """

    def set_presence(self, user: User, state: PresenceState | None) -> None:
        """What `user` says of itself to others while a page is open; None: what is found out."""

    def forwarding(self, user: User) -> dict[str, Any]:
        """always, busy, no_answer (numbers or None), after (seconds), do_not_disturb of calls to this user."""

    def forward(self, user: User, changes: dict[str, Any]) -> dict[str, Any]:
        """Change some of these; all of them as they stand then. Raises PlaceError for a number it may not dial."""

    def ice_servers(self, client: str, user: str | None) -> list[dict[str, Any]]:
        """Return RTCIceServer objects for the client at that address; `user` None: it may not call; or `GUEST`."""

    def list_calls(self) -> list[dict[str, Any]]:
        """id, caller, dialled, state, seconds, parties of every call now."""

    async def call_details(self, call_id: str) -> dict[str, Any] | None:
        """One call, or one that ended lately: what `list_calls` says, with `media` and `messages`; None: not known.

        `media`: party, received and sent (media.engine.StreamStatistics) of each side; `messages`: at (Unix seconds),
        direction ("in" to us, "out"), peer, title, text of each, SIP and web on one time line.
        """

    def trace(self, call_id: str, direction: str, user: str, title: str, text: str) -> None:
        """One message of a web call passes, "in" to us or "out"."""

    def end_call(self, call_id: str) -> bool:
        """End a call from the gateway's side; False when there is none of that id."""

    async def reload(self) -> dict[str, Any]:
        """Read the configuration again: `applied` and `waiting` (for a restart) keys, `certificates` not renewed.

        Raises AccountError, and nothing has changed.
        """

    @property
    def users(self) -> UserDirectory: ...

    def list_bans(self) -> list[dict[str, Any]]:
        """address, reason, since, until (Unix seconds), silenced of every SIP source that is not answered."""

    def lift_ban(self, address: str) -> bool:
        """Answer a SIP source again; False where it was not banned."""

    def list_trunks(self) -> list[dict[str, Any]]:
        """name, uri, registered, reachable, places ([{uri, reachable}]) of every trunk; None: not known."""

    def list_accounts(self) -> list[dict[str, Any]]:
        """user, registrar, username, configured, state, status of every user's own SIP account.

        `state`: "registering", "registered", "refused" or "unreachable"; `status`: the registrar's last final response.
        """

    def account_of(self, user_id: str) -> dict[str, Any] | None:
        """The same for one user; None for who has none."""

    def list_registrars(self, *, by_user: bool = False) -> list[str]:
        """Names of the registrars that an account may be at; `by_user`: one that a user brings."""

    async def set_account(self, user_id: str, given: dict[str, str | None], *, by_user: bool) -> dict[str, Any]:
        """Have a user call by its own account (registrar, username, password, auth_username, display_name).

        Raises AccountError.
        """

    async def remove_account(self, user_id: str, *, by_user: bool) -> bool:
        """Give that account up; False where there is none. Raises AccountError."""

    def health(self) -> dict[str, Any]:
        """Return `active_calls`, `status` (one of `STATUSES`) and `conditions`: sentences for the operator."""
