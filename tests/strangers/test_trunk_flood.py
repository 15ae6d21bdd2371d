"""A trunk that sends more calls than it may, and the others beside it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from tests.interop.stranger import SDP, Stranger, status_of
from tests.strangers.stage import Way, stage

pytestmark = pytest.mark.wall

FLOOD, TAKEN = 500, 5
NEVER = "0.00001"
"""INVITEs a second: none comes to the burst while the test lasts."""

FUNCTIONS = 120_000
"""Python functions of 100 ms: a whole call enters 5,111 in 4.2 ms."""


class Entered:
    """Count of the Python functions that this thread enters."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        self.count += event == "call"


@contextmanager
def entered() -> Iterator[Entered]:
    """Count functions meanwhile."""
    counts = Entered()
    sys.setprofile(counts)
    try:
        yield counts
    finally:
        sys.setprofile(None)


def answered(trunk: Stranger) -> set[bytes]:
    """The calls of a trunk to which anything was answered."""
    return {found for data, _ in trunk.received for found in re.findall(rb"Call-ID: (\S+)", data)}


@pytest.mark.parametrize("ipv6", [False, True])
async def test_others_are_answered_while_a_trunk_floods(tmp_path: Path, ipv6: bool) -> None:
    """INVITEs above the trunk's burst are dropped unread: the answer to another's OPTIONS costs less than 100 ms."""
    sources = ["198.18.0.0/16", "fd00:6777::/32"]
    trunk = {"name": "pbx", "uri": "sip:pbx.test", "sources": sources, "options_interval": 0}
    limits = {"SIP__LIMITS__TRUNK_INVITES_PER_SECOND": NEVER, "SIP__LIMITS__TRUNK_INVITE_BURST": str(TAKEN)}
    async with stage(tmp_path, Way(ipv6, proxied=False), TRUNKS=json.dumps([trunk]), SIP__PROXIES="[]", **limits) as at:
        calling, other = await at.stranger(), await at.stranger(network=1)
        uri, own = f"sip:600@{at.app.config.domain}", f"sip:{at.app.config.domain}"
        for _ in range(FLOOD):
            calling.send(calling.request("INVITE", uri, body=SDP.format(host="192.0.2.1")), at.sip)
        with entered() as functions:
            assert status_of(await other.ask(other.request("OPTIONS", own), at.sip)) == 200
        assert functions.count < FUNCTIONS
        while len(answered(calling)) < TAKEN:
            await calling.more_than(len(calling.received))
        assert status_of(await calling.ask(calling.request("OPTIONS", own, call_id="last"), at.sip)) == 200
        assert len(answered(calling) - {b"last"}) == len(at.app.calls) == TAKEN
