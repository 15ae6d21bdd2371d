"""Part 4: an application. Two people at browsers and one at a desk phone, reached by names and by numbers."""

from __future__ import annotations

from gateway.lesson import check, run, table

import asyncio
import tempfile
from contextlib import AsyncExitStack

from chromium import near
from part3_calls import page_of

from gateway import Application, CallWatch, DigitPressed, Gateway, Session, State
from gateway.testing import loopback_config
from gateway.testing.peers import SoftphoneBrowser

from client import SipClient  # isort: skip  # Example 8's, by the path that part 3 has added.

USERS: list[dict[str, object]] = [
    {"id": "alice", "web": True, "display_name": "Alice"},
    {"id": "carol", "web": True, "display_name": "Carol", "aliases": ["2002"]},
    {"id": "bob", "sip": True, "display_name": "Bob"},
]
ROUTES = '[{"match": "2003", "to": "user:bob"}]'
app = Application()


@app.call("700", plays="tone")
async def reception(session: Session) -> None:
    """Answers, plays a tone, and passes the caller on to Carol at the digit 2."""
    await session.ring()
    await session.answer()
    async for event in session:
        if isinstance(event, DigitPressed) and event.digit == "2":
            await session.transfer("carol")


class Events:
    """Every call of the gateway, from its first state to its end."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, str, str]] = []
        self._following: list[asyncio.Task[None]] = []

    async def follow(self, gateway: Gateway) -> None:
        """Watch all calls, each in a task of its own."""
        async for call in gateway.calls():
            self._following.append(asyncio.create_task(self._one(call)))

    async def _one(self, call: CallWatch) -> None:
        states = [state.name.lower() async for state in call]
        cause = call.cause.word if call.cause is not None else ""
        dialled = call.dialled.removeprefix("sip:").partition("@")[0]
        self.lines.append((call.caller.user, dialled, " ".join(dict.fromkeys(states)), cause))

    async def ended(self) -> None:
        """Wait until all calls seen so far have been told to the end."""
        await asyncio.gather(*self._following)


async def browsers_talk(alice: SoftphoneBrowser, carol: SoftphoneBrowser) -> None:
    print("  alice calls carol: WebRTC to WebRTC")
    await alice.dial("carol")
    await carol.status("ringing")
    await carol.accept()
    await alice.status("talking")
    check(near(await carol.tone(523), 523), "carol hears alice's 523 Hz")
    check(near(await alice.tone(659), 659), "alice hears carol's 659 Hz")
    await carol.hang_up()
    await alice.status("ready")


async def by_number(bob: SipClient, carol: SoftphoneBrowser) -> None:
    print("  bob dials 2002, an alias of carol")
    call = bob.dial("2002")
    await carol.status("ringing")
    await carol.accept()
    check(near(await call.sound.tone("carol"), 659), "bob hears carol's 659 Hz")
    check(near(await carol.tone(784), 784), "carol hears bob's 784 Hz")
    call.hangup()
    await carol.status("ready")


async def by_route(alice: SoftphoneBrowser, bob: SipClient) -> None:
    print("  alice dials 2003, a route to bob's phone")
    await alice.dial("2003")
    call = await bob.rings()
    call.answer()
    await alice.status("talking")
    check(near(await call.sound.tone("alice"), 523), "bob hears alice's 523 Hz")
    await alice.hang_up()
    await alice.status("ready")


async def by_application(alice: SoftphoneBrowser, carol: SoftphoneBrowser) -> None:
    print("  alice dials 700, which is a program")
    await alice.dial("700")
    await alice.status("talking")
    check(near(await alice.tone(440), 440), "it plays a tone of 440 Hz")
    await alice.page.keyboard.press("2")
    await carol.status("ringing")
    await carol.accept()
    check(near(await alice.tone(659), 659), "at the digit 2 it passes her on to carol: 659 Hz")
    await alice.hang_up()
    await carol.status("ready")


async def main() -> None:
    print("Part 4: an application with three users")
    with tempfile.TemporaryDirectory() as folder:
        config = loopback_config(folder, USERS, ROUTES=ROUTES)
        async with Gateway(config, application=app) as gateway:
            await calls(gateway)


async def calls(gateway: Gateway) -> None:
    events = Events()
    following = asyncio.create_task(events.follow(gateway))
    async with AsyncExitStack() as stack:
        pages = page_of("alice", gateway, 523), page_of("carol", gateway, 659)
        alice, carol = [await stack.enter_async_context(page) for page in pages]
        phone = SipClient("bob", gateway.password("bob"), gateway.config.domain, gateway.sip_address, hz=784)
        bob = await stack.enter_async_context(phone)
        await bob.sign_in()
        await browsers_talk(alice, carol)
        await by_number(bob, carol)
        await by_route(alice, bob)
        await by_application(alice, carol)
    await gateway.idle()
    await events.ended()
    following.cancel()
    print("  What the gateway saw:")
    table(("who", "dialled", "states", "cause"), *events.lines)
    check(len(events.lines) == 4, "four calls, each told from its first state to its end")
    check(all(State.ENDED.name.lower() in states for _, _, states, _ in events.lines), "none is left")


if __name__ == "__main__":
    run(main, __doc__, log=True)
