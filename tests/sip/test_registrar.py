"""The registrar's decisions: what a REGISTER adds, refreshes, removes, lists and is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity.model import Binding
from gateway.sip.errors import SipSyntaxError
from gateway.sip.message import build
from gateway.sip.message.build import Refusal
from gateway.sip.message.message import Request, Response
from gateway.sip.message.parser import parse_message
from gateway.sip.registration import registrar
from gateway.sip.registration.registrar import (
    OVERFLOW_REFUSE,
    Changes,
    RegistrarPolicy,
    aor_of,
    ok_fields,
)
from tests.rows import by_row

POLICY = RegistrarPolicy()
NOW = 1000.0


def decide(
    request: Request, current: Sequence[Binding], policy: RegistrarPolicy, now: float, received: str | None = None
) -> Changes[Binding] | Refusal:
    """The decision about the identity room's own bindings."""
    return registrar.decide(request, current, policy, now, make=Binding, received=received)


def register(
    *contacts: str, cseq: int = 1, call_id: str = "c1", to: str = "<sip:alice@gw.example>", extra: str = ""
) -> Request:
    lines = [
        "REGISTER sip:gw.example SIP/2.0",
        "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1",
        "From: <sip:alice@gw.example>;tag=1",
        f"To: {to}",
        f"Call-ID: {call_id}",
        f"CSeq: {cseq} REGISTER",
        *[f"Contact: {contact}" for contact in contacts],
        *([extra] if extra else []),
    ]
    message = parse_message(("\r\n".join(lines) + "\r\n\r\n").encode())
    assert isinstance(message, Request)
    return message


def good(outcome: Changes[Binding] | Refusal) -> Changes[Binding]:
    assert isinstance(outcome, Changes), outcome
    return outcome


def refused(outcome: Changes[Binding] | Refusal) -> int:
    assert isinstance(outcome, Refusal), outcome
    return outcome.status


def uris(bindings: tuple[Binding, ...]) -> list[str]:
    return [binding.contact for binding in bindings]


PHONE = good(decide(register("<sip:alice@192.0.2.1>;q=0.5;expires=600"), (), POLICY, NOW)).after


def test_a_contact_is_added_with_all_that_is_known_of_it() -> None:
    """URI, end, Call-ID, CSeq, q, instance, reg-id, Path, source and product go into the binding."""
    extra = "Path: <sip:p1;lr>, <sip:p2;lr;ob>\r\nUser-Agent: Desk/1\r\nSupported: outbound"
    contact = '<sip:alice@192.0.2.1:5062;transport=tcp>;q=0.5;expires=600;+sip.instance="<urn:uuid:1>";reg-id=2'
    changes = good(decide(register(contact, cseq=7, extra=extra), (), POLICY, NOW, "tcp:192.0.2.1:40000"))
    assert (
        changes.put
        == changes.after
        == (
            Binding(
                "sip:alice@gw.example",
                "sip:alice@192.0.2.1:5062;transport=tcp",
                NOW + 600,
                "c1",
                7,
                0.5,
                "urn:uuid:1",
                2,
                ("<sip:p1;lr>", "<sip:p2;lr;ob>"),
                "tcp:192.0.2.1:40000",
                "Desk/1",
            ),
        )
    )
    assert changes.removed == ()
    assert not changes.is_query


@by_row(
    ("contact", "extra", "seconds"),
    [
        ("<sip:a@h>;expires=600", "Expires: 900", 600),
        ("<sip:a@h>", "Expires: 900", 900),
        ("<sip:a@h>", "", 3600),
        ("<sip:a@h>;expires=soon", "", 3600),
        ("<sip:a@h>;expires=999999", "", 7200),
        ("<sip:a@h>;expires=" + "9" * 60, "", 7200),
        ("<sip:a@h>;expires=60", "", 60),
    ],
)
def test_the_time_is_the_contacts_then_the_requests_then_ours(contact: str, extra: str, seconds: int) -> None:
    """RFC 3261 10.3 step 6, within the policy's bounds."""
    assert good(decide(register(contact, extra=extra), (), POLICY, NOW)).after[0].expires_at == NOW + seconds


@pytest.mark.parametrize("seconds", [1, 59])
def test_too_brief_is_423_with_our_minimum(seconds: int) -> None:
    """RFC 3261 10.3 step 6."""
    outcome = decide(register(f"<sip:a@h>;expires={seconds}"), (), POLICY, NOW)
    assert outcome == Refusal(423, headers=(("Min-Expires", 60),))


def test_a_register_without_contact_is_a_query() -> None:
    """Nothing changes, all live bindings are listed."""
    changes = good(decide(register(), PHONE, POLICY, NOW))
    assert changes.is_query
    assert changes.after == PHONE
    assert good(decide(register(), PHONE, POLICY, NOW + 600)).after == ()


def test_the_same_contact_is_refreshed() -> None:
    """Equivalent URIs are one binding (RFC 3261 10.3 step 7)."""
    changes = good(decide(register("<sip:alice@192.0.2.1;x=1>", cseq=2), PHONE, POLICY, NOW + 100))
    assert len(changes.after) == 1
    assert changes.after[0].expires_at == NOW + 3700
    same = good(decide(register("<sip:%61lice@192.0.2.1>;expires=60", cseq=2), PHONE, POLICY, NOW))
    assert len(same.after) == 1


def test_expires_0_removes_one_contact() -> None:
    """The named binding goes, others stay; one that is not there is no error."""
    two = good(decide(register("<sip:alice@192.0.2.2>", cseq=2), PHONE, POLICY, NOW)).after
    changes = good(decide(register("<sip:alice@192.0.2.1>;expires=0", cseq=3), two, POLICY, NOW))
    assert (uris(changes.removed), uris(changes.after)) == (["sip:alice@192.0.2.1"], ["sip:alice@192.0.2.2"])
    nothing = good(decide(register("<sip:x@192.0.2.9>;expires=0"), two, POLICY, NOW))
    assert nothing.is_query


def test_star_removes_all() -> None:
    """`Contact: *` with Expires: 0 and nothing else (RFC 3261 10.2.2)."""
    two = good(decide(register("<sip:alice@192.0.2.2>", cseq=2), PHONE, POLICY, NOW)).after
    changes = good(decide(register("*", cseq=3, extra="Expires: 0"), two, POLICY, NOW))
    assert changes.after == ()
    assert len(changes.removed) == 2


def test_star_with_anything_else_is_400() -> None:
    """RFC 3261 10.3 step 6: another contact or another time."""
    assert refused(decide(register("*"), PHONE, POLICY, NOW)) == 400
    assert refused(decide(register("*", extra="Expires: 5"), PHONE, POLICY, NOW)) == 400
    for contacts in (("*", "<sip:a@h>"), ("*;expires=0",), ("<sip:a@h>, *",)):
        with pytest.raises(SipSyntaxError):
            decide(register(*contacts, extra="Expires: 0"), PHONE, POLICY, NOW)


def test_numbers_must_rise_within_one_call_id() -> None:
    """A late or replayed REGISTER changes nothing (RFC 3261 10.3 step 7); a new Call-ID is a restart."""
    assert refused(decide(register("<sip:alice@192.0.2.1>", cseq=1), PHONE, POLICY, NOW)) == 500
    assert refused(decide(register("<sip:alice@192.0.2.1>;expires=0", cseq=1), PHONE, POLICY, NOW)) == 500
    assert refused(decide(register("*", cseq=1, extra="Expires: 0"), PHONE, POLICY, NOW)) == 500
    good(decide(register("<sip:alice@192.0.2.1>", cseq=1, call_id="c2"), PHONE, POLICY, NOW))


def test_a_contact_that_is_named_twice_in_one_request_stands_once() -> None:
    """As the last says; its own number is no lower than itself."""
    twice = register("<sip:alice@192.0.2.1>;expires=60", "<sip:%61lice@192.0.2.1>;expires=90", cseq=2)
    for known in ((), PHONE):
        changes = good(decide(twice, known, POLICY, NOW))
        assert [binding.expires_at for binding in changes.after] == [NOW + 90]
        assert changes.put == changes.after
    gone = register("<sip:alice@192.0.2.1>", "<sip:alice@192.0.2.1>;expires=0", cseq=2)
    assert good(decide(gone, PHONE, POLICY, NOW)).after == ()


def test_a_flow_that_comes_back_replaces_its_old_contact() -> None:
    """Same instance and reg-id, other URI: one binding (RFC 5626 section 6), so reloads leave nothing behind."""
    tail = ';+sip.instance="<urn:uuid:1>";reg-id=1'
    knows = "Supported: path, Outbound"
    old = good(decide(register(f"<sip:a1@h.invalid>{tail}", extra=knows), (), POLICY, NOW)).after
    again = register(f"<sip:a2@h.invalid>{tail}", call_id="c2", extra=knows)
    changes = good(decide(again, old, POLICY, NOW + 1))
    assert (uris(changes.removed), uris(changes.after)) == (["sip:a1@h.invalid"], ["sip:a2@h.invalid"])
    second = register(f"<sip:a3@h.invalid>{tail[:-1]}2", call_id="c3", extra=knows)
    assert len(good(decide(second, old, POLICY, NOW + 1)).after) == 2


def test_two_contacts_of_one_instance_without_reg_id_stay_two() -> None:
    """Only instance and reg-id together are a flow."""
    tail = ';+sip.instance="<urn:uuid:1>"'
    two = register(f"<sip:a@192.0.2.1>{tail}", f"<sip:a@192.0.2.1;transport=tcp>{tail}", extra="Supported: outbound")
    assert len(good(decide(two, (), POLICY, NOW)).after) == 2


def test_reg_id_counts_only_with_supported_outbound() -> None:
    """Who does not know RFC 5626 means nothing by it (section 6): the older contact stays."""
    tail = ';+sip.instance="<urn:uuid:1>";reg-id=1'
    old = good(decide(register(f"<sip:a1@h.invalid>{tail}"), (), POLICY, NOW)).after
    assert old[0].reg_id is None
    changes = good(decide(register(f"<sip:a2@h.invalid>{tail}", call_id="c2"), old, POLICY, NOW))
    assert len(changes.after) == 2


def test_flows_of_one_device_may_share_a_uri() -> None:
    """What names a flow is instance and reg-id (RFC 5626 section 6); without reg-id the URI counts, for all of them."""
    tail, knows = ';+sip.instance="<urn:uuid:1>"', "Supported: outbound"
    first = good(decide(register(f"<sip:a@h.invalid>{tail};reg-id=1", extra=knows), (), POLICY, NOW)).after
    second = register(f"<sip:a@h.invalid>{tail};reg-id=2", call_id="c2", extra=knows)
    both = good(decide(second, first, POLICY, NOW)).after
    assert [(one.contact, one.reg_id) for one in both] == [("sip:a@h.invalid", 1), ("sip:a@h.invalid", 2)]
    gone = register(f"<sip:a@h.invalid>{tail};reg-id=1;expires=0", call_id="c1", cseq=2, extra=knows)
    assert [one.reg_id for one in good(decide(gone, both, POLICY, NOW)).after] == [2]
    plain = good(decide(register("<sip:a@h.invalid>", call_id="c3"), both, POLICY, NOW))
    assert ([one.reg_id for one in plain.removed], [one.reg_id for one in plain.after]) == ([1, 2], [None])


@by_row(
    ("hops", "reg_id", "timer"),
    [
        ("", 1, "90"),
        ("Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK9", None, None),
        ("Path: <sip:edge.example;lr>", None, None),
        ("Path: <sip:edge.example;lr;ob>", 1, None),
        ("Path: <sip:inner.example;lr>, <sip:edge.example;lr;ob>", 1, None),
        ("Path: <sip:inner.example;lr;ob>, <sip:edge.example;lr>", None, None),
    ],
)
def test_a_flow_needs_a_first_hop_that_knows_it(hops: str, reg_id: int | None, timer: str | None) -> None:
    """We are the first hop, or an edge proxy that says `ob`; only who is connected to us is told how to keep alive."""
    extra = "Supported: outbound" + (f"\r\n{hops}" if hops else "")
    request = register('<sip:a@h.invalid>;+sip.instance="<urn:uuid:1>";reg-id=1', extra=extra)
    after = good(decide(request, (), POLICY, NOW)).after
    assert after[0].reg_id == reg_id
    said = dict(ok_fields(request, after, NOW, flow_timer=90))
    assert said.get("Flow-Timer") == timer
    assert said.get("Require") == ("outbound" if reg_id else None)


def test_reg_id_without_instance_means_nothing() -> None:
    """RFC 5626 4.2."""
    assert good(decide(register("<sip:a@h>;reg-id=1"), (), POLICY, NOW)).after[0].reg_id is None


def test_one_contact_too_many_drops_the_stalest_or_is_refused() -> None:
    """The policy decides; what this request brings is never what is dropped."""
    policy = RegistrarPolicy(max_contacts=2)
    bindings: tuple[Binding, ...] = ()
    for index in range(3):
        bindings = good(decide(register(f"<sip:a{index}@h>", cseq=index + 1), bindings, policy, NOW + index)).after
    assert uris(bindings) == ["sip:a1@h", "sip:a2@h"]
    strict = replace(policy, overflow=OVERFLOW_REFUSE)
    assert refused(decide(register("<sip:a9@h>", cseq=9), bindings, strict, NOW)) == 403
    assert refused(decide(register("<sip:1@h>", "<sip:2@h>", "<sip:3@h>"), (), policy, NOW)) == 403
    many = [f"<sip:{index}@h>" for index in range(50)]
    assert refused(decide(register(*many), (), policy, NOW)) == 403


def test_a_refused_register_changes_nothing() -> None:
    """A bad contact among good ones refuses all of them."""
    assert refused(decide(register("<sip:a@h>", "<sip:b@h>;expires=5"), (), POLICY, NOW)) == 423
    with pytest.raises(SipSyntaxError):
        decide(register("<sip:a@h>", "<sip:b@h"), (), POLICY, NOW)


@by_row(
    ("written", "q"),
    [(".5", 0.5), ("0.", 0.0), ("1.0000", 1.0), ("7", 1.0), ("much", 1.0), ("-1", 1.0)],
)
def test_a_preference_is_read_however_it_is_written(written: str, q: float) -> None:
    """q decides the order of phones alone: one that cannot be read counts as absent."""
    changes = good(decide(register(f"<sip:a@h>;q={written}"), (), POLICY, NOW))
    assert [binding.q for binding in changes.put] == [q]


@by_row(
    ("to", "status"),
    [("<tel:+1>", 404), ("<sip:gw.example>", 404), ("<sip:alice@else.example>", 404), ("isbn:2983792873", 404)],
)
def test_an_address_that_is_not_served_is_404(to: str, status: int) -> None:
    """No user, another domain, another scheme (RFC 3261 10.3 step 5)."""
    policy = RegistrarPolicy(domains=frozenset(("gw.example",)))
    assert refused(decide(register("<sip:a@h>", to=to), (), policy, NOW)) == status
    assert aor_of(register(to="<sips:%61lice@GW.example:5061>"), policy) == "sip:alice@gw.example"


@by_row("contact", ["<tel:+1>", "<name:John_Smith>", "<http://h/>"])
def test_a_contact_that_no_call_reaches_is_400(contact: str) -> None:
    """Only schemes of the policy are stored."""
    assert refused(decide(register(contact), (), POLICY, NOW)) == 400


def test_a_contact_that_points_here_is_403() -> None:
    """It would make the gateway call itself for ever."""
    policy = RegistrarPolicy(own=frozenset((("192.0.2.100", 5060),)))
    assert refused(decide(register("<sip:x@192.0.2.100>"), (), policy, NOW)) == 403
    good(decide(register("<sip:x@192.0.2.100:5062>"), (), policy, NOW))


def answered(request: Request, after: Sequence[Binding], now: float) -> Response:
    return build.response(request, 200, to_tag="t1", headers=ok_fields(request, after, now))


def test_the_200_lists_live_bindings_with_the_time_left() -> None:
    """Contact, q, expires, instance and reg-id; what has expired is not there."""
    tail = ';+sip.instance="<urn:uuid:1>";reg-id=1;expires=120'
    knows = "Supported: outbound"
    after = good(decide(register(f"<sip:b@h;x=1>{tail}", cseq=2, extra=knows), PHONE, POLICY, NOW)).after
    request = register(extra="Supported: path, outbound\r\nPath: <sip:p;lr>")
    answer = parse_message(answered(request, after, NOW + 20.4).write())
    first, second = answer.contacts
    assert (str(first.uri), first.q, first.expires) == ("sip:alice@192.0.2.1", 0.5, 580)
    assert (str(second.uri), second.q, second.expires) == ("sip:b@h;x=1", 1.0, 100)
    assert (second.instance, second.reg_id) == ("urn:uuid:1", 1)
    assert answer.require == ("outbound",)
    assert [str(hop.uri) for hop in answer.path] == ["sip:p;lr"]
    assert len(answered(request, after, NOW + 130).contacts) == 1
    assert "Path" not in answered(register(), after, NOW).headers


CONTACTS = st.sampled_from(
    ["<sip:a@h>", "<sip:b@h>;expires=0", "<sip:c@h>;q=0.1", "<sip:a@h;x=1>;expires=100", "*", "<tel:+1>", "x", ""]
)


@given(st.lists(st.tuples(st.lists(CONTACTS, max_size=3), st.integers(1, 5), st.booleans()), max_size=10))
def test_any_order_of_requests_leaves_sane_bindings(steps: list[tuple[list[str], int, bool]]) -> None:
    """Bindings never exceed the cap, never hold two equivalent contacts, and every refusal leaves them alone."""
    policy = RegistrarPolicy(max_contacts=2)
    bindings: tuple[Binding, ...] = ()
    for contacts, cseq, zero in steps:
        try:
            outcome = decide(register(*contacts, cseq=cseq, extra="Expires: 0" if zero else ""), bindings, policy, NOW)
        except SipSyntaxError:
            continue
        if isinstance(outcome, Changes):
            bindings = outcome.after
        assert len(bindings) <= 2
        assert len({binding.contact.partition(";")[0] for binding in bindings}) == len(bindings)
