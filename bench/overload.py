"""What the gateway completes when it is offered more calls than it can carry, and how soon it is itself again.

Run as `python -m bench.overload`. sipp calls, sipp is called. What a gateway completes at most that refuses nobody is
found first; then one as it is delivered is offered twice as many, while 50 calls are up.
"""

from __future__ import annotations

import contextlib
import csv
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.sip import _QUIET, USER, _callee, _ended, _Phone, _sipp
from bench.table import Result, report
from gateway.call.load import LoadPolicy
from gateway.demo.ports import free_ports

FIRST, STEP = 40, 1.25
"""The first rate that is tried (calls a second), and by how much the next is higher."""
_TRY = 5.0
"""Seconds of each try."""
_OVER = 15.0
"""Seconds of twice the rate."""
UP = 50
"""Calls that are up meanwhile."""

_HEAD = """Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
      From: <sip:caller@[local_ip]:[local_port]>;tag=[call_number]
      Call-ID: [call_id]
      Max-Forwards: 70"""
_SCENARIO = f"""<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="call, or be told to come later">
  <send retrans="500"><![CDATA[
      INVITE sip:[field0]@[remote_ip]:[remote_port] SIP/2.0
      {_HEAD}
      To: <sip:[field0]@[remote_ip]:[remote_port]>
      CSeq: 1 INVITE
      Contact: <sip:caller@[local_ip]:[local_port]>
      Content-Type: application/sdp
      Content-Length: [len]

      v=0
      o=- 1 1 IN IP4 [local_ip]
      s=-
      c=IN IP4 [local_ip]
      t=0 0
      m=audio 6000 RTP/AVP 0
      a=rtpmap:0 PCMU/8000
  ]]></send>
  <recv response="100" optional="true"/>
  <recv response="180" optional="true"/>
  <recv response="183" optional="true"/>
  <recv response="503" optional="true" next="1" counter="1"/>
  <recv response="200" rrs="true"/>
  <send><![CDATA[
      ACK [next_url] SIP/2.0
      {_HEAD}
      [last_To:]
      CSeq: 1 ACK
      Content-Length: 0

  ]]></send>
  <pause/>
  <send retrans="500"><![CDATA[
      BYE [next_url] SIP/2.0
      {_HEAD}
      [last_To:]
      CSeq: 2 BYE
      Content-Length: 0

  ]]></send>
  <recv response="200" next="2"/>
  <label id="1"/>
  <send><![CDATA[
      ACK sip:[field0]@[remote_ip]:[remote_port] SIP/2.0
      {_HEAD}
      [last_To:]
      CSeq: 1 ACK
      Content-Length: 0

  ]]></send>
  <label id="2"/>
</scenario>
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the calls of one sipp."""

    completed: int
    refused: int
    failed: int
    rate: float
    """Calls completed a second, from the first second on until no more were begun: what waited then is not in it."""


class Caller:
    """Offers calls to a gateway."""

    def __init__(self, folder: str, port: int, users: Sequence[str] = (USER,)) -> None:
        """Calls these users by turns."""
        self._folder = Path(folder)
        self._port = port
        self._file = self._folder / "call.xml"
        self._file.write_text(_SCENARIO)
        self._users = self._folder / "users.csv"
        self._users.write_text("".join(f"{line}\n" for line in ("SEQUENTIAL", *users)))

    def begin(self, rate: float, calls: int, talk: float) -> tuple[subprocess.Popen[bytes], Path]:
        """sipp that begins `calls` at `rate`, each up for `talk` seconds; and where it writes its figures."""
        [port] = free_ports(1)
        figures = self._folder / f"{port}.csv"
        command = _sipp(
            *(f"127.0.0.1:{self._port}", "-sf", str(self._file), "-inf", str(self._users)),
            *("-i", "127.0.0.1", "-p", str(port)),
            *("-r", f"{rate:g}", "-m", str(calls), "-l", str(calls), "-d", str(round(talk * 1000))),
            *("-trace_stat", "-stf", str(figures), "-fd", "1", "-timeout", "120s"),
        )
        return subprocess.Popen(command, **_QUIET), figures

    def offer(self, rate: float, seconds: float) -> Outcome:
        """Offer short calls for so long, and wait until the last is over."""
        return offer([self], rate, seconds)


def offer(callers: Sequence[Caller], rate: float, seconds: float) -> Outcome:
    """Have each of them offer its part of `rate` for so long, and wait until the last call is over."""
    part = rate / len(callers)
    begun = [caller.begin(part, round(part * seconds), 0.1) for caller in callers]
    for process, _ in begun:
        process.wait(180)
    found = [outcome(figures, seconds) for _, figures in begun]
    return Outcome(
        sum(one.completed for one in found),
        sum(one.refused for one in found),
        sum(one.failed for one in found),
        sum(one.rate for one in found),
    )


def outcome(figures: Path, seconds: float) -> Outcome:
    """Read what sipp has written each second, which has begun calls for `seconds`."""
    with figures.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    points = [(_epoch(row["CurrentTime"]) - _epoch(row["StartTime"]), _completed(row)) for row in rows]
    begun = [point for point in points if 0.9 <= point[0] <= seconds + 0.1]
    (since, before), (until, after) = begun[0], begun[-1]
    rate = (after - before) / (until - since) if until > since else 0.0
    return Outcome(points[-1][1], int(rows[-1]["GenericCounter1(C)"]), int(rows[-1]["FailedCall(C)"]), rate)


def _completed(row: dict[str, str]) -> int:
    return int(row["SuccessfulCall(C)"]) - int(row["GenericCounter1(C)"])


def _epoch(written: str) -> float:
    return float(written.rsplit("\t", 1)[1])


def _ready(web: int) -> bool:
    with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(f"http://127.0.0.1:{web}/readyz"):
        return True
    return False


def capacity(callers: Sequence[Caller]) -> Iterator[tuple[float, Outcome]]:
    """Ever higher rates and what became of them, up to the second in a row that was too much."""
    rate, too_much = float(FIRST), 0
    while too_much < 2:
        found = offer(callers, rate, _TRY)
        yield rate, found
        too_much = too_much + 1 if found.rate < 0.9 * rate else 0
        rate *= STEP


def until_ready(web: int) -> float:
    """Seconds until it takes calls again."""
    began = time.monotonic()
    while not _ready(web):
        if time.monotonic() - began > 60:
            raise SystemExit("the gateway does not recover")
        time.sleep(0.05)
    return time.monotonic() - began


def _carried(caller: Caller) -> float:
    """Calls a second that complete at most."""
    carried = 0.0
    for rate, result in capacity([caller]):
        print(
            f"{rate:7.0f} calls/s offered: {result.rate:.0f} completed, {result.refused} refused, {result.failed} lost"
        )
        carried = max(carried, result.rate)
    return carried


def _measured(caller: Caller, web: int, carried: float) -> list[Result]:
    until_ready(web)
    lasting, figures = caller.begin(UP, UP, _OVER + 15)
    time.sleep(3)
    flood, counted = caller.begin(2 * carried, round(2 * carried * _OVER), 0.1)
    time.sleep(_OVER)
    recovered = until_ready(web)  # from when no more calls are begun, not from when the last of them is over
    flood.wait(180)
    over = outcome(counted, _OVER)
    share = over.rate / carried
    after = caller.offer(carried / 2, 3)
    lasting.wait(120)
    kept = outcome(figures, _OVER + 15)
    return [
        Result("calls that complete at most, with nothing refused", carried, "calls/s"),
        Result("completed at twice that rate, of it", share, "", "value >= 0.9"),
        Result("neither completed nor refused", over.failed, "calls", "value <= 0"),
        Result("until all calls are taken again", recovered, "s", "value <= 5"),
        Result("refused or lost at half the rate then", after.refused + after.failed, "calls", "value <= 0"),
        Result(f"of {UP} calls that were up, kept to their end", kept.completed, "calls", f"value >= {UP}"),
    ]


@contextlib.contextmanager
def _gateway(bound: float) -> Iterator[tuple[Caller, int]]:
    """A gateway whose loop may be so busy (0: however busy it is), who calls it, and the port of its page."""
    port, callee = free_ports(2)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        command = [sys.executable, "-m", "bench.sip", "serve", str(port), str(callee), folder, str(bound)]
        ours: subprocess.Popen[Any] = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        stack.callback(_ended, ours)
        assert ours.stdout is not None
        if not ours.stdout.readline():
            raise SystemExit("the gateway did not start")
        web = re.search(r":(\d+)\"", (Path(folder) / "console.json").read_text())
        assert web is not None
        with contextlib.closing(_Phone(port, callee)) as phone:
            phone.register(f"sip:{USER}@127.0.0.1:{callee}")
        stack.callback(_ended, _callee(callee))
        time.sleep(0.5)  # sipp says nowhere that it listens
        yield Caller(folder, port), int(web[1])


def main() -> bool:
    """Measure, print, write bench/results/overload.json; whether every goal is met."""
    if shutil.which("sipp") is None:
        print("sipp is not installed (Debian package sip-tester): overload is not measured.")
        return True
    with _gateway(0) as (caller, _):
        carried = _carried(caller)
    with _gateway(LoadPolicy().busy) as (caller, web):
        return report("overload", _measured(caller, web, carried))


if __name__ == "__main__":
    raise SystemExit(0 if main() else 1)
