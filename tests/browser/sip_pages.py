"""Pages with JsSIP or SIP.js on them, in Chromium or Firefox, on an origin of their own; and how tests drive them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from starlette.applications import Starlette
from starlette.responses import FileResponse
from starlette.routing import Route

from gateway.web.app import WebServer, serve
from tests.interop.gateway import NEAR, PASSWORDS, Gateway

LIBRARIES = ("jssip", "sipjs")
_FOLDER = Path(__file__).parent / "sip_libraries"
_BUNDLE = Path(__file__).parents[2] / ".venv" / "sip-libraries.js"


def bundle() -> Path:
    """Both libraries in one file; where it is missing, a skip that says how to get it, in CI a failure."""
    if not _BUNDLE.exists():
        if os.environ.get("CI") == "true":
            pytest.fail("JsSIP and SIP.js are not there: scripts/sip-libraries .venv")
        pytest.skip("JsSIP and SIP.js are not there: scripts/sip-libraries .venv")
    return _BUNDLE


class Script(Protocol):
    """A page of some browser."""

    async def run(self, script: str) -> Any:
        """What the body of a function returns in the page; a promise is awaited."""


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

    def __init__(self, page: Script) -> None:
        self._page = page

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

    async def get(self, expression: str) -> Any:
        """The value of an expression in the page."""
        return await self._page.run(f"return {expression}")

    async def until(self, event: str, timeout: float = 10.0) -> Any:
        """The detail of the next event of this name; TimeoutError with the others that came."""
        try:
            async with asyncio.timeout(timeout):
                return await self._page.run(f"return phone.until({json.dumps(event)})")
        except TimeoutError:
            raise TimeoutError(f"no {event}, but {await self.get('phone.events')}") from None

    async def tone(self, hz: float, timeout: float = 10.0) -> None:
        """Wait until a tone of `hz` is heard."""
        heard = None
        try:
            async with asyncio.timeout(timeout):
                while heard is None or abs(heard - hz) > NEAR:
                    heard = await self.get("phone.sound.tone")
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise TimeoutError(f"no {hz:g} Hz, but {heard}; events {await self.get('phone.events')}") from None

    async def sound(self, timeout: float = 10.0) -> None:
        """Wait until something loud is played, of whatever frequency."""
        try:
            async with asyncio.timeout(timeout):
                while await self.do("level") < 0.1:  # noqa: ASYNC110  # only asking tells
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise TimeoutError(f"nothing is heard: {await self.do('received')}") from None

    async def silence(self, timeout: float = 10.0) -> None:
        """Wait until nothing is heard."""
        async with asyncio.timeout(timeout):
            while await self.get("phone.sound.tone") is not None:  # noqa: ASYNC110  # only asking tells
                await asyncio.sleep(0.05)
