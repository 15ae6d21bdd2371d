"""One name, looked up as the gateway does: what it leads to, or why it leads nowhere."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from random import random

from gateway.config import Config
from gateway.config.values import ip_version
from gateway.doctor.findings import Finding, wrong
from gateway.net.resolver import Resolver, ResolverConfig
from gateway.sip.flow import Flow
from gateway.sip.message.uri import Uri

_NEVER_THERE = ("localhost", "local", "test")
"""Domains that no name server is to know; a fresh installation is gateway.local."""
_TRANSPORTS = ("udp", "tcp", "tls")
_PLACE = re.compile(r"\w+:(?:\[([^]]*)\]|([^:?]*))(?::(\d+))?")
_STUN_PORT = 3478


@dataclass(frozen=True, slots=True)
class Found:
    """What there is of a name."""

    flows: tuple[Flow, ...]
    unanswered: bool
    """There may be more, or something at all: no name server has answered in time."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Each once, best first."""
        return tuple(dict.fromkeys(flow.host for flow in self.flows))

    def nothing(self, subject: str, name: str, advice: str) -> Finding:
        """The fault that it leads nowhere; `advice`: what to do where that is so, rather than not known."""
        if self.unanswered:
            dns = "Check this machine's DNS (/etc/resolv.conf), and that a firewall lets its questions out."
            return wrong(subject, f"No name server answers for {name}.", dns)
        return wrong(subject, f"{name} leads to no address.", advice)


async def look_up(uri: Uri, config: Config) -> Found:
    """SRV and addresses of a SIP URI's host, of one with a port its addresses alone; within `sip.timers.lookup`."""
    wait = config.sip.timers.lookup
    resolver = Resolver(ResolverConfig(transports=_TRANSPORTS, timeout=wait), now=time.monotonic, random=random)
    try:
        flows = await resolver.resolve(uri)
        # Many a name server says nothing of NAPTR.
        return Found(flows, any(kind != "NAPTR" for _, kind in resolver.unanswered))
    finally:
        await resolver.close()


async def look_up_host(host: str, config: Config) -> Found:
    """Its A and AAAA records."""
    return await look_up(Uri("sip", None, host, 5060), config)


def in_dns(host: str) -> bool:
    """Whether it is a name that name servers should know: no address, and no name of this machine or its link."""
    return not ip_version(host.strip("[]")) and host.rstrip(".").lower().rpartition(".")[2] not in _NEVER_THERE


def place_of(server: str) -> tuple[str, int]:
    """Host and port of a STUN or TURN server's URL (RFC 7064, RFC 7065)."""
    read = _PLACE.match(server)
    return ((read[1] or read[2]), int(read[3] or _STUN_PORT)) if read is not None else ("", _STUN_PORT)
