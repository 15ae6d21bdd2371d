"""What is forged takes nothing from a peer, keys that come back go on, and what is not sent is counted: every plane."""

from __future__ import annotations

import asyncio
import time

import pytest

from gateway.media.embedded.plane.rtcp import ReceiverReport
from gateway.media.embedded.plane.srtp import MAX_SEND_KEYS, SrtpProfile
from gateway.media.embedded.plane.values import FlowConfig
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
from tests.media.webrtc_support import binding_check

RATE = 100
PASSWORD = "password" * 3
HELLO = b"\x16\xfe\xfd" + bytes(100)


@pytest.mark.parametrize("profile", [GCM, CM])
async def test_forged_packets_in_a_peers_name_take_nothing_from_its_packets_a_second(
    scene: Scene, profile: SrtpProfile
) -> None:
    """Forged at more than the rate again and again (ASVS 17.2.4): every true packet passes, the first one included."""
    theirs = key(profile, 2)
    peer, stranger = SrtpSession(theirs, key(profile, 1)), SrtpSession(key(profile, 3), key(profile, 1))
    scene.plane.configure_flow(LEFT, FlowConfig(secure=True, max_packets_per_second=RATE))
    scene.plane.set_receive_key(LEFT, theirs)
    await scene.done()
    for number in range(1, 13):
        for each in range(RATE + 20):
            scene.left.send(stranger.protect(rtp((RATE + 20) * number + each)))
        scene.left.send(peer.protect(rtp(number)))
        await scene.settle(LEFT, number * (RATE + 21))
    assert numbers(await scene.right.hears(12)) == list(range(12))
    assert dict((await scene.figures(LEFT)).discarded) == {"authentication": 12 * (RATE + 20)}


async def test_forged_reports_in_a_peers_name_take_nothing_from_its_own(scene: Scene) -> None:
    """Forged RTCP is not told of, and what the peer says after it is."""
    theirs = key(GCM, 2)
    peer, stranger = SrtpSession(theirs, key(GCM, 1)), SrtpSession(key(GCM, 3), key(GCM, 1))
    scene.plane.configure_flow(LEFT, FlowConfig(secure=True, mux=True, max_packets_per_second=RATE))
    scene.plane.set_receive_key(LEFT, theirs)
    await scene.done()
    scene.left.send(peer.protect(rtp(1)))
    await scene.right.hears(1)
    for turn in range(3):
        for batch in range(3):
            for _ in range(100):
                scene.left.send(stranger.protect_rtcp(bytes(ReceiverReport(7))))
            await scene.settle(LEFT, 1 + 300 * turn + 100 * (batch + 1))
        report = bytes(ReceiverReport(turn))
        scene.left.send(peer.protect_rtcp(report))
        await until(lambda report=report: scene.handler.compounds[-1:] == [(LEFT, scene.left.address, report)])
    assert len(scene.handler.compounds) == 3
    assert dict((await scene.figures(LEFT)).discarded) == {"authentication": 900}


async def test_a_source_may_send_so_many_packets_a_second(scene: Scene) -> None:
    """What is authentic and above it is counted and dropped (ASVS 17.2.5)."""
    scene.plane.configure_flow(LEFT, FlowConfig(max_packets_per_second=RATE))
    await scene.done()
    for batch in range(8):
        for number in range(100 * batch, 100 * (batch + 1)):
            scene.left.send(rtp(number))
        await scene.settle(LEFT, 100 * (batch + 1))
    discarded = (await scene.figures(LEFT)).discarded
    assert set(discarded) == {"rate"}
    assert RATE <= len(scene.right.take()) == 800 - discarded["rate"] < 800


@pytest.mark.parametrize("profile", [GCM, CM])
async def test_a_send_key_that_comes_back_after_a_wrap_has_its_roll_over_count(
    scene: Scene, profile: SrtpProfile
) -> None:
    """Key A over the wrap, key B, key A again: who has opened A all the time opens what comes now."""
    first, second = key(profile, 1), key(profile, 2)
    peer = SrtpSession(second, first)
    scene.plane.start_stream(RIGHT, 2 * SSRC, 65_530, 1000, 8000)
    for count, each in ((16, first), (1, second), (4, first)):
        scene.plane.set_send_key(RIGHT, each)
        for _ in range(count):
            scene.plane.inject(RIGHT, 0, False, b"x", 160)
    await until(lambda: len(scene.right.take()) == 21)
    opened = [peer.unprotect(data) is not None for data in scene.right.received]
    assert opened == [True] * 16 + [False] + [True] * 4


async def test_a_key_of_rtcp_that_comes_back_goes_on_where_it_stopped(scene: Scene) -> None:
    """Key A, key B, key A again: no index of RTCP comes twice; under one that is forgotten nothing leaves."""
    keys = [key(GCM, seed) for seed in range(MAX_SEND_KEYS + 1)]
    scene.plane.configure_flow(LEFT, FlowConfig(secure=True))
    scene.plane.set_send_key(LEFT, key(GCM, 100))
    apart = Phone()
    scene.phones.append(apart)
    scene.plane.set_destination(LEFT, scene.left.address, apart.address)
    report = bytes(ReceiverReport(7))
    for each in (keys[0], keys[1], keys[0]):
        scene.plane.set_rtcp_keys(LEFT, key(GCM, 101), each)
        scene.plane.send_rtcp(LEFT, report)
    await until(lambda: len(apart.take()) == 3)
    peer = SrtpSession(key(GCM, 101), keys[0])
    assert [peer.unprotect_rtcp(data) for data in apart.received] == [report, None, report]
    for each in (*keys[2:], keys[1]):
        scene.plane.set_rtcp_keys(LEFT, key(GCM, 101), each)
    scene.plane.send_rtcp(LEFT, report)
    assert (await scene.figures(LEFT)).unsent == {"not_ready": 1}
    assert len(apart.take()) == 3


async def test_a_key_of_rtcp_that_comes_back_hears_no_report_twice(scene: Scene) -> None:
    """Key A, key B, no key, key A again: what was heard under it is a replay, what was not is heard."""
    first, second = key(GCM, 1), key(GCM, 2)
    peer = SrtpSession(first, key(GCM, 100))
    scene.plane.configure_flow(LEFT, FlowConfig(secure=True))
    reports = [bytes(ReceiverReport(number)) for number in range(2)]
    once, new = (peer.protect_rtcp(report) for report in reports)
    apart = Phone()
    scene.phones.append(apart)
    apart.to = scene.left.to[0], scene.left.to[1] + 1
    scene.plane.set_destination(LEFT, scene.left.address, apart.address)
    scene.plane.set_rtcp_keys(LEFT, first, key(GCM, 100))
    await scene.done()
    apart.send(once)
    await until(lambda: len(scene.handler.compounds) == 1)
    scene.plane.set_rtcp_keys(LEFT, second, key(GCM, 100))
    scene.plane.drop_keys(LEFT)
    scene.plane.set_rtcp_keys(LEFT, first, key(GCM, 100))
    await scene.done()
    apart.send(once)
    apart.send(new)
    await until(lambda: len(scene.handler.compounds) >= 2)
    assert [packet for _, _, packet in scene.handler.compounds] == reports
    assert dict((await scene.figures(LEFT)).discarded) == {"replay": 1}


async def test_a_packet_from_before_one_of_ours_is_counted_as_late(scene: Scene) -> None:
    """It has no place in the outgoing stream any more."""
    scene.left.send(rtp(1))
    await scene.right.hears(1)
    scene.plane.inject(RIGHT, 0, False, b"ours", None)
    await scene.done()
    scene.left.send(rtp(3))
    await scene.right.hears(3)
    scene.left.send(rtp(2))
    await scene.settle(LEFT, 3)
    async with asyncio.timeout(30):
        while not (figures := await scene.figures(RIGHT)).unsent:  # noqa: ASYNC110  # counts have no event
            await asyncio.sleep(0.005)
    assert (dict(figures.unsent), figures.sent) == ({"late": 1}, 3)
    assert len(scene.right.take()) == 3


async def test_what_the_system_refuses_is_counted_and_is_not_sent(scene: Scene) -> None:
    """Nobody may send to a broadcast address unasked: neither the packets nor their octets count."""
    scene.left.send(rtp(1))
    await scene.right.hears(1)
    scene.plane.set_destination(RIGHT, at("255.255.255.255", 9), None)
    await scene.done()
    for number in range(2, 5):
        scene.left.send(rtp(number))
    await scene.settle(LEFT, 4)
    scene.plane.set_destination(RIGHT, scene.right.address, None)
    await scene.done()
    scene.left.send(rtp(5))
    await scene.right.hears(2)
    figures = await scene.figures(RIGHT)
    assert (figures.sent, figures.sent_octets, dict(figures.unsent)) == (2, 2 * len(b"voice"), {"socket": 3})


async def browser_of(scene: Scene) -> tuple[Phone, int]:
    """A browser's flow 10 on a shared port, whose first check the handler has; the browser and the path it came by."""
    [bound] = await scene.plane.open_shared(9, ["127.0.0.1"], 0, receive_buffer=1 << 20, send_buffer=1 << 20)
    scene.plane.open_flow(10, 9, FlowConfig(mux=True, max_packets_per_second=1000))
    scene.plane.set_credentials(10, [("ours", PASSWORD)])
    scene.plane.route(10, RIGHT, ROUTES)
    browser = Phone()
    scene.phones.append(browser)
    browser.to = bound.address
    await scene.done()
    browser.send(binding_check("ours:peer", PASSWORD))
    await until(lambda: scene.handler.checks)
    return browser, scene.handler.checks[0][0]


async def test_a_nomination_of_a_pair_that_is_not_selected_is_the_handlers(scene: Scene) -> None:
    """RFC 8445 section 7.3.1.5: it selects the pair; once it is selected the plane answers alone."""
    browser, path = await browser_of(scene)
    scene.plane.admit_pair(10, path, browser.address)
    await scene.done()
    browser.send(binding_check("ours:peer", PASSWORD, use_candidate=False))
    await until(lambda: len(browser.take()) == 1)
    assert len(scene.handler.checks) == 1
    nomination = binding_check("ours:peer", PASSWORD)
    browser.send(nomination)
    await until(lambda: len(scene.handler.checks) == 2)
    assert scene.handler.checks[1] == (path, browser.address, nomination)
    assert len(browser.take()) == 1
    scene.plane.select(10, path, browser.address)
    await scene.done()
    browser.send(nomination)
    await until(lambda: len(browser.take()) == 2)
    assert len(scene.handler.checks) == 2


async def test_a_pair_that_was_removed_is_heard_no_more(scene: Scene) -> None:
    """Its media is a stranger's again."""
    browser, path = await browser_of(scene)
    scene.plane.admit_pair(10, path, browser.address)
    scene.plane.select(10, path, browser.address)
    await scene.done()
    browser.send(rtp(1))
    await scene.right.hears(1)
    scene.plane.remove_pair(10, path, browser.address)
    await scene.done()
    browser.send(rtp(2))
    async with asyncio.timeout(30):
        while not (await scene.plane.counters()).get("unproved_media"):  # noqa: ASYNC110  # counters have no event
            await asyncio.sleep(0.005)
    assert (await scene.figures(10)).received == 1
    assert len(scene.right.take()) == 1


def most_since(began: float, a_second: int = 200) -> int:
    """How often somebody may have been told of, at so many a second, since that time of the monotonic clock."""
    return a_second * (int(time.monotonic() - began) + 2)


async def told_or_counted(scene: Scene, expected: int) -> None:
    """Wait until so many checks were told of, or were too many."""
    async with asyncio.timeout(30):
        while True:
            limited = (await scene.plane.counters()).get("punts_limited", 0)
            if len(scene.handler.checks) + limited >= expected:
                return
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("is_admitted", [False, True])
async def test_stun_of_one_address_is_told_of_so_often_a_second(scene: Scene, is_admitted: bool) -> None:
    """Each costs an HMAC in the event loop; the rest is counted, and of another address it is told."""
    browser, path = await browser_of(scene)
    if is_admitted:
        scene.plane.admit_pair(10, path, browser.address)
        await scene.done()
    began, told = time.monotonic(), scene.handler.checks
    for sent in range(201, 1002, 200):
        for _ in range(200):
            browser.send(binding_check("ours:peer", PASSWORD))  # which nominates: the handler's to answer
        await told_or_counted(scene, sent)
    assert 200 <= len(told) <= 1 + most_since(began)  # the first one had come before
    stranger = Phone("127.0.0.2")
    scene.phones.append(stranger)
    stranger.to = browser.to

    def is_told_of() -> bool:
        stranger.send(binding_check("ours:peer", PASSWORD))  # once in 4,096 runs both addresses share a count
        return bool(told[-1][1] == stranger.address)

    await until(is_told_of)


async def test_strangers_at_a_phones_port_are_told_of_so_often_a_second(scene: Scene) -> None:
    """Fifty of all of them together, however many addresses they have."""
    scene.left.send(rtp(1))
    await scene.right.hears(1)
    began, told = time.monotonic(), scene.handler.strangers
    for number in range(1, 5):
        stranger = Phone("127.0.0.2")
        scene.phones.append(stranger)
        stranger.to = scene.left.to
        for _ in range(150):
            stranger.send(rtp(9, ssrc=9))
        await scene.settle(LEFT, 1 + 150 * number)
    assert 50 <= len(told) <= most_since(began, 50)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("named", [True, False], ids=["named", "learned"])
async def test_dtls_in_a_phones_name_is_told_of_so_often_a_second(scene: Scene, host: str, named: bool) -> None:
    """Anybody may send it, and each one costs a turn of OpenSSL in the event loop; the rest is counted."""
    phone = Phone(host)
    scene.phones.append(phone)
    await scene.add(6, phone)
    if not named:
        scene.plane.expect(6, at(host, 9), 1)
        scene.plane.set_destination(6, at(host, 9), at(host, 10))
        scene.plane.admit_source(6, phone.address, rtp(1))
        await scene.done()
        phone.send(rtp(2))
        await scene.settle(6, 2)
    scene.plane.configure_flow(6, FlowConfig(secure=True))
    await scene.done()
    began, told = time.monotonic(), scene.handler.handshakes
    for sent in range(200, 1001, 200):
        for _ in range(200):
            phone.send(HELLO)
        async with asyncio.timeout(30):
            while len(told) + (await scene.figures(6)).discarded.get("rate", 0) < sent:  # noqa: ASYNC110  # counts have no event
                await asyncio.sleep(0.005)
    assert 200 <= len(told) <= most_since(began)
    assert {source for _, _, source, _ in told} == {phone.address}


async def test_dtls_in_a_browsers_name_is_told_of_so_often_a_second(scene: Scene) -> None:
    """The same at the shared port; media that comes behind it passes."""
    browser, path = await browser_of(scene)
    scene.plane.admit_pair(10, path, browser.address)
    await scene.done()
    began, told = time.monotonic(), scene.handler.handshakes
    for number in range(1, 6):
        for _ in range(200):
            browser.send(HELLO)
        browser.send(rtp(number))
        await scene.right.hears(number)
    await until(lambda: len(told) >= 200)
    assert len(told) <= most_since(began)
