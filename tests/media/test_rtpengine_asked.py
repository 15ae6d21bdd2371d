"""What a scripted rtpengine is asked, and what it is not: the engine's own rules of calls that change."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

import pytest

from gateway.media.engine import Connected, FirstMedia, Kind, MediaError, MediaEvent, OfferWanted, Party
from gateway.media.rtpengine import engine as rtpengine
from gateway.media.rtpengine.bencode import Encodable
from gateway.media.rtpengine.engine import RtpengineEngine
from gateway.media.rtpengine.statistics import Heard
from tests.media import rtpengine_support
from tests.media.engine_support import phone_sdp, until
from tests.media.ng_daemon import Daemon, daemon, friendly
from tests.rows import by_row

ONE, OTHER, THIRD = (Party(name, Kind.RTP) for name in ("one", "other", "third"))


def answering(request: dict[str, Any]) -> Encodable:
    """As `friendly`, with an answer in each answer."""
    return {"result": "ok", "sdp": phone_sdp()} if request["command"] == "answer" else friendly(request)


@contextlib.asynccontextmanager
async def running(*, owner: str = "") -> AsyncIterator[tuple[RtpengineEngine, Daemon, list[MediaEvent]]]:
    """With a call of two, and what the daemon was asked since that was up."""
    async with daemon(answering) as (peer, address):
        engine = RtpengineEngine(rtpengine_support.config(address, owner=owner))
        events: list[MediaEvent] = []
        engine.subscribe(events.append)
        await engine.start()
        try:
            await engine.offer("call", ONE, OTHER, phone_sdp())
            await engine.answer("call", OTHER, ONE, phone_sdp(port=42000))
            peer.requests.clear()
            yield engine, peer, events
        finally:
            await engine.close()


def asked(peer: Daemon, command: str) -> list[dict[str, Any]]:
    return [request for request in peer.requests if request["command"] == command]


@by_row(("given", "said"), [(0, 100), (160, 160), (10**9, 5000)])
async def test_a_digit_lasts_as_long_as_any_phone_sends_one(given: int, said: int) -> None:
    """A tenth of a second at least, and five at most, whatever a page or a phone asks for."""
    async with running() as (engine, peer, _):
        await engine.send_dtmf("call", "one", "5", given)
        assert [request["duration"] for request in asked(peer, "play DTMF")] == [said]


async def test_nobody_hears_who_is_let_go_while_it_talks() -> None:
    """The daemon goes on until the other one has agreed with somebody else: its media is blocked, once."""
    async with running() as (engine, peer, _):
        await engine.release("call", "other")
        assert [request["command"] for request in peer.requests if request["command"].endswith("media")] == [
            "block media"
        ]
        await engine.release("call", "one")  # of one alone nobody hears anything
        assert len(asked(peer, "block media")) == 1
        assert asked(peer, "delete") == []


async def test_who_does_not_talk_is_let_go_without_a_word_to_those_who_do() -> None:
    """A third that has been offered the call, and refuses."""
    async with running() as (engine, peer, _):
        await engine.create_offer("call", THIRD, ONE)
        await engine.release("call", "third")
        assert asked(peer, "block media") == []


async def test_who_was_let_go_and_comes_back_is_not_ended_for_having_gone() -> None:
    """The daemon ends a call with any of the two that talk in it."""
    async with running() as (engine, peer, _):
        await engine.release("call", "other")
        await engine.create_offer("call", OTHER, ONE)
        await engine.answer("call", OTHER, None, phone_sdp(port=42000))
        await engine.join("call", "one", "other")
        assert asked(peer, "delete") == []


async def test_who_came_from_another_call_and_goes_again_was_never_at_the_daemon() -> None:
    """Nothing of it is to be ended there in this call."""
    async with running() as (engine, peer, _):
        await engine.offer("left", ONE, THIRD, phone_sdp())
        await engine.answer("left", THIRD, ONE, phone_sdp(port=42002))
        await engine.adopt("call", "left", "third")
        peer.requests.clear()
        await engine.release("call", "third")
        assert peer.commands() == []


async def test_an_answer_without_anything_of_the_offer_is_refused_before_there_is_a_join() -> None:
    """At once, where whoever passes the call on can still be told; another answer to the same offer is taken."""
    async with running() as (engine, _, _):
        await engine.create_offer("call", THIRD, ONE)
        foreign = phone_sdp(port=42002).replace("m=audio", "m=video")
        with pytest.raises(MediaError) as raised:
            await engine.answer("call", THIRD, None, foreign)
        assert raised.value.status == 488
        await engine.answer("call", THIRD, None, phone_sdp(port=42002))


@pytest.mark.parametrize("has_ended", [False, True])
async def test_nothing_is_told_of_a_call_that_ended_while_it_was_asked_about(
    has_ended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its figures come late; nor is it written down for another process."""
    async with running() as (engine, _, events):
        call, ask = engine._calls["call"], vars(rtpengine)["ask"]

        async def asked_late(host: Any, request: Any, **more: Any) -> Any:
            reply = await ask(host, request, **more)
            call.closed = has_ended
            return reply

        monkeypatch.setattr(rtpengine, "ask", asked_late)
        monkeypatch.setattr(rtpengine, "heard", lambda _: {"one": Heard(packets=5)})
        assert engine.values("call") is not None
        await engine.query("call")
        await asyncio.sleep(0)  # events come in the loop's next round
        assert [type(each) for each in events] == ([] if has_ended else [Connected, FirstMedia])
        assert (engine.values("call") is None) is has_ended


async def test_an_offer_of_ours_is_answered_once() -> None:
    """A second answer has no offer that waits."""
    async with running() as (engine, _, _):
        await engine.create_offer("call", THIRD, ONE)
        await engine.answer("call", THIRD, None, phone_sdp(port=42002))
        with pytest.raises(MediaError) as raised:
            await engine.answer("call", THIRD, None, phone_sdp(port=42002))
        assert raised.value.status == 481


async def test_who_has_changed_nothing_by_its_answer_has_nobody_offered_anew() -> None:
    """A re-INVITE of ours that a phone answers as before."""
    async with running() as (engine, _, events):
        await engine.create_offer("call", OTHER, ONE)
        await engine.answer("call", OTHER, None, phone_sdp(port=42000))
        await asyncio.sleep(0)
        assert [event for event in events if isinstance(event, OfferWanted)] == []


async def test_without_a_name_of_its_own_a_gateway_ends_no_calls_of_others() -> None:
    """Every call of a shared daemon would begin with it."""
    async with running() as (engine, peer, _):
        engine.end_left()
        await asyncio.sleep(0)
        await engine.query("call")
        assert asked(peer, "list") == []


async def test_ending_what_was_left_stops_with_the_engine() -> None:
    """A daemon that does not say what it has is waited for no longer than the engine lives."""
    async with running(owner="gw-") as (engine, peer, _):
        peer.answer = lambda request: None if request["command"] == "list" else answering(request)
        engine.end_left()
        await until(lambda: asked(peer, "list") != [])
        ending = engine._ending
        assert ending is not None
        await engine.close()
        assert ending.cancelled()


async def test_nothing_is_changed_while_it_is_not_known_whose_calls_they_are() -> None:
    """It is done once that is known to be ours; how they are may be asked."""
    async with running() as (engine, peer, _):
        waits = True
        engine.handover.waits = lambda: waits
        blocking = asyncio.create_task(engine.isolate("call", "one"))
        asking = asyncio.create_task(engine.query("call"))
        await asking
        engine.handover.go_on()
        await engine.query("call")
        assert set(peer.commands()) == {"query"}
        waits = False
        engine.handover.go_on()
        await asyncio.wait_for(blocking, 10)
        assert asked(peer, "block media") != []


async def test_of_calls_that_another_gateway_has_nothing_is_changed_any_more() -> None:
    """Neither what waited, nor by the end of the call here; those of ours go on, and so does one that comes back."""
    async with running() as (engine, peer, _):
        await engine.offer("ours", ONE, OTHER, phone_sdp())
        await engine.answer("ours", OTHER, ONE, phone_sdp(port=42000))
        values = engine.values("call")
        assert values is not None
        peer.requests.clear()
        waits = True
        engine.handover.waits = lambda: waits
        waiting = asyncio.create_task(engine.isolate("call", "one")), asyncio.create_task(engine.delete("ours"))
        await asyncio.sleep(0)
        engine.handover.leave(["call", "unknown"])
        waits = False
        engine.handover.go_on()
        with pytest.raises(MediaError) as raised:
            await asyncio.wait_for(waiting[0], 10)
        assert raised.value.status == 481
        await asyncio.wait_for(waiting[1], 10)
        await engine.delete("call")
        assert [request["call-id"] for request in asked(peer, "delete")] == ["ours"]
        assert asked(peer, "block media") == []
        await engine.resume("call", values)
        await engine.delete("call")
        assert [request["call-id"] for request in asked(peer, "delete")] == ["ours", "call"]


@pytest.mark.parametrize("is_known", [True, False])
async def test_what_others_have_is_not_ended_with_what_was_left(is_known: bool) -> None:
    """Nor anything where nobody knows; a call of ours is not asked about."""
    names: list[Encodable] = ["gw-taken", "gw-left", "gw-call", "other-call", 5]

    def listing(request: dict[str, Any]) -> Encodable:
        return {"result": "ok", "calls": names} if request["command"] == "list" else answering(request)

    told: list[list[str]] = []

    async def elsewhere(call_ids: Sequence[str]) -> Collection[str]:
        told.append(list(call_ids))
        return {"taken"} if is_known else call_ids

    async with running(owner="gw-") as (engine, peer, _):
        peer.answer = listing
        engine.handover.elsewhere = elsewhere
        engine.end_left()
        assert engine._ending is not None
        await engine._ending
        assert told == [["taken", "left"]]
        assert [request["call-id"] for request in asked(peer, "delete")] == ["gw-left"] * is_known


async def test_a_call_of_another_gateway_is_gone_on_with_under_the_name_that_it_has() -> None:
    """Whatever ours would be; what it was told stays, and its end is ours."""
    async with running(owner="first-") as (first, peer, _):
        values = first.values("call")
        assert values is not None
        other = RtpengineEngine(rtpengine_support.config(tuple(values["host"]), owner="second-"))
        await other.start()
        peer.requests.clear()
        await other.resume("call", values)
        assert peer.commands() == ["query"]
        again = other.values("call")
        assert again == values
        await other.delete("call")
        assert [request["call-id"] for request in asked(peer, "delete")] == ["first-call"]
        await other.close()
