"""What keys do whose effect no other test shows with a value that is not the default."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import httpx
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed

from gateway.call.branches import Branch
from gateway.call.call import Call
from gateway.call.leg import Answered, Ringing
from gateway.call.record import CallSettings
from gateway.call.state import State
from gateway.identity.model import Binding
from gateway.media.embedded.audio.codecs import make_encoder
from gateway.media.embedded.audio.opus import OpusSettings
from gateway.media.engine import Kind, Party
from gateway.net.tls import Tls, TlsFiles
from gateway.sip.config import CoreConfig
from gateway.sip.message.build import Refusal
from gateway.sip.message.message import Request, Response
from gateway.sip.message.parser import parse_message
from gateway.sip.registration.registrar import RegistrarPolicy, decide
from gateway.sip.transactions import Input, NonInviteClientTransaction, Timers, Transaction
from gateway.testing.engine import FakeEngine
from gateway.testing.leg import FakeLeg
from gateway.testing.timers import ManualTimers
from gateway.web.app import WebSettings
from gateway.web.outbox import Outbox
from tests.call.rig import OFFER
from tests.media.engine_support import Phone, config, frequency_of, phone_sdp, running, until
from tests.net.certificates import Authority
from tests.rows import by_row
from tests.sip.agents import Stage, answered_call
from tests.sip.transaction_harness import RecordingLayer
from tests.web import fake

JSON = {"Content-Type": "application/json"}


def sent_at(transaction: Transaction, layer: RecordingLayer, seconds: float) -> list[float]:
    """When a transaction sends, its timers fired in order."""
    found: list[float] = []
    while transaction.armed:
        timer, deadline = min(transaction.armed.items(), key=lambda item: item[1])
        if deadline > seconds:
            break
        assert transaction.due(timer, deadline, deadline)
        found += [deadline for what, _ in layer.take() if what == "send"]
    return found


@pytest.mark.parametrize(("t1", "t2", "times"), [(0.5, 1.0, [0.5, 1.5, 2.5]), (0.1, 4.0, [0.1, 0.3, 0.7, 1.5])])
def test_t1_and_t2_are_the_pace_of_repetitions(t1: float, t2: float, times: list[float]) -> None:
    """sip.timers.t1, sip.timers.t2 (RFC 3261 section 17.1.2.2)."""
    layer = RecordingLayer()
    made = NonInviteClientTransaction(
        layer, Timers(t1=t1, t2=t2), reliable=False, key="k", flow="peer", request=b"OPTIONS"
    )
    made.step(Input.START, 0.0)
    layer.take()
    assert sent_at(made, layer, 3.0) == pytest.approx(times)


@pytest.mark.parametrize("t4", [1.0, 8.0])
def test_t4_is_how_long_an_answered_request_stays(t4: float) -> None:
    """sip.timers.t4: timer K (RFC 3261 section 17.1.2.2)."""
    layer = RecordingLayer()
    made = NonInviteClientTransaction(layer, Timers(t4=t4), reliable=False, key="k", flow="peer", request=b"OPTIONS")
    made.step(Input.START, 0.0)
    made.step(Input.SUCCESS, 0.0)
    assert list(made.armed.values()) == [t4]


@pytest.mark.parametrize("name", ["", "our-gateway/2"])
def test_messages_name_us_as_configured(name: str) -> None:
    """sip.user_agent: in requests and in responses; empty: nowhere."""
    stage = Stage(CoreConfig(user_agent=name))
    caller, session, _ = answered_call(stage)
    stage.send(caller.make("OPTIONS"))
    session.hangup()
    stage.run()
    answered = next(one for one in stage.puppet.received if isinstance(one, Response))
    bye = next(one for one in stage.puppet.received if isinstance(one, Request))
    assert [answered.headers.get("Server"), bye.headers.get("User-Agent")] == [name or None] * 2


def registered_for(policy: RegistrarPolicy, expires: str) -> float:
    """Seconds that a registration gets, or the status of its refusal."""
    request = parse_message(
        b"REGISTER sip:gw.test SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1\r\nFrom: <sip:a@gw.test>;tag=1\r\n"
        b"To: <sip:a@gw.test>\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\nContact: <sip:a@192.0.2.7>"
        + expires.encode()
        + b"\r\n\r\n"
    )
    assert isinstance(request, Request)
    changes = decide(request, (), policy, 1000.0, make=Binding)
    if isinstance(changes, Refusal):
        return changes.status
    return changes.put[0].expires_at - 1000.0


def test_a_registration_lasts_as_configured() -> None:
    """sip.registration.default_expires where the phone names no time, max_expires at most, min_expires at least."""
    for seconds in (300, 900):
        short = registered_for(RegistrarPolicy(min_expires=seconds), ";expires=299")
        assert short == 423
        assert registered_for(RegistrarPolicy(default_expires=seconds), "") == seconds
        assert registered_for(RegistrarPolicy(max_expires=seconds), ";expires=100000") == seconds


async def handshake(server: Tls, client: ssl.SSLContext) -> bool:
    """Whether a client comes through, as far as it hears of it."""
    listening = await asyncio.start_server(_greeting, "127.0.0.1", 0, ssl=server.server)
    port = listening.sockets[0].getsockname()[1]
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname="gw.test")
        try:
            return await reader.read() == b"hello"
        finally:
            writer.close()
    except (ssl.SSLError, ConnectionError):
        return False
    finally:
        listening.close()


async def _greeting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"hello")
    writer.close()


@by_row(("mode", "nameless"), [("off", True), ("optional", True), ("required", False)])
async def test_clients_show_certificates_as_configured(mode: str, nameless: bool, tmp_path: Path) -> None:
    """sip.tls.client_certificates, judged by sip.tls.ca; sip.tls.cert and key are what they are shown."""
    authority = Authority(tmp_path)
    server = Tls(authority.files("gw.test", client_certificates=mode), "sip.tls")
    server.load()
    without = ssl.create_default_context(cafile=str(authority.file))
    with_one = ssl.create_default_context(cafile=str(authority.file))
    with_one.load_cert_chain(*authority.issue("peer.test"))
    assert await handshake(server, without) is nameless
    assert await handshake(server, with_one)


async def test_certificates_of_other_authorities_are_refused(tmp_path: Path) -> None:
    """sip.tls.ca, for clients and for servers."""
    ours, others = tmp_path / "ours", tmp_path / "others"
    ours.mkdir()
    others.mkdir()
    authority, other = Authority(ours), Authority(others)
    server = Tls(authority.files("gw.test", client_certificates="required"), "sip.tls")
    server.load()
    stranger = ssl.create_default_context(cafile=str(authority.file))
    stranger.load_cert_chain(*other.issue("peer.test"))
    assert not await handshake(server, stranger)
    for judge, comes in ((authority, True), (other, False)):
        cert, key = authority.issue("peer.test")
        client = Tls(TlsFiles(cert=cert, key=key, ca=judge.file), "sip.tls")
        client.load()
        assert await handshake(server, client.client) is comes


async def test_early_media_gives_way_after_the_configured_silence() -> None:
    """rtp.early_silence: the engine watches the early media of the callee that the caller hears for so long."""
    engine, callee, timers = FakeEngine(), FakeLeg("callee"), ManualTimers()
    settings = CallSettings(early_silence=9.0)
    call = Call(
        "c1", FakeLeg("caller"), Branch([callee]), OFFER, dialled="1", engine=engine, timers=timers, settings=settings
    )
    call.start()
    await settled()
    callee.says(Ringing(OFFER))
    await settled()
    assert engine.watched == {"callee": 9.0}


@pytest.mark.parametrize(("service", "longest"), [(None, 100.0), ("tone", 50.0)])
async def test_a_call_is_ended_after_its_longest_time(service: str | None, longest: float) -> None:
    """limits.max_call_duration; media.service_max_duration where a service is one side."""
    timers, callee = ManualTimers(), FakeLeg("callee", Kind.SERVICE if service else Kind.RTP, service=service)
    settings = CallSettings(max_duration=100.0, service_max_duration=50.0)
    legs = FakeLeg("caller"), Branch([callee])
    call = Call("c1", *legs, OFFER, dialled="1", engine=FakeEngine(), timers=timers, settings=settings)
    call.start()
    await settled()
    callee.says(Answered(OFFER))
    await settled()
    timers.advance(longest - 1)
    await settled()
    before = call.state
    timers.advance(2)
    await settled()
    assert (before, call.state) == (State.CONNECTED, State.ENDED)


async def settled() -> None:
    """What is queued is worked off; nothing in it waits for time."""
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.mark.parametrize(("frequency", "level"), [(600, -10.0), (1000, -30.0)])
async def test_the_tone_is_that_of_the_configuration(frequency: int, level: float) -> None:
    """media.tone.frequency (Hz) and level (dBm0, ITU-T G.711), as a phone hears it."""
    async with running(config(tone_frequency=frequency, tone_level=level)) as (engine, _):
        phone = await Phone(["pcmu"]).open()
        try:
            caller, tone = Party("caller", Kind.RTP), Party("tone", Kind.SERVICE, service="tone")
            text = await engine.offer("call", caller, tone, phone.sdp())
            phone.take(await engine.answer("call", tone, caller, text))
            await until(lambda: len(phone.packets) >= 30)
            pcm, rate = phone.heard("pcmu")
            assert frequency_of(pcm, rate) == pytest.approx(frequency, abs=15)
            power = np.sqrt(2 * np.mean(pcm[rate // 4 :].astype(float) ** 2)) / 32767
            assert 20 * np.log10(power) + 3.17 == pytest.approx(level, abs=1.0)
        finally:
            await phone.close()


async def test_phones_are_told_the_address_of_the_configuration() -> None:
    """rtp.advertised, behind a NAT that forwards the ports."""
    async with running(config(rtp_hosts=(("127.0.0.1", "198.51.100.7"),))) as (engine, _):
        offer = await engine.offer("call", Party("one", Kind.RTP), Party("other", Kind.RTP), phone_sdp())
        assert "c=IN IP4 198.51.100.7" in offer


def test_opus_takes_the_bits_and_the_effort_of_the_configuration() -> None:
    """codecs.opus.bitrate: more octets; codecs.opus.complexity: other ones."""
    noise = np.random.default_rng(1).integers(-8000, 8000, 48_000).astype(np.int16)

    def octets(bit_rate: int, complexity: int) -> list[bytes]:
        encoder = make_encoder("opus", 48_000, 20, OpusSettings(complexity=complexity, bit_rate=bit_rate))
        return [encoder.encode(noise[at : at + encoder.frame]) for at in range(0, 48_000, encoder.frame)]

    few, many = (sum(map(len, octets(bit_rate, 5))) for bit_rate in (16_000, 64_000))
    assert many > 2 * few
    assert octets(24_000, 0) != octets(24_000, 10)


@pytest.mark.parametrize("longest", [1_000, 30_000])
async def test_no_longer_message_is_taken_than_configured(longest: int) -> None:
    """web.limits.max_message_size, by HTTP and by WebSocket."""
    settings = WebSettings(max_body=longest, max_message=longest)
    async with fake.running(fake.FakeGateway(), settings) as server:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as http:
            sizes = {
                size: await http.post("/webrtc/offer", content=b"x" * size, headers=JSON)
                for size in (longest, longest + 1)
            }
            assert [answer.status_code == 413 for answer in sizes.values()] == [False, True]
        async with fake.rpc(server) as client:
            await client.socket.send("x" * longest)
            assert "error" in await client.frame()
            await client.socket.send("x" * (longest + 1))
            with pytest.raises(ConnectionClosed) as closed:
                await client.frame()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009


@by_row(("interval", "patience", "ends"), [(0.05, 0.05, True), (0.05, 60.0, False), (60.0, 0.05, False)])
async def test_a_silent_websocket_is_asked_and_given_up_as_configured(
    interval: float, patience: float, ends: bool
) -> None:
    """web.limits.ping_interval and ping_timeout: seconds between pings, and to wait for the pong."""
    settings = WebSettings(ping_interval=interval, ping_timeout=patience)
    async with fake.running(fake.FakeGateway(), settings) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(
            b"GET /rpc HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        assert b"101" in await reader.readuntil(b"\r\n\r\n")
        frames = b""
        try:
            async with asyncio.timeout(10.0 if ends else 0.5):
                while data := await reader.read(1000):
                    frames += data
            over = True
        except TimeoutError:
            over = False
        assert over is ends
        assert (b"\x89" in frames) is (interval < 1)
        writer.close()


@pytest.mark.parametrize("most", [1, 20])
def test_a_client_that_reads_slowly_is_kept_as_many_messages_as_configured(most: int) -> None:
    """web.limits.send_queue."""
    outbox = Outbox(most, 1_000_000)
    for _ in range(most):
        outbox.send("{}")
    assert not outbox.closed
    outbox.send("{}")
    assert outbox.closed
