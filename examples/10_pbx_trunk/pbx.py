"""A Kamailio that plays the PBX: started on kamailio.cfg, ready when it answers OPTIONS."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway import GatewayError
from gateway.testing import answers_options, running

CONFIG = Path(__file__).with_name("kamailio.cfg")


@asynccontextmanager
async def pbx(folder: Path, host: str, port: int, gateway: str) -> AsyncIterator[None]:
    """A running PBX at that UDP address; its numbers 301 to 399 are at `gateway` ("host:port")."""
    file, log = folder / "kamailio.cfg", folder / "kamailio.log"
    file.write_text(CONFIG.read_text().replace("PBX\n", f"{host}:{port}\n").replace("GATEWAY", gateway))
    (folder / "secret.cfg").write_text(f'#!define SECRET "{secrets.token_hex(32)}"\n')
    options = ("-f", str(file), "-DD", "-E", "-w", str(folder), "-P", str(folder / "kamailio.pid"))
    async with running(log, "kamailio", "kamailio", *options):
        try:
            await answers_options(host, port, 10)
        except TimeoutError as error:
            raise GatewayError(f"{error}; Kamailio says: {log.read_text()[-300:]}") from None
        yield
