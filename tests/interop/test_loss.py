"""A hundred calls over a network that loses every fifth SIP packet: they are set up and end clean all the same."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import peers
from tests.interop.gateway import PASSWORDS
from tests.interop.sipp import SCENARIOS
from tests.processes import kill

# A message that is lost again and again is repeated for up to 32 s (RFC 3261 timers B and F).
pytestmark = [pytest.mark.wall, pytest.mark.nightly, pytest.mark.timeout(180)]

PORT = 5060
CALLS = 100
LOSS = 20
RULES = f"""table inet loss {{
  chain in {{
    type filter hook input priority 0; policy accept;
    udp dport {PORT} numgen random mod 100 < {LOSS} counter drop
    udp sport {PORT} numgen random mod 100 < {LOSS} counter drop
  }}
}}
"""


@pytest.fixture
def space() -> Iterator[tuple[str, ...]]:
    """The words that run a command in a namespace of its own, where every fifth SIP packet is dropped."""
    peers.namespaces()
    name = f"gwloss{os.getpid()}"
    there = ("ip", "netns", "exec", name)
    try:
        peers.in_namespace(f"ip netns add {name}", " ".join([*there, "ip link set lo up"]))
        peers.in_namespace(" ".join([*there, "nft -f -"]), text=RULES)
        yield there
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@pytest.mark.parametrize("scenario", ["gateway_lossy", "gateway_lossy_hold"])
async def test_calls_get_through_a_network_that_loses_every_fifth_packet(
    tmp_path: Path, space: tuple[str, ...], scenario: str
) -> None:
    """At least 99 of 100 are answered, held and taken up again where they do that, and ended by both sides.

    The gateway keeps nothing of any.
    """
    gateway = await asyncio.create_subprocess_exec(
        *space,
        *(sys.executable, "-m", "tests.interop.lossy_gateway", str(tmp_path), str(PORT)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert gateway.stdin is not None
    assert gateway.stdout is not None
    try:
        async with asyncio.timeout(30):
            assert await gateway.stdout.readline() == b"ready\n"
        figures = tmp_path / "figures.csv"
        sipp = await asyncio.create_subprocess_exec(
            *space,
            *(peers.sipp(), f"127.0.0.1:{PORT}", "-sf", str(SCENARIOS / f"{scenario}.xml"), "-s", "600"),
            *("-au", "1002", "-ap", PASSWORDS["1002"], "-auth_uri", "600@gateway.local"),
            *("-i", "127.0.0.1", "-m", str(CALLS), "-r", "50", "-l", str(CALLS), "-nostdin"),
            *("-max_retrans", "11", "-max_invite_retrans", "7", "-timeout", "80s"),
            *("-trace_stat", "-stf", str(figures), "-fd", "1"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            env={**os.environ, "TERM": "dumb"},
        )
        await sipp.wait()
        last = list(csv.DictReader(figures.read_text(encoding="utf-8").splitlines(), delimiter=";"))[-1]
        completed = int(last["SuccessfulCall(C)"])
        assert completed >= CALLS * 99 // 100, last
        assert int(last["Retransmissions(C)"]) > 0, "nothing was lost"
        gateway.stdin.write(b"\n")
        async with asyncio.timeout(60):
            left = json.loads(await gateway.stdout.readline())
        # sipp gives a call up at a message that it does not expect, such as the late copy of a challenge.
        assert completed <= left["begun"] <= CALLS
        assert left == {"calls": 0, "begun": left["begun"], "ended": left["begun"]}
    finally:
        gateway.stdin.close()
        try:
            await asyncio.wait_for(gateway.wait(), 10)
        except TimeoutError:
            await kill(gateway)
    assert "Traceback" not in (tmp_path / "log").read_text(encoding="utf-8")
