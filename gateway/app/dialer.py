"""Targets become legs here: the only place that knows every kind of leg."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from gateway.app.presence import Presence
from gateway.call.leg import Address, CalleeLeg, Leg
from gateway.call.routing import ServiceTarget, SipTarget, Target, UserTarget
from gateway.config import Config
from gateway.config.people import Trunk
from gateway.identity.mapping import IdentityMap
from gateway.identity.model import Binding, User
from gateway.identity.store import IdentityStore
from gateway.legs.service import ServiceLeg
from gateway.legs.sip import CalleeSettings, Destination, Inviter, SipCalleeLeg
from gateway.legs.web import WebCalleeLeg
from gateway.media.engine import Kind
from gateway.sip.flow import Flow
from gateway.sip.headers_values import NameAddr
from gateway.sip.uri import Uri
from gateway.sip.user_agent.authenticator import Credentials

_REMEMBERED_PREFERENCES = 10_000


class GatewayDialer:
    """Makes callee legs: pages and phones of a user, a trunk, a built-in service."""

    def __init__(
        self,
        config: Config,
        identity: IdentityMap,
        store: IdentityStore,
        presence: Presence,
        wall_clock: Callable[[], float],
    ) -> None:
        self._config = config
        self._identity = identity
        self._store = store
        self._presence = presence
        self.inviter: Inviter
        """The SIP user agent; set once it is made, which needs the calls, which need this dialer."""
        self._wall_clock = wall_clock
        self._trunks = {trunk.name: trunk for trunk in config.trunks}
        self._preferences: OrderedDict[str, tuple[str, ...]] = OrderedDict()

    async def legs(self, target: Target, call_id: str) -> Sequence[CalleeLeg]:
        """The legs that stand for `target` now; none when nobody is there."""
        match target:
            case ServiceTarget(service=service):
                return [ServiceLeg(f"{call_id}-service", service)]
            case UserTarget(user=user):
                return await self._user_legs(user, call_id)
            case SipTarget():
                return [self._outside_leg(target, call_id)]

    def learn(self, leg: Leg, codecs: tuple[str, ...]) -> None:
        """Keep what a callee chose, for the early answer of the next call to it."""
        uri = leg.address.uri
        self._preferences.pop(uri, None)
        self._preferences[uri] = codecs
        if len(self._preferences) > _REMEMBERED_PREFERENCES:
            self._preferences.popitem(last=False)

    async def _user_legs(self, user: User, call_id: str) -> Sequence[CalleeLeg]:
        uri = self._identity.sip_uri(user.id)
        address = Address(uri, user.display_name or user.id)
        legs: list[CalleeLeg] = []
        channels = self._presence.channels(user.id)
        if channels:
            legs.append(WebCalleeLeg(f"{call_id}-web", address, channels))
        bindings = await self._store.bindings(self._identity.aor(user), self._wall_clock())
        if bindings:
            settings = self._settings(uri, bindings[0].codecs)
            destinations = [_destination(binding) for binding in bindings]
            legs.append(SipCalleeLeg(f"{call_id}-sip", self.inviter, address, destinations, settings))
        return legs

    def _outside_leg(self, target: SipTarget, call_id: str) -> CalleeLeg:
        trunk = self._trunks.get(target.trunk) if target.trunk is not None else None
        destination = Destination(target.uri) if trunk is None else _trunk_destination(trunk, target.uri)
        settings = self._settings(destination.uri, trunk.codecs if trunk is not None else ())
        return SipCalleeLeg(f"{call_id}-sip", self.inviter, Address(destination.uri), [destination], settings)

    def _settings(self, uri: str, prefer: tuple[str, ...]) -> CalleeSettings:
        kind = Kind.SDES if self._config.rtp.srtp == "required" else Kind.RTP
        known = self._preferences.get(uri, prefer)
        return CalleeSettings(kind, known, no_answer=self._config.sip.ring_timeout + 30)


def _destination(binding: Binding) -> Destination:
    source = Flow.parse(binding.received).host if binding.received else None
    return Destination(binding.contact, binding.path, binding.received, source)


def _trunk_destination(trunk: Trunk, dialled: str) -> Destination:
    """Where a dialled number goes through a trunk, with the trunk's own name and secret."""
    host = str(trunk.uri)
    uri = Uri.parse(host)
    credentials = None
    if trunk.username is not None and trunk.password is not None:
        credentials = Credentials(trunk.username, trunk.password.get_secret_value())
    caller = None
    if trunk.from_user:
        caller = NameAddr(Uri.parse(f"sip:{trunk.from_user}@{uri.host}"))
    return Destination(f"sip:{dialled}@{uri.host}", credentials=credentials, caller=caller)
