"""Whose rights a leg has that asks for something in a call, or sends it on.

What `gateway.call.transfer.Rights` and `gateway.call.branching.Payers` ask for.
"""

from __future__ import annotations

from gateway.access.gatekeeper import TRUNK
from gateway.access.nodes import NODE
from gateway.call.leg import Leg
from gateway.call.routing import Caller, at_host
from gateway.call.trunk_places import without_port
from gateway.identity.mapping import IdentityMap
from gateway.identity.model import User
from gateway.legs.application import ApplicationLeg
from gateway.trunks.accounts import Accounts


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
        return self.of_user(user)

    def of_user(self, user: User) -> Caller:
        return Caller(user.id, user.may_call, account=self._accounts.registrar_of(user.id))

    def of_leg(self, leg: Leg) -> Caller | None:
        """A callee at a foreign host, of whom nothing else is known, may send calls on to us and to itself."""
        if leg.identity is not None or isinstance(leg, ApplicationLeg):
            return self.caller_of(leg)
        host = without_port(leg.address.uri.partition(";")[0].rpartition("@")[2].lower())
        return Caller(host, ("*", *at_host(host)))

    def may_pick_up(self, by: str, of: str) -> bool:
        """Whether the two are users of one group (`pickup_groups`)."""
        one, other = self._identity.by_id(by), self._identity.by_id(of)
        return one is not None and other is not None and not set(one.pickup_groups).isdisjoint(other.pickup_groups)
