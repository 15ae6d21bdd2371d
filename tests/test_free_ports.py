"""The ports of demo, lessons and tests."""

from __future__ import annotations

import socket

import pytest

from gateway.demo.ports import RANGE, FreePorts, free_ports
from tests import ports

KINDS = [socket.SOCK_STREAM, socket.SOCK_DGRAM]


def test_no_port_is_given_twice() -> None:
    """Also where nobody has bound it yet: who asked first may still be on the way."""
    given: list[int] = []
    for _ in range(8):
        *others, rtp = free_ports(3)
        assert rtp % 2 == 0
        given += [*others, *range(rtp, rtp + RANGE)]
    assert len(given) == len({*given})
    assert 29_000 <= min(given) <= max(given) < 32_768  # where Linux begins to hand them out


@pytest.mark.parametrize("kind", KINDS)
def test_a_port_that_somebody_has_is_left_out(kind: socket.SocketKind) -> None:
    """For UDP or for TCP, and also in the middle of a range."""
    [first] = ports.free_ports(1)
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", first + 1))
        found = FreePorts(range(first, first + RANGE), 0)
        assert [found.one(), found.one()] == [first, first + 2]
