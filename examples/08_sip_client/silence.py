"""A peer that never says a word, on a network where time passes only when it is told to."""

from __future__ import annotations

from gateway import net
from gateway.sip import NameAddr, Uri, build
from gateway.testing import AgentNode, LossyNetwork, ManualClock, SessionLog

ALICE, NOBODY = ("192.0.2.1", 5060), ("192.0.2.99", 5060)


def call_silence() -> tuple[list[float], float, int]:
    """The seconds at which each copy of an INVITE is sent and the call is given up, and the status it ends with."""
    clock = ManualClock()
    network = LossyNetwork(clock)
    phone = AgentNode(network, ALICE)
    times: list[float] = []
    network.observe = lambda source, destination, data: times.append(clock.now)
    alice, bob = NameAddr(Uri.of("alice", *ALICE)), Uri.of("bob", *NOBODY)
    invite = build.request(
        "INVITE", bob, from_=alice.with_tag("1"), to=NameAddr(bob), call_id="silence", cseq=1, contact=alice
    )
    session = phone.core.invite(invite, bob)
    log = SessionLog(session)
    began = clock.now
    network.run(60, until=lambda: bool(log.of(net.Failed)))
    [failed] = log.of(net.Failed)
    return [time - began for time in times], clock.now - began, failed.status
