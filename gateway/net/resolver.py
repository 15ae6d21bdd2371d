"""From a SIP URI to addresses: NAPTR, SRV, A and AAAA (RFC 3263), cached and bounded."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver
from dns.rdtypes.IN.NAPTR import NAPTR
from dns.rdtypes.IN.SRV import SRV

from gateway.sip.errors import SipBuildError
from gateway.sip.flow import Flow
from gateway.sip.locate import (
    AddressLookup,
    NaptrLookup,
    NaptrRecord,
    SrvLookup,
    SrvRecord,
    order_srv,
    plan,
    srv_of_naptr,
    target_of,
)
from gateway.sip.message.uri import Uri

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolverConfig:
    """Where names are looked up, and how much of it."""

    nameservers: tuple[str, ...] = ()
    """IP addresses; () takes the system's."""
    port: int = 53
    """UDP and TCP port of the name servers."""
    timeout: float = 3.0
    """Seconds for one question, all servers together."""
    cache_entries: int = 1024
    longest_ttl: float = 3600.0
    """Seconds; answers are kept for their TTL, at most this."""
    negative_ttl: float = 5.0
    """Seconds that a name without answer is not asked for again: a provider that comes back is called soon."""
    stale_ttl: float = 30.0
    """The same of a name whose last answer goes on, since none comes for now (RFC 8767 section 5)."""
    longest_stale: float = 86_400.0
    """Seconds after the end of its TTL for which an answer may."""
    records: int = 16
    """Records looked at per answer, and flows per URI."""
    transports: tuple[str, ...] = ("udp",)
    """Transports that we can use, preferred first."""
    hosts: tuple[tuple[str, tuple[str, ...]], ...] = field(default=())
    """(name, addresses) pairs that need no DNS, like a hosts file; "localhost" is always known."""


Question = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Answer:
    records: tuple[object, ...]
    until: float
    """When it is asked for again."""
    expires: float
    """When its TTL is over."""


class _Unanswered(Exception):
    """No name server has said anything of the name."""


class Resolver:
    """Answers come from a bounded cache where they can; equal questions under way are asked once.

    `now` gives monotonic seconds, `random` a number in [0, 1) for the weights of SRV.
    """

    def __init__(self, config: ResolverConfig, *, now: Callable[[], float], random: Callable[[], float]) -> None:
        self._config = config
        self._now = now
        self._random = random
        self._cache: OrderedDict[Question, _Answer] = OrderedDict()
        self._asking: dict[Question, asyncio.Task[tuple[object, ...]]] = {}
        self._hosts = {name.lower(): addresses for name, addresses in config.hosts}
        self._hosts.setdefault("localhost", ("127.0.0.1", "::1"))
        self._dns: dns.asyncresolver.Resolver | None = None

    async def resolve(self, uri: Uri) -> tuple[Flow, ...]:
        """The next hops of a SIP URI, best first; () when there is none that we can reach (RFC 3263 section 4)."""
        try:
            target = target_of(uri)
        except SipBuildError as error:
            logger.info("URI leads nowhere: %s", error)
            return ()
        host = target.host.rstrip(".").lower()
        steps = plan(replace(target, host=host), self._config.transports)
        if not steps:
            return ()
        last = steps[-1]
        if host not in self._hosts and len(steps) > 1:
            services = await self._naptr(steps[0]) if isinstance(steps[0], NaptrLookup) else []
            found = await self._by_service(services or [one for one in steps if isinstance(one, SrvLookup)], host)
            if found is not None:
                return found
        return await self._addresses(last, host) if isinstance(last, AddressLookup) else ()

    async def _by_service(self, services: Sequence[SrvLookup], domain: str) -> tuple[Flow, ...] | None:
        """The flows that SRV records lead to, None where there is no such record at all.

        The one target "." says that there is no such service (RFC 2782): that is an answer, too.
        """
        flows: list[Flow] = []
        offered = False
        for service in services:
            offered = offered or bool(await self._ask(service.name, "SRV"))
            for record in await self._srv(service.name):
                flows += await self._addresses(AddressLookup(record.target, record.port, service.transport), domain)
                if len(flows) >= self._config.records:
                    return tuple(flows[: self._config.records])
        return tuple(flows) if offered else None

    async def _naptr(self, lookup: NaptrLookup) -> list[SrvLookup]:
        records = [
            NaptrRecord(
                one.order,
                one.preference,
                one.flags.decode("ascii", "replace"),
                one.service.decode("ascii", "replace"),
                one.replacement.to_text(),
            )
            for one in await self._ask(lookup.domain, "NAPTR")
            if isinstance(one, NAPTR)
        ]
        return srv_of_naptr(records, lookup.services)[: self._config.records]

    async def _srv(self, name: str) -> list[SrvRecord]:
        found = [one for one in await self._ask(name, "SRV") if isinstance(one, SRV)][: self._config.records]
        records = [SrvRecord(one.priority, one.weight, one.port, _name(one.target)) for one in found]
        return order_srv(records, iter(self._random, None))

    async def _addresses(self, lookup: AddressLookup, domain: str) -> tuple[Flow, ...]:
        """The flows to a host; each is named by the URI's `domain`, which a certificate has to show (RFC 5922 4)."""
        known: tuple[str, ...] | None = (lookup.host,) if lookup.is_address else self._hosts.get(lookup.host.lower())
        if known is None:
            four, six = await asyncio.gather(self._ask(lookup.host, "A"), self._ask(lookup.host, "AAAA"))
            known = tuple(str(getattr(one, "address", "")) for one in (*four, *six))
        addresses = [address for address in known[: self._config.records] if address]
        return tuple(Flow(lookup.transport, address, lookup.port, name=domain) for address in addresses)

    async def _ask(self, name: str, kind: str) -> tuple[object, ...]:
        question = (name.lower(), kind)
        cached = self._cache.get(question)
        if cached is not None and cached.until > self._now():
            self._cache.move_to_end(question)
            return cached.records
        task = self._asking.get(question)
        if task is None:
            task = asyncio.ensure_future(self._look_up(question))
            self._asking[question] = task
            task.add_done_callback(lambda _: self._asking.pop(question, None))
        return await asyncio.shield(task)

    async def _look_up(self, question: Question) -> tuple[object, ...]:
        try:
            records, ttl = await self._query(*question)
            expires = self._now() + ttl
            answer = _Answer(records, expires, expires)
        except _Unanswered:
            answer = self._stale(question)
        self._cache[question] = answer
        self._cache.move_to_end(question)
        if len(self._cache) > self._config.cache_entries:
            self._cache.popitem(last=False)
        return answer.records

    def _stale(self, question: Question) -> _Answer:
        """What goes on while nobody answers: the records of before, or that there are none."""
        now, config, before = self._now(), self._config, self._cache.get(question)
        if before is None or not before.records or now > before.expires + config.longest_stale:
            return _Answer((), now + config.negative_ttl, now)
        return replace(before, until=now + config.stale_ttl)

    async def _query(self, name: str, kind: str) -> tuple[tuple[object, ...], float]:
        """Records of one question and how long they may be kept; () where there are none. Raises _Unanswered."""
        config = self._config
        try:
            answer = await self._client().resolve(
                name, kind, lifetime=config.timeout, raise_on_no_answer=False, search=False
            )
        except dns.resolver.NXDOMAIN:
            return (), config.negative_ttl
        except (dns.exception.DNSException, OSError, ValueError) as error:
            logger.info("no answer for a %s record: %s", kind, type(error).__name__)
            raise _Unanswered from error
        if answer.rrset is None:
            return (), config.negative_ttl
        return tuple(answer.rrset)[: config.records], min(float(answer.rrset.ttl), config.longest_ttl)

    def _client(self) -> dns.asyncresolver.Resolver:
        if self._dns is None:
            servers = self._config.nameservers
            self._dns = dns.asyncresolver.Resolver(configure=not servers)
            if servers:
                self._dns.nameservers = list(servers)
            self._dns.port = self._config.port
        return self._dns

    async def close(self) -> None:
        """Stop asking."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _name(name: dns.name.Name) -> str:
    """Without its last dot; the root, which says that there is no such service, stays "."."""
    return name.to_text(omit_final_dot=True)
