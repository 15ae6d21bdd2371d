"""IP addresses as descriptions write them."""

from __future__ import annotations

from sdp.hosts import ip_of
from tests.rows import by_row


@by_row(
    ("written", "address"),
    [
        ("10.0.0.5", "10.0.0.5"),
        ("010.000.000.005", "10.0.0.5"),
        ("0.0.0.0", "0.0.0.0"),
        ("0010.0.0.5", None),
        ("10.0.0.0005", None),
        ("10.0.0.256", None),
        ("10.0.0", None),
        ("[2001:DB8:0::1]", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("10.0.0.\u0665", None),
        ("host.test", None),
    ],
)
def test_an_octet_has_three_decimal_digits_at_most(written: str, address: str | None) -> None:
    """Leading zeros are decimal; four digits are a name's, or nonsense, but no octet."""
    found = ip_of(written)
    assert (None if found is None else str(found)) == address
