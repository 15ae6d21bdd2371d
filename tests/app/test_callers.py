"""Who a caller is said to be: by a trunk's assertion, hidden where it wishes, diverted as it was."""

from __future__ import annotations

import base64
import json

import pytest

from gateway.call.leg import Diversion, HistoryEntry
from gateway.config.people import Trunk
from gateway.dialing.callers import Names, of_trunk, wants_privacy
from gateway.identity.mapping import IdentityMap
from gateway.identity.model import User
from gateway.legs.sip_diversion import ANONYMOUS, caller_fields
from gateway.legs.sip_sessions import Shown
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request
from gateway.sip.message.uri import Uri
from gateway.sip.requests.checks import Capabilities
from gateway.sip.requests.inspection import inspect_request
from tests.rows import by_row

PBX = Trunk(name="office", uri="sip:pbx.test:5070", verstat=True)


def invite(*headers: tuple[str, str], sender: str = '"Bob" <sip:2001@elsewhere.test>') -> Request:
    uri = Uri.parse("sip:600@gw.test")
    return build.request(
        "INVITE", uri, from_=NameAddr.parse(sender), to=NameAddr(uri), call_id="c", cseq=1, headers=headers
    )


@by_row(
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
    address = of_trunk(invite(*headers), PBX)
    assert (address.uri, address.display_name, address.asserted) == (uri, name, "")


@by_row(
    ("value", "private"),
    [
        *((value, True) for value in ("id", "header;id", "ID;critical", "user")),
        *((value, False) for value in ("none", "session", "", "identity")),
    ],
)
def test_who_asks_for_it_is_hidden(value: str, private: bool) -> None:
    """The name is kept from who is called, and known to those who may know (RFC 3323 section 4.2)."""
    request = invite(("Privacy", value), ("P-Asserted-Identity", "<sip:2002@pbx.test>"))
    address = of_trunk(request, PBX)
    assert wants_privacy(request) is private
    assert (address.uri == ANONYMOUS) is private
    assert address.asserted == ("sip:2002@pbx.test:5070" if private else "")
    assert not private or "2002" not in address.uri + address.display_name


def test_a_diversion_is_kept_and_nobodys_words_are_not() -> None:
    """So that the next one sees that the call was diverted; a reason that is no word of RFC 5806 could be anything."""
    diversions = '<sip:1@pbx.test>;reason=user-busy, <sip:2@pbx.test>;reason="x;y"'
    assert of_trunk(invite(("Diversion", diversions)), PBX).diversions == (
        Diversion("sip:1@pbx.test", "user-busy"),
        Diversion("sip:2@pbx.test", "unknown"),
    )
    many = ", ".join(["<sip:1@pbx.test>"] * 100)
    assert len(of_trunk(invite(("Diversion", many)), PBX).diversions) == 8


@by_row(
    ("sender", "asserted", "verdict"),
    [
        ("<sip:2001@pbx.test>", "<tel:+4989;verstat=TN-Validation-Passed>", "passed"),
        ("<sip:2001@pbx.test>", "<sip:+4989;verstat=TN-Validation-Failed@pbx.test;user=phone>", "failed"),
        ("<sip:+4989;verstat=TN-Validation-Passed-A@pbx.test>", None, "passed"),
        ("<sip:+4989@pbx.test;verstat=TN-Validation-Failed>", None, "failed"),
        ("<sip:+4989;verstat=No-TN-Validation@pbx.test>", None, "none"),
        ("<sip:+4989;verstat=yes;verstat@pbx.test>", None, "none"),
        ("<sip:2001@pbx.test>", None, "none"),
        ("<sip:+1666;verstat=TN-Validation-Passed@pbx.test>", "<sip:+4989@pbx.test>", "none"),
        ("<sip:2001@pbx.test>", "<sip:+4989@pbx.test>, <tel:+1666;verstat=TN-Validation-Passed>", "none"),
    ],
)
def test_a_trunk_says_whether_a_number_is_signed(sender: str, asserted: str | None, verdict: str) -> None:
    """verstat of the very value that is shown; it is no part of the number that is called back."""
    headers = [("P-Asserted-Identity", asserted)] if asserted else []
    address = of_trunk(invite(*headers, sender=sender), PBX)
    assert address.verified == verdict
    assert of_trunk(invite(*headers, sender=sender), Trunk(name="x", uri=PBX.uri)).verified == "none"
    assert "verstat" not in address.uri + address.display_name


@pytest.mark.parametrize("believed", [True, False])
def test_only_a_trunk_that_checks_signatures_is_believed_about_them(believed: bool) -> None:
    """trunks[].verstat, at the start of a call and in its course."""
    trunk = Trunk(name="office", uri="sip:pbx.test", verstat=believed)
    verdict = "passed" if believed else "none"
    request = invite(sender="<sip:+4989;verstat=TN-Validation-Passed@pbx.test>")
    assert of_trunk(request, trunk).verified == verdict
    later = Names(IdentityMap((), (), "gw.test"), {"office": trunk}).renamed(request, "trunk:office")
    assert later is not None
    assert later.verified == verdict


def test_a_signature_is_kept_within_bounds() -> None:
    """With the Date that it may need; too many and too long ones are left out."""
    fields = [("Identity", f"token{n};info=<https://cert.test/>") for n in range(9)]
    kept = of_trunk(invite(("Identity", "x" * 5_000), *fields, ("Date", "now")), PBX).signed
    assert kept == (*fields[:4], ("Date", "now"))
    assert of_trunk(invite(("Date", "now")), PBX).signed == ()


def passport(payload: object) -> str:
    """A full PASSporT of that payload, signed by nobody."""
    text = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return f"eyJhbGciOiJFUzI1NiJ9.{base64.urlsafe_b64encode(text).decode().rstrip('=')}.sig;info=<https://cert.test/>"


@by_row(
    ("sender", "asserted", "signed", "kept"),
    [
        ("<sip:4930123@pbx.test>", None, "4930123", True),
        ("<sip:+4930123@pbx.test>", None, "4930123", True),
        ("<sip:4930123@pbx.test>", "<sip:555@pbx.test>", "4930123", False),
        ("<sip:4930123@pbx.test>", "<sip:555@pbx.test>", "555", True),
        ("<sip:anonymous@anonymous.invalid>", None, "4930123", False),
        ("<sip:anonymous@anonymous.invalid>", "<tel:+4930123>", "4930123", True),
        ("<sip:4930123@pbx.test>", "<sip:4930123@pbx.test>", None, True),
        ("<sip:4930123@pbx.test>", "<sip:555@pbx.test>", None, False),
    ],
)
def test_a_signature_is_kept_that_is_of_the_number_that_is_shown(
    sender: str, asserted: str | None, signed: str | None, kept: bool
) -> None:
    """No verifier takes another, and it would tell a number that is not shown; a short one is of From's."""
    token = "..sig;info=<https://cert.test/>" if signed is None else passport({"orig": {"tn": signed}})
    headers = [("Identity", token), *([("P-Asserted-Identity", asserted)] if asserted else [])]
    found = of_trunk(invite(*headers, sender=sender), PBX).signed
    assert found == ((("Identity", token),) if kept else ())


@by_row("payload", [b"[" * 3_000, b"\xff", b"{}", b"[]", b'{"orig":[]}', b'{"orig":{"tn":[1]}}', b"9" * 3_000])
def test_a_signature_that_cannot_be_read_is_of_from(payload: bytes) -> None:
    """Whatever a stranger writes there."""
    token = passport(payload)
    assert of_trunk(invite(("Identity", token)), PBX).signed == (("Identity", token),)
    assert of_trunk(invite(("Identity", token), ("P-Asserted-Identity", "<sip:555@pbx.test>")), PBX).signed == ()


@by_row("trusted", [True, False])
@by_row(
    "private",
    [("Privacy", "id"), ("Privacy", "user"), ("Privacy", "header"), ("Diversion", "<sip:7@pbx.test>;privacy=full")],
)
def test_a_signature_tells_a_number_that_hides_to_trusted_trunks_alone(private: tuple[str, str], trusted: bool) -> None:
    """It names who calls and who was called (RFC 8225): none for who is not told these (RFC 3323, RFC 3325)."""
    token = passport({"dest": {"tn": ["7"]}, "orig": {"tn": "2001"}})
    caller = of_trunk(invite(private, ("Identity", token)), PBX)
    told = caller_fields(caller, "sip:9@o.test", Shown(is_trunk=True, asserts=trusted, signed=True))
    assert [value for name, value in told if name == "Identity"] == ([token] if trusted else [])


def test_a_history_is_read_with_what_is_private_in_it() -> None:
    """An entry's own Privacy, or that of the request; of what else an entry carries only its Reason."""
    said = "<sip:7@pbx.test?Privacy=history&Reason=SIP%3Bcause%3D302>;index=1, <sip:8@pbx.test?X=y>;index=1.1;mp=1"
    first, second = of_trunk(invite(("History-Info", said)), PBX).history
    assert first == HistoryEntry("sip:7@pbx.test?Reason=SIP%3Bcause%3D302", "1", is_private=True)
    assert second == HistoryEntry("sip:8@pbx.test", "1.1", "mp=1")
    hidden = of_trunk(invite(("History-Info", said), ("Privacy", "history")), PBX).history
    assert all(entry.is_private for entry in hidden)
    diverted = invite(("History-Info", said), ("Diversion", "<sip:7@pbx.test>;reason=user-busy;privacy=full"))
    [diversion] = of_trunk(diverted, PBX).diversions
    assert (diversion.is_private, diversion.in_history) == (True, True)


@by_row("index", ["", "x", "1.", "1" * 90, ".".join("1" * 40), "1;mp=<"])
def test_a_history_that_cannot_be_numbered_on_is_left_out(index: str) -> None:
    """Nothing is made up about what a trunk has said."""
    request = invite(("History-Info", f"<sip:7@pbx.test>;index={index}, <sip:8@pbx.test>;index=1.1"))
    inspect_request(request, Capabilities())
    assert of_trunk(request, PBX).history == ()


def names() -> Names:
    users = [
        User("1001", display_name="Reception", aliases=("2001", "sip:office@company.test")),
        User("1002", aliases=("2002",)),
    ]
    return Names(IdentityMap(users, (), "gw.test"), {"office": Trunk(name="office", uri="sip:pbx.test")})


@by_row(
    ("preferred", "uri"),
    [
        (None, "sip:1001@gw.test"),
        ("<sip:2001@gw.test>", "sip:2001@gw.test"),
        ("<sip:office@company.test;x=y>", "sip:office@company.test"),
        ("<sip:2002@gw.test>", "sip:1001@gw.test"),
        ("<sip:boss@elsewhere.test>", "sip:1001@gw.test"),
        ("<tel:+4989>", "sip:1001@gw.test"),
    ],
)
def test_a_user_chooses_among_its_own_numbers(preferred: str | None, uri: str) -> None:
    """P-Preferred-Identity (RFC 3325 section 9.2); anybody else's is no wish but a lie."""
    found = names()
    user = found._identity.by_id("1001")
    assert user is not None
    headers = [("P-Preferred-Identity", preferred)] if preferred else []
    address = found.of_user(user, invite(*headers))
    assert (address.uri, address.display_name) == (uri, "Reception")


@by_row(
    ("identity", "asserted", "uri"),
    [
        ("trunk:office", None, "sip:2001@pbx.test"),
        ("trunk:office", "<sip:7@x>", "sip:7@pbx.test"),
        ("1002", "<sip:7@x>", "sip:1002@gw.test"),
        (None, "<sip:7@x>", None),
        ("nobody", None, None),
    ],
)
def test_who_renames_itself_is_believed_as_when_it_called(
    identity: str | None, asserted: str | None, uri: str | None
) -> None:
    """A trunk is, a user keeps its own address, strangers are not."""
    headers = [("P-Asserted-Identity", asserted)] if asserted else []
    address = names().renamed(invite(*headers), identity)
    assert (address and address.uri) == uri
