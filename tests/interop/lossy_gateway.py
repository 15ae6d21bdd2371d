"""A gateway for a network that loses packets: runs until it is told to end, then says what is left."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from gateway.app import GatewayApp
from gateway.log import configure
from tests.interop.gateway import config_on_free_ports


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def main(folder: Path, port: int) -> None:
    """Serve until a line comes, then until the calls have ended; print how many are left, as JSON."""
    configure("warning", "console", folder / "log")
    changes = {
        "RTP__PORTS": "20000-20999",
        "SIP__LISTEN": f'["udp:127.0.0.1:{port}"]',
        "SIP__LIMITS__REQUESTS_PER_SECOND": "10000",
    }
    app = GatewayApp(config_on_free_ports(folder, USERS__1002__MAX_CALLS="200", **changes))
    await app.start()
    try:
        _say("ready")
        await asyncio.to_thread(sys.stdin.readline)
        for call in app.calls:
            try:
                await asyncio.wait_for(call.finished(), 40)
            except TimeoutError:
                break
        _say(json.dumps({"calls": len(app.calls), "ended": len(app.calls.ended)}))
    finally:
        await app.stop()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
