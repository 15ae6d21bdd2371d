"""Branches of a call: the dialled target, forwarding, groups and redirections, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Protocol

import structlog

from gateway.call.branches import Branch, Then
from gateway.call.call import Call
from gateway.call.dialer import Dialer
from gateway.call.features import is_engaged
from gateway.call.leg import CalleeLeg, Diversion, Leg, Redirected, only_secure
from gateway.call.routing import (
    VOICEMAIL,
    ApplicationTarget,
    Caller,
    FeatureTarget,
    Group,
    GroupTarget,
    RouteError,
    Router,
    ServiceTarget,
    SipTarget,
    Target,
    UserTarget,
    somebody,
)
from gateway.call.rules import NOT_REACHED, MemoryRules, Rules, RuleStore
from gateway.call.status import Cause
from gateway.identity.model import User

log = structlog.get_logger(__name__)

Diversions = tuple[Diversion, ...]
_LEAVE_A_MESSAGE = (*NOT_REACHED, Cause.BUSY, Cause.DECLINED)
"""Causes that lead to voicemail."""


class Mailboxes(Protocol):
    """Voicemail boxes of users."""

    def has(self, user: User) -> bool:
        """Return True if the user has a mailbox."""

    @property
    def after(self) -> float:
        """Seconds of ringing before voicemail answers."""


class Payers(Protocol):
    """Rights used for forwarded and redirected calls."""

    def of_user(self, user: User) -> Caller:
        """Return the rights of a user that forwards a call."""

    def of_leg(self, leg: Leg) -> Caller | None:
        """Return the rights of a redirecting callee; None if a second gateway has already checked them."""


class OwnRights:
    """Rights without trunk accounts and without rights of redirecting callees."""

    def of_user(self, user: User) -> Caller:
        return Caller(user.id, user.may_call)

    def of_leg(self, leg: Leg) -> Caller | None:
        return None


@dataclass(slots=True, eq=False)
class Journey:
    """A call on its way to a callee: the paying caller and the targets tried so far."""

    call_id: str
    caller: Caller
    left: int
    """Number of further diversions allowed."""
    dialled: str
    """Dialled number or URI, quoted in errors."""
    seen: set[str] = field(default_factory=set)
    """Targets tried so far; a second try is refused, which ends loops of diversions."""
    names: count[int] = field(default_factory=lambda: count(1))
    """Counter for the names of later branches' legs."""


@dataclass(frozen=True, slots=True)
class _Named:
    """Targets of a redirection."""

    uris: Sequence[str]
    """SIP URIs, best first."""
    diversions: Diversions
    by: Caller | None
    """Rights of the redirecting callee; None for no check."""


class Branching:
    """Factory of the branches of attempts."""

    def __init__(
        self,
        router: Router,
        dialer: Dialer,
        rules: RuleStore | None = None,
        uri_of: Callable[[User], str] = lambda user: f"sip:{user.id}",
        payers: Payers | None = None,
        mailboxes: Mailboxes | None = None,
        toll: Callable[[Caller, Target], None] = lambda caller, target: None,
        calls: Iterable[Call] = (),
    ) -> None:
        """`uri_of` returns a user's SIP URI for diversions; `payers` the rights of diverted calls.

        `toll` raises RouteError when the caller has called similar numbers too often; `calls` are the current calls.
        """
        self._mailboxes = mailboxes
        self._toll = toll
        self._calls = calls
        self._router = router
        self._dialer = dialer
        self._rules = rules or MemoryRules()
        self._uri_of = uri_of
        self._payers = payers or OwnRights()

    async def first(self, target: Target, journey: Journey) -> Branch:
        """Return the first branch for the dialled target; raises RouteError if unreachable."""
        journey.seen.add(_key(target))
        return await self._ask(target, journey, (), journey.call_id)

    async def _ask(self, target: Target, journey: Journey, diversions: Diversions, name: str) -> Branch:
        match target:
            case UserTarget(user=user, device=None):
                return await self._user(user, journey, diversions, name)
            case GroupTarget(group=group):
                return await self._group(group, journey, diversions, name)
        return Branch(await self._legs(target, journey, name), diversions=diversions)

    async def _legs(self, target: Target, journey: Journey, name: str) -> list[CalleeLeg]:
        legs = only_secure(await self._dialer.legs(target, journey.call_id, name), journey.dialled)
        if not legs:
            raise RouteError(Cause.UNAVAILABLE, f"{journey.dialled} is not reachable at the moment")
        return legs

    # -- users and groups ------------------------------------------------------------

    async def _user(self, user: User, journey: Journey, diversions: Diversions, name: str) -> Branch:
        """Return the branch for a user's pages and phones, by the user's forwarding rules and rights."""
        rules = self._rules.of(user.id)
        if rules.always is not None:
            elsewhere = await self._forwarded(user, journey, diversions, (rules.always, "unconditional"))
            if elsewhere is not None:
                return elsewhere
        try:
            if rules.do_not_disturb:
                raise RouteError(Cause.BUSY, f"{user.id} is not to be disturbed")
            if journey.caller.id != user.id and is_engaged(user, self._calls):
                raise RouteError(Cause.BUSY, f"{user.id} has a call, and wants no other")
            legs = await self._legs(UserTarget(user), journey, name)
        except RouteError as error:
            elsewhere = await self._instead(user, journey, diversions, rules, error.cause)
            if elsewhere is None:
                raise
            return elsewhere
        then = self._then_forward(user, journey, diversions, rules)
        box = self._mailbox(user)
        time = rules.after if rules.no_answer else box.after if box is not None else None
        return Branch(legs, then=then, time=time, diversions=diversions)

    def _then_forward(self, user: User, journey: Journey, diversions: Diversions, rules: Rules) -> Then | None:
        if rules.busy is None and rules.no_answer is None and self._mailbox(user) is None:
            return None
        return lambda cause: self._instead(user, journey, diversions, rules, cause)

    def _mailbox(self, user: User) -> Mailboxes | None:
        return self._mailboxes if self._mailboxes is not None and self._mailboxes.has(user) else None

    async def _instead(
        self, user: User, journey: Journey, diversions: Diversions, rules: Rules, cause: Cause
    ) -> Branch | None:
        """Return the branch after a failure: forwarding by the user's rules, else voicemail."""
        to = rules.forward(cause)
        if to is not None:
            return await self._forwarded(user, journey, diversions, to)
        if self._mailbox(user) is None or cause not in _LEAVE_A_MESSAGE:
            return None
        target = ApplicationTarget(f"{VOICEMAIL}:{user.id}", user.id)
        reason = "user-busy" if cause is Cause.BUSY else "no-answer" if cause is Cause.NO_ANSWER else "unavailable"
        extended = (Diversion(self._uri_of(user), reason), *diversions)
        log.info("to the mailbox", call_id=journey.call_id, user=user.id, reason=reason)
        return Branch(
            await self._legs(target, journey, f"{journey.call_id}-d{next(journey.names)}"), diversions=extended
        )

    async def _forwarded(
        self, user: User, journey: Journey, diversions: Diversions, to: tuple[str, str] | None
    ) -> Branch | None:
        if to is None:
            return None
        number, reason = to
        extended = (Diversion(self._uri_of(user), reason), *diversions)
        return await self._diverted(journey, number, extended, self._payers.of_user(user))

    async def _group(self, group: Group, journey: Journey, diversions: Diversions, name: str) -> Branch:
        """Return a branch for a group, all members at once or in turn; skips members in do-not-disturb or
        unreachable.
        """
        if not group.in_turn:
            legs = [leg for user in group.members for leg in await self._member(user, journey, name)]
            if not legs:
                raise RouteError(Cause.UNAVAILABLE, f"nobody of {group.name} is there at the moment")
            return Branch(legs, time=group.time, diversions=diversions)
        branch = await self._turn(group, group.members, journey, diversions)
        if branch is None:
            raise RouteError(Cause.UNAVAILABLE, f"nobody of {group.name} is there at the moment")
        return branch

    async def _turn(
        self, group: Group, members: Sequence[User], journey: Journey, diversions: Diversions
    ) -> Branch | None:
        for number, user in enumerate(members, start=1):
            legs = await self._member(user, journey, journey.call_id)
            if legs:
                then = self._next_turn(group, members[number:], journey, diversions)
                return Branch(legs, then=then, time=group.time, diversions=diversions)
        return None

    def _next_turn(self, group: Group, members: Sequence[User], journey: Journey, diversions: Diversions) -> Then:
        return lambda cause: self._turn(group, members, journey, diversions)

    async def _member(self, user: User, journey: Journey, name: str) -> list[CalleeLeg]:
        if self._rules.of(user.id).do_not_disturb or is_engaged(user, self._calls):
            return []
        try:
            legs = await self._dialer.legs(UserTarget(user), journey.call_id, f"{name}-g{next(journey.names)}")
        except RouteError as error:
            log.info("member not asked", call_id=journey.call_id, user=user.id, reason=str(error))
            return []
        return only_secure(legs, journey.dialled)

    # -- diversions ------------------------------------------------------------------

    async def redirected(self, journey: Journey, leg: Leg, event: Redirected) -> Branch | None:
        """Return a branch for a callee's redirection, tried in order; None without permission of caller and callee.

        Both are checked: the caller pays, and a callee must not gain the caller's rights.
        """
        diversion = Diversion(leg.address.uri, "unconditional")
        named = _Named(event.targets, (diversion, *event.diversions), self._payers.of_leg(leg))
        return await self._one_of(journey, named)

    async def _one_of(self, journey: Journey, named: _Named) -> Branch | None:
        """Return a branch for the first permitted target; the remaining targets follow on failure."""
        pays = replace(journey.caller, calls=None)
        for number, uri in enumerate(named.uris, start=1):
            branch = await self._diverted(journey, uri, named.diversions, pays, named.by)
            if branch is not None:
                others = replace(named, uris=named.uris[number:])
                branch.then = _one_after_the_other(branch.then, self._then(journey, others))
                return branch
        return None

    def _then(self, journey: Journey, named: _Named) -> Then:
        return lambda cause: self._one_of(journey, named)

    async def _diverted(
        self, journey: Journey, uri: str, diversions: Diversions, pays: Caller, by: Caller | None = None
    ) -> Branch | None:
        """Return the branch for a diversion to a URI or number; None unless both `pays` and `by` may call it."""
        if not journey.left:
            log.info("not diverted again", call_id=journey.call_id, to=uri[:80])
            return None
        try:
            await self._router.learn(uri)
            way = self._router.route(uri, by) if by is not None else None
            target = somebody(self._router.route(uri, pays))
            if _is_own_way(way) and isinstance(target, SipTarget) and target.trunk is not None:
                raise RouteError(Cause.FORBIDDEN, "who redirects may call that host, but not the trunk")
            self._toll(pays, target)
            key = _key(target)
            if key in journey.seen:
                raise RouteError(Cause.UNAVAILABLE, "it was asked already")
            journey.left -= 1
            journey.seen.add(key)
            branch = await self._ask(target, journey, diversions, f"{journey.call_id}-d{next(journey.names)}")
        except RouteError as error:
            log.info("not diverted", call_id=journey.call_id, to=uri[:80], reason=str(error))
            return None
        log.info("diverted", call_id=journey.call_id, to=uri[:80], reason=diversions[0].reason)
        return branch


def _is_own_way(target: Target | None) -> bool:
    """Return True for a call straight to the host of its URI, without trunk."""
    return isinstance(target, SipTarget) and target.trunk is None


def _one_after_the_other(first: Then | None, second: Then) -> Then:
    """Return the successor of `first`, then of `second`."""
    if first is None:
        return second
    before = first

    async def then(cause: Cause) -> Branch | None:
        found = await before(cause)
        if found is None:
            return await second(cause)
        found.then = _one_after_the_other(found.then, second)
        return found

    return then


def _key(target: Target) -> str:
    match target:
        case UserTarget(user=user, device=device):
            return f"user:{user.id}:{device or ''}"
        case ServiceTarget(service=service):
            return f"service:{service}"
        case ApplicationTarget(name=name, number=number):
            return f"application:{name}:{number}"
        case GroupTarget(group=group):
            return f"group:{group.name}"
        case FeatureTarget(feature=feature, argument=argument):
            return f"feature:{feature}:{argument}"
        case SipTarget(uri=uri, trunk=trunk):
            return f"{trunk or ''}:{uri}"
