"""URIs of single devices: what they name, what they hide, and how long they stand (RFC 5627)."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from gateway.access.gruu import Gruus, fits, is_temporary
from gateway.identity.model import Binding
from gateway.sip.message.uri import Uri
from tests.rows import by_row

DOMAIN = "gw.test"
INSTANCE = "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"
DEVICE = Binding(f"sip:al%69ce@{DOMAIN}", "sip:k3v1@df7jal.invalid", 600.0, "call", 1, instance=INSTANCE)
KEY = bytes(range(32))


def gruus(key: bytes = KEY, domain: str = DOMAIN) -> Gruus:
    return Gruus(domain, key, os.urandom)


def of(binding: Binding) -> dict[str, str]:
    return dict(gruus().of(binding))


def test_a_public_gruu_names_user_and_instance() -> None:
    """Section 3.1.1: the address of record with the instance as `gr`, the same each time."""
    public = of(DEVICE)["pub-gruu"]
    assert Uri.parse(public) == Uri.parse(f"sip:al%69ce@{DOMAIN};gr={INSTANCE}")
    assert of(DEVICE)["pub-gruu"] == public
    read = gruus().read(public)
    assert read is not None
    assert (read[0], fits(read[1], DEVICE), is_temporary(read[1])) == (f"sip:al%69ce@{DOMAIN}", True, False)
    assert fits(read[1], replace(DEVICE, call_id="other", contact="sip:x@y"))
    assert not fits(read[1], replace(DEVICE, instance="urn:uuid:2"))
    assert not fits(read[1], replace(DEVICE, instance=None))


def test_temporary_gruus_are_new_each_time_and_say_nothing() -> None:
    """Section 3.1.2: nobody learns from two of them whose they are, or that they are of one."""
    first, second = of(DEVICE)["temp-gruu"], of(DEVICE)["temp-gruu"]
    assert first != second
    assert "%69" not in first
    assert Uri.parse(first).param("gr") == ""
    for one in (first, second):
        read = gruus().read(one)
        assert read is not None
        assert (Uri.parse(read[0]).user, fits(read[1], DEVICE), is_temporary(read[1])) == ("al%69ce", True, True)


def test_a_temporary_gruu_stands_as_long_as_its_registration() -> None:
    """Another Call-ID is another registration (section 3.3); another device was never meant."""
    read = gruus().read(of(DEVICE)["temp-gruu"])
    assert read is not None
    assert fits(read[1], replace(DEVICE, cseq=9, contact="sip:moved@df7jal.invalid"))
    assert not fits(read[1], replace(DEVICE, call_id="after-a-restart"))
    assert not fits(read[1], replace(DEVICE, instance="urn:uuid:2"))


def test_a_contact_without_an_instance_has_none() -> None:
    """Nothing says which device it is."""
    assert of(replace(DEVICE, instance=None)) == {}


@pytest.mark.parametrize("keys", [(bytes(32), DOMAIN), (KEY, "other.test")])
def test_those_of_another_gateway_mean_nobody(keys: tuple[bytes, str]) -> None:
    """Its key or its domain is another one."""
    assert gruus(*keys).read(of(DEVICE)["temp-gruu"]) is None


@by_row(
    "text",
    [
        "",
        "600",
        "gr@",
        "tel:+49",
        "sip:alice@gw.test",
        "sip:alice@elsewhere.test;gr=urn:uuid:1",
        "sip:gw.test;gr=x",
        "sip:alice@gw.test;gr",
        "sip:tgruu.@gw.test;gr",
        "sip:tgruu.AAAA@gw.test;gr",
        "sip:tgruu.%00%ff@gw.test;gr",
        "sip:tgruu.äöü@gw.test;gr",
        f"sip:tgruu.{'A' * 400}@gw.test;gr",
        f"sip:tgruu.{'A' * 100_000}@gw.test;gr",
        "sip:a\r\n@gw.test;gr=x",
    ],
)
def test_what_is_none_of_ours_means_nobody(text: str) -> None:
    """Whatever was dialled, nothing is raised."""
    assert gruus().read(text) is None


def test_a_forged_token_opens_nothing() -> None:
    """Each octet of it counts."""
    user = Uri.parse(of(DEVICE)["temp-gruu"]).user
    assert user is not None
    for place in range(len("tgruu."), len(user) - 1, 7):
        forged = user[:place] + ("A" if user[place] != "A" else "B") + user[place + 1 :]
        assert gruus().read(f"sip:{forged}@{DOMAIN};gr") is None
