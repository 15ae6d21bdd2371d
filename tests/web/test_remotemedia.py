"""JSON-RPC dialect 2: `peer.*` and `server.info`."""

from __future__ import annotations

from gateway.call.status import Cause
from gateway.web.rpc.dialects import SERVER_PEER
from tests.web.fake import ANSWER, SDP, FakeGateway, RpcClient, rpc, running


async def announced(client: RpcClient, peer_id: str) -> RpcClient:
    """The client after peer.announce."""
    await client.ok("peer.announce", peer_id=peer_id, capabilities=["audio"], user_data={"n": 1})
    return client


async def test_announce_list_and_notifications_have_the_dialects_shape() -> None:
    """success is said, capabilities are words, user_data is metadata."""
    async with running(FakeGateway()) as server, rpc(server) as first, rpc(server) as second:
        assert await first.ok("peer.announce", peer_id="one", capabilities=["audio"]) == {
            "success": True,
            "peer_id": "one",
            "peers_count": 1,
            "other_peers": [],
        }
        await announced(second, "two")
        assert await first.next_notice() == (
            "peer.joined",
            {"peer_id": "two", "capabilities": ["audio"], "metadata": {"n": 1}},
        )
        for method in ("peer.list", "list_peers"):
            listed = await first.ok(method)
            assert listed["count"] == 2
            assert sorted(listed["peers"][0]) == ["capabilities", "connected_at", "metadata", "peer_id"]
        info = await first.ok("server.info")
        assert info["addresses"] == [{"ip": "127.0.0.1", "is_default": True}]
        assert info["hostname"]


async def test_an_offer_to_the_server_is_answered_in_its_result() -> None:
    """Then come the end of candidates and the states; a second offer replaces the first."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server) as client:
        await announced(client, "one")
        result = await client.ok("peer.offer", **{"from": "one", "to": SERVER_PEER, "sdp": SDP})
        assert result == {"type": "answer", "sdp": ANSWER, "from": SERVER_PEER, "to": "one"}
        assert gateway.calls[0].to == "600"
        assert (await client.notified("peer.state_change"))["connection_state"] == "connecting"
        end = await client.notified("peer.ice_candidate")
        assert (end["from"], end["candidate"], end["sdp_mid"], end["sdp_m_line_index"]) == (SERVER_PEER, "", None, None)
        await client.ok(
            "peer.ice_candidate",
            **{"from": "one", "to": SERVER_PEER, "candidate": "candidate:1 1 udp 1 192.0.2.1 9 typ host"},
        )
        assert gateway.calls[0].log == [("candidate", "candidate:1 1 udp 1 192.0.2.1 9 typ host", None)]
        call = gateway.calls[0]
        call.channel.answered(call, None)
        assert (await client.notified("peer.state_change"))["connection_state"] == "connecting"
        call.channel.connected(call)
        call.channel.connected(call)  # a new connection of the same call is no new state
        state = await client.notified("peer.state_change")
        assert (state["connection_state"], state["previous_state"]) == ("connected", "connecting")
        await client.ok("peer.offer", **{"from": "one", "to": SERVER_PEER, "sdp": SDP})
        assert call.log[-1] == ("hangup", Cause.NORMAL)
        second = gateway.calls[1]
        second.channel.ended(second, Cause.MEDIA_FAILED)
        assert (await client.notified("peer.state_change", connection_state="failed"))["cause"] == "media-failed"
        assert (await client.notified("peer.disconnected"))["peer_id"] == SERVER_PEER


async def test_peers_of_both_dialects_reach_each_other() -> None:
    """Each hears the other in its own words."""
    async with running(FakeGateway()) as server, rpc(server, "ann") as ann, rpc(server) as client:
        await announced(client, "two")
        assert await ann.notified("peer_joined") == {"peer_id": "two", "capabilities": {"audio": True}}
        result = await client.ok("peer.offer", **{"from": "two", "to": "ann", "sdp": SDP})
        assert result == {"success": True, "to_peer_id": "ann"}
        assert (await ann.notified("offer"))["from_peer_id"] == "two"
        await ann.ok("answer", to_peer_id="two", sdp=ANSWER)
        answer = await client.notified("peer.answer")
        assert (answer["from"], answer["to"], answer["sdp"]) == ("ann", "two", ANSWER)
        await ann.ok("ice_candidate", to_peer_id="two", candidate="")
        assert (await client.notified("peer.ice_candidate"))["candidate"] == ""
        assert await client.ok("peer.answer", to="ann", sdp=ANSWER) == {"success": True, "to_peer_id": "ann"}
        await ann.notified("answer")
        assert (await client.ok("peer.disconnect", peer_id="ann", reason="done"))["success"] is True
        assert await ann.notified("peer_disconnected") == {"peer_id": "two", "reason": "done"}
        await ann.socket.close()
        assert await client.notified("peer.left") == {"peer_id": "ann"}


async def test_incoming_calls_are_peer_offers() -> None:
    """And peer.answer accepts them."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server) as client:
        await announced(client, "two")
        call = gateway.ring_user("two")
        offer = await client.notified("peer.offer")
        assert (offer["from"], offer["to"], offer["call_id"]) == ("sip:1001@gateway.example", "two", "call-1")
        await client.ok("peer.answer", to=offer["from"], sdp=ANSWER)
        assert call.log[-1] == ("answer", ANSWER)


async def test_errors_have_the_dialects_codes() -> None:
    """Not announced, announced twice, peer not found, bad offer, no codec, limit, in progress."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server) as client:
        await announced(client, "two")
        for method, params, code in (
            ("peer.announce", {"peer_id": "again"}, -32602),
            ("peer.offer", {"to": "nobody", "sdp": SDP}, -32000),
            ("peer.offer", {"to": "1001", "sdp": "m=audio"}, -32002),
            ("peer.offer", {"to": "malformed", "sdp": SDP}, -32002),
            ("peer.offer", {"to": "codec", "sdp": SDP}, -32007),
            ("peer.offer", {"to": "full", "sdp": SDP}, -32001),
            ("peer.offer", {"from": "other", "to": "1001", "sdp": SDP}, -32602),
            ("peer.answer", {"to": "gone", "sdp": SDP}, -32000),
        ):
            assert (await client.fails(method, **params))["code"] == code, (method, params)
        await client.ok("peer.offer", to="1001", sdp=SDP)
        assert (await client.fails("peer.offer", to="1001", sdp=SDP))["code"] == -32005
        assert (await client.fails("peer.answer", to="1001", sdp=SDP))["code"] == -32003


async def test_media_that_is_up_before_the_answer_is_told_of_with_it() -> None:
    """The early answer lets ICE and DTLS come up while the phone rings; "connected" waits for who is called."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server) as client:
        await announced(client, "one")
        await client.ok("peer.offer", **{"from": "one", "to": "1001", "sdp": SDP})
        call = gateway.calls[0]
        call.channel.connected(call)
        call.channel.ringing(call, None)
        call.channel.answered(call, None)
        states = [(await client.notified("peer.state_change"))["connection_state"] for _ in range(4)]
        assert states == ["connecting", "connecting", "connecting", "connected"]
