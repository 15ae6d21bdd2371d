"""RFC 3263 against a name server of our own on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.net.resolver import Resolver, ResolverConfig
from gateway.sip.message.uri import Uri
from gateway.testing.clock import ManualClock
from tests.net.name_server import NameServer, Zone
from tests.rows import by_row

ZONE: Zone = {
    ("pbx.example.", "A"): ["192.0.2.1", "192.0.2.2"],
    ("pbx.example.", "AAAA"): ["2001:db8::1"],
    ("trunk.example.", "NAPTR"): [
        '20 0 "s" "SIP+D2T" "" _sip._tcp.trunk.example.',
        '10 0 "s" "SIP+D2U" "" udp.trunk.example.',
    ],
    ("udp.trunk.example.", "SRV"): ["20 0 5070 backup.example.", "10 0 5062 first.example."],
    ("_sip._tcp.trunk.example.", "SRV"): ["10 0 5063 first.example."],
    ("first.example.", "A"): ["192.0.2.11"],
    ("backup.example.", "A"): ["192.0.2.12"],
    ("srv.example.", "A"): ["192.0.2.99"],
    ("_sip._udp.srv.example.", "SRV"): ["10 10 5064 first.example.", "10 90 5065 backup.example."],
    ("many.example.", "A"): [f"192.0.2.{number}" for number in range(1, 101)],
    ("off.example.", "A"): ["192.0.2.5"],
    ("_sip._udp.off.example.", "SRV"): ["0 0 0 ."],
}


class Setup:
    def __init__(self, server: NameServer, resolver: Resolver, clock: ManualClock) -> None:
        self.server = server
        self.resolver = resolver
        self.clock = clock

    async def flows(self, uri: str) -> list[str]:
        return [str(flow) for flow in await self.resolver.resolve(Uri.parse(uri))]

    async def timed(self, uri: str) -> tuple[list[str], float]:
        """The flows, and after how many seconds they were there."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        return await self.flows(uri), loop.time() - began

    async def settled(self) -> None:
        """Every question that is under way has had its answer, or none."""
        await asyncio.gather(*self.resolver._asking.values())


@asynccontextmanager
async def resolving(
    zone: Zone = ZONE,
    *,
    transports: tuple[str, ...] = ("udp",),
    random: float = 0.0,
    timeout: float = 2.0,
    stale_after: float = 1.8,
    cache_entries: int = 100,
) -> AsyncIterator[Setup]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: NameServer(zone), local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    clock = ManualClock()
    config = ResolverConfig(
        nameservers=("127.0.0.1",),
        port=port,
        timeout=timeout,
        stale_after=stale_after,
        transports=transports,
        cache_entries=cache_entries,
    )
    resolver = Resolver(config, now=clock, random=lambda: random)
    try:
        yield Setup(server, resolver, clock)
    finally:
        await resolver.close()
        transport.close()


@by_row(
    ("uri", "flows"),
    [
        ("sip:a@192.0.2.7", ["udp:192.0.2.7:5060"]),
        ("sip:a@192.0.2.7:5099", ["udp:192.0.2.7:5099"]),
        ("sip:a@[2001:db8::7]", ["udp:[2001:db8::7]:5060"]),
        ("sip:a@localhost:5070", ["udp:127.0.0.1:5070", "udp:[::1]:5070"]),
        ("sip:a@x.example;maddr=192.0.2.8", ["udp:192.0.2.8:5060"]),
        ("sip:a@192.0.2.7;transport=tcp", ["tcp:192.0.2.7:5060"]),
        ("sips:a@192.0.2.7", ["tls:192.0.2.7:5061"]),
        ("sip:a@192.0.2.7;transport=sctp", []),
    ],
)
async def test_what_needs_no_name_server_asks_none(uri: str, flows: list[str]) -> None:
    """Addresses and the hosts table; a transport that we do not speak gives nothing (RFC 3263 4.1, 4.2)."""
    async with resolving() as setup:
        assert await setup.flows(uri) == flows
        assert setup.server.asked == []


async def test_a_port_in_the_uri_goes_straight_to_addresses() -> None:
    """No SRV then (RFC 3263 4.2); IPv4 before IPv6."""
    async with resolving() as setup:
        *four, six = await setup.flows("sip:a@pbx.example:5080")
        # Addresses of a family stay as the server, or its shuffling, gave them.
        assert sorted(four) == ["udp:192.0.2.1:5080", "udp:192.0.2.2:5080"]
        assert six == "udp:[2001:db8::1]:5080"
        assert {kind for _, kind in setup.server.asked} == {"A", "AAAA"}


async def test_naptr_chooses_the_service_and_srv_the_order() -> None:
    """The NAPTR of a transport that we speak, then SRV by priority."""
    async with resolving() as setup:
        assert await setup.flows("sip:a@trunk.example") == ["udp:192.0.2.11:5062", "udp:192.0.2.12:5070"]


async def test_naptr_offers_every_transport_that_we_speak_in_its_order() -> None:
    """UDP first by preference, then TCP."""
    async with resolving(transports=("udp", "tcp")) as setup:
        assert await setup.flows("sip:a@trunk.example") == [
            "udp:192.0.2.11:5062",
            "udp:192.0.2.12:5070",
            "tcp:192.0.2.11:5063",
        ]


async def test_a_flow_is_named_by_the_domain_of_the_uri() -> None:
    """A certificate has to show what was asked for, not what an SRV record said (RFC 5922 section 4)."""
    async with resolving() as setup:
        flows = await setup.resolver.resolve(Uri.parse("sip:a@trunk.example"))
        assert {flow.name for flow in flows} == {"trunk.example"}


@pytest.mark.parametrize("uri", ["tel:+1", "sip:a@pbx.example;transport=%0d"])
async def test_a_uri_that_leads_nowhere_has_no_flow(uri: str) -> None:
    """And nobody is asked."""
    async with resolving() as setup:
        assert await setup.resolver.resolve(Uri.parse(uri)) == ()
        assert setup.server.asked == []


@by_row(("random", "first"), [(0.0, 5064), (0.09, 5064), (0.5, 5065), (0.99, 5065)])
async def test_srv_weights_share_the_load(random: float, first: int) -> None:
    """Weight 10 against 90 (RFC 2782)."""
    async with resolving(random=random) as setup:
        flows = await setup.flows("sip:a@srv.example")
        assert flows[0].endswith(f":{first}")
        assert len(flows) == 2


async def test_without_srv_the_addresses_of_the_name_are_used() -> None:
    """Default port 5060."""
    async with resolving() as setup:
        assert "udp:192.0.2.1:5060" in await setup.flows("sip:a@pbx.example")


@by_row(
    ("name", "version", "addresses"),
    [
        ("pbx.example", 4, {"192.0.2.1", "192.0.2.2"}),
        ("PBX.example.", 4, {"192.0.2.1", "192.0.2.2"}),
        ("pbx.example", 6, {"2001:db8::1"}),
        ("off.example", 6, {None}),
        ("unknown.example", 4, {None}),
        ("localhost", 4, {"127.0.0.1"}),
        ("localhost", 6, {"::1"}),
    ],
)
async def test_a_host_name_gives_an_address_of_one_version(name: str, version: int, addresses: set[str | None]) -> None:
    """The records of the host alone, in the order of the name server: no service is asked for."""
    async with resolving() as setup:
        assert await setup.resolver.address_of(name, version) in addresses
        assert {kind for _, kind in setup.server.asked} <= {"A" if version == 4 else "AAAA"}


@by_row("name", ["nobody.invalid", "a2b.local", ".", ""])
async def test_names_that_the_dns_never_has_are_not_asked_for(name: str) -> None:
    """RFC 6761 section 6.4, RFC 6762 section 3."""
    async with resolving() as setup:
        assert await setup.resolver.address_of(name, 4) is None
        assert not setup.server.asked


async def test_answers_are_kept_for_their_ttl() -> None:
    """A second look asks nothing; after 60 s it asks again."""
    async with resolving() as setup:
        await setup.flows("sip:a@pbx.example:5080")
        asked = len(setup.server.asked)
        await setup.flows("sip:a@pbx.example:5080")
        assert len(setup.server.asked) == asked
        setup.clock.advance(61)
        await setup.flows("sip:a@pbx.example:5080")
        assert len(setup.server.asked) == 2 * asked


async def test_a_name_that_does_not_exist_is_remembered_too() -> None:
    """() twice, one round of questions."""
    async with resolving() as setup:
        assert await setup.flows("sip:a@nobody.example") == []
        asked = len(setup.server.asked)
        assert await setup.flows("sip:a@nobody.example") == []
        assert len(setup.server.asked) == asked


async def test_equal_questions_at_once_are_asked_once() -> None:
    """A hundred calls to one trunk are one look-up."""
    async with resolving() as setup:
        results = await asyncio.gather(*[setup.flows("sip:a@pbx.example:5080") for _ in range(100)])
        assert all(result == results[0] for result in results)
        assert len(setup.server.asked) == 2


async def test_a_silent_name_server_ends_in_nothing() -> None:
    """No exception, no flows, within the time-out."""
    async with resolving(timeout=0.2) as setup:
        setup.server.silent = True
        assert await setup.flows("sip:a@pbx.example:5080") == []


async def test_a_silent_name_server_costs_a_call_one_wait_whatever_is_asked() -> None:
    """NAPTR, SRV of each transport, A and AAAA; the next call is told at once, and who answers later is heard then."""
    async with resolving(timeout=1.0, transports=("udp", "tcp", "tls")) as setup:
        setup.server.silent = True
        flows, seconds = await setup.timed("sip:a@srv.example")
        assert flows == []
        assert seconds < 4  # six questions one after the other take 6
        await setup.settled()
        asked = len(setup.server.asked)
        assert await setup.flows("sip:a@srv.example") == []
        assert len(setup.server.asked) == asked
        setup.server.silent = False
        setup.clock.advance(5.1)
        assert await setup.flows("sip:a@srv.example") == ["udp:192.0.2.11:5064", "udp:192.0.2.12:5065"]


async def test_a_target_of_srv_that_no_name_server_knows_keeps_no_other_from_being_called() -> None:
    """All of them are looked up at once, and what is known when the time is over is taken."""
    async with resolving(timeout=0.5) as setup:
        setup.server.mute = {"first.example."}
        assert await setup.flows("sip:a@trunk.example") == ["udp:192.0.2.12:5070"]


@by_row("uri", ["sip:a@srv.example", "sip:a@trunk.example", "sip:a@pbx.example"])
async def test_what_was_not_there_is_not_asked_for_at_each_call_either(uri: str) -> None:
    """While nobody answers, "no such record" goes on like records do (RFC 8767): one wait in half a minute."""
    async with resolving(timeout=8.0, stale_after=0.2, transports=("udp", "tcp", "tls")) as setup:
        before = await setup.flows(uri)
        setup.clock.advance(61)
        setup.server.silent = True
        after, seconds = await setup.timed(uri)
        assert after == before
        assert seconds < 6
        setup.server.silent, setup.server.fails = False, True
        await setup.settled()
        for _ in range(4):
            asked = len(setup.server.asked)
            setup.clock.advance(6)
            assert await setup.flows(uri) == before
            assert len(setup.server.asked) == asked


@by_row("uri", ["sip:a@srv.example", "sip:a@trunk.example", "sip:a@pbx.example:5080"])
async def test_a_provider_is_called_where_it_was_while_no_name_server_answers(uri: str) -> None:
    """Its answer goes on for a day (RFC 8767); once they are back its new place is found within half a minute."""
    async with resolving(dict(ZONE)) as setup:
        before = await setup.flows(uri)
        assert before
        setup.clock.advance(61)
        setup.server.fails = True
        assert await setup.flows(uri) == before
        asked = len(setup.server.asked)
        assert await setup.flows(uri) == before
        assert len(setup.server.asked) == asked
        setup.server.fails = False
        for name in ("pbx.example.", "first.example.", "backup.example."):
            setup.server.zone[name, "A"] = ["192.0.2.200"]
            setup.server.zone.pop((name, "AAAA"), None)
        setup.clock.advance(31)
        after = await setup.flows(uri)
        assert {flow.split(":")[1] for flow in after} == {"192.0.2.200"}
        setup.server.fails = True
        setup.clock.advance(86_500)
        assert await setup.flows(uri) == []


async def test_what_goes_on_does_so_for_a_day_however_often_it_is_asked_for() -> None:
    """Its use makes no answer young again."""
    async with resolving(timeout=0.2) as setup:
        before = await setup.flows("sip:a@pbx.example:5080")
        setup.clock.advance(61)
        setup.server.fails = True
        for _ in range(23):
            setup.clock.advance(3600)
            assert await setup.flows("sip:a@pbx.example:5080") == before
        setup.clock.advance(2 * 3600)
        assert await setup.flows("sip:a@pbx.example:5080") == []


async def test_a_provider_whose_records_were_gone_is_called_within_seconds_of_their_return() -> None:
    """Records that a name server says are gone do not go on; what is not there is asked for again soon."""
    zone = dict(ZONE)
    async with resolving(zone) as setup:
        before = await setup.flows("sip:a@srv.example")
        records = {key: setup.server.zone.pop(key) for key in list(setup.server.zone) if "srv.example" in key[0]}
        setup.clock.advance(61)
        assert await setup.flows("sip:a@srv.example") == []
        setup.server.zone.update(records)
        setup.clock.advance(5.1)
        assert await setup.flows("sip:a@srv.example") == before


async def test_answers_and_cache_are_bounded() -> None:
    """100 addresses give 16 flows; the cache holds no more than it may."""
    async with resolving(cache_entries=4) as setup:
        assert len(await setup.flows("sip:a@many.example:5060")) == 16
        for number in range(10):
            await setup.flows(f"sip:a@n{number}.example:5060")
        assert len(setup.resolver._cache) == 4


async def test_a_srv_target_of_root_says_that_there_is_no_service() -> None:
    """Neither "." nor the name's own addresses are tried then (RFC 2782)."""
    async with resolving() as setup:
        assert await setup.flows("sip:a@off.example") == []
        assert (".", "A") not in setup.server.asked


async def test_what_nobody_has_answered_is_told_from_what_is_not_there() -> None:
    """While it is asked, and after; a name that does not exist has its answer."""
    async with resolving(timeout=0.5) as setup:
        assert await setup.flows("sip:nowhere.example:5060") == []
        assert setup.resolver.unanswered == ()
        setup.server.silent = True
        asking = asyncio.ensure_future(setup.flows("sip:pbx.example:5060"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        both = {("pbx.example", "A"), ("pbx.example", "AAAA")}
        assert set(setup.resolver.unanswered) == both
        assert await asking == []
        await setup.settled()
        assert set(setup.resolver.unanswered) == both
