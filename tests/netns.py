"""Hosts of a test's own: network namespaces at the ends of virtual cables."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests import peers

NO_UDP = """
table inet firewall {
  chain out { type filter hook output priority 0; meta l4proto udp drop; }
}
"""
"""Rules of a network that lets no UDP out."""
_NETWORK = 0x40000000
"""CLONE_NEWNET of sched.h."""
_numbers = itertools.count(os.getpid() % 200 * 4)


@dataclass(frozen=True, slots=True)
class Host:
    """A namespace and its cable: `here` is our end's address, `there` its own."""

    name: str
    here: str
    there: str
    words: tuple[str, ...]
    """What runs a command in it."""

    @property
    def other(self) -> str:
        """Another address of its net."""
        front, _, last = self.there.rpartition(".")
        return f"{front}.{int(last) + 1}"

    def run(self, *commands: str) -> None:
        """Commands in it; AssertionError where one fails."""
        for command in commands:
            done = subprocess.run([*self.words, *command.split()], capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{command}: {done.stderr}"

    def tcp_socket(self) -> socket.socket:
        """A TCP socket of IPv4 that is in it, for a program of ours."""
        with self.inside():
            return socket.socket()

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Have sockets that this thread makes in the block be in it; those that there are stay where they are."""
        with open("/proc/thread-self/ns/net") as before:
            try:
                _enter(Path("/run/netns") / self.name)
                yield
            finally:
                _set_namespace(before)

    def rules(self, text: str) -> None:
        """nft rules in it."""
        done = subprocess.run([*self.words, "nft", "-f", "-"], input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def _enter(path: Path) -> None:
    with path.open() as namespace:
        _set_namespace(namespace)


def _set_namespace(namespace: IO[str]) -> None:
    """Put this thread into a namespace of the network."""
    if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _NETWORK):
        raise OSError(ctypes.get_errno(), "setns")


WORLD = "198.19.0.0/16"
"""Where hosts beyond a router are: addresses for benchmarks, to which a full agent sends where it is told so alone."""


@contextlib.contextmanager
def beyond(router: Host) -> Iterator[Host]:
    """A host at the other side of `router`, which hides us behind its own address there: a NAT.

    `here` is that address. Nothing comes in unasked but what rules of the test let in.
    """
    number = _claimed()
    name, base = f"gwh{number}", f"{WORLD.partition('.0.')[0]}.{number // 4}."
    here, there = (f"{base}{number % 4 * 64 + place}" for place in (1, 2))
    commands = (
        f"ip -n {router.name} link add {name}a type veth peer name {name}b netns {name}",
        f"ip -n {router.name} addr add {here}/26 dev {name}a",
        *_quiet(name, f"-n {router.name}"),
        f"ip -n {router.name} link set {name}a up",
        f"ip -n {name} addr add {there}/26 dev {name}b",
        f"ip -n {name} link set {name}b up",
        f"ip -n {name} link set lo up",
        f"ip -n {name} route add default via {here}",
        f"ip netns exec {router.name} sysctl -q -w net.ipv4.ip_forward=1",
        f"ip route add {base}{number % 4 * 64}/26 via {router.there}",
    )
    try:
        peers.in_namespace(*commands)
        router.rules(
            f"""
            table ip hide {{
              chain out {{ type nat hook postrouting priority 100; oifname "{name}a" masquerade random; }}
              chain in {{
                type filter hook forward priority 0
                ct status dnat accept
                iifname "{name}a" ct state new drop
              }}
            }}
            """
        )
        yield Host(name, here, there, ("ip", "netns", "exec", name))
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        subprocess.run(["ip", "route", "del", f"{base}{number % 4 * 64}/26"], capture_output=True, check=False)


def _claimed() -> int:
    """The number of a namespace that was made just now, and that no other run of tests has."""
    while True:
        number = next(_numbers) % 1000
        made = subprocess.run(["ip", "netns", "add", f"gwh{number}"], capture_output=True, text=True, check=False)
        if not made.returncode:
            return number
        if "exists" not in made.stderr:
            peers.missing("A network namespace", f"what this takes: ip netns add: {made.stderr.strip()}")


def _quiet(name: str, near: str = "") -> tuple[str, str]:
    """No addresses that the links make by themselves, and find to be good a second later: a Chromium that loads
    something then drops it, for its network has changed.
    """
    return f"ip {near} link set {name}a addrgenmode none", f"ip -n {name} link set {name}b addrgenmode none"


@contextlib.contextmanager
def host(*, net: str = "198.18", ipv6: bool = False) -> Iterator[Host]:
    """Another host on a cable to this one, in a net of its own, `ipv6`: in one of IPv6 and none of IPv4.

    Where none can be made the test fails in CI, and is skipped elsewhere (`peers.namespaces`).
    """
    peers.namespaces(ipv6=ipv6)
    number = _claimed()
    name, base = f"gwh{number}", f"{net}.{number // 4}.{number % 4 * 64}".rsplit(".", 1)
    here, there = (f"{base[0]}.{int(base[1]) + place}" for place in (1, 2))
    bits, nodad = 26, ""
    if ipv6:
        # No time is spent on asking whether anybody has the address already.
        here, there = f"fd00:6777:{number:x}::1", f"fd00:6777:{number:x}::2"
        bits, nodad = 64, " nodad"
    commands = (
        f"ip link add {name}a type veth peer name {name}b netns {name}",
        f"ip addr add {here}/{bits} dev {name}a{nodad}",
        *_quiet(name),
        f"ip link set {name}a up",
        f"ip -n {name} addr add {there}/{bits} dev {name}b{nodad}",
        f"ip -n {name} link set {name}b up",
        f"ip -n {name} link set lo up",
        f"ip -n {name} route add default via {here}",
    )
    try:
        peers.in_namespace(*commands)
        yield Host(name, here, there, ("ip", "netns", "exec", name))
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", f"{name}a"], capture_output=True, check=False)
