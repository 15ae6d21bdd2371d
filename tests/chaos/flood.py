"""Strangers who flood the SIP port (sipp): what the gateway grows by, and how long others' calls take to be set up."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.process import environment, running, waited_for_a_core
from gateway.net import Answered, Ended, Failed, UserAgent, UserAgentConfig
from gateway.sip.auth.account import Credentials
from tests.interop.sipp import SCENARIOS, Sipp
from tests.net.peers import OFFER, Application, Recorder, answering
from tests.ports import listening

STRANGERS = {"flood": ("127.0.0.9", 1_500), "scan": ("127.0.0.10", 500)}
"""By scenario: where it comes from, and how many requests a second."""
LONGEST = 1.0
"""Seconds of a call's set-up, those not counted that the machine had no core for it."""
MOST, LATER = 24 * 2**20, 8 * 2**20
"""Octets that the gateway may grow by, in all and in the second half: tables of strangers are bounded."""
_USER, _PASSWORD = "1001", "of-the-caller-0815"
_PAUSE = 0.2
"""Seconds between two calls of others."""
_LATE = 60
"""Seconds that sipp may take beyond its time."""


@dataclass(frozen=True, slots=True)
class Flood:
    """What came of one."""

    sent: int
    """Requests of the strangers."""
    times: list[float]
    """Seconds that calls of another address took to be set up meanwhile."""
    grown: int
    """Octets of memory that the gateway has more after it."""
    later: int
    """And how many of them came in its second half."""

    @property
    def is_right(self) -> bool:
        return len(self.times) >= 5 and max(self.times) < LONGEST and self.grown < MOST and self.later < LATER

    def __str__(self) -> str:
        return (
            f"{self.sent} requests of strangers; {len(self.times)} calls of another address were set up meanwhile in "
            f"{statistics.median(self.times):.3f} s (p50) and {max(self.times):.3f} s (max); memory grew by "
            f"{self.grown / 2**20:.1f} MiB, {self.later / 2**20:.1f} of them in the second half"
        )


async def flooded(folder: Path, seconds: int) -> Flood:
    """REGISTERs of ever other users, Call-IDs and tags, and a scanner's OPTIONS, while somebody else places calls."""
    caller = UserAgent(UserAgentConfig(listen=(("127.0.0.1", 0),)), Application())
    callee = UserAgent(UserAgentConfig(listen=(("127.0.0.1", 0),)), Application(answering))
    async with AsyncExitStack() as stack:
        for agent in (caller, callee):
            await agent.start()
            stack.push_async_callback(agent.close)
        users = [{"id": _USER, "sip": True, "password": _PASSWORD, "may_call": ["*", "9*"]}]
        limits = {"SIP__LIMITS__REQUESTS_PER_SECOND": 50, "SIP__LIMITS__BURST": 100}  # as they are by default
        limits |= {"LIMITS__HISTORY_SIZE": 1, "LIMITS__LADDER_MEMORY": 65_536}  # others' calls leave nothing
        environ = environment(str(folder), callee.listening[0][2], USERS=users, **limits, **listening())
        sip = environ["GATEWAY_SIP__LISTEN"].partition("udp:")[2].rstrip('"]')
        gateway = await stack.enter_async_context(running(environ, folder / "log"))
        pid = gateway.process.pid
        await _set_up(caller, sip, pid)
        before = _resident(pid)
        floods = [
            await stack.enter_async_context(_stranger(sip, scenario, host, rate, seconds))
            for scenario, (host, rate) in STRANGERS.items()
        ]
        over = asyncio.gather(*(flood.finish() for flood in floods))
        stack.callback(over.cancel)
        times, half, middle = list[float](), time.monotonic() + seconds / 2, before
        while not over.done():
            times.append(await _set_up(caller, sip, pid))
            middle = _resident(pid) if time.monotonic() < half else middle
            await asyncio.wait([over], timeout=_PAUSE)
        await over
        sent = seconds * sum(rate for _, rate in STRANGERS.values())
        after = _resident(pid)
        return Flood(sent, times, after - before, after - middle)


def _stranger(sip: str, scenario: str, host: str, rate: int, seconds: int) -> Sipp:
    file = str(SCENARIOS / f"{scenario}.xml")
    return Sipp(sip, "-sf", file, "-r", str(rate), host=host, calls=rate * seconds, seconds=seconds + _LATE)


def _resident(pid: int) -> int:
    """Octets of memory that it has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def _set_up(caller: UserAgent, sip: str, pid: int) -> float:
    """Seconds until a call is answered, had the gateway and we had a core whenever we could have used one."""
    began, waited = time.monotonic(), waited_for_a_core(pid) + waited_for_a_core(os.getpid())
    session = caller.invite(
        f"sip:90000@{sip}", caller=f"<sip:{_USER}@{sip}>", body=OFFER, credentials=Credentials(_USER, _PASSWORD)
    )
    heard = Recorder(session)
    told = await heard.wait_for_one_of(Answered, Failed)
    took = time.monotonic() - began
    assert isinstance(told, Answered), told
    waited = waited_for_a_core(pid) + waited_for_a_core(os.getpid()) - waited
    session.hangup()
    await heard.wait(Ended)
    return took - waited
