"""Where requests to trunks go, and by which version of IP whoever is asked is reached."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from gateway.access.gatekeeper import TRUNK
from gateway.config.people import Trunk
from gateway.dialing.callers import shown_to
from gateway.legs.sip_flows import ip_version, next_hop
from gateway.legs.sip_sessions import Destination
from gateway.sip.auth.account import Credentials
from gateway.sip.errors import SipError
from gateway.sip.flow import Flow
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.uri import Uri
from gateway.trunks.accounts import Account

_PATIENCE = 1.0
"""Seconds that the names of further places are looked up while the first one waits."""
_SILENT = 30.0
"""Seconds that a place is not waited for whose name was not found in that time."""
_REMEMBERED = 1024
"""Such places."""


class Surroundings(Protocol):
    """What the SIP user agent knows of the network (gateway.net.user_agent.UserAgent)."""

    async def resolve(self, uri: Uri) -> Sequence[Flow]:
        """Where a SIP URI leads to now."""

    def contact(self, flow: Flow, user: str | None) -> NameAddr:
        """Our Contact as a peer on `flow` is to use it."""


def by_version(destinations: Sequence[Destination], listen: Sequence[str]) -> list[list[Destination]]:
    """Those that are told the same address for media: all, unless RTP listens on one of each IP version."""
    if len(listen) == 1:
        return [list(destinations)]
    versions: dict[int, list[Destination]] = {}
    for destination in destinations:
        versions.setdefault(ip_version(destination), []).append(destination)
    return list(versions.values())


class Lookups:
    """Finds the IP versions by which names are reached, where those decide which address for media is told.

    A name of both is asked by the one and, where nobody is there, by the other.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` gives seconds."""
        self._clock = clock
        self._silent: dict[tuple[str, tuple[str, ...]], float] = {}
        """Places whose names were not found in time, and until when no call waits for them."""

    async def with_versions(
        self, destinations: Sequence[Destination], listen: Sequence[str], agent: Surroundings | None
    ) -> list[Destination]:
        """These, each for one version; a name that is not found in time stays as it is, but for the first place."""
        if len(listen) == 1 or agent is None:
            return list(destinations)
        first, *others = destinations
        return list(await asyncio.gather(_by_versions(first, agent), *[self._later(one, agent) for one in others]))

    async def _later(self, destination: Destination, agent: Surroundings) -> Destination:
        place, now = _place_of(destination), self._clock()
        if self._silent.get(place, now) > now:
            return destination
        try:
            return await asyncio.wait_for(_by_versions(destination, agent), _PATIENCE)
        except TimeoutError:
            self._silent.pop(place, None)
            self._silent[place] = now + _SILENT
            if len(self._silent) > _REMEMBERED:
                del self._silent[next(iter(self._silent))]
            return destination


def _place_of(destination: Destination) -> tuple[str, tuple[str, ...]]:
    """Where it leads, whoever is called there."""
    return destination.uri.rpartition("@")[2], destination.route


async def _by_versions(destination: Destination, agent: Surroundings) -> Destination:
    flows: list[Destination] = []
    for flow in (destination, *destination.others):
        versions = [0] if ip_version(flow) else await _versions(flow, agent)
        flows += [replace(flow, family=version, others=()) for version in versions]
    return replace(flows[0], others=tuple(flows[1:]))


async def _versions(destination: Destination, agent: Surroundings) -> list[int]:
    """Those of a name, the preferred one first; 0 where it leads nowhere."""
    try:
        flows = await agent.resolve(next_hop(destination))
    except SipError:
        flows = ()
    return list(dict.fromkeys(flow.ip_version for flow in flows)) or [0]


def all_routes(trunk: Trunk, user: str | None) -> Sequence[tuple[str, ...]]:
    """Those of the configuration, whether they stand or not."""
    return trunk.routes or ((),)


def trunk_destinations(
    trunk: Trunk,
    dialled: str,
    own: Account | None,
    places: Iterable[str],
    routes: Sequence[tuple[str, ...]],
    silent: Callable[[], None],
) -> list[Destination]:
    """Where a dialled number goes through a trunk, with the name and secret of the trunk, or of a user's account.

    Each place is asked by the first of `routes`, then by the next; `silent` is called where nothing answers.
    """
    identity = TRUNK + trunk.name
    credentials = own.credentials if own is not None else None
    if own is None and trunk.username is not None and trunk.password is not None:
        credentials = Credentials(trunk.username, trunk.password.get_secret_value())
    found = []
    for rank, place in enumerate(places):
        uri = Uri.parse(place)
        target = Uri.of(dialled, uri.host, uri.port, scheme=uri.scheme, params=uri.params)
        caller = NameAddr(Uri.of(trunk.from_user, uri.host)) if trunk.from_user else None
        if own is not None:
            caller = own.address(Uri.parse(trunk.uri))
        first, *others = [
            Destination(
                str(target),
                route,
                credentials=credentials,
                caller=caller,
                identity=identity,
                shown=replace(shown_to(trunk), signed=caller is None),
                rank=rank,
                is_flow=bool(trunk.outbound_proxies),
                silent=silent,
            )
            for route in routes
        ]
        found.append(replace(first, others=tuple(others)))
    return found
