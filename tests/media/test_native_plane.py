"""The native plane: what it forwards, answers, punts and refuses, proved from outside the process."""

from __future__ import annotations

import asyncio
import hmac
import itertools
import os
import signal
import socket
import stat
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvloop
from aioice import stun

from gateway.media.embedded.occupancy import Occupancy
from gateway.media.embedded.plane.native import wire
from gateway.media.embedded.plane.native.link import Link
from gateway.media.embedded.plane.native.process import SECRET, SOCKET, prove
from gateway.media.embedded.plane.protocol import PlaneError
from gateway.media.embedded.plane.srtp import SrtpProfile
from gateway.media.embedded.plane.values import Action, FlowConfig, Route, Silence
from tests.media.hosts import at
from tests.media.native_support import Rig
from tests.media.plane_rig import (
    HOST,
    LIBRARY,
    PASSWORD,
    PCMU,
    Peer,
    Told,
    figures,
    key_of,
    leave,
    library_session,
    native_plane,
    numbers,
    rtp,
    until,
)

pytestmark = pytest.mark.wall

REPORT = bytes.fromhex("80c90001000000075555")[:8]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = Rig(tmp_path / "state")
    await made.start()
    yield made
    await made.close()


async def test_a_phone_hears_a_phone_under_numbers_of_its_own(rig: Rig) -> None:
    """SSRC, sequence number and timestamp are the outgoing stream's; losses stay losses."""
    one, other = await rig.phone(2), await rig.phone(3)
    rig.join(one, other)
    await figures(rig.plane, 2)
    for number in (500, 501, 503):
        one.send(rtp(number))
    heard = [numbers(await other.receive()) for _ in range(3)]
    assert heard == [(0x80, 1000, 5000, 0xABC), (0, 1001, 5160, 0xABC), (0, 1003, 5480, 0xABC)]
    await until(lambda: rig.told.runs and rig.told.learned)
    assert rig.told.runs == [(2, 7, 1)]
    assert rig.told.learned == [(2, one.address)]


async def test_phones_hear_each_other_over_ipv6(rig: Rig) -> None:
    """An address is compared as an address, not as text."""
    one, other = await rig.phone(2, host="::1"), await rig.phone(3, host="::1")
    rig.join(one, other)
    await figures(rig.plane, 2)
    one.send(rtp(500))
    assert (await other.receive())[12:] == rtp(0)[12:]


@pytest.mark.parametrize("profile", LIBRARY)
async def test_a_browser_and_a_phone_hear_each_other(rig: Rig, profile: SrtpProfile) -> None:
    """What libsrtp protects is opened, and what is protected libsrtp opens, RTP and RTCP."""
    browser, phone = await rig.browser(2, profile), await rig.phone(3)
    rig.join(browser, phone)
    await figures(rig.plane, 2)
    for number in range(20):
        browser.send(browser.protects.protect(rtp(number, payload=b"to the phone %d" % number)))
        phone.send(rtp(number, payload=b"to the browser %d" % number))
        assert (await phone.receive())[12:] == b"to the phone %d" % number
        assert browser.opens.unprotect(await browser.receive())[12:] == b"to the browser %d" % number
    browser.send(browser.protects.protect_rtcp(REPORT))
    await until(lambda: rig.told.reports)
    assert rig.told.reports == [(2, browser.address, REPORT)]
    rig.plane.send_rtcp(2, REPORT)
    assert browser.opens.unprotect_rtcp(await browser.receive()) == REPORT
    snapshot = await figures(rig.plane, 2)
    assert (snapshot.received, snapshot.sent, snapshot.lost) == (20, 20, 0)
    assert snapshot.sent_octets == sum(len(b"to the browser %d" % number) for number in range(20))


async def test_seventy_thousand_packets_pass_the_wrap_both_ways(rig: Rig) -> None:
    """The roll-over counter follows in both directions, a late packet at the wrap included."""
    browser, phone = await rig.browser(2), await rig.phone(3)
    rig.join(browser, phone)
    await figures(rig.plane, 2)
    sent = 0
    for first in range(30_000, 100_000, 100):
        for number in range(first, first + 100):
            browser.send(browser.protects.protect(rtp(number, payload=struct.pack("!I", number))))
            phone.send(rtp(number, payload=struct.pack("!I", number)))
        sent += 100
        for number in range(first, first + 100):
            assert (await phone.receive())[12:] == struct.pack("!I", number)
            assert browser.opens.unprotect(await browser.receive())[12:] == struct.pack("!I", number)
    assert (await figures(rig.plane, 2)).received == sent == 70_000


async def test_checks_of_an_admitted_pair_are_answered_without_the_gateway(rig: Rig) -> None:
    """A plain authentic check gets its response from the plane; every other one is the gateway's."""
    browser = await rig.browser(2)
    seen = len(rig.told.checks)
    browser.send(browser.check())
    response = stun.parse_message(await browser.receive())
    assert response.check_message_integrity(PASSWORD.encode())
    assert response.message_class is stun.Class.RESPONSE
    assert response.attributes["XOR-MAPPED-ADDRESS"] == browser.address
    assert (await figures(rig.plane, 2)).pairs
    assert len(rig.told.checks) == seen
    browser.send(browser.check(password="another"))
    browser.send(browser.check(ufrag="unknown"))
    await until(lambda: len(rig.told.checks) == seen + 2)


async def test_a_stranger_meets_no_flow_on_the_shared_port(rig: Rig) -> None:
    """DTLS and media of an address that has proved nothing are counted and dropped."""
    stranger = Peer()
    rig.peers.append(stranger)
    stranger.to = rig.bound.address
    for first in (22, 128, 200, 77):
        stranger.send(bytes((first,)) + bytes(40))
    stranger.send(b"x")
    expected = {"unproved_dtls": 1, "unproved_media": 1, "unknown_protocol": 2, "short": 1}
    async with asyncio.timeout(30):
        counted = await rig.plane.counters()
        while any(counted[name] < count for name, count in expected.items()):
            counted = await rig.plane.counters()
    assert {name: counted[name] for name in expected} == expected
    assert not rig.told.handshakes


async def test_a_newcomer_on_a_pair_port_is_the_gateways_to_judge(rig: Rig) -> None:
    """RTP from another address is punted, and taken once the gateway admits it."""
    one, other = await rig.phone(2), await rig.phone(3)
    rig.join(one, other)
    newcomer = Peer()
    rig.peers.append(newcomer)
    newcomer.to = one.to
    await figures(rig.plane, 2)
    newcomer.send(rtp(1, payload=b"first"))
    await until(lambda: rig.told.strangers)
    source, datagram = rig.told.strangers[0]
    assert source == newcomer.address
    rig.plane.admit_source(2, source, datagram)
    assert (await other.receive())[12:] == b"first"
    newcomer.send(rtp(2, payload=b"second"))
    assert (await other.receive())[12:] == b"second"
    await until(lambda: rig.told.learned)
    assert rig.told.learned == [(2, newcomer.address)]
    other.send(rtp(9, payload=b"back"))
    assert (await newcomer.receive())[12:] == b"back"


async def test_a_newcomer_that_is_not_authentic_is_not_admitted(rig: Rig) -> None:
    """With SRTP a packet must open before its source counts."""
    phone = await rig.phone(2, FlowConfig(secure=True))
    key = key_of(SrtpProfile.AES_CM_128_HMAC_SHA1_80, 3)
    rig.plane.set_receive_key(2, key)
    protect = library_session(key, inbound=False).protect
    rig.plane.admit_source(2, at("127.0.0.1", 4000), rtp(1))
    assert (await figures(rig.plane, 2)).source is None
    rig.plane.admit_source(2, at("127.0.0.1", 4000), protect(rtp(1)))
    snapshot = await figures(rig.plane, 2)
    assert snapshot.source == ("127.0.0.1", 4000)
    assert phone.address != snapshot.source


async def test_a_new_key_of_one_direction_leaves_the_other_alone(rig: Rig) -> None:
    """The phone re-keys what it sends; what we send goes on under the old key with its roll-over counter."""
    browser, phone = await rig.browser(2), await rig.phone(3)
    rig.join(browser, phone)
    await figures(rig.plane, 2)
    for number in range(65_500, 65_600):
        phone.send(rtp(number))
        browser.opens.unprotect(await browser.receive())
    rig.plane.set_receive_key(2, key_of(SrtpProfile.AEAD_AES_128_GCM, 55))
    rig.plane.set_send_key(2, browser.send_key)
    await figures(rig.plane, 2)
    renewed = library_session(key_of(SrtpProfile.AEAD_AES_128_GCM, 55), inbound=False)
    browser.send(renewed.protect(rtp(1, payload=b"renewed")))
    assert (await phone.receive())[12:] == b"renewed"
    phone.send(rtp(65_600, payload=b"old"))
    assert browser.opens.unprotect(await browser.receive())[12:] == b"old"


async def test_a_send_key_that_comes_back_goes_on_where_it_stopped(rig: Rig) -> None:
    """Key A, key B, key A again: no index of A is used twice."""
    browser, phone = await rig.browser(2), await rig.phone(3)
    rig.join(browser, phone)
    first, second = browser.send_key, key_of(SrtpProfile.AEAD_AES_128_GCM, 99)
    caught: list[tuple[bytes, int]] = []
    for key in (first, second, first):
        rig.plane.set_send_key(2, key)
        await figures(rig.plane, 2)
        for number in range(len(caught), len(caught) + 5):
            phone.send(rtp(number))
            caught.append((key.material, numbers(await browser.receive())[1]))
    assert len(set(caught)) == 15


async def test_digits_are_forwarded_and_copied_to_the_gateway(rig: Rig) -> None:
    """A copy of each packet goes up, the packet itself goes on with its timestamp kept over what is left out."""
    one, other = await rig.phone(2), await rig.phone(3)
    event = Route(action=Action.COPY, payload_type=101)
    rig.plane.route(2, 3, {0: PCMU, 96: event, 13: Route(action=Action.DROP)})
    await figures(rig.plane, 2)
    one.send(rtp(1))
    for number, kind in ((2, 96), (3, 13), (4, 96)):
        one.send(rtp(number, payload_type=kind, timestamp=320, payload=b"\x05\x0a\x00\xa0"))
    heard = [numbers(await other.receive()) for _ in range(3)]
    assert [(second & 0x7F, number, timestamp) for second, number, timestamp, _ in heard] == [
        (0, 1000, 5000),
        (101, 1001, 5160),
        (101, 1002, 5160),
    ]
    await until(lambda: len(rig.told.packets) == 2)
    assert [packet.sequence_number for packet in rig.told.packets] == [2, 4]


async def test_a_punted_packet_comes_back_in_its_place(rig: Rig) -> None:
    """What a transcoder makes of a packet is sent under the outgoing numbers of that packet."""
    one, other = await rig.phone(2), await rig.phone(3)
    punted = Route(action=Action.PUNT, clock_rate=48_000, rate_out=8000)
    rig.plane.route(2, 3, {111: punted})
    await figures(rig.plane, 2)
    for number in (10, 11):
        one.send(rtp(number, payload_type=111, timestamp=number * 960))
    await until(lambda: len(rig.told.packets) == 2)
    for packet in rig.told.packets:
        rig.plane.relay(2, packet.sequence_number, packet.timestamp, 0, packet.marker, b"pcmu")
    heard = [numbers(await other.receive()) for _ in range(2)]
    assert heard == [(0x80, 1000, 5000, 0xABC), (0, 1001, 5160, 0xABC)]


async def test_an_injected_digit_has_the_stream_to_itself(rig: Rig) -> None:
    """While muted nothing is relayed, and audio goes on behind without a gap."""
    one, other = await rig.phone(2), await rig.phone(3)
    rig.join(one, other)
    await figures(rig.plane, 2)
    one.send(rtp(1))
    await other.receive()
    rig.plane.set_muted(3, True)
    rig.plane.inject(3, 101, True, b"digit", None)
    rig.plane.inject(3, 101, False, b"digit", 0)
    await figures(rig.plane, 3)
    first, again = numbers(await other.receive()), numbers(await other.receive())
    assert (first[0], first[1], again[1]) == (0x80 | 101, 1001, 1002)
    assert first[2] == again[2]
    one.send(rtp(2))
    await until_received(rig, 2, 2)
    rig.plane.set_muted(3, False)
    await figures(rig.plane, 3)
    one.send(rtp(3))
    assert numbers(await other.receive())[1] == 1003


async def until_received(rig: Rig, flow: int, count: int) -> None:
    """Wait until the plane has taken so many packets of a flow."""
    async with asyncio.timeout(30):
        while (await figures(rig.plane, flow)).received < count:
            pass


async def test_silence_is_played_where_nothing_else_is_sent_and_yields(rig: Rig) -> None:
    """After a while with nothing sent the silence comes at its interval, with steps of its own length."""
    one, other = await rig.phone(2), await rig.phone(3)
    rig.join(one, other)
    rig.plane.set_silence(3, Silence(payload_type=0, payload=b"\xff" * 160, ticks=160, after=0.05, interval=0.02))
    played = [numbers(await other.receive()) for _ in range(5)]
    assert [number for _, number, _, _ in played] == [1000, 1001, 1002, 1003, 1004]
    assert {after[2] - before[2] for before, after in itertools.pairwise(played)} == {160}
    assert (played[0][0], played[1][0]) == (0x80, 0)
    rig.plane.set_silence(3, None)
    await figures(rig.plane, 3)


async def test_a_silent_peer_is_told_once(rig: Rig) -> None:
    """`idle` comes after its time and not again before something was heard."""
    phone = await rig.phone(2, FlowConfig(idle_after=0.2))
    rig.plane.route(2, None, {0: PCMU})
    await until(lambda: rig.told.idles)
    phone.send(rtp(1))
    await until(lambda: len(rig.told.idles) == 2)
    assert rig.told.idles == [2, 2]


async def test_a_port_in_use_and_a_port_unknown_are_refused(rig: Rig) -> None:
    """Busy is an error with a code; an unknown id is counted."""
    phone = await rig.phone(2)
    with pytest.raises(PlaneError) as caught:
        await rig.plane.open_pair(99, HOST, phone.to[1])
    assert caught.value.code == "busy"
    with pytest.raises(PlaneError) as caught:
        await rig.plane.open_shared(98, [HOST], rig.bound.address[1], receive_buffer=0, send_buffer=0)
    assert caught.value.code == "busy"
    rig.plane.set_open(12345, True)
    assert (await rig.plane.counters())["unknown_ids"] >= 1


async def test_datagrams_from_elsewhere_are_dropped_where_only_some_are_taken(rig: Rig) -> None:
    """`only_from` is the first thing looked at."""
    (bound,) = await rig.plane.open_shared(
        50, [HOST], 0, receive_buffer=0, send_buffer=0, only_from=["192.0.2.1", "::1"]
    )
    stranger = Peer()
    rig.peers.append(stranger)
    stranger.to = bound.address
    stranger.send(bytes(40))
    async with asyncio.timeout(30):
        while not (await rig.plane.counters())["foreign"]:
            pass


def test_the_plane_is_driven_from_the_gateways_own_loop(tmp_path: Path) -> None:
    """`gateway run` runs on uvloop, whose transports are of other classes."""

    async def drive() -> None:
        plane = native_plane(tmp_path)
        await plane.start(Told())
        rtp_bound, _ = await plane.open_pair(5, HOST, 0)
        assert rtp_bound.address[0] == HOST
        await plane.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(drive(), 30))


# The socket


def shown(process: int | None, name: str) -> bytes:
    """What the system shows of a process."""
    return Path(f"/proc/{process}/{name}").read_bytes()


async def test_the_files_of_the_plane_are_readable_by_nobody_else(rig: Rig, tmp_path: Path) -> None:
    """Socket, secret and log have mode 0600; nothing secret is in the arguments or the environment."""
    state = tmp_path / "state"
    for name in (SOCKET, SECRET, "plane.log"):
        assert stat.S_IMODE((state / name).stat().st_mode) & 0o077 == 0, name
    secret = (state / SECRET).read_bytes()
    process = rig.plane.process_id
    arguments, environment = (shown(process, name) for name in ("cmdline", "environ"))
    assert secret not in arguments
    assert not environment
    assert os.getsid(process or 0) == process


async def test_a_malformed_message_is_counted_and_the_connection_stays(rig: Rig) -> None:
    """Truncated bodies and unknown types are refused one by one."""
    link = rig.plane._link
    assert link is not None
    for kind in (*range(1, 31), 200):
        if kind not in (wire.Down.OPEN_SHARED, wire.Down.OPEN_PAIR):
            link.send(kind, b"\x01")
    assert (await rig.plane.counters())["malformed_messages"] >= 27


async def raw(state_dir: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_unix_connection(str(state_dir / SOCKET))


async def greeted(state_dir: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
    """A connection on which both have said hello, and the random parts of both, ours first."""
    reader, writer = await raw(state_dir)
    ours = os.urandom(wire.NONCE)
    writer.write(wire.frame(wire.Down.HELLO, wire.MAGIC + struct.pack("!HH", wire.OLDEST, wire.VERSION) + ours))
    theirs = (await reader.readexactly(wire.HEAD.size + 2 + wire.NONCE))[-wire.NONCE :]
    return reader, writer, ours + theirs


async def refusal(reader: asyncio.StreamReader) -> str:
    """The code of a refusal, before the plane closes the connection."""
    data = await asyncio.wait_for(reader.read(), 30)
    return wire.Reader(data[6:]).text() if data else ""


async def test_who_does_not_know_the_secret_learns_nothing(tmp_path: Path, rig: Rig) -> None:
    """A second gateway, or anything else than a greeting first: refused and closed."""
    other = native_plane(tmp_path / "state")
    with pytest.raises(PlaneError) as caught:
        await other.start(Told())
    assert caught.value.code == "busy"
    for first in (
        wire.frame(wire.Down.INVENTORY, bytes(4)),
        wire.frame(wire.Down.HELLO, b"nonsense"),
        b"\xff\xff\xff\xff\x01",
        b"\x00\x00\x00\x00",
    ):
        reader, writer = await raw(tmp_path / "state")
        writer.write(first)
        assert await refusal(reader) in ("refused", "")
        writer.close()


async def test_of_two_gateways_that_greet_at_once_one_is_taken(tmp_path: Path) -> None:
    """The second proof comes when a gateway is there already: one plane never obeys two."""
    state = tmp_path / "state"
    plane = native_plane(state)
    await plane.start(Told())
    await plane.open_pair(5, HOST, 0)
    plane.open_flow(6, 5, FlowConfig())
    await figures(plane, 6)
    await leave(plane)
    secret = (state / SECRET).read_bytes()
    both = [await greeted(state) for _ in range(2)]
    answers = []
    for reader, writer, nonces in both:
        writer.write(wire.frame(wire.Down.PROOF, hmac.digest(secret, b"gateway" + nonces, "sha256")))
        answers.append((await reader.readexactly(wire.HEAD.size))[-1])
    assert answers == [wire.Up.PROOF, wire.Up.REFUSED]
    assert await asyncio.wait_for(both[1][0].read(), 30) != b""
    both[0][1].write(wire.frame(wire.Down.SHUTDOWN, b""))
    await plane._process.ended()
    for _, writer, _ in both:
        writer.close()


async def test_a_gateway_without_the_secret_is_refused(tmp_path: Path) -> None:
    """The plane of a detached gateway hands nothing to a stranger, and everything to the next gateway."""
    state = tmp_path / "state"
    plane = native_plane(state)
    await plane.start(Told())
    await plane.open_pair(5, HOST, 0)
    plane.open_flow(6, 5, FlowConfig())
    await figures(plane, 6)
    await leave(plane)
    connection = socket.socket(socket.AF_UNIX)
    connection.setblocking(False)
    connection.connect(str(state / SOCKET))
    with pytest.raises(PlaneError) as caught:
        await prove(connection, b"x" * 32)
    assert caught.value.code == "refused"
    connection.close()
    reader, writer, _ = await greeted(state)
    writer.write(wire.frame(wire.Down.PROOF, bytes(32)))
    assert await refusal(reader) == "refused"
    writer.close()
    following = native_plane(state)
    inventory = await following.start(Told())
    assert dict(inventory.flows) == {6: 5}
    assert [(port.port, port.shared, len(port.bounds)) for port in inventory.ports] == [(5, False, 2)]
    await following.close()
    await plane._process.ended()


async def test_another_version_is_refused_in_words(rig: Rig, tmp_path: Path) -> None:
    """A gateway that speaks no version of the plane's hears so."""
    reader, writer = await raw(tmp_path / "state")
    greeting = wire.MAGIC + struct.pack("!HH", wire.VERSION + 1, wire.VERSION + 5) + bytes(wire.NONCE)
    writer.write(wire.frame(wire.Down.HELLO, greeting))
    assert await refusal(reader) == "version"
    writer.close()


async def test_what_no_packet_depends_on_is_not_waited_for(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked where flows were opened and closed alone; what two calls told is asked for by both."""
    asked: list[int] = []
    ask = Link.ask

    async def counted(link: Link, kind: int, body: bytes) -> wire.Reader:
        asked.append(kind)
        return await ask(link, kind, body)

    await rig.plane.open_pair(5, HOST, 0)
    monkeypatch.setattr(Link, "ask", counted)
    rig.plane.open_flow(6, 5, FlowConfig())
    assert await rig.plane.snapshot(()) == {}
    assert asked == []
    rig.plane.expect(6, at(HOST, 9))
    await asyncio.gather(rig.plane.snapshot(()), rig.plane.snapshot(()))
    assert asked == [wire.Down.SNAPSHOT, wire.Down.SNAPSHOT]
    rig.plane.close_port(5)
    assert await rig.plane.snapshot(()) == {}
    assert len(asked) == 2


async def test_a_plane_that_is_gone_is_not_taken_for_one_that_has_done_all(rig: Rig) -> None:
    """Nothing was told that packets depend on, and yet the caller learns that there is no plane."""
    process = rig.plane.process_id
    assert process is not None
    os.kill(process, signal.SIGKILL)

    async def asked_again_and_again() -> None:
        async with asyncio.timeout(30):
            while True:
                assert await rig.plane.snapshot(()) == {}
                await asyncio.sleep(0)

    with pytest.raises(PlaneError, match="packet plane"):
        await asked_again_and_again()
    await until(lambda: rig.told.restarts)


# Ends


async def test_a_plane_that_dies_is_restarted_and_says_so(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """Its end is told, and logged with a cause, then a new and empty one is there."""
    await rig.phone(2)
    process = rig.plane.process_id
    assert process is not None
    os.kill(process, signal.SIGKILL)
    await until(lambda: rig.told.restarts)
    assert rig.told.ends == 1
    assert "the packet plane was ended by signal 9" in caplog.text
    assert await rig.plane.snapshot([2]) == {}
    assert rig.plane.process_id != process


async def test_a_plane_that_is_not_to_go_on_alone_waits_for_its_first_gateway(tmp_path: Path) -> None:
    """With `orphan_timeout: 0` it ends when its gateway goes, and not before one could come."""
    plane = native_plane(tmp_path, orphan_timeout=0.0)
    await plane.start(Told())
    await plane.open_pair(5, HOST, 0)
    plane.open_flow(6, 5, FlowConfig())
    await figures(plane, 6)
    await leave(plane)
    assert await plane._process.ended() == "the packet plane ended with status 0"


@pytest.mark.wall
async def test_an_orphan_ends_after_its_time(tmp_path: Path) -> None:
    """Without a gateway a plane with flows goes on for `orphan_timeout` and no longer."""
    plane = native_plane(tmp_path, orphan_timeout=0.3)
    await plane.start(Told())
    await plane.open_pair(5, HOST, 0)
    plane.open_flow(6, 5, FlowConfig())
    await figures(plane, 6)
    await leave(plane)
    assert await plane._process.ended() == "the packet plane ended with status 0"
    assert not (tmp_path / SOCKET).exists()


@pytest.fixture
async def narrow(tmp_path: Path) -> AsyncIterator[Rig]:
    """One with one thread."""
    made = Rig(tmp_path / "state", threads=1)
    await made.start()
    yield made
    await made.close()


async def test_a_plane_with_packets_is_busier_than_one_without(narrow: Rig) -> None:
    """By what the kernel says of its one thread; one that is gone tells nothing."""
    rig = narrow
    one, other = await rig.phone(2), await rig.phone(3)
    rig.join(one, other)
    await figures(rig.plane, 2)
    occupancy = Occupancy()
    assert await occupancy.of(rig.plane) is None
    await asyncio.sleep(0.2)
    idle = await occupancy.of(rig.plane)
    assert idle is not None
    for number in range(1, 4_000):
        one.send(rtp(number, payload=bytes(160)))
        if not number % 20:
            await asyncio.sleep(0)
    busy = await occupancy.of(rig.plane)
    assert busy is not None
    assert idle < busy <= 1.0
    await rig.plane.close()
    with pytest.raises(PlaneError):
        await rig.plane.counters()
    assert await occupancy.of(rig.plane) is None
