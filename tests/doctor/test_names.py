"""The names that others are told, asked of a real name server on loopback."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from rich.console import Console

from gateway.commands.doctor import examined
from gateway.config import Config
from gateway.doctor import lookup, names, network
from gateway.doctor.findings import Finding, Verdict
from tests.doctor.around import config, said, stun_server, trunk
from tests.doctor.conftest import FOREIGN, OWN
from tests.net.name_server import NameServer
from tests.rows import by_row


async def found(key: str, **sections: Any) -> Finding:
    return said(await names.names(config(**sections)), key)


def told(name: str) -> dict[str, dict[str, Any]]:
    """By each key that others are told a name of ours by."""
    return {
        "domain": {"domain": name},
        "sip.advertised": {"sip": {"advertised": f"{name}:5080"}},
        "webrtc.advertised": {"webrtc": {"advertised": [name]}},
        "rtp.advertised": {"rtp": {"listen": "::1" if name.startswith("[") else "127.0.0.1", "advertised": name}},
        "web.public_url": {"web": {"public_url": f"https://{name}:8443/phone"}},
    }


def servers(name: str) -> dict[str, dict[str, Any]]:
    """By each key that browsers are told a server by."""
    return {
        "web.ice_servers": {"web": {"ice_servers": [{"urls": [f"turns:{name}:5349?transport=tcp"]}]}},
        "webrtc.turn_server": {"webrtc": {"turn_server": f"turn:{name}"}},
        "webrtc.stun_server": {"webrtc": {"stun_server": f"stun:{name}"}},
    }


KEYS, SERVERS = [*told("")], [*servers("")]


async def look(key: str, name: str) -> Finding:
    """The one finding of a name under a key."""
    sections = config(**(told(name) | servers(name))[key])
    return said([*await names.names(sections), *await network.nat(sections)], key)


async def test_a_domain_that_is_not_in_dns_is_no_fault(server: NameServer) -> None:
    """It may name accounts alone, for phones that are given an address; what to do otherwise is said."""
    finding = await look("domain", "nowhere.example")
    assert (finding.verdict, finding.found) == (Verdict.NOTICE, "nowhere.example leads to no address.")
    assert "outbound proxy" in finding.advice
    assert "SRV" in finding.advice


@pytest.mark.parametrize("key", [*KEYS[1:], *SERVERS])
async def test_a_name_that_does_not_exist_is_a_fault(server: NameServer, key: str) -> None:
    """By each key, with the key in what to do or what the name is for."""
    finding = await look(key, "nowhere.example")
    assert (finding.verdict, "nowhere.example" in finding.found) == (Verdict.WRONG, True)
    assert "leads to no address" in finding.found
    assert finding.advice


@pytest.mark.parametrize("key", [*KEYS, *SERVERS])
@pytest.mark.parametrize("how", ["silent", "fails"])
async def test_a_name_server_that_does_not_answer_is_another_fault(server: NameServer, key: str, how: str) -> None:
    """Nobody is told to make a record that may well be there; the wait is that of `sip.timers.lookup`."""
    setattr(server, how, True)
    sections = (told("own.example") | servers("own.example"))[key]
    bounded = config(**(sections | {"sip": {**sections.get("sip", {}), "timers": {"lookup": 0.5}}}))
    async with asyncio.timeout(10):
        finding = said([*await names.names(bounded), *await network.nat(bounded)], key)
    assert (finding.verdict, finding.found) == (Verdict.WRONG, "No name server answers for own.example.")
    assert "/etc/resolv.conf" in finding.advice


async def test_a_name_that_does_not_exist_is_told_by_those_who_know_no_naptr_too(server: NameServer) -> None:
    """They answer what else they are asked."""
    server.mute_kinds = {"NAPTR"}
    finding = await found("domain", domain="nowhere.example", sip={"timers": {"lookup": 0.5}})
    assert (finding.verdict, "leads to no address" in finding.found) == (Verdict.NOTICE, True)


async def test_names_are_looked_up_beside_each_other(server: NameServer) -> None:
    """A name server that says nothing costs one wait, however many names and trunks there are."""
    server.silent = True
    parts: dict[str, Any] = {}
    for sections in (told("own.example") | servers("own.example")).values():
        for section, keys in sections.items():
            parts[section] = keys if isinstance(keys, str) else parts.get(section, {}) | keys
    parts["sip"]["timers"] = {"lookup": 2}
    parts["trunks"] = [trunk("sip:pbx.example"), trunk("sip:other.example") | {"name": "other"}]
    loop = asyncio.get_running_loop()
    began = loop.time()
    findings = await examined(config(**parts, identity={"store": "memory"}), Console(quiet=True))
    silent = {one.subject for one in findings if "No name server answers" in one.found}
    assert silent == {*KEYS, *SERVERS, "trunk office", "trunk other"}
    assert loop.time() - began < 2 * 5  # ten names, of which each would wait as long


@pytest.mark.parametrize("key", KEYS)
async def test_a_name_that_leads_elsewhere_is_told(server: NameServer, key: str) -> None:
    """By every address; a router or a balancer may make it right."""
    finding = await look(key, "far.example")
    assert (finding.verdict, "load balancer" in finding.advice) == (Verdict.NOTICE, True)
    assert "far.example, which leads to " in finding.found
    assert all(address in finding.found for address in (FOREIGN, "203.0.113.10", "2001:db8::9"))


@pytest.mark.parametrize("key", KEYS)
async def test_a_name_that_leads_to_this_machine_is_good(server: NameServer, key: str) -> None:
    """To an address that others reach."""
    finding = await look(key, "own.example")
    only_here = OWN == "127.0.0.1"  # a machine without any network
    assert (finding.verdict, OWN in finding.found) == (Verdict.NOTICE if only_here else Verdict.GOOD, True)


async def test_a_name_that_leads_to_loopback_is_told(server: NameServer) -> None:
    """As an address of loopback is."""
    finding = await look("domain", "here.example")
    assert (finding.verdict, "only this machine" in finding.found) == (Verdict.NOTICE, True)


@pytest.mark.parametrize(
    "known",
    [
        {"sip": {"advertised": FOREIGN}},
        {"webrtc": {"advertised": [f"{FOREIGN}:4711"]}},
        {"rtp": {"advertised": FOREIGN}},
        {"sip": {"proxies": ["203.0.113.0/28"]}},
        {"web": {"proxies": [FOREIGN]}},
    ],
)
async def test_what_stands_for_us_is_ours(server: NameServer, known: dict[str, Any]) -> None:
    """An address that peers are told, a proxy in front."""
    assert (await found("domain", domain="far.example", **known)).verdict is Verdict.GOOD


@pytest.mark.parametrize(("seen", "verdict"), [(FOREIGN, Verdict.GOOD), ("203.0.113.77", Verdict.NOTICE)])
async def test_the_address_that_a_stun_server_sees_is_ours(server: NameServer, seen: str, verdict: Verdict) -> None:
    """So the record of a name behind NAT is right."""
    async with stun_server((seen, 4711)) as stun:
        finding = await found("domain", domain="far.example", webrtc={"stun_server": stun})
    assert finding.verdict is verdict


async def test_the_domain_may_have_services_alone(server: NameServer) -> None:
    """Phones ask for SRV first; a service that is said not to be there has no address."""
    finding = await found("domain", domain="served.example", sip={"advertised": FOREIGN})
    assert (finding.verdict, FOREIGN in finding.found) == (Verdict.GOOD, True)
    assert (await found("domain", domain="off.example")).verdict is Verdict.NOTICE


@pytest.mark.parametrize("key", SERVERS[:2])
async def test_a_server_for_browsers_may_be_anywhere(server: NameServer, key: str) -> None:
    """It is to have an address, and not ours."""
    assert (await look(key, "far.example")).verdict is Verdict.GOOD


@by_row(
    ("url", "place"),
    [
        ("stun:a.example", ("a.example", 3478)),
        ("stun:a.example:5000", ("a.example", 5000)),
        ("turns:a.example:5349?transport=tcp", ("a.example", 5349)),
        ("turn:a.example?transport=udp", ("a.example", 3478)),
        ("stun:[2001:db8::7]:5000", ("2001:db8::7", 5000)),
        ("stun:a.example:port", ("a.example", 3478)),
    ],
)
def test_the_place_of_a_server_is_read_of_its_url(url: str, place: tuple[str, int]) -> None:
    """Without its transport; the port of STUN where none is named."""
    assert lookup.place_of(url) == place


async def test_a_stun_server_is_asked_at_the_address_of_its_name(server: NameServer) -> None:
    """As the name server has it."""
    async with stun_server((FOREIGN, 4711)) as stun:
        there = stun.replace("127.0.0.1", "here.example")
        assert FOREIGN in said(await network.nat(config(webrtc={"stun_server": there})), "NAT").found
    assert ("here.example.", "A") in server.asked


@pytest.mark.parametrize(
    ("name", "verdict"), [("far.example", Verdict.GOOD), ("own.example", Verdict.NOTICE), ("nowhere", Verdict.NOTICE)]
)
async def test_a_name_that_browsers_are_told_counts_as_where_it_leads(
    server: NameServer, name: str, verdict: Verdict
) -> None:
    """Held against what a STUN server sees."""
    async with stun_server((FOREIGN, 4711)) as stun:
        seen = await network.nat(config(webrtc={"stun_server": stun, "advertised": [name]}))
    assert said(seen, "NAT").verdict is verdict


@pytest.mark.parametrize(
    "name", ["localhost", "phone.localhost", "gateway.local", "pbx.test", "192.0.2.7", "[2001:db8::7]"]
)
async def test_what_never_is_in_dns_is_not_asked_for(server: NameServer, name: str) -> None:
    """Names of this machine, of its link, of tests; addresses."""
    for sections in told(name).values():
        assert list(await names.names(config(**sections))) == []
    assert server.asked == []


async def test_a_fresh_installation_asks_nothing(server: NameServer) -> None:
    """Its domain is gateway.local, and it tells nobody else a name."""
    assert list(await names.names(Config())) == []
    assert server.asked == []


def test_a_name_that_peers_are_told_is_said_once() -> None:
    """By its own key, not beside the addresses that they are told."""
    named = config(**(told("own.example")["sip.advertised"]))
    assert "sip.listen (udp)" not in [one.subject for one in network.addresses(named)]
