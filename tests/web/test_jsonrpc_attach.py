"""A call belongs to the user, not to the socket: it outlives a cut and a reload, and moves between devices."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from gateway.call.status import Cause
from gateway.web.app import WebSettings
from gateway.web.facade import LeftCall
from tests.web.fake import ANSWER, SDP, FakeCall, FakeGateway, RpcClient, rpc, running

RESTART = SDP.replace("- 1 1", "- 1 7")


async def _talking(gateway: FakeGateway, client: RpcClient) -> tuple[FakeCall, dict[str, Any]]:
    result = await client.ok("offer", to_peer_id="1001", sdp=SDP)
    call = gateway.calls[-1]
    call.channel.answered(call, None)
    await client.notified("call_state", state="answered")
    return call, result


async def _no_more_of_the_call(client: RpcClient) -> None:
    """Whatever the client is told until its socket is closed."""
    while frame := await client.frame():
        assert frame["method"] not in ("call_state", "call_disconnected")


async def test_a_call_outlives_its_socket_and_what_was_missed_is_sent_again() -> None:
    """The events carry numbers; the client names its call and the last number it saw."""
    gateway = FakeGateway()
    async with running(gateway) as server:
        async with rpc(server, "alice", token="wonder") as alice:
            result = await alice.ok("offer", to_peer_id="1001", sdp=SDP)
            first = await alice.notified("answer")
            assert first["seq"] == 2  # after the state "calling"
        call = gateway.calls[0]
        await call.happens("away")
        call.channel.ringing(call, None)
        call.channel.answered(call, None)
        async with rpc(server, "alice", token="wonder") as alice:
            state = await alice.ok("call.attach", call_id=result["call_id"], after=2)
            assert (state["state"], state["peer_id"], state["direction"]) == ("answered", "1001", "outgoing")
            assert state["seq"] == 4
            missed = [await alice.notified("call_state") for _ in range(2)]
            assert [(event["seq"], event["state"]) for event in missed] == [(3, "ringing"), (4, "answered")]
            await call.happens("returned", None)
            call.channel = call.returned_to
            call.channel.ended(call, Cause.NORMAL)
            assert (await alice.notified("call_state"))["state"] == "ended"
        assert ("hangup", Cause.NORMAL) not in call.log


async def test_a_reload_brings_a_new_offer_and_gets_its_answer() -> None:
    """A new connection of the browser, the same call."""
    gateway = FakeGateway()
    async with running(gateway) as server:
        async with rpc(server, "alice", token="wonder") as alice:
            call, result = await _talking(gateway, alice)
        await call.happens("away")
        async with rpc(server, "alice", token="wonder") as alice:
            state = await alice.ok("call.attach", call_id=result["call_id"], sdp=RESTART, after=3)
            assert state["state"] == "answered"
            await call.happens("returned", RESTART)
            call.returned_to.updated(call, ANSWER, "answer")
            assert (await alice.notified("answer"))["sdp"] == ANSWER
            await alice.ok("disconnect", peer_id="1001")
            await call.happens("hangup", Cause.NORMAL)


async def test_a_call_that_ended_meanwhile_says_why() -> None:
    """And a call of somebody else is not there."""
    gateway = FakeGateway()
    async with running(gateway) as server:
        async with rpc(server, "alice", token="wonder") as alice:
            call, result = await _talking(gateway, alice)
        await call.happens("away")
        call.channel.ended(call, Cause.LOST)
        async with rpc(server, "alice", token="wonder") as alice, rpc(server, "bob", token="builder") as bob:
            state = await alice.ok("call.attach", call_id=result["call_id"])
            assert (state["state"], state["cause"]) == ("ended", "lost")
            assert "not found" in (await bob.fails("call.attach", call_id=result["call_id"]))["message"]


async def test_nothing_is_kept_of_a_call_that_ended_but_how() -> None:
    """Neither its connection nor what it was told; who comes back hears the number of the last thing that was said."""
    gateway = FakeGateway()
    async with running(gateway) as server:
        async with rpc(server, "alice", token="wonder") as alice:
            call, result = await _talking(gateway, alice)
            call.channel.ended(call, Cause.BUSY)
            last = await alice.notified("peer_disconnected")
            connection = weakref.ref(call.channel)
        del call
        gateway.calls.clear()
        async with asyncio.timeout(30):
            while connection() is not None:
                gc.collect()
                await asyncio.sleep(0.2)  # many turns of the loop: a collection may take a second
        async with rpc(server, "bob", token="builder") as bob:
            await bob.fails("call.attach", call_id=result["call_id"])
        async with rpc(server, "alice", token="wonder") as alice:
            state = await alice.ok("call.attach", call_id=result["call_id"])
            assert (state["state"], state["cause"], state["seq"]) == ("ended", "busy", last["seq"])


async def test_a_call_that_another_gateway_has_is_not_found_here() -> None:
    """Its client is told nothing of an end, but loses its connection, so that it looks for the call."""
    gateway = FakeGateway()
    async with running(gateway) as server:
        async with rpc(server, "alice", token="wonder") as alice:
            call, result = await _talking(gateway, alice)
            call.channel.moved(call)
            call.channel.moved(call)
            with pytest.raises(ConnectionClosed) as closed:
                await _no_more_of_the_call(alice)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001
        async with rpc(server, "alice", token="wonder") as alice:
            assert "not found" in (await alice.fails("call.attach", call_id=result["call_id"]))["message"]
            assert (await alice.ok("call.list", all=True))["count"] == 0
        assert ("hangup", Cause.NORMAL) not in call.log


async def test_a_call_moves_to_another_device_of_the_same_user() -> None:
    """By one request; the first device is told that it went elsewhere, the other side that nothing ended."""
    gateway = FakeGateway()
    async with (
        running(gateway) as server,
        rpc(server, "alice", token="wonder") as desk,
        rpc(server, "alice", token="wonder") as mobile,
    ):
        call, result = await _talking(gateway, desk)
        listed = (await mobile.ok("call.list", all=True))["calls"]
        assert [(entry["call_id"], entry["here"]) for entry in listed] == [(result["call_id"], False)]
        (there,) = (await mobile.notified("call.elsewhere"))["calls"]
        assert (there["call_id"], there["state"]) == (result["call_id"], "answered")
        await mobile.ok("call.attach", call_id=result["call_id"], sdp=RESTART, after=result.get("seq", 3))
        await call.happens("returned", RESTART)
        assert (await mobile.notified("call.elsewhere"))["calls"] == []
        await desk.ok("ping")
        # Its media still carries the call: nothing is over for it yet.
        assert [frame["method"] for frame in desk.inbox] == ["call.elsewhere"]
        call.returned_to.updated(call, ANSWER, "answer")
        ended = await desk.notified("call_state", state="ended")
        assert ended["cause"] == "elsewhere"
        assert (await mobile.notified("answer"))["sdp"] == ANSWER
        assert (await desk.ok("call.list"))["count"] == 0
        assert not any(event[0] == "hangup" for event in call.log)


async def test_a_page_that_says_it_goes_is_waited_for_a_moment_only() -> None:
    """A reload is back by then; a closed tab is not, and the other side need not wait as for a cut."""
    gateway = FakeGateway()
    async with running(gateway, WebSettings(leave_grace=0.1)) as server:
        async with rpc(server, "alice", token="wonder") as alice:
            call, _ = await _talking(gateway, alice)
            assert await alice.ok("call.leave") == {"grace": 0.1}
        await call.happens("hangup", Cause.NORMAL)
        async with rpc(server, "alice", token="wonder") as alice:
            call, result = await _talking(gateway, alice)
            await alice.ok("call.leave")
        async with rpc(server, "alice", token="wonder") as alice:
            await alice.ok("call.attach", call_id=result["call_id"])
            await asyncio.wait_for(call.happens("returned", None), 30)
            await alice.ok("ping")
            assert ("hangup", Cause.NORMAL) not in call.log


async def test_a_call_that_was_given_up_has_ended_for_a_page_that_comes_later() -> None:
    """It is told so at once, and waits for no media; nothing is kept of the call as if it went on."""
    gateway = FakeGateway()
    async with running(gateway, WebSettings(leave_grace=0.01)) as server:
        async with rpc(server, "alice", token="wonder") as alice:
            call, result = await _talking(gateway, alice)
            await alice.ok("call.leave")
        await call.happens("hangup", Cause.NORMAL)
        async with rpc(server, "alice", token="wonder") as alice:
            assert (await alice.ok("call.list", all=True))["calls"] == []
            state = await alice.ok("call.attach", call_id=result["call_id"], sdp=RESTART)
            assert (state["state"], state["cause"]) == ("ended", "normal")
            assert ("returned", RESTART) not in call.log


async def test_a_device_that_takes_a_call_it_never_had_hears_nothing_of_its_past() -> None:
    """An answer of before would be taken for that of its own offer."""
    gateway = FakeGateway()
    async with (
        running(gateway) as server,
        rpc(server, "alice", token="wonder") as desk,
        rpc(server, "alice", token="wonder") as mobile,
    ):
        call, result = await _talking(gateway, desk)
        state = await mobile.ok("call.attach", call_id=result["call_id"], sdp=RESTART)
        await call.happens("returned", RESTART)
        call.returned_to.updated(call, ANSWER, "answer")
        assert (await mobile.notified("answer"))["seq"] == state["seq"] + 1


async def test_a_call_of_the_process_before_is_taken_back_by_its_user_alone() -> None:
    """Its numbers go on after those that the client has seen; what has ended meanwhile says why."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server, "alice", token="wonder") as alice:
        async with rpc(server, "bob", token="builder") as bob:
            call, _ = await _talking(gateway, alice)
            for name, cause in (("going-on", None), ("over", Cause.MEDIA_FAILED)):
                left = LeftCall(user="alice", call=call, peer_id="1001", name="", outgoing=True, cause=cause)
                gateway.left["alice", name] = left
            assert "not found" in (await bob.fails("call.attach", call_id="going-on"))["message"]
        call.id = "over"
        state = await alice.ok("call.attach", call_id="over", after=7)
        assert (state["state"], state["cause"]) == ("ended", "media-failed")
        call.id = "going-on"
        state = await alice.ok("call.attach", call_id="going-on", after=7)
        assert (state["state"], state["peer_id"], state["seq"]) == ("answered", "1001", 7)
        await call.happens("returned", None)
        call.returned_to.held(call, True)
        assert (await alice.notified("call_held"))["seq"] == 8


async def test_a_call_that_waits_is_ended_by_its_user_from_anywhere_and_by_nobody_else() -> None:
    """The page could not be told that the person has hung up while its socket was down."""
    gateway = FakeGateway()
    async with running(gateway) as server:
        async with rpc(server, "alice", token="wonder") as alice:
            call, result = await _talking(gateway, alice)
        await call.happens("away")
        async with rpc(server, "alice", token="wonder") as alice, rpc(server, "bob", token="builder") as bob:
            assert "not found" in (await bob.fails("call.hangup", call_id=result["call_id"]))["message"]
            assert not any(event[0] == "hangup" for event in call.log)
            await alice.ok("call.hangup", call_id=result["call_id"], reason="microphone")
            await call.happens("hangup", Cause.NORMAL)
            assert "not found" in (await alice.fails("call.hangup", call_id=result["call_id"]))["message"]
            assert (await alice.ok("call.attach", call_id=result["call_id"]))["state"] == "ended"
        assert [event[0] for event in call.log].count("hangup") == 1


async def test_a_call_is_ended_whose_connection_has_not_been_missed_yet() -> None:
    """The network is gone, TCP has not said so: the page is back before; what has the call is told like any other."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server, "alice", token="wonder") as stale:
        call, result = await _talking(gateway, stale)
        async with rpc(server, "alice", token="wonder") as alice:
            await alice.ok("call.hangup", call_id=result["call_id"])
        await call.happens("hangup", Cause.NORMAL)
        assert (await stale.notified("call_state", state="ended"))["cause"] == "normal"
        assert (await stale.ok("call.list"))["count"] == 0


async def test_a_call_of_the_process_before_is_ended_by_its_user() -> None:
    """Nobody has taken it back yet."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server, "alice", token="wonder") as alice:
        call = FakeCall("left", alice)  # type: ignore[arg-type]
        gateway.left["alice", "left"] = LeftCall(user="alice", call=call, peer_id="1001", name="", outgoing=True)
        await alice.ok("call.hangup", call_id="left")
        await call.happens("hangup", Cause.NORMAL)


VIDEO = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n"


async def test_other_devices_are_told_of_a_calls_pictures() -> None:
    """So that one which takes it goes on as it was: begun, held, ended, and refused."""
    gateway = FakeGateway()
    async with (
        running(gateway) as server,
        rpc(server, "alice", token="wonder") as desk,
        rpc(server, "alice", token="wonder") as mobile,
    ):

        async def told() -> tuple[bool, bool]:
            await desk.ok("ping")
            (there,) = (await mobile.notified("call.elsewhere"))["calls"]
            return there["video"], there["camera"]

        call, result = await _talking(gateway, desk)
        assert await told() == (False, False)
        for offer, answer, shown in (
            (SDP + VIDEO, ANSWER + VIDEO, (True, True)),
            (SDP + VIDEO + "a=recvonly\r\n", ANSWER + VIDEO, (True, False)),
            (SDP + VIDEO, ANSWER + VIDEO + "a=recvonly\r\n", (True, True)),
            (SDP + VIDEO, ANSWER + VIDEO.replace("9", "0", 1), (False, False)),
        ):
            await desk.ok("offer", to_peer_id="1001", sdp=offer, call_id=result["call_id"])
            call.channel.updated(call, answer, "answer")
            assert await told() == shown
        # The other side begins with it, and the client takes it, showing nothing.
        call.offers(SDP + VIDEO)
        reply = ANSWER + VIDEO + "a=recvonly\r\n"
        await desk.ok("answer", to_peer_id="1001", sdp=reply, call_id=result["call_id"])
        assert await told() == (True, False)
        # An offer that is refused changes nothing.
        await desk.ok("offer", to_peer_id="1001", sdp=SDP + VIDEO, call_id=result["call_id"])
        call.channel.updated(call, None, "answer")
        await desk.ok("ping")
        listed = (await mobile.ok("call.list", all=True))["calls"][0]
        assert (listed["video"], listed["camera"]) == (True, False)
