"""A real rtpengine for tests: one of their own, or one that all tests of a run share."""

from __future__ import annotations

import atexit
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from bench.rtpengine import Daemon
from bench.rtpengine import rtpengine as started
from gateway.media.engine import MediaEvent
from gateway.media.rtpengine.client import Address, ClientConfig
from gateway.media.rtpengine.engine import RtpengineConfig, RtpengineEngine
from gateway.media.rtpengine.ng import Retries
from sdp.keys import KEY_OCTETS
from tests import peers
from tests.media.engine_support import phone_sdp
from tests.ports import OTHERS, free_port, free_ports

_shared: list[Daemon] = []


def rtpengine(*options: str, ports: int | None = None) -> contextlib.AbstractContextManager[Daemon]:
    """One daemon, ended with the context; skips the test, or fails it in CI, where the package is not installed.

    `ports`: how many it has for RTP, four a call, for itself; None: many, of which it finds free ones.
    """
    binary = peers.program("rtpengine", "rtpengine-daemon")
    first = OTHERS.start if ports is None else free_ports(1)[0]
    return started(binary, *options, ports=ports or len(OTHERS), control=free_port(), first=first)


def shared() -> Daemon:
    """The daemon that all tests of this run may use together, started for the first of them and ended with Python."""
    if not _shared:
        stack = contextlib.ExitStack()
        _shared.append(stack.enter_context(rtpengine()))
        atexit.register(stack.close)
    return _shared[0]


def config(*addresses: Address, **changes: Any) -> RtpengineConfig:
    """For these daemons, with little patience: they are next door."""
    client = ClientConfig(retries=Retries(after=(0.1, 0.3), deadline=0.6), ping_interval=0.5)
    return RtpengineConfig(hosts=addresses, client=client, **changes)


@contextlib.asynccontextmanager
async def running(made: RtpengineConfig | None = None) -> AsyncIterator[tuple[RtpengineEngine, list[MediaEvent]]]:
    """An engine by this configuration, or with the daemon of all, and what it tells."""
    engine = RtpengineEngine(made or config(shared().address))
    events: list[MediaEvent] = []
    engine.subscribe(events.append)
    await engine.start()
    try:
        yield engine, events
    finally:
        await engine.close()


def sdes_sdp(offer: str = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:") -> str:
    """A secure phone's offer, or its answer with the first suite of `offer`."""
    suite = offer.partition("a=crypto:")[2].split()[1]
    key = base64.b64encode(bytes(KEY_OCTETS[suite])).decode()
    return phone_sdp().replace("RTP/AVP", "RTP/SAVP") + f"a=crypto:1 {suite} inline:{key}\r\n"


def written(values: Mapping[str, Any] | None) -> dict[str, Any]:
    """As the journal gives it back."""
    found: dict[str, Any] = json.loads(json.dumps(values))
    return found
