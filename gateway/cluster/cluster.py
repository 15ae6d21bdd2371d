"""One gateway among several that share a store: who the others are, and what goes to them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Protocol

from gateway.access.bans import Bans
from gateway.access.nodes import HERE, NODE, Nodes
from gateway.app.opening import Opening, unusable
from gateway.call.journal import address_of, flat_address
from gateway.call.leg import Address
from gateway.call.registry import Calls
from gateway.call.routing import Caller
from gateway.cluster.limits import SharedLimits
from gateway.cluster.members import ClusterNodes, place_of
from gateway.cluster.settings import ClusterSettings
from gateway.identity.mapping import IdentityMap
from gateway.identity.model import Binding, User
from gateway.identity.store import IdentityStore, StoreError
from gateway.legs.sip_sessions import Destination, Shown
from gateway.net.user_agent import UserAgent
from gateway.sip.flow import Flow
from gateway.sip.message.message import Request
from gateway.tasks import ended


class Cluster:
    """The gateways of one store; of one that is alone there are no others."""

    def __init__(
        self,
        settings: ClusterSettings,
        identity: IdentityMap,
        store: IdentityStore,
        clock: Callable[[], float],
        random: Callable[[int], bytes],
    ) -> None:
        self._identity = identity
        self.node = settings.node
        """Our own SIP URI, "" where we are alone."""
        start = random(8).hex()
        self._others = ClusterNodes(store, self.node, settings.interval, clock, start)
        key = settings.key or random(32)
        others = self._others
        self._agent: UserAgent | None = None
        is_shown = self._is_shown if settings.mutual_tls else _by_seal_alone
        self._seals = Nodes(self.node, key, clock, random, others.node_at, start, others.start_of, is_shown)
        self.refused = self._seals.refused
        self.verify = self._seals.verify
        self.page = self._others.page
        self.opened = self._others.opened.wait

    def _is_shown(self, source: Flow, node: str) -> bool:
        """Whether it was sent by TLS, by whoever has a certificate of that gateway's address."""
        return self._agent is not None and self._agent.has_certificate(source, place_of(node)[0])

    def speak_by(self, agent: UserAgent) -> None:
        """Have it seal what it sends to other gateways."""
        self._agent = agent
        agent.sign_requests(self._seals.sign, self._is_gateway)

    def _is_gateway(self, host: str) -> bool:
        """Whether another gateway that is there has that address."""
        return any(_host_of(node) == host for node in self.with_calls)

    @property
    def live(self) -> frozenset[str]:
        """The others that are there, for new calls as well."""
        return self._others.live

    @property
    def with_calls(self) -> frozenset[str]:
        """Those, and the others that drain."""
        return self._others.with_calls

    @property
    def is_open(self) -> bool:
        """Whether the others see us."""
        return self._others.opened.is_set()

    async def open(self) -> None:
        """Be there for the others. Raises StoreError."""
        await self._others.open()

    async def drain(self) -> None:
        """Be there for no new calls."""
        await self._others.drain()

    async def close(self) -> None:
        """Be there no longer."""
        await self._others.close()

    # -- to the others -------------------------------------------------------------

    def is_here(self, binding: Binding) -> bool:
        """Whether we can reach a contact ourselves."""
        return binding.node in ("", self.node)

    async def places(self, user: User, bindings: Iterable[Binding], device: str = "") -> list[Destination]:
        """The other gateways where that user is, each once: by these contacts, and without a device by pages as well.

        Contacts stay at a gateway that drains until it is gone, pages do not. Raises StoreError.
        """
        if not self.node:
            return []
        found = self._others.with_calls & {binding.node for binding in bindings}
        if user.web and not device:
            found |= await self._others.with_page_of(user.id)
        return [self._place(node, user, device) for node in sorted(found)]

    def _place(self, node: str, user: User, device: str) -> Destination:
        return self._destination(node, user.id, {"user": user.id, "device": HERE + device})

    def _destination(self, node: str, called: str, told: Mapping[str, str]) -> Destination:
        return Destination(
            self._identity.sip_uri(called),
            (f"<{node};lr>",),
            identity=NODE + node,
            shown=Shown(is_user=True),
            looks_up=True,
            told=partial(self._told, told),
        )

    def _told(self, told: Mapping[str, str], caller: Address) -> Sequence[tuple[str, object]]:
        return (self._seals.field({**told, "caller": flat_address(caller)}),)

    def room_at(self, node: str, number: str) -> Destination | None:
        """The gateway where those meet who dial a room's number, `node` while that is there; None: this one."""
        if not self.node:
            return None
        everybody = {self.node, *self._others.live}
        node = node if node in everybody else min(everybody)
        return None if node == self.node else self._destination(node, number, {"room": number})

    # -- from the others -----------------------------------------------------------

    def caller(self, request: Request, identity: str) -> tuple[Caller, Address] | None:
        """Who calls whom, as the gateway of that identity says; None where it says nothing that can be read.

        It may ring that user's pages and phones here, or come to that room, whatever the caller may dial: the other
        gateway has looked.
        """
        told = self._seals.told(request)
        try:
            address, room = address_of(told["caller"]), told.get("room")
            if isinstance(room, str):
                return Caller(identity, (), transit=False, room=room), address
            user, device = told["user"], told["device"]
        except (LookupError, TypeError, ValueError):
            return None
        if not isinstance(user, str) or not isinstance(device, str) or not device.startswith(HERE):
            return None
        if self._identity.by_id(user) is None:
            return None
        return Caller(identity, ("*",), transit=False, calls=user, device=device), address


def _by_seal_alone(source: Flow, node: str) -> bool:
    return True


class ClusterTexts:
    """What the gateways of a cluster have together for a while (gateway.web.auth.shared_sign_ins)."""

    def __init__(self, store: IdentityStore, clock: Callable[[], float]) -> None:
        """`clock` gives Unix seconds."""
        self._store = store
        self._clock = clock

    async def text(self, name: str) -> str | None:
        return await self._store.text(name, self._clock())

    async def put_text(self, name: str, text: str, expires_at: float) -> None:
        await self._store.put_text(name, text, expires_at, self._clock())


@lru_cache(maxsize=256)
def _host_of(node: str) -> str:
    return place_of(node)[0]


class Outgoing(Protocol):
    """Who counts the calls that go out by trunks (gateway.dialing.outgoing)."""

    others: Callable[[str], float]

    def counts(self) -> dict[str, float]: ...


async def join(
    opening: Opening, cluster: Cluster, store: IdentityStore, calls: Calls, dialer: Outgoing, bans: Bans
) -> None:
    """Be there for the others, and count with them, for as long as we are open. Raises ConfigError."""
    if cluster.node:
        try:
            await cluster.open()
        except StoreError as error:
            raise unusable(opening.config, error) from None
        opening.stack.push_async_callback(cluster.close)
        limits = SharedLimits(
            cluster,
            ClusterTexts(store, opening.wall_clock),
            lambda: calls.counts() | dialer.counts(),
            bans,
            opening.config.cluster.interval,
            asyncio.get_running_loop().time,
            opening.wall_clock,
        )
        calls.count_others(limits.others)
        dialer.others = limits.others
        opening.stack.push_async_callback(ended, asyncio.create_task(limits.run()))


def incidents_of(agent: UserAgent, cluster: Cluster) -> dict[str, int]:
    """How often SIP wondered at what, and why what other gateways had sealed was not believed."""
    return dict(agent.counts) | {f"gateway's request {why}": count for why, count in cluster.refused.items()}
