"""The user agent on real sockets: life, hooks, names, registration."""

from __future__ import annotations

import asyncio
import socket

import pytest
import uvloop

from gateway.net import (
    Accepted,
    Answered,
    Confirmed,
    Credentials,
    Ended,
    Failed,
    Flow,
    IncomingSession,
    InfoReceived,
    InviteSession,
    OfferAnswered,
    Offered,
    Provisional,
    Refused,
    Registration,
    RegistrationPolicy,
    Reply,
    UserAgent,
    UserAgentConfig,
    Verdict,
)
from gateway.net.resolver import ResolverConfig
from gateway.sip.auth.server import DigestResult, DigestServer, ha1_of
from gateway.sip.message.message import Request
from gateway.sip.transactions import Timers
from gateway.sip.transactions.config import StackConfig
from tests.net.peers import ANSWER, OFFER, Application, Recorder, address, started


def answering(session: IncomingSession, recorder: Recorder) -> None:
    session.ring()
    session.answer(ANSWER)


async def whole_call() -> None:
    """A call with everything in it, between two agents."""
    application = Application(answering)
    alice, bob = await started(Application()), await started(application)
    try:
        session = alice.invite(address(bob), caller="alice", body=OFFER)
        ours = Recorder(session)
        assert await ours.wait(Answered) == Answered(ANSWER, 1)
        theirs = application.calls.get_nowait()
        assert isinstance(theirs.session, IncomingSession)
        assert (theirs.session.initial_offer, theirs.session.identity) == (OFFER, "tester")
        await theirs.wait(Confirmed)
        session.info("application/dtmf-relay", b"Signal=5\r\n")
        assert await theirs.wait(InfoReceived) == InfoReceived("application/dtmf-relay", b"Signal=5\r\n")
        held = ANSWER + b"a=sendonly\r\n"
        theirs.session.offer(held)
        assert await ours.wait(Offered) == Offered(2, held)
        session.answer_offer(2, OFFER)
        assert await theirs.wait(OfferAnswered) == OfferAnswered(2, 200, OFFER)
        theirs.session.hangup('Q.850;cause=16;text="bye"')
        assert await ours.wait(Ended) == Ended("remote", None, 16, "bye")
        await theirs.wait(Ended)
        assert (alice.calls, bob.calls) == (0, 0)
    finally:
        await alice.close()
        await bob.close()


async def test_a_whole_call_between_two_agents() -> None:
    """Ring, answer, digit, re-offer from the callee, hang up by the callee."""
    await whole_call()


def test_a_whole_call_on_uvloop() -> None:
    """The shell uses nothing that only asyncio's own loop has."""
    uvloop.run(whole_call())


async def test_port_0_takes_a_free_port_and_a_taken_port_is_an_oserror() -> None:
    """`listening` names real ports; nothing stays bound after a failed start."""
    first = await started(Application())
    transport, host, port = first.listening[0]
    assert (transport, host) == ("udp", "127.0.0.1")
    assert port > 0
    second = UserAgent(UserAgentConfig(listen=(("127.0.0.1", 0), (host, port))), Application())
    with pytest.raises(OSError):
        await second.start()
    assert second.listening == ()
    await first.close()


async def test_close_hangs_up_every_call() -> None:
    """Answered, ringing in and ringing out: each far end hears of it."""
    application = Application()
    alice, bob = await started(Application()), await started(application)
    for _ in range(2):
        Recorder(alice.invite(address(bob), caller="alice", body=OFFER))
    calls = [await application.calls.get() for _ in range(2)]
    first = calls[0].session
    assert isinstance(first, IncomingSession)
    first.answer(ANSWER)
    await calls[0].wait(Confirmed)
    await alice.close()
    ended = [await call.wait(Ended) for call in calls]
    assert {event.by for event in ended if isinstance(event, Ended)} == {"remote"}
    await bob.close()


async def test_close_is_bounded_when_nobody_answers() -> None:
    """A dead far end holds the shutdown up for `close_timeout`, no longer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as dead:
        dead.bind(("127.0.0.1", 0))
        alice = await started(Application(), close_timeout=0.2)
        alice.invite(f"sip:bob@127.0.0.1:{dead.getsockname()[1]}", caller="alice", body=OFFER)
        async with asyncio.timeout(20):
            await alice.close()
    await alice.close()


async def test_a_request_whose_answer_nobody_waits_for_is_sent_no_more() -> None:
    """Whoever gave it up has asked somebody else by then."""
    alice = await started(Application())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.setblocking(False)
        silent.bind(("127.0.0.1", 0))
        asked = asyncio.ensure_future(alice.options(f"sip:bob@127.0.0.1:{silent.getsockname()[1]}"))
        async with asyncio.timeout(30):
            assert await asyncio.get_running_loop().sock_recv(silent, 65536)
            assert alice.timers > 0
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
            await asyncio.sleep(0)
            assert alice.timers == 0
    await alice.close()


async def test_a_hook_that_fails_is_a_503() -> None:
    """The exception stays here; the caller may try another server."""

    class Broken(Application):
        async def authenticate(self, request: Request, source: Flow) -> Verdict:
            raise RuntimeError("store is gone")

    alice, bob = await started(Application()), await started(Broken())
    failed = await Recorder(alice.invite(address(bob), caller="alice", body=OFFER)).wait(Failed)
    assert isinstance(failed, Failed)
    assert failed.status == 503
    await alice.close()
    await bob.close()


async def test_a_hook_that_dawdles_is_a_503() -> None:
    """After `hook_timeout`."""

    class Slow(Application):
        async def authenticate(self, request: Request, source: Flow) -> Verdict:
            await asyncio.Event().wait()
            return Accepted()

    alice, bob = await started(Application()), await started(Slow(), hook_timeout=0.05)
    response = await alice.options(address(bob))
    assert response.status == 503
    await alice.close()
    await bob.close()


async def test_a_failing_call_hook_rejects_the_call() -> None:
    """480 rather than a call that nobody has."""

    class Broken(Application):
        def invited(self, session: InviteSession, identity: str | None) -> None:
            raise RuntimeError("no")

    alice, bob = await started(Application()), await started(Broken())
    failed = await Recorder(alice.invite(address(bob), caller="alice", body=OFFER)).wait(Failed)
    assert isinstance(failed, Failed)
    assert failed.status == 480
    await alice.close()
    await bob.close()


async def test_options_tells_whether_a_trunk_lives() -> None:
    """200 with Allow from a live one, 503 at once where nobody listens, 408 from one that is silent."""
    quick = StackConfig(timers=Timers(t1=0.005))
    alice, bob = await started(Application(), stack=quick), await started(Application())
    response = await alice.options(address(bob))
    assert response.status == 200
    assert "INVITE" in response.allow
    gone = address(bob)
    await bob.close()
    assert (await alice.options(gone)).status == 503
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        assert (await alice.options(f"sip:bob@127.0.0.1:{silent.getsockname()[1]}")).status == 408
    await alice.close()


async def test_a_name_is_resolved_before_the_call() -> None:
    """By the hosts table here; an unknown name fails the call with 503."""
    application = Application(answering)
    bob = await started(application)
    port = bob.listening[0][2]
    resolver = ResolverConfig(hosts=(("bob.test", ("127.0.0.1",)),), nameservers=("127.0.0.1",), port=port, timeout=0.2)
    alice = await started(Application(), resolver=resolver)
    recorder = Recorder(alice.invite(f"sip:bob@bob.test:{port}", caller="alice", body=OFFER))
    await recorder.wait(Answered)
    failed = await Recorder(alice.invite("sip:bob@nobody.test", caller="alice", body=OFFER)).wait(Failed)
    assert isinstance(failed, Failed)
    assert failed.status == 503
    await alice.close()
    await bob.close()


async def test_received_sends_to_the_flow_whatever_the_uri_says() -> None:
    """A phone behind NAT is reached where it registered from."""
    application = Application(answering)
    alice, bob = await started(Application()), await started(application)
    port = bob.listening[0][2]
    session = alice.invite("sip:bob@10.99.99.99:5060", caller="alice", body=OFFER, received=f"udp:127.0.0.1:{port}")
    recorder = Recorder(session)
    await recorder.wait(Answered)
    theirs = application.calls.get_nowait()
    await theirs.wait(Confirmed)
    assert theirs.session.request.uri.host == "10.99.99.99"
    session.hangup()
    await theirs.wait(Ended)
    await alice.close()
    await bob.close()


async def test_the_caller_can_be_a_user_an_address_or_a_name() -> None:
    """From takes the first of our domains where only a user is given."""
    application = Application()
    bob = await started(application)
    alice = await started(Application(), domains=("gateway.example",))
    seen = []
    for caller in ("alice", "sip:carol@other.example", '"Dave" <sip:dave@other.example>'):
        alice.invite(address(bob), caller=caller, body=OFFER)
        recorder = await application.calls.get()
        sender = recorder.session.request.from_
        seen.append((str(sender.uri), sender.display_name))
    assert seen == [
        ("sip:alice@gateway.example", ""),
        ("sip:carol@other.example", ""),
        ("sip:dave@other.example", "Dave"),
    ]
    await alice.close()
    await bob.close()


async def test_garbage_does_not_disturb_a_call() -> None:
    """A thousand strange datagrams while a call is set up."""
    application = Application(lambda session, _: session.ring())
    alice, bob = await started(Application()), await started(application)
    _, host, port = bob.listening[0]
    recorder = Recorder(alice.invite(address(bob), caller="alice", body=OFFER))
    await recorder.wait(Provisional)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as noise:
        for number in range(1000):
            noise.sendto(bytes((number * 7 + i) % 256 for i in range(number % 200)), (host, port))
            if number % 100 == 0:
                await asyncio.sleep(0)
    callee = application.calls.get_nowait().session
    assert isinstance(callee, IncomingSession)
    callee.answer(ANSWER)
    await recorder.wait(Answered)
    await alice.close()
    await bob.close()


class Upstream(Application):
    """A registrar with digest."""

    def __init__(self) -> None:
        super().__init__()
        self.digest = DigestServer("trunk.example", b"s" * 32)
        self.expires = "1"
        self.status = 200
        self.news = asyncio.Event()

    async def authenticate(self, request: Request, source: Flow) -> Verdict:
        now = asyncio.get_running_loop().time()
        secret = {name: ha1_of(name, "acct", "trunk.example", "pw") for name in ("SHA-256", "MD5")}
        checked = self.digest.check(request, lambda *_: secret, now)
        if checked.result is DigestResult.OK:
            return Accepted(checked.username)
        challenges = self.digest.challenges(now, salt=b"salt")
        return Refused(401, headers=tuple(("WWW-Authenticate", str(one)) for one in challenges))

    async def answer_register(self, request: Request, source: Flow, identity: str | None) -> Reply:
        self.registered.append(request)
        self.news.set()
        return Reply(self.status, headers=(("Expires", self.expires),))


async def test_a_registration_is_made_kept_fresh_and_taken_back() -> None:
    """Digest, refresh before the end, Expires 0 at the close."""
    trunk = Upstream()
    upstream, agent = await started(trunk), await started(Application())
    changes: list[tuple[bool, int]] = []
    registration = await agent.register(
        address(upstream).replace("bob@", ""),
        aor="sip:acct@trunk.example",
        credentials=Credentials("acct", "pw"),
        policy=RegistrationPolicy(shortest_refresh=0.05),
        changed=lambda one: changes.append((one.registered, one.status)),
    )
    assert registration.registered
    assert registration.expires == 1
    async with asyncio.timeout(30):
        while len(trunk.registered) < 2:
            trunk.news.clear()
            await trunk.news.wait()
    await agent.close()
    assert [request.expires for request in trunk.registered] == [3600, 3600, 0]
    assert len({request.call_id for request in trunk.registered}) == 1
    numbers = [request.cseq.number for request in trunk.registered]
    assert numbers == sorted(set(numbers))
    assert changes == [(True, 200), (False, 200)]
    await upstream.close()


async def test_a_wrong_password_is_not_tried_again_at_once() -> None:
    """401 twice is final; the next try comes after the pause."""
    trunk = Upstream()
    upstream, agent = await started(trunk), await started(Application())
    registration: Registration = await agent.register(
        address(upstream).replace("bob@", ""), aor="sip:acct@trunk.example", credentials=Credentials("acct", "wrong")
    )
    assert (registration.registered, registration.status, trunk.registered) == (False, 401, [])
    await agent.close()
    await upstream.close()


async def test_a_registrar_that_wants_a_longer_time_gets_it() -> None:
    """423 with Min-Expires is obeyed at once (RFC 3261 10.2.8)."""

    class Patient(Upstream):
        async def answer_register(self, request: Request, source: Flow, identity: str | None) -> Reply:
            await super().answer_register(request, source, identity)
            if (request.expires or 0) < 600:
                return Reply(423, headers=(("Min-Expires", "600"),))
            return Reply(200, headers=(("Expires", "600"),))

    trunk = Patient()
    upstream, agent = await started(trunk), await started(Application())
    registration = await agent.register(
        address(upstream).replace("bob@", ""),
        aor="sip:acct@trunk.example",
        credentials=Credentials("acct", "pw"),
        policy=RegistrationPolicy(expires=60),
    )
    assert (registration.registered, registration.expires) == (True, 600)
    assert [request.expires for request in trunk.registered] == [60, 600]
    await agent.close()
    await upstream.close()


async def test_a_refused_registration_is_tried_again_after_the_pause() -> None:
    """First failure, pause, success: the listener hears of both."""
    trunk = Upstream()
    trunk.status, trunk.expires = 500, "600"
    upstream, agent = await started(trunk), await started(Application())
    changes: list[tuple[bool, int]] = []
    up = asyncio.Event()

    def changed(one: Registration) -> None:
        changes.append((one.registered, one.status))
        if one.registered:
            up.set()

    await agent.register(
        address(upstream).replace("bob@", ""),
        aor="sip:acct@trunk.example",
        credentials=Credentials("acct", "pw"),
        policy=RegistrationPolicy(retry_first=0.05),
        changed=changed,
    )
    trunk.status = 200
    async with asyncio.timeout(30):
        await up.wait()
    assert changes == [(False, 500), (True, 200)]
    await agent.close()
    await upstream.close()


async def test_a_registrar_that_takes_over_is_signed_to_as_well() -> None:
    """Credentials are for the addresses of one server alone, and the next one has others."""
    down, spare = Upstream(), Upstream()
    down.status, spare.expires = 503, "600"
    first, agent = await started(down), await started(Application())
    second = UserAgent(UserAgentConfig(listen=(("127.0.0.2", 0),)), spare)
    await second.start()
    up = asyncio.Event()
    try:
        registration = await agent.register(
            *(address(one).replace("bob@", "") for one in (first, second)),
            aor="sip:acct@trunk.example",
            credentials=Credentials("acct", "pw"),
            policy=RegistrationPolicy(retry_first=0.05),
            answered=lambda one: up.set() if one.status != 503 else None,
        )
        assert (registration.status, len(down.registered)) == (503, 1)
        async with asyncio.timeout(30):
            await up.wait()
        assert (registration.status, len(spare.registered)) == (200, 1)
    finally:
        for one in (agent, second, first):
            await one.close()


@pytest.mark.serial
async def test_a_flood_of_registers_holds_nothing_and_does_not_keep_a_call_out() -> None:
    """20,000 requests of one address: no transaction is left, and another address still gets its call in a second."""
    application = Application(answering)
    bob = await started(application)
    _, host, port = bob.listening[0]
    loop = asyncio.get_running_loop()

    def flood(noise: socket.socket, numbers: range) -> None:
        for number in numbers:
            noise.sendto(_register(number), (host, port))

    alice = UserAgent(UserAgentConfig(listen=(("127.0.0.2", 0),)), Application())
    await alice.start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as noise:
        noise.bind(("127.0.0.3", 0))
        application.verdict = Refused(401, headers=(("WWW-Authenticate", 'Digest realm="r", nonce="n"'),))
        for start in range(0, 10_000, 100):
            flood(noise, range(start, start + 100))
            await asyncio.sleep(0)
        application.verdict = Accepted("tester")
        begun = loop.time()
        recorder = Recorder(alice.invite(address(bob), caller="alice", body=OFFER))
        for start in range(10_000, 20_000, 100):
            flood(noise, range(start, start + 100))
            await asyncio.sleep(0)
        await recorder.wait(Answered)
        assert loop.time() - begun < 1.0
    assert bob.counts["over rate"] > 1000
    assert len(bob._shell.core.stack) < 200
    await alice.close()
    await bob.close()


def _register(number: int) -> bytes:
    return (
        "REGISTER sip:127.0.0.1 SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP 127.0.0.3:5060;rport;branch=z9hG4bK{number}\r\n"
        f"From: <sip:{number}@127.0.0.1>;tag={number}\r\nTo: <sip:{number}@127.0.0.1>\r\n"
        f"Call-ID: {number}\r\nCSeq: 1 REGISTER\r\nContact: <sip:{number}@127.0.0.3>\r\nContent-Length: 0\r\n\r\n"
    ).encode()


async def test_a_hook_may_tell_at_once_and_fail_at_once() -> None:
    """Without a coroutine, and so without a task; an exception is a 503 all the same."""

    class Prompt(Application):
        def authenticate(self, request: Request, source: Flow) -> Verdict:  # type: ignore[override]
            if request.method == "OPTIONS":
                raise RuntimeError("store is gone")
            return Accepted("prompt")

    alice, bob = await started(Application()), await started(Prompt(answering))
    assert (await alice.options(address(bob))).status == 503
    await Recorder(alice.invite(address(bob), caller="alice", body=OFFER)).wait(Answered)
    await alice.close()
    await bob.close()
