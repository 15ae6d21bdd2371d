"""sipp calls our user agent."""

from __future__ import annotations

import asyncio

import pytest

from gateway.net import (
    Accepted,
    Confirmed,
    Ended,
    Flow,
    IncomingSession,
    InfoReceived,
    Offered,
    Refused,
    SessionEvent,
    UserAgent,
    Verdict,
)
from gateway.sip.auth.server import DigestResult, DigestServer, ha1_of
from gateway.sip.message.message import Request
from tests.interop.sipp import Sipp
from tests.net.peers import ANSWER, Application, Recorder, started

pytestmark = pytest.mark.wall


def answering(session: IncomingSession, recorder: Recorder) -> None:
    """Ring, answer, and accept every change."""
    session.ring()
    session.answer(ANSWER)


def target(agent: UserAgent) -> tuple[str, int]:
    _, host, port = agent.listening[0]
    return host, port


async def run(scenario: str, application: Application, *arguments: str, calls: int = 1) -> UserAgent:
    """Run one scenario against a fresh user agent, which is closed afterwards."""
    agent = await started(application)
    host, port = target(agent)
    # Without this sipp signs a URI without the user, which is not the one that it calls.
    signed = ("-auth_uri", f"service@{host}:{port}")
    try:
        async with Sipp.uac(scenario, (host, port), *signed, *arguments, calls=calls) as sipp:
            await sipp.finish()
    finally:
        await agent.close()
    return agent


async def test_a_caller_rings_is_answered_and_hangs_up() -> None:
    """The plain call, ten of them, from an independent user agent."""
    application = Application(answering)
    agent = await run("uac_basic", application, "-r", "50", calls=10)
    assert agent.calls == 0
    for _ in range(10):
        recorder = application.calls.get_nowait()
        assert recorder.events == [Confirmed(), Ended("remote")]


async def test_a_caller_may_give_up_while_it_rings() -> None:
    """CANCEL is answered 200 and the INVITE 487."""
    application = Application(lambda session, _: session.ring())
    await run("uac_cancel", application)
    assert application.calls.get_nowait().events == [Ended("remote")]


async def test_a_busy_callee_is_reported_and_acknowledged() -> None:
    """486 ends the INVITE."""
    application = Application(lambda session, _: session.reject(486))
    agent = await run("uac_busy", application)
    assert agent.counts.get("stray ACK", 0) == 0


async def test_a_caller_changes_the_session_and_sends_digits() -> None:
    """re-INVITE, UPDATE and INFO reach the application in order."""

    def on_call(session: IncomingSession, recorder: Recorder) -> None:
        session.ring()
        session.answer(ANSWER)
        session.listen(lambda event: happened(session, event))

    seen: list[SessionEvent] = []

    def happened(session: IncomingSession, event: SessionEvent) -> None:
        seen.append(event)
        if isinstance(event, Offered):
            session.answer_offer(event.exchange, ANSWER)
        elif isinstance(event, InfoReceived):
            session.answer_info(event.number, 200)

    await run("uac_reinvite", Application(on_call))
    assert [type(event).__name__ for event in seen] == [
        "Confirmed",
        "Offered",
        "InfoReceived",
        "Offered",
        "Ended",
    ]
    assert isinstance(seen[1], Offered)
    assert b"a=sendonly" in seen[1].body
    assert isinstance(seen[2], InfoReceived)
    assert (seen[2].content_type, seen[2].body.split()[0]) == ("application/dtmf-relay", b"Signal=5")


async def test_an_invite_without_offer_gets_ours_and_answers_in_the_ack() -> None:
    """The 200 carries our offer; the answer comes with Confirmed."""
    application = Application(answering)
    await run("uac_offerless", application)
    confirmed = application.calls.get_nowait().events[0]
    assert isinstance(confirmed, Confirmed)
    assert b"m=audio" in confirmed.body


async def test_a_lost_ack_makes_the_200_come_again() -> None:
    """The 200 is retransmitted until its ACK, and the call is confirmed once."""
    application = Application(answering)
    await run("uac_lost_ack", application)
    assert application.calls.get_nowait().events == [Confirmed(), Ended("remote")]


class Guarded(Application):
    """Lets in who proves by digest to be sipp, which knows MD5 only."""

    def __init__(self) -> None:
        super().__init__(answering)
        self.digest = DigestServer("example.com", b"k" * 32, ("MD5",))

    async def authenticate(self, request: Request, source: Flow) -> Verdict:
        now = asyncio.get_running_loop().time()
        checked = self.digest.check(request, lambda *_: {"MD5": ha1_of("MD5", "sipp", "example.com", "secret")}, now)
        if checked.result is DigestResult.OK:
            return Accepted(checked.username)
        challenges = self.digest.challenges(now, salt=b"salt")
        return Refused(401, headers=tuple(("WWW-Authenticate", str(one)) for one in challenges))


async def test_a_caller_answers_our_challenge() -> None:
    """401 without state, then the INVITE with credentials is let in."""
    application = Guarded()
    agent = await run("uac_auth", application)
    assert application.calls.qsize() == 1
    assert agent.counts["refused 401"] == 1


async def test_strange_requests_get_the_error_that_the_rfc_names() -> None:
    """481, 501, 405, 420, 415, and OPTIONS is answered."""
    application = Application(answering)
    await run("uac_strange", application)
    assert application.calls.qsize() == 0


async def test_a_caller_over_tcp_is_served_like_one_over_udp() -> None:
    """The plain call by one TCP connection."""
    application = Application(answering)
    agent = await started(application, listen_tcp=(("127.0.0.1", 0),))
    port = next(port for kind, _, port in agent.listening if kind == "tcp")
    try:
        async with Sipp.uac("uac_basic", ("127.0.0.1", port), transport="t1") as sipp:
            await sipp.finish()
    finally:
        await agent.close()
    assert application.calls.get_nowait().events == [Confirmed(), Ended("remote")]
