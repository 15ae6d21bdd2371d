"""Our user agent calls sipp."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.net import (
    Answered,
    Credentials,
    Ended,
    Failed,
    OutgoingSession,
    Provisional,
    UserAgent,
)
from tests.interop.sipp import Sipp
from tests.net.peers import OFFER, Application, Recorder, started

pytestmark = pytest.mark.wall


@asynccontextmanager
async def calling(scenario: str, **how: object) -> AsyncIterator[tuple[OutgoingSession, Recorder, Sipp, UserAgent]]:
    """Our call to a sipp that runs `scenario`; leaves when sipp has ended well."""
    agent = await started(Application())
    try:
        async with Sipp.uas(scenario) as sipp:
            await sipp.bound()
            target = f"sip:bob@127.0.0.1:{sipp.port}"
            session = agent.invite(target, caller="alice", body=OFFER, **how)  # type: ignore[arg-type]
            yield session, Recorder(session), sipp, agent
            await sipp.finish()
    finally:
        await agent.close()


@pytest.mark.parametrize("scenario", ["uas_basic", "uas_slow"])
async def test_a_callee_rings_answers_and_is_hung_up_on(scenario: str) -> None:
    """The plain call, also when the first response takes so long that the INVITE goes out again."""
    async with calling(scenario) as (session, recorder, _, _):
        answered = await recorder.wait(Answered)
        assert isinstance(answered, Answered)
        assert b"m=audio" in answered.body
        session.hangup('Q.850;cause=16;text="Normal"')
        await recorder.wait(Ended)
    assert [type(event) for event in recorder.events] == [Provisional, Answered, Ended]


async def test_a_busy_callee_fails_the_call() -> None:
    """486 is reported with its status and acknowledged."""
    async with calling("uas_busy") as (_, recorder, _, _):
        failed = await recorder.wait(Failed)
        assert isinstance(failed, Failed)
        assert failed.status == 486


async def test_a_call_can_be_taken_back_while_it_rings() -> None:
    """CANCEL goes out after the 180; 487 ends it."""
    async with calling("uas_cancel") as (session, recorder, _, _):
        await recorder.wait(Provisional)
        session.hangup()
        assert await recorder.wait(Ended) == Ended("local")


async def test_a_call_given_up_before_any_response_is_cancelled_after_the_first() -> None:
    """hangup at once: CANCEL waits for the 180 (RFC 3261 9.1)."""
    async with calling("uas_cancel") as (session, recorder, _, _):
        session.hangup()
        assert await recorder.wait(Ended) == Ended("local")


async def test_a_callee_that_hangs_up_ends_the_call_with_its_reason() -> None:
    """BYE with a Q.850 cause."""
    async with calling("uas_hangup") as (_, recorder, _, _):
        ended = await recorder.wait(Ended)
        assert ended == Ended("remote", None, 16, "Normal call clearing")


async def test_a_challenge_is_answered_with_the_credentials_of_the_call() -> None:
    """407, ACK, and a second INVITE whose digest sipp verifies."""
    async with calling("uas_auth", credentials=Credentials("alice", "secret")) as (session, recorder, _, _):
        await recorder.wait(Answered)
        session.hangup()
        await recorder.wait(Ended)


async def test_reliable_provisional_responses_are_acknowledged() -> None:
    """183 with 100rel gets its PRACK; its description is reported, the 200 has none."""
    async with calling("uas_reliable") as (session, recorder, _, _):
        provisional = await recorder.wait(Provisional)
        assert isinstance(provisional, Provisional)
        assert (provisional.status, b"m=audio" in provisional.body) == (183, True)
        assert await recorder.wait(Answered) == Answered(b"", provisional.exchange)
        session.hangup()
        await recorder.wait(Ended)
