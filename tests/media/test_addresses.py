"""What the packet plane takes for an address: a value that only an IP address becomes."""

from __future__ import annotations

import pytest

from gateway.media.embedded.plane.native import wire
from gateway.media.embedded.plane.values import host_of
from tests.media.hosts import at
from tests.rows import by_row


@by_row("text", ["host.local", "", "010.0.0.5", "10.0.0", "*", "[::1]"])
def test_only_an_ip_address_becomes_a_host_of_the_plane(text: str) -> None:
    """A name, and what sockets do not write, stay at the door."""
    with pytest.raises(ValueError, match="IPv4 or IPv6 address"):
        host_of(text)


@by_row(
    ("text", "packed"),
    [
        ("192.0.2.1", bytes((4, 192, 0, 2, 1))),
        ("2001:DB8:0::1", b"\x06\x20\x01\x0d\xb8" + bytes(11) + b"\x01"),
        ("fe80::1%eth0", b"\x06\xfe\x80" + bytes(13) + b"\x01"),
    ],
)
def test_every_address_can_be_written_to_the_plane(text: str, packed: bytes) -> None:
    """Without a zone, in either version."""
    assert wire.address(at(text, 5)) == packed + b"\0\x05"


def test_text_is_no_address() -> None:
    """The type checker refuses it: an unused "type: ignore" would be an error."""
    with pytest.raises(ValueError, match=r"host\.local"):
        wire.address(("host.local", 5))  # type: ignore[arg-type]
