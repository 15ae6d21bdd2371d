"""Headers in the shapes that real user agents send them, each written down from what the product is known to do."""

from __future__ import annotations

from gateway.identity.model import Binding
from gateway.sip.dialogs.dialog import Dialog
from gateway.sip.locate import target_of
from gateway.sip.message.message import Request
from gateway.sip.message.parser import parse_message
from gateway.sip.registration.registrar import Changes, RegistrarPolicy, decide
from tests.rows import by_row

INSTANCE = "urn:uuid:5d8a3b1e-7c0f-4e55-9f5c-0f8a6b1c2d3e"

REGISTERS = {
    "browser over a WebSocket": (
        "Via: SIP/2.0/WSS k3f9t2h5d1ab.invalid;branch=z9hG4bK5551212\r\n"
        "Max-Forwards: 69\r\n"
        "To: <sip:alice@gw.example>\r\n"
        'From: "Alice" <sip:alice@gw.example>;tag=q1w2e3r4t5\r\n'
        "Call-ID: 6h2k9d8s7f6g5h4j3k2l\r\n"
        "CSeq: 81 REGISTER\r\n"
        f'Contact: <sip:8a7s6d5f@k3f9t2h5d1ab.invalid;transport=wss>;+sip.ice;reg-id=1;+sip.instance="<{INSTANCE}>"'
        ";expires=600\r\n"
        "Expires: 600\r\n"
        "Allow: INVITE,ACK,CANCEL,BYE,UPDATE,MESSAGE,OPTIONS,REFER,INFO,NOTIFY\r\n"
        "Supported: path,gruu,outbound\r\n"
        "User-Agent: Browser Phone 3.10\r\n"
    ),
    "desk phone behind NAT": (
        "Via: SIP/2.0/UDP 10.0.0.7:5062;rport;branch=z9hG4bKPjf0e1d2c3b4a5-6;alias\r\n"
        "Max-Forwards: 70\r\n"
        "From: <sip:alice@gw.example>;tag=GMl8w7x.2Q~v\r\n"
        "To: <sip:alice@gw.example>\r\n"
        "Call-ID: Yb1-0x5.vKq~\r\n"
        "CSeq: 40312 REGISTER\r\n"
        'User-Agent: Desk-T46S/66.86 0015651a2b3c ("lobby")\r\n'
        f'Contact: "Lobby, 2nd floor" <sip:alice@10.0.0.7:5062;ob>;expires=600;+sip.instance="<{INSTANCE}>"\r\n'
        "Expires: 600\r\n"
        "Allow: PRACK, INVITE, ACK, BYE, CANCEL, UPDATE, INFO, SUBSCRIBE, NOTIFY, REFER, MESSAGE, OPTIONS\r\n"
    ),
    "command line agent": (
        "Via: SIP/2.0/UDP 127.0.0.1:40123;branch=z9hG4bK1f2e3d4c5b6a7988;rport\r\n"
        f'Contact: <sip:alice-0x55d0c8e4f2a0@127.0.0.1:40123>;expires=3600;+sip.instance="<{INSTANCE}>"\r\n'
        "Max-Forwards: 70\r\n"
        "To: <sip:alice@gw.example>\r\n"
        "From: <sip:alice@gw.example>;tag=6a5b4c3d2e1f0099\r\n"
        "Call-ID: 00ff11ee22dd33cc\r\n"
        "CSeq: 5231 REGISTER\r\n"
        "Allow: INVITE,ACK,BYE,CANCEL,OPTIONS,NOTIFY,INFO,MESSAGE,UPDATE,REFER\r\n"
        "Supported: \r\n"
    ),
}


@by_row("name", REGISTERS)
def test_products_can_register(name: str) -> None:
    """What the product sends is read, stored, and reachable by the binding's contact."""
    request = parse_message(f"REGISTER sip:gw.example SIP/2.0\r\n{REGISTERS[name]}Content-Length: 0\r\n\r\n".encode())
    assert isinstance(request, Request)
    changes = decide(request, [], RegistrarPolicy(), 0.0, make=Binding, received="udp:192.0.2.7:40123")
    assert isinstance(changes, Changes)
    binding = changes.after[0]
    assert (binding.aor, binding.instance) == ("sip:alice@gw.example", INSTANCE)
    assert parse_message(request.write()) == request
    assert target_of(request.contacts[0].uri).host


INVITES = {
    "PBX with asserted identity": (
        "sip:1001@192.0.2.10:5060;transport=UDP;user=phone",
        'P-Asserted-Identity: "ACME, Inc." <sip:+12015550123@pbx.example;user=phone>, <tel:+12015550123>\r\n'
        'Remote-Party-ID: "ACME" <sip:+12015550123@pbx.example>;party=calling;privacy=off;screen=yes\r\n'
        "X-FS-Support: update_display,send_info\r\n"
        "Privacy: none\r\n",
    ),
    "carrier with many proxies": (
        "sip:+12015550123;phone-context=example.com@192.0.2.10;user=phone",
        "Record-Route: <sip:192.0.2.1;lr=on;ftag=as5f6e7d;did=a1.b2>,<sip:192.0.2.2:5080;r2=on;lr>\r\n"
        "Record-Route: <sip:[2001:db8::5]:5060;lr;transport=tcp>\r\n"
        "Diversion: <sip:1002@pbx.example>;reason=user-busy;counter=1\r\n"
        "History-Info: <sip:1002@pbx.example?Reason=SIP%3Bcause%3D302>;index=1\r\n"
        "Session-ID: 0a1b2c3d4e5f60718293a4b5c6d7e8f9;remote=00000000000000000000000000000000\r\n"
        "P-Charging-Vector: icid-value=ab.cd;icid-generated-at=[2001:db8::5];orig-ioi=a\r\n",
    ),
    "enterprise phone": (
        "sip:*98#@192.0.2.10",
        "Call-Info: <urn:x-phone:callinfo>; security= NotAuthenticated; orientation= from; gci= 1-2345\r\n"
        "Cisco-Guid: 3231023104-0000065536-0000000012-0167880714\r\n"
        "Min-SE:  1800\r\n"
        "Timestamp: 1764000000\r\n"
        "Date: Sat, 21 Nov 2026 00:00:00 GMT\r\n",
    ),
}


@by_row("name", INVITES)
def test_products_can_call(name: str) -> None:
    """What the product sends is read, survives a round trip and makes a dialog that can be ended."""
    uri, headers = INVITES[name]
    data = (
        f"INVITE {uri} SIP/2.0\r\n"
        "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK-524287-1---5f6e7d8c9b;rport\r\n"
        "Via: SIP/2.0/UDP 10.0.0.7;received=192.0.2.2;rport=40123;branch=z9hG4bK.a1B2~\r\n"
        "Max-Forwards: 68\r\n"
        'From: "O\'Brien \\"Bob\\"" <sip:+12015550123@pbx.example>;tag=as5f6e7d\r\n'
        "To: <sip:1001@gw.example>\r\n"
        "Call-ID: 5f6e7d8c-9b@10.0.0.7\r\n"
        "CSeq: 102 INVITE\r\n"
        'Contact: <sip:+12015550123@10.0.0.7:5060;alias=192.0.2.2~40123~1>;+g.3gpp.icsi-ref="urn%3Aurn-7%3A3gpp"\r\n'
        f"{headers}"
        "Content-Length: 0\r\n\r\n"
    )
    request = parse_message(data.encode())
    assert isinstance(request, Request)
    assert parse_message(request.write()) == request
    assert request.from_.display_name == 'O\'Brien "Bob"'
    if "P-Asserted-Identity" in request.headers:
        assert [str(one.uri) for one in request.asserted_identity] == [
            "sip:+12015550123@pbx.example;user=phone",
            "tel:+12015550123",
        ]
    if "Diversion" in request.headers:
        assert request.diversion[0].param("reason") == "user-busy"
    dialog = Dialog.of_uas(request, "t1")
    dialog.confirm()
    bye = parse_message(dialog.request("BYE").with_header("Via", "SIP/2.0/UDP h;branch=z9hG4bK1").write())
    assert [str(hop.uri) for hop in bye.route] == [str(hop.uri) for hop in request.record_route]
