"""Whose rights a leg has that asks for something in the middle of a call (gateway.call.transfer.Rights)."""

from __future__ import annotations

from gateway.access.gatekeeper import TRUNK
from gateway.access.nodes import NODE
from gateway.accounts.own import Accounts
from gateway.call.leg import Leg
from gateway.call.routing import Caller
from gateway.identity.mapping import IdentityMap
from gateway.legs.application import ApplicationLeg


class LegRights:
    """Users and programs may what their `may_call` says; a trunk may reach our users, and itself."""

    def __init__(self, identity: IdentityMap, accounts: Accounts, guests_may_call: tuple[str, ...]) -> None:
        self._identity = identity
        self._accounts = accounts
        self.guests_may_call = guests_may_call

    def caller_of(self, leg: Leg) -> Caller | None:
        if isinstance(leg, ApplicationLeg):
            return Caller(leg.party.tag, leg.may_call)
        who = leg.identity
        if who is None:
            return None
        if who.startswith(TRUNK):
            # What it sends back to itself is on nobody's bill but its own.
            return Caller(who, ("*", who))
        if who.startswith(NODE):
            return None  # its far end asks its own gateway
        user = self._identity.by_id(who)
        if user is None:
            return Caller(who, self.guests_may_call, guest=True)
        return Caller(user.id, user.may_call, account=self._accounts.registrar_of(user.id))

    def may_pick_up(self, by: str, of: str) -> bool:
        """Whether the two are users of one group (`pickup_groups`)."""
        one, other = self._identity.by_id(by), self._identity.by_id(of)
        return one is not None and other is not None and not set(one.pickup_groups).isdisjoint(other.pickup_groups)
