"""sipp as phone 1002 of a gateway."""

from __future__ import annotations

from tests.interop.gateway import PASSWORDS, Gateway
from tests.interop.sipp import SCENARIOS, Sipp
from tests.ports import free_port


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
