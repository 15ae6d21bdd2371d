"""rtpengine, where it carries the media."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator

from gateway.config import Config
from gateway.doctor.findings import Finding, good, wrong
from gateway.media.engine import MediaError
from gateway.media.rtpengine.client import Address, ClientConfig, NgHost


async def rtpengines(config: Config) -> Iterator[Finding]:
    """Whether each rtpengine that is to carry media answers, if there is one."""
    return iter([await _asked(address) for address in config.media.rtpengines])


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
