"""Candidates beside those of our sockets (RFC 8445 section 5.1.1): where STUN servers see us, relays of TURN servers.

They are gathered at the start and kept alive, for all calls together: an answer waits for none of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Protocol

from gateway.media.embedded.plane.stun import StunError
from gateway.media.embedded.plane.values import Address, Bound, Host
from gateway.media.embedded.webrtc.relay import Relay, RelayHost, TurnServer
from gateway.media.embedded.webrtc.stun import binding, mapped_address, parse
from gateway.media.embedded.webrtc.turn import turn_credentials

logger = logging.getLogger("gateway.media")

FIRST_RESULTS = 3.0
"""Seconds that the start waits for every server's first answer."""
KEEP_ALIVE = 20.0
"""Seconds between two requests to a STUN server: address translators forget UDP after 30."""
STALE = 70.0
"""Seconds without an answer before an address is not offered any more."""
RETRANSMISSIONS = (0.25, 0.5, 1.0, 2.0)
LONGEST_LIFETIME = 600
"""Seconds that a password made of the shared secret is good for."""
_PORTS = {"stun": 3478, "turn": 3478, "turns": 5349}


@dataclass(frozen=True, slots=True, kw_only=True)
class IceServerUrl:
    """One URL of a STUN or TURN server (RFC 7064, 7065)."""

    url: str
    username: str = ""
    password: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)
    """Shared with the server: the password is made of it each time."""

    @property
    def scheme(self) -> str:
        return self.url.partition(":")[0]

    @property
    def place(self) -> tuple[str, int]:
        """Host and port."""
        where = self.url.partition(":")[2].partition("?")[0]
        host, colon, port = where.rpartition(":")
        if not colon or where.endswith("]"):
            host, port = where, ""
        return host.strip("[]"), int(port) if port.isdecimal() else _PORTS.get(self.scheme, 3478)

    @property
    def transport(self) -> str:
        """ "udp", "tcp" or "tls"."""
        return "tls" if self.scheme == "turns" else "tcp" if self.url.endswith("transport=tcp") else "udp"

    def turn_server(self, now: float) -> TurnServer:
        """What is asked for a relay at `now` (Unix seconds)."""
        host, port = self.place
        name, password = self.username, self.password
        if self.secret and not password:
            name, password = turn_credentials(self.secret, name or "gateway", int(now) + LONGEST_LIFETIME)
        return TurnServer(host=host, port=port, transport=self.transport, username=name, password=password)


class GatherHost(RelayHost, Protocol):
    """What gathering needs of the browsers' port."""

    @property
    def bounds(self) -> Sequence[Bound]: ...

    def send(self, path: int, address: Address, data: bytes) -> None: ...


@dataclass(slots=True, eq=False)
class _Mapping:
    """Where one server sees one socket."""

    base: Address
    seen: Address
    at: float


class Gathering:
    """`start`, then `candidates` at any time; `close`."""

    def __init__(
        self,
        host: GatherHost,
        servers: Sequence[IceServerUrl],
        *,
        idle_after: float,
        ca: Path | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`ca`: PEM file of who signs the certificates of TURN servers, None: the system's authorities."""
        self._host = host
        self._random_bytes = random_bytes
        self._servers = [each for each in servers if each.scheme != "stuns"]
        self._relays = [
            Relay(
                host,
                lambda each=each: each.turn_server(wall_clock()),  # type: ignore[misc]
                idle_after=idle_after,
                tls=lambda: ssl.create_default_context(cafile=None if ca is None else str(ca)),
                random_bytes=random_bytes,
            )
            for each in self._servers
            if each.scheme != "stun"
        ]
        self._tasks: list[asyncio.Task[None]] = []
        self._asked: dict[bytes, asyncio.Future[Address]] = {}
        self._mappings: dict[tuple[str, Address], _Mapping] = {}

    async def start(self) -> None:
        """Ask every server, and wait a little for what they say; those that say nothing are asked again later."""
        asking = [each for each in self._servers if each.transport == "udp"]
        tried = [relay.tried for relay in self._relays] + [asyncio.Event() for _ in asking]
        self._tasks = [asyncio.ensure_future(relay.run()) for relay in self._relays]
        self._tasks += [
            asyncio.ensure_future(self._ask(server, done))
            for server, done in zip(asking, tried[len(self._relays) :], strict=True)
        ]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_RESULTS):
                for each in tried:
                    await each.wait()

    async def close(self) -> None:
        """Give the relays back; idempotent."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._mappings.clear()

    def permit(self, host: Host) -> None:
        """Let this address reach us by the relays."""
        for relay in self._relays:
            allocated = relay.allocated
            if allocated is not None and ip_address(allocated[0][0]).version == ip_address(host).version:
                relay.permit(host)

    def candidates(self, known: Sequence[tuple[str, int]]) -> list[str]:
        """Values of `a=candidate` beyond the `known` addresses, server-reflexive ones first."""
        horizon = self._host.clock() - STALE
        mapped = {each.seen: each.base for each in self._mappings.values() if each.at > horizon}
        lines = [
            _candidate("s", index, 100, seen, "srflx", base)
            for index, (seen, base) in enumerate(mapped.items())
            if seen not in known
        ]
        allocated = [relay.allocated for relay in self._relays]
        return lines + [
            _candidate("r", index, 0, each[0], "relay", each[1]) for index, each in enumerate(allocated) if each
        ]

    def response(self, data: bytes) -> bool:
        """A STUN success response came to the browsers' port; whether it was for us."""
        try:
            found = parse(data)
        except StunError:
            return False
        waiting, seen = self._asked.get(found.transaction_id), mapped_address(found)
        if waiting is None or seen is None or waiting.done():
            return False
        waiting.set_result(seen)
        return True

    # STUN servers

    async def _ask(self, server: IceServerUrl, tried: asyncio.Event) -> None:
        while True:
            try:
                await self._ask_once(server)
            except (OSError, ValueError, OverflowError) as error:
                logger.warning("STUN server %s: %s", server.url, error)
            tried.set()
            await asyncio.sleep(KEEP_ALIVE)

    async def _ask_once(self, server: IceServerUrl) -> None:
        host, port = server.place
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=2)
        places: dict[int, Address] = {}
        for *_, place in found:
            places.setdefault(ip_address(place[0]).version, (Host(str(place[0])), int(place[1])))
        for bound in self._host.bounds:
            local = ip_address(bound.address[0])
            place_of = places.get(local.version)
            if place_of is None or local.is_loopback != ip_address(place_of[0]).is_loopback:
                continue
            seen = await self._mapping(bound, place_of)
            if seen is not None:
                self._mappings[server.url, bound.address] = _Mapping(bound.address, seen, self._host.clock())

    async def _mapping(self, bound: Bound, place: Address) -> Address | None:
        """Where a server sees this socket, None where it does not answer."""
        transaction_id = self._random_bytes(12)
        waiting = self._asked[transaction_id] = asyncio.get_running_loop().create_future()
        try:
            for pause in RETRANSMISSIONS:
                self._host.send(bound.path, place, binding(transaction_id))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        return await asyncio.shield(waiting)
            return None
        finally:
            del self._asked[transaction_id]
            waiting.cancel()


def _candidate(foundation: str, index: int, preference: int, address: Address, kind: str, base: Address) -> str:
    """RFC 8839 section 5.1; `preference` is that of the type (RFC 8445 section 5.1.2.2)."""
    priority = (preference << 24) + ((65535 - index) << 8) + 255
    where = f"{address[0]} {address[1]} typ {kind} raddr {base[0]} rport {base[1]}"
    return f"{foundation}{index + 1} 1 udp {priority} {where}"
