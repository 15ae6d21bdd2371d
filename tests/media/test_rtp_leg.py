"""The RTP leg over loopback, with time turned by hand: strangers, bad packets, SDES, RTCP."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gateway.media.embedded.plane.packet import RtpPacket
from gateway.media.embedded.plane.python import PythonPlane
from gateway.media.embedded.plane.rtcp import Bye, ReceiverReport
from gateway.media.embedded.plane.srtp import SrtpKey, SrtpProfile
from gateway.media.embedded.plane.values import Action, Address, MediaPacket, Route
from gateway.media.embedded.rtp.leg import RtpLeg
from gateway.media.embedded.rtp.ports import PortPool
from sdp import Direction, MediaAgreement
from sdp.attributes import Crypto, CryptoKey
from sdp.transport import RemoteTransport
from tests.media.engine_support import until
from tests.media.plane_support import Handler
from tests.media.rtp_support import ManualClock, ManualReactor
from tests.media.srtp_pair import SrtpSession
from tests.media.webrtc_support import finished
from tests.rows import by_row


class Peer(asyncio.DatagramProtocol):
    """A UDP socket."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.transport: Any = None

    @classmethod
    async def open(cls, host: str = "127.0.0.1") -> Peer:
        made = cls()
        made.transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: made, local_addr=(host, 0)
        )
        return made

    @property
    def address(self) -> tuple[str, int]:
        name: tuple[str, int] = self.transport.get_extra_info("sockname")
        return name

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.received.append(data)

    def send(self, data: bytes, port: int) -> None:
        self.transport.sendto(data, ("::1" if ":" in self.address[0] else "127.0.0.1", port))


class Sink:
    """What the leg's phone has sent."""

    def __init__(self) -> None:
        self.rtp: list[bytes] = []
        self.rtcp: list[bytes] = []
        self.broken = False


class Leg(Handler):
    """A leg on a plane, and what the engine would do between the two."""

    def __init__(self, clock: ManualClock, secure: bool, limit: int, host: str = "127.0.0.1") -> None:
        super().__init__()
        self.sink = Sink()
        self.plane = PythonPlane(ManualReactor(clock, asyncio.get_running_loop()), clock)
        self.pool = PortPool(host, 0, 0, random=Random(1), clock=clock)
        profile = SrtpProfile.AES_CM_128_HMAC_SHA1_80
        ours = (SrtpKey.generate(profile, os.urandom),) if secure else ()
        ids = itertools.count(1).__next__
        self.leg = RtpLeg(self.plane, self.pool, ids=ids, clock=clock, keys=ours, max_packets_per_second=limit)
        for name in ("agree", "set_remote", "set_keys", "close"):
            setattr(self, name, getattr(self.leg, name))

    async def open(self) -> None:
        await self.plane.start(self)
        await self.leg.open()
        self.plane.start_stream(self.leg.flow, 7, 1, 160, 8000)
        self.plane.route(self.leg.flow, None, {0: Route(action=Action.PUNT, clock_rate=8000)})

    def __getattr__(self, name: str) -> Any:
        return getattr(self.leg, name)

    def send_rtp(self, data: bytes) -> None:
        self.plane.inject(self.leg.flow, 0, False, data[12:], 160)

    def send_rtcp(self, data: bytes) -> None:
        self.plane.send_rtcp(self.leg.flow, data)

    @property
    def discarded(self) -> dict[str, int]:
        figures = finished(self.plane.snapshot([self.leg.flow])).get(self.leg.flow)
        total = Counter(self.leg.discarded)
        if figures is not None:
            total += Counter(figures.discarded) + Counter(figures.unsent)
        return dict(total)

    all_discarded = discarded

    def media(self, flow: int, packet: MediaPacket, now: float) -> None:
        header = packet.payload_type, packet.sequence_number, packet.timestamp, 7
        self.sink.rtp.append(bytes(RtpPacket(*header, packet.payload)))
        if self.sink.broken and len(self.sink.rtp) == 1:
            raise RuntimeError("broken")

    def rtcp(self, flow: int, path: int, source: Address, packet: bytes, now: float) -> None:
        if self.leg.takes_rtcp_from(source):
            self.sink.rtcp.append(packet)

    def stranger(self, flow: int, path: int, source: Address, data: bytes, heard: float, now: float) -> None:
        self.leg.stranger(path, source, data, heard, now)

    def source_learned(self, flow: int, source: Address, description: int | None, now: float) -> None:
        self.leg.source_learned(source, description, now)


Scene = tuple[Leg, Sink, ManualClock, Peer, Peer]


@contextlib.asynccontextmanager
async def leg_with_peers(secure: bool = False, limit: int = 500, host: str = "127.0.0.1") -> AsyncIterator[Scene]:
    """A leg that expects `phone`, and a third socket."""
    clock = ManualClock()
    leg = Leg(clock, secure, limit, host)
    await leg.open()
    phone, stranger = await Peer.open(host), await Peer.open(host)
    try:
        yield leg, leg.sink, clock, phone, stranger
    finally:
        leg.leg.close()
        phone.transport.close()
        stranger.transport.close()
        await asyncio.sleep(0)


def payloads(received: list[bytes]) -> list[bytes]:
    return [data[12:] for data in received]


def packet(sequence_number: int, payload: bytes = 4 * b"voice", payload_type: int = 0, ssrc: int = 7) -> bytes:
    return bytes(RtpPacket(payload_type, sequence_number, sequence_number * 160, ssrc, payload))


def dropped(leg: Leg) -> int:
    return sum(leg.discarded.values())


async def test_a_third_socket_injects_nothing_and_hears_nothing_before_the_phone_speaks() -> None:
    """RTP bleed (CVE-2017-14099, CVE-2025-53399): a spray during set-up."""
    async with leg_with_peers() as (leg, sink, _clock, phone, stranger):
        leg.set_remote(phone.address, None, accepts=frozenset({0}))
        for batch in range(4):
            for number in range(50):
                stranger.send(packet(number, b"bleed"), leg.port)
            await until(lambda batch=batch: dropped(leg) == 50 * (batch + 1))
        leg.send_rtp(packet(1, b"secret"))
        phone.send(packet(1), leg.port)
        await until(lambda: len(sink.rtp) == 1)
        leg.send_rtp(packet(2, b"secret"))
        await until(lambda: len(phone.received) == 2)
        assert sink.rtp == [packet(1)]
        assert stranger.received == []


async def test_a_third_socket_injects_nothing_in_mid_call() -> None:
    """The same SSRC, the right sequence numbers: the source decides."""
    async with leg_with_peers() as (leg, sink, clock, phone, stranger):
        leg.set_remote(phone.address, None, accepts=frozenset({0}))
        for number in range(300):
            clock.advance(0.02)
            phone.send(packet(number), leg.port)
            stranger.send(packet(number + 1, b"bleed"), leg.port)
            if number % 50 == 49:
                await until(lambda sent=number + 1: len(sink.rtp) + dropped(leg) == 2 * sent)
        assert len(sink.rtp) == 300
        assert all(each.endswith(b"voice") for each in sink.rtp)
        assert leg.discarded == {"wrong_source": 300}
        leg.send_rtp(packet(5, b"secret"))
        await until(lambda: payloads(phone.received) == [b"secret"])
        assert stranger.received == []


async def test_a_phone_behind_nat_is_learned_from_the_host_of_its_signalling() -> None:
    """The SDP's address is private and elsewhere; another host's packets teach nothing."""
    async with leg_with_peers() as (leg, sink, _clock, phone, stranger):
        leg.set_remote(("192.168.77.5", 4000), None, private_source="127.0.0.1", accepts=frozenset({0}))
        far = await Peer.open("127.0.0.2")
        try:
            far.send(packet(1, b"bleed"), leg.port)
            await until(lambda: dropped(leg) == 1)
            phone.send(packet(1), leg.port)
            await until(lambda: len(sink.rtp) == 1)
            stranger.send(packet(2, b"bleed"), leg.port)
            await until(lambda: dropped(leg) == 2)
        finally:
            far.transport.close()
        assert leg.leg.learned
        assert leg.remote_address == phone.address


async def test_a_payload_type_nobody_agreed_to_teaches_no_address() -> None:
    """What is not this call's media does not move it."""
    async with leg_with_peers() as (leg, _sink, _clock, _phone, stranger):
        leg.set_remote(("192.168.77.5", 4000), None, private_source="127.0.0.1", accepts=frozenset({0}))
        stranger.send(packet(1, payload_type=96), leg.port)
        await until(lambda: dropped(leg) == 1)
        assert not leg.leg.learned


@by_row(
    ("data", "reason"),
    [
        (b"\x80", "malformed"),
        (bytes(20), "malformed"),
        (b"\xb0\x00" + bytes(10), "malformed"),
        (b"\x80\xc8" + bytes(26), "unexpected_rtcp"),
        (b"\x80\x00" + bytes(1600), "malformed"),
    ],
)
async def test_a_malformed_packet_is_dropped_and_counted(data: bytes, reason: str) -> None:
    """It meets no sink, and the next good one does."""
    async with leg_with_peers() as (leg, sink, _clock, phone, _):
        leg.set_remote(phone.address, None)
        phone.send(packet(1), leg.port)
        phone.send(data, leg.port)
        phone.send(packet(2), leg.port)
        await until(lambda: len(sink.rtp) == 2)
        assert leg.discarded == {reason: 1}


async def test_a_flood_from_the_source_is_cut_at_the_rate() -> None:
    """The rest of the second is dropped, the next second is heard again."""
    async with leg_with_peers(limit=100) as (leg, sink, clock, phone, _):
        leg.set_remote(phone.address, None)
        phone.send(packet(0), leg.port)
        for number in range(1, 151):
            phone.send(packet(number), leg.port)
        await until(lambda: len(sink.rtp) + dropped(leg) == 151)
        assert leg.discarded == {"rate": 51}
        clock.advance(1.0)
        phone.send(packet(200), leg.port)
        await until(lambda: len(sink.rtp) == 101)


async def test_a_sink_that_raises_costs_one_packet(caplog: pytest.LogCaptureFixture) -> None:
    """Our own errors are logged and counted; the socket lives on."""

    async with leg_with_peers() as (leg, sink, _clock, phone, _unused):
        sink.broken = True
        leg.set_remote(phone.address, None)
        phone.send(packet(1), leg.port)
        phone.send(packet(2), leg.port)
        await until(lambda: len(sink.rtp) == 2)
        assert leg.discarded == {"internal_error": 1}
    assert "error of our own" in caplog.text


async def test_rtcp_is_taken_from_where_the_description_says_only() -> None:
    """A BYE, a 4-byte packet or any other RTCP of a stranger meets nobody (ES2017-04)."""
    async with leg_with_peers() as (leg, sink, _clock, phone, stranger):
        rtcp = await Peer.open()
        try:
            leg.set_remote(phone.address, rtcp.address)
            stranger.send(bytes(Bye((7,))), leg.port + 1)
            rtcp.send(b"\x80\xc9\x00\x00", leg.port + 1)
            await until(lambda: dropped(leg) == 2)
            rtcp.send(bytes(ReceiverReport(7)), leg.port + 1)
            await until(lambda: sink.rtcp == [bytes(ReceiverReport(7))])
            leg.send_rtcp(bytes(ReceiverReport(9)))
            await until(lambda: rtcp.received == [bytes(ReceiverReport(9))])
        finally:
            rtcp.transport.close()
        assert leg.discarded == {"wrong_source": 1, "malformed": 1}


async def test_rtcp_shares_the_port_where_both_agreed_to() -> None:
    """RFC 5761: told apart by the second octet, both ways."""
    async with leg_with_peers() as (leg, sink, _clock, phone, _):
        leg.set_remote(phone.address, phone.address, mux=True)
        phone.send(packet(1), leg.port)
        phone.send(bytes(ReceiverReport(7)), leg.port)
        await until(lambda: len(sink.rtp) == 1 and len(sink.rtcp) == 1)
        leg.send_rtcp(bytes(ReceiverReport(9)))
        await until(lambda: phone.received == [bytes(ReceiverReport(9))])


def secured(leg: Leg) -> SrtpSession:
    """Give the leg keys; what its peer protects with."""
    profile = SrtpProfile.AES_CM_128_HMAC_SHA1_80
    ours, theirs = SrtpKey.generate(profile, os.urandom), SrtpKey.generate(profile, os.urandom)
    leg.set_keys(ours, theirs)
    return SrtpSession(theirs, ours)


async def test_srtp_authenticates_before_an_address_is_learned() -> None:
    """Forged packets and replays from elsewhere move nothing; an authentic one does, once."""
    async with leg_with_peers(secure=True) as (leg, sink, _clock, phone, stranger):
        remote = secured(leg)
        leg.set_remote(("9.9.9.7", 4000), None)
        for number in range(40):
            stranger.send(packet(number), leg.port)
        await until(lambda: leg.all_discarded.get("authentication", 0) == 40)
        assert not leg.leg.learned
        protected = remote.protect(packet(1))
        assert protected is not None
        phone.send(protected, leg.port)
        await until(lambda: sink.rtp == [packet(1)])
        assert leg.remote_address == phone.address
        stranger.send(protected, leg.port)
        await until(lambda: leg.discarded.get("wrong_source") == 41)
        assert len(sink.rtp) == 1


async def test_a_thousand_forged_packets_do_not_end_the_call() -> None:
    """CVE-2021-41105: what fails authentication is ignored."""
    async with leg_with_peers(secure=True, limit=5000) as (leg, sink, _clock, phone, _):
        remote = secured(leg)
        leg.set_remote(phone.address, None)
        for batch in range(10):
            for number in range(100):
                phone.send(packet(batch * 100 + number), leg.port)
            await until(lambda batch=batch: leg.all_discarded.get("authentication", 0) == 100 * (batch + 1))
        protected = remote.protect(packet(1))
        assert protected is not None
        phone.send(protected, leg.port)
        await until(lambda: sink.rtp == [packet(1)])


async def test_a_secure_leg_takes_and_sends_nothing_in_the_clear() -> None:
    """Before the keys are there, nothing flows."""
    async with leg_with_peers(secure=True) as (leg, sink, _clock, phone, _):
        leg.set_remote(phone.address, phone.address)
        assert not leg.ready
        leg.send_rtp(packet(1))
        leg.send_rtcp(bytes(ReceiverReport(1)))
        phone.send(packet(1), leg.port)
        await until(lambda: dropped(leg) == 3)
        assert sink.rtp == []
        assert phone.received == []


async def test_closing_is_idempotent_and_gives_the_ports_back() -> None:
    """Nothing is sent after it."""
    async with leg_with_peers() as (leg, _sink, _clock, phone, _):
        leg.set_remote(phone.address, phone.address)
        leg.close()
        leg.close()
        assert not leg.ready
        leg.send_rtp(packet(1))
        leg.send_rtcp(bytes(ReceiverReport(1)))
        assert leg.pool.in_use == 0
        assert phone.received == []


async def test_srtcp_is_protected_both_ways_and_forged_rtcp_is_dropped() -> None:
    """SDES covers RTCP as well."""
    async with leg_with_peers(secure=True) as (leg, sink, _, phone, _unused):
        rtcp = await Peer.open()
        try:
            remote = secured(leg)
            leg.set_remote(phone.address, rtcp.address)
            rtcp.send(bytes(ReceiverReport(7)) + bytes(14), leg.port + 1)
            await until(lambda: sum(leg.all_discarded.values()) == 1)
            protected = remote.protect_rtcp(bytes(ReceiverReport(7)))
            assert protected is not None
            rtcp.send(protected, leg.port + 1)
            await until(lambda: sink.rtcp == [bytes(ReceiverReport(7))])
            leg.send_rtcp(bytes(ReceiverReport(9)))
            await until(lambda: len(rtcp.received) == 1)
            assert remote.unprotect_rtcp(rtcp.received[0]) == bytes(ReceiverReport(9))
            leg.send_rtp(packet(3))
            await until(lambda: len(phone.received) == 1)
            opened = remote.unprotect(phone.received[0])
            assert opened is not None
            assert opened[12:] == packet(3)[12:]
        finally:
            rtcp.transport.close()
        assert sum(leg.all_discarded.values()) == 1


async def test_rtcp_follows_a_learned_source() -> None:
    """From beside the media it is taken once and then strictly; until then it goes to the next port."""
    async with leg_with_peers() as (leg, sink, _, phone, stranger):
        rtcp = await Peer.open()
        try:
            leg.set_remote(("192.168.77.5", 4000), ("192.168.77.5", 4001), private_source="127.0.0.1")
            rtcp.send(bytes(ReceiverReport(6)), leg.port + 1)
            await until(lambda: dropped(leg) == 1)
            phone.send(packet(1), leg.port)
            await until(lambda: len(sink.rtp) == 1)
            rtcp.send(bytes(ReceiverReport(7)), leg.port + 1)
            await until(lambda: sink.rtcp == [bytes(ReceiverReport(7))])
            stranger.send(bytes(ReceiverReport(8)), leg.port + 1)
            await until(lambda: dropped(leg) == 2)
            leg.send_rtcp(bytes(ReceiverReport(9)))
            await until(lambda: rtcp.received == [bytes(ReceiverReport(9))])
        finally:
            rtcp.transport.close()
        assert stranger.received == []


async def test_a_short_rtcp_packet_on_a_muxed_port_is_dropped() -> None:
    """Eight octets are the least; four once switched SSRC checks off elsewhere (ES2017-04)."""
    async with leg_with_peers() as (leg, sink, _, phone, _unused):
        leg.set_remote(phone.address, phone.address, mux=True)
        phone.send(packet(1), leg.port)
        phone.send(b"\x80\xc9\x00\x00", leg.port)
        phone.send(bytes(ReceiverReport(7)), leg.port)
        await until(lambda: len(sink.rtcp) == 1)
        assert leg.discarded == {"malformed": 1}


async def test_a_phone_on_hold_by_0000_keeps_its_source() -> None:
    """No address to send to is no new address."""
    async with leg_with_peers() as (leg, sink, _, phone, _unused):
        leg.set_remote(phone.address, None)
        phone.send(packet(1), leg.port)
        await until(lambda: len(sink.rtp) == 1)
        leg.set_remote(None, None)
        assert leg.remote_address == phone.address
        phone.send(packet(2), leg.port)
        await until(lambda: len(sink.rtp) == 2)


async def test_a_leg_that_never_opened_gives_its_ports_back() -> None:
    """The call failed before its sockets were bound."""
    leg = Leg(ManualClock(), False, 500)
    leg.leg.close()
    assert leg.pool.in_use == 0


def agreed(address: str, port: int, rtcp_port: int, ours: SrtpKey | None = None, key: SrtpKey | None = None) -> Any:
    """What comes of a description of a phone there, with the key of either side where there is one."""
    crypto = [Crypto(1, each.profile.suite, (CryptoKey(each.material),)) if each else None for each in (ours, key)]
    remote = RemoteTransport(address, port, address, rtcp_port, crypto=crypto[1])
    return MediaAgreement(0, "audio", None, True, "RTP/AVP", Direction.SENDRECV, remote=remote, crypto_local=crypto[0])


SPELLED = ("0:0:0:0:0:0:0:1", "0000::0001", "::1")


@by_row("spelled", SPELLED)
async def test_an_ipv6_address_is_the_same_however_a_description_spells_it(spelled: str) -> None:
    """Compared as text, a phone that writes zeros would be a stranger: neither heard nor its reports read."""
    async with leg_with_peers(host="::1") as (leg, sink, _, phone, reports):
        leg.agree(agreed(spelled, phone.address[1], reports.address[1]), "answerer")
        phone.send(packet(1), leg.port)
        await until(lambda: len(sink.rtp) == 1)
        assert not leg.learned
        reports.send(bytes(ReceiverReport(7)), leg.port + 1)
        await until(lambda: sink.rtcp == [bytes(ReceiverReport(7))])
        assert leg.discarded == {}


@by_row("spelled", SPELLED)
async def test_an_ipv6_address_is_the_same_however_signalling_spells_it(spelled: str) -> None:
    """A phone behind a NAT names its private address, and sends from where its signalling came from."""
    async with leg_with_peers(host="::1") as (leg, sink, _, phone, _unused):
        leg.agree(agreed("fd00::7", 4000, 4001), "answerer", spelled)
        phone.send(packet(1), leg.port)
        await until(lambda: len(sink.rtp) == 1)
        assert leg.remote_address == phone.address[:2]


async def test_a_re_invite_with_another_key_of_the_phones_leaves_ours_where_it_is() -> None:
    """Past a wrap of our numbers its one session for our key opens what comes; the same key again forgets nothing."""
    profile = SrtpProfile.AES_CM_128_HMAC_SHA1_80
    ours, old, new = (SrtpKey.generate(profile, Random(seed).randbytes) for seed in (1, 2, 3))
    async with leg_with_peers(secure=True) as (leg, sink, _, phone, _unused):

        def describe(key: SrtpKey) -> None:
            leg.agree(agreed(*phone.address, phone.address[1] + 1, ours, key), "answerer")

        async def hears(count: int) -> None:
            """So many packets of ours more, each of which its session opens."""
            had = len(phone.received)
            for number in range(count):
                leg.send_rtp(packet(number))
            await until(lambda: len(phone.received) == had + count)
            assert all(peer.unprotect(data) is not None for data in phone.received[had:])

        describe(old)
        leg.plane.start_stream(leg.leg.flow, 7, 65_530, 160, 8000)
        peer, fresh = SrtpSession(old, ours), SrtpSession(new, ours)
        await hears(10)
        describe(new)
        await hears(10)
        sent = fresh.protect(packet(1))
        assert sent is not None
        phone.send(sent, leg.port)
        await until(lambda: len(sink.rtp) == 1)
        describe(new)
        await hears(10)
        phone.send(sent, leg.port)
        await until(lambda: leg.discarded == {"replay": 1})


async def test_a_destination_is_worked_out_once_and_not_a_packet() -> None:
    """Toward a phone that only receives, too: nothing of what decides where to send runs for a packet."""
    async with leg_with_peers() as (leg, _, _, phone, _unused):
        leg.set_remote(phone.address, None)
        ran = set[str]()
        sys.setprofile(lambda frame, event, _: ran.add(Path(frame.f_code.co_filename).name))
        try:
            for number in range(50):
                leg.send_rtp(packet(number))
        finally:
            sys.setprofile(None)
        await until(lambda: len(phone.received) == 50)
        assert "send_half.py" in ran
        assert not ran & {"pair.py", "leg.py", "latching.py", "addresses.py"}
