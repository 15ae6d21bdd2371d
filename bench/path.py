"""The packet path alone, in turns with the least that could do its work and with rtpengine.

`python -m bench.path [CALLS] [ROUNDS] [SECONDS] [CARRIER,CARRIER,...]`: calls between a browser (SRTP, AES-GCM) and a
phone (plain RTP), each end on a socket of its own, 50 packets/s each way, without signalling: keys and addresses are
set by hand. The same calls go through the native plane, through `media-minimal` (one thread, epoll, one send a packet,
no checks and no statistics) and through rtpengine, in rounds by turns, so that what else the machine does meets all of
them; `python` is the Python plane in a process of its own. Ratios within a round count; the medians are printed. A
carrier may have settings: `native:threads=1:gather=0.002`, `native:program=/tmp/other-plane`, `python:gather=0`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import multiprocessing
import secrets
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import uvloop

from bench.browser import session_key
from bench.calls import Measured
from bench.generator import BUILT, End, Run, build, generate
from bench.process import cpu_of
from bench.rtpengine import rtpengine
from bench.video import SHARED, Ignoring, check
from gateway.media.embedded.plane.gather import GatheringReactor
from gateway.media.embedded.plane.native.plane import NativePlane
from gateway.media.embedded.plane.native.process import PlaneProcess, find_program
from gateway.media.embedded.plane.protocol import Plane
from gateway.media.embedded.plane.python import PythonPlane
from gateway.media.embedded.plane.srtp import SrtpKey, SrtpProfile
from gateway.media.embedded.plane.values import Action, FlowConfig, Route
from gateway.media.rtpengine.bencode import decode, encode
from sdp import SessionDescription

LOOPBACK: Final = "127.0.0.1"
_SUITE: Final = "AEAD_AES_128_GCM"
_WARMUP: Final = 0.5


@dataclass(frozen=True, slots=True)
class Keys:
    """Master keys with salts of one call: of the browser's packets, and of those to it."""

    theirs: bytes = field(default_factory=lambda: secrets.token_bytes(28), repr=False)
    ours: bytes = field(default_factory=lambda: secrets.token_bytes(28), repr=False)


@dataclass(slots=True)
class Call:
    """Both ends of a call, and where each sends to once a carrier has it."""

    number: int
    browser: socket.socket
    phone: socket.socket
    keys: Keys = field(default_factory=Keys)
    to: tuple[tuple[str, int], tuple[str, int]] = ((LOOPBACK, 0), (LOOPBACK, 0))

    def ends(self) -> list[End]:
        """Of the generator."""
        theirs, ours = (session_key(each[:16], each[16:]) for each in (self.keys.theirs, self.keys.ours))
        return [
            End(
                call=self.number,
                direction=0,
                fd=self.browser.fileno(),
                remote=self.to[0],
                payload_type=0,
                ssrc=2 * self.number + 1,
                send=theirs,
                receive=ours,
            ),
            End(
                call=self.number,
                direction=1,
                fd=self.phone.fileno(),
                remote=self.to[1],
                payload_type=0,
                ssrc=2 * self.number + 2,
            ),
        ]


@dataclass(slots=True)
class Carrier:
    """Who carries the packets of a table of calls."""

    name: str
    process: int
    calls: list[Call]
    sent: int = 0
    """RTP numbers that earlier rounds have used up."""

    async def measure(self, program: Path, run: Run) -> Measured:
        """One round."""
        spent: list[float] = []
        ends = [each for call in self.calls for each in call.ends()]
        report = await generate(
            program, replace(run, first=self.sent), ends[::2] + ends[1::2], lambda _: spent.append(cpu_of(self.process))
        )
        self.sent += run.packets
        return Measured(calls=len(self.calls), report=report, cpu={self.name: spent[1] - spent[0]})


def bound(receive_buffer: int = 0) -> socket.socket:
    """A datagram socket on loopback."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    if receive_buffer:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    made.bind((LOOPBACK, 0))
    return made


def table(count: int) -> list[Call]:
    """So many calls with sockets of their own."""
    return [Call(number, bound(), bound()) for number in range(count)]


@contextlib.asynccontextmanager
async def native(count: int, program: str = "", **settings: Any) -> AsyncIterator[Carrier]:
    """The native plane, with its defaults where nothing else is said; `program` in place of the one built here."""
    found = Path(program) if program else find_program()
    if found is None:
        raise SystemExit("the packet plane is not built: scripts/plane build")
    with tempfile.TemporaryDirectory() as folder:
        process, calls = PlaneProcess(found, Path(folder), **settings), table(count)
        plane = NativePlane(process)
        await _set_up_all(plane, calls)
        assert process.child is not None
        try:
            yield Carrier("native", process.child, calls)
        finally:
            await plane.close()


@contextlib.asynccontextmanager
async def python(count: int, gather: float = 0.001) -> AsyncIterator[Carrier]:
    """The Python plane as it is where there is no native one, but in a process of its own."""
    calls, spawn = table(count), multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=_carry_in_python, args=(calls, gather, there), daemon=True)
    process.start()
    there.close()
    try:
        for call, to in zip(calls, await asyncio.to_thread(here.recv), strict=True):
            call.to = to
        assert process.pid is not None
        yield Carrier("python", process.pid, calls)
    finally:
        here.close()
        await asyncio.to_thread(process.join, 10)
        process.kill()


def _carry_in_python(calls: list[Call], gather: float, parent: Connection) -> None:
    """Carry the packets of these calls until `parent` closes its end, which gets where they are to be sent."""

    async def carry() -> None:
        loop = asyncio.get_running_loop()
        plane = PythonPlane(GatheringReactor(loop, time.monotonic, gather) if gather else loop, time.monotonic)
        await _set_up_all(plane, calls)
        parent.send([call.to for call in calls])
        over = asyncio.Event()
        loop.add_reader(parent.fileno(), over.set)
        await over.wait()
        await plane.close()

    uvloop.run(carry())


async def _set_up_all(plane: Plane, calls: list[Call]) -> None:
    told = Ignoring()
    await plane.start(told)
    [here] = await plane.open_shared(SHARED, [LOOPBACK], 0, receive_buffer=4 << 20, send_buffer=4 << 20)
    for call in calls:
        await _set_up(plane, told, call, here.address)
    await plane.snapshot([])


async def _set_up(plane: Plane, told: Ignoring, call: Call, browsers: tuple[str, int]) -> None:
    profile = SrtpProfile.AEAD_AES_128_GCM
    flow, other = 2 * call.number + 1, 2 * call.number + 2
    rtp, _ = await plane.open_pair(other, LOOPBACK, 0)
    browser, phone = call.browser.getsockname(), call.phone.getsockname()
    plane.open_flow(flow, SHARED, FlowConfig(secure=True, mux=True))
    told.heard.clear()
    call.browser.sendto(check(call.number), browsers)
    await asyncio.wait_for(told.heard.wait(), 5)
    plane.admit_pair(flow, told.paths[browser], browser)
    plane.select(flow, told.paths[browser], browser)
    plane.set_receive_key(flow, SrtpKey(profile, call.keys.theirs))
    plane.set_send_key(flow, SrtpKey(profile, call.keys.ours))
    plane.open_flow(other, other, FlowConfig())
    plane.expect(other, phone)
    plane.set_destination(other, phone, None)
    for one, target in ((flow, other), (other, flow)):
        plane.start_stream(one, 5_000_000 + one, 1, 1, 8000)
        plane.route(one, target, {0: Route(action=Action.FORWARD, payload_type=0, clock_rate=8000)})
        plane.set_open(one, True)
    call.to = (browsers, rtp.address)


@contextlib.asynccontextmanager
async def minimal(count: int) -> AsyncIterator[Carrier]:
    """The yardstick."""
    program = BUILT / "media-minimal"
    calls, shared, ports = table(count), bound(4 << 20), [bound() for _ in range(count)]
    lines = [f"shared {shared.fileno()}"]
    for call, port in zip(calls, ports, strict=True):
        call.to = (shared.getsockname(), port.getsockname())
        ends = [":".join(map(str, each.getsockname())) for each in (call.browser, call.phone)]
        keys = [str(session_key(each[:16], each[16:])) for each in (call.keys.theirs, call.keys.ours)]
        lines.append(" ".join(["call", str(port.fileno()), *ends, *keys]))
    fds = [each.fileno() for each in (shared, *ports)]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(program, stdin=pipe, stdout=pipe, pass_fds=fds)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write("\n".join([*lines, "", ""]).encode())
        process.stdin.close()
        await process.stdout.readline()
        yield Carrier("minimal", process.pid, calls)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def peer(count: int) -> AsyncIterator[Carrier]:
    """rtpengine in user space, the keys in the descriptions (SDES)."""
    binary = shutil.which("rtpengine")
    if binary is None:
        raise SystemExit("there is no rtpengine here to measure beside")
    with rtpengine(binary, ports=4 * (count + 10)) as daemon, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ng:
        ng.connect(daemon.address)
        ng.settimeout(5)
        calls = table(count)
        for call in calls:
            await asyncio.to_thread(_negotiate, ng, call)
        yield Carrier("rtpengine", daemon.process.pid, calls)


def _negotiate(ng: socket.socket, call: Call) -> None:
    phone, browser = call.phone.getsockname()[1], call.browser.getsockname()[1]
    inline = base64.b64encode(call.keys.theirs).decode()
    offered = _ask(ng, call, "offer", _described(browser, "SAVP", f"a=crypto:1 {_SUITE} inline:{inline}\r\n"), "AVP")
    answered = _ask(ng, call, "answer", _described(phone, "AVP"), "SAVP")
    crypto = answered.media[0].value("crypto")
    assert crypto is not None
    said = crypto.partition("inline:")[2].partition("|")[0].rstrip("=")
    # rtpengine leaves the padding out.
    call.keys = replace(call.keys, ours=base64.b64decode(said + "=" * (-len(said) % 4)))
    call.to = ((LOOPBACK, answered.media[0].port), (LOOPBACK, offered.media[0].port))


def _described(port: int, profile: str, more: str = "") -> str:
    return (
        f"v=0\r\no=- 1 1 IN IP4 {LOOPBACK}\r\ns=-\r\nc=IN IP4 {LOOPBACK}\r\nt=0 0\r\n"
        f"m=audio {port} RTP/{profile} 0\r\na=rtpmap:0 PCMU/8000\r\na=rtcp-mux\r\n{more}"
    )


def _ask(ng: socket.socket, call: Call, command: str, sdp: str, profile: str) -> SessionDescription:
    ask = {
        "command": command,
        "call-id": f"call{call.number}",
        "from-tag": "browser",
        "sdp": sdp,
        "transport-protocol": f"RTP/{profile}",
        "ICE": "remove",
        "SDES": [f"only-{_SUITE}"],
    }
    if command == "answer":
        ask["to-tag"] = "phone"
    ng.send(f"{call.number}{command} ".encode() + encode(ask))
    reply = decode(ng.recv(65536).partition(b" ")[2])
    assert isinstance(reply, dict)
    if reply.get("result") != "ok":
        raise RuntimeError(f"rtpengine: {reply}")
    return SessionDescription.parse(str(reply["sdp"]))


CARRIERS: Final[dict[str, Callable[..., contextlib.AbstractAsyncContextManager[Carrier]]]] = {
    "native": native,
    "python": python,
    "minimal": minimal,
    "rtpengine": peer,
}


def _value(text: str) -> str | float:
    return int(text) if text.isdigit() else float(text) if text.replace(".", "").isdigit() else text


def _carrier(name: str, count: int) -> contextlib.AbstractAsyncContextManager[Carrier]:
    kind, *settings = name.split(":")
    given = (each.partition("=") for each in settings)
    return CARRIERS[kind](count, **{key: _value(value) for key, _, value in given})


async def compared(count: int, rounds: int, seconds: float, names: str) -> None:
    """Measure in turns and print."""
    program, run = build(), Run(seconds=seconds, warmup=_WARMUP)
    async with contextlib.AsyncExitStack() as stack:
        carriers = [await stack.enter_async_context(_carrier(name, count)) for name in names.split(",")]
        for carrier, name in zip(carriers, names.split(","), strict=True):
            carrier.name = name
        found: dict[str, list[Measured]] = {each.name: [] for each in carriers}
        for _ in range(rounds):
            for carrier in carriers:
                found[carrier.name].append(await carrier.measure(program, run))
    for name, all_measured in found.items():
        micros = [1e6 * each.cpu[name] / each.packets for each in all_measured]
        delays = [each.report["delay_us"] for each in all_measured]
        lost = max(each.loss for each in all_measured)
        print(
            f"{name:10} {statistics.median(micros):6.2f} us a packet ({min(micros):.2f} to {max(micros):.2f}), "
            f"delay {statistics.median(each['median'] for each in delays):.0f} us, p99 "
            f"{statistics.median(each['p99'] for each in delays):.0f} us, lost {lost:.2f} %, "
            f"wrong {max(each.wrong for each in all_measured)}"
        )
    first, *others = found
    for name in others:
        ratios = [
            (one.cpu[first] / one.packets) / (other.cpu[name] / other.packets)
            for one, other in zip(found[first], found[name], strict=True)
        ]
        print(f"{first} beside {name}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def main(arguments: Sequence[str]) -> None:
    """Measure what the command line asks for."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(prog="python -m bench.path", description=__doc__.partition("\n")[0])
    parser.add_argument("calls", nargs="?", type=int, default=200, help="how many (200)")
    parser.add_argument("rounds", nargs="?", type=int, default=5, help="how often each carrier has its turn (5)")
    parser.add_argument("seconds", nargs="?", type=float, default=3.0, help="of a turn (3)")
    parser.add_argument(
        "carriers",
        nargs="?",
        default="native,minimal,rtpengine",
        help="of native, python, minimal and rtpengine, with their settings: native:threads=1:gather=0.002,rtpengine",
    )
    asked = parser.parse_args(arguments)
    asyncio.run(compared(asked.calls, asked.rounds, asked.seconds, asked.carriers))


if __name__ == "__main__":
    main(sys.argv[1:])
