"""The ng client against a scripted daemon on loopback: losses, silence, several daemons."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.media.engine import Kind, MediaError, Party
from gateway.media.rtpengine.bencode import Encodable
from gateway.media.rtpengine.client import Address, ClientConfig, NgHost, Unreachable
from gateway.media.rtpengine.engine import RtpengineConfig, RtpengineEngine
from gateway.media.rtpengine.ng import Retries
from tests.media.engine_support import browser_sdp, until
from tests.media.ng_daemon import daemon, friendly
from tests.rows import by_row

QUICK = Retries(after=(0.02, 0.06), deadline=0.15)
BROWSER, PHONE = Party("browser", Kind.WEBRTC), Party("phone", Kind.RTP)


@contextlib.asynccontextmanager
async def host(address: Address, **limits: Any) -> AsyncIterator[NgHost]:
    made = NgHost(address, ClientConfig(retries=QUICK, **limits), time.monotonic, os.urandom)
    await made.open()
    try:
        yield made
    finally:
        made.close()
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def engine(*addresses: Address) -> AsyncIterator[RtpengineEngine]:
    made = RtpengineEngine(RtpengineConfig(hosts=addresses, client=ClientConfig(retries=QUICK, ping_interval=0.05)))
    await made.start()
    try:
        yield made
    finally:
        await made.close()


async def test_a_lost_request_is_answered_after_it_was_sent_again() -> None:
    """The copies have one cookie, and the daemon carries the request out once."""
    async with daemon(lose=2) as (peer, address), host(address) as client:
        assert await client.ask({"command": "ping"}) == {"result": "pong"}
    assert len(peer.cookies) == 3
    assert len(set(peer.cookies)) == 1
    assert len(peer.requests) == 1


async def test_cookies_are_never_the_same() -> None:
    """And drawn from the random source, so that nobody can answer in the daemon's place."""
    async with daemon() as (peer, address), host(address) as client:
        for _ in range(20):
            await client.ask({"command": "ping"})
    assert len(set(peer.cookies)) == 20
    assert all(len(cookie) == 24 for cookie in peer.cookies)


async def test_a_silent_daemon_is_given_up_at_the_deadline() -> None:
    """503, with its address in words, and the host counts as gone until it answers."""
    silent = True
    async with daemon(lambda request: None if silent else friendly(request)) as (_, address), host(address) as client:
        with pytest.raises(Unreachable) as raised:
            await client.ask({"command": "ping"})
        assert raised.value.status == 503
        assert f"127.0.0.1:{address[1]}" in raised.value.reason
        assert not client.alive
        silent = False
        await client.ask({"command": "ping"})
        assert client.alive


async def test_a_port_where_nobody_listens_is_told_at_once() -> None:
    """The kernel's word is taken; there is no waiting for the deadline."""
    async with daemon() as (_, address):
        pass
    patient = ClientConfig(retries=Retries(after=(), deadline=60.0))
    client = NgHost(address, patient, time.monotonic, os.urandom)
    await client.open()
    with pytest.raises(Unreachable):
        await asyncio.wait_for(client.ask({"command": "ping"}), 30)
    client.close()
    await asyncio.sleep(0)


async def test_a_name_that_means_no_address_is_unreachable() -> None:
    """Said with the name."""
    client = NgHost(("no-such-host.invalid", 2223), ClientConfig(retries=QUICK), time.monotonic, os.urandom)
    with pytest.raises(Unreachable, match=r"no-such-host\.invalid"):
        await client.open()


async def test_only_so_many_requests_are_under_way_and_only_so_many_wait() -> None:
    """The daemon sees `in_flight` at once; past `waiting` more, requests are refused with 503."""
    async with daemon(lambda _: None) as (peer, address), host(address, in_flight=2, waiting=3) as client:
        tasks = [asyncio.create_task(client.ask({"command": "ping"})) for _ in range(6)]
        await until(lambda: len(peer.requests) >= 2)
        assert len(set(peer.cookies)) == 2
        with pytest.raises(MediaError, match="too many") as raised:
            await tasks[5]
        assert raised.value.status == 503
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, MediaError) for outcome in outcomes)


async def test_a_cancelled_request_leaves_nothing_behind() -> None:
    """Its reply is a stray then, and its turn goes to the next."""
    async with daemon(lambda _: None) as (peer, address), host(address, in_flight=1) as client:
        task = asyncio.create_task(client.ask({"command": "ping"}))
        await until(lambda: bool(peer.requests))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        peer.answer = friendly
        assert await client.ask({"command": "ping"}) == {"result": "pong"}


async def test_strangers_replies_are_ignored() -> None:
    """Wrong cookies and noise before the true reply."""
    async with daemon() as (peer, address), host(address) as client:
        client.datagram_received(b"deadbeef d6:result5:errore", None)
        client.datagram_received(b"\xff\x00", None)
        assert await client.ask({"command": "ping"}) == {"result": "pong"}
    assert len(peer.requests) == 1


async def test_an_engine_without_any_daemon_does_not_start() -> None:
    """The error names every address that was tried."""
    async with daemon() as (_, one), daemon() as (_, two):
        pass
    made = RtpengineEngine(RtpengineConfig(hosts=(one, two), client=ClientConfig(retries=QUICK)))
    with pytest.raises(MediaError) as raised:
        await made.start()
    assert raised.value.status == 503
    assert str(one[1]) in raised.value.reason
    assert str(two[1]) in raised.value.reason
    with pytest.raises(MediaError):
        await made.offer("call", BROWSER, PHONE, browser_sdp())


async def test_calls_are_shared_out_and_stay_where_they_began() -> None:
    """Every request of a call goes to the daemon that took its offer."""
    async with daemon() as (one, first), daemon() as (two, second), engine(first, second) as made:
        for number in range(4):
            await made.offer(f"call{number}", BROWSER, PHONE, browser_sdp())
        for number in range(4):
            await made.delete(f"call{number}")
    for peer in (one, two):
        calls = [request["call-id"] for request in peer.requests if request["command"] == "offer"]
        ends = [request["call-id"] for request in peer.requests if request["command"] == "delete"]
        assert len(calls) == 2
        assert calls == ends


async def test_a_new_call_goes_to_another_daemon_when_the_first_is_silent() -> None:
    """Within one request of the engine's user; the silent one is asked to forget the call."""
    mute = False

    def moody(request: dict[str, Any]) -> Encodable | None:
        return None if mute else friendly(request)

    async with daemon(moody) as (one, first), daemon() as (two, second), engine(first, second) as made:
        mute = True
        for number in range(2):
            assert await made.offer(f"call{number}", BROWSER, PHONE, browser_sdp())
        assert two.commands() == ["offer", "offer"]
        tried = [request["call-id"] for request in one.requests if request["command"] == "offer"]
        await until(lambda: one.commands().count("delete") >= len(tried))


async def test_a_refusal_is_not_carried_to_another_daemon() -> None:
    """It would refuse as well, and the caller wants the status."""
    refuse = {"result": "error", "error-reason": "Failed to parse SDP"}

    def strict(request: dict[str, Any]) -> Encodable:
        return friendly(request) if request["command"] == "ping" else refuse

    async with daemon(strict) as (one, first), daemon(strict) as (two, second), engine(first, second) as made:
        with pytest.raises(MediaError) as raised:
            await made.offer("call", BROWSER, PHONE, browser_sdp())
        assert raised.value.status == 400
        assert made.sessions == 0
    assert len(one.commands() + two.commands()) == 1


@by_row(
    ("reply", "status"),
    [
        ({"result": "error", "error-reason": "Unknown call-id"}, 481),
        ({"result": "error", "error-reason": "Ran out of ports"}, 503),
        ({"result": "error", "error-reason": "Parallel session limit reached"}, 503),
        ({"result": "error", "error-reason": "something new"}, 500),
        ({"result": "error"}, 500),
        ({"result": ["ok"]}, 500),
        ({}, 500),
        ({"result": "ok"}, 500),
        ({"result": "ok", "sdp": 7}, 500),
        ({"result": "ok", "sdp": "nonsense"}, 500),
        ({"result": "ok", "sdp": "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"}, 500),
    ],
)
async def test_whatever_the_daemon_says_becomes_a_status(reply: Encodable, status: int) -> None:
    """Its refusals by their meaning, its nonsense as 500."""
    answers = itertools.chain([{"result": "pong"}], itertools.repeat(reply))
    async with daemon(lambda _: next(answers)) as (_, address):
        made = RtpengineEngine(RtpengineConfig(hosts=(address,), client=ClientConfig(retries=QUICK, ping_interval=60)))
        await made.start()
        try:
            with pytest.raises(MediaError) as raised:
                await made.offer("call", BROWSER, PHONE, browser_sdp())
        finally:
            await made.close()
    assert raised.value.status == status


async def test_a_list_of_calls_that_no_datagram_holds_is_asked_for_in_part() -> None:
    """A thousand long names of other gateways: the daemon cannot send them, and is there for new calls meanwhile."""
    asked: list[object] = []

    def answers(request: dict[str, Any]) -> Encodable | None:
        if request["command"] != "list":
            return friendly(request)
        asked.append(request["limit"])
        return {"result": "ok", "calls": ["mine-1", "others"]} if request["limit"] == 100 else None

    async with daemon(answers) as (peer, address):
        client = ClientConfig(retries=Retries(after=(0.5,), deadline=2.0), ping_interval=60)
        made = RtpengineEngine(RtpengineConfig(hosts=(address,), client=client, owner="mine-"))
        await made.start()
        alive = set()
        made.end_left()
        async with asyncio.timeout(30):
            while "delete" not in peer.commands():
                alive.add(made._hosts.all[0].alive)
                await asyncio.sleep(0.01)
        await made.close()
    assert (set(asked[:-1]), asked[-1], alive) == ({1000}, 100, {True})
    assert [one["call-id"] for one in peer.requests if one["command"] == "delete"] == ["mine-1"]


async def test_closing_does_not_wait_long_for_a_daemon_that_is_gone() -> None:
    """Its calls are counted as ended; the daemon lets them go by itself."""
    async with daemon() as (peer, address):
        made = RtpengineEngine(RtpengineConfig(hosts=(address,), client=ClientConfig(retries=QUICK)))
        await made.start()
        for number in range(3):
            await made.offer(f"call{number}", BROWSER, PHONE, browser_sdp())
        peer.answer = lambda _: None
        await asyncio.wait_for(made.close(), 30)
        assert made.sessions == 0
