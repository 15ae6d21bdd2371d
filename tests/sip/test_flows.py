"""The call flows of RFC 3665, 3515, 3327, 4916 and 5626: read, written, and played against the dialog core."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from gateway.identity.model import Binding
from gateway.sip.dialogs.dialog import Dialog, DialogId, DialogState
from gateway.sip.dialogs.forks import ForkedDialogs
from gateway.sip.errors import SipSyntaxError
from gateway.sip.message import build
from gateway.sip.message.message import Request, Response
from gateway.sip.message.parser import parse_message
from gateway.sip.registration.registrar import Changes, RegistrarPolicy, decide, ok_fields
from tests.cases import cases
from tests.rows import by_row

ABBREVIATED = ("9.3_incoming_call_and_proxy_crash", "9.4_re-registration", "9.5_outgoing_call")
"""RFC 5626 prints these flows without most of their headers."""

FLOWS: dict[str, list[str]] = {}
"""Messages by the section and the name of their flow."""
for _name, _text in cases("sip/flows.txt").items():
    FLOWS.setdefault(_name.rpartition(" ")[0], []).append(_text)


def wire(text: str) -> bytes:
    """The message with CRLF, and with the empty line that some transcriptions leave out after the headers."""
    if "\n\n" not in text:
        text = text.rstrip("\n") + "\n\n"
    return text.replace("\n", "\r\n").encode()


def read(flow: str) -> list[Request | Response]:
    return [parse_message(wire(text)) for text in FLOWS[flow]]


def is_abbreviated(flow: str) -> bool:
    return flow.rpartition("/")[2] in ABBREVIATED


def test_the_corpus_is_whole() -> None:
    """All 28 flows are there."""
    assert len(FLOWS) == 28


@by_row("flow", [flow for flow in FLOWS if not is_abbreviated(flow)])
def test_every_message_is_read_and_written(flow: str) -> None:
    """A round trip loses nothing, and every typed header that is there can be read."""
    for message in read(flow):
        assert parse_message(message.write()) == message
        for name in ("via", "from_", "to", "contacts", "route", "record_route", "path", "supported", "reason"):
            getattr(message, name)
        for name in ("www_authenticate", "proxy_authenticate", "authorization", "proxy_authorization"):
            getattr(message, name)
        if not (message.headers.get("Refer-To") or "").startswith("("):
            assert (message.refer_to is None) == ("Refer-To" not in message.headers)


@by_row("flow", [flow for flow in FLOWS if is_abbreviated(flow)])
def test_an_abbreviated_message_lacks_its_via(flow: str) -> None:
    """The parser says what is missing; with a Via in place the message is read."""
    for text in FLOWS[flow]:
        with pytest.raises(SipSyntaxError) as caught:
            parse_message(wire(text))
        assert caught.value.header == "Via"
        start, _, rest = text.partition("\n")
        message = parse_message(wire(f"{start}\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\n{rest}"))
        assert parse_message(message.write()) == message


def uac_view(messages: list[Request | Response]) -> tuple[Request, list[Response]] | None:
    """The last first INVITE as its sender sent it, and the responses that reached the sender."""
    invites = [
        m for m in messages if isinstance(m, Request) and m.method == "INVITE" and m.to_tag is None and len(m.via) == 1
    ]
    if not invites:
        return None
    invite = invites[-1]
    responses = [
        m
        for m in messages
        if isinstance(m, Response)
        and len(m.via) == 1
        and (m.call_id, m.cseq) == (invite.call_id, invite.cseq)
        and m.top_via.branch == invite.top_via.branch
    ]
    return invite, responses


def confirmed_flows() -> list[str]:
    found = []
    for flow in FLOWS:
        if not is_abbreviated(flow):
            view = uac_view(read(flow))
            if view is not None and any(response.is_success for response in view[1]):
                found.append(flow)
    return found


CONFIRMED = confirmed_flows()


def test_enough_flows_set_up_a_call() -> None:
    """The tests below have what to work on."""
    assert len(CONFIRMED) == 9


def where(request: Request, flow: str) -> str:
    """The Request-URI as far as the RFCs print it alike: their later requests leave ;transport=tcp out, one changes
    the case of a user, and the callee of RFC 3665 3.07 answers from one host and is acknowledged at another."""
    uri = request.uri.without_param("transport")
    text = str(uri).lower()
    return text.replace("client.biloxi", "client.chicago") if "3.07_" in flow else text


@by_row("flow", CONFIRMED)
def test_the_callers_dialog_sends_what_the_rfc_shows(flow: str) -> None:
    """Request-URI, Route, tags and CSeq of the caller's ACK and later requests come out of the dialog core."""
    messages = read(flow)
    view = uac_view(messages)
    assert view is not None
    invite, responses = view
    forked = ForkedDialogs(invite)
    for response in responses:
        forked.receive(response)
    dialog = forked.confirmed
    assert dialog is not None
    assert dialog.state is DialogState.CONFIRMED
    sent = [
        m
        for m in messages
        if isinstance(m, Request)
        and len(m.via) == 1
        and (m.from_tag, m.to_tag, m.call_id) == (dialog.id.local_tag, dialog.id.remote_tag, dialog.id.call_id)
    ]
    assert any(request.method == "ACK" for request in sent)
    for request in sent:
        if request.method == "ACK":
            if request.cseq.number != invite.cseq.number:
                continue
            ours = dialog.ack(request.cseq.number)
        else:
            dialog.local_cseq = request.cseq.number - 1
            ours = dialog.request(request.method)
        assert where(ours, flow) == where(request, flow)
        assert [str(hop.uri) for hop in ours.route] == [str(hop.uri) for hop in request.route]
        assert (ours.cseq, ours.call_id) == (request.cseq, request.call_id)
        assert (ours.from_tag, ours.to_tag) == (request.from_tag, request.to_tag)


@by_row("flow", CONFIRMED)
def test_the_callees_dialog_takes_and_sends_what_the_rfc_shows(flow: str) -> None:
    """The callee's requests match the flow's, and it takes the caller's requests as they arrive."""
    messages = read(flow)
    view = uac_view(messages)
    assert view is not None
    answer = next(response for response in view[1] if response.is_success)
    arrived = [
        m
        for m in messages
        if isinstance(m, Request) and m.method == "INVITE" and (m.call_id, m.cseq) == (answer.call_id, answer.cseq)
    ]
    invite = max(arrived, key=lambda request: len(request.via))
    local_tag = answer.to_tag
    assert local_tag is not None
    dialog = Dialog.of_uas(invite, local_tag)
    dialog.confirm()
    seen: set[int] = set()
    for message in messages:
        if not isinstance(message, Request) or message.call_id != dialog.id.call_id or message.to_tag is None:
            continue
        if DialogId.of_request(message) == dialog.id:
            if message.method != "ACK" and message.cseq.number not in seen:
                seen.add(message.cseq.number)
                dialog.receive(message)
                dialog.refresh_target(message)
        elif message.from_tag == local_tag and len(message.via) == 1 and message.method != "ACK":
            dialog.local_cseq = message.cseq.number - 1
            ours = dialog.request(message.method)
            assert where(ours, flow) == where(message, flow)
            assert [str(hop.uri) for hop in ours.route] == [str(hop.uri) for hop in message.route]
            assert (ours.from_tag, ours.to_tag, ours.cseq) == (message.from_tag, message.to_tag, message.cseq)


REGISTRATIONS = [
    "rfc3665/2.01_sip-client-new-registration",
    "rfc3665/2.02_update-of-contact-list",
    "rfc3665/2.03_request-for-current-contact-list",
    "rfc3665/2.04_cancellation-of-registration",
]


def test_the_registrations_of_one_day_give_the_contacts_the_rfc_shows() -> None:
    """RFC 3665 section 2: register, add, query, cancel; each 200 lists what the RFC's does."""
    bindings: tuple[Binding, ...] = ()
    policy = RegistrarPolicy(schemes=frozenset(("sip", "sips", "mailto")))
    for flow in REGISTRATIONS:
        messages = read(flow)
        # Each section of the RFC begins its numbers anew under the same Call-ID, as after a restart.
        bindings = tuple(replace(binding, call_id="earlier") for binding in bindings)
        for request, answer in pairwise(messages):
            if not isinstance(request, Request) or not isinstance(answer, Response) or not answer.is_success:
                continue
            changes = decide(request, bindings, policy, 0.0, make=Binding)
            assert isinstance(changes, Changes)
            bindings = changes.after
            ours = build.response(request, 200, to_tag="t1", headers=ok_fields(request, bindings, 0.0))
            assert {str(c.uri) for c in ours.contacts} >= {str(c.uri) for c in answer.contacts}
    assert bindings == ()


def test_path_is_stored_and_returned() -> None:
    """RFC 3327 5.5.1: the Path of the REGISTER goes with the binding and into the 200."""
    messages = read("rfc3327/5.5.1_example-of-mechanism-in-register-transaction")
    request = max((m for m in messages if isinstance(m, Request)), key=lambda m: len(m.path))
    assert len(request.path) == 2
    changes = decide(request, [], RegistrarPolicy(), 0.0, make=Binding)
    assert isinstance(changes, Changes)
    assert changes.after[0].path == tuple(str(hop) for hop in request.path)
    ours = build.response(request, 200, to_tag="t1", headers=ok_fields(request, changes.after, 0.0))
    assert ours.path == request.path
