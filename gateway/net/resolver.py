"""Resolution of SIP URIs to addresses by NAPTR, SRV, A and AAAA (RFC 3263), cached and bounded."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from itertools import chain

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
    """Name servers, and limits of look-ups."""

    nameservers: tuple[str, ...] = ()
    """IP addresses; () means the name servers of the system."""
    port: int = 53
    """UDP and TCP port of the name servers."""
    timeout: float = 3.0
    """Seconds for resolving a URI with all its questions; each question continues in the background, within
    the limit.
    """
    stale_after: float = 1.8
    """Seconds to wait where every missing answer has a stale copy (RFC 8767 section 5)."""
    cache_entries: int = 1024
    longest_ttl: float = 3600.0
    """Upper limit of a record's TTL, in seconds."""
    negative_ttl: float = 5.0
    """Seconds before a name without answer is asked again: short, so that a recovered provider is soon called."""
    stale_ttl: float = 30.0
    """Seconds before the next question for a name served from a stale answer (RFC 8767 section 5)."""
    longest_stale: float = 86_400.0
    """Seconds after the end of its TTL during which a stale answer may serve."""
    records: int = 16
    """Largest number of records used per answer, and of flows per URI."""
    transports: tuple[str, ...] = ("udp",)
    """Usable transports, preferred first."""
    hosts: tuple[tuple[str, tuple[str, ...]], ...] = field(default=())
    """(name, addresses) pairs resolved without DNS, like a hosts file; "localhost" is always known."""


Question = tuple[str, str]
_NEVER_ASKED = (".invalid", ".local")


@dataclass(frozen=True, slots=True)
class _Answer:
    records: tuple[object, ...]
    until: float
    """Time of the next question to a name server."""
    ends: float
    """End of use as a stale answer; 0 if no name server has answered."""


class _Unanswered(Exception):
    """Raised when no name server has answered."""


class Resolver:
    """Resolves URIs from a bounded cache where possible; equal pending questions are asked once.

    `now` returns monotonic seconds, `random` a number in [0, 1) for the weights of SRV.
    """

    def __init__(self, config: ResolverConfig, *, now: Callable[[], float], random: Callable[[], float]) -> None:
        self._config = config
        self._now = now
        self._random = random
        self._cache: OrderedDict[Question, _Answer] = OrderedDict()
        self._led_to: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self._asking: dict[Question, asyncio.Task[tuple[object, ...]]] = {}
        self._hosts = {name.lower(): addresses for name, addresses in config.hosts}
        self._hosts.setdefault("localhost", ("127.0.0.1", "::1"))
        self._dns: dns.asyncresolver.Resolver | None = None

    async def resolve(self, uri: Uri) -> tuple[Flow, ...]:
        """Return the next hops of a SIP URI, best first; () if none is reachable (RFC 3263 section 4).

        A late answer counts as its stale copy or as empty. `last_addresses` remembers the addresses.
        """
        flows = await self._resolve(uri)
        if flows:
            host = uri.host.rstrip(".").lower()
            self._led_to[host] = tuple(dict.fromkeys(flow.host for flow in flows))
            self._led_to.move_to_end(host)
            if len(self._led_to) > self._config.cache_entries:
                self._led_to.popitem(last=False)
        return flows

    def last_addresses(self, host: str) -> tuple[str, ...]:
        """Return the last IP addresses resolved for the host of a SIP URI; () if none are remembered."""
        return self._led_to.get(host.rstrip(".").lower(), ())

    async def _resolve(self, uri: Uri) -> tuple[Flow, ...]:
        try:
            target = target_of(uri)
        except SipBuildError as error:
            logger.info("URI leads nowhere: %s", error)
            return ()
        host = target.host.rstrip(".").lower()
        steps = plan(replace(target, host=host), self._config.transports)
        if not steps:
            return ()
        last, began = steps[-1], asyncio.get_running_loop().time()
        if host not in self._hosts and len(steps) > 1:
            services = [one for one in steps if isinstance(one, SrvLookup)]
            # All questions start together: a silent name server then costs one time-out instead of one for each
            # question.
            for name, kind in [*((one.name, "SRV") for one in services), (host, "A"), (host, "AAAA")]:
                self._begin((name.lower(), kind))
            named = await self._naptr(steps[0], began) if isinstance(steps[0], NaptrLookup) else []
            found = await self._by_service(named or services, host, began)
            if found is not None:
                return found
        return await self._addresses(last, host, began) if isinstance(last, AddressLookup) else ()

    async def address_of(self, name: str, version: int) -> str | None:
        """Return the first IP address of IP version `version` of a host; None if missing or late.

        The DNS is never asked for reserved names (RFC 6761 section 6.4, RFC 6762 section 3).
        """
        host = name.rstrip(".").lower()
        known = self._hosts.get(host)
        if known is None:
            if not host or f".{host}".endswith(_NEVER_ASKED):
                return None
            answer = await self._ask(host, "A" if version == 4 else "AAAA", asyncio.get_running_loop().time())
            known = tuple(str(getattr(one, "address", "")) for one in answer)
        return next((address for address in known if address and ip_address(address).version == version), None)

    @property
    def unanswered(self) -> tuple[Question, ...]:
        """Questions without any answer from a name server yet, not even a negative one."""
        return (*self._asking, *(question for question, answer in self._cache.items() if not answer.ends))

    async def _by_service(self, services: Sequence[SrvLookup], domain: str, began: float) -> tuple[Flow, ...] | None:
        """Return the flows of SRV records, or None without any record.

        The single target "." is an answer: the service does not exist (RFC 2782).
        """
        answers = await asyncio.gather(*[self._ask(service.name, "SRV", began) for service in services])
        if not any(answers):
            return None
        lookups = [
            AddressLookup(record.target, record.port, service.transport)
            for service, answer in zip(services, answers, strict=True)
            for record in self._in_order(answer)
        ][: self._config.records]
        flows = await asyncio.gather(*[self._addresses(lookup, domain, began) for lookup in lookups])
        return tuple(chain.from_iterable(flows))[: self._config.records]

    async def _naptr(self, lookup: NaptrLookup, began: float) -> list[SrvLookup]:
        records = [
            NaptrRecord(
                one.order,
                one.preference,
                one.flags.decode("ascii", "replace"),
                one.service.decode("ascii", "replace"),
                one.replacement.to_text(),
            )
            for one in await self._ask(lookup.domain, "NAPTR", began)
            if isinstance(one, NAPTR)
        ]
        return srv_of_naptr(records, lookup.services)[: self._config.records]

    def _in_order(self, answer: Sequence[object]) -> list[SrvRecord]:
        found = [one for one in answer if isinstance(one, SRV)][: self._config.records]
        records = [SrvRecord(one.priority, one.weight, one.port, _name(one.target)) for one in found]
        return order_srv(records, iter(self._random, None))

    async def _addresses(self, lookup: AddressLookup, domain: str, began: float) -> tuple[Flow, ...]:
        """Return the flows to a host, each named by the URI's `domain`: the name checked in certificates (RFC
        5922 4).
        """
        known: tuple[str, ...] | None = (lookup.host,) if lookup.is_address else self._hosts.get(lookup.host.lower())
        if known is None:
            four, six = await asyncio.gather(*[self._ask(lookup.host, kind, began) for kind in ("A", "AAAA")])
            known = tuple(str(getattr(one, "address", "")) for one in (*four, *six))
        addresses = [address for address in known[: self._config.records] if address]
        return tuple(Flow(lookup.transport, address, lookup.port, name=domain) for address in addresses)

    async def _ask(self, name: str, kind: str, began: float) -> tuple[object, ...]:
        """Return the answer if available in time, counted from `began`, else the stale answer."""
        question = (name.lower(), kind)
        task = self._begin(question)
        if task is None:
            return self._cache[question].records
        before = self._stale(question)
        timeout, stale_after = self._config.timeout, self._config.stale_after
        patience = timeout if before is None else min(timeout, stale_after)
        await asyncio.wait({task}, timeout=max(0.0, began + patience - asyncio.get_running_loop().time()))
        if task.done():
            return task.result()
        return before.records if before is not None else ()

    def _begin(self, question: Question) -> asyncio.Task[tuple[object, ...]] | None:
        """Start or join a look-up; return None if the answer is in the cache."""
        cached = self._cache.get(question)
        if cached is not None and cached.until > self._now():
            self._cache.move_to_end(question)
            return None
        task = self._asking.get(question)
        if task is None:
            task = self._asking[question] = asyncio.ensure_future(self._look_up(question))
            task.add_done_callback(lambda _: self._asking.pop(question, None))
        return task

    async def _look_up(self, question: Question) -> tuple[object, ...]:
        now, config = self._now, self._config
        try:
            records, ttl = await self._query(*question)
            answer = _Answer(records, now() + ttl, now() + ttl + config.longest_stale)
        except _Unanswered:
            before = self._stale(question)
            if before is not None:
                answer = replace(before, until=now() + config.stale_ttl)
            else:
                answer = _Answer((), now() + config.negative_ttl, 0.0)
        self._cache[question] = answer
        self._cache.move_to_end(question)
        if len(self._cache) > config.cache_entries:
            self._cache.popitem(last=False)
        return answer.records

    def _stale(self, question: Question) -> _Answer | None:
        """Return the last answer, positive or negative, while still usable as a stale answer."""
        before = self._cache.get(question)
        return before if before is not None and before.ends > self._now() else None

    async def _query(self, name: str, kind: str) -> tuple[tuple[object, ...], float]:
        """Return the records of a question and their time to live in seconds; () for a negative answer. Raises
        _Unanswered.
        """
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
            self._dns.timeout = self._config.timeout / 3  # per server, leaving time for the next servers
        return self._dns

    async def close(self) -> None:
        """Cancel all look-ups."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _name(name: dns.name.Name) -> str:
    """Return the name without its last dot; the root ("no such service") stays "."."""
    return name.to_text(omit_final_dot=True)
