"""Firefox by its own remote protocol (Marionette: length-prefixed JSON over TCP), without a driver beside it."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

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
}
"""A tone for a microphone, no questions, nothing fetched; everything of ICE as a user has it."""
START_TIME = 60.0
"""Seconds."""


class Firefox:
    """A headless Firefox with a profile of its own; an async context manager."""

    def __init__(self, executable: str, preferences: Mapping[str, Any] | None = None) -> None:
        """`preferences` beside those above."""
        self._executable = executable
        self._preferences = {**PREFERENCES, **(preferences or {})}
        self._profile = Path(tempfile.mkdtemp(prefix="gateway-firefox-"))
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None
        self._ids = itertools.count(1)

    async def __aenter__(self) -> Firefox:
        [port] = free_ports(1)
        preferences = {**self._preferences, "marionette.port": port}
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in preferences.items()]
        (self._profile / "user.js").write_text("\n".join(lines))
        self._process = await asyncio.create_subprocess_exec(
            self._executable, "--headless", "--no-remote", "--marionette", "--profile", str(self._profile),
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        async with asyncio.timeout(START_TIME):
            await self._connect(port)
            await self._read()
            await self.command("WebDriver:NewSession", {})
            await self.command("WebDriver:SetTimeouts", {"script": 30_000})
        return self

    async def _connect(self, port: int) -> None:
        while True:
            try:
                self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
            except OSError:
                await asyncio.sleep(0.1)
            else:
                return

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            await end(self._process)
        if self._writer is not None:
            self._writer.close()
        shutil.rmtree(self._profile, ignore_errors=True)

    async def command(self, name: str, parameters: dict[str, Any]) -> Any:
        """One command; its result. Raises RuntimeError with Firefox's own words."""
        message = json.dumps([0, next(self._ids), name, parameters])
        assert self._writer is not None
        self._writer.write(f"{len(message.encode())}:{message}".encode())
        _, _, error, result = await self._read()
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

    async def _read(self) -> Any:
        length = int((await self._reader.readuntil(b":"))[:-1])
        return json.loads(await self._reader.readexactly(length))
