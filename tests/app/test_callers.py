"""Who a caller is said to be: by a trunk's assertion, hidden where it wishes, diverted as it was."""

from __future__ import annotations

import pytest

from gateway.app.callers import ANONYMOUS, of_trunk, wants_privacy
from gateway.call.leg import Diversion
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request
from gateway.sip.message.uri import Uri

PLACE = ("pbx.test", 5070)


def invite(*headers: tuple[str, str], sender: str = '"Bob" <sip:2001@elsewhere.test>') -> Request:
    uri = Uri.parse("sip:600@gw.test")
    return build.request(
        "INVITE", uri, from_=NameAddr.parse(sender), to=NameAddr(uri), call_id="c", cseq=1, headers=headers
    )


@pytest.mark.parametrize(
    ("asserted", "uri", "name"),
    [
        (None, "sip:2001@pbx.test:5070", "Bob"),
        ('"Carol" <sip:2002@pbx.test>', "sip:2002@pbx.test:5070", "Carol"),
        ("<tel:+4989123;phone-context=x>", "sip:+4989123@pbx.test:5070", "+4989123"),
        ("<sip:2002@pbx.test>, <tel:+4989>", "sip:2002@pbx.test:5070", "2002"),
        ("<sip:pbx.test>", "sip:anonymous@pbx.test:5070", "anonymous"),
    ],
)
def test_a_trunk_says_who_calls(asserted: str | None, uri: str, name: str) -> None:
    """Whom it asserts comes before From, and always in its own number plan."""
    headers = [("P-Asserted-Identity", asserted)] if asserted else []
    address = of_trunk(invite(*headers), PLACE)
    assert (address.uri, address.display_name, address.asserted) == (uri, name, "")


@pytest.mark.parametrize(
    ("value", "private"),
    [
        *((value, True) for value in ("id", "header;id", "ID;critical", "user")),
        *((value, False) for value in ("none", "session", "", "identity")),
    ],
)
def test_who_asks_for_it_is_hidden(value: str, private: bool) -> None:
    """The name is kept from who is called, and known to those who may know (RFC 3323 section 4.2)."""
    request = invite(("Privacy", value), ("P-Asserted-Identity", "<sip:2002@pbx.test>"))
    address = of_trunk(request, PLACE)
    assert wants_privacy(request) is private
    assert (address.uri == ANONYMOUS) is private
    assert address.asserted == ("sip:2002@pbx.test:5070" if private else "")
    assert not private or "2002" not in address.uri + address.display_name


def test_a_diversion_is_kept_and_nobodys_words_are_not() -> None:
    """So that the next one sees that the call was diverted; a reason that is no word of RFC 5806 could be anything."""
    diversions = '<sip:1@pbx.test>;reason=user-busy, <sip:2@pbx.test>;reason="x;y"'
    assert of_trunk(invite(("Diversion", diversions)), PLACE).diversions == (
        Diversion("sip:1@pbx.test", "user-busy"),
        Diversion("sip:2@pbx.test", "unknown"),
    )
    many = ", ".join(["<sip:1@pbx.test>"] * 100)
    assert len(of_trunk(invite(("Diversion", many)), PLACE).diversions) == 8
