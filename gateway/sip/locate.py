"""Next hop of a message, as pure decisions; DNS queries are the shell's (RFC 3261 8.1.2, RFC 3263).

Only here is a URI turned into transport, host and port, and a flow into our Contact.
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
    """Next hop as given by a URI, before name resolution."""

    host: str
    """Name or IP address, IPv6 without brackets."""
    port: int | None = None
    transport: str | None = None
    """Lower case; None leaves the choice to RFC 3263."""
    secure: bool = False
    """True for a sips URI, which requires TLS or WSS."""


@dataclass(frozen=True, slots=True)
class AddressLookup:
    """Query A and AAAA records of `host`, or use an IP address as it stands."""

    host: str
    port: int
    transport: str
    is_address: bool = False


@dataclass(frozen=True, slots=True)
class SrvLookup:
    """Query SRV records of `name`; each record gives an AddressLookup over `transport`."""

    name: str
    transport: str


@dataclass(frozen=True, slots=True)
class NaptrLookup:
    """Query NAPTR records of `domain` for `services`; see `srv_of_naptr`."""

    domain: str
    services: tuple[str, ...]


Step = AddressLookup | SrvLookup | NaptrLookup


@dataclass(frozen=True, slots=True)
class NaptrRecord:
    """Relevant fields of a NAPTR record."""

    order: int
    preference: int
    flags: str
    service: str
    replacement: str


@dataclass(frozen=True, slots=True)
class SrvRecord:
    """SRV record (RFC 2782)."""

    priority: int
    weight: int
    port: int
    target: str


def next_hop(request: Request) -> Uri:
    """Return the next hop of a request outside a dialog: the top Route, else the Request-URI (RFC 3261 8.1.2).

    For a strict router the Request-URI already is the hop. Within a dialog use `Dialog.next_hop`, which knows the route
    set. Raise SipSyntaxError for a malformed Route.
    """
    route = request.route
    return route[0].uri if route and route[0].uri.is_loose_router else request.uri


def target_of(uri: Uri) -> Target:
    """Return host, port and transport of a SIP URI, `maddr` before the host (RFC 3263 section 4).

    Raise SipBuildError for a scheme without host or an unusable transport.
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
    """Return True if a URI names a host and a usable transport (`target_of`)."""
    try:
        target_of(uri)
    except SipBuildError:
        return False
    return True


def is_usable_place(uri: Uri, version: int) -> bool:
    """Return True if a URI's host is a name, or an address possible for a peer with IP version `version`.

    Port 0 and the unspecified, multicast and broadcast addresses are impossible. Raise SipBuildError.
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
    """Return an IP address in canonical text (RFC 5952), equal to the text of received source addresses.

    Leading zeros of IPv4 are decimal (RFC 3261 25.1); a kernel would read an octal number.
    """
    if ":" not in host:
        return ".".join(str(int(part)) for part in host.split("."))
    try:
        return str(IPv6Address(host))
    except ValueError:
        return host


def direct_flow(uri: Uri) -> Flow | None:
    """Return the flow to a URI with an IP address; None for a host name or a transport without known port.

    Raise SipBuildError as `target_of` does.
    """
    target = target_of(uri)
    if not is_ip_address(target.host):
        return None
    transport = transport_of(target)
    if transport not in DEFAULT_PORTS:
        return None
    return Flow(transport, target.host, target.port or DEFAULT_PORTS[transport])


def is_nowhere(uri: Uri) -> bool:
    """Return True for a host in ".invalid", as in browsers' Contacts (RFC 7118 section 5, RFC 6761 6.4)."""
    return target_of(uri).host.lower().endswith(".invalid")


def transport_of(target: Target, usable: Sequence[str] = ()) -> str:
    """Return the transport without DNS: the named one, else TLS or UDP, else the first of `usable`."""
    if target.transport is not None:
        return target.transport
    preferred = "tls" if target.secure else "udp"
    return preferred if preferred in usable or not usable else usable[0]


def likely_flow(hop: Uri | Flow, usable: Sequence[str]) -> Flow:
    """Return the flow to a hop as far as known before name resolution."""
    if isinstance(hop, Flow):
        return hop
    target = target_of(hop)
    transport = transport_of(target, usable)
    return Flow(transport, target.host, target.port or DEFAULT_PORTS.get(transport, 5060))


def contact_uri(user: str | None, place: tuple[str, int | None], transport: str, *, secure: bool = False) -> Uri:
    """Return our Contact URI for a peer that reaches us at `place` over `transport` (RFC 3261 8.1.1.8).

    `user`: escaped URI text. `secure` gives a sips URI, with a transport parameter only if other than TLS (RFC 5630
    3.1.3, RFC 7118 5.2: wss is `sips` with `transport=ws`).
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
    """Return the lookups for a target in the order of RFC 3263 4.1 and 4.2; the first with a result counts.

    `transports`: ours, preferred first; any other connectable transport is used if the target names it. An empty plan
    means no common transport.
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
    """Return the SRV lookups from NAPTR records, lowest order and preference first (RFC 3263 4.1)."""
    fitting = [r for r in records if r.flags.lower() == "s" and r.service.upper() in services]
    fitting.sort(key=lambda record: (record.order, record.preference))
    return [SrvLookup(r.replacement.rstrip("."), NAPTR_SERVICES[r.service.upper()]) for r in fitting]


def order_srv(records: Iterable[SrvRecord], randoms: Iterable[float]) -> list[SrvRecord]:
    """Return SRV records in order of trial: by priority, and within a priority by weighted chance (RFC 2782).

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
    """Return the destinations of a response after its connection closed (RFC 3261 18.2.2, RFC 3581 4).

    First the source address, with rport or the sent-by port; then sent-by (RFC 3263 section 5). `maddr` is ignored, as
    a stranger could aim our responses at a third party.
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
    """Return Max-Forwards for the request forwarded from `request` (RFC 3261 16.3 item 3), or a 483 at zero.

    The B2BUA counts down instead of restarting at 70, so that a loop of two gateways ends.
    """
    left = request.max_forwards
    if left is None:
        return default
    return left - 1 if left > 0 else Refusal(483)


def merged_key(request: Request) -> tuple[str, str | None, int, str] | None:
    """Return the key shared by copies of a request over different paths; None inside a dialog.

    A second copy in another transaction is answered 482 (RFC 3261 8.2.2.2).
    """
    if request.to_tag is not None:
        return None
    cseq = request.cseq
    return request.call_id, request.from_tag, cseq.number, cseq.method


def strip_own_route(request: Request, own: Collection[tuple[str, int]]) -> Request:
    """Return `request` without a top Route to ourselves, as in preloaded routes (RFC 3261 16.4)."""
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
