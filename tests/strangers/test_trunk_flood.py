"""A trunk that sends more calls than it may, and the others beside it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.interop.stranger import status_of
from tests.strangers.stage import Way, stage

pytestmark = [pytest.mark.wall, pytest.mark.serial]

FLOOD = """
import socket, sys, time
host, port, source, seconds = sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
family = socket.AF_INET6 if ":" in host else socket.AF_INET
made = socket.socket(family, socket.SOCK_DGRAM)
made.bind((source, 0))
here = f"[{source}]" if ":" in source else source
place = f"{here}:{made.getsockname()[1]}"
sdp = "v=0\\r\\no=- 1 1 IN IP4 192.0.2.1\\r\\ns=-\\r\\nc=IN IP4 192.0.2.1\\r\\n"
sdp += "t=0 0\\r\\nm=audio 40000 RTP/AVP 0\\r\\n"
until, number = time.monotonic() + seconds, 0
print("begun", flush=True)
while time.monotonic() < until:
    for _ in range(20):
        number += 1
        made.sendto((
            f"INVITE sip:600@gw.test SIP/2.0\\r\\nVia: SIP/2.0/UDP {place};rport;branch=z9hG4bK{number}f\\r\\n"
            f"Max-Forwards: 70\\r\\nFrom: <sip:4711@pbx.test>;tag={number}\\r\\nTo: <sip:600@gw.test>\\r\\n"
            f"Call-ID: flood-{number}\\r\\nCSeq: 1 INVITE\\r\\nContact: <sip:4711@{place}>\\r\\n"
            f"Content-Type: application/sdp\\r\\nContent-Length: {len(sdp)}\\r\\n\\r\\n{sdp}"
        ).encode(), (host, port))
    time.sleep(0.02)
"""
"""A trunk in a process of its own: 1,000 INVITEs a second."""
QUESTIONS = 60
WITHIN = 0.1
"""Seconds in which nine of ten OPTIONS of others are answered."""


@pytest.mark.parametrize("ipv6", [False, True])
async def test_others_are_answered_while_a_trunk_floods(tmp_path: Path, ipv6: bool) -> None:
    """What is above the trunk's rate is dropped unread; calls of it below the rate are taken."""
    sources = ["198.18.0.0/16", "fd00:6777::/32"]
    trunk = {"name": "pbx", "uri": "sip:pbx.test", "sources": sources, "options_interval": 0}
    async with stage(tmp_path, Way(ipv6, proxied=False), TRUNKS=json.dumps([trunk]), SIP__PROXIES="[]") as at:
        host, port = at.sip
        command = [*at.host.words, sys.executable, "-c", FLOOD, host, str(port), at.host.there, "20"]
        flood = await asyncio.to_thread(subprocess.Popen, command, stdout=subprocess.PIPE)
        try:
            assert flood.stdout is not None
            assert await asyncio.to_thread(flood.stdout.readline) == b"begun\n"
            other = await at.stranger(network=1)
            took = []
            for _ in range(QUESTIONS):
                begun = time.perf_counter()
                answer = await other.ask(other.request("OPTIONS", f"sip:{at.app.config.domain}"), at.sip)
                took.append(time.perf_counter() - begun)
                assert status_of(answer) == 200
                await asyncio.sleep(0.02)
        finally:
            flood.kill()
            await asyncio.to_thread(flood.communicate)
        calls = len(at.app.calls)
    assert sorted(took)[QUESTIONS * 9 // 10] < WITHIN
    # Calls of the trunk go on, at no more than its rate.
    assert 20 < calls <= 20 + 50 * (sum(took) + QUESTIONS)
