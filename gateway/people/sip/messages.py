"""Instant messages in and out: from phones, trunks and pages, to pages, phones and trunks (RFC 3428)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import Protocol

import structlog

from gateway.access.nodes import HERE
from gateway.call.leg import Address
from gateway.call.routing import Caller, RouteError, Router, SipTarget, UserTarget
from gateway.dialing.incoming import Sender
from gateway.identity.mapping import IdentityMap
from gateway.identity.model import User
from gateway.legs.sip_flows import FLOW_FAILED, PLACE_FAILED
from gateway.legs.sip_sessions import Destination
from gateway.legs.web_clients import Presence
from gateway.people.board import Board
from gateway.people.courier import Courier, Device, Keeping
from gateway.people.mailboxes import MailboxCounts
from gateway.people.messages import InstantMessage, MessageStoreError, Outcome
from gateway.plain import plain_text
from gateway.sip.auth.account import Credentials
from gateway.sip.errors import SipError
from gateway.sip.flow import Flow
from gateway.sip.invite.events import Reply
from gateway.sip.locate import forward_limit
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.build import Refusal
from gateway.sip.message.message import Request, Response
from gateway.sip.message.uri import Uri
from gateway.trunks.accounts import Accounts
from gateway.web.facade import PageInbox
from gateway.web.limits import KeyedBuckets

log = structlog.get_logger(__name__)

_PATIENCE = 8.0
"""Seconds a phone or a trunk has to answer: who sent the message waits, and gives up after 32 s (RFC 4320)."""
_PATIENCE_IN_ALL = 24.0
"""Seconds that all flows of a phone, or all places of a trunk, have together."""
_AWAY = frozenset((408, 430, 480, 503, 504))
"""Answers that say that nobody is there; any other failure is a refusal."""
_OUTCOMES = {
    202: Outcome.STORED,
    **dict.fromkeys((401, 403, 407, 603), Outcome.FORBIDDEN),
    **dict.fromkeys((404, 410, 484, 604), Outcome.NOT_FOUND),
    413: Outcome.TOO_LARGE,
    415: Outcome.UNSUPPORTED,
    **dict.fromkeys((482, 483), Outcome.LOOP),
    **dict.fromkeys(_AWAY, Outcome.UNAVAILABLE),
}
_HOPS = 70
_RETRY_AFTER = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSettings:
    """What is taken, from whom how much."""

    max_size: int = 4_096
    """Bytes."""
    content_types: tuple[str, ...] = ("text/plain",)
    """Essences, in lower case."""
    per_minute: float = 60.0
    """Messages of one sender."""
    burst: int = 20
    keep: float = 604_800.0
    """Seconds."""


class Requester(Protocol):
    """What sends SIP requests (gateway.net.user_agent.UserAgent)."""

    async def request(
        self,
        method: str,
        target: Uri,
        *,
        caller: NameAddr | str | None = None,
        callee: NameAddr | None = None,
        route: tuple[NameAddr, ...] = (),
        received: str | Flow | None = None,
        credentials: Credentials | None = None,
        headers: Iterable[tuple[str, object]] = (),
        body: bytes = b"",
        content_type: str | None = None,
        max_forwards: int = _HOPS,
    ) -> Response: ...


class Places(Protocol):
    """Where SIP requests for somebody go (gateway.dialing.outgoing.GatewayDialer)."""

    async def phones(self, user: User, device: str | None = None) -> Sequence[Destination]: ...

    def outside(self, target: SipTarget) -> Sequence[Destination]: ...


SenderOf = Callable[[Request, str | None], Sender | None]
"""Who sent a SIP request, by what the gatekeeper calls them; None for nobody."""


class Messages:
    """Answers MESSAGE, and what a page asks; brings what was kept to whoever is back."""

    def __init__(
        self,
        identity: IdentityMap,
        accounts: Accounts,
        router: Router,
        places: Places,
        presence: Presence,
        settings: MessageSettings,
        keeping: Keeping | None,
        *,
        new_id: Callable[[], str],
        wall_clock: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self._identity = identity
        self._accounts = accounts
        self._router = router
        self._places = places
        self._presence = presence
        self._settings = settings
        self._new_id = new_id
        self._wall_clock = wall_clock
        self._buckets = KeyedBuckets(settings.per_minute / 60, settings.burst, clock)
        self.requester: Requester
        """The SIP user agent; set once it is made."""
        self.mailboxes: Board[MailboxCounts] = Board(MailboxCounts())
        """What waits for each user; a voice mailbox sets its own counts."""
        self.courier = Courier(self._devices, wall_clock, keeping, self._kept_changed, presence.attending)
        self._counting: set[asyncio.Task[None]] = set()

    async def from_sip(self, sender_of: SenderOf, request: Request, source: Flow, identity: str | None) -> Reply:
        """The answer to a MESSAGE that was let in; `sender_of` tells who that is."""
        sender = sender_of(request, identity)
        hops = forward_limit(request)
        kind = request.content_type
        if sender is None:
            return Reply(403)
        if isinstance(hops, Refusal):
            return Reply(hops.status)
        content_type = str(kind) if kind is not None else "text/plain"
        to = self._router.addressed(str(request.uri), sender.caller)
        outcome = await self._send(sender, to, content_type, request.body, hops, request.expires)
        if outcome is Outcome.UNSUPPORTED:
            return Reply(415, headers=(("Accept", ", ".join(self._settings.content_types)),))
        if outcome is Outcome.TOO_MANY:
            return Reply(503, headers=(("Retry-After", str(_RETRY_AFTER)),))
        return Reply(outcome.status)

    async def from_page(self, user: User, to: str, text: str, content_type: str) -> Outcome:
        """What became of a message that a signed-in user wrote on a page."""
        if self._identity.by_id(user.id) is None:
            return Outcome.FORBIDDEN
        address = Address(self._identity.sip_uri(user.id), user.display_name or user.id)
        account = self._accounts.registrar_of(user.id)
        sender = Sender(Caller(user.id, user.may_call, account=account), address)
        return await self._send(sender, to, content_type, text.encode("utf-8", "replace"), _HOPS, None)

    async def _send(
        self, sender: Sender, to: str, content_type: str, body: bytes, hops: int, expires: int | None
    ) -> Outcome:
        settings = self._settings
        essence = content_type.partition(";")[0].strip().lower()
        if essence not in settings.content_types:
            return Outcome.UNSUPPORTED
        if len(body) > settings.max_size:
            return Outcome.TOO_LARGE
        if not self._buckets.take(f"{sender.caller.id} {sender.address.uri}"):
            return Outcome.TOO_MANY
        try:
            target = self._router.route(to, sender.caller)
        except RouteError as error:
            log.info("message refused", sender=sender.caller.id, reason=str(error))
            return _OUTCOMES.get(error.cause.status, Outcome.REFUSED)
        now = self._wall_clock()
        message = InstantMessage(
            id=self._new_id(),
            sender=sender.address.uri,
            sender_name=sender.address.display_name,
            recipient=target.user.id if isinstance(target, UserTarget) else "",
            content_type=content_type,
            body=_readable(essence, body),
            sent_at=now,
            expires_at=now + (settings.keep if expires is None else min(expires, settings.keep)),
            hops=hops,
        )
        match target:
            case UserTarget(user=user, device=str(device)):
                outcome = await self._to_device(user, device, message)
            case UserTarget():
                outcome = await self.courier.send(message, keep=essence.startswith("text/"))
            case SipTarget():
                outcome = await self._outside(target, message)
            case _:
                outcome = Outcome.REFUSED
        log.info("message", message_id=message.id, sender=sender.caller.id, size=len(body), outcome=outcome.word)
        return outcome

    async def _to_device(self, user: User, device: str, message: InstantMessage) -> Outcome:
        """To the one device that a GRUU means, or for another gateway to all that are here; nothing is kept for it."""
        try:
            phones = await self._places.phones(user, device)
        except RouteError as error:
            return _OUTCOMES.get(error.cause.status, Outcome.REFUSED)
        pages = self._pages(user.id) if device == HERE else []
        outcomes = [await one.deliver(message) for one in [*pages, *self._phones(user, phones)]]
        if Outcome.DELIVERED in outcomes:
            return Outcome.DELIVERED
        return outcomes[0] if outcomes else Outcome.UNAVAILABLE

    def _pages(self, user_id: str) -> list[Device]:
        return [PageDevice(inbox) for inbox in self._presence.inboxes(user_id)]

    def _phones(self, user: User, phones: Sequence[Destination]) -> list[Device]:
        aor = NameAddr(Uri.parse(self._identity.aor(user)))
        return [SipDevice(self.requester, (phone,), aor) for phone in phones]

    async def _outside(self, target: SipTarget, message: InstantMessage) -> Outcome:
        try:
            places = self._places.outside(target)
        except RouteError as error:
            return _OUTCOMES.get(error.cause.status, Outcome.REFUSED)
        return await SipDevice(self.requester, places).deliver(message)

    def _kept_changed(self, user: str) -> None:
        task = asyncio.get_running_loop().create_task(self.count(user))
        self._counting.add(task)
        task.add_done_callback(self._counting.discard)

    async def count(self, user: str) -> None:
        """Have the mailbox of `user` say how much text is kept."""
        try:
            kept = await self.courier.kept(user)
        except MessageStoreError as error:
            log.error("messages cannot be counted", user=user, reason=str(error))
            return
        self.mailboxes.set(user, replace(self.mailboxes.of(user), text=kept))

    async def _devices(self, user_id: str) -> Sequence[Device]:
        user = self._identity.by_id(user_id)
        if user is None:
            return ()
        try:
            phones = await self._places.phones(user)
        except RouteError:
            phones = ()  # the store is away; the pages are not
        return [*self._pages(user_id), *self._phones(user, phones)]


def _readable(essence: str, body: bytes) -> bytes:
    """Return a plain text without characters that turn or hide others; of another character set it stays."""
    if essence != "text/plain":
        return body
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return body
    plain = plain_text(text)
    return body if plain == text or _only_line_ends_differ(text, plain) else plain.encode()


def _only_line_ends_differ(text: str, plain: str) -> bool:
    return text.replace("\r\n", "\n") == plain


class PageDevice:
    """An open page of the recipient."""

    def __init__(self, inbox: PageInbox) -> None:
        self._inbox = inbox

    async def deliver(self, message: InstantMessage) -> Outcome:
        self._inbox.message(message)
        return Outcome.DELIVERED


class SipDevice:
    """A phone of the recipient, or whoever a trunk leads to."""

    def __init__(
        self, requester: Requester, destinations: Sequence[Destination], callee: NameAddr | None = None
    ) -> None:
        """`callee` is the recipient of ours; None: it is not ours, and `destinations` are the places of a trunk."""
        self._requester = requester
        self._flows = [flow for destination in destinations for flow in (destination, *destination.others)]
        self._callee = callee

    async def deliver(self, message: InstantMessage) -> Outcome:
        """By the device's latest flow, by the next where nobody is reached by that (RFC 5626 section 7).

        To a trunk by each flow to its first place, then by those to the next.
        """
        outcome = Outcome.UNAVAILABLE
        for place in self._flows:
            outcome, goes_on = await self._deliver(message, place)
            if not goes_on:
                break
        return outcome

    async def _deliver(self, message: InstantMessage, place: Destination) -> tuple[Outcome, bool]:
        """What became of it by one flow, and whether the next is to be tried."""
        caller = place.caller or NameAddr(Uri.parse(message.sender), message.sender_name)
        dated = (("Date", formatdate(message.sent_at, usegmt=True)),) if message.kept else ()
        try:
            async with asyncio.timeout(min(_PATIENCE, _PATIENCE_IN_ALL / len(self._flows))):
                response = await self._requester.request(
                    "MESSAGE",
                    Uri.parse(place.uri),
                    caller=caller,
                    callee=self._callee,
                    route=tuple(NameAddr.parse(hop) for hop in place.route),
                    received=place.received,
                    credentials=place.credentials,
                    headers=(*dated, *place.told(Address(message.sender, message.sender_name))),
                    body=message.body,
                    content_type=message.content_type,
                    max_forwards=message.hops,
                )
        except TimeoutError:
            return Outcome.UNAVAILABLE, True
        except SipError as error:
            log.warning("a contact cannot be sent a message", reason=str(error))
            return Outcome.UNAVAILABLE, True
        if response.status == FLOW_FAILED:
            place.flow_failed()
        if self._callee is None:
            # What another system says of its own user is what the sender is told.
            said = Outcome.DELIVERED if response.status == 200 else _OUTCOMES.get(response.status, Outcome.REFUSED)
            return said, response.status in PLACE_FAILED
        if response.is_success:
            return Outcome.DELIVERED, False
        is_away = response.status in _AWAY
        return Outcome.UNAVAILABLE if is_away else Outcome.REFUSED, is_away
