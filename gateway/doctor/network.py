"""What is around: the addresses peers are told, NAT, trunks."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import ssl
import time
from collections.abc import Iterator

from gateway.app.settings import reachable, sip_certificates
from gateway.config import Config, advertised
from gateway.config.people import Trunk
from gateway.config.ports import is_own_address
from gateway.config.values import ip_version
from gateway.doctor.findings import Finding, good, notice, wrong
from gateway.doctor.lookup import in_dns, look_up, look_up_host, place_of
from gateway.doctor.own import own_addresses
from gateway.errors import ConfigError
from gateway.net.names import covers
from gateway.net.tls import Tls
from gateway.probe import by_datagram, hostport, mapped_address, options, status_line
from gateway.sip.flow import Flow
from gateway.sip.message.uri import Uri

_PATIENCE = 3.0


def addresses(config: Config) -> Iterator[Finding]:
    """What peers are told to send to, side by side with who could reach it."""
    own = own_addresses()
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
            yield _elsewhere(key, host, own) or _reach(key, host)


def _elsewhere(key: str, host: str, own: tuple[str, ...]) -> Finding | None:
    """The finding for an address that peers are told and this machine has not, where a NAT does not explain it."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
    section = key.partition(".")[0]
    has_public = any(ipaddress.ip_address(one).is_global for one in own)
    if address.is_loopback or is_own_address(str(address)) or (address.is_global and not has_public):
        return None
    return notice(
        key,
        f"Peers are told {host}, which is no address of this machine ({', '.join(own) or 'it has none'}).",
        f"Right where a router or a container's host passes on to here; else correct {section}.advertised.",
    )


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
    """Compare the address that a configured STUN server sees with the ones that browsers get."""
    seen = await seen_from_outside(config)
    if seen is None:
        return iter(())
    return iter([seen if isinstance(seen, Finding) else await _compared(config, seen)])


async def _compared(config: Config, seen: str) -> Finding:
    told = {str(one.host) for one in config.webrtc.advertised} or {reachable(config.webrtc.listen.host)}
    led = await asyncio.gather(*(look_up_host(host, config) for host in told if in_dns(host)))
    if seen in told or any(seen in one.addresses for one in led):
        return good("NAT", f"The world sees us as {seen}, and peers are told so.")
    if config.webrtc.advertised and all(map(_is_of_others, told)):
        others = f"The world sees us as {seen}, and browsers are told {', '.join(sorted(told))}, which is another."
        return wrong("NAT", others, f"Set webrtc.advertised: [{seen}], and the others like it.")
    return notice(
        "NAT",
        f"The world sees us as {seen}; browsers are told {', '.join(sorted(told))}.",
        f"If browsers outside are to reach us, set webrtc.advertised: [{seen}] and forward the port.",
    )


def _is_of_others(host: str) -> bool:
    return bool(ip_version(host)) and not is_own_address(host)


async def seen_from_outside(config: Config) -> str | Finding | None:
    """The address that the STUN server sees us at, or why it says none; None where none is configured."""
    server = config.webrtc.stun_server
    return None if server is None else await seen_by(server, config)


async def seen_by(server: str, config: Config, key: str = "webrtc.stun_server") -> str | Finding:
    """The address at which the STUN server of a URL sees us, or why it says none."""
    host, port = place_of(server)
    advice = "Check the name, and that UDP may leave."
    if in_dns(host):
        found = await look_up_host(host, config)
        if not found.addresses:
            return found.nothing(key, host, advice)
        host = found.addresses[0]
    try:
        async with asyncio.timeout(_PATIENCE):
            return await mapped_address(host, port)
    except (OSError, TimeoutError, ValueError, OverflowError):
        return wrong(key, f"{server} does not answer.", advice)


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
            return await by_datagram(flow.host, flow.port, lambda place: options(uri, domain, place, "UDP"))
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
        writer.write(options(uri, domain, hostport(place), flow.transport.upper()))
        with contextlib.suppress(TimeoutError, ConnectionError, ValueError):
            async with asyncio.timeout(_PATIENCE):
                return status_line(await reader.readline())
    finally:
        writer.transport.abort()
    return None
