"""A real coturn, for as long as a test needs it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests import peers
from tests.ports import free_port
from tests.processes import end

SECRET = "north-star-shared-secret"


@dataclass(frozen=True, slots=True)
class Coturn:
    """Where it listens, and what it has written."""

    host: str
    port: int
    log: Path

    def url(self, transport: str = "udp") -> str:
        """Its URL as browsers are told it."""
        return f"turn:{self.host}:{self.port}?transport={transport}"

    def said(self, words: str) -> bool:
        """Whether its log has these words."""
        return words in self.log.read_text(errors="replace")


@contextlib.asynccontextmanager
async def coturn(
    folder: Path,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    prefix: Sequence[str] = (),
    options: Sequence[str] = ("--allow-loopback-peers", "--no-tls"),
) -> AsyncIterator[Coturn]:
    """A TURN server that shares `SECRET`; `prefix` are words that run it elsewhere (`ip netns exec …`)."""
    port, log = port or free_port(), folder / f"coturn-{host}.log"
    with log.open("wb") as written:
        process = await asyncio.create_subprocess_exec(
            *prefix,
            *(peers.program("turnserver", "coturn"), "-n", "--log-file=stdout", "--no-cli", "--no-dtls"),
            *(f"--listening-ip={host}", f"--listening-port={port}", f"--relay-ip={host}", "--realm=gateway.test"),
            *("--use-auth-secret", f"--static-auth-secret={SECRET}", "--fingerprint", "--verbose"),
            *(f"--pidfile={folder / 'coturn.pid'}", f"--userdb={folder / 'coturn.db'}", *options),
            stdout=written,
            stderr=written,
        )
    server = Coturn(host, port, log)
    try:
        async with asyncio.timeout(30):
            # It tells nobody but its log when it listens.
            while not server.said("IO method (admin thread)") and process.returncode is None:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert process.returncode is None, log.read_text(errors="replace")
        yield server
    finally:
        await end(process)
