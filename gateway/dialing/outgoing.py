"""Targets become legs here: the only place that knows every kind of leg."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import count

import structlog

from gateway.access.gatekeeper import TRUNK
from gateway.access.gruu import fits, is_temporary
from gateway.access.nodes import HERE
from gateway.call.call import Call
from gateway.call.features import PARK, parked_as
from gateway.call.leg import Address, CalleeLeg, Leg
from gateway.call.limits import none_elsewhere
from gateway.call.routing import (
    ApplicationTarget,
    FeatureTarget,
    GroupTarget,
    RouteError,
    ServiceTarget,
    SipTarget,
    Target,
    UserTarget,
)
from gateway.call.state import State
from gateway.call.status import Cause
from gateway.cluster.cluster import Cluster
from gateway.config import Config
from gateway.config.people import Trunk
from gateway.config.srtp import SrtpKeying, SrtpPolicy
from gateway.dialing.applications import Application
from gateway.dialing.callers import Names
from gateway.dialing.places import Lookups, Surroundings, all_routes, by_version, trunk_destinations
from gateway.identity.mapping import IdentityMap
from gateway.identity.model import Binding, User
from gateway.identity.store import IdentityStore, StoreError
from gateway.legs.service import ServiceLeg
from gateway.legs.sip_callee import SipCalleeLeg, Turn
from gateway.legs.sip_leg import SipLeg
from gateway.legs.sip_sessions import CalleeSettings, Destination, Inviter, Shown, nobody_asks
from gateway.legs.web import WebCalleeLeg
from gateway.legs.web_clients import Presence
from gateway.media.engine import Dtmf, Kind
from gateway.sip.errors import SipError
from gateway.sip.flow import WEBSOCKET, Flow
from gateway.sip.locate import direct_flow
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.uri import Uri
from gateway.trunks.accounts import Accounts
from gateway.trunks.reachability import Reachability
from gateway.web.push.waker import Waker

log = structlog.get_logger(__name__)

_REMEMBERED_PREFERENCES = 10_000
_TRIES = 3
"""Times that a preference is written while the bindings change under it; the next call learns it again."""
_OUT = "out:"
_WHEN_FULL = 10
"""Seconds a caller is asked to wait while every call of a trunk is taken."""
_LIKELY = ("g722", "pcmu", "pcma")
"""What a phone nobody has called yet most likely chooses: few desk phones speak Opus, most that do prefer these."""


class GatewayDialer:
    """Makes callee legs: pages and phones of a user, a trunk, a built-in service."""

    def __init__(
        self,
        config: Config,
        identity: IdentityMap,
        accounts: Accounts,
        reachability: Reachability,
        store: IdentityStore,
        presence: Presence,
        services: frozenset[str],
        wall_clock: Callable[[], float],
        is_reachable: Callable[[Flow, bool], bool] = lambda flow, is_flow: True,
        application: Application | None = None,
        waker: Waker | None = None,
        cluster: Cluster | None = None,
    ) -> None:
        """`services` are the built-in services that the media engine has; calls to others find nobody.

        `is_reachable` says whether the connection is still there that a contact was registered by: it has to be for a
        WebSocket, and for a flow of RFC 5626 (the second argument).
        """
        self.config = config
        """In force now; another one after a reload."""
        self._identity = identity
        self._accounts = accounts
        self._reachability = reachability
        self._store = store
        self._presence = presence
        self._services = services
        self.inviter: Inviter
        """The SIP user agent; set once it is made, which needs the calls, which need this dialer."""
        self.incoming: Callable[[str], int] = lambda trunk: 0
        self.others: Callable[[str], float] = none_elsewhere
        """What other gateways count under a name of `counts`."""
        """How many calls came in by the trunk of that name and are not over; set once there are calls."""
        self.flow_failed: Callable[[Binding], None] = lambda binding: None
        """Told of a flow that is no more, as its edge proxy says; set once there is a registrar."""
        self.agent: Surroundings | None = None
        """The SIP user agent; set once it is made."""
        self.routes: Callable[[Trunk, str | None], Sequence[tuple[str, ...]]] = all_routes
        """The route sets by which a trunk is reached now, best first, with that user's own account or its own; set once
        trunks are registered at."""
        self.room_elsewhere: Callable[[str], Destination | None] = lambda program: None
        """Where the program of that name runs, None: here; set once there are rooms."""
        self._wall_clock = wall_clock
        self._lookups = Lookups(wall_clock)
        self._is_reachable = is_reachable
        self._application = application or Application()
        self._waker = waker
        self._cluster = cluster
        self.trunks = {trunk.name: trunk for trunk in config.every_trunk}
        """Changed in place where they are others."""
        self._names = Names(identity, self.trunks)
        self._preferences: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self._keeping: set[asyncio.Task[None]] = set()
        self._trunk_load: Counter[str] = Counter()
        self._trunk_calls: dict[str, list[str]] = {}
        """Trunks of each call: a transferred one may have gone through several."""

    async def legs(self, target: Target, call_id: str, name: str = "") -> Sequence[CalleeLeg]:
        """The legs that stand for `target` now; none when nobody is there."""
        name = name or call_id
        match target:
            case ServiceTarget(service=service):
                return [ServiceLeg(f"{name}-service", service)] if service in self._services else []
            case ApplicationTarget():
                place = None if target.is_sent_on else self.room_elsewhere(target.name)
                if place is not None:
                    address = Address(place.uri)
                    settings = self._settings(place.uri, (), self.config.rtp.srtp)
                    return [self._sip_leg(f"{name}-nodes", address, [place], settings)]
                return [self._application.leg(target, f"{name}-application")]
            case UserTarget(user=user, device=device):
                if device is not None:
                    return await self._device_legs(user, device, name)
                return await self._user_legs(user, name)
            case SipTarget():
                return [await self._outside_leg(target, call_id, name)]
            case FeatureTarget(feature=feature, argument=place) if feature == PARK and "silence" in self._services:
                return [ServiceLeg(f"{name}-park", "silence", parked_as(place))]
            case FeatureTarget() | GroupTarget():
                return []

    async def phones(self, user: User, device: str | None = None) -> list[Destination]:
        """Where the phones of `user` are now, or that one device; raises RouteError while the store is away.

        Other gateways where the user is stand for what is there, its pages too.
        """
        is_sent_on, device = (device or "").startswith(HERE), (device or "").removeprefix(HERE)
        bindings = [one for one in await self._bindings(user, has_page=False) if not device or fits(device, one)]
        here = self._devices(self._here(bindings), user)
        return here if is_sent_on else [*here, *await self._places_elsewhere(user, bindings, device)]

    def outside(self, target: SipTarget) -> list[Destination]:
        """Where a request to somebody elsewhere goes, with the name and secret of its trunk, or of a user's account.

        Several places of a trunk are in the order in which they are to be asked. Raises RouteError where that account
        is gone.
        """
        trunk = self.trunks.get(target.trunk) if target.trunk is not None else None
        if trunk is None:
            return [Destination(target.uri, self.config.sip.route)]
        own = self._accounts.of(target.account) if target.account is not None else None
        if target.account is not None and own is None:
            raise RouteError(Cause.UNAVAILABLE, f"{target.account} has no account of its own any more")
        places = self._reachability.in_order(trunk.name, trunk.uris)
        silent = partial(self._reachability.doubt, trunk.name)
        return trunk_destinations(trunk, target.uri, own, places, self.routes(trunk, target.account), silent)

    def passed_on(self, leg: Leg, target: Target) -> str | None:
        """Where a trunk carries transfers out itself: from it to a number of its own, by nobody else's account."""
        if not isinstance(target, SipTarget) or target.trunk is None or leg.identity != TRUNK + target.trunk:
            return None
        trunk = self.trunks.get(target.trunk)
        if target.account is not None or trunk is None or trunk.transfer == "gateway":
            return None
        return self.outside(target)[0].uri

    def called_back(self, leg: Leg, user: str) -> str | None:
        """Where a trunk that is to connect whom the transferor has consulted reaches that user here."""
        name = leg.identity or ""
        trunk = self.trunks.get(name.removeprefix(TRUNK)) if name.startswith(TRUNK) else None
        if trunk is None or trunk.transfer != "pass_on_attended" or self.agent is None or not isinstance(leg, SipLeg):
            return None
        flow = leg.refers_by
        return str(self.agent.contact(flow, user).uri) if flow is not None else None

    def learn(self, leg: Leg, codecs: tuple[str, ...]) -> None:
        """Keep what a callee chose: the early answer of the next call to it is made of that."""
        is_browser = isinstance(leg, SipCalleeLeg) and leg.party.kind is Kind.WEBRTC
        uri = leg.address.uri
        if not is_browser:  # it shares its address with phones, and only its binding knows what it chose
            if self._preferences.get(uri) == codecs:
                return
            self._preferences.pop(uri, None)
            self._preferences[uri] = codecs
            if len(self._preferences) > _REMEMBERED_PREFERENCES:
                self._preferences.popitem(last=False)
        if isinstance(leg, SipCalleeLeg) and leg.chosen is not None and leg.chosen.aor is not None:
            task = asyncio.get_running_loop().create_task(self._keep(leg.chosen.aor, leg.chosen.uri, codecs))
            self._keeping.add(task)
            task.add_done_callback(self._keeping.discard)

    async def _keep(self, aor: str, contact: str, codecs: tuple[str, ...]) -> None:
        """Write the preference into the binding, so that it outlives a restart; one that is gone stays so."""
        now = self._wall_clock()
        try:
            for _ in range(_TRIES):
                there = await self._store.bindings(aor, now)
                changed = [replace(one, codecs=codecs) for one in there if one.contact == contact]
                if not changed or await self._store.change_bindings(aor, there, (), changed, now):
                    return
        except StoreError as error:
            log.warning("a codec preference was not kept", reason=str(error))

    def resumed(self, trunks: Mapping[str, list[str]]) -> None:
        """Calls that go on from the process before, each with the trunks that it has places of."""
        for call_id, names in trunks.items():
            self._trunk_load.update(names)
            self._trunk_calls[call_id] = names

    def call_changed(self, call: Call) -> None:
        """Give the trunks' places back when the call is over."""
        if call.state is State.ENDED:
            self._trunk_load.subtract(self._trunk_calls.pop(call.id, ()))

    async def _device_legs(self, user: User, device: str, name: str) -> Sequence[CalleeLeg]:
        """The one device that a GRUU means, nobody else (RFC 5627 section 5.4); or what another gateway asks for."""
        is_sent_on, device = device.startswith(HERE), device.removeprefix(HERE)
        if is_sent_on and not device:
            return await self._user_legs(user, name, is_sent_on=True)
        bindings = [one for one in await self._bindings(user, has_page=False) if fits(device, one)]
        if not bindings and is_temporary(device):
            raise RouteError(Cause.NOT_FOUND, "a temporary GRUU stands no longer")
        address = Address(self._identity.sip_uri(user.id), user.display_name or user.id)
        legs = self._phone_legs(user, address, self._here(bindings), name)
        return legs if is_sent_on else [*legs, *await self._legs_elsewhere(user, address, bindings, name, device)]

    async def _user_legs(self, user: User, name: str, *, is_sent_on: bool = False) -> Sequence[CalleeLeg]:
        """Pages and phones of a user; `is_sent_on`: by another gateway, which asks all the others itself."""
        uri = self._identity.sip_uri(user.id)
        address = Address(uri, user.display_name or user.id)
        legs: list[CalleeLeg] = []
        channels = self._presence.channels(user.id)
        waker = self._waker if self._waker is not None and self._waker.reaches(user.id) else None
        if channels or waker is not None:
            page = WebCalleeLeg(f"{name}-web", address, channels, user.id, waker)
            self._presence.ring(user.id, page)
            legs.append(page)
            if waker is not None:
                asyncio.get_running_loop().call_later(waker.wait, page.nobody_came)
        bindings = await self._bindings(user, bool(legs))
        legs += self._phone_legs(user, address, self._here(bindings), name)
        return legs if is_sent_on else [*legs, *await self._legs_elsewhere(user, address, bindings, name)]

    async def _legs_elsewhere(
        self, user: User, address: Address, bindings: Sequence[Binding], name: str, device: str = ""
    ) -> Sequence[CalleeLeg]:
        """For the other gateways of the cluster where the user is: one leg, or one for each IP version."""
        places = await self._places_elsewhere(user, bindings, device)
        if not places:
            return []
        places = await self._lookups.with_versions(places, self.config.rtp.listen, self.agent)
        settings = self._settings(address.uri, (), self.config.rtp.srtp)
        return self._in_turn(address, places, settings, f"{name}-nodes")

    async def _places_elsewhere(self, user: User, bindings: Iterable[Binding], device: str) -> list[Destination]:
        if self._cluster is None:
            return []
        try:
            return await self._cluster.places(user, bindings, device)
        except StoreError as error:
            log.error("it is not known at which gateways a user is", user=user.id, reason=str(error))
            return []

    def _here(self, bindings: Iterable[Binding]) -> list[Binding]:
        """Those that this gateway reaches itself."""
        return [one for one in bindings if self._cluster is None or self._cluster.is_here(one)]

    def _phone_legs(self, user: User, address: Address, bindings: Sequence[Binding], name: str) -> list[CalleeLeg]:
        """One leg for the phones among the contacts of a user, one for the browsers."""
        legs: list[CalleeLeg] = []
        phones = [binding for binding in bindings if not _is_browser(binding)]
        browsers = [binding for binding in bindings if _is_browser(binding)]
        if phones:
            settings = self._settings(
                address.uri, phones[0].codecs, self.config.rtp.srtp, Dtmf(user.dtmf), owner=user.id
            )
            if user.ring == "in_order":
                settings = replace(settings, patience=user.ring_next_after)
            legs += self._in_turn(address, self._devices(phones, user), settings, f"{name}-sip")
        if browsers:
            settings = replace(
                self._settings(address.uri, (), "off"),
                kind=Kind.WEBRTC,
                prefer=browsers[0].codecs,
                owner=user.id,
                by_version=False,  # it is told every address, as candidates
            )
            destinations = [replace(one, rank=0) for one in self._devices(browsers, user)]
            legs.append(
                SipCalleeLeg(f"{name}-webrtc", self.inviter, address, destinations, settings, self._names.renamed)
            )
        return legs

    def _in_turn(
        self, address: Address, devices: Sequence[Destination], settings: CalleeSettings, name: str
    ) -> list[SipCalleeLeg]:
        """One leg; where they need addresses of both IP versions one for each, and those of the next rank follow."""
        listen = self.config.rtp.listen
        if len(by_version(devices, listen)) == 1:
            return [self._sip_leg(name, address, devices, settings)]
        numbers, legs = count(), list[SipCalleeLeg]()
        for rank in sorted({one.rank for one in devices}, reverse=True):
            groups = by_version([one for one in devices if one.rank == rank], listen)
            turn = Turn(len(groups), legs)
            legs = [self._sip_leg(f"{name}{next(numbers) or ''}", address, group, settings, turn) for group in groups]
        return legs

    def _devices(self, bindings: Sequence[Binding], user: User) -> list[Destination]:
        """The phones of a user, each by its latest flow, the others in case that one fails (RFC 5626 section 7).

        They are ranked by q-value where the user wants them to ring one after another.
        """
        flows: dict[tuple[str | None, str], list[Binding]] = {}
        for binding in bindings:
            device = (binding.instance, "") if binding.reg_id is not None else (None, binding.contact)
            flows.setdefault(device, []).append(binding)
        values = sorted({found[0].q for found in flows.values()}, reverse=True)
        ranks = {q: rank if user.ring == "in_order" else 0 for rank, q in enumerate(values)}
        devices = []
        for found in flows.values():
            rank = ranks[found[0].q]
            others = tuple([self._destination(binding, user.id, rank) for binding in found[1:]])
            devices.append(self._destination(found[0], user.id, rank, others))
        return devices

    def _destination(
        self, binding: Binding, identity: str, rank: int = 0, others: tuple[Destination, ...] = ()
    ) -> Destination:
        # An edge proxy has the flow, and says when it is gone; of our own flows the connection tells.
        by_edge = binding.reg_id is not None and bool(binding.path)
        source = Flow.parse(binding.received) if binding.received else None
        by_path = source is not None and binding.path and self._goes_by_path(binding.path[0], source)
        return Destination(
            binding.contact,
            binding.path,
            None if by_path else binding.received,
            source.host if source is not None else None,
            aor=binding.aor,
            identity=identity,
            shown=Shown(is_user=True),
            flow_failed=partial(self.flow_failed, binding) if by_edge else nobody_asks,
            rank=rank,
            others=(*others, *self._by_contact(binding, source, identity, rank)),
        )

    @staticmethod
    def _by_contact(binding: Binding, source: Flow | None, identity: str, rank: int) -> tuple[Destination, ...]:
        """Return the Contact of a device, for a new connection after a break (RFC 3261 section 18.4).

        Empty for a flow (RFC 5626), for a host that the REGISTER did not come from, and for TCP after TLS.
        """
        if source is None or source.transport not in ("tcp", "tls") or binding.reg_id is not None or binding.path:
            return ()
        try:
            there = direct_flow(Uri.parse(binding.contact))
        except SipError:
            return ()
        if there is None or there.host != source.host or (source.transport == "tls") > (there.transport == "tls"):
            return ()
        shown = Shown(is_user=True)
        return (
            Destination(
                binding.contact,
                source=source.host,
                aor=binding.aor,
                identity=identity,
                shown=shown,
                rank=rank,
                is_contact=True,
            ),
        )

    def _goes_by_path(self, hop: str, source: Flow) -> bool:
        """Whether requests go where the Path says (RFC 3327 section 5.4), not where the REGISTER came from.

        While a connection from there stands they go by that, for nobody may let us in where it leads. And a Path leads
        to no other host: whoever may register could have our calls sent to anybody.
        """
        try:
            there = direct_flow(NameAddr.parse(hop).uri)
        except SipError:
            return False
        if there is None or there.host != source.host or str(there) == str(replace(source, local="")):
            return False
        return not (source.reliable and self._is_reachable(source, True))

    async def _bindings(self, user: User, has_page: bool) -> Sequence[Binding]:
        """The phones of `user` that can be reached, and browsers that speak SIP.

        While the store is away pages ring alone, and without one the caller tries later.
        """
        try:
            bindings = await self._store.bindings(self._identity.aor(user), self._wall_clock())
            return [one for one in bindings if not self._here((one,)) or self._has_way(one)]
        except StoreError as error:
            log.error("registrations cannot be read", user=user.id, reason=str(error))
            if has_page:
                return ()
            reason = "identity.store: the registrations cannot be read at the moment"
            raise RouteError(Cause.OUT_OF_SERVICE, reason) from None

    def _has_way(self, binding: Binding) -> bool:
        if binding.received is None:
            return True
        return self._is_reachable(Flow.parse(binding.received), binding.reg_id is not None and not binding.path)

    def outgoing(self, trunk: str) -> int:
        """How many calls go out by the trunk of that name, here and at other gateways."""
        return self._trunk_load[trunk] + int(self.others(_OUT + trunk))

    def counts(self) -> dict[str, float]:
        """What counts here for limits of trunks, by names that other gateways have as well."""
        return {_OUT + trunk: float(count) for trunk, count in self._trunk_load.items()}

    async def _outside_leg(self, target: SipTarget, call_id: str, name: str) -> CalleeLeg:
        trunk = self.trunks.get(target.trunk) if target.trunk is not None else None
        if trunk is None:
            settings = self._settings(target.uri, (), self.config.rtp.srtp)
            destinations = self.outside(target)
        else:
            taken = self.outgoing(trunk.name) + self.incoming(trunk.name)
            full = trunk.max_calls is not None and taken >= trunk.max_calls
            if full and not target.emergency:
                raise RouteError(
                    Cause.LINE_FULL,
                    f"trunks[{trunk.name}].max_calls: all {trunk.max_calls} calls of the trunk are taken",
                    retry_after=_WHEN_FULL,
                )
            destinations = self.outside(target)
            srtp = trunk.srtp or self.config.rtp.srtp
            settings = self._settings(destinations[0].uri, trunk.codecs, srtp, Dtmf(trunk.dtmf))
            settings = replace(settings, codecs=trunk.codecs, failover=True, patience=trunk.failover_after)
            settings = replace(settings, owner=f"trunk:{trunk.name}")
            if trunk.webrtc:
                # Candidates tell it every address.
                settings = replace(settings, kind=Kind.WEBRTC, instead=(), by_version=False)
            self._trunk_load[trunk.name] += 1
            self._trunk_calls.setdefault(call_id, []).append(trunk.name)
        places = await self._lookups.with_versions(destinations, self.config.rtp.listen, self.agent)
        [leg] = self._in_turn(Address(destinations[0].uri), places, settings, f"{name}-sip")
        return leg

    def _sip_leg(
        self,
        tag: str,
        address: Address,
        destinations: Sequence[Destination],
        settings: CalleeSettings,
        turn: Turn | None = None,
    ) -> SipCalleeLeg:
        return SipCalleeLeg(tag, self.inviter, address, destinations, settings, self._names.renamed, turn)

    def _settings(
        self,
        uri: str,
        prefer: tuple[str, ...],
        srtp: SrtpPolicy,
        dtmf: Dtmf = Dtmf.AUTO,
        owner: str | None = None,
    ) -> CalleeSettings:
        kind, *instead = kinds_offered(srtp, self.config.rtp.srtp_keying)
        known = self._preferences.get(uri) or prefer or _LIKELY
        # The call gives up first and says so; SIP's own limit only catches what the call has forgotten.
        no_answer = self.config.sip.ring_timeout + 30
        flow_timeout = self.config.sip.registration.flow_timeout
        return CalleeSettings(
            kind=kind,
            instead=tuple(instead),
            prefer=known,
            dtmf=dtmf,
            no_answer=no_answer,
            flow_timeout=flow_timeout,
            by_version=len(self.config.rtp.listen) > 1,
            owner=owner,
        )


def kinds_offered(policy: SrtpPolicy, keying: Sequence[SrtpKeying]) -> list[Kind]:
    """What a phone is offered, each after the one before was refused; never in the clear what was refused encrypted."""
    secure = [Kind.SDES if each == "sdes" else Kind.DTLS for each in keying]
    first = {"off": [Kind.RTP], "optional": [Kind.RTP], "best_effort": [Kind.BEST_EFFORT], "required": []}
    return [*first[policy], *(secure if policy != "off" else [])]


def _is_browser(binding: Binding) -> bool:
    """Whether a contact speaks WebRTC: it registered over a WebSocket, ours or that of a proxy in front (RFC 7118)."""
    if binding.received is not None and Flow.parse(binding.received).transport in WEBSOCKET:
        return True
    return Uri.parse(binding.contact).transport in WEBSOCKET
