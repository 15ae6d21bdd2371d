"""How a call of the Python client is left, whatever the gateway says to it."""

from __future__ import annotations

import asyncio

import pytest

from gateway.client import Call, ClientError, SessionState
from tests.rows import by_row


class Api:
    """A gateway that answers each close with that error."""

    def __init__(self, error: ClientError) -> None:
        self.error = error
        self.closed = 0

    async def session(self, session_id: str, *, unlike: str | None = None) -> SessionState:
        raise self.error

    async def close_session(self, session_id: str, reason: str | None = None) -> None:
        self.closed += 1
        raise self.error


def call_of(api: Api) -> Call:
    """One that the gateway has taken."""
    call = Call([], None)
    call.attach("s", api)
    return call


@pytest.mark.parametrize(("code", "cause"), [(404, None), (408, "media-failed")])
async def test_a_call_that_has_ended_already_is_left_without_an_error(code: int, cause: str | None) -> None:
    """Also one whose media never came through; as often as one likes, and it is asked once."""
    api = Api(ClientError("over", code=code, cause=cause))
    async with call_of(api) as call:
        await call.hang_up()
    assert (api.closed, call.state, call.connection.connectionState) == (1, "ended", "closed")


@by_row(("code", "cause"), [(0, None), (403, None), (408, None), (408, "no-answer")])
async def test_a_call_that_cannot_be_ended_says_so_but_not_in_place_of_the_blocks_own_error(
    code: int, cause: str | None
) -> None:
    """Its connection is closed all the same."""
    refusal = ClientError("no", code=code, cause=cause)
    with pytest.raises(ClientError) as told:
        async with call_of(Api(refusal)) as call:
            pass
    assert told.value is refusal
    assert call.connection.connectionState == "closed"
    with pytest.raises(ZeroDivisionError):
        async with call_of(Api(refusal)) as call:
            raise ZeroDivisionError
    assert call.connection.connectionState == "closed"


async def test_a_call_that_is_left_while_its_connection_closes_is_closed_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever gives up the goodbye leaves no media behind, and who says it once more does not wait for ever."""
    call = call_of(Api(ClientError("over", code=404)))
    transceiver, closes, may_go_on = call.connection.addTransceiver("audio"), asyncio.Event(), asyncio.Event()
    stop = transceiver.stop

    async def slowly() -> None:
        closes.set()
        await may_go_on.wait()
        await stop()

    monkeypatch.setattr(transceiver, "stop", slowly)
    leaving = asyncio.create_task(call.hang_up())
    async with asyncio.timeout(30):
        await closes.wait()
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        may_go_on.set()
        await call.hang_up()
    assert call.connection.connectionState == "closed"
