"""Transports over the gateway's JSON-RPC signalling: tones by frequency, data, files, broadcast, refusals."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from aiortc import RTCDataChannel

from gateway.remotemedia import (
    AudioEncoderConfig,
    PeerNotFound,
    SignalingError,
    TransportError,
    WebRtcTransport,
    WebRtcTransportConfig,
)
from gateway.remotemedia.media import FRAME, RATE, Samples
from gateway.remotemedia.peer import Peer
from tests.remotemedia.ear import Ear, tone, transport
from tests.rows import by_row
from tests.web.fake import FakeGateway, running


async def test_audio_data_and_a_file_reach_the_other_side() -> None:
    """The guide's own steps: connect, session, audio track, send; then data both ways and a file."""
    async with running(FakeGateway()) as server, transport(server, "one") as one, transport(server, "two") as two:
        ear, back = Ear(two), Ear(one)
        peer_id = await one.connect_peer("two")
        assert peer_id == "two"
        await one.create_session("my-session")
        await one.add_peer_to_session("my-session", peer_id)
        peer = await one.peer_manager.get_peer(peer_id)
        await peer.add_audio_track(AudioEncoderConfig(bitrate=48_000))
        await one.send_audio(peer_id, tone(660, 60))
        assert abs(await ear.frequency() - 660) < 8
        assert await two.peer_manager.list_peers() == ["one"]
        await two.send_audio("one", tone(880, 60))
        assert abs(await back.frequency() - 880) < 8
        async with asyncio.timeout(30):
            await one.send_data("two", "hello")
            assert await ear.data.get() == "hello"
            await two.send_data("one", b"\x00\x01")
            assert await back.data.get() == b"\x00\x01"
            content = bytes(range(256)) * 1_000
            await one.send_file("two", "plan.pdf", content)
            assert await ear.files.get() == ("plan.pdf", content)
        metrics = await one.get_metrics()
        assert (metrics.active_peers, metrics.total_sessions) == (1, 1)
        assert metrics.bytes_sent > 1_000
        assert await one.session_count() == 1


async def test_a_broadcast_is_encoded_once_and_heard_by_the_session_alone() -> None:
    """The others hear silence; without a session everybody hears it."""
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(running(FakeGateway()))
        speaker = await stack.enter_async_context(transport(server, "speaker"))
        ears: dict[str, Ear] = {}
        for name in ("v1", "v2", "v3"):
            ears[name] = Ear(await stack.enter_async_context(transport(server, name)))
            await speaker.connect_peer(name)
        await speaker.create_session("webinar")
        for name in ("v1", "v2"):
            await speaker.add_peer_to_session("webinar", name)
        assert await speaker.broadcast_audio(tone(500, 60), "webinar") == 2
        for name in ("v1", "v2"):
            assert abs(await ears[name].frequency() - 500) < 8
        assert ears["v3"].parts == []
        assert await speaker.broadcast_audio(tone(700, 60)) == 3
        assert abs(await ears["v3"].frequency() - 700) < 8


async def test_a_file_is_what_its_header_says_and_no_more() -> None:
    """Too large: its channel is closed at once; longer than was said: no file; what follows its end is thrown away."""
    async with running(FakeGateway()) as server, transport(server, "one") as one, transport(server, "two") as two:
        ear = Ear(two)
        sender = (await one.peer_manager.get_peer(await one.connect_peer("two"))).connection
        largest = 64 * 1_048_576
        with pytest.raises(TransportError, match="a file may have"):
            await one.send_file("two", "large", bytes(largest + 1))
        for size, parts in ((largest + 1, [b"a"]), (-1, [b"a"]), (2, [b"abc"]), (3, [b"ab", b"c", b"", b""])):
            channel = sender.createDataChannel(f"file:{size}")
            opened, closed = asyncio.Event(), asyncio.Event()
            channel.on("open", opened.set)
            channel.on("close", closed.set)
            async with asyncio.timeout(30):
                await opened.wait()
                channel.send(json.dumps({"name": "f", "size": size}))
                for part in parts:
                    channel.send(part)
                await closed.wait()
        assert ear.files.get_nowait() == ("f", b"abc")
        assert ear.files.empty()


@by_row("end", ["goodbye", "channel", "silence"])
async def test_a_file_whose_receiver_goes_in_the_middle_of_it_is_an_error(end: str) -> None:
    """It says goodbye, closes the channel, or takes nothing any more; nobody waits for ever, and nothing is kept."""
    async with running(FakeGateway()) as server, transport(server, "one") as one, transport(server, "two") as two:
        sender = await one.peer_manager.get_peer(await one.connect_peer("two"))
        await until_connected(two, "one")
        receiver = (await two.peer_manager.get_peer("one")).connection
        begun: asyncio.Future[RTCDataChannel] = asyncio.get_running_loop().create_future()

        def opened(channel: RTCDataChannel) -> None:
            if end == "silence":  # what it waits for from now on, not that the channel opens
                sender._config = replace(sender._config, connect_timeout=0.5)
            channel.once("message", lambda _: begun.set_result(channel))

        receiver.on("datachannel", opened)
        async with asyncio.timeout(60):
            sending = asyncio.create_task(one.send_file("two", "large", bytes(48 * 1_048_576)))
            channel = await begun
            if end == "goodbye":
                await two.disconnect_peer("one")
            elif end == "channel":
                channel.close()
            else:
                assert receiver.sctp is not None
                receiver.sctp._handle_data = _deaf  # type: ignore[method-assign]
            with pytest.raises(TransportError, match="take the file" if end == "silence" else "closed"):
                await sending
            if end == "goodbye":
                with pytest.raises(TransportError, match="has closed"):
                    await sender.send_file("small", b"1")
            elif end == "channel":
                await one.send_data("two", "still there")


async def _deaf(data: bytes) -> None:
    """What comes is as good as lost."""


async def test_what_cannot_be_done_says_so_and_leaves_nothing() -> None:
    """Unknown peers and sessions, too many peers, audio of another shape, a server that is not there."""
    async with running(FakeGateway()) as server, transport(server, "one", max_peers=1) as one:
        with pytest.raises(SignalingError, match="Peer not found: nobody"):
            await one.connect_peer("nobody")
        assert len(one.peer_manager) == 0
        with pytest.raises(PeerNotFound):
            await one.send_audio("nobody", tone(440, 1))
        with pytest.raises(TransportError):
            await one.add_peer_to_session("none", "nobody")
        await one.create_session("s")
        with pytest.raises(TransportError):
            await one.create_session("s")
        async with transport(server, "two") as two:
            await two.connect_peer("one")
            for wrong in (np.zeros(100, np.float32), np.zeros(960, np.int16), np.zeros((2, 960), np.float32)):
                with pytest.raises(TransportError):
                    await two.send_audio("one", wrong)  # type: ignore[arg-type]
            await until_connected(one, "two")
            with pytest.raises(TransportError, match="1 peers already"):
                await one.connect_peer("two")
            async with transport(server, "three") as three:
                with pytest.raises(TransportError, match="1 peers already"):
                    await one.connect_peer("three")
                with pytest.raises(TransportError, match="one did not take the call"):
                    await three.connect_peer("one")  # who has no room for it says so
                assert len(three.peer_manager) == 0
            assert await one.peer_manager.list_peers() == ["two"]
        async with asyncio.timeout(30):
            while len(one.peer_manager):  # noqa: ASYNC110  # the goodbye is on its way
                await asyncio.sleep(0)  # the goodbye is on its way
    with pytest.raises(SignalingError):
        await WebRtcTransport(WebRtcTransportConfig(signaling_url="ws://127.0.0.1:9")).start()


async def test_broadcasts_to_two_sessions_by_turns_do_not_spoil_each_other() -> None:
    """What an encoder says follows from what it was told before: one a session."""
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(running(FakeGateway()))
        speaker = await stack.enter_async_context(transport(server, "speaker"))
        tones = {"low": tone(440, 60), "high": tone(1_000, 60)}
        ears: dict[str, Ear] = {}
        for name in tones:
            ears[name] = Ear(await stack.enter_async_context(transport(server, name)))
            await speaker.connect_peer(name)
            await speaker.create_session(name)
            await speaker.add_peer_to_session(name, name)
        for offset in range(0, 60 * FRAME, FRAME):
            for name, sound in tones.items():
                await speaker.broadcast_audio(sound[offset : offset + FRAME], name)
        for name, hz in (("low", 440), ("high", 1_000)):
            await ears[name].frequency()
            assert purity(np.concatenate(ears[name].parts)[RATE // 10 :], hz) > 25


async def test_a_peer_whose_connection_has_ended_goes_and_may_come_back() -> None:
    """It is listed no more, is in no session and takes nobody's place; either side may call again."""
    async with running(FakeGateway()) as server, transport(server, "a", max_peers=1) as a, transport(server, "b") as b:
        gone: asyncio.Queue[str] = asyncio.Queue()

        async def told(peer_id: str) -> None:
            await asyncio.sleep(0)
            gone.put_nowait(peer_id)

        a.callbacks.on_peer_disconnected = told
        await b.connect_peer("a")
        await until_connected(a, "b")
        await a.create_session("s")
        await a.add_peer_to_session("s", "b")
        await (await b.peer_manager.get_peer("a")).connection.close()  # without a word by the signalling
        assert await asyncio.wait_for(gone.get(), 30) == "b"
        assert len(a.peer_manager) == 0
        assert await a.broadcast_audio(tone(440, 1), "s") == await a.broadcast_audio(tone(440, 1)) == 0
        await b.connect_peer("a")
        await until_connected(a, "b")
        assert await a.peer_manager.list_peers() == ["b"]
        assert await a.broadcast_audio(tone(440, 1), "s") == 0


async def test_the_offer_of_a_peer_that_is_there_already_takes_the_place_of_what_was() -> None:
    """It has started again before its former connection was known to be dead."""
    async with running(FakeGateway()) as server, transport(server, "a", max_peers=1) as a, transport(server, "b") as b:
        await b.connect_peer("a")
        former = await a.peer_manager.get_peer("b")
        b.peer_manager.drop(lost := await b.peer_manager.get_peer("a"))
        await b.connect_peer("a")
        await until_connected(a, "b")
        assert former.closed.is_set()
        assert await a.peer_manager.get_peer("b") is not former
        await lost.close()


@by_row("moment", ["both", "offered", "offering"])
async def test_two_that_call_each_other_at_once_have_one_connection(
    moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose id sorts last is answered, wherever the offers cross; a call that comes already is waited for."""
    async with running(FakeGateway()) as server, transport(server, "a") as a, transport(server, "b") as b:
        ears, gone, crossed = (Ear(a), Ear(b)), list[str](), asyncio.Event()
        for each in (a, b):
            each.callbacks.on_peer_disconnected = gone.append
        if moment == "offered":
            request = b._signaling.request

            async def answering(method: str, **params: Any) -> dict[str, Any]:
                if method == "answer":
                    crossed.set()
                return await request(method, **params)

            monkeypatch.setattr(b._signaling, "request", answering)
        elif moment == "offering":
            offer, drop = Peer.offer, a._drop

            async def late(peer: Peer) -> str:
                sdp = await offer(peer)
                if peer.id == "b":
                    await crossed.wait()
                return sdp

            def dropped(peer: Peer) -> bool:
                crossed.set()
                return drop(peer)

            monkeypatch.setattr(Peer, "offer", late)
            monkeypatch.setattr(a, "_drop", dropped)
        else:
            crossed.set()

        async def second() -> str:
            if moment == "offered":
                await crossed.wait()
            return await b.connect_peer("a")

        async with asyncio.timeout(30):
            assert [*await asyncio.gather(a.connect_peer("b"), second())] == ["b", "a"]
        assert (await a.peer_manager.list_peers(), await b.peer_manager.list_peers()) == (["b"], ["a"])
        await a.send_audio("b", tone(660, 60))
        await b.send_audio("a", tone(880, 60))
        assert abs(await ears[1].frequency() - 660) < 8
        assert abs(await ears[0].frequency() - 880) < 8
        assert gone == []
        with pytest.raises(TransportError, match="connected already"):
            await a.connect_peer("b")


async def test_who_gives_way_shows_the_pictures_that_both_want() -> None:
    """In the call of the other, in place of its own."""
    async with running(FakeGateway()) as server, transport(server, "a") as a, transport(server, "b") as b:
        seen: asyncio.Queue[str] = asyncio.Queue()
        b.callbacks.on_video = lambda peer_id, _: seen.put_nowait(peer_id)
        async with asyncio.timeout(30):
            await asyncio.gather(a.connect_peer("b", video=True), b.connect_peer("a", video=True))
            while seen.empty():
                await a.send_video("b", np.zeros((48, 64, 3), np.uint8))
                await asyncio.sleep(0.02)


def purity(heard: Samples, hz: float) -> float:
    """The power of a tone over everything else, in dB."""
    power = np.abs(np.fft.rfft(heard * np.hanning(heard.size))) ** 2
    near = np.abs(np.fft.rfftfreq(heard.size, 1 / RATE) - hz) < 40
    return float(10 * np.log10(power[near].sum() / power[~near].sum()))


async def until_connected(transport: WebRtcTransport, peer_id: str) -> None:
    """The other side of a call is connected a little before or after."""
    await asyncio.wait_for((await transport.peer_manager.get_peer(peer_id)).connected.wait(), 30)
