"""gateway.client against the real gateway: sound by frequency, sessions, errors in the API's own words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import pytest_asyncio

from gateway.client import Answer, Call, ClientError, GatewayClient, IceCandidate
from tests.interop.gateway import NEAR, PASSWORDS, TONE_HZ, Gateway, RpcBrowser, config_on_free_ports, gateway_with
from tests.web.browser import Tone

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    folder: Path = tmp_path_factory.mktemp("client")
    async with gateway_with(config_on_free_ports(folder), folder / "gateway.log") as running:
        yield running


def client_of(gateway: Gateway, user: str | None = None, password: str | None = None) -> GatewayClient:
    """A client of the running gateway."""
    return GatewayClient(gateway.app.page_url, user=user, password=password)


async def _frequency(call: Call) -> float:
    heard: list[np.ndarray] = []
    rate = 48_000
    async with asyncio.timeout(30):
        async for frame in call.frames():
            samples = frame.to_ndarray().astype(float).reshape(-1, len(frame.layout.channels))[:, 0]
            rate = frame.sample_rate
            if np.abs(samples).max() > 300:
                heard.append(samples)
            if sum(map(len, heard)) > rate:
                break
    sound = np.concatenate(heard)
    return float(np.argmax(np.abs(np.fft.rfft(sound * np.hanning(sound.size)))) * rate / sound.size)


async def test_a_guest_listens_to_the_tone(gateway: Gateway) -> None:
    """Without a track of its own the call only listens."""
    async with client_of(gateway) as client, await client.call("601") as call:
        assert await _frequency(call) == pytest.approx(TONE_HZ, abs=NEAR)


async def test_the_echo_gives_a_users_own_tone_back(gateway: Gateway) -> None:
    """Signed in; the session is listed while it lasts, and gone afterwards."""
    async with client_of(gateway, "alice", PASSWORDS["alice"]) as client:
        async with await client.call("600", audio=Tone(660), metadata={"n": 1}) as call:
            assert await _frequency(call) == pytest.approx(660, abs=NEAR)
            sessions = await client.sessions()
            assert [(session.to, session.user, session.metadata) for session in sessions] == [
                ("600", "alice", {"n": 1})
            ]
        assert await client.sessions() == []


async def test_a_call_says_when_it_is_answered_and_why_it_ended(gateway: Gateway) -> None:
    """It rings when `call` returns; declined, answered and ended by the other side, and by this one."""
    async with client_of(gateway, "alice", PASSWORDS["alice"]) as client, RpcBrowser() as bob, asyncio.timeout(60):
        await bob.open(gateway.app.signed_in_url("bob"), timeout=30)
        call = await client.call("bob")
        await bob.status("ringing", timeout=30)
        waiting = asyncio.create_task(call.answered())
        assert (await client.session(call.session_id, unlike="calling")).state == "ringing"
        await bob.decline()
        with pytest.raises(ClientError, match="The call was declined") as refused:
            await waiting
        assert (refused.value.cause, refused.value.session_id) == ("declined", call.session_id)
        assert (call.state, call.cause, await call.ended()) == ("ended", "declined", "declined")
        assert [frame async for frame in call.frames()][1_000:] == []
        await call.hang_up()
        await bob.status("ready", timeout=30)
        async with await client.call("bob", audio=Tone(660)) as call:
            await bob.status("ringing", timeout=30)
            await bob.accept()
            await call.answered()
            assert (call.state, call.cause) == ("answered", None)
            await bob.hang_up()
            async for _ in call.frames():
                pass
            assert (call.state, call.cause) == ("ended", "normal")
        await bob.status("ready", timeout=30)
        call = await client.call("bob")
        await bob.status("ringing", timeout=30)
        waiting = asyncio.create_task(call.answered())
        hearing = asyncio.create_task(anext(call.frames(), None))
        await asyncio.sleep(0)
        await call.hang_up()
        await hearing
        with pytest.raises(ClientError, match=r"The call (has )?ended"):
            await waiting
        assert (call.state, call.cause) == ("ended", "normal")
        assert (await client.session(call.session_id)).cause == "normal"
        with pytest.raises(ClientError) as refused:
            await client.session("no/such session")
        assert refused.value.code == 404


async def test_a_call_that_ends_before_its_media_is_connected_says_why(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Declined at once: not that the media could not be connected."""
    async with client_of(gateway, "alice", PASSWORDS["alice"]) as client, RpcBrowser() as bob, asyncio.timeout(60):
        await bob.open(gateway.app.signed_in_url("bob"), timeout=30)

        connect = Call.connect

        async def late(call: Call, answer: str) -> None:
            await bob.status("ringing", timeout=30)
            await bob.decline()
            await connect(call, answer)

        monkeypatch.setattr(Call, "connect", late)
        monkeypatch.setattr("gateway.client.call._CONNECT_SECONDS", 0.5)
        with pytest.raises(ClientError, match="The call was declined") as refused:
            await client.call("bob")
        assert (refused.value.code, refused.value.cause) == (408, "declined")


async def test_many_calls_that_wait_take_turns() -> None:
    """A gateway lets one address have so many connections, and this client others beside those."""
    asked: list[float] = []
    now, most = 0, 0

    async def answer(request: httpx.Request) -> httpx.Response:
        nonlocal now, most
        asked.append(float(request.url.params["seconds"]))
        now += 1
        most = max(now, most)
        await asyncio.sleep(0)
        now -= 1
        return httpx.Response(200, json={"session_id": "s", "state": "ringing"})

    http = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://gateway.example")
    async with GatewayClient("", http=http) as client:
        await client.session("s", unlike="calling")
        await asyncio.gather(*(client.session("s", unlike="calling") for _ in range(120)))
        await client.session("s", unlike="calling")
    assert most == 50
    assert asked[0] == asked[-1] == 15.0
    assert asked[60] == 1.0


async def test_a_newer_gateway_may_say_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not known is left out; where something is missing it is the client's own error."""
    answer: dict[str, object] = {"session_id": "s", "to": "600", "state": "answered", "created_at": 1.0, "new": 1}
    answers: dict[str, object] = {
        "/iceservers": [{"urls": ["stun:192.0.2.1"], "new": 1}],
        "/webrtc/sessions": {"sessions": [answer], "count": 1},
    }
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=answers[request.url.path]))
    http = httpx.AsyncClient(transport=transport, base_url="http://gateway.example")
    async with GatewayClient("", http=http) as client:
        assert (await client.ice_servers())[0].urls == ["stun:192.0.2.1"]
        assert (await client.sessions())[0].to == "600"
        del answer["to"]
        with pytest.raises(ClientError, match="cannot be read"):
            await client.sessions()


@pytest.mark.parametrize("moment", ["offered", "connecting", "too late", "away"])
async def test_a_call_that_is_given_up_before_it_is_connected_ends_at_the_gateway(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Nobody is rung for a caller who has gone; what happens on the way does not hide why it was given up."""
    reached = asyncio.Event()
    connections: list[Call] = []

    async def connect(call: Call, answer: str) -> None:
        connections.append(call)
        reached.set()
        if moment == "too late":
            raise TimeoutError
        await asyncio.Event().wait()

    monkeypatch.setattr(Call, "connect", connect)
    async with client_of(gateway, "alice", PASSWORDS["alice"]) as client:
        send_offer, close_session = client.send_offer, client.close_session

        async def slow(*given: object, **named: object) -> Answer:
            answer = await send_offer(*given, **named)  # type: ignore[arg-type]
            if moment == "offered":
                reached.set()
                await asyncio.Event().wait()
            return answer

        async def away(session_id: str, reason: str | None = None) -> None:
            await close_session(session_id, reason)
            raise ClientError("the gateway cannot be reached")

        monkeypatch.setattr(client, "send_offer", slow)
        if moment == "away":
            monkeypatch.setattr(client, "close_session", away)
        calling = asyncio.create_task(client.call("600"))
        await asyncio.wait_for(reached.wait(), 30)
        if moment != "too late":
            assert [session.to for session in await client.sessions()] == ["600"]
            calling.cancel()
        [given_up] = await asyncio.gather(calling, return_exceptions=True)
        if moment == "too late":
            assert isinstance(given_up, ClientError)
            assert given_up.code == 408
        else:
            assert isinstance(given_up, asyncio.CancelledError)
        assert await client.sessions() == []
        assert all(call.connection.connectionState == "closed" for call in connections)


async def test_errors_are_the_apis_own(gateway: Gateway) -> None:
    """With status, session and cause; a gateway that is not there has code 0."""
    async with client_of(gateway) as client:
        with pytest.raises(ClientError) as refused:
            await client.send_offer("nonsense")
        assert refused.value.code == 400
        with pytest.raises(ClientError) as refused:
            await client.close_session("none")
        assert (refused.value.code, refused.value.session_id) == (404, "none")
        with pytest.raises(ClientError) as refused:
            await client.send_ice_candidate("none", IceCandidate(candidate="garbage"))
        assert refused.value.code == 400
        with pytest.raises(ClientError) as refused:
            await client.sessions()
        assert refused.value.code == 401
    async with client_of(gateway, "alice", "wrong") as client:
        with pytest.raises(ClientError) as refused:
            await client.sessions()
        assert (refused.value.code, str(refused.value)) == (401, "Name or password is wrong")
    async with GatewayClient("http://127.0.0.1:9") as client:
        with pytest.raises(ClientError) as refused:
            await client.ice_servers()
        assert refused.value.code == 0
