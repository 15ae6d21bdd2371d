"""Addresses in tests."""

from __future__ import annotations

from gateway.media.embedded.plane.values import Address, host_of


def at(host: str, port: int) -> Address:
    """The address of an IP address and a port, as planes and legs take it."""
    return host_of(host), port
