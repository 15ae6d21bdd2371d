"""The gateway of the soak, its phones and pages, and what became of their calls."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from pathlib import Path

from bench.browser import BrowserError, Identity
from bench.process import waited_for_a_core
from gateway.net.config import UserAgentConfig
from gateway.net.registration import RegistrationPolicy
from gateway.net.user_agent import UserAgent
from gateway.sip.auth.account import Credentials
from gateway.sip.invite import events
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.invite.outgoing import OutgoingSession
from gateway.sip.invite.session import InviteSession
from gateway.sip.message.uri import Uri
from tests.net.peers import ANSWER, OFFER, Application, Recorder
from tests.ports import free_ports
from tests.soak.collectors import Collectors
from tests.soak.levels import Level, level
from tests.soak.pages import Page

ROOT = Path(__file__).parents[2]
_PASSWORD = "of-the-soak-0815"
_DESKS = ("1101", "1102", "1103", "1104", "1105")
_CALLED = ("1002", "1003")
FRESH = ("1201", "1202")
"""Whose phones stay registered, and refresh that every few seconds."""
_USERS = ("1001", *_CALLED, *_DESKS, *FRESH)
_PAGE = "alice"
_T1 = 0.05
_REST = 64 * _T1 + 8.0
"""Seconds after which nothing of a call is left."""
_LATE = 15.0
"""Seconds that a step of a call may take, those not counted that the machine had no core for it."""
_NO_CORE = 32 * _T1
"""Seconds without a core in the life of a call after which SIP may well have given it up: half of timer B."""
_PATIENCE = 45.0
_GIVEN_UP = 50.0
"""Seconds after which who called hangs up in any case."""
_LONGEST = 4.0
"""Seconds after which a phone that was called hangs up."""
_AT_ONCE = 100
"""Calls that are under way; more wait until the machine has done with some."""
_RELOAD_EVERY = 2.0
RECORDS = "cdr.jsonl"


@dataclass(slots=True)
class Outcomes:
    """What became of the calls."""

    right: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    """Those that were not as they should be, and why."""
    starved: int = 0
    """Those that were not, for want of a core."""
    held_back: float = 0.0
    """Seconds for which calls waited for others to end."""
    reloads: int = 0
    refreshes: Counter[int] = field(default_factory=Counter)
    """Of registrations that stay, by their status."""

    @property
    def calls(self) -> int:
        """Those that were made, however they went."""
        return self.right.total() + self.wrong.total() + self.starved


class Soak:
    """A gateway that runs, one user agent that is every phone, and what became of the calls."""

    def __init__(self, process: asyncio.subprocess.Process, web: int, sip: int, agent: UserAgent, held: Path) -> None:
        self.process = process
        self._web, self._sip = web, sip
        self._agent = agent
        self._held = held
        self._identity = Identity.make()
        self._numbers = iter(range(1_000_000_000))
        self.outcomes = Outcomes()

    async def register(self) -> None:
        registrar = f"sip:127.0.0.1:{self._sip}"
        for user in (*_CALLED, *FRESH):
            is_fresh = user in FRESH
            await self._agent.register(
                registrar,
                aor=f"sip:{user}@gateway.local",
                credentials=Credentials(user, _PASSWORD),
                policy=RegistrationPolicy(expires=10, probe=0.0) if is_fresh else None,
                answered=(lambda made: self.outcomes.refreshes.update([made.status])) if is_fresh else None,
            )

    async def rest(self) -> Level:
        """What is left once everything of the calls is over."""
        await asyncio.sleep(_REST)
        self.process.send_signal(signal.SIGUSR2)
        figures = await asyncio.to_thread(self._figures)  # answered after that
        return level(self.process.pid, figures, self._held)

    async def level(self) -> Level:
        """What there is in the middle of it."""
        return level(self.process.pid, await asyncio.to_thread(self._figures))

    def _figures(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._web}/metrics", timeout=60) as answer:
            return str(answer.read().decode())

    def _waited(self) -> float:
        """Seconds that the gateway and its peers here could have run while others had the cores."""
        return waited_for_a_core(self.process.pid) + waited_for_a_core(os.getpid())

    def _dial(self, number: str, password: str = _PASSWORD) -> tuple[OutgoingSession, Recorder]:
        session = self._agent.invite(
            f"sip:{number}@127.0.0.1:{self._sip}",
            caller="<sip:1001@gateway.local>",
            body=OFFER,
            credentials=Credentials("1001", password),
        )
        # Where it went otherwise than it should, nobody else ends it.
        asyncio.get_running_loop().call_later(_GIVEN_UP, session.hangup)
        return session, Recorder(session, partial(_answer, session))

    async def call(self, kind: str, act: Callable[[], Awaitable[None]]) -> None:
        """One of them, counted."""
        began, waited, why = time.monotonic(), self._waited(), ""
        try:
            await act()
        except (TimeoutError, AssertionError, BrowserError) as error:
            why = f"{type(error).__name__} {error}".partition("\n")[0][:80]
        waited = self._waited() - waited
        late = time.monotonic() - began - waited > _LATE
        if why and waited > _NO_CORE and not late:
            self.outcomes.starved += 1
        elif why or late:
            self.outcomes.wrong[f"{kind}: {why or 'late'}"] += 1
        else:
            self.outcomes.right[kind] += 1

    async def echo(self) -> None:
        """Talk to the echo, hold it, and hang up."""
        session, heard = self._dial("600")
        await _up(heard)
        session.offer(OFFER + b"a=sendonly\r\n")
        await heard.wait(events.OfferAnswered, _PATIENCE)
        session.hangup()

    async def phones(self) -> None:
        """A phone calls a phone, which answers."""
        session, heard = self._dial("1002")
        await _up(heard)
        await asyncio.sleep(0.2)
        session.hangup()

    async def transfer(self) -> None:
        """A phone passes who it called on to the echo, and is out."""
        session, heard = self._dial("1002")
        await _up(heard)
        session.refer(Uri.parse("sip:601@gateway.local"), lambda *told: None)
        try:
            await heard.wait(events.Ended, 5)
        except TimeoutError:
            session.hangup()

    async def cancel(self) -> None:
        """Somebody rings and is given up."""
        session, heard = self._dial("1003")
        await heard.wait(events.Provisional, _PATIENCE)
        session.hangup()
        await heard.wait_for_one_of(events.Failed, events.Ended, seconds=_PATIENCE)

    async def refused(self) -> None:
        """A number that is nobody's."""
        _, heard = self._dial("999")
        failed = await heard.wait(events.Failed, _PATIENCE)
        assert isinstance(failed, events.Failed)
        assert failed.status == 404, failed.status

    async def page(self) -> None:
        """A page signs in, talks to the echo by ICE and DTLS, and is closed."""
        page = await Page.open(self._web, _PAGE, _PASSWORD, self._identity)
        try:
            await page.call("600")
        finally:
            await page.close()

    async def registration(self) -> None:
        """A phone registers, and takes it back."""
        number = next(self._numbers)
        user = _DESKS[number % len(_DESKS)]
        made = await self._agent.register(
            f"sip:127.0.0.1:{self._sip}",
            aor=f"sip:{user}@gateway.local",
            credentials=Credentials(user, _PASSWORD),
            policy=RegistrationPolicy(probe=0.0),
            contact_user=f"desk-{number % 100}",
        )
        status = made.status
        await self._agent.unregister(made)
        assert (status, made.status) == (200, 200), f"{status}, {made.status}"

    @property
    def mix(self) -> tuple[tuple[str, Callable[[], Awaitable[None]]], ...]:
        return (
            ("echo", self.echo),
            ("phones", self.phones),
            ("transfer", self.transfer),
            ("cancelled", self.cancel),
            ("nobody's number", self.refused),
            ("page", self.page),
            ("registration", self.registration),
        )

    async def load(self, seconds: float, rate: float, config: Path) -> None:
        """Calls of all kinds at `rate`, and a reload now and then, until the last of them is over."""
        loop = asyncio.get_running_loop()
        ends, calls, number = loop.time() + seconds, set[asyncio.Task[None]](), 0
        kinds = cycle(self.mix)
        reloading = asyncio.create_task(self._reload(config))
        begun = loop.time()
        while loop.time() < ends:
            kind, act = next(kinds)
            task = asyncio.create_task(self.call(kind, act))
            calls.add(task)
            task.add_done_callback(calls.discard)
            number += 1
            await asyncio.sleep(max(0.0, begun + number / rate - loop.time()))
            if len(calls) >= _AT_ONCE:
                full = loop.time()
                await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
                self.outcomes.held_back += loop.time() - full
        reloading.cancel()
        await asyncio.gather(reloading, *calls, return_exceptions=True)

    async def _reload(self, config: Path) -> None:
        for more in cycle(("", '  - {match: "700", to: "service:tone"}\n')):
            await asyncio.sleep(_RELOAD_EVERY)
            await asyncio.to_thread(config.write_text, _config(more))
            self.process.send_signal(signal.SIGHUP)
            self.outcomes.reloads += 1


async def _up(heard: Recorder) -> None:
    """Wait for the answer, or a refusal, which is none."""
    told = await heard.wait_for_one_of(events.Answered, events.Failed, seconds=_PATIENCE)
    assert not isinstance(told, events.Failed), told.status


def _config(more_routes: str = "") -> str:
    users = "".join(f'  - {{id: "{user}", sip: true, max_calls: 1000, password: {_PASSWORD}}}\n' for user in _USERS)
    page = f"  - {{id: {_PAGE}, web: true, max_calls: 1000, password: {_PASSWORD}}}\n"
    return (
        "users:\n" + users + page + "routes:\n"
        '  - {match: "600", to: "service:echo"}\n  - {match: "601", to: "service:tone"}\n' + more_routes
    )


def _called(session: IncomingSession, recorder: Recorder) -> None:
    """1003 only rings; the others answer, whatever is asked of them later as well."""
    session.listen(partial(_answer, session))
    session.ring(180)
    if "1003" not in str(session.request.to):
        session.answer(ANSWER)
        # Who was passed on has nobody else to do it.
        asyncio.get_running_loop().call_later(_LONGEST, session.hangup)


def _answer(session: InviteSession, event: events.SessionEvent) -> None:
    if isinstance(event, events.Offered):
        session.answer_offer(event.exchange, ANSWER)


@contextlib.asynccontextmanager
async def soaking(folder: Path, collectors: Collectors) -> AsyncIterator[tuple[Soak, Path, Path]]:
    """A gateway that tells `collectors` of its calls, and its phones; its configuration, and its log."""
    web, sip, media, rtp = free_ports(4)
    config, log, held = folder / "gateway.yaml", folder / "gateway.log", folder / "held.json"
    config.write_text(_config())
    environ = {
        "WEB__LISTEN": f"127.0.0.1:{web}",
        "SIP__LISTEN": f'["udp:127.0.0.1:{sip}"]',
        "WEBRTC__LISTEN": f"127.0.0.1:{media}",
        "RTP__PORTS": f"{rtp}-{rtp + 1999}",
        "STATE_DIR": str(folder / "state"),
        "METRICS__ENABLED": "true",
        "CDR__FILE": str(folder / RECORDS),
        **collectors.environ,
        "LOG__FILE": str(log),
        "LOG__FORMAT": "json",
        "SIP__TIMERS__T1": str(_T1),
        "SIP__TIMERS__T2": "0.4",
        "SIP__TIMERS__T4": "0.5",
        "SIP__LIMITS__REQUESTS_PER_SECOND": "10000",
        "SIP__LIMITS__BURST": "10000",
        "SIP__REGISTRATION__NONCE_LIFETIME": "10",
        "SIP__REGISTRATION__MIN_EXPIRES": "5",
        "LIMITS__LOAD": "0",
        "LIMITS__PLANE_LOAD": "0",
        "LIMITS__STORE_DELAY": "0",
        "LIMITS__HISTORY_SIZE": "100",
        "LIMITS__LADDER_MEMORY": "262144",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *(str(ROOT / "tests" / "soak" / "inside.py"), str(held), "run", "--config", str(config)),
        cwd=folder,
        env={**os.environ, **{f"GATEWAY_{name}": value for name, value in environ.items()}},
        stdout=asyncio.subprocess.PIPE,
    )
    agent = UserAgent(UserAgentConfig(listen=(("127.0.0.1", 0),)), Application(_called))
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            while b"stops the gateway" not in await process.stdout.readline():
                assert process.returncode is None
        await agent.start()
        soak = Soak(process, web, sip, agent, held)
        await soak.register()
        yield soak, config, log
    finally:
        await agent.close()
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await asyncio.wait_for(process.communicate(), 60)


def mistakes(log: Path) -> list[str]:
    """Lines of errors, and of exceptions at any level."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [json.dumps(line)[:2000] for line in lines if line.get("level") == "error" or "exception" in line]
