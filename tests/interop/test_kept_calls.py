"""Journals that gateways wrote before this one was built are read by it, and their calls gone on with."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from tests import peers
from tests.chaos.clock import Clock
from tests.chaos.forked import forks
from tests.interop.kept_calls import CALLEE, CALLER, NAMES, SIP, surroundings

JOURNALS = sorted((Path(__file__).parents[1] / "data" / "journals").iterdir())
SDP = "v=0\r\no=- 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"

pytestmark = [pytest.mark.wall, pytest.mark.serial]


class Phone(asyncio.DatagramProtocol):
    """Says 200 to whatever it is asked, and remembers what that was."""

    def __init__(self, host: str, news: Callable[[], None]) -> None:
        self._host, self._news = host, news
        self._transport: asyncio.DatagramTransport
        self.heard: dict[tuple[str, str], int] = {}
        """CSeq numbers, by method or status and Call-ID; of the last one."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        head = data.decode().partition("\r\n\r\n")[0]
        start, *lines = head.split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        first, second = start.split()[:2]
        is_response = first == "SIP/2.0"
        self.heard[second if is_response else first, fields["call-id"]] = int(fields["cseq"].split()[0])
        if not is_response and first != "ACK":
            self._answer(first, head, addr)
        self._news()

    def _answer(self, method: str, head: str, addr: tuple[str, int]) -> None:
        kept = re.findall(r"(?im)^(?:via|from|to|call-id|cseq):.*?(?=\r?$)", head)
        body = SDP.format(self._host) if method == "INVITE" else ""
        described = ["Content-Type: application/sdp"] if body else []
        lines = [*kept, f"Contact: <sip:{self._host}:{SIP}>", *described, f"Content-Length: {len(body)}"]
        self._transport.sendto("\r\n".join(["SIP/2.0 200 OK", *lines, "", body]).encode(), addr)


@pytest.mark.parametrize("written", JOURNALS, ids=lambda each: each.name)
async def test_calls_that_an_older_gateway_has_written_down_go_on(tmp_path: Path, written: Path) -> None:
    """Both phones of a call are offered other media in their dialogs, its plane being gone; who rings is cancelled."""
    peers.plane()
    names = json.loads((written / NAMES).read_text())
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    clock, news = Clock(tmp_path / "clock"), asyncio.Event()
    loop = asyncio.get_running_loop()
    phones, transports = [], []
    for host in (CALLER, CALLEE):
        transport, phone = await loop.create_datagram_endpoint(partial(Phone, host, news.set), (host, SIP))
        phones.append(phone)
        transports.append(transport)
    caller, callee = phones
    between, ringing = names["between phones"], names["rings"]
    try:
        async with forks(clock=clock) as start, asyncio.timeout(60):
            clock.offset = names["at"] + 1 - time.time()
            gateway = await start.start(surroundings(tmp_path), tmp_path / "log")
            try:
                while not (
                    ("INVITE", between["caller"]) in caller.heard
                    and ("INVITE", between["callee"]) in callee.heard
                    and ("500", ringing["caller"]) in caller.heard
                    and callee.heard.keys() & {(method, ringing["callee"]) for method in ("CANCEL", "BYE")}
                ):
                    news.clear()
                    await news.wait()
            finally:
                await gateway.terminate()
        assert "resumed=2 ended=1" in gateway.said()
        assert "Traceback" not in gateway.said()
        numbers = [phone.heard["INVITE", between[name]] for name, phone in (("caller", caller), ("callee", callee))]
        assert min(numbers) > 1_000
    finally:
        for transport in transports:
            transport.close()
