"""kill -9 of `gateway run` whose calls an rtpengine carries: the next gateway takes them up, and ends what is left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path

import pytest

from bench.callee import Callee
from bench.calls import FORWARDED, calls_through
from bench.process import environment, running
from gateway.media.rtpengine.client import ClientConfig, NgHost
from tests.media.engine_support import phone_sdp
from tests.media.rtpengine_support import rtpengine
from tests.ports import listening

pytestmark = [pytest.mark.wall, pytest.mark.serial]


async def listed(host: NgHost) -> list[str]:
    """The calls that the daemon has."""
    found = (await host.ask({"command": "list", "limit": 1000}))["calls"]
    assert isinstance(found, list)
    return [str(name) for name in found]


async def test_calls_on_rtpengine_outlive_the_gateway_that_made_them(tmp_path: Path) -> None:
    """Two calls are up: both go on. One that no record knows is ended at rtpengine."""
    phone, next_phone = await Callee.open(), await Callee.open()
    logs = tmp_path / "first.log", tmp_path / "second.log"
    with (
        contextlib.closing(phone),
        contextlib.closing(next_phone),
        rtpengine() as daemon,
        contextlib.closing(NgHost(daemon.address, ClientConfig(), time.monotonic, os.urandom)) as host,
    ):
        engine = f"rtpengine:{daemon.address[0]}:{daemon.address[1]}"
        codecs = {"CODECS__WEBRTC": ["pcmu"], "CODECS__RTP": ["pcmu"]}
        environ = environment(str(tmp_path), phone.port, **listening(), **codecs, MEDIA__ENGINE=engine)
        routes = environ["GATEWAY_ROUTES"].replace(str(phone.port), str(next_phone.port))
        async with running(environ, logs[0]) as first, calls_through(first, phone, FORWARDED) as calls:
            await calls.grow(2)
            await host.open()
            before = await listed(host)
            assert len(before) == 2
            unknown = before[0].partition("-")[0] + "-unknown"
            await host.ask({"command": "offer", "call-id": unknown, "from-tag": "a", "sdp": phone_sdp()})
            assert unknown in await listed(host)
            first.process.kill()
            await asyncio.to_thread(first.process.wait)
            async with running(environ | {"GATEWAY_ROUTES": routes}, logs[1]):
                text = logs[1].read_text()
                assert "resumed=2 ended=0" in text
                async with asyncio.timeout(10):
                    while sorted(await listed(host)) != sorted(before):  # noqa: ASYNC110  # the daemon tells of nothing
                        await asyncio.sleep(0.05)
