"""Pages with JsSIP or SIP.js on them, in Chromium or Firefox, on an origin of their own; and how tests drive them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from playwright.async_api import Page, async_playwright
from starlette.applications import Starlette
from starlette.responses import FileResponse
from starlette.routing import Route

from gateway.demo.phone import DeskPhone
from gateway.web.app import WebServer, serve
from tests import peers
from tests.browser.firefox import Firefox, FirefoxTab
from tests.browser.sound_card import sound_card
from tests.interop.gateway import NEAR, PASSWORDS, Gateway, config_on_free_ports, gateway_with
from tests.peers import chromium, firefox
from tests.ports import free_ports

LIBRARIES = ("jssip", "sipjs")
HZ = 523
"""What a page says."""
_FLAGS = [
    "--no-sandbox",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
]
_FOLDER = Path(__file__).parent / "sip_libraries"
_BUNDLE = Path(__file__).parents[2] / ".venv" / "sip-libraries.js"


def bundle() -> Path:
    """Return the file with both libraries."""
    peers.node(_BUNDLE)
    return _BUNDLE


class Script(Protocol):
    """A page of some browser."""

    async def run(self, script: str) -> Any:
        """What the body of a function returns in the page; a promise is awaited."""

    async def open(self, url: str) -> None:
        """Load a page, or the same one again."""


class ChromiumTab:
    """A `Script` by playwright."""

    def __init__(self, page: Page) -> None:
        self._page = page

    async def run(self, script: str) -> Any:
        return await self._page.evaluate(f"() => {{ {script} }}")

    async def open(self, url: str) -> None:
        await self._page.goto(url)


@contextlib.asynccontextmanager
async def page_server(port: int) -> AsyncIterator[WebServer]:
    """The page of the tests at http://localhost:PORT/phone.html."""
    files = {"/phone.html": _FOLDER / "phone.html", "/phone.js": _FOLDER / "phone.js", "/bundle.js": bundle()}
    routes = [Route(path, lambda request, file=file: FileResponse(file)) for path, file in files.items()]
    server = await serve(Starlette(routes=routes), "127.0.0.1", port)
    try:
        yield server
    finally:
        await server.stop()


class SipPage:
    """A browser's phone: verbs of `phone.js`, and the tone it hears."""

    def __init__(self, page: Script, url: str) -> None:
        self._page = page
        self._url = url

    async def load(self) -> None:
        """Load the page, which forgets the phone it had."""
        await self._page.open(self._url)
        async with asyncio.timeout(30):
            while not await self.get("globalThis.ready ?? false"):  # noqa: ASYNC110  # only asking tells
                await asyncio.sleep(0.02)

    async def start(self, library: str, gateway: Gateway, user: str, hz: int) -> None:
        """Make the phone and wait until it is registered."""
        await self.open(library, gateway, user, hz)
        await self.until("registered")

    async def open(self, library: str, gateway: Gateway, user: str, hz: int) -> None:
        """Make the phone, which says a tone of `hz`; its socket is up then."""
        account = {
            "url": gateway.web.replace("http", "ws", 1) + "/sip",
            "user": user,
            "domain": gateway.config.domain,
            "password": PASSWORDS[user],
            "hz": hz,
        }
        await self._page.run(f"return open_phone({json.dumps(library)}, {json.dumps(account)})")

    async def do(self, verb: str, *arguments: object) -> Any:
        """Call one of the phone's methods; its result, once it has one."""
        given = ", ".join(json.dumps(each) for each in arguments)
        return await self._page.run(f"return (async () => (await phone.{verb}({given})) ?? null)()")

    async def run(self, script: str) -> Any:
        """What the body of a function returns in the page; a promise is awaited."""
        return await self._page.run(script)

    async def get(self, expression: str) -> Any:
        """The value of an expression in the page."""
        return await self._page.run(f"return {expression}")

    async def ice_name(self) -> str:
        """The ICE user name fragment of the page's side of its call."""
        return str(await self.get("/ice-ufrag:(.*)/.exec(phone.connection.currentLocalDescription.sdp)[1]"))

    async def until(self, event: str, timeout: float = 30.0) -> Any:
        """The detail of the next event of this name; TimeoutError with the others that came."""
        try:
            async with asyncio.timeout(timeout):
                return await self._page.run(f"return phone.until({json.dumps(event)})")
        except TimeoutError:
            raise TimeoutError(f"no {event}, but {await self.get('phone.events')}") from None

    async def tone(self, hz: float, timeout: float = 30.0) -> None:
        """Wait until a tone of `hz` is heard."""
        heard = None
        try:
            async with asyncio.timeout(timeout):
                while heard is None or abs(heard - hz) > NEAR:
                    heard = await self.get("phone.sound.tone")
                    await asyncio.sleep(0.05)
        except TimeoutError:
            sound = await self.get("[phone.sound.context.state, phone.sound.rate, phone.sound.samples.length]")
            said = f"sound {sound}, events {await self.get('phone.events')}"
            raise TimeoutError(f"no {hz:g} Hz, but {heard}; {said}") from None

    async def sound(self, timeout: float = 30.0) -> None:
        """Wait until something loud is played, of whatever frequency."""
        try:
            async with asyncio.timeout(timeout):
                while await self.do("level") < 0.1:  # noqa: ASYNC110  # only asking tells
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise TimeoutError(f"nothing is heard: {await self.do('received')}") from None

    async def silence(self, timeout: float = 30.0) -> None:
        """Wait until nothing is heard."""
        async with asyncio.timeout(timeout):
            while await self.get("phone.sound.tone") is not None:  # noqa: ASYNC110  # only asking tells
                await asyncio.sleep(0.05)


@dataclass(frozen=True)
class Stage:
    """A gateway, and where to get pages of a browser."""

    gateway: Gateway
    tab: Callable[[], AbstractAsyncContextManager[Script]]
    url: str

    @contextlib.asynccontextmanager
    async def page(self) -> AsyncIterator[SipPage]:
        """A loaded page, without a phone yet."""
        async with self.tab() as tab:
            page = SipPage(tab, self.url)
            await page.load()
            yield page

    @contextlib.asynccontextmanager
    async def phone(self, library: str, user: str = "1002", hz: int = HZ) -> AsyncIterator[SipPage]:
        """A registered browser phone in a page of its own; the gateway is idle again afterwards."""
        async with self.page() as page:
            await page.start(library, self.gateway, user, hz)
            try:
                yield page
            finally:
                await page.do("stop")
                for call in self.gateway.app.calls:
                    call.stop()
                await self.gateway.idle()


@contextlib.asynccontextmanager
async def _gateway_and_page(folder: Path, **changes: str) -> AsyncIterator[tuple[Gateway, str]]:
    """The page is of another origin, which the gateway allows; `changes` are GATEWAY_ variables."""
    [port] = free_ports(1)
    origin = f"http://localhost:{port}"
    config = config_on_free_ports(folder, WEB__ALLOWED_ORIGINS=f'["{origin}"]', **changes)
    async with page_server(port), gateway_with(config, folder / "gateway.log") as gateway:
        yield gateway, f"{origin}/phone.html"


@contextlib.asynccontextmanager
async def chromium_stage(folder: Path, **changes: str) -> AsyncIterator[Stage]:
    """Each page is a tab of one Chromium; `changes` are GATEWAY_ variables."""
    executable = chromium()
    async with _gateway_and_page(folder, **changes) as (gateway, url), async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=_FLAGS)
        context = await browser.new_context()

        @contextlib.asynccontextmanager
        async def tab() -> AsyncIterator[Script]:
            page = await context.new_page()
            try:
                yield ChromiumTab(page)
            finally:
                await page.close()

        yield Stage(gateway, tab, url)
        await browser.close()


@contextlib.asynccontextmanager
async def firefox_stage(folder: Path) -> AsyncIterator[Stage]:
    """Each page is a tab of one Firefox, which has a sound card; its ICE refuses loopback, and finds another way."""
    executable = firefox()
    peers.network()
    async with (
        _gateway_and_page(folder) as (gateway, url),
        sound_card() as environ,
        Firefox(executable, environ=environ) as browser,
    ):
        looking = asyncio.Lock()
        yield Stage(gateway, lambda: FirefoxTab(browser, looking), url)


STAGES = {"chromium": chromium_stage, "firefox": firefox_stage}


@contextlib.asynccontextmanager
async def desk_phone(gateway: Gateway) -> AsyncIterator[DeskPhone]:
    """A registered desk phone that says a tone, for one test."""
    desk = await gateway.phone("1001")
    try:
        yield desk
    finally:
        await desk.close()


async def hears(desk: DeskPhone, hz: float, timeout: float = 30.0) -> None:
    """Wait until the phone hears this tone: what its jitter buffer holds of another is played out first."""
    heard = None
    try:
        async with asyncio.timeout(timeout):
            while heard is None or abs(heard - hz) > NEAR:
                await desk.listen()
                heard = (await desk.expect("tone")).details["hz"]
    except TimeoutError:
        raise TimeoutError(f"no {hz:g} Hz at the phone, but {heard}") from None
