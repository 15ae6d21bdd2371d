"""Two user agents on an in-memory network, and how they call each other."""

from __future__ import annotations

from gateway.sip.auth.account import Credentials
from gateway.sip.config import CoreConfig
from gateway.sip.flow import Flow
from gateway.sip.invite.outgoing import OutgoingSession
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.uri import Uri
from gateway.testing.clock import ManualClock
from gateway.testing.network import LossyNetwork, Weather
from gateway.testing.sip_peer import AgentNode, SessionLog

ALICE = ("192.0.2.1", 5060)
BOB = ("192.0.2.2", 5060)
OFFER = b"v=0\r\no=a 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
ANSWER = OFFER.replace(b"192.0.2.1", b"192.0.2.2").replace(b"4000", b"5000")
HOLD = OFFER.replace(b"a 1 1", b"a 1 2") + b"a=sendonly\r\n"
"""A changed OFFER: the same again is a refresh, which the session answers by itself."""
HELD = ANSWER.replace(b"a 1 1", b"a 1 2") + b"a=recvonly\r\n"


class Pair:
    """Alice and Bob on one network."""

    def __init__(
        self,
        weather: Weather | None = None,
        *,
        seed: int = 0,
        alice: CoreConfig | None = None,
        bob: CoreConfig | None = None,
    ) -> None:
        self.clock = ManualClock()
        self.network = LossyNetwork(self.clock, weather, seed=seed)
        self.alice = AgentNode(self.network, ALICE, alice)
        self.bob = AgentNode(self.network, BOB, bob)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.network.run(seconds)


def call(
    node: AgentNode,
    to: tuple[str, int] = BOB,
    *,
    body: bytes = OFFER,
    headers: build.Fields = (),
    credentials: Credentials | None = None,
    timeout: float = 0.0,
    host: str | None = None,
) -> tuple[OutgoingSession, SessionLog]:
    """Have `node` call whoever is at `to`."""
    target = Uri.of("bob", host) if host else Uri.of("bob", to[0], to[1])
    flow = Flow("udp", *to)
    invite = build.request(
        "INVITE",
        target,
        from_=NameAddr(Uri.of("alice", "example.com")).with_tag(node.token()),
        to=NameAddr(target),
        call_id=node.token(),
        cseq=1,
        contact=node.core.contact(flow, "alice"),
        headers=(("Supported", "100rel, timer"), ("Allow", node.core.allow), *headers),
        body=body,
        content_type="application/sdp" if body else None,
    )
    session = node.core.invite(invite, target, credentials=credentials, timeout=timeout)
    return session, SessionLog(session)
