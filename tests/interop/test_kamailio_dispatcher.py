"""Kamailio's dispatcher before two gateways, as deploy/kamailio has it: one drains, is killed, and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.net.config import UserAgentConfig
from gateway.net.tap import Direction
from gateway.net.user_agent import UserAgent
from gateway.sip.auth.account import Credentials
from gateway.sip.flow import Flow
from gateway.sip.invite.events import Answered, Ended
from tests.interop.gateway import PASSWORDS
from tests.interop.house import House
from tests.interop.kamailio import kamailio
from tests.interop.two_gateways import DOMAIN, two_gateways
from tests.net.peers import LOOPBACK, OFFER, Application, Recorder, answering, port_of, started
from tests.ports import free_port

pytestmark = [pytest.mark.wall, pytest.mark.serial, pytest.mark.timeout(120)]

DEPLOYED = Path(__file__).parents[2] / "deploy/kamailio/kamailio.cfg"


@dataclass(slots=True)
class Site:
    """Two gateways behind a proxy, and two phones that know the proxy alone."""

    gateways: tuple[House, House]
    route: str
    phones: dict[str, UserAgent]

    async def register(self, user: str) -> None:
        """As a phone does that has the proxy as its outbound proxy."""
        registration = await self.phones[user].register(
            f"sip:{DOMAIN}",
            aor=f"sip:{user}@{DOMAIN}",
            credentials=Credentials(user, PASSWORDS[user]),
            route=(self.route,),
        )
        assert registration.registered

    async def call(self, number: str) -> Recorder:
        """1001 calls; it is up."""
        session = self.phones["1001"].invite(
            f"sip:{number}@{DOMAIN}",
            caller=f"<sip:1001@{DOMAIN}>",
            body=OFFER,
            credentials=Credentials("1001", PASSWORDS["1001"]),
            route=(self.route,),
        )
        call = Recorder(session)
        await call.wait(Answered)
        return call

    async def says(self, gateway: House, status: int) -> None:
        """Wait until it answers an OPTIONS so."""
        async with asyncio.timeout(30):
            while (await self.phones["1001"].options(f"sip:127.0.0.1:{gateway.sip}")).status != status:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def echo(self) -> House:
        """1001 calls the echo and hangs up; the gateway that had the call, by its Contact."""
        call = await self.call("600")
        assert call.session.dialog is not None
        port = call.session.dialog.remote_target.port
        await hung_up(call)
        return next(gateway for gateway in self.gateways if gateway.sip == port)


class Asked:
    """A tap that waits for the second OPTIONS: what was answered to the first is known then."""

    def __init__(self) -> None:
        self.count = 0
        self.twice = asyncio.Event()

    def message(self, direction: Direction, data: bytes, flow: Flow, time: float) -> None:
        self.count += direction is Direction.IN and data.startswith(b"OPTIONS ")
        if self.count == 2:
            self.twice.set()


async def hung_up(call: Recorder) -> None:
    call.session.hangup()
    await call.wait(Ended)


@asynccontextmanager
async def dispatching(folder: Path, *gateways: int) -> AsyncIterator[int]:
    """The proxy as it is deployed, before gateways at these ports; its own."""
    proxy, places = free_port(), folder / "dispatcher.list"
    places.write_text("".join(f"1 sip:127.0.0.1:{port} 0 0\n" for port in gateways))
    text = DEPLOYED.read_text()
    for deployed, here in (
        ("children=4\n", "children=1\n"),
        ("listen=udp:0.0.0.0:5060\nlisten=tcp:0.0.0.0:5060\n", f"listen=udp:127.0.0.1:{proxy}\n"),
        ("/etc/kamailio/dispatcher.list", str(places)),
        ('"ds_ping_interval", 5', '"ds_ping_interval", 1'),
        ('"fr_timer", 4000', '"fr_timer", 1000'),
    ):
        assert deployed in text
        text = text.replace(deployed, here)
    async with kamailio(folder, text, "127.0.0.1", proxy, only_udp=False):
        yield proxy


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        gateways = await two_gateways(tmp_path, stack, SIP__PROXIES='["127.0.0.1"]', LIMITS__DRAIN_TIMEOUT="300")
        proxy = await stack.enter_async_context(dispatching(tmp_path, *(gateway.sip for gateway in gateways)))
        phones = {}
        for user in ("1001", "1002"):
            phones[user] = UserAgent(UserAgentConfig(listen=LOOPBACK), Application(answering))
            await phones[user].start()
            stack.push_async_callback(phones[user].close)
        made = Site(gateways, f"<sip:127.0.0.1:{proxy};lr>", phones)
        for user in phones:
            await made.register(user)
        yield made


async def test_calls_go_to_a_gateway_that_takes_them_without_anybody_doing_anything(site: Site) -> None:
    """Phones are called by way of the proxy; one that drains keeps its calls, and one that is back is found again."""
    call = await site.call("1002")
    await hung_up(call)
    busy = await site.echo()
    [other] = [gateway for gateway in site.gateways if gateway is not busy]
    call = await site.call("600")
    ending = asyncio.create_task(busy.terminate())
    await site.says(busy, 503)
    assert await site.echo() is other
    assert call.session.dialog is not None
    assert not [event for event in call.events if isinstance(event, Ended)], "a call of a gateway that drains goes on"
    await hung_up(call)
    assert await asyncio.wait_for(ending, 30) == 0
    await busy.start()
    async with asyncio.timeout(30):
        while await site.echo() is not busy:  # noqa: ASYNC110
            await asyncio.sleep(0.5)  # ports of calls rest for a while
    await busy.kill()
    assert await site.echo() is other
    # The phone that was called by way of the gateway that is gone still is.
    await hung_up(await site.call("1002"))


async def test_a_gateway_that_drains_is_asked_for_no_call_once_it_has_said_so(tmp_path: Path) -> None:
    """By its answer to OPTIONS alone, whoever calls: no call has to try it first."""
    async with AsyncExitStack() as stack:
        draining, other = Application(answering), Application(answering)
        agents = [await started(application) for application in (draining, other, Application())]
        for agent in agents:
            stack.push_async_callback(agent.close)
        asked = Asked()
        agents[0].taps.add(asked)
        agents[0].drain(60)
        ports = [port_of(agent, "udp") for agent in agents[:2]]
        proxy = await stack.enter_async_context(dispatching(tmp_path, *ports))
        async with asyncio.timeout(30):
            await asked.twice.wait()
        for number in range(8):
            session = agents[2].invite(
                "sip:600@gw.test",
                caller=f"<sip:{number}@gw.test>",
                body=OFFER,
                route=(f"<sip:127.0.0.1:{proxy};lr>",),
            )
            call = Recorder(session)
            await call.wait(Answered)
            await hung_up(call)
        assert (draining.calls.qsize(), other.calls.qsize()) == (0, 8)
