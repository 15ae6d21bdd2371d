"""What registrations cost: at the register service alone, and of ten thousand phones over UDP."""

from __future__ import annotations

import contextlib
import heapq
import re
import select
import socket
import subprocess
import time
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.process import cpu_with_children
from bench.table import Result
from gateway.access.register import RegisterService
from gateway.identity.mapping import IdentityMap
from gateway.identity.model import User
from gateway.sip.auth.server import DigestInput, ha1_of, response_of
from gateway.sip.flow import Flow
from gateway.sip.message.message import Request
from gateway.sip.message.parser import parse_message
from gateway.sip.registration.registrar import RegistrarPolicy
from gateway.store.identity_memory import MemoryStore

PHONES = 10_000
"""Registrations that are made, and refreshed, a thousand a second."""
REFRESHES_PER_SECOND = 1_000
PASSWORD, DOMAIN = "benchmark", "bench.local"
_PHONES_OF_A_USER = 10
_T1, _T2 = 0.5, 4.0
"""Seconds (RFC 3261 17.1.1.1)."""


def users() -> list[str]:
    """Whose the phones are."""
    return [f"p{number}" for number in range(PHONES // _PHONES_OF_A_USER)]


async def at_the_service() -> list[Result]:
    """PHONES phones of as many users register and refresh at the register service; memory of one, CPU of a refresh."""
    users = [User(str(number), sip=True) for number in range(PHONES)]
    service = RegisterService(IdentityMap(users, [], DOMAIN), MemoryStore(), RegistrarPolicy(), time.time)
    flow = Flow("udp", "192.0.2.7", 5060, "udp:192.0.2.1:5060")

    async def register(number: int, cseq: int) -> None:
        user = f"<sip:{number}@{DOMAIN}>"
        request = parse_message(
            (
                f"REGISTER sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK{number}\r\n"
                f"From: {user};tag=t\r\nTo: {user}\r\nCall-ID: c{number}\r\nCSeq: {cseq} REGISTER\r\n"
                f"Contact: <sip:{number}@192.0.2.7:{1024 + number};ob>\r\nUser-Agent: a desk phone\r\n\r\n"
            ).encode()
        )
        assert isinstance(request, Request)
        reply = await service.register(request, flow, str(number))
        assert reply.status == 200

    tracemalloc.start()
    for number in range(PHONES):
        await register(number, 1)
    memory = tracemalloc.get_traced_memory()[0] / PHONES / 1024
    tracemalloc.stop()
    began = time.process_time()
    for number in range(PHONES):
        await register(number, 2)
    each = (time.process_time() - began) / PHONES
    return [
        Result("memory of a registration", memory, "KiB", "value <= 4"),
        Result("registrations one core refreshes", 1 / each, "1/s", f"value >= {REFRESHES_PER_SECOND}"),
    ]


def over_udp(gateway: subprocess.Popen[Any], port: int) -> list[Result]:
    """PHONES registrations over one socket, then each refreshed once at REFRESHES_PER_SECOND; CPU and what was lost."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.connect(("127.0.0.1", port))
        own = sock.getsockname()[1]
        sock.setblocking(False)
        # Every phone has a nonce of its own, which its refresh uses once more.
        asked = [_register(own, number, 1, None) for number in range(PHONES)]
        challenges = [_challenge(reply) for reply in _paced(sock, asked, REFRESHES_PER_SECOND / 2).replies]
        first = [_register(own, phone, 2, (nonce, realm, 1)) for phone, nonce, realm in challenges]
        made = _accepted(_paced(sock, first, REFRESHES_PER_SECOND / 2).replies)
        if made < PHONES:
            print(f"only {made} of {PHONES} phones could register")
        again = [_register(own, phone, 3, (nonce, realm, 2)) for phone, nonce, realm in challenges]
        before, began, waited = cpu_with_children(gateway.pid), time.monotonic(), _waited(gateway)
        paced = _paced(sock, again, REFRESHES_PER_SECOND)
        taken = time.monotonic() - began
        cpu = (cpu_with_children(gateway.pid) - before) / PHONES
        waited = (_waited(gateway) - waited) / taken
    return [
        Result(
            "refreshes over UDP that were not answered with 200",
            PHONES - _accepted(paced.replies),
            f"of {PHONES}",
            "value <= 0",
        ),
        Result("refreshes over UDP sent again", paced.repeated, f"of {PHONES}"),
        Result("refreshes over UDP", _accepted(paced.replies) / taken, "1/s", f"value >= {REFRESHES_PER_SECOND * 0.9}"),
        Result("CPU of a refresh", cpu * 1e3, "ms", "value <= 1"),
        Result("of that time the gateway was ready and had no core", waited * 100, "%"),
    ]


def _waited(gateway: subprocess.Popen[Any]) -> float:
    """Seconds that a process was ready to run while others had the cores (Linux, schedstat)."""
    return int(Path(f"/proc/{gateway.pid}/schedstat").read_text().split()[1]) / 1e9


def _register(own: int, phone: int, cseq: int, answer: tuple[str, str, int] | None) -> bytes:
    """A REGISTER of one of the phones; `answer` is nonce, realm and how often that nonce was used."""
    user, uri = f"p{phone // _PHONES_OF_A_USER}", f"sip:{DOMAIN}"
    authorization = ""
    if answer is not None:
        nonce, realm, count = answer
        what = DigestInput("MD5", nonce, "REGISTER", uri, "auth", "c", f"{count:08x}")
        authorization = (
            f'Authorization: Digest username="{user}", realm="{realm}", nonce="{nonce}", uri="{uri}", algorithm=MD5, '
            f'response="{response_of(ha1_of("MD5", user, realm, PASSWORD), what)}", qop=auth, nc={count:08x}, '
            'cnonce="c"\r\n'
        )
    return (
        f"REGISTER {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{own};rport;branch=z9hG4bKp{phone}c{cseq}\r\n"
        f"Max-Forwards: 70\r\nFrom: <sip:{user}@{DOMAIN}>;tag=t{phone}\r\nTo: <sip:{user}@{DOMAIN}>\r\n"
        f"Call-ID: phone{phone}\r\nCSeq: {cseq} REGISTER\r\nContact: <sip:{user}@127.0.0.1:{own};line={phone}>\r\n"
        f"Expires: 3600\r\n{authorization}Content-Length: 0\r\n\r\n"
    ).encode()


def _challenge(reply: bytes) -> tuple[int, str, str]:
    """Which phone a 401 is for, its nonce and realm."""
    found = [re.search(form, reply) for form in (rb"Call-ID: phone(\d+)", rb'nonce="([^"]+)"', rb'realm="([^"]+)"')]
    phone, nonce, realm = [match[1].decode() if match else "" for match in found]
    return int(phone), nonce, realm


def _accepted(replies: list[bytes]) -> int:
    return sum([reply.startswith(b"SIP/2.0 200") for reply in replies])


@dataclass(slots=True)
class _Paced:
    """What came of messages that were sent at a rate."""

    replies: list[bytes]
    """The final response to each request that got one."""
    repeated: int = 0
    """Requests sent again because no response had come (RFC 3261 section 17.1.2.2, timer E)."""


def _paced(sock: socket.socket, messages: list[bytes], rate: float) -> _Paced:
    """Send `messages` at `rate` a second, each again as a phone does until it is answered or given up (timer F)."""
    waiting = {_branch(message): message for message in messages}
    timers: list[tuple[float, float, bytes]] = []
    outcome = _Paced([])
    sent, began = 0, time.monotonic()
    end = began + len(messages) / rate + 64 * _T1
    while waiting and (now := time.monotonic()) < end:
        due = min(len(messages), int((now - began) * rate))
        for message in messages[sent:due]:
            sock.send(message)
            heapq.heappush(timers, (now + _T1, _T1, _branch(message)))
        sent = due
        while timers and timers[0][0] <= now:
            _, interval, branch = heapq.heappop(timers)
            if branch in waiting:
                sock.send(waiting[branch])
                outcome.repeated += 1
                interval = min(2 * interval, _T2)
                heapq.heappush(timers, (now + interval, interval, branch))
        select.select([sock], [], [], 0.002)
        with contextlib.suppress(BlockingIOError):
            while True:
                reply = sock.recv(65_535)
                if waiting.pop(_branch(reply), None) is not None:
                    outcome.replies.append(reply)
    return outcome


def _branch(message: bytes) -> bytes:
    """What ties a response to its request (RFC 3261 section 17.1.3)."""
    return message.partition(b";branch=")[2].partition(b"\r\n")[0].partition(b";")[0]
