"""Rules of whom a plane hears and how it numbers, which both planes keep alike; on real sockets."""

from __future__ import annotations

import pytest

from gateway.media.embedded.plane.srtp import SendContext, SrtpProfile
from gateway.media.embedded.plane.values import NEVER, Action, FlowConfig, Route
from gateway.media.embedded.sources.digits import TelephoneEvent
from tests.media.engine_support import until
from tests.media.hosts import at
from tests.media.plane_scene import CM, GCM, LEFT, RIGHT, ROUTES, SSRC, Phone, Scene, numbers, rtp
from tests.media.plane_scene import key as key_of
from tests.media.webrtc_support import binding_check


async def test_an_address_that_another_flow_proves_is_its_own_from_then_on(scene: Scene) -> None:
    """The flow that had it sends nothing there any more, and what comes from there is the other's."""
    plane = scene.plane
    [bound] = await plane.open_shared(9, ["127.0.0.1"], 0, receive_buffer=1 << 20, send_buffer=1 << 20)
    browser = Phone()
    scene.phones.append(browser)
    browser.to = bound.address
    browser.send(binding_check("ours:peer", "password" * 3))
    await until(lambda: scene.handler.checks)
    path = scene.handler.checks[0][0]
    for flow in (10, 11, 10):
        if flow not in await plane.snapshot([flow]):
            plane.open_flow(flow, 9, FlowConfig(mux=True))
        plane.admit_pair(flow, path, browser.address)
        plane.admit_pair(flow, path, browser.address)
        plane.select(flow, path, browser.address)
        snapshot = await plane.snapshot([10, 11])
        known = {each: figures.destination for each, figures in snapshot.items() if figures.pairs}
        assert known == {flow: browser.address}
        assert [each for each, figures in snapshot.items() if figures.destination is not None] == [flow]
    plane.select(11, path, browser.address)
    plane.close_flow(11)
    assert (await scene.figures(10)).destination == browser.address


async def test_a_first_packet_of_no_agreed_payload_type_makes_no_source(scene: Scene) -> None:
    """What the named address sends first must be of the description; then it is heard from."""
    scene.left.send(rtp(1, payload_type=77))
    await scene.settle(LEFT, 1)
    figures = await scene.figures(LEFT)
    assert (dict(figures.discarded), figures.source) == ({"wrong_source": 1}, None)
    scene.left.send(rtp(2))
    await scene.right.hears(1)
    scene.left.send(rtp(3, payload_type=77))
    await scene.settle(LEFT, 3)
    figures = await scene.figures(LEFT)
    assert (dict(figures.discarded), figures.source) == ({"wrong_source": 1, "no_route": 1}, scene.left.address)


async def test_a_first_packet_that_is_malformed_makes_no_source(scene: Scene) -> None:
    """It says that it has fifteen contributing sources, and ends before them."""
    scene.left.send(b"\x8f" + rtp(1)[1:])
    await scene.settle(LEFT, 1)
    figures = await scene.figures(LEFT)
    assert (dict(figures.discarded), figures.source) == ({"malformed": 1}, None)


async def test_any_payload_type_makes_a_source_before_one_is_agreed(scene: Scene) -> None:
    """Without routes nothing is known of what may come."""
    scene.plane.route(LEFT, None, {})
    await scene.done()
    scene.left.send(rtp(1, payload_type=77))
    await scene.settle(LEFT, 1)
    assert (await scene.figures(LEFT)).source == scene.left.address


@pytest.mark.parametrize("leap", [0x20000000, 0xE0000000], ids=["ahead", "back"])
async def test_a_timeline_that_leaps_is_joined_afresh_with_a_marker(scene: Scene, leap: int) -> None:
    """The listener is told that the sound before and the sound after it are apart (RFC 3551 section 4.1)."""
    for number, timestamp in ((1, 160), (2, 320), (3, 480 + leap), (4, 640 + leap)):
        scene.left.send(rtp(number, stamp=timestamp))
    heard = await scene.right.hears(4)
    assert [packet.marker for packet in heard] == [True, False, True, False]
    first = heard[0].sequence_number
    assert [packet.sequence_number - first for packet in heard] == [0, 1, 2, 3]
    assert all((packet.timestamp - heard[0].timestamp) & 0xFFFFFFFF < 8000 for packet in heard)


async def test_a_receive_key_that_comes_back_is_read_wherever_its_numbers_are(scene: Scene) -> None:
    """Its source has wrapped meanwhile, once or five times, and its first number tells nothing of that."""
    key, other = key_of(GCM, 1), key_of(CM, 2)
    phone, between = SendContext(key, {}), SendContext(other, {})
    scene.plane.configure_flow(LEFT, FlowConfig(secure=True, max_packets_per_second=100_000))
    scene.plane.set_receive_key(LEFT, key)
    heard, at = 0, 60_000
    for beyond in (70_000, 5 * 65_536 + 40_000):
        for number in range(at, beyond, 0x7000):
            phone.protect(rtp(number))
        scene.plane.set_receive_key(LEFT, other)
        scene.plane.set_receive_key(LEFT, key)
        scene.plane.resync(LEFT)
        await scene.done()
        for number in (beyond, beyond + 1, beyond + 3, beyond + 2):
            scene.left.send(phone.protect(rtp(number)))
        heard += 4
        await scene.right.hears(heard)
        at = beyond + 4
    scene.plane.set_receive_key(LEFT, other)
    scene.plane.resync(LEFT)
    await scene.done()
    scene.left.send(between.protect(rtp(1)))
    await scene.right.hears(heard + 1)
    assert not (await scene.figures(LEFT)).discarded


@pytest.mark.parametrize("profile", [GCM, CM])
@pytest.mark.parametrize("unheard", [1, 300, 0x9000, 140_000])
async def test_a_receive_key_that_comes_back_hears_nothing_twice(
    scene: Scene, profile: SrtpProfile, unheard: int
) -> None:
    """Key A, key B, no key, key A: what was recorded under A is a replay, and the peer is heard however far it is."""
    first, second = key_of(profile, 1), key_of(GCM, 2)
    peer, other = SendContext(first, {}), SendContext(second, {})
    scene.plane.configure_flow(LEFT, FlowConfig(secure=True, max_packets_per_second=100_000))
    scene.plane.set_receive_key(LEFT, first, b"\x01")
    await scene.done()
    recorded = [peer.protect(rtp(number)) or b"" for number in range(1, 21)]
    for data in recorded:
        scene.left.send(identified(data, profile, 1))
    await scene.right.hears(20)
    scene.plane.set_receive_key(LEFT, second)
    scene.plane.resync(LEFT)
    await scene.done()
    scene.left.send(other.protect(rtp(21)))
    await scene.right.hears(21)
    scene.plane.drop_keys(LEFT)
    scene.plane.set_receive_key(LEFT, first, b"\x02")
    scene.plane.resync(LEFT)
    await scene.done()
    for number in range(21, 21 + unheard, 0x1000):
        peer.protect(rtp(number))
    true = [identified(peer.protect(rtp(number)), profile, 2) for number in range(21 + unheard, 26 + unheard)]
    for data in (*(identified(data, profile, 2) for data in recorded), *true):
        scene.left.send(data)
    await scene.right.hears(26)
    for data in (*recorded, *recorded):
        scene.left.send(identified(data, profile, 2))
    scene.left.send(identified(peer.protect(rtp(26 + unheard)), profile, 2))
    await scene.settle(LEFT, 27 + 60)
    assert len(scene.right.take()) == 27
    discarded = (await scene.figures(LEFT)).discarded
    assert discarded["replay"] >= 20
    assert sum(discarded.values()) == 60


@pytest.mark.parametrize("profile", [GCM, CM])
@pytest.mark.parametrize(("ssrc", "first"), [(7, 60_003), (8, 5)])
async def test_the_previous_receive_key_serves_until_a_packet_comes_under_the_new_one(
    scene: Scene, profile: SrtpProfile, ssrc: int, first: int
) -> None:
    """RFC 5764 section 5.2; recorded packets are replays still, and the source may be another under the new key."""
    keys = key_of(profile, 1), key_of(profile, 2)
    old, new, stranger = (SendContext(each, {}) for each in (*keys, key_of(profile, 3)))
    scene.plane.configure_flow(LEFT, FlowConfig(secure=True, max_packets_per_second=100_000))
    scene.plane.set_receive_key(LEFT, keys[0])
    await scene.done()
    scene.left.send(old.protect(rtp(60_000)))
    await scene.right.hears(1)
    scene.plane.set_receive_key(LEFT, keys[1])
    await scene.done()
    recorded = old.protect(rtp(60_001))
    for data in (recorded, recorded, stranger.protect(rtp(60_002)), old.protect(rtp(60_002))):
        scene.left.send(data)
    await scene.right.hears(3)
    scene.plane.resync(LEFT)
    await scene.done()
    for crypto, number, source in ((new, first, ssrc), (old, 60_009, 7), (new, first + 1, ssrc)):
        scene.left.send(crypto.protect(rtp(number, ssrc=source)))
    await scene.right.hears(5)
    await scene.settle(LEFT, 8)
    assert (await scene.figures(LEFT)).discarded == {"authentication": 3}


async def test_the_previous_receive_key_makes_no_sender_the_source(scene: Scene) -> None:
    """A transfer behind the same signalling: the former peer may send on, from an address that is named no more."""
    keys = key_of(GCM, 1), key_of(GCM, 2)
    old, new = (SendContext(each, {}) for each in keys)
    scene.plane.configure_flow(LEFT, FlowConfig(secure=True, max_packets_per_second=100_000))
    for each in keys:
        scene.plane.set_receive_key(LEFT, each)
    await scene.done()
    scene.plane.admit_source(LEFT, at("127.0.0.1", 9), old.protect(rtp(1)) or b"")
    await scene.done()
    assert (await scene.figures(LEFT)).source is None
    scene.left.send(new.protect(rtp(1)))
    await scene.right.hears(1)
    assert (await scene.figures(LEFT)).source == scene.left.address


def identified(data: bytes | None, profile: SrtpProfile, mki: int) -> bytes:
    """A packet with a master key identifier (RFC 3711 section 3.1)."""
    assert data is not None
    end = len(data) - profile.rtp_tail
    return data[:end] + bytes((mki,)) + data[end:]


@pytest.mark.parametrize("beside", [1, 3, 7])
async def test_what_is_forged_or_recorded_cannot_deafen_a_peer_whose_key_comes_back(scene: Scene, beside: int) -> None:
    """However much comes in its name, beside each of its packets too: here one is missed, and never more than seven."""
    key = key_of(GCM, 1)
    peer = SendContext(key, {})
    scene.plane.configure_flow(LEFT, FlowConfig(secure=True, max_packets_per_second=100_000))
    scene.plane.set_receive_key(LEFT, key)
    await scene.done()
    recorded = [peer.protect(rtp(number)) for number in range(1, 101)]
    for data in recorded:
        scene.left.send(data)
    await scene.right.hears(100)
    scene.plane.drop_keys(LEFT)
    scene.plane.set_receive_key(LEFT, key)
    scene.plane.resync(LEFT)
    await scene.done()
    for number, data in enumerate(recorded):
        scene.left.send(data)
        scene.left.send(rtp(101 + number, payload=bytes(40)))
    await scene.settle(LEFT, 300)
    for number in range(101, 100_000, 0x7000):
        peer.protect(rtp(number))
    for number in range(100_000, 100_020):
        scene.left.send(peer.protect(rtp(number)))
        for _ in range(beside):
            scene.left.send(rtp(number, payload=bytes(40)))
    await scene.settle(LEFT, 320 + 20 * beside)
    assert len(scene.right.take()) == 100 + 20 - 1


async def test_what_is_not_the_peers_costs_a_search_for_few_sources(scene: Scene) -> None:
    """After those only what may have begun just before a wrap is tried with another count; a known source goes on."""
    key, forged = key_of(GCM, 1), SendContext(key_of(GCM, 2), {})
    scene.plane.configure_flow(LEFT, FlowConfig(secure=True, max_packets_per_second=100_000))
    scene.plane.set_receive_key(LEFT, key)
    await scene.done()
    phone = SendContext(key, {})
    scene.left.send(phone.protect(rtp(1)))
    await scene.right.hears(1)
    for ssrc in range(100, 140):
        scene.left.send(forged.protect(rtp(9, ssrc=ssrc)))
        await scene.settle(LEFT, ssrc - 98)
    for number in range(0, 65_536, 0x7000):
        phone.protect(rtp(number, ssrc=8))
    scene.left.send(phone.protect(rtp(65_536 + 9000, ssrc=8)))
    scene.left.send(phone.protect(rtp(2)))
    await scene.right.hears(2)
    assert dict((await scene.figures(LEFT)).discarded) == {"authentication": 41}


@pytest.mark.parametrize("profile", [GCM, CM])
async def test_what_is_cut_is_malformed_and_what_came_is_a_replay(scene: Scene, profile: SrtpProfile) -> None:
    """Shorter than its tag, whoever sent it; longer it is not authentic, and what was heard is a replay however cut."""
    phone = SendContext(key_of(profile, 1), {})
    scene.plane.configure_flow(LEFT, FlowConfig(secure=True, max_packets_per_second=100_000))
    scene.plane.set_receive_key(LEFT, key_of(profile, 1))
    await scene.done()
    first, second = phone.protect(rtp(1)) or b"", phone.protect(rtp(2)) or b""
    scene.left.send(first[:20])
    scene.left.send(first)
    await scene.settle(LEFT, 2)
    for datagram in (first[:20], second[:20], second[:-1], rtp(2, payload=bytes(100))):
        scene.left.send(datagram)
    await scene.settle(LEFT, 6)
    assert dict((await scene.figures(LEFT)).discarded) == {"malformed": 2, "replay": 1, "authentication": 2}


async def test_rtcp_beside_rtp_is_unexpected_whatever_its_length(scene: Scene) -> None:
    """Eight octets are RTCP; less are nothing."""
    for size in (7, 8, 11, 12, 28):
        scene.left.send(bytes((0x80, 201)) + bytes(size - 2))
    await scene.settle(LEFT, 5)
    assert dict((await scene.figures(LEFT)).discarded) == {"malformed": 1, "unexpected_rtcp": 4}


async def test_reports_in_the_clear_do_not_keep_a_phone_alive(scene: Scene) -> None:
    """Anybody may send them in its name: the gateway is given them, and the phone has been silent all the same."""
    host, port = scene.left.to
    scene.left.to = (host, port + 1)
    scene.left.send(bytes((0x80, 201, 0, 1, 0, 0, 0, 7)))
    await until(lambda: scene.handler.compounds)
    assert (await scene.figures(LEFT)).heard == NEVER
    scene.left.to = (host, port)
    scene.left.send(rtp(1))
    await scene.right.hears(1)
    assert (await scene.figures(LEFT)).heard != NEVER


async def test_packets_that_are_missing_in_a_row_are_one_run_of_loss(scene: Scene) -> None:
    """By it quality tells bursts from loss at random (ITU-T G.107)."""
    for number in (1, 2, 6, 7, 9, 10):
        scene.left.send(rtp(number))
    await scene.right.hears(6)
    figures = await scene.figures(LEFT)
    assert (figures.lost, figures.loss_runs) == (4, 2)


async def test_a_stream_that_is_started_again_goes_on(scene: Scene) -> None:
    """Of the same source: its numbers do not come again, and its clock is another's while nothing was sent."""
    scene.plane.start_stream(RIGHT, SSRC + RIGHT, 7, 7, 16_000)
    assert (await scene.figures(RIGHT)).rate_out == 16_000
    for number in (1, 2):
        scene.left.send(rtp(number))
        await scene.right.hears(number)
        scene.plane.start_stream(RIGHT, SSRC + RIGHT, 7, 7, 8000)
        await scene.done()
    scene.left.send(rtp(3))
    heard = await scene.right.hears(3)
    assert [(packet.sequence_number, packet.timestamp) for packet in heard] == [(100, 1000), (101, 1160), (102, 1320)]


@pytest.mark.parametrize(("ended", "timestamps"), [(False, 1), (True, 2)])
async def test_a_digit_goes_on_over_another_source(scene: Scene, ended: bool, timestamps: int) -> None:
    """A sender that begins again, or changes its SSRC: one event, unless it had ended."""
    scene.plane.route(LEFT, RIGHT, ROUTES | {101: Route(action=Action.COPY, payload_type=101)})
    await scene.done()
    scene.left.send(rtp(1))
    await scene.right.hears(1)
    for number, ssrc, duration, end in ((2, 7, 160, ended), (700, 8, 480, False), (701, 8, 640, True)):
        payload = bytes(TelephoneEvent(5, end, 10, duration))
        scene.left.send(rtp(number, payload=payload, payload_type=101, ssrc=ssrc, stamp=320 if ssrc == 7 else 99_000))
        await scene.settle(LEFT, number if number == 2 else number - 697)
        if ssrc == 7:
            scene.plane.resync(LEFT)
            await scene.done()
    heard = (await scene.right.hears(4))[1:]
    assert len({packet.timestamp for packet in heard}) == timestamps
    assert [TelephoneEvent.parse(packet.payload).duration for packet in heard] == [160, 480, 640]
    assert numbers(heard) == [0, 1, 2]
