"""The command `webrtc_server`: a transport configured by environment that answers whoever calls it, until Ctrl-C."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys

from gateway.remotemedia.config import WebRtcTransportConfig
from gateway.remotemedia.errors import SignalingError, TransportError
from gateway.remotemedia.transport import WebRtcTransport

log = logging.getLogger("webrtc_server")


async def serve(config: WebRtcTransportConfig, stopped: asyncio.Event) -> None:
    """Run until `stopped`. Raises TransportError when signalling cannot be reached or is lost."""
    transport = WebRtcTransport(config)
    log.info("WebRTC transport created")
    transport.callbacks.on_peer_connected = lambda peer_id: log.info("peer connected peer_id=%s", peer_id)
    transport.callbacks.on_peer_disconnected = lambda peer_id: log.info("peer disconnected peer_id=%s", peer_id)
    await transport.start()
    log.info("WebRTC transport started and connected to signaling server")
    log.info("Server running. Press Ctrl+C to shutdown.")
    waits = [asyncio.create_task(stopped.wait()), asyncio.create_task(transport.until_lost())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if not stopped.is_set():
            raise SignalingError("the signalling server does not come back: nobody could call this transport any more")
    finally:
        for wait in waits:
            wait.cancel()
        await transport.stop()
        log.info("Server stopped.")


async def _main(config: WebRtcTransportConfig) -> None:
    stopped = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, stopped.set)
    await serve(config, stopped)


def main() -> None:
    """Entry point; exits with 2 for settings that cannot be used, 1 when signalling cannot be reached or is lost."""
    logging.basicConfig(level=os.environ.get("LOG_LEVEL", "INFO").upper(), format="%(levelname)s %(message)s")
    try:
        config = WebRtcTransportConfig.from_env()
    except TransportError as error:
        print(error, file=sys.stderr)  # noqa: T201  # a command's own words
        sys.exit(2)
    log.info("Configuration loaded signaling_url=%s max_peers=%d", config.signaling_url, config.max_peers)
    try:
        asyncio.run(_main(config))
    except TransportError as error:
        log.error("%s", error)
        sys.exit(1)
