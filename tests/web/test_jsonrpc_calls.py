"""Calls over JSON-RPC: a SIP URI or an extension is a peer id like any other."""

from __future__ import annotations

import asyncio

from gateway.call.leg import Verdict
from gateway.call.status import Cause
from gateway.web.app import WebSettings
from tests.web.fake import ANSWER, SDP, FakeCall, FakeGateway, rpc, running


async def test_an_offer_to_an_extension_is_placed_and_answered_after_its_result() -> None:
    """The result comes at once, then the early answer, ringing and answered."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server, "alice", token="wonder") as alice:
        result = await alice.ok("offer", to_peer_id="1001", sdp=SDP)
        assert alice.inbox == []
        assert result["to_peer_id"] == "1001"
        assert result["offer_id"].startswith("alice_1001_")
        call = gateway.calls[0]
        assert (call.caller and call.caller.id, call.to, call.offer) == ("alice", "1001", SDP)
        assert (await alice.next_notice())[1] == {"peer_id": "1001", "state": "calling", "call_id": "call-1", "seq": 1}
        answer = {"from_peer_id": "1001", "sdp": ANSWER, "type": "answer", "call_id": "call-1", "seq": 2}
        assert await alice.next_notice() == ("answer", answer)
        call.channel.ringing(call, None)
        call.channel.answered(call, None)
        assert (await alice.next_notice())[1]["state"] == "ringing"
        assert (await alice.next_notice())[1]["state"] == "answered"
        await alice.silent()


async def test_events_during_place_reach_the_client_after_the_result() -> None:
    """Even a call that is answered and over before place returns is told in order."""
    gateway = FakeGateway()

    def script(call: FakeCall) -> None:
        call.channel.ringing(call, ANSWER)
        call.channel.answered(call, None)
        call.channel.ended(call, Cause.NORMAL)

    gateway.script = script
    async with running(gateway) as server, rpc(server, "alice", token="wonder") as alice:
        await alice.ok("offer", to_peer_id="1001", sdp=SDP)
        notices = [await alice.next_notice() for _ in range(6)]
        assert [method for method, _ in notices] == [
            "call_state",
            "answer",
            "call_state",
            "call_state",
            "call_state",
            "peer_disconnected",
        ]
        assert notices[4][1]["cause"] == "normal"


async def test_one_offer_gets_one_answer_notification() -> None:
    """The real answer is not sent again after the early one."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server, "alice", token="wonder") as alice:
        await alice.ok("offer", to_peer_id="1001", sdp=SDP)
        call = gateway.calls[0]
        await alice.notified("answer")
        call.channel.answered(call, ANSWER)
        assert (await alice.next_notice())[1]["state"] == "answered"
        await alice.silent()


async def test_a_digit_that_the_other_side_has_not_got_is_an_error() -> None:
    """Refused, or not known in time; the connection goes on meanwhile."""
    gateway = FakeGateway()
    settings = WebSettings(digit_timeout=0.05)
    async with running(gateway, settings) as server, rpc(server, "alice", token="wonder") as alice:
        placed = await alice.ok("offer", to_peer_id="1001", sdp=SDP)
        for takes in (False, None):
            gateway.calls[0].takes_digits = takes
            for method, target in (("dtmf", {"peer_id": "1001"}), ("call.dtmf", {"call_id": placed["call_id"]})):
                error = await alice.fails(method, digit="5", **target)
                assert (error["code"], error["data"]) == (-32000, {"digit": "5"})


async def test_a_hold_of_the_other_side_is_told() -> None:
    """And its end, each with its number."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server, "alice", token="wonder") as alice:
        await alice.ok("offer", to_peer_id="1001", sdp=SDP)
        call = gateway.calls[0]
        for held in (True, False):
            call.channel.held(call, held)
            told = await alice.notified("call_held")
            assert (told["peer_id"], told["call_id"], told["held"]) == ("1001", call.id, held)


async def test_who_the_other_side_is_now_is_told() -> None:
    """The call keeps the id that the client knows; its other devices hear the new name, too."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server, "alice", token="wonder") as alice:
        await alice.ok("offer", to_peer_id="1001", sdp=SDP)
        call = gateway.calls[0]
        call.channel.identified(call, "sip:1002@gateway.example", "Carol")
        told = await alice.notified("call_identified")
        assert told == {
            "peer_id": "1001",
            "call_id": call.id,
            "seq": told["seq"],
            "uri": "sip:1002@gateway.example",
            "name": "Carol",
            "verified": "none",
        }
        [listed] = (await alice.ok("call.list"))["calls"]
        assert listed["from_name"] == "Carol"


async def test_the_verdict_on_a_caller_goes_with_its_name() -> None:
    """A later offer of the same call tells what is known of who is there now."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server, "alice", token="wonder") as alice:
        call = gateway.ring_user("alice", verified="passed")
        assert (await alice.notified("offer"))["verified"] == "passed"
        await alice.ok("answer", to_peer_id="sip:1001@gateway.example", sdp=ANSWER)
        verdicts: tuple[Verdict, ...] = ("failed", "none")
        for verdict in verdicts:
            call.channel.identified(call, "sip:8@pbx.example", "8", verdict)
            assert (await alice.notified("call_identified"))["verified"] == verdict
            call.offers(SDP)
            assert (await alice.notified("offer"))["verified"] == verdict
            await alice.ok("answer", to_peer_id="sip:1001@gateway.example", sdp=ANSWER)


async def test_a_digit_of_the_other_side_is_told() -> None:
    """With its length in milliseconds and the call it belongs to."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server, "alice", token="wonder") as alice:
        await alice.ok("offer", to_peer_id="1001", sdp=SDP)
        call = gateway.calls[0]
        call.channel.digit(call, "#", 120)
        told = await alice.notified("dtmf")
        assert {name: told[name] for name in ("peer_id", "digit", "duration", "call_id")} == {
            "peer_id": "1001",
            "digit": "#",
            "duration": 120,
            "call_id": call.id,
        }


async def test_a_callee_who_does_not_exist_is_a_peer_not_found() -> None:
    """-32000 with the words of the contract, and the cause beside them."""
    async with running(FakeGateway()) as server, rpc(server, "alice", token="wonder") as alice:
        error = await alice.fails("offer", to_peer_id="nobody", sdp=SDP)
        assert (error["code"], error["message"]) == (-32000, "Peer not found: nobody")
        assert error["data"]["cause"] == "not-found"


async def test_what_the_gateway_refuses_is_an_error_with_its_cause() -> None:
    """Forbidden, overloaded, malformed and without common codec are told apart."""
    async with running(FakeGateway()) as server, rpc(server, "alice", token="wonder") as alice:
        for callee, cause in (
            ("forbidden", "forbidden"),
            ("full", "overloaded"),
            ("malformed", "error"),
            ("codec", "not-acceptable"),
        ):
            error = await alice.fails("offer", to_peer_id=callee, sdp=SDP)
            assert (error["code"], error["data"]["cause"]) == (-32000, cause)


async def test_a_crash_behind_the_facade_is_an_internal_error_without_detail() -> None:
    """-32603, and the connection lives on."""
    async with running(FakeGateway()) as server, rpc(server, "alice", token="wonder") as alice:
        error = await alice.fails("offer", to_peer_id="crash", sdp=SDP)
        assert error == {"code": -32603, "message": "Internal error"}
        await alice.ok("list_peers")


async def test_a_busy_callee_ends_the_call_with_its_cause() -> None:
    """call_state says why, peer_disconnected says it to clients that know no more."""
    gateway = FakeGateway()
    gateway.script = lambda call: call.channel.ended(call, Cause.BUSY)
    async with running(gateway) as server, rpc(server, "alice", token="wonder") as alice:
        await alice.ok("offer", to_peer_id="1001", sdp=SDP)
        state = await alice.notified("call_state", state="ended")
        assert (state["cause"], state["reason"]) == ("busy", "Busy.")
        assert await alice.notified("peer_disconnected") == {
            "peer_id": "1001",
            "reason": "busy",
            "call_id": "call-1",
            "seq": 3,
        }


async def test_an_incoming_call_is_an_offer_that_answer_accepts() -> None:
    """The gateway hears ring first, then the answer; a hang-up by the far end is told."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server, "alice", token="wonder") as alice:
        call = gateway.ring_user("alice")
        offer = await alice.notified("offer")
        assert offer == {
            "from_peer_id": "sip:1001@gateway.example",
            "offer_id": "call-1",
            "call_id": "call-1",
            "seq": 1,
            "from_name": "Desk",
            "verified": "none",
            "sdp": SDP,
            "type": "offer",
            "update": False,
        }
        await call.happens("ring")
        result = await alice.ok("answer", to_peer_id=offer["from_peer_id"], sdp=ANSWER)
        assert result == {"to_peer_id": "sip:1001@gateway.example"}
        assert call.log == [("ring",), ("answer", ANSWER)]
        call.channel.ended(call, Cause.NORMAL)
        assert (await alice.notified("peer_disconnected"))["reason"] == "normal"


async def test_disconnect_refuses_a_ringing_call_with_the_reason_given() -> None:
    """busy stays busy; anything else is declined."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server, "alice", token="wonder") as alice:
        for reason, cause in (("busy", Cause.BUSY), ("declined", Cause.DECLINED), ("normal", Cause.DECLINED)):
            call = gateway.ring_user("alice")
            await alice.notified("offer")
            await alice.ok("disconnect", peer_id="sip:1001@gateway.example", reason=reason)
            assert call.log[-1] == ("reject", cause)


async def test_disconnect_cancels_before_and_hangs_up_after_the_answer() -> None:
    """The cause the gateway hears follows the call's state; late events are ignored."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server, "alice", token="wonder") as alice:
        await alice.ok("offer", to_peer_id="1001", sdp=SDP)
        await alice.ok("disconnect", peer_id="1001")
        first = gateway.calls[0]
        assert first.log == [("hangup", Cause.CANCELLED)]
        assert (await alice.notified("call_state", state="ended"))["cause"] == "cancelled"
        first.channel.answered(first, None)
        first.channel.ended(first, Cause.NORMAL)
        await alice.silent()
        await alice.ok("offer", to_peer_id="1001", sdp=SDP)
        second = gateway.calls[1]
        second.channel.answered(second, None)
        await alice.ok("disconnect", peer_id="1001")
        assert second.log == [("hangup", Cause.NORMAL)]


async def test_two_calls_with_one_peer_are_told_apart_by_call_id() -> None:
    """Without a call id the latest one is meant."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server, "alice", token="wonder") as alice:
        first, second = gateway.ring_user("alice"), gateway.ring_user("alice")
        peer = "sip:1001@gateway.example"
        await alice.ok("disconnect", peer_id=peer, call_id="call-1", reason="busy")
        assert first.log[-1] == ("reject", Cause.BUSY)
        await alice.ok("answer", to_peer_id=peer, sdp=ANSWER)
        assert second.log[-1] == ("answer", ANSWER)


async def test_digits_and_candidates_reach_the_call() -> None:
    """Lower-case digits are raised, "" ends the candidates."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server, "alice", token="wonder") as alice:
        await alice.ok("offer", to_peer_id="1001", sdp=SDP)
        await alice.ok("dtmf", peer_id="1001", digit="a", duration=200)
        await alice.ok("dtmf", peer_id="1001", digit="#")
        await alice.ok(
            "ice_candidate",
            to_peer_id="1001",
            candidate="candidate:1 1 udp 1 192.0.2.1 9 typ host",
            sdp_mid="0",
            sdp_mline_index=0,
        )
        await alice.ok("ice_candidate", to_peer_id="1001", candidate="")
        assert gateway.calls[0].log == [
            ("digit", "A", 200),
            ("digit", "#", 160),
            ("candidate", "candidate:1 1 udp 1 192.0.2.1 9 typ host", "0"),
            ("candidate", "", None),
        ]
        call = gateway.calls[0]
        call.channel.candidate(call, "candidate:2", "0")
        assert (await alice.notified("ice_candidate"))["candidate"] == "candidate:2"


async def test_a_call_takes_no_more_candidates_than_the_limit() -> None:
    """What comes beyond is refused and goes no further."""
    gateway = FakeGateway()
    settings = WebSettings(max_candidates=2)
    async with running(gateway, settings) as server, rpc(server, "alice", token="wonder") as alice:
        await alice.ok("offer", to_peer_id="1001", sdp=SDP)
        for _ in range(2):
            await alice.ok("ice_candidate", to_peer_id="1001", candidate="candidate:1 1 udp 1 192.0.2.1 9 typ host")
        await alice.fails("ice_candidate", to_peer_id="1001", candidate="candidate:1 1 udp 1 192.0.2.1 9 typ host")
        assert len(gateway.calls[0].log) == 2


async def test_both_sides_can_change_an_answered_call() -> None:
    """A second offer is a re-offer; the gateway's comes as an offer with update; rollback refuses."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server, "alice", token="wonder") as alice:
        await alice.ok("offer", to_peer_id="1001", sdp=SDP)
        call = gateway.calls[0]
        assert (await alice.fails("offer", to_peer_id="1001", sdp=SDP))["message"] == "Negotiation in progress"
        call.channel.answered(call, None)
        await alice.ok("offer", to_peer_id="1001", sdp=SDP)
        assert (await alice.fails("offer", to_peer_id="1001", sdp=SDP))["message"] == "Negotiation in progress"
        assert call.log == [("update", SDP)]
        call.channel.updated(call, ANSWER, "answer")
        await alice.notified("call_state", state="answered")
        assert (await alice.next_notice())[1]["sdp"] == ANSWER
        await alice.ok("offer", to_peer_id="1001", sdp=SDP)
        call.channel.updated(call, None, "answer")
        assert (await alice.notified("answer"))["type"] == "rollback"
        call.offers(SDP)
        assert (await alice.notified("offer"))["update"] is True
        await alice.ok("answer", to_peer_id="1001", sdp=ANSWER)
        call.offers(SDP)
        await alice.ok("answer", to_peer_id="1001", type="rollback")
        assert call.log[-2:] == [("update_answer", ANSWER), ("update_answer", None)]


async def test_each_of_two_offers_that_cross_the_first_answer_is_answered() -> None:
    """The gateway may ask for something else before the client has answered; who answers none is asked no more."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server, "alice", token="wonder") as alice:
        await alice.ok("offer", to_peer_id="1001", sdp=SDP)
        call = gateway.calls[0]
        call.channel.answered(call, ANSWER)
        for _ in range(2):
            call.offers(SDP)
        await alice.ok("answer", to_peer_id="1001", type="rollback")
        assert (await alice.fails("offer", to_peer_id="1001", sdp=SDP))["message"] == "Negotiation in progress"
        await alice.ok("answer", to_peer_id="1001", sdp=ANSWER)
        assert call.log == [("update_answer", None), ("update_answer", ANSWER)]
        await alice.fails("answer", to_peer_id="1001", sdp=ANSWER)
        await alice.ok("offer", to_peer_id="1001", sdp=SDP)


async def test_an_answer_may_name_the_offer_that_it_answers() -> None:
    """One that comes late, or twice, is then never taken for that of the next offer; a number is all it may be."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server, "alice", token="wonder") as alice:
        await alice.ok("offer", to_peer_id="1001", sdp=SDP)
        call = gateway.calls[0]
        call.channel.answered(call, ANSWER)
        named = []
        for _ in range(2):
            call.offers(SDP)
            named.append((await alice.notified("offer"))["exchange"])
            await alice.ok("answer", to_peer_id="1001", sdp=ANSWER, exchange=named[-1])
        call.offers(SDP)
        for number in named:
            error = await alice.fails("answer", to_peer_id="1001", sdp=ANSWER, exchange=number)
            assert error["message"] == "No offer waits for this answer"
        await alice.fails("answer", to_peer_id="1001", sdp=ANSWER, exchange="3")
        assert len(call.log) == 2
        await alice.ok(
            "answer", to_peer_id="1001", type="rollback", exchange=(await alice.notified("offer"))["exchange"]
        )
        assert call.log[-1] == ("update_answer", None)


async def test_an_answer_nobody_waits_for_is_refused() -> None:
    """An outgoing call is not answered by its caller."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server, "alice", token="wonder") as alice:
        await alice.ok("offer", to_peer_id="1001", sdp=SDP)
        assert (await alice.fails("answer", to_peer_id="1001", sdp=ANSWER))["code"] == -32000
        assert gateway.calls[0].log == []


async def test_a_closed_socket_leaves_its_calls_away_and_the_gateway() -> None:
    """The person may come back: a ringing call rings the page that does, an answered one waits."""
    gateway = FakeGateway()
    async with running(gateway) as server:
        async with rpc(server, "alice", token="wonder") as alice:
            await alice.ok("offer", to_peer_id="1001", sdp=SDP)
            talking = gateway.calls[0]
            talking.channel.answered(talking, None)
            ringing = gateway.ring_user("alice")
            await alice.notified("offer")
        await talking.happens("away")
        await ringing.happens("away")
        assert gateway.channels["alice"] == []
        late = FakeCall("late", talking.channel)
        late.channel.incoming(late, "sip:x@y", "", SDP)
        assert late.log == [("reject", Cause.UNAVAILABLE)]


async def test_a_connection_holds_no_more_calls_than_the_limit() -> None:
    """The next outgoing call is an error, the next incoming one hears busy."""
    gateway = FakeGateway()
    settings = WebSettings(max_calls_per_connection=1)
    async with running(gateway, settings) as server, rpc(server, "alice", token="wonder") as alice:
        await alice.ok("offer", to_peer_id="1001", sdp=SDP)
        assert (await alice.fails("offer", to_peer_id="1002", sdp=SDP))["code"] == -32000
        assert gateway.ring_user("alice").log == [("reject", Cause.BUSY)]


async def test_the_courtesy_form_carries_the_answer_in_its_result() -> None:
    """An offer that names nobody, without announcement, reaches the echo."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server) as client:
        await client.send({"jsonrpc": "2.0", "method": "offer", "params": {"sdp": SDP, "type": "offer"}, "id": 1})
        result = (await client.frame())["result"]
        assert result["answer"] == {"type": "answer", "sdp": ANSWER}
        assert (await client.notified("call_state"))["state"] == "calling"
        call = gateway.calls[0]
        assert call.to == "600"
        assert call.caller is not None
        assert call.caller.id.startswith("guest-")
        call.channel.answered(call, ANSWER)
        assert (await client.notified("call_state"))["state"] == "answered"
        await client.ok("ice_candidate", candidate="")
        assert call.log == [("candidate", "", None)]


async def test_a_courtesy_offer_without_answer_in_time_is_cancelled() -> None:
    """The connection serves other requests meanwhile."""
    gateway = FakeGateway()
    gateway.script = lambda call: None
    async with running(gateway, WebSettings(setup_timeout=0.2)) as server, rpc(server) as client:
        await client.send({"jsonrpc": "2.0", "method": "offer", "params": {"sdp": SDP}, "id": "late"})
        await client.send({"jsonrpc": "2.0", "method": "server.info", "id": "quick"})
        ids = [(await client.frame()).get("id") for _ in range(4)]
        assert [value for value in ids if value] == ["quick", "late"]
        assert gateway.calls[0].log == [("hangup", Cause.CANCELLED)]


async def test_a_socket_closed_during_place_leaves_no_call_behind() -> None:
    """The attempt is cancelled with its connection, or its call hung up."""
    gateway = FakeGateway()
    cancelled = asyncio.Event()

    async def slow(call: FakeCall) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    gateway.script = slow
    async with running(gateway, WebSettings(setup_timeout=0.3)) as server:
        async with rpc(server, "alice", token="wonder") as alice:
            await alice.send({"jsonrpc": "2.0", "method": "offer", "params": {"to_peer_id": "1", "sdp": SDP}, "id": 9})
            await asyncio.wait_for(gateway.placed.wait(), 30)
        await asyncio.wait_for(cancelled.wait(), 30)
