"""With loopback configured the machine's own addresses are served too, and no other machine's."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from gateway.media.embedded.addresses import is_loopback, own_addresses
from gateway.media.embedded.webrtc.config import WebRtcConfig
from tests import peers
from tests.media.webrtc_support import LiveBench, binding_request

# A Chromium of another test drops its loads when the addresses of the machine change, as they do here.
pytestmark = pytest.mark.serial

SPACE, HERE, THERE = "gw-media-test", "10.213.77.1", "10.213.77.2"
ASK = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.settimeout(1.0)
    client.sendto(bytes.fromhex(sys.argv[3]), (sys.argv[1], int(sys.argv[2])))
    try:
        print(client.recv(2000)[:2].hex())
    except TimeoutError:
        print("silence")
"""


@pytest.fixture
def other_host() -> Iterator[None]:
    """A second host: a network namespace at the end of a virtual cable."""
    peers.namespaces()
    commands = (
        f"ip netns add {SPACE}",
        f"ip link add gwm0 type veth peer name gwm1 netns {SPACE}",
        f"ip addr add {HERE}/30 dev gwm0",
        "ip link set gwm0 up",
        f"ip -n {SPACE} addr add {THERE}/30 dev gwm1",
        f"ip -n {SPACE} link set gwm1 up",
        f"ip -n {SPACE} link set lo up",
    )
    try:
        peers.in_namespace(*commands)
        yield
    finally:
        with contextlib.suppress(OSError):
            subprocess.run(["ip", "netns", "del", SPACE], capture_output=True, check=False)
            subprocess.run(["ip", "link", "del", "gwm0"], capture_output=True, check=False)


async def ask(request: bytes, host: str, port: int, *prefix: str) -> str:
    """What a check from a process of its own draws."""
    command = [*prefix, sys.executable, "-c", ASK, host, str(port), request.hex()]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return out.decode().strip()


async def test_another_host_gets_no_answer_and_this_one_does(other_host: None) -> None:
    """The same authentic check: from here over any address of ours, from there over none."""
    bench = await LiveBench.start(WebRtcConfig(listen=("127.0.0.1",)))
    try:
        hosts = [host for host, _ in bench.port.addresses]
        assert HERE in hosts
        number = bench.port.addresses[0][1]
        leg = bench.open_leg()
        assert await ask(binding_request(leg), "127.0.0.1", number) == "0101"
        assert await ask(binding_request(leg), HERE, number) == "0101"
        there = ("ip", "netns", "exec", SPACE)
        assert await ask(binding_request(leg), HERE, number, *there) == "silence"
        assert bench.counters["foreign"] == 1
    finally:
        bench.close()


async def test_candidates_for_own_addresses_stand_behind_loopback() -> None:
    """Unless the configuration says no, or names what is to be advertised."""
    own = own_addresses()
    bench = await LiveBench.start(WebRtcConfig(listen=("127.0.0.1",)))
    try:
        named = [candidate.split()[4] for candidate in bench.port.candidates()]
        assert named == ["127.0.0.1", *own]
    finally:
        bench.close()
    for config in (WebRtcConfig(own_addresses=False), WebRtcConfig(advertised=("203.0.113.1",))):
        bench = await LiveBench.start(config)
        assert [host for host, _ in bench.port.addresses] == ["127.0.0.1"]
        bench.close()


def test_own_addresses_can_be_bound_and_are_not_loopback() -> None:
    """Each is of an interface of this machine."""
    for host in own_addresses():
        assert not is_loopback(host)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
