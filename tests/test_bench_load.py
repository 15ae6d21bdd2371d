"""The load generator of the media benchmark: every payload is checked, and what is spoiled is found."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.browser import session_key
from bench.generator import End, GeneratorError, Run, SessionKey, build, generate
from tests import peers

pytestmark = pytest.mark.wall

KEYS = tuple(SessionKey(key=bytes([number] * 16), salt=bytes([number] * 12)) for number in (1, 2))
SECOND = Run(seconds=1.0, warmup=0.2)
PACKETS = 50


@pytest.fixture(scope="module")
def program() -> Path:
    """The generator, compiled with the cargo that is there."""
    peers.program("cargo", "cargo")
    return build()


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a call without a gateway between them."""
    kind = socket.AF_INET, socket.SOCK_DGRAM
    with socket.socket(*kind) as one, socket.socket(*kind) as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        yield one, two


def ends(sockets: tuple[socket.socket, socket.socket], keys: tuple[SessionKey, ...] = ()) -> list[End]:
    """The two ends, each sending to the other."""
    one, two = sockets
    made = [
        End(call=7, direction=0, fd=one.fileno(), remote=two.getsockname(), payload_type=0, ssrc=1),
        End(call=7, direction=1, fd=two.fileno(), remote=one.getsockname(), payload_type=8, ssrc=2),
    ]
    if not keys:
        return made
    return [replace(made[0], send=keys[0], receive=keys[1]), replace(made[1], send=keys[1], receive=keys[0])]


def run(program: Path, what: Run, both: list[End]) -> list[dict[str, Any]]:
    """What each direction counted."""
    report = asyncio.run(generate(program, what, both))
    directions: list[dict[str, Any]] = report["directions"]
    return directions


@pytest.mark.parametrize("keys", [(), KEYS], ids=["plain", "srtp"])
def test_every_packet_of_a_call_comes_and_is_checked(
    program: Path, sockets: tuple[socket.socket, socket.socket], keys: tuple[SessionKey, ...]
) -> None:
    """50 packets a second each way, none lost, none wrong, each with its delay."""
    for direction in run(program, SECOND, ends(sockets, keys)):
        assert (direction["sent"], direction["received"], direction["lost"]) == (PACKETS, PACKETS, 0)
        assert direction["corrupted"] == direction["misdelivered"] == direction["unauthentic"] == 0
        assert 0 < direction["delay_us"]["median"] <= direction["delay_us"]["max"]


@pytest.mark.parametrize("keys", [(), KEYS], ids=["plain", "srtp"])
def test_a_payload_with_one_changed_bit_is_found(
    program: Path, sockets: tuple[socket.socket, socket.socket], keys: tuple[SessionKey, ...]
) -> None:
    """Each tenth packet is spoiled before it is sent: exactly those are counted, and as nothing else."""
    for direction in run(program, replace(SECOND, corrupt=10), ends(sockets, keys)):
        assert (direction["corrupted"], direction["received"], direction["lost"]) == (5, 45, 0)


def test_what_comes_after_the_last_packet_is_no_packet_of_the_call(
    program: Path, sockets: tuple[socket.socket, socket.socket]
) -> None:
    """A transcoder goes on for a while when its sender has stopped: neither received nor wrong."""
    one, two = ends(sockets)
    silence = bytes((0x80, 0)) + bytes(10) + b"\xff" * 160

    def go_on(word: str) -> None:
        for _ in range(5 if word == "end" else 0):
            sockets[0].send(silence)

    report = asyncio.run(
        generate(program, SECOND, [replace(one, source="pattern:160"), replace(two, check="any")], go_on)
    )
    heard = report["directions"][0]
    assert (heard["received"], heard["corrupted"], heard["after"]) == (PACKETS, 0, 5)


def test_a_packet_of_another_call_is_found(program: Path, sockets: tuple[socket.socket, socket.socket]) -> None:
    """What was sent for call 8 is not what call 7 waits for."""
    one, two = ends(sockets)
    first, second = run(program, SECOND, [replace(one, call=8), two])
    assert (first["misdelivered"], first["received"]) == (60, 0)
    assert (second["misdelivered"], second["received"]) == (60, 0)


def test_a_packet_under_another_key_is_found(program: Path, sockets: tuple[socket.socket, socket.socket]) -> None:
    """It is not authentic, and so it is lost."""
    one, two = ends(sockets, KEYS)
    _, second = run(program, SECOND, [replace(one, receive=KEYS[0]), two])
    assert (second["unauthentic"], second["received"], second["lost"]) == (60, 0, PACKETS)


def test_a_second_run_goes_on_over_the_wrap(program: Path, sockets: tuple[socket.socket, socket.socket]) -> None:
    """Numbers go on where the first run stopped, and the receiver finds the roll-over counter by itself."""
    for first in (65_520, 65_520 + SECOND.packets):
        for direction in run(program, replace(SECOND, first=first), ends(sockets, KEYS)):
            assert (direction["received"], direction["renumbered"], direction["unauthentic"]) == (PACKETS, 0, 0)


def test_what_it_cannot_use_is_said(program: Path, sockets: tuple[socket.socket, socket.socket]) -> None:
    """A line that is wrong is named, and nothing is measured."""
    one, two = ends(sockets)
    with pytest.raises(GeneratorError, match="line 2: source is not usable"):
        run(program, SECOND, [replace(one, source="noise"), two])


def test_session_keys_are_those_of_the_rfc() -> None:
    """RFC 3711 appendix B.3."""
    found = session_key(
        bytes.fromhex("E1F97A0D3E018BE0D64FA32C06DE4139"), bytes.fromhex("0EC675AD498AFEEBB6960B3AABE6")
    )
    assert found.key.hex().upper() == "C61E7A93744F39EE10734AFE3FF7A087"
    assert found.salt.hex().upper() == "30CBBC08863D8C85D49DB34A9AE1"
