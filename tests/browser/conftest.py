"""One gateway, one Chromium and one desk phone a module: alice's page is fresh for every test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.demo.browser import SoftphoneBrowser
from gateway.demo.phone import DeskPhone
from tests import peers
from tests.browser.sip_pages import STAGES, Stage
from tests.browser.softphone import RING_SECONDS
from tests.interop.gateway import BROWSER_HZ, PHONE_HZ, Gateway, config_on_free_ports, gateway_with
from tests.media.engine_support import PLANE
from tests.web.browser import chromiums


@pytest.fixture(autouse=True)
def plane_of_one_test() -> Iterator[None]:
    """Whatever plane a test has its engines made with, those of the next one have their own."""
    token = PLANE.set(None)
    yield
    PLANE.reset(token)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """A gateway that lets phones ring for some seconds only."""
    folder: Path = tmp_path_factory.mktemp("softphone")
    config = config_on_free_ports(folder, SIP__RING_TIMEOUT=str(RING_SECONDS))
    async with gateway_with(config, folder / "gateway.log") as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="chromiums")
async def chromiums_() -> AsyncIterator[None]:
    """Browsers of tests/web/browser.py run on from test to test of a module."""
    async with chromiums():
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def phone(gateway: Gateway) -> DeskPhone:
    """Desk phone 1001, registered."""
    return await gateway.phone("1001", PHONE_HZ)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(gateway: Gateway) -> AsyncIterator[SoftphoneBrowser]:
    """Chromium with a tone for a microphone."""
    async with SoftphoneBrowser(peers.chromium(), BROWSER_HZ) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def page(gateway: Gateway, phone: DeskPhone, browser: SoftphoneBrowser) -> AsyncIterator[SoftphoneBrowser]:
    """Alice's page, fresh, with nobody in a call; its console stays free of errors."""
    phone.on_incoming(200)
    browser.console.clear()
    await browser.page.goto("about:blank")
    await browser.open(gateway.app.signed_in_url("alice"))
    await phone.listen()  # what was left of the test before is passed over
    yield browser
    phone.hangup()
    await gateway.idle()
    assert browser.console == []


@pytest.fixture
def executable() -> str:
    """Path of a Firefox."""
    return peers.firefox()


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=[pytest.param(name, marks=pytest.mark.nightly if name == "firefox" else ()) for name in STAGES],
)
async def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A gateway and a browser for pages with SIP libraries: each test that wants one runs in every browser."""
    async with STAGES[request.param](tmp_path_factory.mktemp("gateway")) as made:
        yield made
