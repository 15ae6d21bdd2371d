"""Whose call comes from an address that several trunks share."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from gateway.sip.flow import Flow
from gateway.trunks.known import TrunkAccount, Trunks

OFFICE = Flow("udp", "203.0.113.8", 5060)
ONE, OTHER, NOBODY = (Flow("udp", host, 5060) for host in ("192.0.2.7", "198.51.100.7", "203.0.113.7"))
PROVIDER = (ip_network("192.0.2.0/24"), ip_network("198.51.100.0/24"))


@pytest.fixture
def trunks() -> Trunks:
    """Two accounts at one provider, a third at another place, and one that is known where it is registered."""
    known = Trunks(
        [
            TrunkAccount(name="sales", sources=PROVIDER, username="100"),
            TrunkAccount(name="support", sources=PROVIDER, username="200"),
            TrunkAccount(name="far", sources=(ip_network("2001:db8::/32"),)),
            TrunkAccount(name="office", admits_registered=True),
        ]
    )
    known.registered("office", [NOBODY.host, OFFICE.host])
    return known


def test_of_two_accounts_at_one_provider_it_is_the_one_that_is_called(trunks: Trunks) -> None:
    """A number that is neither's account is the first one's."""
    assert [trunks.by_source(OTHER, called) for called in ("100", "200", "+4930", None)] == [
        "sales",
        "support",
        "sales",
        "sales",
    ]
    assert trunks.by_source(NOBODY, "200") == "office"


def test_each_of_them_is_spoken_for_from_all_their_addresses(trunks: Trunks) -> None:
    """And nobody else is."""
    assert [trunks.speaks_for(name, OTHER) for name in ("sales", "support", "far", "office")] == [
        True,
        True,
        False,
        False,
    ]
    assert trunks.speaks_for("office", NOBODY)
    assert not trunks.speaks_for("sales", NOBODY)
    assert not trunks.speaks_for("sales", Flow("ws", "", 0))


def test_two_addresses_are_one_where_a_trunk_has_both(trunks: Trunks) -> None:
    """Two trunks' addresses are not."""
    assert trunks.are_one(ONE, OTHER)
    assert trunks.are_one(NOBODY, OFFICE)
    assert not trunks.are_one(OFFICE, ONE)
    assert not trunks.are_one(ONE, NOBODY)
    assert not trunks.are_one(ONE, Flow("udp", "2001:db8::7", 5060))


def test_an_address_among_its_sources_and_one_of_its_registrar_are_of_one_trunk() -> None:
    """Either way round; as long as it is registered."""
    trunks = Trunks([TrunkAccount(name="both", sources=(ip_network("192.0.2.0/24"),), admits_registered=True)])
    trunks.registered("both", [OFFICE.host])
    assert trunks.are_one(ONE, OFFICE)
    assert trunks.are_one(OFFICE, ONE)
    trunks.registered("both", [])
    assert not trunks.are_one(ONE, OFFICE)
    assert not trunks.are_one(OFFICE, ONE)
