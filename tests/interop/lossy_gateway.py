"""A gateway for a network that loses packets: runs until it is told to end, then says what is left."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from gateway.app import GatewayApp
from gateway.log import configure
from gateway.net.tap import Direction
from gateway.observe.message_log import names_of
from gateway.sip.flow import Flow
from tests.interop.gateway import config_on_free_ports


class Begun:
    """SIP Call-IDs of the INVITEs that came with credentials (net.tap.MessageTap): each is to become a call."""

    def __init__(self) -> None:
        self.call_ids: set[str | None] = set()

    def message(self, direction: Direction, data: bytes, flow: Flow, time: float) -> None:
        if direction is Direction.IN and data.startswith(b"INVITE ") and b"\r\nAuthorization:" in data:
            self.call_ids.add(names_of(data)[1])


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def main(folder: Path, port: int) -> None:
    """Serve until a line comes, then until the calls have ended; print as JSON how many began, ended and are left."""
    configure("warning", "console", folder / "log")
    changes = {
        "RTP__PORTS": "10000-10999",  # below those of tests.ports
        "SIP__LISTEN": f'["udp:127.0.0.1:{port}"]',
        "SIP__LIMITS__REQUESTS_PER_SECOND": "10000",
        # A hundred calls in two seconds may be more than a machine carries that others use; this is about loss.
        "LIMITS__LOAD": "0",
    }
    app = GatewayApp(config_on_free_ports(folder, USERS__1002__MAX_CALLS="200", **changes))
    await app.start()
    begun = Begun()
    app._user_agent.taps.add(begun)
    try:
        _say("ready")
        await asyncio.to_thread(sys.stdin.readline)
        for call in app.calls:
            try:
                await asyncio.wait_for(call.finished(), 40)
            except TimeoutError:
                break
        found = {"calls": len(app.calls), "begun": len(begun.call_ids), "ended": len(app.calls.ended)}
        _say(json.dumps(found))
    finally:
        await app.stop()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
