"""Who forwards packets, where it is not rtpengine."""

from __future__ import annotations

from gateway.config import Config
from gateway.doctor.findings import Finding, good, notice, wrong
from gateway.errors import ConfigError
from gateway.media.choice import choose
from gateway.media.embedded.plane.native.process import PlaneProcess
from gateway.media.embedded.plane.protocol import PlaneError

_ELSEWHERE = "Start its unit (`systemctl start gateway-plane`) or container, as this user and with this state folder."
_SLOWER = (
    "Have the native one (`make plane` where cargo is) and media.plane: auto. "
    "One core carries many times the calls by it, and audio outlives a restart."
)


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
