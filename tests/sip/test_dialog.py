"""Dialogs: how they are made, what they send, what they take, and how forks are kept apart."""

from __future__ import annotations

import json
from itertools import count

import pytest

from gateway.sip.dialogs.dialog import MAX_CSEQ, Dialog, DialogId, DialogState
from gateway.sip.dialogs.forks import ForkedDialogs
from gateway.sip.dialogs.table import DialogTable
from gateway.sip.dialogs.values import dialog_of, values_of
from gateway.sip.errors import DialogError
from gateway.sip.flow import Flow
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request, Response
from gateway.sip.message.uri import Uri
from gateway.sip.requests.server import ServerRequest
from tests.rows import by_row

ALICE = NameAddr(Uri.of("alice", "a.example"))
BOB = NameAddr(Uri.of("bob", "b.example"))
ALICE_CONTACT = NameAddr(Uri.of("alice", "192.0.2.1"))
BOB_CONTACT = NameAddr(Uri.of("bob", "192.0.2.2"))


def invite(cseq: int = 5, *, contact: NameAddr | None = ALICE_CONTACT, routes: tuple[str, ...] = ()) -> Request:
    return build.request(
        "INVITE",
        BOB.uri,
        from_=ALICE.with_tag("a1"),
        to=BOB,
        call_id="call-1",
        cseq=cseq,
        contact=contact,
        headers=[("Record-Route", route) for route in routes],
    )


def answer(
    request: Request, status: int = 200, tag: str | None = "b1", contact: NameAddr | None = BOB_CONTACT
) -> Response:
    return build.response(request, status, to_tag=tag, contact=contact)


def pair(*routes: str) -> tuple[Dialog, Dialog]:
    """The two sides of one confirmed dialog; `routes` as Record-Route of the INVITE at the callee."""
    request = invite(routes=routes)
    response = answer(request)
    caller, callee = Dialog.of_uac(request, response), Dialog.of_uas(request, "b1", BOB_CONTACT)
    callee.confirm()
    return caller, callee


def called(call_id: str) -> Dialog:
    """The called side of the dialog of that Call-ID."""
    dialog = Dialog.of_uas(invite().with_header("Call-ID", call_id), "b1", BOB_CONTACT)
    dialog.confirm()
    return dialog


def in_dialog(sender: Dialog, method: str = "INFO", cseq: int | None = None) -> Request:
    if cseq is not None:
        sender.local_cseq = cseq - 1
    return sender.request(method)


def test_both_sides_make_the_same_dialog() -> None:
    """Call-ID and tags mirror each other, the remote targets are the Contacts (RFC 3261 12.1)."""
    caller, callee = pair()
    assert caller.id == DialogId("call-1", "a1", "b1")
    assert callee.id == DialogId("call-1", "b1", "a1")
    assert (caller.remote_target, callee.remote_target) == (BOB_CONTACT.uri, ALICE_CONTACT.uri)
    assert (caller.is_initiator, callee.is_initiator) == (True, False)
    assert (caller.local_cseq, caller.remote_cseq, callee.local_cseq, callee.remote_cseq) == (5, None, None, 5)
    assert caller.state is callee.state is DialogState.CONFIRMED
    assert "a1" not in repr(caller)


def test_the_route_set_is_reversed_at_the_caller() -> None:
    """RFC 3261 12.1.1 and 12.1.2."""
    caller, callee = pair("<sip:p2;lr>", "<sip:p1;lr>")
    assert [str(hop.uri) for hop in caller.route_set] == ["sip:p1;lr", "sip:p2;lr"]
    assert [str(hop.uri) for hop in callee.route_set] == ["sip:p2;lr", "sip:p1;lr"]


def test_loose_routes_leave_the_target_in_the_request_uri() -> None:
    """RFC 3261 12.2.1.1, first route with lr."""
    caller, _ = pair("<sip:p2;lr>", "<sip:p1;lr>")
    bye = caller.request("BYE")
    assert bye.uri == BOB_CONTACT.uri
    assert [str(hop.uri) for hop in bye.route] == ["sip:p1;lr", "sip:p2;lr"]
    assert str(caller.next_hop) == "sip:p1;lr"


def test_a_strict_first_route_goes_into_the_request_uri() -> None:
    """RFC 3261 12.2.1.1, first route without lr: the target moves to the end of Route."""
    caller, _ = pair("<sip:p2;lr>", "<sip:p1;method=INVITE?x=y>")
    bye = caller.request("BYE")
    assert str(bye.uri) == "sip:p1"
    assert [str(hop.uri) for hop in bye.route] == ["sip:p2;lr", str(BOB_CONTACT.uri)]


def test_without_routes_the_target_is_the_next_hop() -> None:
    """No Record-Route, no Route."""
    caller, _ = pair()
    assert caller.request("BYE").route == ()
    assert caller.next_hop == BOB_CONTACT.uri


def test_cseq_rises_by_one_and_the_ack_keeps_its_own() -> None:
    """RFC 3261 12.2.1.1 and 13.2.2.4."""
    caller, callee = pair()
    assert [caller.request("INFO").cseq.number for _ in range(3)] == [6, 7, 8]
    ack = caller.ack(5, headers=[("Authorization", "Digest x=1")])
    assert (ack.cseq.number, ack.cseq.method, ack.method) == (5, "ACK", "ACK")
    assert ack.headers.get("Authorization") == "Digest x=1"
    assert callee.request("BYE").cseq.number == 1
    for method in ("ACK", "CANCEL"):
        with pytest.raises(DialogError):
            caller.request(method)
    caller.local_cseq = MAX_CSEQ
    with pytest.raises(DialogError):
        caller.request("INFO")


def test_a_target_refresh_request_carries_our_contact() -> None:
    """INVITE and UPDATE have a Contact, BYE and INFO need none."""
    caller, _ = pair()
    assert caller.request("UPDATE").contact == ALICE_CONTACT
    assert caller.request("INFO").contact is None


def test_requests_of_one_side_are_taken_by_the_other() -> None:
    """What a dialog sends names its peer's dialog, and nobody else's."""
    caller, callee = pair()
    request = in_dialog(caller)
    assert DialogId.of_request(request) == callee.id != caller.id
    callee.receive(request)


def test_a_number_that_does_not_rise_is_refused_with_500() -> None:
    """RFC 3261 12.2.2; gaps are lawful, ACK and CANCEL carry their INVITE's."""
    caller, callee = pair()
    callee.receive(in_dialog(caller, cseq=90))
    for old in (90, 89, 5, 1):
        with pytest.raises(DialogError) as caught:
            callee.receive(in_dialog(caller, cseq=old))
        assert caught.value.status == 500
    callee.receive(caller.ack(5))
    callee.receive(in_dialog(caller, cseq=91))
    assert callee.remote_cseq == 91
    assert caller.remote_cseq is None
    caller.receive(callee.request("INFO"))
    assert caller.remote_cseq == 1


def test_a_dialog_that_is_over_takes_and_sends_nothing() -> None:
    """481 for what still comes."""
    caller, callee = pair()
    request = caller.request("INFO")
    caller.terminate()
    callee.terminate()
    with pytest.raises(DialogError) as caught:
        callee.receive(request)
    assert caught.value.status == 481
    with pytest.raises(DialogError):
        caller.request("BYE")
    with pytest.raises(DialogError):
        caller.confirm()


def test_whoever_wants_to_know_is_told_once_of_its_end() -> None:
    """The last who has asked; one that is over tells nobody."""
    told: list[str] = []
    dialog = pair()[0]
    assert dialog.when_over(lambda: told.append("first"))
    assert dialog.when_over(lambda: told.append("second"))
    assert told == []
    dialog.terminate()
    dialog.terminate()
    assert told == ["second"]
    assert not dialog.when_over(lambda: told.append("late"))


def test_a_refresh_moves_the_target_and_a_bad_one_does_not() -> None:
    """The Contact of a target refresh counts (RFC 6141 section 4), a missing or foreign one changes nothing."""
    caller, callee = pair()
    update = caller.request("UPDATE").with_header("Contact", "<sip:alice@192.0.2.9>")
    callee.refresh_target(update)
    assert str(callee.remote_target) == "sip:alice@192.0.2.9"
    callee.refresh_target(update.with_header("Contact"))
    callee.refresh_target(update.with_header("Contact", "<tel:+1>"))
    assert str(callee.remote_target) == "sip:alice@192.0.2.9"


@by_row("contact", ["", "*", "<tel:+1>", "<sip:a@b>, <sip:c@d>"])
def test_an_invite_without_one_sip_contact_makes_no_dialog(contact: str) -> None:
    """There is nowhere to send requests to (RFC 3261 12.1.1): 400."""
    request = invite(contact=None)
    with pytest.raises(DialogError) as caught:
        Dialog.of_uas(request.with_header("Contact", contact) if contact else request, "b1")
    assert caught.value.status == 400


@pytest.mark.parametrize("route", ["<tel:+1>", "<http://p>", "<sip:p;lr>, <tel:+1>"])
def test_an_invite_with_a_route_that_names_no_place_makes_no_dialog(route: str) -> None:
    """Requests of the dialog would have to go there (RFC 3261 12.1.1): 400."""
    with pytest.raises(DialogError) as caught:
        Dialog.of_uas(invite(routes=(route,)), "b1")
    assert caught.value.status == 400


def test_an_early_dialog_by_the_flow_takes_the_way_of_a_later_1xx() -> None:
    """The first had no Contact; one without after it changes nothing."""
    request = invite()
    forked = ForkedDialogs(request)
    early = forked.receive(answer(request, 180, "b1", None), Flow("udp", "192.0.2.9", 5060))
    assert early is not None
    assert (early.is_by_flow, early.remote_target) == (True, BOB.uri)
    later = answer(request, 183, "b1").with_header("Record-Route", "<sip:p1;lr>, <sip:p2;lr>")
    for response in (later, answer(request, 180, "b1", None)):
        forked.receive(response)
        assert (early.is_by_flow, early.remote_target) == (False, BOB_CONTACT.uri)
        assert [str(hop.uri) for hop in early.route_set] == ["sip:p2;lr", "sip:p1;lr"]


def test_a_dialog_by_the_flow_is_so_in_the_next_process() -> None:
    """Its Contact names no place there either."""
    request = invite()
    flow = Flow("udp", "192.0.2.9", 5060)
    dialog = Dialog.of_uac(request, answer(request, contact=None), flow)
    assert dialog_of(values_of(dialog)).hops == dialog.hops == (flow,)
    usual = Dialog.of_uac(request, answer(request), flow)
    assert dialog_of(values_of(usual)).hops == usual.hops == (BOB_CONTACT.uri,)


def test_responses_that_make_no_dialog() -> None:
    """100, failures, a provisional without tag (RFC 3261 12.1)."""
    request = invite()
    for status, tag, contact in (
        (100, "b1", BOB_CONTACT),
        (486, "b1", BOB_CONTACT),
        (180, None, BOB_CONTACT),
    ):
        with pytest.raises(DialogError):
            Dialog.of_uac(request, answer(request, status, tag, contact))


def test_a_2xx_takes_the_route_set_again() -> None:
    """A proxy that was in the 180's way and not in the 200's drops out (RFC 3261 13.2.2.4)."""
    request = invite()
    early = answer(request, 180).with_header("Record-Route", "<sip:p1;lr>, <sip:p2;lr>")
    dialog = Dialog.of_uac(request, early)
    assert (dialog.state, len(dialog.route_set)) == (DialogState.EARLY, 2)
    final = answer(request, contact=NameAddr(Uri.of("bob", "192.0.2.7"))).with_header("Record-Route", "<sip:p2;lr>")
    dialog.confirm(final)
    assert [str(hop.uri) for hop in dialog.route_set] == ["sip:p2;lr"]
    assert str(dialog.remote_target) == "sip:bob@192.0.2.7"


def test_the_route_set_is_bounded() -> None:
    """A peer cannot make every request of a dialog grow without end."""
    routes = tuple("<sip:p;lr>" for _ in range(40))
    with pytest.raises(DialogError):
        Dialog.of_uas(invite(routes=routes), "b1")
    request = invite()
    dialog = Dialog.of_uac(request, answer(request, 180))
    dialog.confirm(answer(invite(routes=routes)))
    assert (dialog.route_set, dialog.is_by_flow) == ((), True)


class FakeUsage:
    """Takes part in dialogs and claims the methods it is told."""

    def __init__(self, *methods: str) -> None:
        self.methods = methods

    def claims(self, request: Request) -> bool:
        return request.method in self.methods

    def on_request(self, request: ServerRequest, dialog: Dialog) -> None: ...

    def on_ack(self, ack: Request, dialog: Dialog) -> None: ...

    def on_flow_lost(self, flow: Flow) -> None: ...

    def on_mistake(self) -> None: ...

    def drop(self) -> None: ...


def test_a_table_finds_by_call_id_and_both_tags() -> None:
    """One wrong tag and it is another dialog, hence 481 (security: dialog hijack)."""
    caller, callee = pair()
    table, usage = DialogTable(), FakeUsage()
    table.add(callee, usage)
    table.add(callee, usage)
    request = caller.request("BYE")
    entry = table.find(request)
    assert entry is not None
    assert (entry.dialog, entry.usages) == (callee, [usage])
    wrong = [
        request.with_header("From", request.from_.with_tag("x")),
        request.with_header("To", request.to.with_tag("x")),
        request.with_header("To", request.to.with_tag(None)),
        request.with_header("From", request.from_.with_tag(None)),
        request.with_header("Call-ID", "other"),
    ]
    assert [table.find(one) for one in wrong] == [None] * 5
    assert table.get("call-1", "b1", "a1") is entry
    table.remove(callee, FakeUsage())
    table.remove(callee, usage)
    table.remove(callee, usage)
    assert (len(table), table.find(request)) == (0, None)


def test_a_lost_connection_is_told_to_those_alone_who_speak_by_it() -> None:
    """Anybody may connect and be gone, a thousand times a second; the other calls are not asked each time."""
    table = DialogTable()
    usages = [FakeUsage() for _ in range(3)]
    for number, usage in enumerate(usages):
        callee = called(f"call-{number}")
        callee.flow = None if number == 2 else Flow("tcp", "192.0.2.1", 5060 + number, str(number))
        table.add(callee, usage)
    assert table.flow_lost(Flow("tcp", "192.0.2.1", 5061, "1")) == {usages[1]}
    assert table.flow_lost(Flow("tcp", "192.0.2.1", 5062, "2")) == set()
    assert table.flow_lost(Flow("tcp", "192.0.2.2", 5061, "1")) == set()


def test_who_registers_again_is_looked_for_among_its_own_lost_dialogs() -> None:
    """Of a call that has ended, or has found its phone again, nothing is kept."""
    table, usage = DialogTable(), FakeUsage()
    old, new = Flow("tcp", "192.0.2.1", 5060, "1"), Flow("tcp", "192.0.2.1", 5061, "2")
    dialogs = []
    for number in range(4):
        callee = called(f"call-{number}")
        callee.flow, callee.identity = old, "alice" if number < 3 else "bob"
        table.add(callee, usage)
        dialogs.append(callee)
    table.flow_lost(old)
    for dialog in dialogs:
        dialog.flow_lost(old)
    table.remove(dialogs[1], usage)
    table.forget([dialogs[2].id.call_id])
    mine = NameAddr(dialogs[0].route()[0])
    table.registered("alice", [mine], new)
    assert [dialog.flow for dialog in dialogs] == [new, old, old, old]
    assert dialogs[0].hops[0] == new
    table.registered("bob", [NameAddr.parse("<sip:else@192.0.2.7>")], new)
    assert dialogs[3].flow == old
    table.registered("bob", [mine], new)
    assert dialogs[3].flow == new
    assert table._lost == {}


def device(dialog: Dialog, letter: str) -> NameAddr:
    """A Contact as the peer of a dialog has it, of that device."""
    return NameAddr.parse(f'<{dialog.route()[0]}>;+sip.instance="<urn:uuid:{letter}>";reg-id=1')


def test_of_two_phones_of_a_user_behind_one_nat_each_has_its_own_dialog_back() -> None:
    """They call themselves the same, and who registers first is not taken for the other (RFC 5626 section 4.1)."""
    table, usage = DialogTable(), FakeUsage()
    flows = [Flow("tcp", "192.0.2.1", 5060 + number, str(number)) for number in range(4)]
    dialogs = [called("call-0"), called("call-1")]
    for number, dialog in enumerate(dialogs):
        dialog.flow, dialog.identity, dialog.instance = flows[number], "alice", f"urn:uuid:{number}"
        table.add(dialog, usage)
        dialog.flow_lost(flows[number])
        table.flow_lost(flows[number])
    table.registered("alice", [device(dialogs[0], "2")], flows[3])
    assert [dialog.flow for dialog in dialogs] == flows[:2]
    table.registered("alice", [device(dialogs[0], "1")], flows[3])
    assert [dialog.flow for dialog in dialogs] == [flows[0], flows[3]]
    # One that does not say which it is may be either.
    table.registered("alice", [NameAddr(dialogs[0].route()[0])], flows[2])
    assert [dialog.flow for dialog in dialogs] == flows[2:]


def test_after_a_kill_each_of_two_phones_has_its_own_dialog_back() -> None:
    """Which device a dialog is with is written down with it: whoever registers first is not taken for the other."""
    was = called("call-0")
    was.flow, was.identity, was.instance = Flow("tcp", "192.0.2.1", 5060, "1"), "alice", "urn:uuid:a"
    again = dialog_of(json.loads(json.dumps(values_of(was))))
    other, own = Flow("tcp", "192.0.2.1", 5070, "1"), Flow("tcp", "192.0.2.1", 5071, "2")
    table, usage = DialogTable(), FakeUsage()
    table.add(again, usage)
    assert again.has_lost_flow
    before = again.flow
    table.registered("alice", [device(again, "b")], other)
    assert again.flow == before
    table.registered("alice", [device(again, "a")], own)
    assert again.flow == own


def test_which_device_a_call_is_with_is_known_by_who_registered_on_its_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its Contact need not say; of a user of its own, where it is one, and as long as the connection is up."""
    table, usage = DialogTable(), FakeUsage()
    numbers = count()

    def instance(flow: Flow | None, identity: str = "alice") -> str | None:
        dialog = called(f"call-{next(numbers)}")
        dialog.flow, dialog.identity = flow, identity
        table.add(dialog, usage)
        return dialog.instance

    here, there = Flow("tcp", "192.0.2.1", 5060, "1"), Flow("tls", "192.0.2.1", 5060, "2")
    contact = called("any")
    table.registered("alice", [device(contact, "a"), device(contact, "a")], here)
    assert (instance(here), instance(there), instance(None), instance(here, "bob")) == ("urn:uuid:a", None, None, None)
    table.registered("alice", [device(contact, "b"), device(contact, "c")], there)
    assert instance(there) is None
    table.flow_lost(here)
    assert instance(here) is None
    monkeypatch.setattr("gateway.sip.dialogs.table._CONNECTIONS", 1)
    table.registered("alice", [device(contact, "a")], here)
    table.registered("alice", [device(contact, "b")], there)
    assert (instance(here), instance(there)) == (None, "urn:uuid:b")


def test_a_dialog_lives_until_its_last_usage_ended() -> None:
    """A call, a subscription and a REFER may share it (RFC 5057); each gets the methods that it claims."""
    caller, callee = pair()
    table = DialogTable()
    call, subscription = FakeUsage("BYE", "INVITE"), FakeUsage("NOTIFY")
    table.add(callee, call)
    table.add(callee, subscription)
    entry = table.find(caller.request("NOTIFY"))
    assert entry is not None
    assert entry.claimant(caller.request("NOTIFY")) is subscription
    assert entry.claimant(caller.request("BYE")) is call
    assert entry.claimant(caller.request("MESSAGE")) is None
    assert entry.usages == [call, subscription]
    table.remove(callee, call)
    callee.receive(caller.request("NOTIFY"))
    table.remove_everywhere(subscription)
    with pytest.raises(DialogError):
        callee.receive(caller.request("NOTIFY"))
    assert len(table) == 0


HERE = Flow("udp", "192.0.2.1", 5060, "one")


@by_row(
    ("flow", "source", "is_home"),
    [
        (HERE, Flow("udp", "192.0.2.1", 5060, "other socket"), True),
        (HERE, Flow("udp", "192.0.2.1", 5061), False),
        (HERE, Flow("udp", "198.51.100.9", 5060), False),
        (HERE, Flow("tcp", "192.0.2.1", 5060), False),
        (Flow("tcp", "192.0.2.1", 5060), Flow("tcp", "192.0.2.1", 40000, "new connection"), True),
        (Flow("tls", "192.0.2.1", 5061), Flow("tls", "198.51.100.9", 5061), False),
        (Flow("wss", "192.0.2.1", 4000, "a"), Flow("wss", "192.0.2.1", 4000, "a"), True),
        (Flow("wss", "192.0.2.1", 4000, "a"), Flow("wss", "192.0.2.1", 4001, "b"), False),
        (Flow("ws", "192.0.2.1", 0, "a"), Flow("ws", "192.0.2.1", 0, "a"), True),
        (Flow("ws", "192.0.2.1", 0, "a"), Flow("ws", "192.0.2.1", 0, "another behind the same proxy"), False),
    ],
)
def test_a_dialog_lives_where_its_peer_spoke_from(flow: Flow, source: Flow, is_home: bool) -> None:
    """The address and port over UDP, the address over TCP and TLS, the one connection over WebSocket."""
    dialog = Dialog.of_uas(invite(contact=NameAddr(Uri.of("alice", "a.example"))), "b1", None, flow)
    assert dialog.lives_at(source) is is_home


def test_a_dialog_lives_where_its_own_requests_go() -> None:
    """At the Contact or the first Record-Route with an IP address, and where a name was found to be."""
    at_contact = Dialog.of_uas(invite(), "b1", None, Flow("udp", "203.0.113.7", 40000))
    assert at_contact.lives_at(Flow("udp", "192.0.2.1", 5060))
    assert not at_contact.lives_at(Flow("udp", "192.0.2.1", 5062))
    by_proxy = Dialog.of_uas(invite(routes=("<sip:192.0.2.50:5080;transport=tcp;lr>",)), "b1")
    assert by_proxy.lives_at(Flow("tcp", "192.0.2.50", 33333))
    assert not by_proxy.lives_at(Flow("udp", "192.0.2.1", 5060))
    by_name = Dialog.of_uas(invite(routes=("<sip:proxy.example;lr>",)), "b1")
    assert not by_name.lives_at(Flow("udp", "192.0.2.60", 5060))
    by_name.sent_to((Flow("udp", "192.0.2.60", 5060),))
    assert by_name.lives_at(Flow("udp", "192.0.2.60", 5060))


def test_who_is_reached_directly_is_so_while_the_connection_lives() -> None:
    """Then the Contact is the way, until the peer speaks from somewhere again."""
    flow = Flow("tcp", "192.0.2.1", 33333, "conn1")
    dialog = Dialog.of_uas(invite(), "b1", None, flow)
    assert list(dialog.hops) == [ALICE_CONTACT.uri]
    dialog.is_direct = True
    assert list(dialog.hops) == [flow, ALICE_CONTACT.uri]
    assert not dialog.flow_lost(Flow("tcp", "192.0.2.1", 33333, "conn2"))
    assert not dialog.flow_lost(Flow("tcp", "192.0.2.9", 33333, "conn1"))
    assert not dialog.flow_lost(HERE)
    assert dialog.flow_lost(flow)
    assert list(dialog.hops) == [ALICE_CONTACT.uri]
    again = Flow("tcp", "192.0.2.1", 44444, "conn3")
    dialog.move(again)
    assert list(dialog.hops) == [again, ALICE_CONTACT.uri]
    assert not Dialog.of_uas(invite(), "b1").flow_lost(flow)


def test_a_strict_first_route_is_the_next_hop() -> None:
    """Whatever follows it (RFC 3261 12.2.1.1)."""
    _, callee = pair("<sip:strict.example>", "<sip:loose.example;lr>")
    assert callee.hops == (Uri.parse("sip:strict.example"),)
    assert callee.request("BYE").uri == Uri.parse("sip:strict.example")


def test_forks_are_dialogs_of_their_own() -> None:
    """Each To tag of a forked INVITE is a dialog; the first 2xx wins, the others end (RFC 3261 13.2.2.4)."""
    request = invite()
    forked = ForkedDialogs(request)
    assert forked.receive(answer(request, 100)) is None
    assert forked.receive(answer(request, 180, None)) is None
    first = forked.receive(answer(request, 180, "b1", None))
    assert forked.receive(answer(request, 180, "b1")) is first
    second = forked.receive(answer(request, 183, "b2"))
    assert forked.receive(answer(request, 183, "b1")) is first
    assert forked.early == (first, second)
    won = forked.receive(answer(request, 200, "b2"))
    assert won is second is forked.confirmed
    assert forked.receive(answer(request, 200, "b2")) is won
    late = forked.receive(answer(request, 200, "b3"))
    assert late is not None
    assert late is not forked.confirmed
    assert late.ack(5).to_tag == "b3"
    assert late.request("BYE").to_tag == "b3"
    assert forked.receive(answer(request, 486, "b1")) is None
    assert forked.give_up() == (first,)
    assert first is not None
    assert [one.state for one in (first,)] == [DialogState.TERMINATED]
    assert list(forked.early) == []
    revived = forked.receive(answer(request, 200, "b1"))
    assert revived is not None
    assert revived is not first
    assert revived.request("BYE").cseq.number == 6


def test_forks_are_bounded() -> None:
    """A peer cannot make dialogs without end out of one INVITE."""
    request = invite()
    forked = ForkedDialogs(request, limit=2)
    forked.receive(answer(request, 180, "b1"))
    forked.receive(answer(request, 180, "b2"))
    with pytest.raises(DialogError):
        forked.receive(answer(request, 180, "b3"))
    assert forked.receive(answer(request, 200, "b3")) is forked.confirmed
    forked.receive(answer(request, 200, "b4"))
    with pytest.raises(DialogError):
        forked.receive(answer(request, 200, "b5"))


def test_a_peer_of_rfc_2543_needs_no_tags() -> None:
    """An absent tag is the empty one (RFC 3261 12.1.1, 12.1.2)."""
    request = invite().with_header("From", ALICE)
    callee = Dialog.of_uas(request, "b1")
    assert callee.id == DialogId("call-1", "b1", "")
    old = answer(invite(), 200, None)
    caller = Dialog.of_uac(invite(), old)
    assert caller.id.remote_tag == ""
    assert caller.request("BYE").to_tag is None


def test_a_secure_request_makes_a_secure_dialog() -> None:
    """A sips Request-URI is remembered (RFC 3261 12.1.1)."""
    request = invite().with_uri(Uri.parse("sips:bob@b.example"))
    assert Dialog.of_uas(request, "b1").secure
    assert Dialog.of_uac(request, answer(request)).secure
    assert not pair()[0].secure


@pytest.mark.parametrize(("header", "value"), [("Record-Route", "<sips:p;lr>"), ("Contact", "<sips:alice@192.0.2.1>")])
def test_a_sips_route_or_contact_makes_a_secure_dialog(header: str, value: str) -> None:
    """The first Record-Route counts, without one the Contact (RFC 3261 12.1.1, RFC 5630)."""
    assert Dialog.of_uas(invite().with_header(header, value), "b1").secure
