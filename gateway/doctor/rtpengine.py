"""rtpengine, where it carries the media."""

from __future__ import annotations

import contextlib
import ipaddress
import secrets
import time
from collections.abc import Iterator

from gateway.config import Config
from gateway.doctor.findings import Finding, good, notice, wrong
from gateway.media.engine import MediaError
from gateway.media.rtpengine.client import Address, ClientConfig, NgHost
from gateway.sip.message.uri import Uri


async def rtpengines(config: Config) -> Iterator[Finding]:
    """Whether each rtpengine that is to carry media answers, if there is one."""
    found = [await _asked(address) for address in config.media.rtpengines]
    node = config.cluster.node
    if config.cluster.journal is not None and node is not None and not _is_loopback(Uri.parse(node).host):
        found += [_alone(host) for host, _ in config.media.rtpengines if _is_loopback(host)]
    return iter(found)


def _alone(host: str) -> Finding:
    """At the other gateways of the cluster that is another daemon, or none."""
    told = f"The rtpengine at {host} is this machine's alone: where this gateway is gone its calls end."
    return notice("media.engine", told, "Name it by an address that all gateways reach, and alike at each of them.")


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    return host == "localhost"


async def _asked(address: Address) -> Finding:
    host = NgHost(address, ClientConfig(), time.monotonic, secrets.token_bytes)
    began = time.monotonic()
    try:
        await host.open()
        answer = (await host.ask({"command": "ping"})).get("result")
    except MediaError as error:
        advice = "Start it with --listen-ng at that address, and let UDP through from here."
        return wrong("media.engine", f"{error.reason[0].upper()}{error.reason[1:]}.", advice)
    finally:
        host.close()
    if answer != "pong":
        return wrong("media.engine", f"What answers at {host.name} is no rtpengine.", "Check media.engine.")
    took = 1000 * (time.monotonic() - began)
    return good("media.engine", f"rtpengine carries the media: {host.name} answers after {took:.0f} ms.")
