"""Who is meant by what was dialled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.call.routing import Caller, Route, RouteError, Router, ServiceTarget, SipTarget, UserTarget
from gateway.call.status import Cause
from gateway.identity.model import User

ALICE = User("alice", web=True)
PHONE = User("1001", sip=True)
ANYONE = Caller("bob", ("*",))


class Directory:
    """Two users, known by id and by URI."""

    def find(self, uri_or_user: str) -> User | None:
        name = uri_or_user.removeprefix("sip:").removesuffix("@gw.test")
        return {"alice": ALICE, "1001": PHONE}.get(name)


ROUTES = (
    Route("600", "service:echo"),
    Route("0*", "trunk:pbx", strip=1),
    Route("55*", "sip:{user}@pbx.test", prefix="+"),
    Route("700", "user:alice"),
    Route("701", "user:nobody"),
    Route("8*", "trunk:missing"),
)


def router() -> Router:
    return Router(Directory(), ROUTES, ["gw.test"], trunks=["pbx"])


@pytest.mark.parametrize(
    ("dialled", "target"),
    [
        ("600", ServiceTarget("echo")),
        ("sip:600@gw.test", ServiceTarget("echo")),
        ("alice", UserTarget(ALICE)),
        ("sip:alice@gw.test", UserTarget(ALICE)),
        ("sip:alice@GW.TEST;user=phone?Subject=x", UserTarget(ALICE)),
        ("SIP:1001@gw.test:5060", UserTarget(PHONE)),
        ("tel:1001", UserTarget(PHONE)),
        ("10-01", UserTarget(PHONE)),
        ("0 49 (30) 123", SipTarget("4930123", trunk="pbx")),
        ("5512", SipTarget("sip:+5512@pbx.test")),
        ("700", UserTarget(ALICE)),
    ],
)
def test_what_is_dialled_goes_where_the_first_matching_row_says(dialled: str, target: object) -> None:
    """Routes in order, then the users."""
    assert router().route(dialled, ANYONE) == target


@pytest.mark.parametrize(
    ("dialled", "cause"),
    [
        ("carol", Cause.NOT_FOUND),
        ("sip:alice@elsewhere.test", Cause.NOT_FOUND),
        ("701", Cause.NOT_FOUND),
        ("800", Cause.UNAVAILABLE),
        ("", Cause.NOT_FOUND),
        ("sip:", Cause.NOT_FOUND),
        ("a b c", Cause.NOT_FOUND),
        ("alice\r\nVia: x", Cause.NOT_FOUND),
        ("sip:alice@gw.test>;x", Cause.NOT_FOUND),
        ("9" * 300, Cause.NOT_FOUND),
    ],
)
def test_what_leads_nowhere_says_why(dialled: str, cause: Cause) -> None:
    """A refusal is a RouteError with the cause the caller is told."""
    with pytest.raises(RouteError) as refusal:
        router().route(dialled, ANYONE)
    assert refusal.value.cause is cause


def test_a_guest_reaches_only_what_guests_may_call() -> None:
    """Dial rules deny by default: what is not allowed is forbidden, even if it exists."""
    guest = Caller("guest", ("600", "601"))
    assert router().route("600", guest) == ServiceTarget("echo")
    for dialled in ("alice", "0123", "1001", "sip:1001@gw.test"):
        with pytest.raises(RouteError) as refusal:
            router().route(dialled, guest)
        assert refusal.value.cause is Cause.FORBIDDEN


def test_a_trunk_reaches_our_users_but_never_another_trunk() -> None:
    """Calls from outside do not leave again on our bill."""
    trunk = Caller("trunk:pbx", ("*",), transit=False)
    assert router().route("alice", trunk) == UserTarget(ALICE)
    assert router().route("600", trunk) == ServiceTarget("echo")
    for dialled in ("00123", "5512"):
        with pytest.raises(RouteError) as refusal:
            router().route(dialled, trunk)
        assert refusal.value.cause is Cause.FORBIDDEN


@given(st.text(max_size=300))
def test_nothing_that_can_be_dialled_breaks_the_router(dialled: str) -> None:
    """Any text is routed or refused, never a crash, and never smuggles a line."""
    try:
        target = router().route(dialled, ANYONE)
    except RouteError:
        return
    assert "\r" not in repr(target)
    if isinstance(target, SipTarget):
        assert not set(target.uri) & set(' \r\n<>"\0')
