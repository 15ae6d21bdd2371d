"""Part 2: SIP carries WebRTC. Two browser tabs talk; two SIP stacks take their words across, candidate by candidate."""

from __future__ import annotations

from gateway.lesson import check, run, within

import asyncio
from typing import TYPE_CHECKING, Any

from chromium import Tab, chromium, near
from ladder import Ladder

import sdp
from gateway import net
from gateway.sip import Request, Response
from sdp.trickle import CONTENT_TYPE, TrickledMedia, TrickleFragment

if TYPE_CHECKING:
    from playwright.async_api import Browser

PACKAGE = "trickle-ice"


class Phone:
    """A SIP stack with a browser tab for its media."""

    session: net.InviteSession

    def __init__(self, name: str, tab: Tab) -> None:
        self.name, self.tab = name, tab
        self.agent = net.UserAgent(net.UserAgentConfig(listen=(("127.0.0.1", 0),)), self)
        self.events: asyncio.Queue[net.SessionEvent] = asyncio.Queue()
        self.done, self.taken = asyncio.Event(), list[str]()
        self._adding: list[asyncio.Task[None]] = []

    async def authenticate(self, request: Request, source: net.Flow) -> net.Verdict:
        return net.Accepted()

    def invited(self, session: net.IncomingSession, identity: str | None) -> None:
        self.take(session)

    async def answer_register(self, request: Request, source: net.Flow, identity: str | None) -> net.Reply:
        return net.Reply(501)

    def take(self, session: net.InviteSession) -> None:
        """Make this the phone's call; INFOs are looked at here, the rest waits in `events`."""
        self.session = session
        session.listen(self._happened)

    def _happened(self, event: net.SessionEvent) -> None:
        if isinstance(event, net.InfoReceived) and event.package == PACKAGE:
            self._adding.append(asyncio.create_task(self._add(event)))
        else:
            self.events.put_nowait(event)

    async def _add(self, event: net.InfoReceived) -> None:
        """Candidates of the far end, for the tab; the INFO is answered once they are in use."""
        for section in TrickleFragment.parse(event.body).media:
            self.taken += section.candidates
            for candidate in section.candidates:
                await self.tab.add(candidate, section.mid)
            if section.end_of_candidates:
                self.done.set()
        self.session.answer_info(event.number, 200)

    async def expect(self, kind: type[net.SessionEvent]) -> Any:
        """The next event, which must be of that kind."""
        async with within(8, f"{self.name} sees {kind.__name__}"):
            event = await self.events.get()
        check(isinstance(event, kind), f"{self.name} sees {type(event).__name__}")
        return event

    async def trickle(self, own: str) -> None:
        """Send each candidate of the tab in an INFO of its own, and then that there are no more (RFC 8840)."""
        section = sdp.SessionDescription.parse(own).media[0]
        ufrag, password = section.value("ice-ufrag") or "", section.value("ice-pwd") or ""
        self.sent = [one for one in await self.tab.candidates() if " udp " in one and " 127.0.0.1 " in one]
        for candidates, last in [((one,), False) for one in self.sent] + [((), True)]:
            fragment = TrickleFragment(ufrag, password, (TrickledMedia(section.mid or "0", candidates, last),))
            self.session.info(CONTENT_TYPE, str(fragment).encode(), package=PACKAGE)


async def call(alice: Phone, bob: Phone, ladder: Ladder) -> None:
    """INVITE, 100, 180, the caller's candidates while it rings, 200, ACK, the callee's candidates."""
    _, host, port = bob.agent.listening[0]
    offer = await alice.tab.offer()
    alice.take(alice.agent.invite(f"sip:bob@{host}:{port}", caller="alice", body=offer.encode()))
    await ladder.passed("100 INVITE")
    assert isinstance(bob.session, net.IncomingSession)
    check(bob.session.initial_offer.decode() == offer, "the INVITE has brought the offer word for word")
    answer = await bob.tab.answer(offer)
    bob.session.ring()
    await alice.expect(net.Provisional)
    await alice.trickle(offer)  # The 180 has made a dialog, and INFO goes in a dialog.
    async with within(8, "bob has every candidate of alice"):
        check(await bob.done.wait() and bob.taken == alice.sent, "bob has every candidate of alice before he picks up")
    bob.session.answer(answer.encode())
    answered = await alice.expect(net.Answered)
    await alice.tab.accept(answered.body.decode())
    await bob.expect(net.Confirmed)
    await bob.trickle(answer)
    async with within(8, "alice has every candidate of bob"):
        await alice.done.wait()


async def talk(alice: Phone, bob: Phone) -> None:
    """What the tabs have agreed on, and what they hear."""
    async with within(8, "ICE and DTLS are through"):
        agreed = await alice.tab.connected()
    print(f"  ICE and DTLS are through: {agreed['dtlsCipher']}, {agreed['srtpCipher']}")
    async with within(8, "each tab hears one clean tone"):
        at_bob, at_alice = await asyncio.gather(bob.tab.tone(), alice.tab.tone())
    check(near(at_bob, alice.tab.hz), f"bob hears {at_bob:.0f} Hz, which alice says")
    check(near(at_alice, bob.tab.hz), f"alice hears {at_alice:.0f} Hz, which bob says")


def look_at(messages: list[Request | Response]) -> None:
    """What makes SIP of it, in the messages that went by."""
    invite, *infos = [one for one in messages if isinstance(one, Request) and one.method in ("INVITE", "INFO")]
    check(PACKAGE in invite.supported and PACKAGE in invite.recv_info, "the INVITE says that candidates may trickle")
    check(all(one.headers.get("Info-Package") == PACKAGE for one in infos), f"each INFO is of the package {PACKAGE}")
    check(str(invite.content_type) == "application/sdp", "its body is SDP as of any phone: what differs is inside")


async def lesson(browser: Browser) -> None:
    print("Part 2: SIP carries WebRTC")
    alice, bob, ladder = Phone("alice", Tab(browser, 523)), Phone("bob", Tab(browser, 784)), Ladder()
    alice.agent.taps.add(ladder)
    try:
        for phone in (alice, bob):
            await phone.tab.open()
            await phone.agent.start()
        await call(alice, bob, ladder)
        await talk(alice, bob)
        bob.session.hangup()
        await alice.expect(net.Ended)
        await bob.expect(net.Ended)
        look_at(ladder.messages)
    finally:
        await asyncio.gather(alice.agent.close(), bob.agent.close())


async def main() -> None:
    async with chromium() as browser:
        await lesson(browser)


if __name__ == "__main__":
    run(main, __doc__, log=True)
