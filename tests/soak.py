"""`python -m tests.soak`: calls, transfers and reloads for a while, and whether what the gateway holds stays level."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import signal
import statistics
import sys
import tempfile
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import astuple, dataclass, fields
from functools import partial
from itertools import cycle
from pathlib import Path

from rich.console import Console
from rich.table import Table

from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.auth.account import Credentials
from gateway.sip.invite import events
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.invite.outgoing import OutgoingSession
from gateway.sip.invite.session import InviteSession
from gateway.sip.message.uri import Uri
from tests.net.peers import ANSWER, OFFER, Application, Recorder
from tests.ports import free_ports

RATE = 20.0
_PASSWORD = "of-the-soak-0815"
_USERS = ("1001", "1002", "1003")
_T1 = 0.05
_REST = 64 * _T1 + 8.0
"""Seconds after which nothing of a call is left."""
_GIVEN_UP = 18.0
"""Seconds after which who called hangs up in any case."""
_LONGEST = 4.0
"""Seconds after which a phone that was called hangs up."""
_SAMPLES = 60
_RELOAD_EVERY = 2.0
_MOST_A_CALL = 2.0
"""KiB that the process may grow by each call from its middle to its end, at rest and after a pass of the collector."""
_MOST_GROWTH = 5.0
"""MiB beside that: pages of the allocator that are half empty."""
_PROGRAM = """import gc, signal, sys
from gateway.cli import main
signal.signal(signal.SIGUSR2, lambda *_: gc.collect())
sys.argv[0] = "gateway"
main()
"""
"""`gateway`, whose collector looks through everything when it is asked: what stands in circles is no leak."""
_SPARE = 8
"""Descriptors, tasks or timers that may come and go at rest."""


@dataclass(frozen=True, slots=True)
class Level:
    """What the process holds at one moment."""

    rss: float
    """MiB."""
    descriptors: float
    tasks: float
    timers: float


class Soak:
    """A gateway that runs, one user agent that is every phone, and what became of the calls."""

    def __init__(self, process: asyncio.subprocess.Process, web: int, sip: int, agent: UserAgent) -> None:
        self.process = process
        self._web, self._sip = web, sip
        self._agent = agent
        self.outcomes: Counter[str] = Counter()

    @property
    def calls(self) -> int:
        """Those that were made, however they went."""
        return sum(self.outcomes.values()) - self.outcomes["reloads"]

    async def register(self) -> None:
        for user in _USERS[1:]:
            await self._agent.register(
                f"sip:127.0.0.1:{self._sip}", aor=f"sip:{user}@gateway.local", credentials=Credentials(user, _PASSWORD)
            )

    async def rest(self) -> Level:
        """What is left once everything of the calls is over."""
        await asyncio.sleep(_REST)
        self.process.send_signal(signal.SIGUSR2)
        await asyncio.to_thread(self._figures)  # answered after that
        return await self.level()

    async def level(self) -> Level:
        """Read off the process, and its own figures."""
        pid = self.process.pid
        status = await asyncio.to_thread(Path(f"/proc/{pid}/status").read_text)
        [kilobytes] = re.findall(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
        text = await asyncio.to_thread(self._figures)
        found = {name: float(value) for name, value in re.findall(r"^(gateway_\w+) ([\d.]+)$", text, re.MULTILINE)}
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))
        return Level(int(kilobytes) / 1024, descriptors, found["gateway_tasks"], found["gateway_sip_timers"])

    def _figures(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._web}/metrics", timeout=30) as answer:
            return str(answer.read().decode())

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
        try:
            await act()
        except (TimeoutError, AssertionError):
            self.outcomes[f"{kind}, not as it should be"] += 1
        else:
            self.outcomes[kind] += 1

    async def echo(self) -> None:
        """Talk to the echo, hold it, and hang up."""
        session, heard = self._dial("600")
        await heard.wait(events.Answered, 15)
        session.offer(OFFER + b"a=sendonly\r\n")
        await heard.wait(events.OfferAnswered, 15)
        session.hangup()

    async def phones(self) -> None:
        """A phone calls a phone, which answers."""
        session, heard = self._dial("1002")
        await heard.wait(events.Answered, 15)
        await asyncio.sleep(0.2)
        session.hangup()

    async def transfer(self) -> None:
        """A phone passes who it called on to the echo, and is out."""
        session, heard = self._dial("1002")
        await heard.wait(events.Answered, 15)
        session.refer(Uri.parse("sip:601@gateway.local"), lambda *told: None)
        try:
            await heard.wait(events.Ended, 5)
        except TimeoutError:
            session.hangup()

    async def cancel(self) -> None:
        """Somebody rings and is given up."""
        session, heard = self._dial("1003")
        await heard.wait(events.Provisional, 15)
        session.hangup()
        await heard.wait_for_one_of(events.Failed, events.Ended, seconds=15)

    async def refused(self) -> None:
        """A number that is nobody's."""
        _, heard = self._dial("999")
        failed = await heard.wait(events.Failed, 15)
        assert isinstance(failed, events.Failed)
        assert failed.status == 404

    @property
    def mix(self) -> tuple[tuple[str, Callable[[], Awaitable[None]]], ...]:
        return (
            ("echo", self.echo),
            ("phones", self.phones),
            ("transfer", self.transfer),
            ("cancelled", self.cancel),
            ("nobody's number", self.refused),
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
        reloading.cancel()
        await asyncio.gather(reloading, *calls, return_exceptions=True)

    async def _reload(self, config: Path) -> None:
        for more in cycle(("", '  - {match: "700", to: "service:tone"}\n')):
            await asyncio.sleep(_RELOAD_EVERY)
            await asyncio.to_thread(config.write_text, _config(more))
            self.process.send_signal(signal.SIGHUP)
            self.outcomes["reloads"] += 1


def _config(more_routes: str = "") -> str:
    users = "".join(f'  - {{id: "{user}", sip: true, max_calls: 1000, password: {_PASSWORD}}}\n' for user in _USERS)
    return (
        "users:\n" + users + "routes:\n"
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
async def soaking(folder: Path) -> AsyncIterator[tuple[Soak, Path, Path]]:
    """A gateway and its phones; its configuration, and its log."""
    web, sip, media, rtp = free_ports(4)
    config, log = folder / "gateway.yaml", folder / "gateway.log"
    config.write_text(_config())
    environ = {
        "WEB__LISTEN": f"127.0.0.1:{web}",
        "SIP__LISTEN": f'["udp:127.0.0.1:{sip}"]',
        "WEBRTC__LISTEN": f"127.0.0.1:{media}",
        "RTP__PORTS": f"{rtp}-{rtp + 1999}",
        "STATE_DIR": str(folder / "state"),
        "METRICS__ENABLED": "true",
        "LOG__FILE": str(log),
        "LOG__FORMAT": "json",
        "SIP__TIMERS__T1": str(_T1),
        "SIP__TIMERS__T2": "0.4",
        "SIP__TIMERS__T4": "0.5",
        "SIP__LIMITS__REQUESTS_PER_SECOND": "10000",
        "SIP__LIMITS__BURST": "10000",
        "LIMITS__LOAD": "0",
        "LIMITS__HISTORY_SIZE": "100",
        "LIMITS__LADDER_MEMORY": "262144",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", _PROGRAM, "run", "--config", str(config)),
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
        soak = Soak(process, web, sip, agent)
        await soak.register()
        yield soak, config, log
    finally:
        await agent.close()
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await asyncio.wait_for(process.communicate(), 30)


def _slope(samples: list[tuple[float, float]]) -> float:
    """Of a figure, a minute."""
    if len(samples) < 2:
        return 0.0
    return statistics.linear_regression(*zip(*samples, strict=True)).slope * 60


def mistakes(log: Path) -> list[str]:
    """Lines of errors, and of exceptions at any level."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [json.dumps(line)[:2000] for line in lines if line.get("level") == "error" or "exception" in line]


async def run(minutes: float, rate: float, output: Console) -> bool:
    """Whether everything stayed level and no exception was logged."""
    with tempfile.TemporaryDirectory(prefix="soak") as name:
        async with soaking(Path(name)) as (soak, config, log):
            loop, begun = asyncio.get_running_loop(), asyncio.get_running_loop().time()
            rests, calls = list[Level](), list[int]()
            samples: list[tuple[float, Level]] = []

            async def sample() -> None:
                while True:
                    await asyncio.sleep(max(1.0, minutes * 60 / _SAMPLES))
                    samples.append((loop.time() - begun, await soak.level()))

            # The first part warms up; memory is compared from the middle to the end.
            for part in (0.2, 0.4, 0.4):
                sampling = asyncio.create_task(sample())
                await soak.load(minutes * 60 * part, rate, config)
                sampling.cancel()
                await asyncio.gather(sampling, return_exceptions=True)
                rests.append(await soak.rest())
                calls.append(soak.calls)
        found = mistakes(log)
    _show(output, rests, samples, soak.outcomes)
    for line in found[:5]:
        output.print(line, markup=False, soft_wrap=True)
    return not found and _is_level(rests, calls[2] - calls[1], output) and _were_right(soak.outcomes, output)


def _show(output: Console, rests: list[Level], samples: list[tuple[float, Level]], outcomes: Counter[str]) -> None:
    table = Table("", "at rest, early", "middle", "end", "slope a minute, under load", box=None, header_style="bold")
    half = samples[len(samples) // 3 :]
    for index, field in enumerate(fields(Level)):
        values = [f"{astuple(rest)[index]:.1f}" for rest in rests]
        table.add_row(field.name, *values, f"{_slope([(at, astuple(level)[index]) for at, level in half]):+.2f}")
    output.print(table)
    output.print(", ".join(f"{count} {what}" for what, count in sorted(outcomes.items())))


def _is_level(rests: list[Level], calls: int, output: Console) -> bool:
    """Whether no more is held at the end than in the middle, `calls` calls before."""
    middle, end = rests[1], rests[2]
    most = {"rss": _MOST_GROWTH + calls * _MOST_A_CALL / 1024}
    grown = (end.rss - middle.rss) * 1024 / max(1, calls)
    output.print(f"{grown:.1f} KiB a call from the middle to the end; {most['rss']:.1f} MiB may be")
    faults = [
        f"{field.name}: {getattr(middle, field.name):.0f} in the middle, {getattr(end, field.name):.0f} at the end"
        for field in fields(Level)
        if getattr(end, field.name) - getattr(middle, field.name) > most.get(field.name, _SPARE)
    ]
    for fault in faults:
        output.print(f"[red]{fault}[/]")
    return not faults


def _were_right(outcomes: Counter[str], output: Console) -> bool:
    """Of a hundred calls one may come too late on a machine that does other things as well."""
    wrong = sum(count for what, count in outcomes.items() if "not as it should be" in what)
    right = sum(outcomes.values()) - wrong - outcomes["reloads"]
    if wrong * 100 > right:
        output.print(f"[red]{wrong} calls were not as they should be[/]")
    return wrong * 100 <= right


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=RATE, help="calls a second")
    given = parser.parse_args()
    sys.exit(0 if asyncio.run(run(given.minutes, given.rate, Console())) else 1)


if __name__ == "__main__":
    main()
