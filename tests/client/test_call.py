"""How a call of the Python client is left, whatever the gateway says to it."""

from __future__ import annotations

import pytest

from gateway.client import Call, ClientError, SessionState


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


@pytest.mark.parametrize(("code", "cause"), [(0, None), (403, None), (408, None), (408, "no-answer")])
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
