"""Who is meant by what was dialled."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.call.routing import Caller, Emergency, Route, RouteError, Router, ServiceTarget, SipTarget, UserTarget
from gateway.call.status import Cause
from gateway.call.trunk_places import TrunkHosts, TrunkPlaces
from gateway.identity.model import User
from tests.rows import by_row

ALICE = User("alice", web=True)
PHONE = User("1001", sip=True)
DASHED = User("20-01", sip=True)
ANYONE = Caller("bob", ("*", "0*", "55*"))

HELP = Emergency(numbers=frozenset({"112"}), trunk="pbx")


class Directory:
    """Two users, known by id and by URI."""

    def find(self, uri_or_user: str) -> User | None:
        name = uri_or_user.removeprefix("sip:").removesuffix("@gw.test")
        return {"alice": ALICE, "1001": PHONE, "20-01": DASHED}.get(name)


ROUTES = (
    Route("600", "service:echo"),
    Route("0*", "trunk:pbx", strip=1),
    Route("55*", "sip:{user}@pbx.test", prefix="+"),
    Route("700", "user:alice"),
    Route("701", "user:nobody"),
    Route("8*", "trunk:missing"),
)


def router() -> Router:
    return Router(Directory(), ROUTES, ["gw.test"], {"pbx": ("pbx.test",)}, HELP)


@by_row(
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
        ("20-01", UserTarget(DASHED)),
        ("sip:20-01@gw.test", UserTarget(DASHED)),
        ("0 49 (30) 123", SipTarget("4930123", trunk="pbx")),
        ("5512", SipTarget("sip:+5512@pbx.test")),
        ("sip:%30%349%30@gw.test", SipTarget("490", trunk="pbx")),
        ("tel:0-49-30", SipTarget("4930", trunk="pbx")),
        ("sip:0-4.9@gw.test", SipTarget("49", trunk="pbx")),
        ("sip:049;phone-context=49@gw.test", SipTarget("49", trunk="pbx")),
        ("sip:55%40evil.test%3b@gw.test", SipTarget("sip:+55%40evil.test;@pbx.test")),
        ("sip:alice:secret@gw.test", UserTarget(ALICE)),
        ("sip:alice;day=tuesday@gw.test", UserTarget(ALICE)),
        ("sip:%61lice@gw.test", UserTarget(ALICE)),
        ("700", UserTarget(ALICE)),
    ],
)
def test_what_is_dialled_goes_where_the_first_matching_row_says(dialled: str, target: object) -> None:
    """Routes in order, then the users."""
    assert router().route(dialled, ANYONE) == target


@by_row(
    ("dialled", "cause"),
    [
        ("carol", Cause.NOT_FOUND),
        ("sip:alice@elsewhere.test", Cause.NOT_FOUND),
        ("701", Cause.NOT_FOUND),
        ("800", Cause.UNAVAILABLE),
        ("0", Cause.NOT_FOUND),
        ("", Cause.NOT_FOUND),
        ("sip:", Cause.NOT_FOUND),
        ("a b c", Cause.NOT_FOUND),
        ("alice\r\nVia: x", Cause.NOT_FOUND),
        ("sip:alice@gw.test>;x", Cause.NOT_FOUND),
        ("9" * 300, Cause.NOT_FOUND),
        ("sip:5512@gw.test@elsewhere.test", Cause.NOT_FOUND),
        ("sip:alice;x@elsewhere.test", Cause.NOT_FOUND),
        ("sip:%00@gw.test", Cause.NOT_FOUND),
        ("sip:alice%0d%0aVia@gw.test", Cause.NOT_FOUND),
        ("sip:%ff@gw.test", Cause.NOT_FOUND),
        ("sip:%2561lice@gw.test", Cause.NOT_FOUND),
    ],
)
def test_what_leads_nowhere_says_why(dialled: str, cause: Cause) -> None:
    """A refusal is a RouteError with the cause the caller is told."""
    with pytest.raises(RouteError) as refusal:
        router().route(dialled, ANYONE)
    assert refusal.value.cause is cause


@by_row("dialled", ["00123", "sip:%300123@gw.test", "tel:0-0123", "sip:0.0123@gw.test", "0 0 1 2 3"])
def test_a_row_that_bars_numbers_is_not_walked_round(dialled: str) -> None:
    """However a number is written, the first row that means it decides (RFC 3261 section 19.1.4)."""
    rows = [Route("00*", "service:barred"), Route("*", "trunk:pbx")]
    barred = Router(Directory(), rows, ["gw.test"], {"pbx": ("pbx.test",)})
    assert barred.route(dialled, ANYONE) == ServiceTarget("barred")


@pytest.mark.parametrize("dialled", ["\u0660\u0660123", "sip:\u0660\u06601@gw.test"])
def test_digits_of_other_scripts_are_not_digits(dialled: str) -> None:
    """Only 0 to 9 are dialled; anything else is a name, escaped on its way out."""
    outward = Router(Directory(), [Route("*", "sip:{user}@pbx.test")], ["gw.test"])
    target = outward.route(dialled, Caller("bob", ("\u0660*",)))
    assert isinstance(target, SipTarget)
    assert target.uri.startswith("sip:%D9%A0%D9%A0")


def test_a_guest_reaches_only_what_guests_may_call() -> None:
    """Dial rules deny by default: what is not allowed is forbidden, even if it exists."""
    guest = Caller("guest", ("600", "601"))
    assert router().route("600", guest) == ServiceTarget("echo")
    for dialled in ("alice", "0123", "1001", "sip:1001@gw.test"):
        with pytest.raises(RouteError) as refusal:
            router().route(dialled, guest)
        assert refusal.value.cause is Cause.FORBIDDEN


@by_row(
    ("dialled", "target"),
    [
        ("0123", SipTarget("123", trunk="pbx", account="sarah")),
        ("sip:2001@pbx.test", SipTarget("2001", trunk="pbx", account="sarah")),
        ("4711", SipTarget("4711", trunk="pbx", account="sarah")),
        ("sip:4711@gw.test", SipTarget("4711", trunk="pbx", account="sarah")),
        ("600", ServiceTarget("echo")),
        ("alice", UserTarget(ALICE)),
    ],
)
def test_an_own_account_takes_what_leads_to_its_trunk_and_what_nobody_here_answers(
    dialled: str, target: object
) -> None:
    """What it may call is for the PBX to say, as far as `may_call` lets the user dial it at all."""
    assert router().route(dialled, Caller("sarah", ("*",), account="pbx")) == target
    with pytest.raises(RouteError) as refusal:
        router().route(dialled, Caller("sarah", ("9*",), account="pbx"))
    assert refusal.value.cause is Cause.FORBIDDEN


@pytest.mark.parametrize(("dialled", "cause"), [("5512", Cause.FORBIDDEN), ("sip:x@elsewhere.test", Cause.NOT_FOUND)])
def test_an_own_account_opens_no_other_way_out(dialled: str, cause: Cause) -> None:
    """Other trunks and other hosts stay what they are for everybody."""
    with pytest.raises(RouteError) as refusal:
        router().route(dialled, Caller("sarah", ("*",), account="pbx"))
    assert refusal.value.cause is cause


@pytest.mark.parametrize("may_call", [("*",), ("*", "0*", "5*", "trunk:*", "sip:*@pbx.test")])
def test_a_trunk_reaches_our_users_but_never_another_trunk(may_call: tuple[str, ...]) -> None:
    """Calls from outside do not leave again on our bill, whatever they may dial."""
    trunk = Caller("trunk:pbx", may_call, transit=False)
    assert router().route("alice", trunk) == UserTarget(ALICE)
    assert router().route("600", trunk) == ServiceTarget("echo")
    for dialled in ("00123", "5512", "sip:2001@pbx.test"):
        with pytest.raises(RouteError) as refusal:
            router().route(dialled, trunk)
        assert refusal.value.cause is Cause.FORBIDDEN


@by_row(
    "may_call",
    [
        ("*",),
        ("**",),
        ("?*",),
        ("sip:*",),
        ("sip:*@*",),
        ("sip:*@*:*",),
        ("sip:*@*:5060",),
        ("1*", "*"),
        ("trunk:other",),
    ],
)
@by_row("dialled", ["0123", "5512", "sip:2001@pbx.test", "sip:2001@pbx.test:5060"])
def test_nobody_calls_out_where_may_call_does_not_say_so(may_call: tuple[str, ...], dialled: str) -> None:
    """Everything of ours is no permission for a paid line: trunks and foreign URIs are denied by default."""
    with pytest.raises(RouteError) as refusal:
        router().route(dialled, Caller("bob", may_call))
    assert refusal.value.cause is Cause.FORBIDDEN


@by_row("may_call", [("s*",), ("*i*",), ("*:*",), ("sip:*@gw.test",), ("*@gw.*",), ("sip:*.test",)])
@by_row("dialled", ["0123", "sip:0123@gw.test", "5512"])
def test_a_pattern_of_names_or_of_our_own_host_is_no_permission_to_call_out(
    may_call: tuple[str, ...], dialled: str
) -> None:
    """Letters are not looked for in `sip:`, and everybody of ours is nobody outside."""
    with pytest.raises(RouteError) as refusal:
        router().route(dialled, Caller("sarah", may_call))
    assert refusal.value.cause is Cause.FORBIDDEN


def test_a_pattern_with_a_host_lets_a_user_call_there() -> None:
    """Any name there, and nothing else."""
    caller = Caller("bob", ("sip:*@pbx.test",))
    assert router().route("sip:2001@pbx.test", caller) == SipTarget("2001", trunk="pbx")
    with pytest.raises(RouteError):
        router().route("sip:0123@gw.test", caller)


@by_row("may_call", [("0*",), ("*", "trunk:pbx"), ("trunk:*",), ("sip:0*",)])
def test_a_pattern_of_numbers_or_of_trunks_lets_a_user_call_out(may_call: tuple[str, ...]) -> None:
    """A number pattern is a permission wherever the number leads, a trunk pattern whatever is dialled."""
    assert router().route("0123", Caller("bob", may_call)) == SipTarget("123", trunk="pbx")


def test_who_may_only_use_a_trunk_reaches_nobody_of_ours() -> None:
    """A permission for a line is none for people."""
    with pytest.raises(RouteError) as refusal:
        router().route("alice", Caller("lift", ("trunk:pbx",)))
    assert refusal.value.cause is Cause.FORBIDDEN


@by_row("dialled", ["sip:2001@pbx.test", "sip:600@pbx.test", "sip:alice@PBX.test;user=phone"])
def test_a_number_of_a_pbx_leads_to_its_trunk_and_to_nobody_of_ours(dialled: str) -> None:
    """Calling back works, and a PBX's 600 is not our echo."""
    user = dialled.partition(":")[2].partition("@")[0]
    assert router().route(dialled, Caller("bob", ("*", "trunk:pbx"))) == SipTarget(user, trunk="pbx")


PLACES = {"pbx": ("10.99.0.10:5060", "10.99.0.11"), "tls": ("[2001:db8::1]",), "odd": ("10.99.0.12:5070",)}
NUMBERS = (Route("3*", "trunk:odd", strip=1), Route("600", "service:echo"), Route("*", "user:alice"))


@by_row(
    ("dialled", "target"),
    [
        ("sip:3601@10.99.0.10", SipTarget("3601", trunk="pbx")),
        ("sip:3601@10.99.0.10:5060", SipTarget("3601", trunk="pbx")),
        ("sip:3601@10.99.0.10:5061;transport=tls", SipTarget("3601", trunk="pbx")),
        ("sip:3601@10.99.0.11:5060", SipTarget("3601", trunk="pbx")),
        ("sips:3601@[2001:DB8::1]:5061", SipTarget("3601", trunk="tls")),
        ("sip:3601@10.99.0.12:5070", SipTarget("3601", trunk="odd")),
        ("sip:3601@10.99.0.12", SipTarget("3601", trunk="odd")),
        ("sip:3601@10.99.0.12:5060", None),
        ("sip:3601@010.099.000.012:05070", SipTarget("3601", trunk="odd")),
        ("sip:3601@10.99.0.10.", SipTarget("3601", trunk="pbx")),
        ("sip:3601@[2001:db8:0::0.0.0.1]", SipTarget("3601", trunk="tls")),
        ("sip:3601@[2001:0DB8:0:0::0001]:5061", SipTarget("3601", trunk="tls")),
        ("sip:3601@[2001:db8::1]:5070", None),
        ("sip:3601@[::ffff:10.99.0.10]", SipTarget("3601", trunk="pbx")),
        ("sip:600@gw.test.", ServiceTarget("echo")),
        ("sip:600@[2001:db8::7]", SipTarget("sip:600@[2001:db8::7]")),
        ("sip:600@[2001:DB8:0::7]:5070", SipTarget("sip:600@[2001:db8::7]:5070")),
        ("sip:600@[2001:db8::8]", None),
        ("sip:600@2", None),
        ("sip:3601@10.99.0.10:5070", None),
        ("sip:600@elsewhere.example", None),
        ("sip:600@friends.example", SipTarget("sip:600@friends.example")),
        ("sip:3601@friends.example;transport=tcp", SipTarget("sip:3601@friends.example")),
        ("sip:600@gw.test:5060", ServiceTarget("echo")),
        ("sip:3601@gw.test", SipTarget("601", trunk="odd")),
        ("3601", SipTarget("601", trunk="odd")),
        ("tel:3601", SipTarget("601", trunk="odd")),
        ("sip:9@gw.test", UserTarget(ALICE)),
    ],
)
def test_the_host_of_a_uri_decides_before_the_number_plan(dialled: str, target: object) -> None:
    """A foreign host is its trunk's, a domain's that may_call names, or nobody's; numbers are for our own domain."""
    plan = Router(Directory(), NUMBERS, ["gw.test"], PLACES)
    six = ("sip:*@[2001:DB8:0::7]", "sip:*@[2001:db8::7]:*")
    caller = Caller("bob", ("*", "trunk:*", "sip:*@friends.example", *six))
    if target is None:
        with pytest.raises(RouteError) as refusal:
            plan.route(dialled, caller)
        assert refusal.value.cause is Cause.NOT_FOUND
    else:
        assert plan.route(dialled, caller) == target


@by_row(
    "may_call", [("*",), ("6*",), ("sip:*",), ("sip:*@*",), ("sip:*@*:*",), ("*@*:5060",), ("*@*.*",), ("trunk:*",)]
)
def test_a_foreign_domain_needs_a_pattern_that_names_it(may_call: tuple[str, ...]) -> None:
    """A pattern of numbers is no permission to call a stranger's server, nor is one of ports."""
    for place in ("elsewhere.example", "elsewhere.example:5060"):
        with pytest.raises(RouteError):
            router().route(f"sip:600@{place}", Caller("bob", may_call))


def test_a_row_with_a_host_is_for_that_host() -> None:
    """Such a row comes before the trunk of the host, as rows come before everything."""
    rows = [Route("sip:600@*", "service:echo"), Route("sip:7*@pbx.test", "user:alice")]
    plan = Router(Directory(), rows, ["gw.test"], {"pbx": ("pbx.test",)})
    assert plan.route("sip:600@elsewhere.example", ANYONE) == ServiceTarget("echo")
    assert plan.route("sip:71@pbx.test:5060", ANYONE) == UserTarget(ALICE)


class Addresses:
    """A name server that has answered for some names, and answers for others once they are asked for."""

    def __init__(self) -> None:
        self.last: dict[str, Sequence[str]] = {
            "sbc.example": ("10.99.1.1", "2001:db8::a"),
            "own.example": ("10.99.0.1",),
        }
        self.coming = {"pbx.local": ("10.99.0.10",), "stranger.example": ("192.0.2.7",)}

    def last_addresses(self, host: str) -> Sequence[str]:
        return self.last.get(host, ())

    async def look_up(self, host: str) -> None:
        self.last.setdefault(host, self.coming.get(host, ()))


KNOWN = {
    "pbx": TrunkHosts(("10.99.0.10",)),
    "line": TrunkHosts(("sbc.example:5080",), (ip_network("10.99.2.0/24"), ip_network("2001:db8:2::/64"))),
}


@by_row(
    ("dialled", "trunk"),
    [
        ("sip:3601@10.99.1.1", "line"),
        ("sip:3601@10.99.1.1:5080", "line"),
        ("sip:3601@[2001:DB8::A]:5080", "line"),
        ("sip:3601@10.99.1.1:5090", None),
        ("sip:3601@10.99.2.7", "line"),
        ("sip:3601@10.99.2.7:5060", "line"),
        ("sip:3601@10.99.2.7:5080", "line"),
        ("sip:3601@10.99.2.7:5090", None),
        ("sip:3601@[2001:db8:2::9]", "line"),
        ("sip:3601@10.99.3.7", None),
        ("sip:3601@pbx.local", "pbx"),
        ("sip:3601@PBX.local.:5060", "pbx"),
        ("sip:3601@pbx.local:5070", None),
        ("sip:3601@stranger.example", None),
        ("sip:3601@unknown.example", None),
        ("sip:3601@own.example", None),
    ],
)
async def test_a_trunk_is_known_by_its_addresses_and_names(dialled: str, trunk: str | None) -> None:
    """By `sources`, by what its own name was resolved to, and by other names of its address."""
    own = ["gw.test", "10.99.0.1"]
    trunks = TrunkPlaces({**KNOWN, "mine": TrunkHosts(("10.99.0.1",))}, Addresses())
    plan = Router(Directory(), NUMBERS, own, trunks)
    caller = Caller("bob", ("*", "trunk:*"))
    await plan.learn(dialled)
    if trunk is None:
        with pytest.raises(RouteError) as refusal:
            plan.route(dialled, caller)
        assert refusal.value.cause is Cause.NOT_FOUND
    else:
        assert plan.route(dialled, caller) == SipTarget("3601", trunk=trunk)
    with pytest.raises(RouteError):  # the right to call everybody of ours is none to call a trunk
        plan.route(dialled, Caller("bob", ("*", "trunk:pbx" if trunk == "line" else "trunk:line")))


def test_a_right_to_call_a_host_is_none_to_call_its_trunk() -> None:
    """A host that is known by its address alone is called itself, where a pattern names it."""
    plan = Router(Directory(), NUMBERS, ["gw.test"], TrunkPlaces(KNOWN, Addresses()))
    caller = Caller("bob", ("*", "sip:*@10.99.2.7"))
    assert plan.route("sip:3601@10.99.2.7", caller) == SipTarget("sip:3601@10.99.2.7")


def test_a_trunk_on_our_own_host_takes_nothing_that_is_ours() -> None:
    """A PBX on the same address has another port; what names ours is ours."""
    local = Router(Directory(), ROUTES, ["gw.test"], {"pbx": ("gw.test:5070",), "odd": ("gw.test",)})
    everything = Caller("bob", ("*", "trunk:*"))
    assert local.route("sip:alice@gw.test", everything) == UserTarget(ALICE)
    assert local.route("sip:alice@gw.test:5060", everything) == UserTarget(ALICE)
    assert local.route("sip:alice@gw.test:5070", everything) == SipTarget("alice", trunk="pbx")


HELP_AS_WRITTEN = (
    *("112", "1 1 2", "1-1-2", "tel:112", "sip:112", "sip:112@gw.test", "sip:112@GW.TEST:5060", "sips:112@gw.test"),
    *("sip:1%312@gw.test", "sip:112;phone-context=49@gw.test", "sip:112;user=phone@gw.test"),
)


@by_row("caller", [Caller("guest", ("600",), guest=True), Caller("bob", ())])
@by_row("dialled", HELP_AS_WRITTEN)
def test_anybody_may_call_for_help(caller: Caller, dialled: str) -> None:
    """Emergency numbers are before every right, and their call is marked."""
    assert router().is_emergency(dialled)
    assert router().route(dialled, caller) == SipTarget("112", trunk="pbx", emergency=True)


@by_row("dialled", ["600", "1123", "sip:112@pbx.test", "sip:x@gw.test?to=112", "", "sip:", "112 112"])
def test_other_numbers_are_no_calls_for_help(dialled: str) -> None:
    """Nor is what is no number at all, or somebody else's number."""
    assert not router().is_emergency(dialled)


def test_a_stranger_from_a_trunk_cannot_use_our_line_for_emergency_calls() -> None:
    """What comes in does not go out, not even there."""
    with pytest.raises(RouteError):
        router().route("112", Caller("trunk:pbx", ("*",), transit=False))


def test_an_emergency_number_without_a_trunk_leads_where_a_route_does() -> None:
    """Whatever its caller may dial; where no route is, to nobody."""
    emergency = Emergency(numbers=frozenset({"112", "0911"}))
    without = Router(Directory(), ROUTES, ["gw.test"], {"pbx": ("pbx.test",)}, emergency)
    assert without.is_emergency("112")
    with pytest.raises(RouteError) as refusal:
        without.route("112", ANYONE)
    assert refusal.value.cause is Cause.NOT_FOUND
    found = without.route("0911", Caller("nobody", ()))
    assert found == SipTarget("911", trunk="pbx", emergency=True)


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


def test_a_refusal_waits_for_no_collector() -> None:
    """Its traceback, and with that what whoever dialled had in hand, is in no circle."""
    gc.disable()
    try:
        with pytest.raises(RouteError) as refusal:
            router().route("999", ANYONE)
        gone = weakref.ref(refusal.value)
        del refusal
        assert gone() is None
    finally:
        gc.enable()
