"""Who forwards packets: a plane of this machine, or rtpengine."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator

from gateway.app.plane import choose
from gateway.config import Config
from gateway.doctor.findings import Finding, good, notice, wrong
from gateway.errors import ConfigError
from gateway.media.embedded.plane.native.process import PlaneProcess
from gateway.media.embedded.plane.protocol import PlaneError
from gateway.media.engine import MediaError
from gateway.media.rtpengine.client import Address, ClientConfig, NgHost

_ELSEWHERE = "Start its unit (`systemctl start gateway-plane`) or container, as this user and with this state folder."
_SLOWER = "With the native plane one core carries many times the calls, and audio outlives a restart."


async def plane(config: Config) -> list[Finding]:
    """Who will forward packets, where it is not rtpengine; one that others start is asked."""
    if config.media.rtpengines:
        return []
    try:
        choice = choose(config)
        if choice.native and choice.program is not None and not config.media.plane_start:
            await PlaneProcess(choice.program, config.state_dir, starts=False).look()
    except ConfigError as error:
        return [wrong(error.key, f"{error.reason}.", "`make plane` builds it where cargo is.")]
    except PlaneError as error:
        return [wrong("media.plane", f"{str(error)[0].upper()}{str(error)[1:]}.", _ELSEWHERE)]
    told = f"Packets are forwarded by the {choice}."
    return [good("media.plane", told) if choice.native else notice("media.plane", told, _SLOWER)]


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
