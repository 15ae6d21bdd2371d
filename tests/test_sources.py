"""The key by which every limit counts a source."""

from __future__ import annotations

from gateway.sources import source_of
from tests.rows import by_row


@by_row(
    ("host", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.8", "192.0.2.8"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:DB8:1:3::", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", ""),
        ("testclient", "testclient"),
    ],
)
def test_a_source_is_an_ipv4_address_or_a_network_of_ipv6(host: str, source: str) -> None:
    """An IPv4 address in an IPv6 one is the IPv4 address; text that is no address stays."""
    assert source_of(host) == source
