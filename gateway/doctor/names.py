"""The names that others are told: whether DNS has them, and whether those of ours lead here."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.config import Config
from gateway.config.ports import is_own_address
from gateway.config.values import ip_version
from gateway.doctor.findings import Finding, good, notice, wrong
from gateway.doctor.lookup import Found, in_dns, look_up, look_up_host, place_of
from gateway.doctor.network import seen_from_outside
from gateway.sip.message.uri import Uri


@dataclass(frozen=True, slots=True)
class _Name:
    key: str
    host: str
    use: str
    """Who is told, a sentence without its end."""
    ours: bool = True
    """Whether it is to lead here."""

    @property
    def has_services(self) -> bool:
        """Whether phones ask for SRV records of it first (RFC 3263)."""
        return self.key == "domain"

    async def found(self, config: Config) -> Found:
        if self.has_services:
            return await look_up(Uri("sip", None, self.host), config)
        return await look_up_host(self.host, config)


async def names(config: Config) -> Iterator[Finding]:
    """Every name in the configuration that others look up, but for trunks and `webrtc.stun_server`."""
    told = [one for one in _told(config) if in_dns(one.host)]
    if not told:
        return iter(())
    looking = asyncio.gather(*(one.found(config) for one in told))
    seen, found = await asyncio.gather(seen_from_outside(config), looking)
    here = _Here(config, seen if isinstance(seen, str) else None)
    judged = [_judged(one, its, here) for one, its in zip(told, found, strict=True)]
    domain = next((its for one, its in zip(told, found, strict=True) if one.has_services), None)
    return iter([*judged, *(_contradictions(config, domain.addresses, here) if domain is not None else ())])


def _contradictions(config: Config, addresses: tuple[str, ...], here: _Here) -> Iterator[Finding]:
    """Addresses that peers are told, where the domain leads to this machine by another."""
    ours = [one for one in addresses if here.is_this_machine(one)]
    for key, host in _advertised(config):
        comparable = [one for one in ours if ip_version(one) == ip_version(host)]
        if comparable and host not in addresses and not here.is_this_machine(host):
            yield wrong(
                key,
                f"Peers are told {host}, and {config.domain} leads to {', '.join(comparable)}, which is this machine.",
                f"Correct {key}, or the record of {config.domain}: both are to be the address that peers reach.",
            )


def _told(config: Config) -> Iterator[_Name]:
    yield _Name("domain", config.domain, "Phones register with {}")
    for key, host in _advertised(config):
        yield _Name(key, host, "Peers are told {}")
    if config.web.public_url is not None:
        yield _Name("web.public_url", urlsplit(config.web.public_url).hostname or "", "Browsers open {}")
    servers = [url for one in config.web.ice_servers for url in one.urls]
    for key, url in (*(("web.ice_servers", one) for one in servers), ("webrtc.turn_server", config.webrtc.turn_server)):
        if url is not None:
            yield _Name(key, place_of(url)[0], "Browsers are told {}", ours=False)


def _advertised(config: Config) -> Iterator[tuple[str, str]]:
    if config.sip.advertised is not None:
        yield "sip.advertised", config.sip.advertised.host
    if not config.media.rtpengines:
        for one in config.webrtc.advertised:
            yield "webrtc.advertised", one.host
        for host in config.rtp.advertised:
            yield "rtp.advertised", host


class _Here:
    """The addresses by which we are reached, as far as the configuration, this machine and a STUN server know."""

    def __init__(self, config: Config, seen: str | None) -> None:
        self._seen = seen
        self._told = {seen, *(host for _, host in _advertised(config))}
        proxies = (*config.sip.proxies, *config.web.proxies)
        self._proxies = [ipaddress.ip_network(one) for one in proxies]

    def is_this_machine(self, address: str) -> bool:
        """Return True for an address of an interface here, and for the one that the STUN server sees."""
        return address == self._seen or is_own_address(address)

    def has(self, address: str) -> bool:
        told = address in self._told or any(ipaddress.ip_address(address) in one for one in self._proxies)
        return told or is_own_address(address)


def _judged(name: _Name, found: Found, here: _Here) -> Finding:
    host, use = name.host, name.use.format(name.host)
    if not found.addresses:
        if name.has_services and not found.unanswered:
            return notice(
                name.key,
                f"{host} leads to no address.",
                "Right where phones are given this machine's address (as outbound proxy) and the domain only names"
                " accounts; else make a record of it that leads here (SRV, A or AAAA), or correct domain.",
            )
        make = f"Make a record of it that leads here (A or AAAA), or correct {name.key}."
        return found.nothing(name.key, host, make if name.ours else f"Correct {name.key}, or leave that server out.")
    leads = f"{use}, which leads to {', '.join(found.addresses)}"
    if not name.ours:
        return good(name.key, f"{leads}.")
    if all(ipaddress.ip_address(one).is_loopback for one in found.addresses):
        return notice(
            name.key, f"{leads}: only this machine reaches it.", "For others, make a record of an address they reach."
        )
    if not any(here.has(one) for one in found.addresses):
        return notice(
            name.key,
            f"{leads}: that is no address of this machine, and none that peers are told.",
            "Right where a router (1:1 NAT) or a load balancer there passes on to here; else correct the record.",
        )
    return good(name.key, f"{leads}.")
