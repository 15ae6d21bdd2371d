"""Dialect 1 between announced peers, as the contract of the Node example server has it."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from gateway.call.status import Cause
from gateway.web.app import WebSettings
from gateway.web.rpc import calls
from tests.web.fake import ANSWER, SDP, FakeGateway, RpcClient, rpc, running


async def test_announce_tells_who_else_is_there_and_the_others_who_came() -> None:
    """peers_count includes the newcomer, other_peers does not."""
    async with running(FakeGateway()) as server, rpc(server) as ann:
        assert await ann.ok("announce", peer_id="ann", capabilities={"audio": True}) == {
            "peer_id": "ann",
            "peers_count": 1,
            "other_peers": [],
        }
        async with rpc(server) as ben:
            result = await ben.ok("announce", peer_id="ben", capabilities={"audio": True, "video": False})
            assert result == {"peer_id": "ben", "peers_count": 2, "other_peers": ["ann"]}
            capabilities = {"audio": True, "video": False}
            assert await ann.next_notice() == ("peer_joined", {"peer_id": "ben", "capabilities": capabilities})
            listed = await ann.ok("list_peers")
            assert listed["count"] == 2
            assert listed["peers"][0] == {"peer_id": "ann", "capabilities": {"audio": True}, "state": "available"}
        assert await ann.next_notice() == ("peer_left", {"peer_id": "ben"})


async def test_offer_answer_candidate_and_disconnect_are_relayed() -> None:
    """Each reaches the other peer with the sender's id, and its sender gets the contract's result."""
    async with running(FakeGateway()) as server, rpc(server, "ann") as ann, rpc(server, "ben") as ben:
        await ann.notified("peer_joined")
        result = await ann.ok("offer", to_peer_id="ben", sdp="any text")
        assert re.fullmatch(r"ann_ben_\d{13}", result["offer_id"])
        assert result == {"offer_id": result["offer_id"], "to_peer_id": "ben"}
        assert await ben.next_notice() == (
            "offer",
            {"from_peer_id": "ann", "offer_id": result["offer_id"], "sdp": "any text", "type": "offer"},
        )
        assert await ben.ok("answer", to_peer_id="ann", sdp=ANSWER) == {"to_peer_id": "ann"}
        assert await ann.next_notice() == ("answer", {"from_peer_id": "ben", "sdp": ANSWER, "type": "answer"})
        candidate = {"candidate": "candidate:1", "sdp_mid": "0", "sdp_mline_index": 0}
        assert await ann.ok("ice_candidate", to_peer_id="ben", **candidate) == {"to_peer_id": "ben"}
        assert await ben.next_notice() == ("ice_candidate", {"from_peer_id": "ann", **candidate})
        assert await ann.ok("disconnect", peer_id="ben") == {"peer_id": "ben"}
        assert await ben.next_notice() == ("peer_disconnected", {"peer_id": "ann"})


async def test_the_notification_is_forwarded_before_the_result_is_returned() -> None:
    """A peer that offers to itself sees the offer first."""
    async with running(FakeGateway()) as server, rpc(server, "ann") as ann:
        await ann.ok("offer", to_peer_id="ann", sdp=SDP)
        assert ann.inbox[0]["method"] == "offer"


async def test_the_end_of_candidates_is_relayed() -> None:
    """An empty candidate is not a missing one."""
    async with running(FakeGateway()) as server, rpc(server, "ann") as ann, rpc(server, "ben") as ben:
        await ann.ok("ice_candidate", to_peer_id="ben", candidate="")
        assert (await ben.notified("ice_candidate"))["candidate"] == ""
        assert (await ann.fails("ice_candidate", to_peer_id="ben"))["code"] == -32602


async def test_a_duplicate_announce_leaves_the_owner_announced() -> None:
    """The refused connection may close; the first one is still reachable."""
    async with running(FakeGateway()) as server, rpc(server, "ann") as ann, rpc(server, "ben") as ben:
        async with rpc(server) as thief:
            error = await thief.fails("announce", peer_id="ann")
            assert error["code"] == -32000
            assert (await thief.fails("offer", to_peer_id="ben", sdp=SDP))["code"] == -32000
        await ben.ok("offer", to_peer_id="ann", sdp=SDP)
        assert (await ann.notified("offer"))["from_peer_id"] == "ben"
        assert (await ben.ok("list_peers"))["count"] == 2


async def test_one_connection_announces_once() -> None:
    """A second announce is refused and changes nothing."""
    async with running(FakeGateway()) as server, rpc(server, "ann") as ann:
        assert (await ann.fails("announce", peer_id="other"))["code"] == -32000
        assert (await ann.ok("list_peers"))["peers"][0]["peer_id"] == "ann"


async def test_nothing_is_relayed_before_announce() -> None:
    """The error says what to do."""
    async with running(FakeGateway()) as server, rpc(server, "ann"), rpc(server) as client:
        for method, params in (
            ("offer", {"to_peer_id": "ann", "sdp": SDP}),
            ("answer", {"to_peer_id": "ann", "sdp": SDP}),
            ("ice_candidate", {"to_peer_id": "ann", "candidate": ""}),
            ("disconnect", {"peer_id": "ann"}),
            ("list_peers", {}),
        ):
            error = await client.fails(method, **params)
            assert (error["code"], error["message"]) == (-32000, "Not announced: call announce first")


async def test_an_unknown_peer_is_named_in_the_error_but_not_for_disconnect() -> None:
    """disconnect succeeds whoever is meant."""
    async with running(FakeGateway()) as server, rpc(server, "ann") as ann:
        for method, params in (("answer", {"sdp": SDP}), ("ice_candidate", {"candidate": ""})):
            error = await ann.fails(method, to_peer_id="gone", **params)
            assert (error["code"], error["message"]) == (-32000, "Peer not found: gone")
        assert await ann.ok("disconnect", peer_id="gone") == {"peer_id": "gone"}


async def test_a_configured_user_needs_its_token() -> None:
    """Without, or with a wrong one: authentication required. The id then is the user's."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server) as client:
        for params in ({}, {"token": "wrong"}):
            error = await client.fails("announce", peer_id="alice", **params)
            assert (error["code"], error["message"]) == (-32000, "Authentication required")
        assert (await client.ok("announce", peer_id="alice", token="wonder"))["peer_id"] == "alice"
        assert len(gateway.channels["alice"]) == 1


async def test_guests_cannot_take_numbers_or_uris() -> None:
    """A guest called 1001 would catch the calls of extension 1001."""
    async with running(FakeGateway()) as server, rpc(server) as client:
        for peer_id in ("1001", "+49 30", "١٠٠١", "ann@example.com"):
            assert (await client.fails("announce", peer_id=peer_id))["message"] == "Authentication required"


async def test_guests_can_be_refused_altogether() -> None:
    """Then the courtesy form needs an account too."""
    gateway = FakeGateway()
    gateway.guests_allowed = False
    async with running(gateway) as server, rpc(server) as client:
        assert (await client.fails("announce", peer_id="ann"))["message"] == "Authentication required"
        assert (await client.fails("offer", sdp=SDP))["message"] == "Authentication required"


async def test_a_configured_user_may_have_several_pages_open() -> None:
    """All are connected to the gateway; the peer leaves with the last of them."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server, "ann") as ann, rpc(server, "alice", token="wonder") as first:
        await ann.notified("peer_joined", peer_id="alice")
        async with rpc(server, "alice", token="wonder"):
            assert len(gateway.channels["alice"]) == 2
            assert (await first.ok("list_peers"))["count"] == 2
        await ann.silent()
    assert gateway.channels["alice"] == []


async def test_a_guest_answers_the_page_that_offered() -> None:
    """Of several pages of one user only the one in the session hears the guest."""
    async with (
        running(FakeGateway()) as server,
        rpc(server, "ann") as ann,
        rpc(server, "alice", token="wonder") as first,
        rpc(server, "alice", token="wonder") as second,
    ):
        await second.ok("offer", to_peer_id="ann", sdp=SDP)
        await ann.ok("answer", to_peer_id="alice", sdp=ANSWER)
        assert (await second.notified("answer"))["from_peer_id"] == "ann"
        await first.silent()


async def test_guessing_passwords_ends_the_connection_and_is_slowed_down() -> None:
    """Five refusals close the socket; after the limit not even the right password is tried."""
    gateway = FakeGateway()
    settings = WebSettings(failure_burst=6, failures_per_second=0.0001)
    async with running(gateway, settings) as server:
        async with rpc(server) as client:
            for _ in range(5):
                await client.fails("announce", peer_id="alice", token="guess")
            with pytest.raises(ConnectionClosed) as closed:
                await client.frame()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1008
        async with rpc(server) as client:
            await client.fails("announce", peer_id="alice", token="guess")
            attempts = gateway.attempts
            error = await client.fails("announce", peer_id="alice", token="wonder")
            assert error["message"].startswith("Too many attempts")
            assert gateway.attempts == attempts


async def test_stopping_closes_sockets_with_going_away() -> None:
    """1001, as the contract has it."""
    async with running(FakeGateway()) as server:
        async with connect(f"ws://127.0.0.1:{server.port}/rpc") as socket:
            client = RpcClient(socket)
            await client.ok("announce", peer_id="ann")
            await server.stop()
            with pytest.raises(ConnectionClosed) as closed:
                await client.frame()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001


async def test_a_batch_is_answered_in_one_array_without_its_notifications() -> None:
    """Responses keep the order of the requests; a batch of notifications is answered by nothing."""
    async with running(FakeGateway()) as server, rpc(server) as client:
        await client.send(
            [
                {"jsonrpc": "2.0", "method": "announce", "params": {"peer_id": "ann"}, "id": "a"},
                {"jsonrpc": "2.0", "method": "disconnect", "params": {"peer_id": "x"}},
                {"jsonrpc": "2.0", "method": "nothing", "id": 2.5},
                {"jsonrpc": "2.0", "method": "offer", "params": {"sdp": SDP}, "id": None},
                7,
            ]
        )
        frame = await client.frame()
        while isinstance(frame, dict):
            frame = await client.frame()
        assert [entry["id"] for entry in frame] == ["a", 2.5, None, None]
        assert frame[1]["error"]["code"] == -32601
        assert frame[2]["result"]["answer"]["sdp"] == ANSWER
        assert frame[3]["error"]["code"] == -32600
        assert (await client.notified("call_state"))["state"] == "calling"
        await client.send([{"jsonrpc": "2.0", "method": "disconnect", "params": {"peer_id": "x"}}])
        await client.silent()


async def test_what_became_of_a_call_is_told_after_a_batch_in_which_it_failed() -> None:
    """Its state is held back until the error is sent, and told then."""
    gateway = FakeGateway()
    gateway.script = lambda call: call.channel.ended(call, Cause.BUSY)
    async with running(gateway) as server, rpc(server, "ann") as client:
        await client.send([{"jsonrpc": "2.0", "method": "offer", "params": {"sdp": SDP}, "id": 1}])
        frame = await client.frame()
        assert frame[0]["error"]["data"]["cause"] == "busy"
        assert (await client.notified("call_state", state="ended"))["cause"] == "busy"


async def test_notifications_are_never_answered() -> None:
    """Not even with an error; what they ask for is done."""
    async with running(FakeGateway()) as server, rpc(server) as client:
        await client.notify("offer")
        await client.notify("no such method")
        await client.notify("announce", peer_id="ann")
        await client.socket.send('{"jsonrpc":"2.0","method":"announce","params":[1]}')
        await client.silent()
        assert (await client.ok("list_peers"))["count"] == 1


async def test_responses_of_a_client_are_ignored() -> None:
    """Two servers never argue about each other's errors."""
    async with running(FakeGateway()) as server, rpc(server) as client:
        await client.socket.send(json.dumps({"jsonrpc": "2.0", "id": 1, "result": {}}))
        await client.socket.send(json.dumps({"jsonrpc": "2.0", "id": 1, "error": {"code": -32700, "message": "x"}}))
        await client.silent()


async def test_a_page_without_a_call_is_sent_to_another_gateway_when_this_one_drains() -> None:
    """Told first, then closed with 1012; one that talks stays until its last call is over, whoever ends it."""
    gateway = FakeGateway()
    async with (
        running(gateway) as server,
        rpc(server, "alice", token="wonder") as idle,
        rpc(server, "bob", token="builder") as busy,
    ):
        await idle.notified("peer_joined")
        await busy.ok("offer", to_peer_id="sip:600@gateway.example", sdp=SDP)
        [call] = gateway.calls
        for channels in gateway.channels.values():
            channels[0].draining(60.0, True)
        assert await idle.notified("server.draining") == {"seconds": 60.0}
        assert await closed_with(idle) == 1012
        await busy.notified("server.draining")
        call.channel.ended(call, Cause.NORMAL)
        await busy.notified("peer_disconnected")
        assert await closed_with(busy) == 1012


async def test_a_page_stays_where_there_is_no_other_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, and may still call for help."""
    monkeypatch.setattr(calls, "_LET_GO_AFTER", 0.0)
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server, "alice", token="wonder") as page:
        gateway.channels["alice"][0].draining(60.0, False)
        assert await page.notified("server.draining") == {"seconds": 60.0}
        await page.silent()


async def closed_with(page: RpcClient) -> int | None:
    """The code with which the socket is closed."""
    async with asyncio.timeout(30):
        await page.socket.wait_closed()
    return page.socket.close_code
