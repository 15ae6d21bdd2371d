"""JSON-RPC beside the dialects: the root path, positional parameters, order, ping, call.* and control.*."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.asyncio.client import connect

from gateway.call.status import Cause
from gateway.web.rpc.table import METHODS
from tests.rows import by_row
from tests.web.fake import ANSWER, SDP, FakeGateway, RpcClient, rpc, running

HOLD = SDP + "a=sendonly\r\n"
RESUME = SDP + "a=sendrecv\r\n"


async def test_the_root_of_the_host_speaks_json_rpc_too() -> None:
    """The guide's own snippet: new WebSocket('ws://localhost:8080'), an offer, the answer in the result."""
    async with running(FakeGateway()) as server, connect(f"ws://127.0.0.1:{server.port}/") as socket:
        client = RpcClient(socket)
        result = await client.ok("offer", sdp=SDP, type="offer")
        assert result["answer"] == {"type": "answer", "sdp": ANSWER}


async def test_a_result_comes_before_the_states_of_the_call_it_names() -> None:
    """Also where the result waits for the answer, and where the call fails at once."""
    async with running(FakeGateway()) as server, rpc(server, "ann") as client:
        await client.send({"jsonrpc": "2.0", "method": "offer", "params": {"sdp": SDP}, "id": 1})
        first = await client.frame()
        assert "result" in first
        assert (await client.notified("call_state"))["call_id"] == first["result"]["call_id"]
    async with running(FakeGateway()) as server, connect(f"ws://127.0.0.1:{server.port}/rpc") as socket:
        client = RpcClient(socket)
        await client.ok("peer.announce", peer_id="ben")
        await client.send(
            {"jsonrpc": "2.0", "method": "peer.offer", "params": {"to": "remotemedia-server", "sdp": SDP}, "id": 2}
        )
        assert "result" in await client.frame()
        assert (await client.frame())["method"] == "peer.state_change"


async def test_parameters_go_by_position_too() -> None:
    """In the order of the documentation's tables; one too many is -32602."""
    async with running(FakeGateway()) as server, connect(f"ws://127.0.0.1:{server.port}/rpc") as socket:
        client = RpcClient(socket)

        async def call(method: str, *params: Any) -> Any:
            await client.send({"jsonrpc": "2.0", "method": method, "params": list(params), "id": method})
            while True:
                frame = await client.frame()
                if "id" in frame:
                    return frame

        assert (await call("announce", "alice", {"audio": True}, "wonder"))["result"]["peer_id"] == "alice"
        assert (await call("offer", "1001", SDP))["result"]["to_peer_id"] == "1001"
        assert (await call("dtmf", "1001", "5"))["result"]["digit"] == "5"
        assert (await call("list_peers", 1))["error"]["code"] == -32602


def test_every_method_names_its_parameters_for_positions() -> None:
    """And no parameter twice."""
    for method in METHODS.values():
        assert len(set(method.names)) == len(method.names)


async def test_a_user_sees_and_changes_where_calls_are_forwarded_to() -> None:
    """call.forward: what is given is changed, null ends it, a number that may not be dialled is an error."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server, "alice", token="wonder") as client:
        assert (await client.ok("call.forward"))["always"] is None
        assert (await client.ok("call.forward", always="1001", do_not_disturb=True))["always"] == "1001"
        assert await client.ok("call.forward", always=None) == {"always": None, "busy": None, "do_not_disturb": True}
        assert (await client.fails("call.forward", busy="0"))["data"]["cause"] == "forbidden"
        for wrong in ({"always": 7}, {"always": "a b"}, {"after": 0}, {"after": True}, {"do_not_disturb": "yes"}):
            assert (await client.fails("call.forward", **wrong))["code"] == -32602
    async with running(gateway) as server, rpc(server, "guest") as client:
        assert (await client.fails("call.forward", always="1001"))["code"] == -32000


async def test_ping_is_answered_before_announce() -> None:
    """With the server's time in milliseconds."""
    async with running(FakeGateway()) as server, rpc(server) as client:
        result = await client.ok("ping")
        assert result["pong"] is True
        assert result["timestamp"] > 1_700_000_000_000


async def test_the_calls_of_the_connection_are_listed_and_ended_by_their_id() -> None:
    """call.list, call.dtmf, call.hangup."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server, "alice", token="wonder") as client:
        placed = await client.ok("offer", to_peer_id="1001", sdp=SDP)
        ringing = gateway.ring_user("alice")
        await client.notified("offer")
        calls = (await client.ok("call.list"))["calls"]
        assert [(call["peer_id"], call["direction"], call["state"]) for call in calls] == [
            ("1001", "outgoing", "calling"),
            ("sip:1001@gateway.example", "incoming", "ringing"),
        ]
        await client.ok("call.dtmf", call_id=placed["call_id"], digit="9")
        await gateway.calls[0].happens("digit", "9", 160)
        await client.ok("call.hangup", call_id=ringing.id, reason="busy")
        assert (await client.ok("call.list"))["count"] == 1
        assert (await client.fails("call.dtmf", call_id="call-99", digit="9"))["code"] == -32000


async def test_hold_and_resume_are_offers_that_say_so() -> None:
    """call.hold takes sendonly or inactive, call.resume sendrecv; anything else is refused."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server, "alice", token="wonder") as client:
        call_id = (await client.ok("offer", to_peer_id="1001", sdp=SDP))["call_id"]
        gateway.calls[0].channel.answered(gateway.calls[0], None)
        await client.notified("call_state", state="answered")
        assert "sendonly" in (await client.fails("call.hold", call_id=call_id, sdp=RESUME))["message"]
        await client.ok("call.hold", call_id=call_id, sdp=HOLD)
        await gateway.calls[0].happens("update", HOLD)
        assert "progress" in (await client.fails("call.resume", call_id=call_id, sdp=RESUME))["message"]
        gateway.calls[0].channel.updated(gateway.calls[0], ANSWER, "answer")
        await client.notified("answer")
        await client.ok("call.resume", call_id=call_id, sdp=RESUME)


@by_row("cause", [Cause.NORMAL, Cause.BUSY])
@by_row("attended", [False, True])
async def test_a_call_is_transferred_and_the_result_says_what_became_of_it(cause: Cause, attended: bool) -> None:
    """call.transfer: to whom is dialled, or to the other side of another call of the connection."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server, "alice", token="wonder") as client:
        call_id = (await client.ok("offer", to_peer_id="1001", sdp=SDP))["call_id"]
        assert "answered" in (await client.fails("call.transfer", call_id=call_id, to_peer_id="1002"))["message"]
        gateway.calls[0].channel.answered(gateway.calls[0], None)
        await client.notified("call_state", state="answered")
        await client.fails("call.transfer", call_id=call_id, to_call_id="somebody-elses")
        where = {"to_peer_id": "1002"}
        if attended:
            where = {"to_call_id": (await client.ok("offer", to_peer_id="1003", sdp=SDP))["call_id"]}

        async def becomes() -> None:
            await gateway.calls[0].happens("transfer", where.get("to_peer_id", ""), where.get("to_call_id"))
            gateway.calls[0].report.accepted()
            gateway.calls[0].report.ringing()
            gateway.calls[0].report.ended(cause)
            gateway.calls[0].report.ended(Cause.ERROR)

        task = asyncio.create_task(becomes())
        if cause is Cause.NORMAL:
            assert await client.ok("call.transfer", call_id=call_id, **where) == {
                "call_id": call_id,
                "transferred": True,
            }
        else:
            assert (await client.fails("call.transfer", call_id=call_id, **where))["data"]["cause"] == "busy"
        await task


@pytest.mark.parametrize("method", ["control.set_node_state", "control.flush_audio"])
async def test_what_is_not_there_says_so(method: str) -> None:
    """Not as an unknown method: the client is told that it is known and not supported."""
    async with running(FakeGateway()) as server, rpc(server, "alice", token="wonder") as client:
        error = await client.fails(method, call_id="x")
        assert error["message"].startswith("Not supported: ")
        assert error["data"] == {"reason": "not-supported"}


async def test_topics_reach_their_subscribers() -> None:
    """control.subscribe, publish, unsubscribe; not for guests, and gone with the socket."""
    async with (
        running(FakeGateway()) as server,
        rpc(server, "alice", token="wonder") as alice,
        rpc(server, "ann") as ann,
    ):
        assert "Authentication" in (await ann.fails("control.subscribe", topic="news"))["message"]
        async with rpc(server, "bob", token="builder") as bob:
            await bob.ok("control.subscribe", topic="news")
            assert (await alice.ok("control.publish", topic="news", data={"n": 1}))["delivered"] == 1
            event = await bob.notified("control.event")
            assert (event["topic"], event["from"], event["data"]) == ("news", "alice", {"n": 1})
            await bob.ok("control.unsubscribe", topic="news")
            assert (await alice.ok("control.publish", topic="news", data=2))["delivered"] == 0
            await bob.ok("control.subscribe", topic="news")
        await alice.notified("peer_left")
        assert (await alice.ok("control.publish", topic="news", data=3))["delivered"] == 0
        assert (await alice.fails("control.publish", topic="news", data="x" * 20_000))["code"] == -32602
