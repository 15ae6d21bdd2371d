"""A client whose connection is gone: its call goes on while its media does, and waits for it when that ends, too."""

from __future__ import annotations

import pytest

from gateway.call.leg import Returned
from gateway.call.state import State
from gateway.call.status import Cause
from gateway.media.engine import MediaEvent, MediaFailed, MediaTimeout
from tests.call.rig import OFFER, Rig

LOST = [MediaTimeout("c1", "callee0", 30.0), MediaFailed("c1", "callee0", "consent")]


async def media(rig: Rig, event: MediaEvent) -> None:
    rig.call.media_event(event)
    await rig.settle()


@pytest.mark.parametrize("event", LOST, ids=lambda event: type(event).__name__)
async def test_a_client_without_connection_is_waited_for_when_its_media_ends(event: MediaEvent) -> None:
    """Not before: what is heard is not silenced because a socket closed; in the end the call is given up."""
    rig = await Rig().connected()
    rig.callee.loses_signalling()
    await rig.settle()
    rig.expect(State.CONNECTED)
    await media(rig, event)
    rig.expect(State.AWAY)
    rig.timers.advance(21)
    await rig.settle()
    rig.expect(State.ENDED)
    assert rig.call.cause is Cause.LOST


@pytest.mark.parametrize("event", LOST, ids=lambda event: type(event).__name__)
async def test_a_client_with_a_connection_and_without_media_ends_its_call(event: MediaEvent) -> None:
    """It could say that it wants to wait, and does not."""
    rig = await Rig().connected()
    await media(rig, event)
    rig.expect(State.ENDED)


async def test_a_client_that_comes_back_goes_on_with_its_call() -> None:
    """Its offer is answered, and both hear each other again."""
    rig = await Rig().connected()
    rig.callee.loses_signalling()
    await media(rig, LOST[0])
    await rig.hears(rig.callee, Returned(7, OFFER))
    rig.expect(State.CONNECTED)
    assert isinstance(rig.callee.replies[7], str)
