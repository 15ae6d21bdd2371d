"""`from gateway import Gateway`: programs take calls, pass them on and watch them, with a real page on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway import Application, CallWatch, Cause, DigitPressed, Gateway, HungUp, Session, SessionError, State
from tests.interop.gateway import RpcBrowser, config_on_free_ports

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATIENCE = 30.0


class Programs:
    """The applications of this module's gateway, and what they have seen."""

    def __init__(self) -> None:
        self.application = Application(may_call=("6*", "72"))
        self.sessions: asyncio.Queue[Session] = asyncio.Queue()
        self.seen: asyncio.Queue[object] = asyncio.Queue()
        take = self.application.call
        take("70", plays="tone")(self.menu)
        take("71")(self.refuse)
        take("72", plays="echo")(self.wait)
        take("73")(self.fail)
        take("74")(self.leave)
        take("75")(self.let_ring)
        take("76")(self.stay)

    async def menu(self, session: Session) -> None:
        """Answers, then passes on by the digit that is pressed."""
        await session.ring()
        await session.answer()
        self.sessions.put_nowait(session)
        async for event in session:
            self.seen.put_nowait(event)
            if event == DigitPressed("1", 160):
                try:
                    await session.transfer("4711")
                except SessionError as error:
                    self.seen.put_nowait(error.cause)
            elif event == DigitPressed("2", 160):
                await session.transfer("72")

    async def refuse(self, session: Session) -> None:
        await session.reject(Cause.BUSY)
        with pytest.raises(SessionError):
            await session.answer()
        self.seen.put_nowait("refused")

    async def wait(self, session: Session) -> None:
        """Until the caller goes."""
        self.sessions.put_nowait(session)
        await session.answer()
        self.seen.put_nowait(await session.digit(timeout=0.05))
        self.seen.put_nowait(await session.digit())

    async def fail(self, session: Session) -> None:
        raise RuntimeError("a mistake of the program")

    async def leave(self, session: Session) -> None:
        await session.answer()

    async def let_ring(self, session: Session) -> None:
        await session.ring()
        self.sessions.put_nowait(session)
        async for event in session:
            self.seen.put_nowait(event)
        with pytest.raises(SessionError):
            await session.answer()
        self.seen.put_nowait("too late")

    async def stay(self, session: Session) -> None:
        """Does not look at its caller's end."""
        await session.answer()
        try:
            await asyncio.Event().wait()
        finally:
            self.seen.put_nowait("stopped")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def programs() -> Programs:
    return Programs()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    config = config_on_free_ports(tmp_path_factory.mktemp("gateway"))
    async with Gateway(config, application=programs.application) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def alice(gateway: Gateway) -> AsyncIterator[RpcBrowser]:
    async with RpcBrowser() as browser:
        await browser.sign_in(gateway)
        yield browser


def ended(session: Session) -> bool:
    return session.ended is not None


async def called(alice: RpcBrowser, number: str) -> None:
    await alice.dial(number)
    await alice.status("talking")


async def test_a_program_answers_hears_digits_and_the_end(
    gateway: Gateway, programs: Programs, alice: RpcBrowser
) -> None:
    """The caller hears what it plays; each digit is an event, the hang-up the last one."""
    await called(alice, "70")
    session = await asyncio.wait_for(programs.sessions.get(), PATIENCE)
    assert (session.number, session.caller.user, session.is_up) == ("70", "alice", True)
    await alice.tone(440)
    await alice.ask("dtmf", peer_id="70", digit="5")
    assert await asyncio.wait_for(programs.seen.get(), PATIENCE) == DigitPressed("5", 160)
    await alice.hang_up()
    assert await asyncio.wait_for(programs.seen.get(), PATIENCE) == HungUp(Cause.NORMAL)
    assert session.ended is Cause.NORMAL
    await gateway.idle()


async def test_a_program_passes_its_caller_on_within_its_rights(
    gateway: Gateway, programs: Programs, alice: RpcBrowser
) -> None:
    """What it may not call leaves the session as it was; then the other program has the caller, who hears itself."""
    await called(alice, "70")
    first = await asyncio.wait_for(programs.sessions.get(), PATIENCE)
    await alice.ask("dtmf", peer_id="70", digit="1")
    assert await asyncio.wait_for(programs.seen.get(), PATIENCE) == DigitPressed("1", 160)
    assert await asyncio.wait_for(programs.seen.get(), PATIENCE) is Cause.FORBIDDEN
    assert not ended(first)
    await alice.ask("dtmf", peer_id="70", digit="2")
    second = await asyncio.wait_for(programs.sessions.get(), PATIENCE)
    assert second.number == "72"
    alice.listen_anew()
    await alice.tone(523)
    assert ended(first)
    assert gateway.active_calls == 1
    await alice.hang_up()
    await gateway.idle()


async def test_a_refusal_a_mistake_and_a_return_end_the_call(
    gateway: Gateway, programs: Programs, alice: RpcBrowser
) -> None:
    """Busy is busy; a program that raises costs its own call only; one that returns hangs up."""
    while not programs.seen.empty():
        programs.seen.get_nowait()
    assert await alice.refused("71") == Cause.BUSY.word
    assert await asyncio.wait_for(programs.seen.get(), PATIENCE) == "refused"
    assert await alice.refused("73") == Cause.ERROR.word
    assert await alice.refused("74") == Cause.NORMAL.word
    await gateway.idle()
    await called(alice, "601")
    await alice.hang_up()
    await gateway.idle()


async def test_waiting_for_a_digit_ends_with_the_time_or_the_call(
    gateway: Gateway, programs: Programs, alice: RpcBrowser
) -> None:
    """None for both."""
    await called(alice, "72")
    await asyncio.wait_for(programs.sessions.get(), PATIENCE)
    assert await asyncio.wait_for(programs.seen.get(), PATIENCE) is None
    await alice.hang_up()
    assert await asyncio.wait_for(programs.seen.get(), PATIENCE) is None
    await gateway.idle()


async def test_a_caller_who_gives_up_ends_the_session(gateway: Gateway, programs: Programs, alice: RpcBrowser) -> None:
    """The end is the only event, and it is too late to answer."""
    await alice.dial("75")
    session = await asyncio.wait_for(programs.sessions.get(), PATIENCE)
    await alice.hang_up()
    assert await asyncio.wait_for(programs.seen.get(), PATIENCE) == HungUp(Cause.CANCELLED)
    assert await asyncio.wait_for(programs.seen.get(), PATIENCE) == "too late"
    assert ended(session)
    await gateway.idle()


async def test_a_gateway_that_stops_stops_its_programs(tmp_path: Path) -> None:
    """Even one that does not look at its caller's end."""
    programs = Programs()
    config = config_on_free_ports(tmp_path)
    async with RpcBrowser() as browser:
        async with Gateway(config, application=programs.application) as gateway:
            await browser.sign_in(gateway)
            await called(browser, "76")
        assert programs.seen.get_nowait() == "stopped"


async def test_calls_can_be_watched_and_ended(gateway: Gateway, alice: RpcBrowser) -> None:
    """From calling to ended with its cause, whoever listens; a watcher that stops is forgotten."""
    watched = gateway.calls()
    await alice.dial("601")
    call: CallWatch = await asyncio.wait_for(anext(watched), PATIENCE)
    assert (call.caller.user, call.dialled, call.cause) == ("alice", "601", None)
    states = []
    async for state in call:
        states.append(state)
        if state is State.CONNECTED:
            call.hang_up()
    assert states[-2:] == [State.CONNECTED, State.ENDED]
    assert call.cause is Cause.NORMAL
    await alice.status("ready")
    await gateway.idle()


async def test_a_configuration_is_a_file_or_a_mapping_too(tmp_path: Path) -> None:
    """The same keys and the same checks."""
    assert Gateway({"domain": "example.com"}).config.domain == "example.com"
    file = tmp_path / "gateway.yaml"
    file.write_text("domain: example.net\n")
    assert Gateway(file).config.domain == "example.net"
    assert Gateway().config.domain == "gateway.local"
