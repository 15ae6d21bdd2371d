"""Where a message goes next, as pure decisions; looking names up is the shell's (RFC 3261 8.1.2, RFC 3263).

The one place that turns a URI into transport, host and port, and that says what our Contact looks like on a flow.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from gateway.sip.errors import SipBuildError
from gateway.sip.flow import DEFAULT_PORTS, RELIABLE, SECURE, Flow, is_ip_address
from gateway.sip.message.addresses import NameAddr, Via
from gateway.sip.message.build import Refusal
from gateway.sip.message.fields import Headers
from gateway.sip.message.message import Request
from gateway.sip.message.uri import Uri

SRV_PREFIX = {"udp": "_sip._udp", "tcp": "_sip._tcp", "tls": "_sips._tcp", "ws": "_ws._tcp", "wss": "_wss._tcp"}
NAPTR_SERVICES = {"SIP+D2U": "udp", "SIP+D2T": "tcp", "SIPS+D2T": "tls", "SIP+D2W": "ws", "SIPS+D2W": "wss"}
_TRANSPORT = re.compile(r"[a-z0-9\-]{1,16}")


@dataclass(frozen=True, slots=True)
class Target:
    """The next hop as a URI states it, before any name is looked up."""

    host: str
    """Name or IP address, IPv6 without brackets."""
    port: int | None = None
    transport: str | None = None
    """Lower case; None leaves the choice to RFC 3263."""
    secure: bool = False
    """A sips URI: only TLS or WSS will do."""


@dataclass(frozen=True, slots=True)
class AddressLookup:
    """Look up A and AAAA of `host` (or take it as it is, when it is an address)."""

    host: str
    port: int
    transport: str
    is_address: bool = False


@dataclass(frozen=True, slots=True)
class SrvLookup:
    """Look up SRV records of `name`; each gives an AddressLookup over `transport`."""

    name: str
    transport: str


@dataclass(frozen=True, slots=True)
class NaptrLookup:
    """Look up NAPTR records of `domain` and take those of `services`, see `srv_of_naptr`."""

    domain: str
    services: tuple[str, ...]


Step = AddressLookup | SrvLookup | NaptrLookup


@dataclass(frozen=True, slots=True)
class NaptrRecord:
    """The fields of a NAPTR record that matter here."""

    order: int
    preference: int
    flags: str
    service: str
    replacement: str


@dataclass(frozen=True, slots=True)
class SrvRecord:
    """An SRV record (RFC 2782)."""

    priority: int
    weight: int
    port: int
    target: str


def next_hop(request: Request) -> Uri:
    """The URI that says where a request outside a dialog goes: the top Route, else the Request-URI (RFC 3261 8.1.2).

    Behind a strict router the Request-URI already is the hop; in a dialog, whose route set says more than the message
    alone, ask `Dialog.next_hop`. Raises SipSyntaxError for a malformed Route.
    """
    route = request.route
    return route[0].uri if route and route[0].uri.is_loose_router else request.uri


def target_of(uri: Uri) -> Target:
    """Host, port and transport that a SIP URI asks for, `maddr` before the host (RFC 3263 section 4).

    Raises SipBuildError for a scheme that names no host.
    """
    if not uri.is_sip:
        raise SipBuildError("URI names no SIP host")
    secure = uri.scheme == "sips"
    transport = uri.transport
    if transport is not None and _TRANSPORT.fullmatch(transport) is None:
        raise SipBuildError("URI names no usable transport")
    if secure and transport is not None and transport not in SECURE:
        # sips with transport=tcp means TLS over TCP (RFC 3261 26.2.2), with ws it means WSS (RFC 7118 5.2).
        transport = {"tcp": "tls", "ws": "wss"}.get(transport)
    host = (uri.param("maddr") or uri.host).removeprefix("[").removesuffix("]")
    return Target(_as_the_kernel_writes(host) if is_ip_address(host) else host, uri.port, transport, secure)


def names_place(uri: Uri) -> bool:
    """Return whether a URI names a host and a transport that requests can be sent to (`target_of`)."""
    try:
        target_of(uri)
    except SipBuildError:
        return False
    return True


def is_usable_place(uri: Uri, version: int) -> bool:
    """Return whether an address in a URI may be one of a peer of that IP version; a name may.

    Nobody has port 0, the unspecified address, a multicast address or the broadcast address. Raises SipBuildError.
    """
    target = target_of(uri)
    if target.port == 0:
        return False
    if not is_ip_address(target.host):
        return True
    try:
        address = ip_address(target.host)
    except ValueError:
        return False
    return address.version == version and not (
        address.is_unspecified or address.is_multicast or target.host == "255.255.255.255"
    )


@lru_cache(maxsize=1024)
def _as_the_kernel_writes(host: str) -> str:
    """An IP address in the one form in which it is said where a message came from (RFC 5952).

    Leading zeros of IPv4 are decimal (RFC 3261 25.1), where a kernel would read an octal number.
    """
    if ":" not in host:
        return ".".join(str(int(part)) for part in host.split("."))
    try:
        return str(IPv6Address(host))
    except ValueError:
        return host


def direct_flow(uri: Uri) -> Flow | None:
    """The flow to a URI whose host is an address, so that no name has to be looked up; None for any other.

    A transport of no known port has no flow either. Raises SipBuildError as `target_of` does.
    """
    target = target_of(uri)
    if not is_ip_address(target.host):
        return None
    transport = transport_of(target)
    if transport not in DEFAULT_PORTS:
        return None
    return Flow(transport, target.host, target.port or DEFAULT_PORTS[transport])


def is_nowhere(uri: Uri) -> bool:
    """Whether its host is a name that nobody has, as the Contacts of browsers (RFC 7118 section 5, RFC 6761 6.4)."""
    return target_of(uri).host.lower().endswith(".invalid")


def transport_of(target: Target, usable: Sequence[str] = ()) -> str:
    """The transport of a target where DNS has no say: named, else TLS or UDP, else the first of `usable`."""
    if target.transport is not None:
        return target.transport
    preferred = "tls" if target.secure else "udp"
    return preferred if preferred in usable or not usable else usable[0]


def likely_flow(hop: Uri | Flow, usable: Sequence[str]) -> Flow:
    """Where a hop leads, as far as that is known before a name is looked up."""
    if isinstance(hop, Flow):
        return hop
    target = target_of(hop)
    transport = transport_of(target, usable)
    return Flow(transport, target.host, target.port or DEFAULT_PORTS.get(transport, 5060))


def contact_uri(user: str | None, place: tuple[str, int | None], transport: str, *, secure: bool = False) -> Uri:
    """Our Contact URI for a peer that reaches us at `place` over `transport` (RFC 3261 8.1.1.8).

    `user` is escaped text of a URI. `secure` makes it a sips URI, which names its transport only where that is not
    TLS itself (RFC 5630 3.1.3, RFC 7118 5.2: wss is `sips` with `transport=ws`).
    """
    host, port = place
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    uri = Uri("sips" if secure else "sip", user, host, port)
    if secure:
        named = {"ws": "ws", "wss": "ws", "tls": None}.get(transport, transport)
    else:
        named = None if transport == "udp" else transport
    return uri.with_param("transport", named) if named is not None else uri


def plan(target: Target, transports: Sequence[str] = ("udp", "tcp", "tls")) -> tuple[Step, ...]:
    """The lookups for a target in the order of RFC 3263 4.1 and 4.2: the first that yields anything counts.

    `transports` are ours, the preferred first; others that we can connect by are taken where the target asks for
    them. An empty plan: we speak no transport that it asks for.
    """
    usable = [one for one in transports if not target.secure or one in SECURE]
    if target.transport is not None:
        wanted = target.transport
        usable = [wanted] if wanted in usable or wanted in (SECURE if target.secure else RELIABLE) else []
    elif target.secure and not usable:
        usable = ["tls"]
    is_address = is_ip_address(target.host)
    fallback = transport_of(target, usable)
    if fallback not in usable or fallback not in DEFAULT_PORTS:
        return ()
    last = AddressLookup(target.host, target.port or DEFAULT_PORTS[fallback], fallback, is_address)
    if is_address or target.port is not None:
        return (last,)
    steps: list[Step] = []
    if target.transport is None:
        services = tuple(service for service, one in NAPTR_SERVICES.items() if one in usable)
        steps.append(NaptrLookup(target.host, services))
    steps += [SrvLookup(f"{SRV_PREFIX[one]}.{target.host}", one) for one in usable]
    return (*steps, last)


def srv_of_naptr(records: Iterable[NaptrRecord], services: Collection[str]) -> list[SrvLookup]:
    """The SRV lookups that NAPTR records lead to, lowest order and preference first (RFC 3263 4.1)."""
    fitting = [r for r in records if r.flags.lower() == "s" and r.service.upper() in services]
    fitting.sort(key=lambda record: (record.order, record.preference))
    return [SrvLookup(r.replacement.rstrip("."), NAPTR_SERVICES[r.service.upper()]) for r in fitting]


def order_srv(records: Iterable[SrvRecord], randoms: Iterable[float]) -> list[SrvRecord]:
    """SRV records in the order to be tried: by priority, and within one by weighted chance (RFC 2782).

    `randoms` gives numbers in [0, 1), at least one per record. A lone target "." means no service: [].
    """
    pool = [record for record in records if record.target not in ("", ".")]
    source = iter(randoms)
    ordered: list[SrvRecord] = []
    for priority in sorted({record.priority for record in pool}):
        group = sorted((r for r in pool if r.priority == priority), key=lambda record: record.weight)
        while group:
            total = sum(record.weight for record in group)
            point = next(source) * (total + 1)
            running = 0
            for index, record in enumerate(group):
                running += record.weight
                if running >= point or index == len(group) - 1:
                    ordered.append(group.pop(index))
                    break
    return ordered


def response_targets(via: Via) -> tuple[Target, ...]:
    """Where a response goes by its top Via once the connection it came by is gone (RFC 3261 18.2.2, RFC 3581 4).

    First the address the server saw, with rport or the sent-by port; then sent-by itself (RFC 3263 section 5).
    `maddr` is not followed: it would let a stranger aim our responses at a third party.
    """
    transport = via.transport.lower()
    secure = transport in SECURE
    port = via.port or DEFAULT_PORTS.get(transport, 5060)
    sent_by = Target(via.host.removeprefix("[").removesuffix("]"), via.port, transport, secure)
    if via.received is None:
        return (sent_by,)
    seen = Target(via.received, (via.rport or port) if transport == "udp" else port, transport, secure)
    return (seen,) if transport == "udp" else (seen, sent_by)


def forward_limit(request: Request, default: int = 70) -> int | Refusal:
    """Max-Forwards for the request that goes on from this one (RFC 3261 16.3 item 3), 483 when none is left.

    A B2BUA that starts every leg at 70 turns a loop of two gateways into an endless call, so ours counts on.
    """
    left = request.max_forwards
    if left is None:
        return default
    return left - 1 if left > 0 else Refusal(483)


def merged_key(request: Request) -> tuple[str, str | None, int, str] | None:
    """What two copies of one request have in common that came by different ways; None inside a dialog.

    A second one in another transaction is answered 482 (RFC 3261 8.2.2.2).
    """
    if request.to_tag is not None:
        return None
    cseq = request.cseq
    return request.call_id, request.from_tag, cseq.number, cseq.method


def strip_own_route(request: Request, own: Collection[tuple[str, int]]) -> Request:
    """`request` without a top Route that names ourselves, as preloaded routes do (RFC 3261 16.4)."""
    route = request.route
    if not route or not _is_own(route[0], own):
        return request
    headers = Headers.from_items(request.headers.items).with_("Route", *route[1:])
    return request.with_headers(headers)


def _is_own(hop: NameAddr, own: Collection[tuple[str, int]]) -> bool:
    if not hop.uri.is_sip:
        return False
    transport = hop.uri.transport or ("tls" if hop.uri.scheme == "sips" else "udp")
    port = hop.uri.port or DEFAULT_PORTS.get(transport, 5060)
    return (hop.uri.host.strip("[]").lower(), port) in own
