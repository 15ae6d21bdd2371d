"""What is around: the addresses peers are told, NAT, trunks."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator

from gateway.app.settings import reachable, sip_certificates
from gateway.config import Config, advertised
from gateway.config.people import Trunk
from gateway.doctor.findings import Finding, good, notice, wrong
from gateway.doctor.lookup import in_dns, look_up, look_up_host, place_of
from gateway.errors import ConfigError
from gateway.net.names import covers
from gateway.net.tls import Tls
from gateway.sip.flow import Flow
from gateway.sip.message.uri import Uri

_PATIENCE = 3.0
_AGAIN = 0.5
"""Seconds after which a datagram is sent again."""
_COOKIE = 0x2112A442
_BINDING_REQUEST, _BINDING_RESPONSE = 0x0001, 0x0101
_XOR_MAPPED_ADDRESS = 0x0020


def addresses(config: Config) -> Iterator[Finding]:
    """What peers are told to send to, side by side with who could reach it."""
    told = {
        f"sip.listen ({one.transport})": advertised(one.host, one.port, config.sip.advertised).host
        for one in config.sip.listen
    }
    if not config.media.rtpengines:
        webrtc = config.webrtc
        told["webrtc.listen"] = webrtc.advertised[0].host if webrtc.advertised else reachable(webrtc.listen.host)
        for host, advertised_host in config.rtp.places:
            key = "rtp.listen" if len(config.rtp.listen) == 1 else f"rtp.listen ({host})"
            told[key] = advertised_host or reachable(host)
    for key, host in told.items():
        if not in_dns(host):  # else what it leads to counts, see names.py
            yield _reach(key, host)


def _reach(key: str, host: str) -> Finding:
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return good(key, f"Peers are told {host}.")
    name = key.partition(".")[0]
    if address.is_loopback:
        return notice(
            key, f"Peers are told {host}: only this machine reaches it.", f"To open it to a network, set {name}.listen."
        )
    if not address.is_global:
        return notice(
            key,
            f"Peers are told {host}: only this network reaches it.",
            f"For peers outside, write the public address into {name}.advertised and forward the ports to here.",
        )
    return good(key, f"Peers are told {host}.")


async def nat(config: Config) -> Iterator[Finding]:
    """What a STUN server sees of us, if one is configured, beside what peers are told."""
    seen = await seen_from_outside(config)
    if seen is None:
        return iter(())
    if isinstance(seen, Finding):
        return iter([seen])
    told = {str(one.host) for one in config.webrtc.advertised} or {reachable(config.webrtc.listen.host)}
    led = await asyncio.gather(*(look_up_host(host, config) for host in told if in_dns(host)))
    if seen in told or any(seen in one.addresses for one in led):
        return iter([good("NAT", f"The world sees us as {seen}, and peers are told so.")])
    return iter(
        [
            notice(
                "NAT",
                f"The world sees us as {seen}; browsers are told {', '.join(sorted(told))}.",
                f"If browsers outside are to reach us, set webrtc.advertised: [{seen}] and forward the port.",
            )
        ]
    )


async def seen_from_outside(config: Config) -> str | Finding | None:
    """The address that the STUN server sees us at, or why it says none; None where none is configured."""
    server = config.webrtc.stun_server
    if server is None:
        return None
    host, port = place_of(server)
    advice = "Check the name, and that UDP may leave; browsers are told of this server."
    if in_dns(host):
        found = await look_up_host(host, config)
        if not found.addresses:
            return found.nothing("webrtc.stun_server", host, advice)
        host = found.addresses[0]
    try:
        async with asyncio.timeout(_PATIENCE):
            return await mapped_address(host, port)
    except (OSError, TimeoutError, ValueError, OverflowError):
        return wrong("webrtc.stun_server", f"{server} does not answer.", advice)


async def mapped_address(host: str, port: int) -> str:
    """The address a STUN server sees us at (RFC 8489 section 14.2, IPv4). Raises OSError; waits for ever."""
    loop = asyncio.get_running_loop()
    (*_, address), *_ = await loop.getaddrinfo(host, port, family=socket.AF_INET, type=socket.SOCK_DGRAM)
    request = struct.pack("!HHI", _BINDING_REQUEST, 0, _COOKIE) + secrets.token_bytes(12)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.setblocking(False)
        await loop.sock_connect(probe, address)
        return await _asked(probe, request, lambda answer: _mapped(answer, request))


async def _asked(probe: socket.socket, request: bytes, read: Callable[[bytes], str | None]) -> str:
    """Send `request`, every half second anew, until `read` makes something of an answer; waits for ever."""
    loop = asyncio.get_running_loop()
    while True:
        await loop.sock_sendall(probe, request)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_AGAIN):
                while True:
                    found = read(await loop.sock_recv(probe, 65_535))
                    if found is not None:
                        return found
                    await asyncio.sleep(0)  # a flood of nonsense must not hold up the clock


def _mapped(answer: bytes, request: bytes) -> str | None:
    if len(answer) < 20 or answer[4:20] != request[4:20] or answer[:2] != struct.pack("!H", _BINDING_RESPONSE):
        return None
    at = 20
    while at + 4 <= len(answer):
        kind, length = struct.unpack_from("!HH", answer, at)
        if kind == _XOR_MAPPED_ADDRESS and length == 8 and at + 12 <= len(answer):
            (packed,) = struct.unpack_from("!I", answer, at + 8)
            return str(ipaddress.IPv4Address(packed ^ _COOKIE))
        at += 4 + length + (-length & 3)
    return None


async def trunks(config: Config) -> Iterator[Finding]:
    """Whether each trunk has an address, is who it should be by TLS, and answers."""
    files = Tls(sip_certificates(config))
    return iter(await asyncio.gather(*(_trunk(one, config, files) for one in config.trunks)))


async def _trunk(trunk: Trunk, config: Config, files: Tls) -> Finding:
    subject = f"trunk {trunk.name}"
    found = await look_up(Uri.parse(trunk.uri), config)
    if not found.flows:
        return found.nothing(subject, trunk.uri, "Check the name, and this machine's DNS.")
    mistrusted = ""
    for flow in found.flows:
        began = time.monotonic()
        try:
            said = await _answer(flow, trunk.uri, config.domain, files)
        except ssl.SSLError as error:
            mistrusted = f"{flow} and we do not agree on TLS: {_why(error)}."
            continue
        except (OSError, TimeoutError, ConfigError):
            continue
        if said is None:
            mute = f"{flow} takes connections, but answers no OPTIONS within {_PATIENCE:g} s."
            return notice(subject, mute, "Check that it takes requests from our address.")
        return good(subject, f"{flow} {said} after {1000 * (time.monotonic() - began):.0f} ms.")
    if mistrusted:
        advice = "Put the authority of its certificate into sip.tls.ca, and write uri with a name of that certificate."
        return wrong(subject, mistrusted, advice)
    places = ", ".join(map(str, found.flows))
    return wrong(
        subject,
        f"Nothing answers at {places} within {_PATIENCE:g} s.",
        "Check that it runs, that a firewall lets us through, and that it takes requests from our address.",
    )


def _why(error: ssl.SSLError) -> str:
    # One of our own making has neither.
    said = getattr(error, "verify_message", None) or getattr(error, "reason", None) or error.args[0]
    return str(said).replace("_", " ").lower()


async def _answer(flow: Flow, uri: str, domain: str, files: Tls) -> str | None:
    """What it said to OPTIONS; None: it took a connection, and said nothing.

    Raises OSError, TimeoutError, and ConfigError where our certificates cannot be used.
    """
    if flow.transport == "udp":
        async with asyncio.timeout(_PATIENCE):
            return await _by_datagram(flow, uri, domain)
    context, name = files.sip_client if flow.transport == "tls" else None, flow.name or flow.host
    async with asyncio.timeout(_PATIENCE):
        reader, writer = await asyncio.open_connection(
            flow.host, flow.port, ssl=context, server_hostname=name if context is not None else None
        )
    try:
        shown = writer.get_extra_info("peercert")
        if context is not None and not covers(shown or {}, name, wildcards=files.wildcards):
            raise ssl.SSLCertVerificationError(f"its certificate is not of {name}")
        place = writer.get_extra_info("sockname")
        writer.write(_options(uri, domain, _hostport(place), flow.transport.upper()).encode())
        with contextlib.suppress(TimeoutError, ConnectionError, ValueError):
            async with asyncio.timeout(_PATIENCE):
                return _status_line(await reader.readline())
    finally:
        writer.transport.abort()
    return None


async def _by_datagram(flow: Flow, uri: str, domain: str) -> str:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET6 if ":" in flow.host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.setblocking(False)
        await loop.sock_connect(probe, (flow.host, flow.port))
        options = _options(uri, domain, _hostport(probe.getsockname()), "UDP")
        return await _asked(probe, options.encode(), _status_line)


def _hostport(address: tuple[str, int]) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _status_line(answer: bytes) -> str | None:
    line = answer.partition(b"\r\n")[0].decode("utf-8", "replace")
    return f'answers "{line.removeprefix("SIP/2.0 ")[:60]}"' if line.startswith("SIP/2.0 ") else None


def _options(uri: str, domain: str, place: str, transport: str) -> str:
    """One OPTIONS request (RFC 3261 section 11), of its own transaction."""
    return (
        f"OPTIONS {uri} SIP/2.0\r\n"
        f"Via: SIP/2.0/{transport} {place};rport;branch=z9hG4bK{secrets.token_hex(8)}\r\n"
        "Max-Forwards: 70\r\n"
        f"From: <sip:doctor@{domain}>;tag={secrets.token_hex(4)}\r\n"
        f"To: <{uri}>\r\n"
        f"Call-ID: {secrets.token_hex(8)}\r\n"
        "CSeq: 1 OPTIONS\r\n"
        f"Contact: <sip:doctor@{place}>\r\n"
        "Accept: application/sdp\r\n"
        "Content-Length: 0\r\n\r\n"
    )
