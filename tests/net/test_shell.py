"""The shell between sockets and core: nobody's mistake stops the others, and everything can be seen passing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest
import uvloop

from gateway.net import (
    Answered,
    Confirmed,
    Ended,
    Failed,
    Flow,
    IncomingSession,
    Provisional,
    UserAgent,
    UserAgentConfig,
)
from gateway.net.shell import Shell
from gateway.net.tap import Direction
from gateway.sip.invite.resumed import session_values
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.parser import parse_message
from gateway.sip.message.uri import Uri
from tests.net.peers import ANSWER, OFFER, Application, Recorder, address, answering, started
from tests.ports import free_port


async def call_to_nobody(transport: str) -> Failed:
    agent = await started(Application(), listen_tcp=(("127.0.0.1", 0),))
    try:
        uri = f"sip:bob@127.0.0.1:{free_port()};transport={transport}"
        recorder = Recorder(agent.invite(uri, caller="alice", body=OFFER))
        event = await recorder.wait(Failed, 3.0)
        assert isinstance(event, Failed)
        return event
    finally:
        await agent.close()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_peer_that_is_down_is_known_at_once(transport: str) -> None:
    """ICMP and connection refused end the request with 503 long before timer B."""
    assert (await call_to_nobody(transport)).status == 503


def test_a_peer_that_is_down_is_known_at_once_on_uvloop() -> None:
    """The gateway's own event loop reads the error queue as well."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(call_to_nobody("udp")).status == 503


async def ask_each_other_after_errors() -> None:
    """Some of nobody, so that each error comes while others are dealt with as well; then one another."""
    one, other = await started(Application()), await started(Application())
    try:
        nobody = f"sip:127.0.0.1:{free_port()}"
        for at_once in (1, 1, 5):
            asked = await asyncio.gather(*(one.options(nobody) for _ in range(at_once)))
            assert {response.status for response in asked} == {503}
            async with asyncio.timeout(30):
                assert (await other.options(f"sip:127.0.0.1:{one.listening[0][2]}")).status == 200
                assert (await one.options(f"sip:127.0.0.1:{other.listening[0][2]}")).status == 200
    finally:
        await asyncio.gather(one.close(), other.close())


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_peer_that_is_down_makes_nobody_deaf(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """An ICMP error of one peer; libuv watches a socket no more once it has seen an error there."""
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(ask_each_other_after_errors())


async def test_a_forged_icmp_ends_nothing() -> None:
    """Only the branch of our own request makes it ours; a dead port says nothing of another's request."""
    agent = await started(Application(lambda session, _: session.ring()))
    other = await started(Application())
    try:
        recorder = Recorder(other.invite(address(agent), caller="alice", body=OFFER))
        shell = other._shell
        for data in (b"", b"INVITE", b"INVITE sip:x SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKguess\r\n"):
            shell.unreachable(data, Flow("udp", "127.0.0.1", agent.listening[0][2]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert other.counts["stray unreachable"] == 3
        [transaction] = [one for one in other._core.stack._clients.values() if one.request.method == "INVITE"]
        sent = transaction.request.write()
        shell.unreachable(sent, Flow("udp", "127.0.0.2", agent.listening[0][2]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert other.counts["stray unreachable"] == 4, "the branch is ours, the host that is said to be down is not"
        assert recorder.events == [] or not isinstance(recorder.events[-1], Failed)
    finally:
        await other.close()
        await agent.close()


async def test_a_datagram_that_the_kernel_does_not_take_ends_its_own_request_alone() -> None:
    """A firewall's EPERM, or a network that is away: a call that rings at the same peer goes on (RFC 3261 18.4)."""
    calls: list[IncomingSession] = []

    def ring(session: IncomingSession, _: Recorder) -> None:
        session.ring()
        calls.append(session)

    agent, other = await started(Application(ring)), await started(Application())
    [listener] = other._shell.endpoint._udp
    real = listener._sock

    class Firewall:
        def sendto(self, *_: object) -> int:
            raise PermissionError

        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

    try:
        recorder = Recorder(other.invite(address(agent), caller="alice", body=OFFER))
        await recorder.wait(Provisional)
        listener._sock = Firewall()  # type: ignore[assignment]
        asked = await asyncio.wait_for(other.options(address(agent)), 30)
        listener._sock = real
        assert asked.status == 503
        calls[0].answer(ANSWER)
        await recorder.wait(Answered)
    finally:
        listener._sock = real
        await other.close()
        await agent.close()


async def test_an_exception_in_one_step_stalls_nobody_elses_timers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The core is drained and the timer armed again, whatever a message or a timer broke."""
    agent = await started(Application())
    shell = agent._shell
    try:

        def broken(*_: object) -> None:
            raise RuntimeError("a bug in one call")

        ticked = asyncio.Event()
        real = shell.core.handle_timer

        def handle_timer() -> None:
            if not ticked.is_set():
                ticked.set()
                raise RuntimeError("a bug in one timer")
            real()

        monkeypatch.setattr(shell.core, "receive", broken)
        monkeypatch.setattr(shell.core, "handle_timer", handle_timer)
        # A request to somebody who is there and does not answer: only its timer can send it again.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            silent.setblocking(False)
            session = agent.invite(f"sip:bob@127.0.0.1:{silent.getsockname()[1]}", caller="alice", body=OFFER)
            shell.datagram(b"anything", Flow("udp", "127.0.0.1", 9))
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(30):
                first = await loop.sock_recv(silent, 65_535)
                again = await loop.sock_recv(silent, 65_535)
            assert first == again
            assert ticked.is_set()
            session.hangup()
        assert agent.counts["mistake of our own"] == 2
        assert "a bug in one call" in caplog.text
    finally:
        monkeypatch.undo()
        await agent.close()


async def test_a_socket_that_fails_for_one_message_sends_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each message is sent by itself."""
    agent = await started(Application())
    shell = agent._shell
    sent: list[bytes] = []

    def send(data: bytes, flow: Flow) -> None:
        if data == b"first":
            raise RuntimeError("no")
        sent.append(data)

    monkeypatch.setattr(shell.endpoint, "send", send)
    monkeypatch.setattr(shell.core, "datagrams", lambda: [(b"first", FLOW), (b"second", FLOW)])
    shell._drain()
    assert sent == [b"second"]
    monkeypatch.undo()
    await agent.close()


FLOW = Flow("udp", "127.0.0.1", 9)


class Seen:
    """A tap that keeps what it sees, and then fails if it is told to."""

    def __init__(self, *, fails: bool = False) -> None:
        self.messages: list[tuple[Direction, str, Flow, float]] = []
        self.octets: list[bytes] = []
        self._fails = fails

    def message(self, direction: Direction, data: bytes, flow: Flow, time: float) -> None:
        self.octets.append(data)
        self.messages.append((direction, data.partition(b"\r\n")[0].decode(), flow, time))
        if self._fails:
            raise RuntimeError("a tap's own mistake")


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_tap_sees_every_message_in_and_out(transport: str, caplog: pytest.LogCaptureFixture) -> None:
    """With direction, flow and time, in order; one that fails hurts nobody, and a removed one sees no more."""

    def on_call(session, recorder) -> None:  # type: ignore[no-untyped-def]
        session.answer(ANSWER)

    tcp = (("127.0.0.1", 0),)
    alice, bob = await started(Application(), listen_tcp=tcp), await started(Application(on_call), listen_tcp=tcp)
    seen, failing = Seen(), Seen(fails=True)
    alice.taps.add(seen)
    alice.taps.add(failing)
    try:
        port = next(port for kind, _, port in bob.listening if kind == transport)
        uri = f"sip:bob@127.0.0.1:{port};transport={transport}"
        recorder = Recorder(alice.invite(uri, caller="alice", body=OFFER))
        await recorder.wait(Answered)
        lines = [
            (direction.value, line.split(" ")[0 if direction is Direction.OUT else 1])
            for direction, line, _, _ in seen.messages
        ]
        assert lines[0] == ("out", "INVITE")
        assert ("in", "200") in lines
        assert lines[-1] == ("out", "ACK")
        assert failing.messages == seen.messages
        for data in seen.octets:
            parse_message(data)
        assert {flow.transport for _, _, flow, _ in seen.messages} == {transport}
        times = [time for *_, time in seen.messages]
        assert times == sorted(times)
        alice.taps.remove(seen)
        count = len(seen.messages)
        shell: Shell = alice._shell
        shell.datagram(b"\r\n\r\n", FLOW)
    finally:
        await alice.close()
        await bob.close()
    assert len(seen.messages) == count
    assert "a tap failed" in caplog.text


async def test_an_agent_without_taps_shows_nothing() -> None:
    """The default."""
    agent = await started(Application())
    assert not agent.taps
    await agent.close()
    assert isinstance(agent.config, UserAgentConfig)


async def test_a_tap_sees_what_a_stream_brought_and_nobody_could_use() -> None:
    """The octets as they came, the body that was passed over with them; the answer; and no keep-alive."""
    broken = (
        b"INVITE sip:bob@here SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bKb\r\nTo x\r\nContent-Length: 4\r\n\r\nbody"
    )
    agent = await started(Application(), listen_tcp=(("127.0.0.1", 0),))
    seen = Seen()
    agent.taps.add(seen)
    [port] = [port for kind, _, port in agent.listening if kind == "tcp"]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"\r\n\r\n" + broken)
        answer = await reader.readuntil(b"\r\n\r\n")
        while not answer.strip():
            answer = await reader.readuntil(b"\r\n\r\n")
    finally:
        writer.close()
        await agent.close()
    assert answer.lstrip().startswith(b"SIP/2.0 400 ")
    assert [direction for direction, *_ in seen.messages] == [Direction.IN, Direction.OUT]
    assert seen.messages[0][1] == broken.partition(b"\r\n")[0].decode()
    assert seen.octets[0] == broken


async def test_nothing_is_sent_while_it_waits() -> None:
    """What comes is dealt with, and what that says goes out afterwards, but for calls that were left."""
    waits = False
    ours = Application(answering)
    alice, bob = await started(Application()), await started(ours)
    seen_by_bob = Seen()
    go_on = bob.share(lambda: True, lambda: waits)
    try:
        sessions = [alice.invite(address(bob), caller="alice", body=OFFER) for _ in range(2)]
        calls = [Recorder(session) for session in sessions]
        for call in calls:
            await call.wait(Answered)
        theirs = {call.session.call_id: call for call in [await ours.calls.get() for _ in calls]}
        for call in theirs.values():
            await call.wait(Confirmed)
        waits = True
        for session in sessions:
            theirs[session.call_id].session.hangup()
        bob.taps.add(seen_by_bob)
        question = asyncio.create_task(alice.options(address(bob)))
        async with asyncio.timeout(30):
            while not seen_by_bob.messages:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        assert not any(isinstance(event, Ended) for call in calls for event in call.events)
        bob.leave({sessions[0].call_id})
        waits = False
        go_on()
        assert (await question).status == 200
        await calls[1].wait(Ended)
        assert not any(isinstance(event, Ended) for event in calls[0].events)
    finally:
        await alice.close()
        await bob.close()


async def test_what_a_resumed_call_is_to_say_is_said_without_being_asked() -> None:
    """A 200 that was not acknowledged is repeated by the next process, though nothing comes from anybody."""
    application = Application()
    first = await started(application)
    place = ("127.0.0.1", first.listening[0][2])
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        caller.setblocking(False)
        caller.bind(("127.0.0.1", 0))
        here = f"127.0.0.1:{caller.getsockname()[1]}"
        invite = build.request(
            "INVITE",
            Uri.parse(f"sip:bob@127.0.0.1:{place[1]}"),
            from_=NameAddr.parse(f"<sip:alice@{here}>;tag=a1"),
            to=NameAddr.parse(f"<sip:bob@127.0.0.1:{place[1]}>"),
            call_id="left-alone",
            cseq=1,
            contact=NameAddr.parse(f"<sip:alice@{here}>"),
            headers=[("Via", f"SIP/2.0/UDP {here};branch=z9hG4bKleftalone")],
            body=OFFER,
            content_type="application/sdp",
        )
        caller.sendto(invite.write(), place)

        async def heard() -> bytes:
            async with asyncio.timeout(30):
                while not (data := await loop.sock_recv(caller, 65_535)).startswith(b"SIP/2.0 200"):
                    pass
                return data

        session = (await asyncio.wait_for(application.calls.get(), 30)).session
        assert isinstance(session, IncomingSession)
        session.answer(ANSWER)
        answer, values = await heard(), session_values(session)
        assert values is not None
        await first._shell.close()  # as one that was killed

        def resume() -> None:
            following.resume(values, 0.0)

        following = UserAgent(UserAgentConfig(listen=(place,), close_timeout=0.1), Application())
        await following.start(resume)
        try:
            assert await heard() == answer
        finally:
            await following.close()
