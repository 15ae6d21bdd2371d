"""Calls that phones and trunks make: who is said to call, and how a refusal is answered."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from pathlib import Path

import pytest

from gateway.app import GatewayApp
from gateway.identity.store import StoreError
from gateway.sip.message import build
from gateway.sip.message.message import Request
from gateway.sip.message.parser import parse_message
from gateway.store.identity_memory import MemoryStore
from tests.interop.gateway import PASSWORDS, config_on_free_ports
from tests.interop.stranger import SDP, Stranger, authorization, status_of, stranger
from tests.rows import by_row


class Rig:
    """A gateway, and a phone or a trunk played by hand."""

    def __init__(self, app: GatewayApp, far: Stranger, hops: int = 70) -> None:
        self.app, self.far, self.hops = app, far, hops
        host, _, port = app.sip_hostport.rpartition(":")
        self.sip = (host, int(port))

    async def invite(
        self,
        number: str,
        *,
        user: str = "1001",
        body: str | None = None,
        signed: bool = True,
        domain: str | None = None,
    ) -> bytes:
        """The final response to an INVITE from this user, whose challenge is answered."""
        uri = f"sip:{number}@{domain or self.app.config.domain}"
        sdp = SDP.format(host=self.far.place[0]) if body is None else body

        def request(cseq: int, *headers: str) -> bytes:
            call_id = f"front-{number}-{user}"
            made = self.far.request("INVITE", uri, user=user, body=sdp, call_id=call_id, cseq=cseq, headers=headers)
            ours = f"From: <sip:{user}@{self.app.config.domain}>".encode()
            made = made.replace(f"From: <sip:{user}@{domain}>".encode(), ours)
            return made.replace(b"Max-Forwards: 70", b"Max-Forwards: %d" % self.hops)

        first = await self.far.ask(request(1), self.sip, timeout=30)
        if not signed:
            return first
        header = authorization(first, "INVITE", uri, user, PASSWORDS[user])
        return await self.far.ask(request(2, header), self.sip, timeout=30)


@by_row(
    ("number", "body", "status"),
    [
        ("4711", None, 404),
        ("alice", None, 480),
        ("600", "", 200),
        ("600", "v=0\r\nnonsense", 488),
        ("600", "not a description at all", 488),
        ("600", None, 200),
    ],
)
async def test_a_phones_call_is_answered_by_its_outcome(
    tmp_path: Path, number: str, body: str | None, status: int
) -> None:
    """Nobody, nobody there, an offer of ours, no SDP, and the echo."""
    app = GatewayApp(config_on_free_ports(tmp_path))
    await app.start()
    try:
        async with stranger("127.0.0.1") as far:
            assert status_of(await Rig(app, far).invite(number, body=body)) == status
    finally:
        await app.stop()


@by_row(("number", "status"), [("600", 200), ("0049", 403), ("1002", 480)])
async def test_a_trunk_calls_in_without_digest_and_not_out_again(tmp_path: Path, number: str, status: int) -> None:
    """By its address it reaches users and services, but no trunk: strangers would dial out on our bill."""
    trunk = {"name": "office", "uri": "sip:127.0.0.77:5099", "sources": ["127.0.0.77"]}
    routes = [{"match": "600", "to": "service:echo"}, {"match": "0*", "to": "trunk:office"}]
    app = GatewayApp(config_on_free_ports(tmp_path, TRUNKS=json.dumps([trunk]), ROUTES=json.dumps(routes)))
    await app.start()
    try:
        async with stranger("127.0.0.77") as far:
            assert status_of(await Rig(app, far).invite(number, user="anybody", signed=False)) == status
    finally:
        await asyncio.wait_for(app.stop(), 30)


@by_row(("policy", "status"), [("required", 488), ("optional", 200), ("off", 200)])
async def test_plain_rtp_is_refused_where_srtp_is_required(tmp_path: Path, policy: str, status: int) -> None:
    """rtp.srtp holds for calls that come in as well."""
    app = GatewayApp(config_on_free_ports(tmp_path, RTP__SRTP=policy))
    await app.start()
    try:
        async with stranger("127.0.0.1") as far:
            assert status_of(await Rig(app, far).invite("600")) == status
    finally:
        await app.stop()


@by_row(
    ("policy", "profile", "status", "why"),
    [
        ("required", "RTP/AVP", 488, "SRTP is required"),
        ("required", "RTP/AVP with keys", 200, ""),
        ("required", "UDP/TLS/RTP/SAVP", 200, ""),
        ("optional", "RTP/AVP with keys", 200, ""),
        ("off", "RTP/AVP with keys", 200, ""),
        ("off", "RTP/SAVP", 488, "SRTP is off"),
        ("off", "UDP/TLS/RTP/SAVP", 488, "SRTP is off"),
    ],
)
async def test_what_a_phone_offers_is_taken_as_the_policy_wants(
    tmp_path: Path, policy: str, profile: str, status: int, why: str
) -> None:
    """Keys in plain RTP (RFC 8643) are taken but where SRTP is off; a refusal says why in words."""
    app = GatewayApp(config_on_free_ports(tmp_path, RTP__SRTP=policy))
    await app.start()
    try:
        async with stranger("127.0.0.1") as far:
            rig = Rig(app, far)
            offer = SDP.format(host=far.place[0]).replace("RTP/AVP", profile.partition(" ")[0])
            if profile in ("RTP/AVP with keys", "RTP/SAVP"):
                offer += f"a=crypto:1 AES_256_CM_HMAC_SHA1_80 inline:{base64.b64encode(bytes(46)).decode()}\r\n"
            elif profile.startswith("UDP"):
                offer += f"a=fingerprint:sha-256 {':'.join(['AB'] * 32)}\r\na=setup:actpass\r\n"
            reply = await rig.invite("600", body=offer)
            assert status_of(reply) == status
            answered = reply.decode()
            assert why in answered
            keyed = status == 200 and policy != "off" and profile == "RTP/AVP with keys"
            assert ("a=crypto:1 AES_256_CM_HMAC_SHA1_80" in answered) is keyed
            assert ("a=fingerprint" in answered) is (status == 200 and profile.startswith("UDP"))
    finally:
        await app.stop()


@by_row("way", ["auto", "info"])
@by_row("of", ["user", "trunk"])
async def test_a_caller_that_takes_digits_by_info_is_answered_without_events(tmp_path: Path, of: str, way: str) -> None:
    """`dtmf` holds for calls that come in as well."""
    offer = SDP.replace("RTP/AVP 0", "RTP/AVP 0 101") + "a=rtpmap:101 telephone-event/8000\r\n"
    changes = {"USERS__1001__DTMF": way}
    if of == "trunk":
        trunk = {"name": "office", "uri": "sip:127.0.0.1:5099", "sources": ["127.0.0.1"], "dtmf": way}
        changes = {"TRUNKS": json.dumps([trunk])}
    app = GatewayApp(config_on_free_ports(tmp_path, **changes))
    await app.start()
    try:
        async with stranger("127.0.0.1") as far:
            body = offer.format(host="127.0.0.1")
            answer = await Rig(app, far).invite("600", body=body, signed=of == "user")
            assert (b"telephone-event" in answer) is (way == "auto")
    finally:
        await app.stop()


@by_row(("hops", "passed_on"), [(70, 69), (2, 1), (0, None)])
async def test_a_call_that_is_passed_on_counts_its_hops(tmp_path: Path, hops: int, passed_on: int | None) -> None:
    """Two gateways that route to each other would otherwise call each other without end (RFC 3261 section 16.3)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as next_hop:
        next_hop.bind(("127.0.0.1", 0))
        next_hop.setblocking(False)
        routes = [{"match": "7*", "to": f"sip:{{user}}@127.0.0.1:{next_hop.getsockname()[1]}"}]
        may_call = {"USERS__1001__MAY_CALL": '["*", "7*"]'}
        app = GatewayApp(config_on_free_ports(tmp_path, ROUTES=json.dumps(routes), **may_call))
        await app.start()
        try:
            async with stranger("127.0.0.1") as far:
                rig = Rig(app, far, hops)
                if passed_on is None:
                    assert status_of(await rig.invite("77")) == 483
                    return
                calling = asyncio.ensure_future(rig.invite("77"))
                async with asyncio.timeout(30):
                    data, source = await asyncio.get_running_loop().sock_recvfrom(next_hop, 65536)
                invite = parse_message(data)
                assert isinstance(invite, Request)
                next_hop.sendto(build.response(invite, 486, to_tag="busy").write(), source)
                assert invite.max_forwards == passed_on
                assert status_of(await calling) == 486
        finally:
            await app.stop()


@by_row(
    ("contact", "status"),
    [
        ("<sip:busy@{place}>;q=0.1, <sip:600@{ours}>;q=0.9", 200),
        ("<sip:09@{place}>", 486),
        ("<sip:+4900@{place}>", 486),
        ("<sip:x@elsewhere.invalid>", 480),
        ("nonsense <", 480),
    ],
)
@by_row("most", [5, 0])
async def test_a_redirection_is_followed_where_the_caller_may_call(
    tmp_path: Path, contact: str, status: int, most: int
) -> None:
    """The best contact first; what is asked next hears who was called before. With sip.max_diversions 0: no longer."""
    async with stranger("127.0.0.77") as far, stranger("127.0.0.1") as phone:
        place = f"127.0.0.77:{far.place[1]}"
        trunk = {"name": "office", "uri": f"sip:{place}", "password": "trunk-secret", "username": "gw"}
        routes = [{"match": "0*", "to": "trunk:office"}, {"match": "600", "to": "service:echo"}]
        changes = {"TRUNKS": json.dumps([trunk]), "ROUTES": json.dumps(routes), "SIP__MAX_DIVERSIONS": str(most)}
        app = GatewayApp(config_on_free_ports(tmp_path, USERS__1001__MAY_CALL='["*", "trunk:office"]', **changes))
        await app.start()
        try:
            rig = Rig(app, phone)
            calling = asyncio.ensure_future(rig.invite("07"))
            first = await _request(far, "INVITE", 0)
            elsewhere = contact.format(place=place, ours=app.config.domain)
            headers = [("Contact", elsewhere)]
            far.send(build.response(first, 302, to_tag="moved", headers=headers).write(), rig.sip)
            if status == 486 and most:
                second = await _request(far, "INVITE", 1)
                assert str(second.uri) == elsewhere.strip("<>")
                assert second.headers.get("Diversion") == f"<{first.uri}>;reason=unconditional"
                assert [value for name, value in second.headers if name == "History-Info"] == [
                    f"<{first.uri}?Reason=SIP%3Bcause%3D302>;index=1",
                    f"<{second.uri}>;index=1.1;mp=1",
                ]
                far.send(build.response(second, 486, to_tag="busy").write(), rig.sip)
            assert status_of(await calling) == (status if most else 480)
        finally:
            await asyncio.wait_for(app.stop(), 30)


async def _request(far: Stranger, method: str, after: int) -> Request:
    """The request of that method after so many others."""
    count = 0
    while True:
        found: list[Request] = []
        for data, _ in list(far.received):
            message = parse_message(data)
            if isinstance(message, Request) and message.method == method:
                found += [message] if message.call_id not in [one.call_id for one in found] else []
        if len(found) > after:
            return found[after]
        count = len(far.received)
        await far.more_than(count)


async def test_a_caller_from_a_trunk_is_of_the_pbx_and_calling_back_goes_there(tmp_path: Path) -> None:
    """A PBX's 1001 does not pass for ours, and dialling what was shown leads through the trunk."""
    async with stranger("127.0.0.77") as far:
        trunk = {
            "name": "office",
            "uri": f"sip:127.0.0.77:{far.place[1]}",
            "options_interval": 0,
            "sources": ["127.0.0.77"],
        }
        app = GatewayApp(
            config_on_free_ports(tmp_path, TRUNKS=json.dumps([trunk]), USERS__1001__MAY_CALL='["trunk:*"]')
        )
        await app.start()
        try:
            shown: list[str] = []
            app.calls.observe(lambda call: shown.append(call.record.caller.uri))
            assert status_of(await Rig(app, far).invite("600", user="1001", signed=False)) == 200
            assert shown[0] == f"sip:1001@127.0.0.77:{far.place[1]}"
            async with stranger("127.0.0.1") as phone:
                rig, before = Rig(app, phone), len(far.received)
                calling = asyncio.ensure_future(rig.invite("1001", domain=shown[0].partition("@")[2]))
                await far.more_than(before)
                invite = parse_message(next(data for data, _ in far.received[before:] if data.startswith(b"INVITE")))
                assert isinstance(invite, Request)
                assert str(invite.uri) == shown[0]
                calling.cancel()
        finally:
            await asyncio.wait_for(app.stop(), 30)


async def test_nobody_calls_out_unless_may_call_says_so(tmp_path: Path) -> None:
    """The default, "*", is everybody of ours and no paid line."""
    trunk = {"name": "office", "uri": "sip:127.0.0.77:5099", "options_interval": 0}
    routes = [{"match": "600", "to": "service:echo"}, {"match": "0*", "to": "trunk:office"}]
    changes = {"TRUNKS": json.dumps([trunk]), "ROUTES": json.dumps(routes), "USERS__1001__MAY_CALL": '["*"]'}
    app = GatewayApp(config_on_free_ports(tmp_path, **changes))
    await app.start()
    try:
        async with stranger("127.0.0.1") as far:
            assert status_of(await Rig(app, far).invite("0049")) == 403
            assert status_of(await Rig(app, far).invite("600")) == 200
    finally:
        await app.stop()


@by_row(
    ("limit", "said", "seconds"),
    [
        ({"LIMITS__MAX_CALLS": "1"}, "limits.max_calls", 10),
        ({"LIMITS__CALLS_PER_SECOND": "1", "LIMITS__MAX_CALLS": "100"}, "limits.calls_per_second", 1),
        ({"USERS__1001__MAX_CALLS": "1"}, "max_calls", 10),
        ({"SIP__LIMITS__MAX_DIALOGS": "1"}, "sip.limits.max_dialogs", 10),
    ],
)
async def test_a_call_beyond_a_limit_says_which_and_when_to_try_again(
    tmp_path: Path, limit: dict[str, str], said: str, seconds: int
) -> None:
    """503 with Retry-After, and the setting in its Reason."""
    app = GatewayApp(config_on_free_ports(tmp_path, **limit))
    await app.start()
    try:
        async with stranger("127.0.0.1") as far:
            rig = Rig(app, far)
            assert status_of(await rig.invite("600")) == 200
            asks_to_wait(await rig.invite("601"), said, seconds)
    finally:
        await app.stop()


async def test_a_trunk_whose_lines_are_taken_asks_to_wait(tmp_path: Path) -> None:
    """trunks[].max_calls, while its one call still rings."""
    async with stranger("127.0.0.77") as pbx, stranger("127.0.0.1") as far:
        trunk = {"name": "office", "uri": f"sip:127.0.0.77:{pbx.place[1]}", "max_calls": 1, "options_interval": 0}
        routes = [{"match": "6*", "to": "trunk:office"}]
        changes = {"TRUNKS": json.dumps([trunk]), "ROUTES": json.dumps(routes), "USERS__1001__MAY_CALL": '["trunk:*"]'}
        app = GatewayApp(config_on_free_ports(tmp_path, **changes))
        await app.start()
        try:
            rig = Rig(app, far)
            calling = asyncio.ensure_future(rig.invite("600"))
            await pbx.more_than(0)
            asks_to_wait(await rig.invite("601"), "trunks[office].max_calls", 10)
            calling.cancel()
        finally:
            await asyncio.wait_for(app.stop(), 30)


@pytest.mark.parametrize("first", ["in", "out"])
async def test_a_trunks_lines_are_the_same_in_both_directions(tmp_path: Path, first: str) -> None:
    """One line: while a call is on it there is none for one the other way, and afterwards there is."""
    async with stranger("127.0.0.77") as pbx, stranger("127.0.0.1") as far:
        uri, sources = f"sip:127.0.0.77:{pbx.place[1]}", ["127.0.0.77"]
        trunk = {"name": "office", "uri": uri, "max_calls": 1, "options_interval": 0, "sources": sources}
        routes = [{"match": "7*", "to": "trunk:office"}, {"match": "6*", "to": "service:echo"}]
        changes = {"TRUNKS": json.dumps([trunk]), "ROUTES": json.dumps(routes), "USERS__1001__MAY_CALL": '["trunk:*"]'}
        app = GatewayApp(config_on_free_ports(tmp_path, **changes))
        await app.start()
        try:
            phone, office = Rig(app, far), Rig(app, pbx)
            if first == "in":
                assert status_of(await office.invite("600", user="49", signed=False)) == 200
                asks_to_wait(await phone.invite("700"), "trunks[office].max_calls", 10)
            else:
                calling = asyncio.ensure_future(phone.invite("700"))
                await pbx.more_than(0)
                asks_to_wait(await office.invite("600", user="49", signed=False), "max_calls", 10)
                calling.cancel()
            for call in app.calls:
                call.stop()
                await call.finished()
            assert status_of(await office.invite("601", user="49", signed=False)) == 200
        finally:
            await asyncio.wait_for(app.stop(), 30)


def asks_to_wait(refused: bytes, said: str, seconds: int) -> None:
    assert status_of(refused) == 503, refused
    assert int(refused.partition(b"Retry-After: ")[2].partition(b"\r")[0]) == seconds
    assert said.encode() in refused


async def test_a_full_transaction_table_asks_to_wait(tmp_path: Path) -> None:
    """sip.limits.max_transactions: refused without any state, with Retry-After."""
    trunk = {"name": "office", "uri": "sip:127.0.0.77:5099", "options_interval": 0, "sources": ["127.0.0.1"]}
    app = GatewayApp(config_on_free_ports(tmp_path, SIP__LIMITS__MAX_TRANSACTIONS="1", TRUNKS=json.dumps([trunk])))
    await app.start()
    try:
        async with stranger("127.0.0.1") as far:
            rig = Rig(app, far)
            await rig.invite("600", signed=False)
            refused = await rig.invite("601", signed=False)
            assert status_of(refused) == 503
            assert b"Retry-After: 5" in refused
    finally:
        await asyncio.wait_for(app.stop(), 30)


async def test_while_the_store_is_away_strangers_are_asked_to_wait_and_users_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may not be known at the moment is not refused for good; whom the gateway knows by itself may call."""
    monkeypatch.setitem(PASSWORDS, "stranger", "whatever")
    app = GatewayApp(config_on_free_ports(tmp_path))
    await app.start()
    try:

        async def away(*_: object) -> None:
            raise StoreError("gone")

        async with stranger("127.0.0.1") as far:
            rig = Rig(app, far)
            monkeypatch.setattr(MemoryStore, "credential", away)
            assert status_of(await rig.invite("600")) == 200
            refused = await rig.invite("600", user="stranger")
            assert status_of(refused) == 503
            assert b"Retry-After: 5" in refused
    finally:
        await asyncio.wait_for(app.stop(), 30)
