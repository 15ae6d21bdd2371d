"""What SIP costs: reading and writing messages, and whole calls.

Run as `python -m bench.sip`. Peers in the same run: the sipmessage library reads the same INVITE,
and sipp's built-in callee (C++) answers the same load as our user agent.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import sipmessage
import uvloop

from bench.table import Result, faster, medians, report
from gateway.demo.ports import free_ports
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.flow import Flow
from gateway.sip.invite.events import Accepted, Reply, Verdict
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.message.message import Request, Response
from gateway.sip.message.parser import parse_message
from gateway.sip.transactions.admission import AdmissionLimits
from gateway.sip.transactions.layer import StackConfig

CALLS = 2000
RATE = 250
"""Calls a second that sipp makes: low enough for both callees to keep up, so that CPU time is compared."""
_TICK = os.sysconf("SC_CLK_TCK")

SDP = (
    b"v=0\r\no=- 3912 3912 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\n"
    b"m=audio 4000 RTP/AVP 9 0 8 101\r\na=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\n"
    b"a=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=sendrecv\r\n"
)
INVITE = (
    b"INVITE sip:alice@gateway.example SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.10:5060;rport;branch=z9hG4bKPjZ2dF7oXq1\r\n"
    b"Max-Forwards: 70\r\n"
    b'From: "Desk phone" <sip:1001@gateway.example>;tag=Xc81FqW0\r\n'
    b"To: <sip:alice@gateway.example>\r\n"
    b"Contact: <sip:1001@192.0.2.10:5060;ob>\r\n"
    b"Call-ID: 5qE1nWm2PZk@192.0.2.10\r\n"
    b"CSeq: 21234 INVITE\r\n"
    b"Allow: PRACK, INVITE, ACK, BYE, CANCEL, UPDATE, INFO, OPTIONS\r\n"
    b"Supported: replaces, 100rel, timer\r\n"
    b"Session-Expires: 1800\r\nMin-SE: 90\r\n"
    b"User-Agent: a desk phone\r\n"
    b"Content-Type: application/sdp\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(SDP), SDP)
)


def _touch(message: Request | Response) -> tuple[object, ...]:
    """Read what every element reads of a message, so that lazy parsing does not win by doing nothing."""
    return message.top_via, message.from_, message.to, message.call_id, message.cseq, message.contact


def _touch_theirs(message: sipmessage.Message) -> tuple[object, ...]:
    return (
        message.via,
        message.from_address,
        message.to_address,
        message.call_id,
        message.cseq,
        message.contact,
    )


def _messages() -> list[Result]:
    parsed, theirs = parse_message(INVITE), sipmessage.Message.parse(INVITE)
    taken = medians(
        {
            "parse": lambda: _touch(parse_message(INVITE)),
            "their parse": lambda: _touch_theirs(sipmessage.Message.parse(INVITE)),
            "write": parsed.write,
            "their write": lambda: bytes(theirs),
        }
    )
    peer = "sipmessage"
    return [
        faster("read an INVITE with SDP, six headers typed", taken["parse"], peer, taken["their parse"], "value <= 60"),
        faster("write it", taken["write"], peer, taken["their write"]),
    ]


class _Answering:
    """Hooks of a callee that answers every call."""

    async def authenticate(self, request: Request, source: Flow) -> Verdict:
        return Accepted(None)

    def invited(self, session: IncomingSession, identity: str | None) -> None:
        session.listen(lambda event: None)
        session.ring(180)
        session.answer(SDP)

    async def register(self, request: Request, source: Flow, identity: str | None) -> Reply:
        return Reply(403)


async def _serve(port: int) -> None:
    """Answer calls until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    stack = StackConfig(admission=AdmissionLimits(rate=0), transactions=100_000)
    agent = UserAgent(UserAgentConfig(listen=(("127.0.0.1", port),), stack=stack, sessions=20_000), _Answering())
    await agent.start()
    print("ready", flush=True)
    await stopped.wait()
    await agent.close()


def _cpu_seconds(pid: int) -> float:
    """User and system time of a process so far (proc(5), fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def _load(sipp: str, callee: subprocess.Popen[str], port: int) -> float:
    """Make CALLS calls to `callee`; CPU seconds it took for each."""
    before = _cpu_seconds(callee.pid)
    own = free_ports(1)[0]
    done = subprocess.run(
        [
            *(sipp, f"127.0.0.1:{port}", "-sn", "uac", "-i", "127.0.0.1", "-p", str(own)),
            *("-r", str(RATE), "-m", str(CALLS), "-d", "0", "-nostdin", "-timeout", "60s", "-timeout_error"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TERM": "dumb"},
        check=False,
        timeout=90,
    )
    if done.returncode != 0:
        raise SystemExit(f"sipp ended with {done.returncode}: not every call went through")
    return (_cpu_seconds(callee.pid) - before) / CALLS


def _calls() -> list[Result]:
    sipp = shutil.which("sipp")
    if sipp is None:
        print("sipp is not installed (Debian package sip-tester): calls are not measured.")
        return []
    ours_port, theirs_port = free_ports(2)
    ours = subprocess.Popen(
        [sys.executable, "-m", "bench.sip", "serve", str(ours_port)], stdout=subprocess.PIPE, text=True
    )
    theirs = subprocess.Popen(
        [sipp, "-sn", "uas", "-i", "127.0.0.1", "-p", str(theirs_port), "-nostdin"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "TERM": "dumb"},
    )
    try:
        assert ours.stdout is not None
        ours.stdout.readline()
        time.sleep(0.5)  # sipp says nowhere that it listens
        here, there = _load(sipp, ours, ours_port), _load(sipp, theirs, theirs_port)
    finally:
        for process in (ours, theirs):
            process.terminate()
            process.wait(10)
    cost = Result(
        "CPU of a call: INVITE, 180, 200, ACK, BYE", here * 1e3, "ms", None, "sipp's callee", there * 1e3, there / here
    )
    return [cost, Result("calls a second one core answers", 1 / here, "calls/s", "value >= 400")]


def main() -> bool:
    """Measure, print, write bench/results/sip.json; whether every goal is met."""
    return report("sip", _messages() + _calls())


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        uvloop.run(_serve(int(sys.argv[2])))
    else:
        raise SystemExit(0 if main() else 1)
