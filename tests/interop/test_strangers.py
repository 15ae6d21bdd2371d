"""What strangers send while people talk: the talk goes on, new calls are made, the log stays clean."""

from __future__ import annotations

import asyncio
import random
import re
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
import websockets

from tests.interop.gateway import (
    PASSWORDS,
    RpcBrowser,
    hear_each_other,
)
from tests.interop.stranger import (
    HOST,
    SDP,
    Stranger,
    authorization,
    own_udp_ports,
    status_of,
    stranger,
)
from tests.interop.talk import Talk, ask, rpc_url, talking

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]

CORPUS = Path(__file__).parents[1] / "data" / "rfc4475"
SEED = 20_260_101


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def talk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Talk]:
    """The call that every test of this module tries to disturb."""
    async with talking(tmp_path_factory.mktemp("strangers")) as call:
        yield call


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def _unharmed(talk: Talk) -> AsyncIterator[None]:
    """After each test the talk goes on."""
    yield
    await talk.goes_on()


@pytest_asyncio.fixture(loop_scope="module")
async def mallory() -> AsyncIterator[Stranger]:
    """The stranger."""
    async with stranger() as socket:
        yield socket


async def breathe(count: int, every: int = 20) -> None:
    """Let the gateway work after every few datagrams, so that its socket's buffer does not drop them unseen."""
    if count % every == 0:
        await asyncio.sleep(0.002)


# -- datagrams at the SIP port ------------------------------------------------------


async def test_every_torture_message_of_rfc_4475(talk: Talk, mallory: Stranger) -> None:
    """Each as one datagram; what can be answered is, with SIP."""
    for number, file in enumerate(sorted(CORPUS.glob("*.dat"))):
        mallory.send(file.read_bytes(), talk.gateway.sip)
        await breathe(number, 5)
    options = mallory.request("OPTIONS", f"sip:{talk.gateway.config.domain}")
    assert await mallory.status(options, talk.gateway.sip) == 200
    assert all(data.startswith(b"SIP/2.0 ") for data, _ in mallory.received)


async def test_random_and_mutilated_datagrams_at_the_sip_port(talk: Talk, mallory: Stranger) -> None:
    """Pure noise, and real requests with bytes flipped, cut out, doubled or put in."""
    dice = random.Random(SEED)
    host, port = talk.gateway.sip
    templates = [
        mallory.request("INVITE", f"sip:alice@{host}:{port}", body=SDP.format(host=HOST)),
        mallory.request("REGISTER", f"sip:{host}:{port}", headers=("Expires: 60",)),
        mallory.request("BYE", f"sip:alice@{host}:{port}", call_id=talk.call_id, to_tag="x"),
    ]
    for number in range(400):
        if number % 2:
            data = bytearray(dice.choice(templates))
            for _ in range(dice.randint(1, 8)):
                place = dice.randrange(len(data))
                change = dice.randrange(4)
                if change == 0:
                    data[place] = dice.randrange(256)
                elif change == 1:
                    del data[place : place + dice.randint(1, 30)]
                elif change == 2:
                    data[place:place] = data[place : place + dice.randint(1, 30)]
                else:
                    data[place:place] = dice.randbytes(dice.randint(1, 30))
        else:
            data = bytearray(dice.randbytes(dice.randint(0, 1400)))
        mallory.send(bytes(data), talk.gateway.sip)
        await breathe(number)


async def test_a_flood_from_one_source_leaves_others_alone(talk: Talk, mallory: Stranger) -> None:
    """A thousand REGISTERs are mostly refused; what is sent back is no more than was sent (no amplifier)."""
    sent = 0
    for number in range(1000):
        request = mallory.request("REGISTER", f"sip:{talk.gateway.config.domain}", headers=("Expires: 60",))
        sent += len(request)
        mallory.send(request, talk.gateway.sip)
        await breathe(number)
    await hear_each_other(talk.alice, talk.phone)
    assert sum(len(data) for data, _ in mallory.received) <= sent


# -- datagrams at the media ports ---------------------------------------------------

COOKIE = b"\x21\x12\xa4\x42"


def _stun_oddities(dice: random.Random) -> list[bytes]:
    head = struct.pack("!HH", 0x0001, 0) + COOKIE + dice.randbytes(12)
    username = b"victim:victim"
    attribute = struct.pack("!HH", 0x0006, len(username)) + username + b"\0" * (-len(username) % 4)
    return [
        head,
        head[:19],
        struct.pack("!HH", 0x0001, 0xFFFC) + head[4:],
        struct.pack("!HH", 0x0001, 4) + head[4:] + struct.pack("!HH", 0x0006, 0xFFFF),
        struct.pack("!HH", 0x0001, len(attribute)) + head[4:] + attribute,
        struct.pack("!HH", 0x0001, 8) + head[4:] + struct.pack("!HHI", 0x8028, 4, 0xDEADBEEF),
        struct.pack("!HH", 0x0101, 0) + head[4:],
        struct.pack("!HH", 0x0111, 0) + head[4:],
        struct.pack("!HH", 0x0001, 24) + head[4:] + struct.pack("!HH", 0x0008, 20) + dice.randbytes(20),
        struct.pack("!HH", 0x0001, 4000) + head[4:] + struct.pack("!HH", 0x0006, 0) * 1000,
    ]


def _dtls_oddities(dice: random.Random) -> list[bytes]:
    hello = b"\xfe\xfd" + dice.randbytes(32) + b"\0\0" + b"\0\x02\0\0" + b"\x01\0"
    handshake = b"\x01" + len(hello).to_bytes(3, "big") + b"\0\0" + b"\0\0\0" + len(hello).to_bytes(3, "big") + hello
    record = b"\xfe\xfd" + b"\0" * 8 + struct.pack("!H", len(handshake))
    alert = b"\x15\xfe\xfd" + b"\0" * 8
    return [
        b"\x16" + record + handshake,
        alert + b"\0\x02\x02\x28",
        alert + b"\0\x02\x01\0",
        b"\x14\xfe\xfd" + b"\0" * 8 + b"\0\x01\x01",
        b"\x16\xfe\xfd" + b"\xff" * 10,
        b"\x17\xfe\xfd\0\x01" + b"\0" * 6 + b"\0\x40" + dice.randbytes(64),
    ]


def _rtp(dice: random.Random, sequence: int, ssrc: int = 0x0BADF00D) -> bytes:
    return struct.pack("!BBHII", 0x80, 0, sequence & 0xFFFF, sequence * 160, ssrc) + dice.randbytes(160)


def _rtcp(dice: random.Random) -> list[bytes]:
    return [
        b"\x80\xc8\0\0",
        struct.pack("!BBHI", 0x81, 203, 1, 0x0BADF00D),
        struct.pack("!BBHI", 0x80, 200, 6, 0x0BADF00D) + dice.randbytes(20),
        b"\x80\xc9",
        b"\x9f\xc9\xff\xff" + dice.randbytes(8),
    ]


async def test_stun_dtls_and_srtp_from_an_unproven_address(talk: Talk, mallory: Stranger) -> None:
    """At the WebRTC port: nothing that is no STUN is answered, and the call's keys are not touched (C.1)."""
    dice = random.Random(SEED)
    listen = talk.gateway.config.webrtc.listen
    target = (listen.host, listen.port)
    for data in _dtls_oddities(dice) * 5:
        mallory.send(data, target)
    for sequence in range(100):
        mallory.send(_rtp(dice, sequence) + dice.randbytes(10), target)
        await breathe(sequence)
    for data in (*_rtcp(dice), *(dice.randbytes(dice.randint(0, 1300)) for _ in range(100))):
        # First bytes 0 to 3 are STUN's (RFC 7983), which may be answered.
        mallory.send(bytes([data[0] | 0x80]) + data[1:] if data else data, target)
    await hear_each_other(talk.alice, talk.phone)
    assert mallory.received == []


async def test_malformed_stun_is_never_answered_with_more_than_it_was(talk: Talk, mallory: Stranger) -> None:
    """Wrong lengths, unknown users, forged integrity: silence or a short error, and the call keeps its address."""
    dice = random.Random(SEED)
    listen = talk.gateway.config.webrtc.listen
    sent = 0
    for data in _stun_oddities(dice) * 3:
        mallory.send(data, (listen.host, listen.port))
        sent += len(data)
    await hear_each_other(talk.alice, talk.phone)
    assert sum(len(data) for data, _ in mallory.received) <= sent
    assert not any(data[0] >= 20 for data, _ in mallory.received)


@pytest.mark.parametrize("host", [HOST, "127.0.0.1"])
async def test_a_third_socket_at_the_rtp_ports_hears_nothing_and_says_nothing(talk: Talk, host: str) -> None:
    """RTP bleed: noise while the tones flow, from another address and from the phone's own with another port."""
    dice = random.Random(SEED)
    ports = talk.gateway.config.rtp.ports
    mine = own_udp_ports(ports.first, ports.last)
    assert mine
    async with stranger(host) as third:
        spraying = asyncio.create_task(_spray(third, [("127.0.0.1", port) for port in mine], dice))
        try:
            for _ in range(3):
                # A clean tone has four fifths of the power at one frequency: injected noise would be heard.
                await hear_each_other(talk.alice, talk.phone)
        finally:
            spraying.cancel()
            await asyncio.gather(spraying, return_exceptions=True)
        assert third.received == []


async def _spray(third: Stranger, targets: list[tuple[str, int]], dice: random.Random) -> None:
    sequence = 0
    while True:
        for target in targets:
            third.send(_rtp(dice, sequence), target)
            third.send(dice.choice(_rtcp(dice)), target)
        sequence += 1
        await asyncio.sleep(0.01)


# -- requests that claim to be somebody's -------------------------------------------


@pytest.mark.parametrize("method", ["BYE", "INVITE", "UPDATE", "INFO"])
@pytest.mark.parametrize("to_tag", ["guess", "a" * 32, ""])
async def test_a_dialog_cannot_be_hijacked_with_guessed_tags(
    talk: Talk, mallory: Stranger, method: str, to_tag: str
) -> None:
    """The Call-ID alone is worth nothing: 481 with tags, a challenge without (RFC 3261 section 12.2.2)."""
    host, port = talk.gateway.sip
    body = SDP.format(host=HOST) if method in ("INVITE", "UPDATE") else ""
    request = mallory.request(
        method, f"sip:alice@{host}:{port}", call_id=talk.call_id, to_tag=to_tag, cseq=900, body=body
    )
    status = await mallory.status(request, talk.gateway.sip)
    assert status == 481 if to_tag else status in (401, 481)


async def test_a_call_of_others_cannot_be_cancelled(talk: Talk, mallory: Stranger) -> None:
    """CANCEL needs the transaction of the INVITE, branch included (from elsewhere: tests/sip/test_invite_ends.py)."""
    host, port = talk.gateway.sip
    request = mallory.request("CANCEL", f"sip:alice@{host}:{port}", call_id=talk.call_id)
    assert await mallory.status(request, talk.gateway.sip) == 481


@pytest.mark.parametrize("method", ["INVITE", "REGISTER", "MESSAGE", "SUBSCRIBE", "NOTIFY", "REFER", "PUBLISH", "INFO"])
async def test_nothing_is_done_for_who_did_not_authenticate(talk: Talk, mallory: Stranger, method: str) -> None:
    """Each method outside a dialog is challenged or not known; none succeeds."""
    target = talk.gateway.config.domain if method == "REGISTER" else f"alice@{talk.gateway.config.domain}"
    body = SDP.format(host=HOST) if method == "INVITE" else ""
    request = mallory.request(method, f"sip:{target}", user="1001", body=body)
    assert await mallory.status(request, talk.gateway.sip) in (401, 403, 405, 481, 501)


async def test_a_user_cannot_call_as_another(talk: Talk, mallory: Stranger) -> None:
    """Credentials of 1002, From 1001: 403, and nobody's phone rings (CVE-2025-47779)."""
    assert await signed(talk, mallory, "INVITE", talk.gateway.uri("601"), user="1001", as_user="1002") == 403


async def test_a_user_cannot_register_for_another(talk: Talk, mallory: Stranger) -> None:
    """Credentials of 1002, To 1001: 403, and calls to 1001 still reach its own phone."""
    own = f"sip:{talk.gateway.config.domain}"
    status = await signed(talk, mallory, "REGISTER", own, user="1002", as_user="1002", to=talk.gateway.uri("1001"))
    assert status == 403


async def test_a_web_users_password_is_no_sip_account(talk: Talk, mallory: Stranger) -> None:
    """Alice has a page, not a phone."""
    own = f"sip:{talk.gateway.config.domain}"
    status = await signed(talk, mallory, "REGISTER", own, user="alice", as_user="alice", to=talk.gateway.uri("alice"))
    assert status == 403


async def signed(
    talk: Talk,
    mallory: Stranger,
    method: str,
    uri: str,
    *,
    user: str,
    as_user: str,
    to: str | None = None,
) -> int:
    """Send a request, answer its challenge with the credentials of `as_user`, return the status."""
    body = SDP.format(host=HOST) if method == "INVITE" else ""
    call_id = f"signed-{random.getrandbits(64):x}"
    first = mallory.request(method, uri, user=user, to=to, body=body, call_id=call_id)
    challenge = await mallory.ask(first, talk.gateway.sip)
    assert status_of(challenge) == 401, challenge
    header = authorization(challenge, method, uri, as_user, PASSWORDS[as_user])
    second = mallory.request(method, uri, user=user, to=to, body=body, call_id=call_id, cseq=2, headers=(header,))
    return await mallory.status(second, talk.gateway.sip)


# -- dialling out on somebody else's bill -------------------------------------------


async def test_strangers_do_not_dial_out_through_the_trunk(talk: Talk, mallory: Stranger) -> None:
    """An INVITE without credentials, a guest on /rpc and over HTTP: the trunk hears of none of them."""
    before = len(talk.trunk.received)
    invite = mallory.request("INVITE", talk.gateway.uri("00491234"), user="1001", body=SDP.format(host=HOST))
    assert await mallory.status(invite, talk.gateway.sip) == 401

    offer = await _offer_of(talk.bob)
    async with httpx.AsyncClient(base_url=talk.gateway.web) as client:
        answer = await client.post("/webrtc/offer", json={"sdp": {"type": "offer", "sdp": offer}, "to": "00491234"})
        assert answer.status_code in (401, 403)
    async with websockets.connect(rpc_url(talk)) as socket:
        await ask(socket, "announce", peer_id="guest-1", capabilities={"audio": True})
        reply = await ask(socket, "offer", to_peer_id="00491234", sdp=offer, type="offer")
        assert "error" in reply
    assert talk.trunk.received[before:] == []


@pytest.mark.parametrize(
    "number",
    [
        "0123\r\nX-Evil: 1",
        "0123\nX-Evil: 1",
        "0123%0d%0aX-Evil: 1",
        "0123>;X-Evil=1\r\n\r\nINVITE sip:x SIP/2.0",
        'sip:0123@"\r\nX-Evil: 1"',
        "0123\x00X-Evil: 1",
        "0123\u2028X-Evil: 1",
        "0123\x85X-Evil: 1",
        "0123?X-Evil=1",
        "0123;X-Evil=1",
    ],
)
async def test_no_header_is_smuggled_through_a_dialled_string(talk: Talk, number: str) -> None:
    """Bob may dial out; whatever he dials, the trunk never sees a header of his making."""
    before = len(talk.trunk.received)
    await talk.bob.refused(number) if not _dialable(number) else await _dial_and_give_up(talk, number, before)
    for data, _ in talk.trunk.received[before:]:
        assert not re.search(rb"^\s*X-Evil", data.replace(b"\r", b"\n"), re.MULTILINE | re.IGNORECASE)
        assert data.count(b"SIP/2.0\r\n") == 1


def _dialable(number: str) -> bool:
    """Whether it can be read as a number with URI parameters or headers, which are not sent on."""
    return number.startswith(("0123?", "0123;"))


async def _dial_and_give_up(talk: Talk, number: str, before: int) -> None:
    await talk.bob.dial(number)
    await talk.trunk.more_than(before)
    await talk.bob.hang_up()


@pytest.mark.parametrize("field", ["peer_id", "capabilities", "token", "reason", "digit", "call_id", "candidate"])
async def test_control_bytes_in_any_field_of_rpc_go_nowhere(talk: Talk, field: str) -> None:
    """Refused with a JSON-RPC error or ignored; the log has none of them (held after each test)."""
    evil = "\x1b[31mevil\r\nX-Evil: 1\x00"
    async with websockets.connect(rpc_url(talk)) as socket:
        params = {"peer_id": "guest-2", "capabilities": {"audio": True}, field: evil}
        await ask(socket, "announce", **params)
        for method in ("disconnect", "dtmf", "ice_candidate", "answer", evil):
            await ask(socket, method, **{"peer_id": "601", "to_peer_id": "601", "sdp": evil, "digit": "1", field: evil})


async def _offer_of(browser: RpcBrowser) -> str:
    """A good offer."""
    connection = browser._new_connection()
    await connection.setLocalDescription(await connection.createOffer())
    sdp = str(connection.localDescription.sdp)
    await browser._finish()
    return sdp
