"""Pages as the documents show them, written anew, of another origin, in Chromium and Firefox: on a real gateway."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from gateway.web.app import serve
from tests import peers
from tests.browser.firefox import Firefox, FirefoxTab
from tests.browser.sip_pages import ChromiumTab
from tests.interop.gateway import Gateway, config_on_free_ports, gateway_with
from tests.ports import free_port
from tests.web.browser import ALLOWED, chromium

pytestmark = [
    pytest.mark.wall,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("chromiums"),
]

BROWSERS = ("chromium", "firefox")
RECEIVED = """
  return (async () => {
    let packets = 0, pictures = 0;
    for (const each of (await pc.getStats()).values()) {
      if (each.type === "inbound-rtp" && each.kind === "audio") packets += each.packetsReceived;
      if (each.type === "inbound-rtp" && each.kind === "video") pictures += each.framesDecoded ?? 0;
    }
    return [packets > 25, pictures > 0];
  })();
"""


class Tab(Protocol):
    async def run(self, script: str) -> Any: ...

    async def open(self, url: str) -> None: ...


class Site:
    """Somebody's own site with the pages of the documents, and the browsers that come to it."""

    def __init__(self, gateway: Gateway, origin: str, tabs: dict[str, Callable[[], AbstractAsyncContextManager[Tab]]]):
        self.gateway, self._origin, self._tabs = gateway, origin, tabs

    @contextlib.asynccontextmanager
    async def page(self, browser: str, name: str, **given: str) -> AsyncIterator[Tab]:
        """One of the pages in a tab of its own."""
        async with self._tabs[browser]() as tab:
            await tab.open(f"{self._origin}/{name}.html?{urlencode({'gateway': self.gateway.web, **given})}")
            yield tab


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    peers.network()
    port, folder = free_port(), tmp_path_factory.mktemp("documents")
    origin = f"http://localhost:{port}"
    async with AsyncExitStack() as stack:
        pages = Starlette(routes=[Mount("/", StaticFiles(directory=Path(__file__).parent / "documents"))])
        server = await serve(pages, "localhost", port)
        stack.push_async_callback(server.stop)
        config = config_on_free_ports(folder, WEB__ALLOWED_ORIGINS=f'["{origin}"]')
        gateway = await stack.enter_async_context(gateway_with(config, folder / "gateway.log"))
        firefox = await stack.enter_async_context(Firefox(peers.firefox()))
        shown = await stack.enter_async_context(chromium(ALLOWED))
        looking = asyncio.Lock()

        @contextlib.asynccontextmanager
        async def chromium_tab() -> AsyncIterator[Tab]:
            page = await shown.new_page()
            try:
                yield ChromiumTab(page)
            finally:
                await page.close()

        yield Site(gateway, origin, {"chromium": chromium_tab, "firefox": lambda: FirefoxTab(firefox, looking)})


async def until(tab: Tab, script: str, wanted: Any) -> None:
    """Wait until a script in the page returns that."""
    found = None
    try:
        async with asyncio.timeout(30):
            while (found := await tab.run(script)) != wanted:  # noqa: ASYNC110  # only asking tells
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(
            f"{found!r}, not {wanted!r}; the page says {await tab.run('return document.title')!r}"
        ) from None


@pytest.mark.parametrize("browser", BROWSERS)
async def test_the_page_of_the_http_guide_hears_the_echo_until_it_closes_its_session(site: Site, browser: str) -> None:
    """Its steps in their order: ICE servers, microphone, exchangeSdp, closeSession."""
    async with site.page(browser, "guide") as page:
        await until(page, "return document.title", "established")
        await until(page, RECEIVED, [True, False])
        await page.run("hangUp()")
        await until(page, "return document.title", "closed")
        await site.gateway.idle()


@pytest.mark.parametrize("browser", BROWSERS)
async def test_the_browser_client_of_the_transports_guide_is_answered_in_the_result(site: Site, browser: str) -> None:
    """At the root, without announcing and without a target; its sound comes back, of pictures there is no echo."""
    async with site.page(browser, "signalling") as page:
        await until(page, "return document.title", "answered")
        await until(page, RECEIVED, [True, False])
        await page.run("hangUp()")
        await site.gateway.idle()


@pytest.mark.parametrize(
    ("first", "forms"),
    [
        ("chromium", ("room", "room")),
        ("firefox", ("signal", "signal")),
        ("chromium", ("signal", "room")),
        ("firefox", ("signal", "room")),
    ],
)
async def test_two_browsers_meet_in_a_room_by_the_clients_of_the_documents(
    site: Site, first: str, forms: tuple[str, str]
) -> None:
    """Of the room server's document, of the signalling design, and one of each; who goes is said to have gone."""
    second = next(other for other in BROWSERS if other != first)
    room = f"{first}-{'-'.join(forms)}"
    async with site.page(first, "room", form=forms[0], room=room, peer="one") as one:
        await until(one, "return document.title", "in the room")
        async with site.page(second, "room", form=forms[1], room=room, peer="two") as two:
            await until(one, "return document.title", "hello from two")
            await until(two, "return document.title", "hello from one")
            for page in (one, two):
                await until(page, RECEIVED, [True, True])
            await two.run("hangUp()")
            await until(one, "return document.title.endsWith('left')", True)
