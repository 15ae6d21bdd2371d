"""Ports for a gateway that lives for one demonstration: free, different, and none of them inside the RTP range."""

from __future__ import annotations

import pytest

from gateway.demo import ports


def test_ports_differ_and_leave_the_range_clear() -> None:
    """The last is even and begins the range."""
    found = ports.free_ports(4)
    assert len(set(found)) == 4
    assert found[-1] % 2 == 0
    assert not [port for port in found[:-1] if found[-1] <= port < found[-1] + ports.RANGE]


def test_a_range_over_one_of_the_others_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first two for the last place would have 40050 or 50000 in their range."""
    offered = iter([40_050, 50_000, 40_001, 49_902, 40_053])
    monkeypatch.setattr(ports, "_free_port", lambda held: next(offered))
    assert ports.free_ports(3) == [40_050, 50_000, 40_052]
