"""Example 3: two user agents on real UDP sockets make a dialog, and a wire between them draws the ladder."""

from __future__ import annotations

from gateway.lesson import check, run

import asyncio
import sys

from wire import Wire

from gateway import net
from gateway.sip import Dialog, Request

OFFER = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
ANSWER = OFFER.replace(b"4000", b"5000")


class Phone:
    """The application on top of a user agent (its Hooks): lets everybody in, rings, keeps what its one call says."""

    session: net.InviteSession

    def __init__(self, name: str) -> None:
        self.name = name
        self.agent = net.UserAgent(net.UserAgentConfig(listen=(("127.0.0.1", 0),)), self)
        self.events: asyncio.Queue[net.SessionEvent] = asyncio.Queue()

    async def authenticate(self, request: Request, source: net.Flow) -> net.Verdict:
        return net.Accepted()

    def invited(self, session: net.IncomingSession, identity: str | None) -> None:
        self.take(session)
        session.ring()

    async def answer_register(self, request: Request, source: net.Flow, identity: str | None) -> net.Reply:
        return net.Reply(501)

    def take(self, session: net.InviteSession) -> None:
        """Make this the phone's call."""
        self.session = session
        session.listen(self.events.put_nowait)

    async def next(self, kind: type[net.SessionEvent]) -> net.SessionEvent:
        """The next event of the call, which must be of that kind."""
        try:
            event = await asyncio.wait_for(self.events.get(), 5)
        except TimeoutError:
            sys.exit(f"FAIL: {self.name} waited for {kind.__name__}, but nothing came")
        check(isinstance(event, kind), f"{self.name} sees {type(event).__name__}")
        return event

    @property
    def dialog(self) -> Dialog:
        """The dialog as this side keeps it."""
        assert self.session.dialog is not None
        return self.session.dialog


def call(alice: Phone, bob: Phone, wire: str) -> None:
    """Alice dials Bob; `received` sends all she says over the wire, whatever Bob's Contact is."""
    _, host, port = bob.agent.listening[0]
    alice.take(alice.agent.invite(f"sip:bob@{host}:{port}", caller="alice", body=OFFER, received=f"udp:{wire}"))


async def answered(alice: Phone, bob: Phone) -> None:
    """INVITE, 180, 200, ACK, talk, BYE, 200."""
    await alice.next(net.Provisional)
    check(alice.dialog.state.value == "early", "a 180 with a To tag makes an early dialog")
    assert isinstance(bob.session, net.IncomingSession)
    bob.session.answer(ANSWER)
    answer = await alice.next(net.Answered)
    check(isinstance(answer, net.Answered) and answer.body == ANSWER, "the 200 carries the answer to Alice's offer")
    await bob.next(net.Confirmed)

    print("2. What both sides keep")
    ours, theirs = alice.dialog, bob.dialog
    print(f"  Call-ID {ours.id.call_id}, Alice's tag {ours.id.local_tag}, Bob's tag {ours.id.remote_tag}")
    check(ours.state.value == theirs.state.value == "confirmed", "the dialog is confirmed")
    check(ours.id.call_id == theirs.id.call_id, "one Call-ID")
    check((ours.id.local_tag, ours.id.remote_tag) == (theirs.id.remote_tag, theirs.id.local_tag), "tags are mirrored")
    check((ours.local_cseq, theirs.remote_cseq, theirs.local_cseq) == (1, 1, None), "CSeq counts for each direction")
    check(ours.remote_target.port == bob.agent.listening[0][2], "Alice's remote target is Bob's Contact")
    check(theirs.remote_target.port == alice.agent.listening[0][2], "Bob's remote target is Alice's Contact")

    print("3. Alice hangs up")
    alice.session.hangup('Q.850;cause=16;text="Normal call clearing"')
    await alice.next(net.Ended)
    ended = await bob.next(net.Ended)
    check(isinstance(ended, net.Ended) and (ended.by, ended.q850) == ("remote", 16), "Bob learns why (RFC 3326)")


async def cancelled(alice: Phone, bob: Phone) -> None:
    """INVITE, 180, CANCEL, 487, ACK: no dialog is left."""
    await alice.next(net.Provisional)
    alice.session.hangup()
    ended = await bob.next(net.Ended)
    check(isinstance(ended, net.Ended) and ended.by == "remote", "Bob's phone stops ringing")
    await alice.next(net.Ended)


async def main() -> None:
    alice, bob = Phone("Alice"), Phone("Bob")
    wire_transport, wire = await asyncio.get_running_loop().create_datagram_endpoint(Wire, ("127.0.0.1", 0))
    wire.transport = wire_transport
    place = ":".join(map(str, wire_transport.get_extra_info("sockname")))
    try:
        for phone in (alice, bob):
            await phone.agent.start()
        wire.alice, wire.bob = alice.agent.listening[0][1:], bob.agent.listening[0][1:]

        print("1. Alice calls Bob")
        call(alice, bob, place)
        await answered(alice, bob)
        ladder = "INVITE, 180 INVITE, 200 INVITE, ACK, BYE, 200 BYE"
        check(await wire.carried(ladder), f"the whole ladder: {ladder}")
        sent = {m.method: m for m in wire.messages if isinstance(m, Request)}
        invite, ack, bye = sent["INVITE"], sent["ACK"], sent["BYE"]
        check((invite.cseq.number, ack.cseq.number, bye.cseq.number) == (1, 1, 2), "the ACK has the INVITE's number")
        check(ack.top_via.branch != invite.top_via.branch, "but a branch of its own: the ACK of a 200 stands alone")

        print("4. Alice changes her mind")
        wire.messages.clear()
        call(alice, bob, place)
        await cancelled(alice, bob)
        ladder = "INVITE, 180 INVITE, CANCEL, 200 CANCEL, 487 INVITE, ACK"
        check(await wire.carried(ladder), f"the whole ladder: {ladder}")

        print("5. A BYE for a dialog that nobody has")
        answer = await alice.agent.request("BYE", bye.uri, caller=bye.from_, callee=bye.to, call_id="gone")
        check(answer.status == 481, f"is answered {answer.status} {answer.phrase}")
    finally:
        await asyncio.gather(alice.agent.close(), bob.agent.close())
        wire_transport.close()


if __name__ == "__main__":
    run(main, __doc__)
