"""Example 6: a call through two proxies of our own making, then Max-Forwards, strict routers and DNS."""

from __future__ import annotations

from gateway.lesson import check, run, table

import asyncio
import sys

from hops import Hops
from probe import probe
from proxy import Proxy

from gateway import net
from gateway.sip import Dialog, NameAddr, Request, Uri, build
from gateway.sip import locate as routing

OFFER = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
LOOPBACK = (("127.0.0.1", 0),)


class Phone:
    """Answers every call at once and keeps what happens."""

    def __init__(self) -> None:
        self.agent = net.UserAgent(net.UserAgentConfig(listen=LOOPBACK), self)
        self.sessions: asyncio.Queue[net.IncomingSession] = asyncio.Queue()

    async def authenticate(self, request: Request, source: net.Flow) -> net.Verdict:
        return net.Accepted()

    def invited(self, session: net.IncomingSession, identity: str | None) -> None:
        session.answer(OFFER)
        self.sessions.put_nowait(session)

    async def answer_register(self, request: Request, source: net.Flow, identity: str | None) -> net.Reply:
        return net.Reply(501)


async def until(session: net.InviteSession, kind: type[net.SessionEvent]) -> net.SessionEvent:
    """The session's next event of that kind."""
    found: asyncio.Future[net.SessionEvent] = asyncio.get_running_loop().create_future()
    session.listen(lambda event: found.set_result(event) if isinstance(event, kind) and not found.done() else None)
    try:
        return await asyncio.wait_for(found, 5)
    except TimeoutError:
        sys.exit(f"FAIL: {kind.__name__} never came")


async def through_proxies() -> None:
    """Alice has the way to Bob preloaded: edge, then core. Both stay in the path."""
    hops = Hops()
    alice, bob, edge, core = Phone(), Phone(), Proxy(hops), Proxy(hops)
    for one in (alice.agent, bob.agent, edge, core):
        await one.start()
    _, host, port = bob.agent.listening[0]
    hops.names = {alice.agent.listening[0][2]: "Alice", edge.port: "edge", core.port: "core", port: "Bob"}
    target = f"sip:bob@{host}:{port}"
    way = (edge.route, core.route)
    try:
        print("1. INVITE by way of two proxies, and its answer")
        call = alice.agent.invite(target, caller="alice", body=OFFER, route=way)
        await until(call, net.Answered)
        there = await bob.sessions.get()
        invite = there.request
        hops.show("INVITE", "200 OK")
        check([via.port for via in invite.via] == [core.port, edge.port, alice.agent.listening[0][2]], "Vias stack up")
        check(invite.via[2].rport == alice.agent.listening[0][2], "edge wrote into rport where the INVITE came from")
        check(not invite.route and invite.max_forwards == 68, "each took its Route off, and one from Max-Forwards")

        print("2. The route set, and a BYE that goes by it")
        assert call.dialog is not None
        assert there.dialog is not None
        named = [[hops.names[hop.uri.port or 0] for hop in one.dialog.route_set] for one in (call, there) if one.dialog]
        table(("who", "goes by", "then by"), ("Alice", *named[0]), ("Bob", *named[1]))
        check(call.dialog.route_set == way, "Alice goes by edge, then core")
        check(there.dialog.route_set == way[::-1], "Bob goes by core, then edge: the other way round")
        there.hangup()
        ended = await until(call, net.Ended)
        hops.show("BYE")
        check(isinstance(ended, net.Ended) and ended.by == "remote", "Bob hangs up, and Alice is told")
        check(edge.passed == core.passed == ["INVITE", "ACK", "BYE"], "her ACK and his BYE went through both")

        print("3. A phone behind NAT, and Max-Forwards")
        for left, status in ((70, 200), (1, 483)):
            answer = await probe(target, way, left)
            hops.show("OPTIONS", f"{answer.status} {answer.phrase}")
            check(answer.status == status, f"Max-Forwards {left}: {answer.status} {answer.phrase}")
        check(answer.top_via.host == "10.0.0.5", "the phone said it lives at 10.0.0.5, where no answer would arrive")
        check(answer.top_via.received == "127.0.0.1", "received and rport brought it to where the phone really is")
    finally:
        await asyncio.gather(alice.agent.close(), bob.agent.close())
        edge.transport.close()
        core.transport.close()


def strict_router() -> None:
    """An old proxy without lr wants to be the Request-URI; the true target waits at the end of the Route."""
    print("4. A strict router")
    bob = Uri.parse("sip:bob@192.0.2.4")
    ours = NameAddr(Uri.parse("sip:alice@192.0.2.1"))
    invite = build.request("INVITE", bob, from_=ours.with_tag("a"), to=NameAddr(bob), call_id="x", cseq=1, contact=ours)
    record = [("Record-Route", "<sip:modern.example.com;lr>"), ("Record-Route", "<sip:old.example.com>")]
    answer = build.response(invite, 200, to_tag="b", contact=NameAddr(bob), headers=record)
    bye = Dialog.of_uac(invite, answer).request("BYE")
    table(("BYE", bye.uri), *(("Route", hop) for hop in bye.route))
    check(str(bye.uri) == "sip:old.example.com", "the first hop has no lr: it becomes the Request-URI")
    check(bye.route[-1].uri == bob, "and Bob's address ends the Route")


def names() -> None:
    """What is looked up, in which order, before anything is sent; looking up is the resolver's."""
    print("5. From a name to an address")
    asked = ("sip:biloxi.example.com", "sip:biloxi.example.com:5070", "sips:biloxi.example.com")
    steps = {one: routing.plan(routing.target_of(Uri.parse(one)), ("udp", "tcp", "tls")) for one in asked}
    kinds = {one: [type(step).__name__.removesuffix("Lookup").upper() for step in steps[one]] for one in asked}
    table(("URI", "is looked up by"), *((one, ", then ".join(names)) for one, names in kinds.items()))
    check(all(names[-1] == "ADDRESS" for names in kinds.values()), "the last resort is the address of the name itself")
    check(kinds["sip:biloxi.example.com:5070"] == ["ADDRESS"], "and the only one for who names a port")
    last = [one[-1] for one in steps.values()]
    ways = [step.transport for step in last if isinstance(step, routing.AddressLookup)]
    check(ways == ["udp", "udp", "tls"], "sips is TLS, and the others are UDP where nothing says more")
    records = [
        routing.NaptrRecord(20, 10, "s", "SIP+D2U", "_sip._udp.biloxi.example.com."),
        routing.NaptrRecord(10, 10, "s", "SIPS+D2T", "_sips._tcp.biloxi.example.com."),
    ]
    found = routing.srv_of_naptr(records, ("SIP+D2U", "SIPS+D2T"))
    check([one.transport for one in found] == ["tls", "udp"], "NAPTR: the domain prefers TLS")
    servers = [routing.SrvRecord(2, 0, 5061, "spare"), *(routing.SrvRecord(1, w, 5061, f"weight{w}") for w in (10, 90))]
    order = [one.target for one in routing.order_srv(servers, [0.5, 0.5, 0.5])]
    check(order == ["weight90", "weight10", "spare"], f"SRV: lowest priority, then by weight: {', '.join(order)}")


async def main() -> None:
    await through_proxies()
    strict_router()
    names()


if __name__ == "__main__":
    run(main, __doc__)
