"""Two gateways behind plain DNS SRV, one of which is killed: the next call goes to the other, and pages do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway.net.config import UserAgentConfig
from gateway.net.resolver import ResolverConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.auth.account import Credentials
from gateway.sip.invite.events import Answered, Ended
from tests.interop.gateway import PASSWORDS
from tests.interop.house import House
from tests.interop.two_gateways import DOMAIN, two_gateways
from tests.net.name_server import NameServer
from tests.net.peers import LOOPBACK, OFFER, Application, Recorder

pytestmark = [pytest.mark.wall, pytest.mark.serial, pytest.mark.timeout(120)]


class Site:
    """Two gateways of one Redis, in DNS the first before the second, and a phone that knows their domain alone."""

    def __init__(self, first: House, second: House, phone: UserAgent) -> None:
        self.first = first
        self.second = second
        self.phone = phone

    async def call(self) -> Recorder:
        """1001 calls the echo; it is up."""
        session = self.phone.invite(
            f"sip:600@{DOMAIN}",
            caller=f"<sip:1001@{DOMAIN}>",
            body=OFFER,
            credentials=Credentials("1001", PASSWORDS["1001"]),
        )
        call = Recorder(session)
        await call.wait(Answered, 30)
        return call


async def hung_up(call: Recorder) -> None:
    call.session.hangup()
    await call.wait(Ended, 30)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        first, second = await two_gateways(tmp_path, stack)
        zone = {
            (f"_sip._udp.{DOMAIN}.", "SRV"): [f"10 0 {first.sip} one.{DOMAIN}.", f"20 0 {second.sip} two.{DOMAIN}."],
            **{(f"{name}.{DOMAIN}.", "A"): ["127.0.0.1"] for name in ("one", "two")},
        }
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: NameServer(zone), local_addr=("127.0.0.1", 0))
        stack.callback(transport.close)
        resolver = ResolverConfig(nameservers=("127.0.0.1",), port=transport.get_extra_info("sockname")[1])
        phone = UserAgent(UserAgentConfig(listen=LOOPBACK, resolver=resolver), Application())
        await phone.start()
        stack.push_async_callback(phone.close)
        yield Site(first, second, phone)


async def test_the_next_call_and_the_page_go_to_the_gateway_that_is_left(site: Site) -> None:
    """Also one that the phone makes while it has a call at the other, which is gone with its gateway."""
    first, second = site.first, site.second
    call = await site.call()
    await first.logged("state=connected")
    await hung_up(call)
    async with first.browser() as page:
        await page.dial("600")
        await page.status("talking")
        await first.kill()
        loop = asyncio.get_running_loop()
        began = loop.time()
        again = await site.call()
        await second.logged("state=connected")
        assert loop.time() - began < 30  # no transaction of SIP has had to time out (32 s)
        await second.open(page)
        await page.reset()
        await page.dial("600")
        await second.logged("state=connected", times=2)
        await page.hang_up()
    await hung_up(again)
    # It is asked first again as soon as it is there.
    await first.start()
    await hung_up(await site.call())
    await first.logged("state=connected")
