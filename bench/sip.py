"""What SIP costs: reading and writing messages, whole calls through the gateway, registrations.

Run as `python -m bench.sip`. Peers in the same run: the sipmessage library reads the same INVITE, and Kamailio (C,
a stateful proxy) passes the same calls on from sipp to sipp.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import sipmessage
import structlog
import uvloop

from bench import registrations
from bench.process import cpu_with_children
from bench.registrations import DOMAIN, PASSWORD
from bench.table import Result, faster, medians, report
from gateway.app import GatewayApp
from gateway.commands.run import spare_collector
from gateway.config import load
from gateway.demo.ports import free_ports
from gateway.sip.auth.server import DigestInput, ha1_of, response_of
from gateway.sip.config import CoreConfig
from gateway.sip.message.message import Request, Response
from gateway.sip.message.parser import parse_message
from gateway.sip.requests.checks import Capabilities
from gateway.sip.requests.inspection import inspect_request

CALLS = 2000
RATE = 200
"""Calls a second that sipp makes: low enough for all to keep up, so that CPU time is compared."""
LIVE = 1000
"""Calls that are up together."""
_LINGER = 70.0
"""Seconds after which no transaction of a call is left: one may wait 64*T1 for its answer, and stay as long."""
USER = "1001"

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


_CAN = Capabilities(methods=CoreConfig().allow, extensions=(*CoreConfig().supported, "replaces"))


_DISTINCT = tuple(
    [INVITE.replace(b"Xc81FqW0", b"Xc%06d" % n).replace(b"sip:alice@", b"sip:alice%04d@" % n) for n in range(5000)]
)
"""Each of another caller and callee, so that nothing that was read before is read for nothing."""


def _read_and_inspect(invite: bytes) -> tuple[object, ...]:
    """Everything that is done to an INVITE before a call is made of it."""
    message = parse_message(invite)
    assert isinstance(message, Request)
    assert inspect_request(message, _CAN) is None
    return _touch(message)


def _messages() -> list[Result]:
    parsed, theirs = parse_message(INVITE), sipmessage.Message.parse(INVITE)
    ours_next, theirs_next = itertools.cycle(_DISTINCT), itertools.cycle(_DISTINCT)
    taken = medians(
        {
            "parse": lambda: _read_and_inspect(next(ours_next)),
            "their parse": lambda: _touch_theirs(sipmessage.Message.parse(next(theirs_next))),
            "write": parsed.write,
            "their write": lambda: bytes(theirs),
        }
    )
    peer = "sipmessage"
    return [
        faster("read an INVITE with SDP, inspected", taken["parse"], peer, taken["their parse"], "ratio >= 1"),
        faster("write it", taken["write"], peer, taken["their write"], "ratio >= 1.667"),
    ]


def _silent() -> None:
    """A line for every call and registration would be part of what is measured."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    logging.disable(logging.WARNING)


def _say_blocks() -> None:
    """Tell the bench how many blocks of memory Python's objects have, garbage aside."""
    gc.collect()
    print(sys.getallocatedblocks(), flush=True)


async def _serve(port: int, callee: int, folder: str, load_bound: str = "0") -> None:
    """A whole gateway until SIGTERM: one user whose phone is sipp at `callee`, and loopback as a trunk.

    `load_bound`: how busy it may be; 0 where every call is to be measured, for beside other work it waits for a core.
    """
    _silent()
    web, webrtc = free_ports(2)
    config = load(
        None,
        {
            "GATEWAY_DOMAIN": DOMAIN,
            "GATEWAY_SIP__LISTEN": f'["udp:127.0.0.1:{port}"]',
            "GATEWAY_WEB__LISTEN": f"127.0.0.1:{web}",
            "GATEWAY_WEBRTC__LISTEN": f"127.0.0.1:{webrtc}",
            "GATEWAY_RTP__PORTS": "10000-30000",
            "GATEWAY_IDENTITY__STORE": "memory",
            "GATEWAY_STATE_DIR": folder,
            "GATEWAY_USERS": json.dumps(
                [
                    {"id": user, "sip": True, "password": PASSWORD, "max_calls": 100000}
                    for user in (USER, *registrations.users())
                ]
            ),
            "GATEWAY_TRUNKS": json.dumps(
                [{"name": "load", "uri": f"sip:127.0.0.1:{callee}", "sources": ["127.0.0.1"], "options_interval": 0}]
            ),
            "GATEWAY_LIMITS__CALLS_PER_SECOND": "100000",
            "GATEWAY_LIMITS__LOAD": load_bound,
            "GATEWAY_SIP__LIMITS__MAX_TRANSACTIONS": "200000",
            "GATEWAY_SIP__REGISTRATION__MAX_CONTACTS": "10",
        },
    )
    app = GatewayApp(config)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, _say_blocks)
    await app.start()
    spare_collector()
    print("ready", flush=True)
    await stopped.wait()
    await app.stop()


def _resident(pid: int) -> float:
    """Bytes of memory a process has (proc(5), VmRSS)."""
    return float(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) * 1024  # type: ignore[index]


def _blocks(gateway: subprocess.Popen[str]) -> int:
    """Blocks of memory that objects in the gateway have now."""
    assert gateway.stdout is not None
    gateway.send_signal(signal.SIGUSR1)
    return int(gateway.stdout.readline())


def _sipp(*arguments: str) -> list[str]:
    return [shutil.which("sipp") or "sipp", *arguments, "-nostdin"]


_QUIET: dict[str, Any] = {
    "stdout": subprocess.DEVNULL,
    "stderr": subprocess.DEVNULL,
    "env": {**os.environ, "TERM": "dumb"},
}


def _callee(port: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(_sipp("-sn", "uas", "-i", "127.0.0.1", "-p", str(port)), **_QUIET)


def _load(middle: subprocess.Popen[Any], port: int, user: str) -> tuple[float, float]:
    """Make CALLS calls by way of `middle`; CPU seconds for each of `middle` and of the sipp that calls."""
    before, sipps = cpu_with_children(middle.pid), _children_cpu()
    command = _sipp(
        *(f"127.0.0.1:{port}", "-sn", "uac", "-s", user, "-i", "127.0.0.1", "-p", str(free_ports(1)[0])),
        *("-r", str(RATE), "-m", str(CALLS), "-d", "0", "-timeout", "60s", "-timeout_error"),
    )
    done = subprocess.run(command, check=False, timeout=90, **_QUIET)
    if done.returncode != 0:
        raise SystemExit(f"sipp ended with {done.returncode}: not every call went through")
    return (cpu_with_children(middle.pid) - before) / CALLS, (_children_cpu() - sipps) / CALLS


def _live(gateway: subprocess.Popen[Any], port: int) -> float:
    """Bytes that each of LIVE calls takes while all of them are up."""
    before = _resident(gateway.pid)
    command = _sipp(
        *(f"127.0.0.1:{port}", "-sn", "uac", "-s", USER, "-i", "127.0.0.1", "-p", str(free_ports(1)[0])),
        *("-r", str(RATE), "-m", str(LIVE), "-l", str(LIVE), "-d", "15000", "-timeout", "60s"),
    )
    with subprocess.Popen(command, **_QUIET) as calling:
        time.sleep(LIVE / RATE + 5)
        taken = (_resident(gateway.pid) - before) / LIVE
        calling.wait(60)
    return taken


def _children_cpu() -> float:
    times = os.times()
    return times.children_user + times.children_system


class _Phone:
    """Registers and refreshes as a phone does, by hand, so that the load costs little itself."""

    def __init__(self, port: int, own: int, user: str = USER) -> None:
        self._user = user
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", own))
        self._socket.connect(("127.0.0.1", port))
        self._socket.settimeout(5)
        self._cseq = 0

    def register(self, contact: str, expires: int = 3600) -> None:
        """One REGISTER and its challenge; raises SystemExit where it is refused."""
        first = self._ask(contact, expires, "")
        if not first.startswith(b"SIP/2.0 401"):
            raise SystemExit(f"the gateway said {first[:40]!r}")
        nonce, realm = (re.search(rb'%s="([^"]+)"' % key, first)[1].decode() for key in (b"nonce", b"realm"))  # type: ignore[index]
        uri = f"sip:{DOMAIN}"
        digest = response_of(
            ha1_of("MD5", self._user, realm, PASSWORD),
            DigestInput("MD5", nonce, "REGISTER", uri, "auth", "c", "00000001"),
        )
        last = self._ask(
            contact,
            expires,
            f'Authorization: Digest username="{self._user}", realm="{realm}", nonce="{nonce}", uri="{uri}", '
            f'response="{digest}", algorithm=MD5, qop=auth, nc=00000001, cnonce="c"\r\n',
        )
        if not last.startswith(b"SIP/2.0 200"):
            raise SystemExit(f"the gateway said {last[:40]!r}")

    def close(self) -> None:
        """Give the port back."""
        self._socket.close()

    def _ask(self, contact: str, expires: int, authorization: str) -> bytes:
        self._cseq += 1
        port, branch = self._socket.getsockname()[1], f"z9hG4bK{self._user}{self._cseq}"
        self._socket.send(
            (
                f"REGISTER sip:{DOMAIN} SIP/2.0\r\n"
                f"Via: SIP/2.0/UDP 127.0.0.1:{port};rport;branch={branch}\r\n"
                f"Max-Forwards: 70\r\nFrom: <sip:{self._user}@{DOMAIN}>;tag=t\r\nTo: <sip:{self._user}@{DOMAIN}>\r\n"
                f"Call-ID: {contact}\r\nCSeq: {self._cseq} REGISTER\r\nContact: <{contact}>\r\n"
                f"Expires: {expires}\r\n{authorization}Content-Length: 0\r\n\r\n"
            ).encode()
        )
        return self._socket.recv(65_535)


def _calls() -> list[Result]:
    if shutil.which("sipp") is None:
        print("sipp is not installed (Debian package sip-tester): calls are not measured.")
        return []
    gateway_port, callee_port, proxy_port = free_ports(3)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        command = [sys.executable, "-m", "bench.sip", "serve", str(gateway_port), str(callee_port), folder]
        ours = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        stack.callback(_ended, ours)
        assert ours.stdout is not None
        if not ours.stdout.readline():
            raise SystemExit("the gateway did not start")
        # Calls go where the REGISTER came from, so it comes from the port that sipp has afterwards.
        with contextlib.closing(_Phone(gateway_port, callee_port)) as phone:
            phone.register(f"sip:{USER}@127.0.0.1:{callee_port}")
        stack.callback(_ended, _callee(callee_port))
        time.sleep(0.5)  # sipp says nowhere that it listens
        up = _live(ours, gateway_port)
        time.sleep(_LINGER)
        here, sipp = _load(ours, gateway_port, USER)
        found = [
            Result(
                *("CPU of a call through the gateway and its plane, no media", here * 1e3, "ms", "value <= 2.5"),
                *("sipp", sipp * 1e3, sipp / here),
            ),
            Result("calls a second that is of one core", 1 / here, "calls/s", "value >= 400"),
            Result("memory of a call that is up", up / 1024, "KiB"),
        ]
        # RFC 3261 17.1.2.2 and 17.2.2: a transaction stays for 32 s after its answer. The last round shows what calls
        # leave for ever; those before it have filled the history, what is remembered, and the allocator's pools.
        _load(ours, gateway_port, USER)
        time.sleep(_LINGER)
        resident, blocks = _resident(ours.pid), _blocks(ours)
        _load(ours, gateway_port, USER)
        time.sleep(_LINGER)
        left = (_blocks(ours) - blocks) / CALLS
        found.append(Result("objects left by a call that is over", left, "blocks of memory", "value <= 1"))
        grown = (_resident(ours.pid) - resident) / CALLS / 1024
        found.append(Result("growth of the process by it, the allocator's gaps included", grown, "KiB"))
        found += registrations.over_udp(ours, gateway_port)
        proxy = _kamailio(proxy_port, callee_port, folder)
        if proxy is not None:
            stack.callback(_ended, proxy)
            theirs, _ = _load(proxy, proxy_port, USER)
            found.append(Result("the same through Kamailio", theirs * 1e3, "ms"))
        return found


def _kamailio(port: int, callee: int, folder: str) -> subprocess.Popen[bytes] | None:
    """Kamailio as a stateful proxy to `callee`; None where it is not installed."""
    kamailio = shutil.which("kamailio")
    if kamailio is None:
        return None
    file = Path(folder) / "kamailio.cfg"
    file.write_text(
        f"""listen=udp:127.0.0.1:{port}
fork=no
children=1
log_stderror=yes
debug=-1
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "textops.so"
request_route {{
    if (is_method("INVITE")) {{ record_route(); }}
    loose_route();
    $du = "sip:127.0.0.1:{callee}";
    t_relay();
}}
"""
    )
    command = [kamailio, "-f", str(file), "-DD", "-E", "-w", folder, "-P", f"{folder}/pid"]
    started = subprocess.Popen(command, **_QUIET)
    time.sleep(1.0)  # it says nowhere that it listens
    if started.poll() is not None:
        raise SystemExit("kamailio is installed and does not start")
    return started


def _ended(process: subprocess.Popen[Any]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main() -> bool:
    """Measure, print, write bench/results/sip.json; whether every goal is met."""
    _silent()
    return report("sip", _messages() + asyncio.run(registrations.at_the_service()) + _calls())


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        uvloop.run(_serve(int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:6]))
    else:
        raise SystemExit(0 if main() else 1)
