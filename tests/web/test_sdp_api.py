"""POST /webrtc/offer, /webrtc/ice-candidate, /webrtc/close and GET /iceservers, line by line of the contract."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from gateway.call.status import Cause
from gateway.web.app import WebSettings
from tests.web.client import OFFER, client_of
from tests.web.fake import ANSWER, SDP, FakeCall, FakeGateway, running


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway()


@pytest.fixture
async def http(gateway: FakeGateway) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(gateway) as client:
        yield client


async def test_an_offer_is_answered_with_the_early_answer(http: httpx.AsyncClient, gateway: FakeGateway) -> None:
    """session_id and metadata come back as they were, ice_candidates is an empty list; the echo is called."""
    metadata = {"user_id": "user123", "deep": [{"x": None}]}
    response = await http.post("/webrtc/offer", json={**OFFER, "session_id": "my-id", "metadata": metadata})
    assert response.status_code == 200
    assert response.json() == {
        "sdp": {"type": "answer", "sdp": ANSWER},
        "session_id": "my-id",
        "ice_candidates": [],
        "metadata": metadata,
    }
    assert (gateway.calls[0].to, gateway.calls[0].offer) == ("600", SDP)


async def test_a_missing_session_id_is_generated_and_metadata_left_out(http: httpx.AsyncClient) -> None:
    """The id is a random UUID; absent metadata is omitted, not null."""
    body = (await http.post("/webrtc/offer", json=OFFER)).json()
    assert uuid.UUID(body["session_id"]).version == 4
    assert sorted(body) == ["ice_candidates", "sdp", "session_id"]


async def test_to_names_who_is_called(http: httpx.AsyncClient, gateway: FakeGateway) -> None:
    """An extension, a user or a SIP URI."""
    for to in ("1001", "alice", "sip:1001@pbx.example"):
        await http.post("/webrtc/offer", json={**OFFER, "to": to})
    assert [call.to for call in gateway.calls] == ["1001", "alice", "sip:1001@pbx.example"]


@pytest.mark.parametrize("event", ["ringing", "answered"])
async def test_without_an_early_answer_the_real_one_is_waited_for(event: str) -> None:
    """A 183's description or the 200's, whichever comes first."""
    gateway = FakeGateway()
    gateway.script = lambda call: asyncio.get_running_loop().call_soon(getattr(call.channel, event), call, ANSWER)
    async with client_of(gateway) as http:
        assert (await http.post("/webrtc/offer", json=OFFER)).json()["sdp"]["sdp"] == ANSWER


BAD_OFFERS: list[tuple[Any, str]] = [
    ({}, "sdp"),
    ([], ""),
    ({"sdp": "v=0"}, "sdp"),
    ({"sdp": {"type": "answer", "sdp": SDP}}, "'offer'"),
    ({"sdp": {"type": "offer"}}, "sdp.sdp"),
    ({"sdp": {"type": "offer", "sdp": ""}}, "cannot be empty"),
    ({"sdp": {"type": "offer", "sdp": " \r\n"}}, "cannot be empty"),
    ({"sdp": {"type": "offer", "sdp": 7}}, "sdp.sdp"),
    ({**OFFER, "session_id": "a\r\nb"}, "session_id"),
    ({**OFFER, "session_id": ""}, "session_id"),
    ({**OFFER, "session_id": 5}, "session_id"),
    ({**OFFER, "session_id": "x" * 129}, "session_id"),
    ({**OFFER, "to": "a\r\nVia: b"}, "to"),
    ({**OFFER, "to": "sip:a@b> <x"}, "to"),
]


@pytest.mark.parametrize(("body", "words"), BAD_OFFERS)
async def test_a_bad_offer_is_a_structured_400(
    http: httpx.AsyncClient, gateway: FakeGateway, body: Any, words: str
) -> None:
    """The error names the field; nothing is placed."""
    response = await http.post("/webrtc/offer", json=body)
    assert response.status_code == 400
    assert response.json()["code"] == 400
    assert words in response.json()["error"]
    assert gateway.calls == []


async def test_a_400_echoes_the_requested_session_id(http: httpx.AsyncClient) -> None:
    """Absent when none was asked for, or when it is unusable."""
    bad = {"sdp": {"type": "answer", "sdp": SDP}}
    assert (await http.post("/webrtc/offer", json={**bad, "session_id": "s"})).json()["session_id"] == "s"
    assert "session_id" not in (await http.post("/webrtc/offer", json=bad)).json()
    assert "session_id" not in (await http.post("/webrtc/offer", json={**bad, "session_id": "\n"})).json()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b"NaN", b"[" * 20_000, b'{"sdp":' * 30 + b"1" + b"}" * 30, b'{"sdp":1e999}']
)
async def test_malformed_json_is_a_structured_400(http: httpx.AsyncClient, content: bytes) -> None:
    """Also what is too deep for any parser."""
    response = await http.post("/webrtc/offer", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert sorted(response.json()) == ["code", "error"]


async def test_other_content_types_are_refused(http: httpx.AsyncClient, gateway: FakeGateway) -> None:
    """A foreign page may send text/plain without asking; it must not place calls."""
    response = await http.post("/webrtc/offer", content=json.dumps(OFFER), headers={"Content-Type": "text/plain"})
    assert response.status_code == 400
    assert gateway.calls == []


async def test_a_body_beyond_the_limit_is_413(gateway: FakeGateway) -> None:
    """By its declared length, and by what really comes when it is chunked."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(70):
            yield b"x" * 1_000

    headers = {"Content-Type": "application/json"}
    async with running(gateway) as server, httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as http:
        for content in (b"x" * 65_537, b"x" * 500_000, chunks()):
            response = await http.post("/webrtc/offer", content=content, headers=headers)
            assert response.status_code == 413
            assert response.json()["code"] == 413


@pytest.mark.parametrize(
    ("to", "status", "cause"),
    [
        ("nobody", 404, "not-found"),
        ("forbidden", 403, "forbidden"),
        ("full", 503, "overloaded"),
        ("malformed", 400, "error"),
        ("codec", 488, "not-acceptable"),
    ],
)
async def test_a_call_that_cannot_be_placed_has_its_status(
    http: httpx.AsyncClient, to: str, status: int, cause: str
) -> None:
    """The session id may be used again at once."""
    for _ in range(2):
        response = await http.post("/webrtc/offer", json={**OFFER, "to": to, "session_id": "s"})
        assert response.status_code == status
        assert ("retry-after" in response.headers) is (status == 503)
        assert {**response.json(), "error": ""} == {"error": "", "code": status, "session_id": "s", "cause": cause}


@pytest.mark.parametrize(
    ("cause", "status"),
    [(Cause.BUSY, 486), (Cause.DECLINED, 403), (Cause.UNAVAILABLE, 480), (Cause.NO_ANSWER, 408), (Cause.ERROR, 500)],
)
async def test_a_call_that_ends_before_its_answer_says_why(
    http: httpx.AsyncClient, gateway: FakeGateway, cause: Cause, status: int
) -> None:
    """The callee's refusal is the response."""
    gateway.script = lambda call: call.channel.ended(call, cause)
    response = await http.post("/webrtc/offer", json=OFFER)
    assert (response.status_code, response.json()["cause"]) == (status, cause.word)


async def test_a_crash_is_a_500_without_its_detail(http: httpx.AsyncClient) -> None:
    """The text starts as the contract has it."""
    response = await http.post("/webrtc/offer", json={**OFFER, "to": "crash", "session_id": "s"})
    assert response.json() == {
        "error": "Failed to process SDP offer: internal error",
        "code": 500,
        "session_id": "s",
        "cause": "error",
    }


async def test_no_answer_in_time_is_408_and_ends_the_call(gateway: FakeGateway) -> None:
    """Neither the session nor the call stays."""
    gateway.script = lambda call: None
    async with client_of(gateway, WebSettings(setup_timeout=0.05)) as http:
        response = await http.post("/webrtc/offer", json={**OFFER, "session_id": "s"})
        assert (response.status_code, response.json()["session_id"]) == (408, "s")
        assert gateway.calls[0].log == [("hangup", Cause.NO_ANSWER)]
        assert (await http.post("/webrtc/close", json={"session_id": "s"})).status_code == 404


async def test_a_client_that_goes_away_cancels_its_call(gateway: FakeGateway) -> None:
    """Nobody would fetch the answer."""
    gateway.script = lambda call: None
    async with running(gateway) as server:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as http:
            waiting = asyncio.create_task(http.post("/webrtc/offer", json=OFFER))
            await asyncio.wait_for(gateway.placed.wait(), 30)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        await gateway.calls[0].happens("hangup", Cause.CANCELLED)


async def test_a_live_session_id_is_taken(http: httpx.AsyncClient, gateway: FakeGateway) -> None:
    """409 while it lives; free again after close, or after the call has ended by itself."""
    offer = {**OFFER, "session_id": "s"}
    await http.post("/webrtc/offer", json=offer)
    response = await http.post("/webrtc/offer", json=offer)
    assert (response.status_code, response.json()["session_id"]) == (409, "s")
    gateway.calls[0].channel.ended(gateway.calls[0], Cause.NORMAL)
    assert (await http.post("/webrtc/offer", json=offer)).status_code == 200


async def test_candidates_reach_the_call(http: httpx.AsyncClient, gateway: FakeGateway) -> None:
    """Also the empty one that ends the list, and those without mid and index."""
    await http.post("/webrtc/offer", json={**OFFER, "session_id": "s"})
    for candidate in (
        {"candidate": "candidate:1 1 UDP 1 192.0.2.1 54400 typ host", "sdpMLineIndex": 0, "sdpMid": "0"},
        {"candidate": "", "sdpMLineIndex": None, "sdpMid": None},
        {"candidate": "candidate:2 1 tcp 9 2001:db8::1 9 typ host tcptype active"},
    ):
        response = await http.post("/webrtc/ice-candidate", json={"session_id": "s", "candidate": candidate})
        assert response.json() == {"session_id": "s", "status": "received"}
    assert [event[1:] for event in gateway.calls[0].log] == [
        ("candidate:1 1 UDP 1 192.0.2.1 54400 typ host", "0"),
        ("", None),
        ("candidate:2 1 tcp 9 2001:db8::1 9 typ host tcptype active", None),
    ]


@pytest.mark.parametrize(
    "candidate",
    [
        None,
        "candidate:1",
        {},
        {"candidate": 5},
        {"candidate": "garbage"},
        {"candidate": "candidate:1"},
        {"candidate": "candidate:1 0 udp 1 192.0.2.1 9 typ host"},
        {"candidate": "candidate:1 1 udp 1 192.0.2.1 65536 typ host"},
        {"candidate": "candidate:1 1 udp 0 192.0.2.1 9 typ host"},
        {"candidate": "candidate:1 1 udp 1 192.0.2.1 9"},
        {"candidate": "a\r\nb"},
        {"candidate": "c" * 2000},
        {"candidate": "", "sdpMLineIndex": -1},
        {"candidate": "", "sdpMLineIndex": 65536},
        {"candidate": "", "sdpMLineIndex": "0"},
        {"candidate": "", "sdpMid": "\x00"},
        {"candidate": "", "sdpMid": 0},
    ],
)
async def test_a_bad_candidate_is_a_structured_400(http: httpx.AsyncClient, candidate: Any) -> None:
    """The session id is echoed."""
    response = await http.post("/webrtc/ice-candidate", json={"session_id": "s", "candidate": candidate})
    assert (response.status_code, response.json()["session_id"]) == (400, "s")


async def test_candidates_of_one_session_are_limited(gateway: FakeGateway) -> None:
    """What comes beyond is refused."""
    async with client_of(gateway, WebSettings(max_candidates=1)) as http:
        await http.post("/webrtc/offer", json={**OFFER, "session_id": "s"})
        body = {"session_id": "s", "candidate": {"candidate": "candidate:1 1 udp 1 h.local 9 typ host"}}
        assert [(await http.post("/webrtc/ice-candidate", json=body)).status_code for _ in range(2)] == [200, 400]


async def test_close_ends_the_call(http: httpx.AsyncClient, gateway: FakeGateway) -> None:
    """The session is unknown afterwards."""
    await http.post("/webrtc/offer", json={**OFFER, "session_id": "s"})
    body = {"session_id": "s", "reason": "User initiated close"}
    assert (await http.post("/webrtc/close", json=body)).json() == {"session_id": "s", "status": "closed"}
    assert gateway.calls[0].log == [("hangup", Cause.NORMAL)]
    assert (await http.post("/webrtc/close", json=body)).status_code == 404


async def test_an_unknown_session_is_404(http: httpx.AsyncClient) -> None:
    """For candidates and close alike."""
    for path, extra in (("close", {}), ("ice-candidate", {"candidate": {"candidate": ""}})):
        response = await http.post(f"/webrtc/{path}", json={"session_id": "gone", **extra})
        assert response.status_code == 404
        assert response.json() == {"error": "Session not found", "code": 404, "session_id": "gone"}


async def test_a_session_ends_after_its_lifetime(gateway: FakeGateway) -> None:
    """A forgotten browser holds no call for ever."""
    async with client_of(gateway, WebSettings(session_lifetime=0.01)) as http:
        await http.post("/webrtc/offer", json={**OFFER, "session_id": "s"})
        await gateway.calls[0].happens("hangup", Cause.NORMAL)
        assert (await http.post("/webrtc/close", json={"session_id": "s"})).status_code == 404


def _basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("header", ["Bearer alice:wonder", "Bearer token-of-alice", _basic("alice:wonder")])
async def test_a_user_calls_with_an_authorization_header(gateway: FakeGateway, header: str) -> None:
    """And only that user may touch the session."""
    async with client_of(gateway) as http:
        mine = {"Authorization": header}
        await http.post("/webrtc/offer", json={**OFFER, "session_id": "s"}, headers=mine)
        assert gateway.calls[0].caller is not None
        assert gateway.calls[0].caller.id == "alice"
        close = {"session_id": "s"}
        assert (await http.post("/webrtc/close", json=close)).status_code == 401
        other = {"Authorization": "Bearer bob:builder"}
        assert (await http.post("/webrtc/close", json=close, headers=other)).status_code == 403
        assert gateway.calls[0].log == []
        assert (await http.post("/webrtc/close", json=close, headers=mine)).status_code == 200


@pytest.mark.parametrize(
    "header", ["Bearer alice:wrong", "Bearer x", "Bearer ", "Basic !!!", "Digest a", "Bearer " + "x" * 2000, ""]
)
async def test_wrong_credentials_are_401(http: httpx.AsyncClient, gateway: FakeGateway, header: str) -> None:
    """Nothing is placed, and the header is not reflected."""
    response = await http.post("/webrtc/offer", json=OFFER, headers={"Authorization": header})
    assert (response.status_code, response.json()["error"]) == (401, "The credentials are not valid")
    assert gateway.calls == []


async def test_guests_may_be_refused(http: httpx.AsyncClient, gateway: FakeGateway) -> None:
    """401 where the gateway wants to know who calls."""
    gateway.guests_allowed = False
    assert (await http.post("/webrtc/offer", json=OFFER)).status_code == 401


async def test_guessing_is_slowed_down(gateway: FakeGateway) -> None:
    """503 with Retry-After, without asking the gateway."""
    async with client_of(gateway, WebSettings(failure_burst=2, failures_per_second=0.0001)) as http:
        guess = {"Authorization": "Bearer alice:wrong"}
        codes = [(await http.post("/webrtc/offer", json=OFFER, headers=guess)).status_code for _ in range(3)]
        assert codes == [401, 401, 503]
        assert gateway.attempts == 2


async def test_offers_and_sessions_are_limited(gateway: FakeGateway) -> None:
    """A flood of offers is 503 before anything is placed."""
    async with client_of(gateway, WebSettings(max_sessions=1)) as http:
        first, second = [await http.post("/webrtc/offer", json=OFFER) for _ in range(2)]
        assert [first.status_code, second.status_code] == [200, 503]
        assert second.headers["retry-after"] == "10"
        assert second.json()["cause"] == "limit"
        assert second.json()["error"] == "web.limits.max_sessions: all 1 sessions are taken"
    async with client_of(gateway, WebSettings(offer_burst=1, offers_per_second=0.0001)) as http:
        responses = [await http.post("/webrtc/offer", json=OFFER) for _ in range(2)]
        assert [response.status_code for response in responses] == [200, 503]
        assert responses[1].headers["retry-after"] == "1"
    assert len(gateway.calls) == 2


async def test_a_page_of_another_origin_may_not_post(http: httpx.AsyncClient, gateway: FakeGateway) -> None:
    """403; our own origin may."""
    for origin, status in (("https://evil.example", 403), ("null", 403), ("http://gateway.example", 200)):
        assert (await http.post("/webrtc/offer", json=OFFER, headers={"Origin": origin})).status_code == status
    assert len(gateway.calls) == 1


async def test_listed_origins_pass_the_preflight(gateway: FakeGateway) -> None:
    """CORS headers for them, none for others."""
    async with client_of(gateway, WebSettings(allowed_origins=("https://app.example",))) as http:
        ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
        good = await http.options("/webrtc/offer", headers={"Origin": "https://app.example", **ask})
        assert good.headers["access-control-allow-origin"] == "https://app.example"
        bad = await http.options("/webrtc/offer", headers={"Origin": "https://evil.example", **ask})
        assert "access-control-allow-origin" not in bad.headers


async def test_ice_servers_are_a_bare_array(http: httpx.AsyncClient) -> None:
    """Absent credentials are omitted."""
    assert (await http.get("/iceservers")).json() == [
        {"urls": ["stun:stun.example.com:3478"]},
        {"urls": ["turn:t"], "username": "guest", "credential": "c"},
    ]


@pytest.mark.parametrize(
    ("header", "user"),
    [
        ("Bearer alice:wonder", "alice"),
        ("Bearer token-of-alice", "alice"),
        ("Bearer alice:wrong", None),
        ("Bearer no-such-token", None),
        ("Negotiate x", None),
        ("", None),
    ],
)
async def test_relays_are_told_to_whom_may_call(gateway: FakeGateway, header: str, user: str | None) -> None:
    """Whoever shows a wrong password is told what is free for everybody, and guesses no faster here than elsewhere."""
    async with client_of(gateway) as http:
        answer = await http.get("/iceservers", headers={"Authorization": header})
        assert (answer.status_code, answer.json()) == (200, gateway.ice_servers("", user))


async def test_no_guest_is_told_of_relays_where_there_are_none(gateway: FakeGateway) -> None:
    """Where guests may not call, who does not sign in is told of no relay."""
    gateway.guests_allowed = False
    async with client_of(gateway) as http:
        assert (await http.get("/iceservers")).json() == gateway.ice_servers("", None)
        signed_in = await http.get("/iceservers", headers={"Authorization": "Bearer alice:wonder"})
        assert signed_in.json() == gateway.ice_servers("", "alice")


async def test_guesses_at_ice_servers_are_counted(gateway: FakeGateway) -> None:
    """After too many even the right password is not looked at for a while."""
    async with client_of(gateway, WebSettings(failure_burst=2, failures_per_second=0.001)) as http:
        for word in ("a", "b", "wonder"):
            answer = await http.get("/iceservers", headers={"Authorization": f"Bearer alice:{word}"})
            assert answer.json() == gateway.ice_servers("", None)


async def test_a_session_cannot_be_called_and_refuses_reoffers(gateway: FakeGateway) -> None:
    """There is no way to reach a browser that only asks."""
    async with client_of(gateway) as http:
        await http.post("/webrtc/offer", json=OFFER)
    call = gateway.calls[0]
    assert call.channel.can_update is False
    call.offers(SDP)
    call.channel.candidate(call, "", None)
    stray = FakeCall("x", call.channel)
    call.channel.incoming(stray, "sip:a@b", "", SDP)
    assert call.log == [("update_answer", None)]
    assert stray.log == [("reject", Cause.UNAVAILABLE)]


async def test_stopping_ends_the_sessions(gateway: FakeGateway) -> None:
    """No call outlives the server."""
    async with running(gateway) as server, httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as http:
        await http.post("/webrtc/offer", json=OFFER)
    assert gateway.calls[0].log == [("hangup", Cause.NORMAL)]
