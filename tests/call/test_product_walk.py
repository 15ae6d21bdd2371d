"""The tables as a product: random walks of real user agents through call/, after which nothing is left anywhere."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from gateway.call.leg import Away, Returned
from gateway.call.state import State
from gateway.testing.engine import FakeEngine
from gateway.testing.network import Weather
from gateway.testing.walk import cut
from tests.call.walk import Phone, World
from tests.media.engine_support import running
from tests.rows import by_row
from tests.sip.agents import is_idle

STEPS = 250
"""Of each walk, of which there are six on each road."""
REAL_STEPS = 120
"""Of the walks with real media, of which there are two."""
BAD = Weather(delay=0.02, jitter=0.1, loss=0.1, duplication=0.05)

ROADS: dict[str, Callable[[int], World]] = {
    "clear": World,
    "bad": lambda seed: World(seed, BAD),
    "malformed headers": lambda seed: World(seed, BAD, malformed=0.03),
    "lost connections": lambda seed: World(seed, transport="tcp"),
}

Deed = Callable[[World, Phone], None]


def dial(world: World, _: Phone) -> None:
    if len(world.phones[0].sessions) < 3:
        world.phones[0].call(world.random.choice("12334"), offer=world.random.random() < 0.7)


def ring(_: World, phone: Phone) -> None:
    for session in phone.ringing[:1]:
        session.ring()


def ring_with_media(_: World, phone: Phone) -> None:
    for session in phone.ringing[:1]:
        if session.initial_offer:
            session.ring(183, body=phone.description())


def pick_up(world: World, _: Phone) -> None:
    """Several phones at once: two 200s cross."""
    for phone in world.phones[1:]:
        for session in phone.ringing[:1]:
            session.answer(phone.description())


def reject(world: World, phone: Phone) -> None:
    for session in phone.ringing[:1]:
        session.reject(world.random.choice([480, 486, 500, 603]))


def change(world: World, phone: Phone) -> None:
    """Hold, resume, or another port."""
    if phone.confirmed:
        direction = world.random.choice(["sendrecv", "sendonly", "inactive"])
        world.random.choice(phone.confirmed).offer(phone.description(direction))


def refresh(world: World, phone: Phone) -> None:
    """The same description again, as a session timer does."""
    if phone.confirmed:
        session = world.random.choice(phone.confirmed)
        session.offer(session.local_body)


def want_an_offer(world: World, phone: Phone) -> None:
    if phone.confirmed:
        world.random.choice(phone.confirmed).request_offer()


def answer_late(_: World, phone: Phone) -> None:
    phone.answer_one()


def press_a_digit(world: World, phone: Phone) -> None:
    if phone.confirmed:
        body = b"Signal=1\r\nDuration=160\r\n"
        world.random.choice(phone.confirmed).info("application/dtmf-relay", body)


def vanish(world: World, _: Phone) -> None:
    """The client behind some leg of a live call."""
    if world.calls:
        call = world.random.choice(list(world.calls))
        call.leg_event(world.random.choice(call.legs), Away())


def come_back(world: World, _: Phone) -> None:
    """Somebody with its media as it was, whether it was missed or not."""
    if world.calls:
        call = world.random.choice(list(world.calls))
        call.leg_event(world.random.choice(call.legs), Returned())


def hang_up(world: World, phone: Phone) -> None:
    """Also of what only rings yet, and of what is being set up."""
    if phone.sessions and world.random.random() < 0.4:
        world.random.choice(phone.sessions).hangup()


def lose_media(world: World, _: Phone) -> None:
    """What carries the media of a call is gone, and another transport stands ready."""
    if world.calls and isinstance(world.engine, FakeEngine):
        call = world.random.choice(list(world.calls))
        if call.id in world.engine.calls:
            world.engine.lose(call.id)


def lose_a_connection(world: World, phone: Phone) -> None:
    """Of one phone, with all that was on it."""
    if world.gateway.transport != "udp":
        cut(world.network, world.gateway, phone.node)


DEEDS: tuple[tuple[Deed, int], ...] = (
    (dial, 3),
    (ring, 2),
    (ring_with_media, 1),
    (pick_up, 4),
    (reject, 1),
    (change, 3),
    (refresh, 1),
    (want_an_offer, 1),
    (answer_late, 1),
    (press_a_digit, 1),
    (vanish, 1),
    (come_back, 2),
    (hang_up, 2),
    (lose_a_connection, 1),
    (lose_media, 1),
)


async def calm_down(world: World) -> None:
    """The weather clears, everybody answers what is asked, who is away returns; what is open comes to its end."""
    world.network.weather = Weather()
    world.malformed = 0.0
    for phone in world.phones:
        phone.well_behaved = True
        while phone.open:
            phone.answer_one()
    for call in list(world.calls):
        for leg in call.machine.away:
            call.leg_event(leg, Returned())
    await world.run(120)


def assert_both_sides_agree(world: World) -> int:
    """What each side of a dialog committed last is what the other committed, and who talks is joined; how many."""
    ours = {session.call_id: session for session in world.gateway.core.sessions}
    compared = 0
    for phone in world.phones:
        for session in phone.confirmed:
            other = ours[session.call_id]
            assert session.local_body == other.remote_body
            assert session.remote_body == other.local_body
            compared += 1
    for call in world.calls:
        if call.state is State.CONNECTED:
            one, other_leg = call.legs
            assert world.joined(call.id, one.party.tag) == other_leg.party.tag
    return compared


def assert_nothing_is_left(world: World) -> None:
    """No call, leg, session, dialog, transaction, timer or media party."""
    assert len(world.calls) == 0
    assert world.media_left == 0
    assert world.announced == 0
    assert world.timers.pending == 0
    assert all(call.state is State.ENDED for call in world.placed)
    for node in world.cores:
        assert is_idle(node.core), node.address
        assert node.core.deadline() is None


@by_row("road", ROADS)
@by_row("seed", range(6))
async def test_whatever_happens_in_whatever_order_nothing_is_left(
    seed: int, road: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Holds, refreshes, crossing offers, forks, loss, flows and clients that vanish: both sides agree, all ends."""
    await walk(ROADS[road](seed), STEPS, caplog)


@pytest.mark.parametrize("seed", range(2))
async def test_the_same_holds_with_the_engine_that_calls_really_have(
    seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """What a fake engine would let pass, a party without an agreement or a port twice, this one refuses."""
    async with running() as (engine, _):
        await walk(World(seed, BAD, engine=engine), REAL_STEPS, caplog)


async def walk(world: World, steps: int, caplog: pytest.LogCaptureFixture) -> None:
    """Some hundred steps at random, then everything comes to its end."""
    deeds, weights = zip(*DEEDS, strict=True)
    with capture_logs() as lines, caplog.at_level(logging.ERROR):
        for _ in range(steps):
            [deed] = world.random.choices(deeds, weights)
            deed(world, world.random.choice(world.phones))
            await world.run(world.random.choice([0.05, 0.1, 0.3, 1.0, 3.0]))
        await calm_down(world)
        world.phones[0].call("4")
        await world.run(1)
        assert world.announced == 1, "the gateway does not say any more why a call has failed"
        await world.run(20)
        world.phones[0].call("3")
        await world.run(3)
        pick_up(world, world.phones[1])
        await world.run(3)
        assert assert_both_sides_agree(world) >= 2, "the gateway does not connect calls any more"
        for phone in world.phones:
            for session in phone.sessions:
                session.hangup()
        await world.run(300)
    assert_nothing_is_left(world)
    assert [line for line in lines if line["log_level"] == "error"] == []
    assert caplog.records == []
    reached = {step.state for call in world.placed for step in call.history}
    assert {State.CONNECTED, State.EXCHANGING, State.AWAY, State.ENDED} <= reached
