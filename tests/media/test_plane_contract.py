"""What every packet plane promises, on real sockets; the native one is held to it where its binary is there."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import hmac
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA1

from gateway.media.embedded.plane.packet import RtpPacket, timestamp_delta
from gateway.media.embedded.plane.protocol import PlaneError
from gateway.media.embedded.plane.rtcp import ReceiverReport
from gateway.media.embedded.plane.srtp import MAX_SEND_KEYS, SrtpProfile
from gateway.media.embedded.plane.stun import success_response
from gateway.media.embedded.plane.values import FlowConfig, Silence
from tests.media.engine_support import until
from tests.media.hosts import at
from tests.media.plane_scene import (
    CM,
    GCM,
    LEFT,
    RIGHT,
    ROUTES,
    SSRC,
    Phone,
    Scene,
    key,
    numbers,
    rtp,
)
from tests.media.srtp_pair import SrtpSession
from tests.media.srtp_support import derive, reference_rtp
from tests.media.webrtc_support import binding_check


async def test_packets_pass_both_ways_under_numbers_of_the_plane(scene: Scene) -> None:
    """Payload for payload, in order; SSRC, numbers and timestamps are those the stream began with."""
    for number in range(20):
        scene.left.send(rtp(500 + number, payload=bytes([number])))
        scene.right.send(rtp(9000 + number, payload=bytes([100 + number])))
    there, back = await scene.right.hears(20), await scene.left.hears(20)
    assert [packet.payload[0] for packet in there] == list(range(20))
    assert [packet.payload[0] for packet in back] == list(range(100, 120))
    assert (there[0].ssrc, there[0].sequence_number, there[0].timestamp) == (SSRC + RIGHT, 100, 1000)
    assert numbers(there) == list(range(20))
    await until(lambda: scene.handler.runs)
    assert scene.handler.runs[0][2] == 1
    figures = await scene.figures(LEFT)
    assert (figures.received, figures.lost, figures.sent, figures.source) == (20, 0, 20, scene.left.address)


async def test_a_hold_leaves_no_gap(scene: Scene) -> None:
    """Closed and opened again: the next number, a later timestamp."""
    scene.left.send(rtp(1))
    await scene.right.hears(1)
    scene.plane.set_open(RIGHT, False)
    await scene.done()
    for number in range(2, 10):
        scene.left.send(rtp(number))
    await scene.settle(LEFT, 9)
    scene.plane.set_open(RIGHT, True)
    await scene.done()
    scene.left.send(rtp(10))
    heard = await scene.right.hears(2)
    assert numbers(heard) == [0, 1]
    assert timestamp_delta(heard[1].timestamp, heard[0].timestamp) == 9 * 160


async def test_a_flow_moves_to_another_peer_in_one_stream(scene: Scene) -> None:
    """The right one hears a third party from now on: same SSRC, next number, marker."""
    third = Phone()
    scene.phones.append(third)
    await scene.add(3, third)
    scene.left.send(rtp(1))
    await scene.right.hears(1)
    scene.plane.route(LEFT, None, {})
    scene.join(3, RIGHT)
    await scene.done()
    third.send(rtp(40_000, ssrc=99, payload=b"third"))
    scene.left.send(rtp(2))
    third.send(rtp(40_001, ssrc=99, payload=b"third"))
    heard = await scene.right.hears(3)
    assert [packet.payload for packet in heard] == [b"voice", b"third", b"third"]
    assert numbers(heard) == [0, 1, 2]
    assert len({packet.ssrc for packet in heard}) == 1
    assert heard[1].marker


async def test_a_stream_has_one_source_and_outlives_it(scene: Scene) -> None:
    """Who was routed to it before is heard no more, and is again once the other has ended and it is routed anew."""
    third = Phone()
    scene.phones.append(third)
    await scene.add(3, third)
    scene.join(3, RIGHT)
    await scene.done()
    scene.left.send(rtp(1))
    await scene.settle(LEFT, 1)
    third.send(rtp(40_000, ssrc=99, payload=b"third"))
    assert [packet.payload for packet in await scene.right.hears(1)] == [b"third"]
    scene.plane.close_flow(3)
    scene.plane.close_port(3)
    scene.join(LEFT, RIGHT)
    await scene.done()
    scene.left.send(rtp(2))
    assert [packet.payload for packet in await scene.right.hears(2)] == [b"third", b"voice"]


async def test_a_new_ssrc_goes_on_in_the_same_stream(scene: Scene) -> None:
    """After a new description at once, with a marker."""
    scene.left.send(rtp(1))
    await scene.right.hears(1)
    scene.plane.resync(LEFT)
    await scene.figures(LEFT)
    scene.left.send(rtp(30_000, ssrc=8))
    scene.left.send(rtp(30_001, ssrc=8))
    heard = await scene.right.hears(3)
    assert numbers(heard) == [0, 1, 2]
    assert heard[1].marker
    await until(lambda: scene.handler.runs[-1:] == [(LEFT, 8, 2)])


async def test_a_stream_that_begins_anew_goes_on_as_open_as_it_was(scene: Scene) -> None:
    """Another outgoing SSRC is another stream of the same flow: open stays open, and closed stays closed."""
    scene.left.send(rtp(1))
    await scene.right.hears(1)
    scene.plane.start_stream(RIGHT, 0x9999, 700, 7000, 8000)
    await scene.done()
    scene.left.send(rtp(2))
    heard = await scene.right.hears(2)
    assert (heard[1].ssrc, heard[1].sequence_number) == (0x9999, 700)
    scene.plane.set_open(RIGHT, False)
    scene.plane.start_stream(RIGHT, 0x8888, 900, 9000, 8000)
    await scene.done()
    scene.left.send(rtp(3))
    await scene.settle(LEFT, 3)
    scene.plane.set_open(RIGHT, True)
    await scene.done()
    scene.left.send(rtp(4))
    heard = await scene.right.hears(3)
    assert (heard[2].ssrc, heard[2].payload) == (0x8888, rtp(4)[12:])
    assert len(heard) == 3


async def test_a_muted_flow_stays_muted_when_its_stream_begins_anew(scene: Scene) -> None:
    """Packets of ours keep the new stream to themselves."""
    scene.plane.set_muted(RIGHT, True)
    scene.plane.start_stream(RIGHT, 0x9999, 700, 7000, 8000)
    scene.plane.set_open(RIGHT, True)
    await scene.done()
    scene.left.send(rtp(1))
    await scene.settle(LEFT, 1)
    scene.plane.inject(RIGHT, 0, False, b"ours", None)
    heard = await scene.right.hears(1)
    assert [packet.payload for packet in heard] == [b"ours"]


async def test_another_codec_with_another_clock_keeps_time_going_forward(scene: Scene) -> None:
    """From 8 kHz to 48 kHz in one stream."""
    scene.left.send(rtp(1))
    scene.left.send(rtp(2, payload_type=111, stamp=3_000_000))
    scene.left.send(rtp(3, payload_type=111, stamp=3_000_960))
    heard = await scene.right.hears(3)
    assert [packet.payload_type for packet in heard] == [0, 96, 96]
    assert timestamp_delta(heard[1].timestamp, heard[0].timestamp) > 0
    assert timestamp_delta(heard[2].timestamp, heard[1].timestamp) == 960
    assert numbers(heard) == [0, 1, 2]


async def test_digits_are_forwarded_and_told(scene: Scene) -> None:
    """Every packet of an event keeps its timestamp, and is copied to the handler."""
    scene.left.send(rtp(1))
    for number in range(2, 6):
        scene.left.send(rtp(number, payload_type=101, stamp=320, payload=bytes([5, 10, 0, number])))
    heard = await scene.right.hears(5)
    assert len({packet.timestamp for packet in heard[1:]}) == 1
    await until(lambda: len(scene.handler.packets) == 4)
    flow, copied = scene.handler.packets[0]
    assert (flow, copied.payload_type, copied.timestamp, copied.payload) == (LEFT, 101, 320, bytes([5, 10, 0, 2]))


async def test_events_that_are_no_digits_end_here(scene: Scene) -> None:
    """A hook flash, a fax tone, half an event: neither forwarded nor told, and no gap is left."""
    scene.left.send(rtp(1))
    for number, payload in enumerate((b"\x10\x0a\x00\xa0", b"\x20\x0a\x00\xa0", b"\x05\x0a"), start=2):
        scene.left.send(rtp(number, payload_type=101, stamp=320, payload=payload))
    scene.left.send(rtp(5, payload_type=101, stamp=800, payload=b"\x0f\x0a\x00\xa0"))
    heard = await scene.right.hears(2)
    assert [(packet.payload_type, packet.payload) for packet in heard] == [(0, rtp(1)[12:]), (101, b"\x0f\x0a\x00\xa0")]
    assert numbers(heard) == [0, 1]
    await until(lambda: scene.handler.packets)
    assert [copied.payload for _, copied in scene.handler.packets] == [b"\x0f\x0a\x00\xa0"]


async def test_packets_of_our_own_take_numbers_and_audio_goes_on_after_them(scene: Scene) -> None:
    """Injected while muted; the peer sees one stream."""
    scene.left.send(rtp(1))
    await scene.right.hears(1)
    scene.plane.set_muted(RIGHT, True)
    scene.plane.inject(RIGHT, 101, True, b"ours", None)
    scene.plane.inject(RIGHT, 101, False, b"more", 0)
    await scene.done()
    scene.left.send(rtp(2))
    await scene.settle(LEFT, 2)
    scene.plane.set_muted(RIGHT, False)
    await scene.done()
    scene.left.send(rtp(3))
    heard = await scene.right.hears(4)
    assert [packet.payload for packet in heard] == [b"voice", b"ours", b"more", b"voice"]
    assert numbers(heard) == [0, 1, 2, 3]
    assert heard[1].timestamp == heard[2].timestamp
    assert timestamp_delta(heard[3].timestamp, heard[2].timestamp) > 0


async def test_silence_is_sent_where_nothing_else_is(scene: Scene) -> None:
    """After the time it was asked for, at its interval, in the stream's numbers."""
    silence = Silence(payload_type=0, payload=b"\xff" * 160, ticks=160, after=0.1, interval=0.02)
    scene.plane.set_silence(RIGHT, silence)
    heard = await scene.right.hears(10)
    assert {packet.payload for packet in heard} == {b"\xff" * 160}
    assert numbers(heard)[:10] == list(range(10))
    scene.plane.set_silence(RIGHT, None)


@pytest.mark.parametrize(("first", "batches"), [(65_000, 10), pytest.param(60_000, 700, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("profile", [GCM, CM])
async def test_thousands_of_packets_pass_a_wrap_and_one_side_changes_its_key(
    scene: Scene, profile: SrtpProfile, first: int, batches: int
) -> None:
    """The roll-over count goes on both ways; a new key of the phone leaves ours alone."""
    ours, theirs, new = key(profile, 1), key(profile, 2), key(profile, 3)
    peer = SrtpSession(theirs, ours)
    scene.plane.configure_flow(LEFT, FlowConfig(secure=True, max_packets_per_second=10**6))
    scene.plane.configure_flow(RIGHT, FlowConfig(max_packets_per_second=10**6))
    scene.plane.set_send_key(LEFT, ours)
    scene.plane.set_receive_key(LEFT, theirs)
    for flow in (LEFT, RIGHT):
        scene.plane.start_stream(flow, 2 * SSRC + flow, first, 1000, 8000)
        scene.plane.set_open(flow, True)
    await scene.done()
    opened, last = 0, first + 100 * batches
    for batch in range(batches):
        for number in range(first + 100 * batch, first + 100 * (batch + 1)):
            scene.left.send(peer.protect(rtp(number)))
            scene.right.send(rtp(number))
        await until(lambda batch=batch: len(scene.right.take()) >= 100 * (batch + 1))
        await until(lambda batch=batch: len(scene.left.take()) >= 100 * (batch + 1))
        opened += sum(peer.unprotect(data) is not None for data in scene.left.received[opened:])
    assert opened == last - first
    wrapped = {number % 65_536 for number in range(first, last)}
    assert {packet.sequence_number for packet in scene.left.heard} == wrapped
    assert {packet.sequence_number for packet in scene.right.heard} == wrapped
    scene.plane.set_receive_key(LEFT, new)
    scene.plane.set_send_key(LEFT, ours)
    await scene.done()
    again = SrtpSession(new, ours)
    scene.left.send(again.protect(rtp(last)))
    scene.right.send(rtp(last))
    await scene.right.hears(last - first + 1)
    await until(lambda: len(scene.left.take()) > last - first)
    assert peer.unprotect(scene.left.received[-1]) is not None
    assert (await scene.figures(LEFT)).lost == 0


async def test_a_send_key_that_comes_back_goes_on_where_it_was(scene: Scene) -> None:
    """No index is used twice under one key, whatever order descriptions name them in."""
    first, second = key(GCM, 1), key(GCM, 2)
    for each in (first, second, first):
        scene.plane.set_send_key(RIGHT, each)
        scene.plane.inject(RIGHT, 0, False, b"x", 160)
    await until(lambda: len(scene.right.take()) == 3)
    peer = SrtpSession(second, first)
    assert peer.unprotect(scene.right.received[0]) is not None
    assert peer.unprotect(scene.right.received[2]) is not None


async def test_a_send_key_that_is_forgotten_is_refused_and_nothing_leaves_in_the_clear(scene: Scene) -> None:
    """Its indices would come again. New keys are taken, and the last ones go on where they stopped."""
    keys = [key(GCM, seed) for seed in range(MAX_SEND_KEYS + 1)]
    for each in keys:
        scene.plane.set_send_key(RIGHT, each)
        scene.plane.inject(RIGHT, 0, False, b"x", 160)
    for each in (keys[0], keys[1]):
        scene.plane.set_send_key(RIGHT, each)
        scene.plane.inject(RIGHT, 0, False, b"y", 160)
    await until(lambda: len(scene.right.take()) == MAX_SEND_KEYS + 2)
    assert (await scene.figures(RIGHT)).unsent == {"not_ready": 1}
    peer = SrtpSession(key(GCM, 200), keys[1])
    assert peer.unprotect(scene.right.received[1]) is not None
    last = peer.unprotect(scene.right.received[-1])
    assert last is not None
    assert last.endswith(b"y")


async def test_packets_lost_before_a_wrap_do_not_end_the_stream(scene: Scene) -> None:
    """The first one to arrive has the roll-over count one already."""
    theirs = key(GCM, 2)
    peer = SrtpSession(theirs, key(GCM, 1))
    scene.plane.configure_flow(LEFT, FlowConfig(secure=True, max_packets_per_second=100_000))
    scene.plane.set_receive_key(LEFT, theirs)
    await scene.done()
    for number in range(65_530, 65_536):
        assert peer.protect(rtp(number)) is not None
    scene.left.send(peer.protect(rtp(65_536)))
    scene.left.send(peer.protect(rtp(65_537)))
    await scene.right.hears(2)


@pytest.mark.parametrize("profile", list(SrtpProfile))
async def test_packets_carry_the_key_identifier_that_was_said_and_no_other(scene: Scene, profile: SrtpProfile) -> None:
    """It stands before the tag of RFC 3711, behind that of RFC 7714; the key goes on when it changes."""
    theirs = key(profile, 2)
    peer = SrtpSession(theirs, key(profile, 1))
    scene.plane.configure_flow(LEFT, FlowConfig(secure=True, mux=True, max_packets_per_second=100_000))
    counter_mode = profile.salt_length == 14
    tail = (4 if profile.suite.endswith("_32") else 10) if counter_mode else 0
    rtcp_tail = 10 if counter_mode else 0

    def identified(packet: bytes | None, length: int, mki: bytes) -> bytes:
        assert packet is not None
        end = len(packet) - length
        return packet[:end] + mki + packet[end:]

    scene.plane.set_receive_key(LEFT, theirs, b"\0\0\1")
    await scene.done()
    first = peer.protect(rtp(1))
    scene.left.send(first)
    scene.left.send(identified(first, tail, b"\0\0\2"))
    await scene.settle(LEFT, 2)
    assert (await scene.figures(LEFT)).discarded == {"authentication": 2}
    scene.left.send(identified(first, tail, b"\0\0\1"))
    await scene.right.hears(1)
    report = bytes(ReceiverReport(5))
    scene.left.send(identified(peer.protect_rtcp(report), rtcp_tail, b"\0\0\1"))
    await until(lambda: report in [packet for _, _, packet in scene.handler.compounds])
    scene.plane.set_receive_key(LEFT, theirs, b"\4")
    await scene.done()
    scene.left.send(identified(first, tail, b"\4"))
    scene.left.send(identified(peer.protect(rtp(2)), tail, b"\4"))
    heard = await scene.right.hears(2)
    assert len(heard) == 2
    assert (await scene.figures(LEFT)).discarded == {"authentication": 2, "replay": 1}


async def test_any_number_of_sources_may_follow_each_other(scene: Scene) -> None:
    """Past thirty-two the one idle longest makes room."""
    theirs = key(GCM, 2)
    peer = SrtpSession(theirs, key(GCM, 1))
    scene.plane.configure_flow(LEFT, FlowConfig(secure=True, max_packets_per_second=100_000))
    scene.plane.set_receive_key(LEFT, theirs)
    await scene.done()
    for ssrc in range(1, 50):
        scene.plane.resync(LEFT)
        await scene.figures(LEFT)
        scene.left.send(peer.protect(rtp(1, ssrc=ssrc)))
        await scene.right.hears(ssrc)


async def test_gcm_on_the_wire_is_that_of_rfc_7714(scene: Scene) -> None:
    """Against the RFC's transform with keys derived by hand; the transform itself is held to the RFC's vectors."""
    ours = key(GCM, 1)
    scene.plane.set_send_key(RIGHT, ours)
    scene.plane.inject(RIGHT, 0, False, b"payload", 160)
    await until(lambda: len(scene.right.take()) == 1)
    plain = bytes(RtpPacket(0, 100, 1160, SSRC + RIGHT, b"payload"))
    assert scene.right.received[0] == reference_rtp(derive(ours, 0, 16), derive(ours, 2, 12), plain)


@pytest.mark.parametrize(
    ("profile", "octets", "tag_length"),
    [(CM, 16, 10), (SrtpProfile.AES_256_CM_HMAC_SHA1_80, 32, 10), (SrtpProfile.AES_256_CM_HMAC_SHA1_32, 32, 4)],
)
async def test_counter_mode_on_the_wire_is_that_of_rfc_3711(
    scene: Scene, profile: SrtpProfile, octets: int, tag_length: int
) -> None:
    """Sections 4.1.1 and 4.2.1, with keys derived by section 4.3; with AES-256 it is RFC 6188."""
    ours = key(profile, 1)
    scene.plane.set_send_key(RIGHT, ours)
    scene.plane.inject(RIGHT, 0, False, b"payload", 160)
    await until(lambda: len(scene.right.take()) == 1)
    plain = bytes(RtpPacket(0, 100, 1160, SSRC + RIGHT, b"payload"))
    salt = int.from_bytes(derive(ours, 2, 14)) << 16
    counter = salt ^ (SSRC + RIGHT) << 64 ^ 100 << 16
    cipher = Cipher(algorithms.AES(derive(ours, 0, octets)), modes.CTR(counter.to_bytes(16)))
    sealed = plain[:12] + cipher.encryptor().update(plain[12:])
    tag = hmac.HMAC(derive(ours, 1, 20), SHA1())
    tag.update(sealed + bytes(4))
    assert scene.right.received[0] == sealed + tag.finalize()[:tag_length]


async def test_ipv6_is_served_alike(scene: Scene) -> None:
    """Flows of both families in one plane."""
    six = Phone("::1")
    scene.phones.append(six)
    await scene.add(6, six)
    scene.join(LEFT, 6)
    scene.join(6, LEFT)
    await scene.done()
    scene.left.send(rtp(1, payload=b"to six"))
    six.send(rtp(1, payload=b"from six"))
    assert (await six.hears(1))[0].payload == b"to six"
    assert (await scene.left.hears(1))[0].payload == b"from six"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_who_is_admitted_is_heard_on(scene: Scene, host: str) -> None:
    """A phone behind a NAT, of either family: the engine names where its packet came from, and all others are heard."""
    hidden = Phone(host)
    scene.phones.append(hidden)
    await scene.add(6, hidden)
    scene.join(6, RIGHT)
    scene.plane.expect(6, at(host, 9), 1)
    await scene.done()
    hidden.send(rtp(1))
    await until(lambda: len(scene.handler.strangers) == 1)
    [(flow, source, data, *_)] = scene.handler.strangers
    assert (flow, source) == (6, hidden.address)
    scene.plane.admit_source(6, source, data)
    await scene.done()
    for number in range(2, 12):
        hidden.send(rtp(number))
    assert numbers(await scene.right.hears(11)) == list(range(11))
    assert [each[:2] for each in scene.handler.learned] == [(6, hidden.address)]
    scene.plane.inject(6, 0, False, b"back", 160)
    assert (await hidden.hears(1))[0].payload == b"back"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x80", "malformed"),
        (bytes(20), "malformed"),
        (b"\xb0\x00" + bytes(10), "malformed"),
        (b"\x80\x00" + bytes(1600), "malformed"),
        (b"\x80\xc8" + bytes(26), "unexpected_rtcp"),
        (rtp(3, payload_type=77), "no_route"),
        (rtp(1), "misordered"),
        (b"\xa0" + rtp(3)[1:-1] + b"\xff", "malformed"),
    ],
    ids=["truncated", "version", "extension", "oversized", "rtcp", "payload-type", "replayed", "padding"],
)
async def test_bad_input_is_counted_and_dropped(scene: Scene, data: bytes, reason: str) -> None:
    """And the next good packet passes without a gap."""
    scene.left.send(rtp(1))
    await scene.right.hears(1)
    scene.left.send(data)
    scene.left.send(rtp(2))
    heard = await scene.right.hears(2)
    assert numbers(heard) == [0, 1]
    assert dict((await scene.figures(LEFT)).discarded) == {reason: 1}


async def test_forged_and_replayed_srtp_is_counted_and_dropped(scene: Scene) -> None:
    """A thousand of them do not end the call (CVE-2021-41105)."""
    theirs = key(GCM, 2)
    peer = SrtpSession(theirs, key(GCM, 1))
    scene.plane.configure_flow(LEFT, FlowConfig(secure=True, max_packets_per_second=100_000))
    scene.plane.set_receive_key(LEFT, theirs)
    await scene.done()
    true = peer.protect(rtp(1))
    assert true is not None
    scene.left.send(true)
    await scene.right.hears(1)
    for batch in range(10):
        for number in range(100):
            scene.left.send(true[:2] + (100 * batch + number + 2).to_bytes(2) + true[4:])
        await scene.settle(LEFT, 1 + 100 * (batch + 1))
    scene.left.send(true)
    scene.left.send(peer.protect(rtp(2)))
    await scene.right.hears(2)
    assert dict((await scene.figures(LEFT)).discarded) == {"authentication": 1000, "replay": 1}


async def test_a_stranger_is_told_of_and_admitted_only_when_asked(scene: Scene) -> None:
    """Nothing of it passes before, everything after; the source before is a stranger then."""
    stranger = Phone()
    scene.phones.append(stranger)
    stranger.to = scene.left.to
    scene.left.send(rtp(1))
    await scene.right.hears(1)
    stranger.send(rtp(2, payload=b"bleed"))
    await until(lambda: len(scene.handler.strangers) == 1)
    assert dict((await scene.figures(LEFT)).discarded) == {"wrong_source": 1}
    flow, source, data = scene.handler.strangers[0]
    assert (flow, source, data) == (LEFT, stranger.address, rtp(2, payload=b"bleed"))
    scene.plane.admit_source(LEFT, source, data)
    heard = await scene.right.hears(2)
    assert heard[1].payload == b"bleed"
    assert (await scene.figures(LEFT)).source == stranger.address


async def test_rtcp_is_told_of_in_the_clear(scene: Scene) -> None:
    """On the RTP port where it is multiplexed; ours goes out there, too."""
    scene.plane.configure_flow(LEFT, FlowConfig(mux=True))
    await scene.done()
    report = bytes(ReceiverReport(7))
    scene.left.send(rtp(1))
    await scene.right.hears(1)
    scene.left.send(report)
    await until(lambda: scene.handler.compounds == [(LEFT, scene.left.address, report)])
    scene.plane.send_rtcp(LEFT, report)
    await until(lambda: scene.left.take() == [report])


async def test_rtcp_from_where_it_is_said_to_be_is_not_a_strangers(scene: Scene) -> None:
    """A phone whose RTCP is not on the next port is read however much strangers send there."""
    apart, stranger = Phone(), Phone()
    scene.phones += [apart, stranger]
    apart.to = stranger.to = (scene.left.to[0], scene.left.to[1] + 1)
    scene.plane.set_destination(LEFT, scene.left.address, apart.address)
    await scene.done()
    for number in range(200):
        stranger.send(bytes(ReceiverReport(number)))
    await scene.done()
    report = bytes(ReceiverReport(7))
    apart.send(report)
    await until(lambda: (LEFT, apart.address, report) in scene.handler.compounds)


async def test_reports_of_strangers_take_nothing_from_a_phones_audio(scene: Scene) -> None:
    """Hundreds of them on its RTCP port, where it may send a hundred packets a second."""
    scene.plane.configure_flow(LEFT, FlowConfig(max_packets_per_second=100))
    await scene.done()
    stranger = Phone()
    scene.phones.append(stranger)
    stranger.to = scene.left.to[0], scene.left.to[1] + 1
    report = bytes(ReceiverReport(9, ()))
    for _ in range(300):
        stranger.send(report)
    await scene.settle(LEFT, 200)
    for number in range(30):
        scene.left.send(rtp(number))
    assert len(await scene.right.hears(30)) == 30


async def test_rtcp_may_have_keys_of_its_own(scene: Scene) -> None:
    """Not multiplexed it has a DTLS association of its own (RFC 5764 section 5.1.1.1)."""
    ours, theirs, our_rtcp, their_rtcp = (key(GCM, seed) for seed in range(1, 5))
    voice, control = SrtpSession(theirs, ours), SrtpSession(their_rtcp, our_rtcp)
    scene.plane.configure_flow(LEFT, FlowConfig(secure=True, max_packets_per_second=1000))
    scene.plane.set_receive_key(LEFT, theirs)
    scene.plane.set_send_key(LEFT, ours)
    scene.plane.set_rtcp_keys(LEFT, their_rtcp, our_rtcp)
    report = bytes(ReceiverReport(7))
    apart = Phone()
    scene.phones.append(apart)
    apart.to = (scene.left.to[0], scene.left.to[1] + 1)
    scene.plane.set_destination(LEFT, scene.left.address, apart.address)
    await scene.done()
    scene.left.send(voice.protect(rtp(1)))
    await scene.right.hears(1)
    apart.send(voice.protect_rtcp(report))
    apart.send(control.protect_rtcp(report))
    await until(lambda: scene.handler.compounds == [(LEFT, apart.address, report)])
    assert dict((await scene.figures(LEFT)).discarded) == {"authentication": 1}
    scene.plane.send_rtcp(LEFT, report)
    await until(lambda: len(apart.take()) == 1)
    assert control.unprotect_rtcp(apart.received[0]) == report
    scene.plane.drop_keys(LEFT)
    scene.plane.send_rtcp(LEFT, report)
    await scene.done()
    assert len(apart.take()) == 1


@pytest.mark.parametrize("secure", [True, False])
async def test_dtls_on_a_pair_port_is_told_where_keys_are_wanted(scene: Scene, secure: bool) -> None:
    """From anybody, within a rate for strangers that takes nothing from the peer; answered by either socket."""
    config = FlowConfig(secure=secure, max_packets_per_second=1000)
    scene.plane.configure_flow(LEFT, config)
    stranger, apart = Phone(), Phone()
    scene.phones += [stranger, apart]
    stranger.to, apart.to = scene.left.to, (scene.left.to[0], scene.left.to[1] + 1)
    await scene.done()
    hello = b"\x16\xfe\xfd" + bytes(20)
    for _ in range(200):
        stranger.send(hello)
    await scene.done()
    scene.left.send(hello)
    apart.send(hello)
    if not secure:
        await scene.settle(LEFT, 202)
        assert dict((await scene.figures(LEFT)).discarded) == {"malformed": 202}
        assert not scene.handler.handshakes
        return
    await until(lambda: any(source == scene.left.address for _, _, source, _ in scene.handler.handshakes))
    told = [source for _, _, source, _ in scene.handler.handshakes]
    assert told.count(stranger.address) <= 100
    path = next(path for _, path, source, _ in scene.handler.handshakes if source == scene.left.address)
    scene.plane.send(path, scene.left.address, b"\x16answer")
    await until(lambda: scene.left.take() == [b"\x16answer"])


async def test_idleness_is_told_once(scene: Scene) -> None:
    """And again only after something was heard, or the flow was configured."""
    scene.plane.configure_flow(LEFT, FlowConfig(idle_after=0.1))
    await until(lambda: len(scene.handler.idles) == 1)
    await asyncio.sleep(0.3)
    assert len(scene.handler.idles) == 1
    scene.left.send(rtp(1))
    await until(lambda: len(scene.handler.idles) == 2)


async def test_idleness_is_told_again_of_a_flow_that_is_configured_again(scene: Scene) -> None:
    """Counted from then, also where nothing of the configuration is another."""
    for told in (1, 2, 3):
        scene.plane.configure_flow(LEFT, FlowConfig(idle_after=0.3))
        await until(lambda told=told: len(scene.handler.idles) == told)
    assert all(number == LEFT and silent >= 0.3 for number, silent in scene.handler.idles)


async def test_a_shorter_patience_is_kept_from_when_it_is_configured(scene: Scene) -> None:
    """As where a phone is held, and then is not."""
    scene.plane.configure_flow(LEFT, FlowConfig(idle_after=3600.0))
    scene.plane.configure_flow(LEFT, FlowConfig(idle_after=0.1))
    await until(lambda: len(scene.handler.idles) == 1)


async def test_answers_to_requests_of_the_gateways_are_told_of(scene: Scene) -> None:
    """From a server nobody has admitted, and from an admitted pair; no other STUN of the kind is."""
    [bound] = await scene.plane.open_shared(9, ["127.0.0.1"], 0, receive_buffer=1 << 20, send_buffer=1 << 20)
    scene.plane.open_flow(10, 9, FlowConfig(mux=True))
    scene.plane.set_credentials(10, [("ours", "password" * 3)])
    server = Phone()
    scene.phones.append(server)
    server.to = bound.address
    answer = success_response(bytes(12), ("192.0.2.1", 9), b"key")
    await scene.done()
    server.send(b"\x01\x11" + answer[2:])
    server.send(answer)
    await until(lambda: [told[1:] for told in scene.handler.checks] == [(server.address, answer)])
    scene.plane.admit_pair(10, scene.handler.checks[0][0], server.address)
    await scene.done()
    server.send(answer)
    await until(lambda: len(scene.handler.checks) == 2)
    assert (await scene.plane.counters())["stun_not_request"] == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_what_is_sent_is_marked_as_asked(scene: Scene, host: str) -> None:
    """The traffic class of IPv6, the type of service of IPv4 (RFC 2474), on either kind of port."""
    plane, size = scene.plane, 1 << 20
    [shared] = await plane.open_shared(9, [host], 0, receive_buffer=size, send_buffer=size, dscp=46)
    [plain] = await plane.open_shared(7, [host], 0, receive_buffer=size, send_buffer=size)
    await plane.open_pair(8, host, 0, dscp=34)
    level, receive, name = (
        (socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, socket.IPV6_TCLASS)
        if ":" in host
        else (socket.IPPROTO_IP, socket.IP_RECVTOS, socket.IP_TOS)
    )
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as heard:
        heard.setsockopt(level, receive, 1)
        heard.bind((host, 0))
        heard.settimeout(30)
        there = heard.getsockname()[:2]
        plane.open_flow(8, 8, FlowConfig())
        plane.set_destination(8, there, there)
        plane.start_stream(8, 5, 1, 1, 8000)
        marks = []
        sending: tuple[Callable[[], None], ...] = (
            lambda: plane.send(shared.path, there, b"marked"),
            lambda: plane.send(plain.path, there, b"plain"),
            lambda: plane.inject(8, 0, False, bytes(160), 160),
            lambda: plane.send_rtcp(8, bytes(ReceiverReport(5))),
        )
        for send in sending:
            send()
            await scene.done()
            _, [(_, kind, value)], _, _ = await asyncio.to_thread(heard.recvmsg, 2000, 100)
            assert kind == name
            marks.append(value[0] >> 2)
        assert marks == [46, 0, 34, 34]


async def test_checks_of_an_admitted_pair_are_answered_alone(scene: Scene) -> None:
    """Any other check is the handler's; media of the pair passes, a stranger's is dropped."""
    [bound] = await scene.plane.open_shared(9, ["127.0.0.1"], 0, receive_buffer=1 << 20, send_buffer=1 << 20)
    scene.plane.open_flow(10, 9, FlowConfig(mux=True))
    scene.plane.set_credentials(10, [("ours", "password" * 3)])
    scene.plane.start_stream(10, 5, 1, 1, 8000)
    scene.plane.route(10, RIGHT, ROUTES)
    browser = Phone()
    scene.phones.append(browser)
    browser.to = bound.address
    check = binding_check("ours:peer", "password" * 3, use_candidate=False)
    await scene.done()
    browser.send(check)
    browser.send(rtp(1))
    await until(lambda: [told[1:] for told in scene.handler.checks] == [(browser.address, check)])
    path = scene.handler.checks[0][0]
    scene.plane.admit_pair(10, path, browser.address)
    scene.plane.select(10, path, browser.address)
    await scene.done()
    browser.send(check)
    browser.send(rtp(1))
    await scene.right.hears(1)
    await until(lambda: len(browser.take()) == 1)
    assert browser.received[0][:2] == b"\x01\x01"
    browser.send(binding_check("ours:peer", "wrong" * 5, use_candidate=False))
    await until(lambda: len(scene.handler.checks) == 2)
    assert (await scene.plane.counters())["unproved_media"] == 1
    assert (await scene.figures(10)).destination == browser.address


async def test_a_shared_port_for_this_machine_alone_drops_all_others(scene: Scene) -> None:
    """Datagrams from any other address are counted."""
    [bound] = await scene.plane.open_shared(
        9, ["127.0.0.1"], 0, receive_buffer=1 << 20, send_buffer=1 << 20, only_from=["127.0.0.3"]
    )
    stranger = Phone("127.0.0.2")
    scene.phones.append(stranger)
    stranger.to = bound.address
    stranger.send(binding_check("ours:peer", "password" * 3))
    async with asyncio.timeout(30):
        while not (await scene.plane.counters()).get("foreign"):  # noqa: ASYNC110  # counters have no event
            await asyncio.sleep(0.01)
    assert scene.handler.checks == []


async def test_a_port_that_is_taken_is_busy_and_a_closed_one_free(scene: Scene) -> None:
    """PlaneError says which; the flows of a closed port are gone."""
    number = scene.left.to[1]
    with pytest.raises(PlaneError) as raised:
        await scene.plane.open_pair(20, "127.0.0.1", number)
    assert raised.value.code == "busy"
    scene.plane.close_port(LEFT)
    rtp_bound, _ = await scene.plane.open_pair(20, "127.0.0.1", number)
    assert rtp_bound.address == ("127.0.0.1", number)
    assert await scene.plane.snapshot([LEFT]) == {}


async def test_a_port_is_free_as_soon_as_it_is_closed(scene: Scene) -> None:
    """The number of a call that has just ended may be the next one's, again and again."""
    number = scene.left.to[1]
    scene.plane.close_port(LEFT)
    for flow in range(20, 50):
        rtp_bound, _ = await scene.plane.open_pair(flow, "127.0.0.1", number)
        assert rtp_bound.address == ("127.0.0.1", number)
        scene.plane.open_flow(flow, flow, FlowConfig())
        scene.plane.close_flow(flow)
        scene.plane.close_port(flow)
