"""Whom a call asks, one set of callees after the other: where it was dialled to, and where it is redirected to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count

import structlog

from gateway.call.branches import Branch, Then
from gateway.call.dialer import Dialer
from gateway.call.leg import Diversion, Leg, Redirected
from gateway.call.routing import (
    ApplicationTarget,
    Caller,
    RouteError,
    Router,
    ServiceTarget,
    SipTarget,
    Target,
    UserTarget,
)
from gateway.call.status import Cause

log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Journey:
    """One call on its way to somebody: who pays, and where it has been."""

    call_id: str
    caller: Caller
    left: int
    """How often it may yet be diverted."""
    seen: set[str] = field(default_factory=set)
    """Whom it has asked: nobody is asked twice, so that redirections to each other end."""
    names: count[int] = field(default_factory=lambda: count(1))
    """Of the legs of its later branches."""


class Branching:
    """Makes the branches of attempts."""

    def __init__(self, router: Router, dialer: Dialer) -> None:
        self._router = router
        self._dialer = dialer

    async def first(self, target: Target, journey: Journey) -> Branch:
        """Those who stand for what was dialled; raises RouteError where nobody does at the moment."""
        journey.seen.add(_key(target))
        legs = await self._dialer.legs(target, journey.call_id)
        if not legs:
            raise RouteError(Cause.UNAVAILABLE, "nobody stands for it at the moment")
        return Branch(list(legs))

    async def redirected(self, journey: Journey, leg: Leg, event: Redirected) -> Branch | None:
        """Those whom a callee names instead, one after the other; None where the caller may call none of them."""
        diversion = Diversion(leg.address.uri, "unconditional")
        return await self._one_of(journey, event.targets, (diversion, *event.diversions))

    async def _one_of(self, journey: Journey, uris: Sequence[str], diversions: tuple[Diversion, ...]) -> Branch | None:
        """The first of these that can be asked; those after it when it does not take the call."""
        for number, uri in enumerate(uris, start=1):
            branch = await self._diverted(journey, uri, diversions)
            if branch is not None:
                branch.then = self._then(journey, uris[number:], diversions)
                return branch
        return None

    def _then(self, journey: Journey, uris: Sequence[str], diversions: tuple[Diversion, ...]) -> Then:
        return lambda cause: self._one_of(journey, uris, diversions)

    async def _diverted(self, journey: Journey, uri: str, diversions: tuple[Diversion, ...]) -> Branch | None:
        """Those who stand for a URI that the call goes on to, by the rights of its caller."""
        if not journey.left:
            log.info("not diverted again", call_id=journey.call_id, to=uri[:80])
            return None
        try:
            target = self._router.route(uri, replace(journey.caller, calls=None))
            key = _key(target)
            if key in journey.seen:
                raise RouteError(Cause.UNAVAILABLE, "it was asked already")
            journey.left -= 1
            journey.seen.add(key)
            legs = await self._dialer.legs(target, journey.call_id, f"{journey.call_id}-d{next(journey.names)}")
        except RouteError as error:
            log.info("not diverted", call_id=journey.call_id, to=uri[:80], reason=str(error))
            return None
        log.info("diverted", call_id=journey.call_id, to=uri[:80])
        return Branch(list(legs), diversions=diversions) if legs else None


def _key(target: Target) -> str:
    match target:
        case UserTarget(user=user):
            return f"user:{user.id}"
        case ServiceTarget(service=service):
            return f"service:{service}"
        case ApplicationTarget(name=name, number=number):
            return f"application:{name}:{number}"
        case SipTarget(uri=uri, trunk=trunk):
            return f"{trunk or ''}:{uri}"
