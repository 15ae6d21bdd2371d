"""Firefox by its own remote protocol (Marionette: length-prefixed JSON over TCP), without a driver beside it."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.netns import Host
from tests.ports import free_ports
from tests.processes import end

PREFERENCES = {
    "media.navigator.streams.fake": True,
    "media.navigator.permission.disabled": True,
    "media.autoplay.default": 0,
    "media.autoplay.blocking_policy": 0,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "toolkit.telemetry.enabled": False,
    "app.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "browser.startup.page": 0,
    "browser.startup.homepage": "about:blank",
    "browser.startup.homepage_override.mstone": "ignore",
    "browser.aboutwelcome.enabled": False,
    "browser.newtabpage.enabled": False,
    "browser.newtabpage.activity-stream.feeds.section.topstories": False,
    "browser.newtabpage.activity-stream.feeds.topsites": False,
    "browser.topsites.contile.enabled": False,
    "browser.region.network.url": "",
    "browser.safebrowsing.downloads.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.search.update": False,
    "datareporting.healthreport.uploadEnabled": False,
    "dom.ipc.processPrelaunch.enabled": False,
    "extensions.enabledScopes": 0,
    "extensions.screenshots.disabled": True,
    "extensions.systemAddon.update.enabled": False,
    "services.settings.server": "data:,",
}
"""A tone for a microphone, no questions, nothing fetched, no process made ahead; everything of ICE as a user has it."""
START_TIME = 60.0
"""Seconds."""


class Firefox:
    """A headless Firefox with a profile of its own; an async context manager."""

    def __init__(
        self,
        executable: str,
        preferences: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
        on: Host | None = None,
    ) -> None:
        """`preferences` beside those above; `environ`: variables beside those of the tests; `on`: where it runs."""
        self._command = *(on.words if on is not None else ()), executable
        self._host = on
        self._environ = {**os.environ, **(environ or {})}
        self._preferences = {**PREFERENCES, **(preferences or {})}
        self._profile = Path(tempfile.mkdtemp(prefix="gateway-firefox-"))
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Firefox:
        [port] = free_ports(1)
        preferences = {**self._preferences, "marionette.port": port}
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in preferences.items()]
        (self._profile / "user.js").write_text("\n".join(lines))
        self._process = await asyncio.create_subprocess_exec(
            *self._command, "--headless", "--no-remote", "--marionette", "--profile", str(self._profile),
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, env=self._environ,
        )  # fmt: skip
        async with asyncio.timeout(START_TIME):
            await self._connect(port)
            await self._read()
            self._reading = asyncio.create_task(self._read_answers())
            await self.command("WebDriver:NewSession", {})
            await self.command("WebDriver:SetTimeouts", {"script": 30_000})
        return self

    async def _connect(self, port: int) -> None:
        while True:
            try:
                made = self._host.tcp_socket() if self._host is not None else socket.socket()
                made.setblocking(False)
                await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", port))
                self._reader, self._writer = await asyncio.open_connection(sock=made, limit=1 << 24)
            except OSError:
                made.close()
                await asyncio.sleep(0.1)
            else:
                return

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            await end(self._process)
        if self._reading is not None:
            self._reading.cancel()
        if self._writer is not None:
            self._writer.close()
        shutil.rmtree(self._profile, ignore_errors=True)

    async def command(self, name: str, parameters: dict[str, Any]) -> Any:
        """One command; its result. Raises RuntimeError with Firefox's own words."""
        number = next(self._ids)
        message = json.dumps([0, number, name, parameters])
        assert self._writer is not None
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            self._writer.write(f"{len(message.encode())}:{message}".encode())
            error, result = await answer
        finally:
            del self._answers[number]
        if error is not None:
            raise RuntimeError(f"{name}: {error.get('error')}: {error.get('message')}")
        return result

    async def open(self, url: str) -> None:
        """Load a page."""
        await self.command("WebDriver:Navigate", {"url": url})

    async def run(self, script: str) -> Any:
        """What a script in the page returns; a promise is awaited."""
        result = await self.command("WebDriver:ExecuteScript", {"script": script, "args": []})
        return result["value"]

    async def _read_answers(self) -> None:
        """Give each answer to who waits for it; one that came too late for its test is passed over."""
        try:
            while True:
                _, number, error, result = await self._read()
                if (waits := self._answers.get(number)) is not None and not waits.done():
                    waits.set_result((error, result))
        except (asyncio.IncompleteReadError, OSError):
            for waits in self._answers.values():
                if not waits.done():
                    waits.set_exception(RuntimeError("Firefox has ended"))

    async def _read(self) -> Any:
        length = int((await self._reader.readuntil(b":"))[:-1])
        return json.loads(await self._reader.readexactly(length))


class FirefoxTab:
    """A tab of a Firefox that has several: each command is of the tab that was looked at last."""

    def __init__(self, firefox: Firefox, looking: asyncio.Lock) -> None:
        """`looking`: of all tabs of this Firefox."""
        self._firefox = firefox
        self._looking = looking
        self._handle = ""

    async def __aenter__(self) -> FirefoxTab:
        async with self._looking:
            made = await self._firefox.command("WebDriver:NewWindow", {"type": "tab"})
        self._handle = made["handle"]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with self._looking:
            await self._look()
            others = await self._firefox.command("WebDriver:CloseWindow", {})
            await self._firefox.command("WebDriver:SwitchToWindow", {"handle": others[0]})

    async def _look(self) -> None:
        await self._firefox.command("WebDriver:SwitchToWindow", {"handle": self._handle})

    async def run(self, script: str) -> Any:
        """What a script in the page returns; a promise is awaited."""
        async with self._looking:
            await self._look()
            return await self._firefox.run(script)

    async def open(self, url: str) -> None:
        """Load a page."""
        async with self._looking:
            await self._look()
            await self._firefox.open(url)
