"""What phones may subscribe to about our users (RFC 3856, 4235, 3842, 3680), and what they publish (RFC 3903)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import structlog

from gateway.access.gatekeeper import TRUNK
from gateway.call.status import Cause
from gateway.identity.mapping import IdentityMap
from gateway.identity.model import User
from gateway.people.board import Board
from gateway.people.contacts import Contacts
from gateway.people.documents import dialog_info, message_summary, pidf, reginfo
from gateway.people.documents.xml import DocumentError
from gateway.people.lamps import Lamps
from gateway.people.mailboxes import MailboxCounts
from gateway.people.presence import Presences, PresenceState
from gateway.people.publications import PublicationError, Publications
from gateway.people.visibility import VisibleTo, may_pick_up, may_see
from gateway.sip.flow import Flow
from gateway.sip.invite.events import Reply
from gateway.sip.message.message import Request
from gateway.sip.message.uri import Uri
from gateway.sip.subscription.document import Document
from gateway.sip.subscription.incoming import IncomingSubscription
from gateway.web.facade import PlaceError

log = structlog.get_logger(__name__)

T = TypeVar("T")

_RETRY_AFTER = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class PresenceSettings:
    """Who sees whom, and how long what phones publish lasts; times in seconds."""

    visible_to: VisibleTo = "users"
    min_expires: int = 60
    max_expires: int = 3_600
    publications_per_user: int = 10


@dataclass(frozen=True, slots=True)
class Watch:
    """One subscription that is to be granted."""

    watcher: User
    target: User
    entity: str
    """SIP URI of the target, as it was asked for."""


class _Package(Generic[T]):
    """One package over one board."""

    def __init__(
        self,
        content_type: str,
        board: Board[T],
        allows: Callable[[Watch], bool],
        write: Callable[[Watch, int], bytes],
        read: Callable[[str], Awaitable[None]],
    ) -> None:
        """`read` has the board say what is true of a user, before anybody begins to watch."""
        self.read = read
        self.content_type = content_type
        self._board = board
        self.allows = allows
        self._write = write

    def document(self, watch: Watch) -> Document:
        return Document(self.content_type, lambda version: self._write(watch, version))

    def watch(self, user: str, told: Callable[[], None]) -> Callable[[], None]:
        return self._board.watch(user, lambda _: told())


class Subscriptions:
    """Answers SUBSCRIBE and PUBLISH about our own users."""

    def __init__(
        self,
        identity: IdentityMap,
        presences: Presences,
        lamps: Lamps,
        contacts: Contacts,
        mailboxes: Board[MailboxCounts],
        count_mailbox: Callable[[str], Awaitable[None]],
        settings: PresenceSettings,
        domains: Container[str],
        *,
        new_tag: Callable[[], str],
        clock: Callable[[], float],
        elsewhere: Callable[[IncomingSubscription, User], None],
        publish_elsewhere: Callable[[Request, User, int], Awaitable[Reply]],
    ) -> None:
        """`domains` are the hosts that mean this gateway, in lower case.

        `elsewhere` accepts or refuses subscriptions to those who are no users of ours, `publish_elsewhere` answers
        what is published about them for so many seconds.
        """
        self._identity = identity
        self._presences = presences
        self._settings = settings
        self._domains = domains
        self._clock = clock
        self._elsewhere = elsewhere
        self._publish_elsewhere = publish_elsewhere
        self._publications = Publications(presences.publish, new_tag, per_user=settings.publications_per_user)
        self._timer: asyncio.TimerHandle | None = None
        self._beginning: set[asyncio.Task[None]] = set()
        self._served = self._serving(lamps, contacts, mailboxes, count_mailbox)

    def _serving(
        self,
        lamps: Lamps,
        contacts: Contacts,
        mailboxes: Board[MailboxCounts],
        count_mailbox: Callable[[str], Awaitable[None]],
    ) -> dict[str, _Package[Any]]:
        identity, presences = self._identity, self._presences

        async def read_presence(user: str) -> None:
            await contacts.read(user)
            await lamps.read(user)

        return {
            "presence": _Package(
                pidf.CONTENT_TYPE,
                presences.board,
                self._may_see,
                lambda watch, _: pidf.write(watch.entity, presences.board.of(watch.target.id)),
                read_presence,
            ),
            "dialog": _Package(
                dialog_info.CONTENT_TYPE,
                lamps.board,
                self._may_see,
                lambda watch, version: dialog_info.write(
                    watch.entity,
                    lamps.board.of(watch.target.id),
                    version,
                    is_full=may_pick_up(watch.watcher, watch.target),
                ),
                lamps.read,
            ),
            "message-summary": _Package(
                message_summary.CONTENT_TYPE,
                mailboxes,
                _is_own,
                lambda watch, _: message_summary.write(watch.entity, mailboxes.of(watch.target.id)),
                count_mailbox,
            ),
            "reg": _Package(
                reginfo.CONTENT_TYPE,
                contacts.board,
                _is_own,
                lambda watch, version: reginfo.write(
                    identity.aor(watch.target), contacts.board.of(watch.target.id), version
                ),
                contacts.read,
            ),
        }

    @property
    def packages(self) -> dict[str, str]:
        """Names of the packages, and the type of their documents."""
        return {name: package.content_type for name, package in self._served.items()}

    # ---- SUBSCRIBE

    def subscribed(self, subscription: IncomingSubscription) -> None:
        """Somebody wants to be told; answered as soon as the store has said what is registered."""
        task = asyncio.get_running_loop().create_task(self._begin(subscription))
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)

    async def _begin(self, subscription: IncomingSubscription) -> None:
        try:
            await self._serve(subscription)
        except Exception:
            log.exception("a subscription could not be served")
            subscription.refuse(500)

    async def _serve(self, subscription: IncomingSubscription) -> None:
        who = subscription.identity
        watcher = None if who is None or who.startswith(TRUNK) else self._identity.by_id(who)
        if watcher is None:
            subscription.refuse(403)
            return
        target = self._meant(subscription.target)
        if target is None:
            self._elsewhere(subscription, watcher)
            return
        package = self._served[subscription.package]
        asked = subscription.target
        watch = Watch(watcher, target, str(Uri.of(asked.user, asked.host, asked.port)))
        if not package.allows(watch):
            subscription.refuse(403)
            return
        await package.read(target.id)
        subscription.accept(package.document(watch))
        stop = package.watch(target.id, lambda: subscription.tell(package.document(watch)))
        subscription.when_over(stop)

    def _meant(self, uri: Uri) -> User | None:
        """The user of ours that a URI means; phones set up with our IP address put that into it."""
        if uri.host.lower() in self._domains and uri.user:
            return self._identity.find(uri.user)
        return self._identity.find(str(uri))

    def _may_see(self, watch: Watch) -> bool:
        return may_see(watch.watcher, watch.target, self._settings.visible_to)

    async def watch_presence(
        self, watcher: User, name: str, told: Callable[[PresenceState], None]
    ) -> tuple[PresenceState, Callable[[], None]]:
        """The presence of whom `name` means, for a page; raises PlaceError."""
        target = self._identity.find(name)
        if target is None:
            raise PlaceError(Cause.NOT_FOUND)
        if not may_see(watcher, target, self._settings.visible_to):
            raise PlaceError(Cause.FORBIDDEN, "You may not see whether they are there.")
        await self._served["presence"].read(target.id)
        board = self._presences.board
        return board.of(target.id), board.watch(target.id, told)

    # ---- PUBLISH

    async def publish(self, request: Request, source: Flow, identity: str | None) -> Reply:
        """The answer to a PUBLISH that was let in (RFC 3903 section 6)."""
        user = self._identity.by_id(identity) if identity is not None else None
        target = self._meant(request.uri)
        if user is None or target not in (None, user):
            return Reply(403)
        events = ("presence",) if target is not None else tuple(self._served)
        if request.event is None or request.event.value.lower() not in events:
            return Reply(489, headers=(("Allow-Events", ", ".join(events)),))
        settings = self._settings
        expires = settings.max_expires if request.expires is None else min(request.expires, settings.max_expires)
        if 0 < expires < settings.min_expires:
            return Reply(423, headers=(("Min-Expires", str(settings.min_expires)),))
        if target is None:
            return await self._publish_elsewhere(request, user, expires)
        return self._publish_own(request, user, expires)

    def _publish_own(self, request: Request, user: User, expires: int) -> Reply:
        state = None
        if request.body:
            kind = request.content_type
            if kind is None or kind.essence != pidf.CONTENT_TYPE:
                return Reply(415, headers=(("Accept", pidf.CONTENT_TYPE),))
            try:
                state = pidf.parse(request.body)
            except DocumentError as error:
                log.info("a publication cannot be read", user=user.id, reason=str(error))
                return Reply(400, "Bad Presence Document")
        try:
            tag = self._publications.publish(user.id, request.sip_if_match, state, expires, self._clock())
        except PublicationError as error:
            headers = (("Retry-After", str(_RETRY_AFTER)),) if error.status == 503 else ()
            return Reply(error.status, headers=headers)
        self._arm()
        return Reply(200, headers=(("SIP-ETag", tag), ("Expires", str(expires))))

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self._publications.deadline
        if deadline is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, deadline - self._clock()), self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._publications.expire(self._clock())
        self._arm()

    async def close(self) -> None:
        """Begin nothing more."""
        if self._timer is not None:
            self._timer.cancel()
        tasks = tuple(self._beginning)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _is_own(watch: Watch) -> bool:
    """Nobody is told what waits for others, or where they are."""
    return watch.watcher.id == watch.target.id
