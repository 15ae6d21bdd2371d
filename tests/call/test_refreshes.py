"""A session timer's own re-INVITE, through two real user agents and the call between them."""

from __future__ import annotations

from gateway.call.state import State
from gateway.testing.engine import FakeEngine
from gateway.testing.network import Address
from tests.call.walk import GATEWAY, PHONES, World


async def test_a_phone_that_moves_its_media_in_answer_to_a_refresh_is_heard() -> None:
    """RFC 3261 14.2: the answer to our refresh may differ from the last; it reaches the media engine."""
    world = World(1)
    world.phones[1].well_behaved = True
    world.phones[0].call("3")
    await world.run(1)
    [ringing] = world.phones[1].ringing
    ringing.answer(world.phones[1].description())
    await world.run(1)
    [call] = world.calls
    assert call.state is State.CONNECTED

    def move(source: Address, destination: Address, data: bytes) -> bytes:
        is_phones = (source, destination) == (PHONES[1], GATEWAY)
        return data.replace(b"m=audio 4000", b"m=audio 4444") if is_phones else data

    world.network.alter = move
    [session] = [one for one in world.gateway.core.sessions if one.call_id == ringing.call_id]
    session.peer_allows = frozenset({"INVITE", "ACK", "BYE"})
    assert session.modification is not None
    session.modification.refresh()
    await world.run(2)
    assert isinstance(world.engine, FakeEngine)
    answers = [request.sdp for request in world.engine.requests if request.verb == "answer" and request.sdp]
    assert "m=audio 4444" in answers[-1]
    assert call.state is State.CONNECTED
