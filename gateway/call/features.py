"""Feature numbers: call forwarding, do not disturb, call pickup and retrieval of parked calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from gateway.call.call import Call
from gateway.call.leg import CallerLeg, Leg
from gateway.call.routing import Caller, FeatureTarget, RouteError, Router, somebody
from gateway.call.rules import KINDS, Rules, RuleStore
from gateway.call.state import State
from gateway.call.status import Cause
from gateway.identity.model import User
from gateway.media.engine import MediaEngine

PARK = "park"
PICK_UP = "pick-up"
FEATURES = (
    PARK,
    PICK_UP,
    *[f"forward-{kind}" for kind in KINDS],
    "forward-off",
    "do-not-disturb-on",
    "do-not-disturb-off",
)
"""Names allowed in a route's `to: feature:NAME`."""
TAKING = frozenset((PARK, PICK_UP))
"""Features that connect the caller to an existing call."""
_RINGING = (State.CALLING, State.RINGING, State.EARLY)


def parked_as(place: str) -> str:
    """Return the name of a parked call's leg (`Leg.is_named`)."""
    return f"park:{place}"


def is_engaged(user: User, calls: Iterable[Call]) -> bool:
    """Return True if `user` has call waiting off and any current call (User.call_waiting)."""
    return not user.call_waiting and any(leg.identity == user.id for call in calls for leg in call.legs)


class Features:
    """Executes feature numbers."""

    def __init__(
        self,
        engine: MediaEngine,
        rules: RuleStore,
        calls: Iterable[Call],
        may_pick_up: Callable[[str, str], bool],
        router: Router,
    ) -> None:
        """`may_pick_up` returns True if the first identity may take calls of the second."""
        self._engine = engine
        self._rules = rules
        self._calls = calls
        self._may_pick_up = may_pick_up
        self._router = router

    def use(self, target: FeatureTarget, leg: CallerLeg, caller: Caller, offer: str | None) -> Call | None:
        """Execute a dialled feature; return the call joined by `leg`, or None for a feature without a call. Raises
        RouteError.
        """
        if caller.guest or not caller.transit:
            raise RouteError(Cause.FORBIDDEN, f"features are for users, which {caller.id} is not")
        if target.feature == PARK:
            return self._take(leg, offer, *self._parked(target.argument))
        if target.feature == PICK_UP:
            return self._take(leg, offer, *self._ringing(leg, caller, target.argument), only_ringing=True)
        self._set(target, caller)
        return None

    def change(self, caller: Caller, rules: Rules) -> None:
        """Store the rules of `caller`; raises RouteError for a number that the caller may not dial."""
        for number in (rules.always, rules.busy, rules.no_answer):
            if number is not None:
                somebody(self._router.route(number, caller))
        self._rules.put(caller.id, rules)

    def _set(self, target: FeatureTarget, caller: Caller) -> None:
        rules, number = self._rules.of(caller.id), target.argument or None
        if target.feature == "do-not-disturb-on":
            rules = replace(rules, do_not_disturb=True)
        elif target.feature == "do-not-disturb-off":
            rules = replace(rules, do_not_disturb=False)
        elif target.feature == "forward-off":
            rules = Rules(after=rules.after, do_not_disturb=rules.do_not_disturb)
        else:
            rules = rules.with_forward(target.feature.removeprefix("forward-"), number)
        self.change(caller, rules)

    def _take(self, leg: CallerLeg, offer: str | None, call: Call, other: Leg, *, only_ringing: bool = False) -> Call:
        """Let `leg` replace `other`."""
        capabilities = self._engine.capabilities
        if offer is None or not (capabilities.join and capabilities.early_answer):
            raise RouteError(Cause.NOT_ACCEPTABLE, "such a call needs an offer, and a media engine that moves parties")
        call.take_place(other, leg, offer, only_ringing=only_ringing)
        return call

    def _parked(self, place: str) -> tuple[Call, Leg]:
        for call in self._calls:
            for leg in call.legs if call.bridge is not None else ():
                if leg.is_named(parked_as(place)):
                    return call, leg
        raise RouteError(Cause.NOT_FOUND, f"no call is parked at {place}")

    def _ringing(self, leg: Leg, caller: Caller, number: str) -> tuple[Call, Leg]:
        """Return the longest ringing callee leg that the caller may pick up, at user `number` if given."""
        for call in self._calls:
            if call.state not in _RINGING or call.caller is leg:
                continue
            for callee in call.legs[1:]:
                user = callee.identity
                if user is None or (number and user != number):
                    continue
                if leg.identity == user or (leg.identity is not None and self._may_pick_up(leg.identity, user)):
                    return call, callee
        raise RouteError(Cause.NOT_FOUND, f"nothing rings that {caller.id} may pick up")
