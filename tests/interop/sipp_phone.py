"""sipp as phone 1002 of a gateway, and a gateway whose session timers it does not wait long for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from gateway.config import Config
from gateway.config.network import SipSessionTimer
from gateway.sip.invite import session_timer
from tests.interop.gateway import PASSWORDS, Gateway
from tests.interop.sipp import SCENARIOS, Sipp
from tests.ports import free_port

INTERVAL = 4
"""Seconds of a session here; RFC 4028 wants 90 at least, for which no test waits."""


@contextlib.contextmanager
def short_sessions() -> Iterator[Callable[[Config], Config]]:
    """Inside, gateways of a configuration that this alters have sessions of `INTERVAL`, unless they are refreshed."""
    timer = SipSessionTimer.model_construct(enabled=True, expires=INTERVAL, min_se=INTERVAL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session_timer, "SMALLEST", INTERVAL)
        yield lambda config: config.model_copy(update={"sip": config.sip.model_copy(update={"session_timer": timer})})


def caller(gateway: Gateway, scenario: str, number: str, *arguments: str, calls: int = 1) -> Sipp:
    """It dials `number`."""
    account = ("-s", number, "-au", "1002", "-ap", PASSWORDS["1002"], "-auth_uri", f"{number}@{gateway.config.domain}")
    return Sipp.uac(scenario, gateway.sip, *account, *arguments, calls=calls)


async def registered(gateway: Gateway) -> int:
    """Register it; the port at which it can be called."""
    port = free_port()
    account = ("-au", "1002", "-ap", PASSWORDS["1002"], "-auth_uri", gateway.config.domain)
    target = "{}:{}".format(*gateway.sip)
    async with Sipp(target, "-sf", str(SCENARIOS / "gateway_register.xml"), *account, port=port) as phone:
        await phone.finish()
    return port
