"""The phones of the media benchmark: each call has sockets of its own, for RTCP too, and makes no stray packets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from bench.callee import Callee
from bench.table import RESULTS
from sdp import SessionDescription

ROOT = Path(__file__).parents[1]
OFFER = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 10000 RTP/AVP 0\r\n"


@pytest_asyncio.fixture
async def callee() -> AsyncIterator[Callee]:
    """One that is closed with the test."""
    made = await Callee.open()
    with contextlib.closing(made):
        yield made


async def invited(callee: Callee, number: str) -> int:
    """Call a number; the RTP port of the answer."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        caller.setblocking(False)
        caller.connect(("127.0.0.1", callee.port))
        head = f"INVITE sip:{number}@127.0.0.1 SIP/2.0\r\nCSeq: 1 INVITE\r\nTo: <sip:{number}@127.0.0.1>\r\n\r\n"
        caller.send((head + OFFER).encode())
        response = await asyncio.wait_for(loop.sock_recv(caller, 4096), 30)
    return SessionDescription.parse(response.partition(b"\r\n\r\n")[2]).media[0].port


async def test_every_call_has_an_rtp_port_and_the_next_one_for_rtcp(callee: Callee) -> None:
    """What the gateway reports to the port after RTP's would come to whoever has it: another phone, or SIP."""
    ports = [await invited(callee, f"9{number}") for number in range(200)]
    taken = {port + place for port in ports for place in (0, 1)}
    assert len(taken) == 400
    assert callee.port not in taken
    for port in taken:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))


async def test_a_retransmission_gets_the_same_port(callee: Callee) -> None:
    """It is the same call."""
    assert await invited(callee, "91") == await invited(callee, "91")


def test_results_stay_out_of_the_repository() -> None:
    """Figures belong to one machine: a bench leaves a clone clean."""
    folder = RESULTS.relative_to(ROOT)
    assert f"{folder}/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
