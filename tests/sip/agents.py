"""User agents on an in-memory network, and a puppet that sends what a test needs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gateway.sip.auth.account import Credentials
from gateway.sip.config import CoreConfig
from gateway.sip.flow import Flow
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.invite.outgoing import OutgoingSession
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request, Response
from gateway.sip.message.uri import Uri
from gateway.sip.user_agent import UserAgentCore
from gateway.testing.clock import ManualClock
from gateway.testing.network import LossyNetwork, Weather
from gateway.testing.sip_peer import AgentNode, Puppet, SessionLog

ALICE = ("192.0.2.1", 5060)
BOB = ("192.0.2.2", 5060)
OFFER = b"v=0\r\no=a 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
ANSWER = OFFER.replace(b"192.0.2.1", b"192.0.2.2").replace(b"4000", b"5000")
HOLD = OFFER.replace(b"a 1 1", b"a 1 2") + b"a=sendonly\r\n"
"""A changed OFFER: the same again is a refresh, which the session answers by itself."""
HELD = ANSWER.replace(b"a 1 1", b"a 1 2") + b"a=recvonly\r\n"


def is_idle(core: UserAgentCore) -> bool:
    """Whether no transaction, session or dialog is left."""
    return not len(core.stack) and not core.sessions and not len(core._dialogs)


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
    identity: str | None = None,
    by_flow: bool = False,
    family: int = 0,
    secure: bool = False,
) -> tuple[OutgoingSession, SessionLog]:
    """Have `node` call whoever is at `to`; `by_flow`: with `ob` in its Contact, `secure`: by a sips URI."""
    target = Uri.of("bob", host) if host else Uri.of("bob", to[0], to[1])
    if secure:
        target = replace(target, scheme="sips")
    if node.transport != "udp":
        target = target.with_param("transport", node.transport)
    contact = node.core.contact(Flow(node.transport, *to), "alice", secure=secure)
    invite = build.request(
        "INVITE",
        target,
        from_=NameAddr(Uri.of("alice", "example.com")).with_tag(node.token()),
        to=NameAddr(target),
        call_id=node.token(),
        cseq=1,
        contact=NameAddr(contact.uri.with_param("ob")) if by_flow else contact,
        headers=(("Supported", "100rel, timer"), ("Allow", node.core.allow), *headers),
        body=body,
        content_type="application/sdp" if body else None,
    )
    session = node.core.invite(
        invite, target, family=family, credentials=credentials, timeout=timeout, identity=identity
    )
    return session, SessionLog(session)


SDP = "application/sdp"
WITH_UPDATE = (("Allow", "INVITE, ACK, BYE, CANCEL, PRACK, UPDATE"),)
RELIABLE = (("Require", "100rel"), ("RSeq", 7))


class Stage:
    """Our agent at ALICE and a puppet at BOB."""

    def __init__(self, config: CoreConfig | None = None, *, transport: str = "udp") -> None:
        self.clock = ManualClock()
        self.network = LossyNetwork(self.clock)
        self.transport = transport
        self.agent = AgentNode(self.network, ALICE, config, transport=transport)
        self.puppet = Puppet(self.network, BOB)

    def run(self, seconds: float = 0.1) -> None:
        self.network.run(seconds)

    def send(self, message: Request | Response) -> None:
        """The puppet sends, and a moment passes."""
        self.puppet.send(message, ALICE)
        self.run()

    def requests(self, method: str) -> list[Request]:
        """Requests of a method that the puppet has; takes everything."""
        return [one for one in self.puppet.take() if isinstance(one, Request) and one.method == method]


def stage_with_invite(**how: Any) -> tuple[Stage, SessionLog, Any, Request]:
    """Our agent calls the puppet; the INVITE has arrived."""
    stage = Stage(how.pop("config", None))
    session, log = call(stage.agent, **how)
    stage.run()
    [invite] = stage.requests("INVITE")
    return stage, log, session, invite


def finals(stage: Stage, method: str) -> list[Response]:
    """The final responses to a method that the puppet has; takes everything."""
    return [
        one
        for one in stage.puppet.take()
        if isinstance(one, Response) and one.status >= 200 and one.cseq.method == method
    ]


def answer(request: Request, status: int, *, tag: str = "puppet", body: bytes = b"", **extra: Any) -> Response:
    """The puppet's response, with a Contact."""
    return build.response(
        request,
        status,
        to_tag=tag,
        contact=extra.get("contact", NameAddr(Uri.of("puppet", *BOB))) if status < 300 else None,
        headers=extra.get("headers", ()),
        body=body,
        content_type=SDP if body else None,
    )


class PuppetDialog:
    """A dialog of the puppet's with our agent, the next request of which is not sent yet; keeps its numbers."""

    def __init__(self, stage: Stage, call_id: str = "c1") -> None:
        self.stage = stage
        self.call_id = call_id
        self.local = NameAddr(Uri.of("puppet", "example.net")).with_tag("ptag")
        self.remote = NameAddr(Uri.of("alice", *ALICE))
        self.cseq = 1
        self.branches = 0
        self.contact = Uri.of("puppet", *BOB)
        if stage.transport != "udp":
            self.contact = self.contact.with_param("transport", stage.transport)

    def make(
        self,
        method: str,
        *,
        cseq: int | None = None,
        body: bytes = b"",
        headers: build.Fields = (),
        kind: str = SDP,
        remote: NameAddr | None = None,
        local: NameAddr | None = None,
        call_id: str | None = None,
    ) -> Request:
        self.branches += 1
        request = build.request(
            method,
            Uri.of("alice", *ALICE),
            from_=local or self.local,
            to=remote or self.remote,
            call_id=call_id or self.call_id,
            cseq=cseq or self.cseq,
            contact=NameAddr(self.contact),
            headers=headers,
            body=body,
            content_type=kind if body else None,
        )
        sent_by = f"SIP/2.0/{self.stage.transport.upper()} {BOB[0]}:{BOB[1]}"
        via = f"{sent_by};rport;branch=z9hG4bK{self.call_id}x{self.branches}"
        return request.with_headers(request.headers.prepend("Via", via))

    def next(self, method: str, **how: Any) -> Request:
        """A request with the next CSeq, sent."""
        self.cseq += 1
        request = self.make(method, **how)
        self.stage.send(request)
        return request


class PuppetCall(PuppetDialog):
    """The puppet calls our agent."""

    def __init__(self, stage: Stage, *, body: bytes = OFFER, headers: build.Fields = (), call_id: str = "c1") -> None:
        super().__init__(stage, call_id)
        self.invite = self.make("INVITE", body=body, headers=headers)
        stage.send(self.invite)

    def confirm(self, body: bytes = b"") -> None:
        """Take the dialog of the 200 that came, and acknowledge it."""
        ok = next(one for one in self.stage.puppet.take() if isinstance(one, Response) and one.status == 200)
        self.remote = ok.to
        self.stage.send(self.make("ACK", body=body))


def answered_call(stage: Stage, **how: Any) -> tuple[PuppetCall, IncomingSession, SessionLog]:
    """A confirmed call from the puppet."""
    stage.agent.on_call = lambda session, log: session.answer(ANSWER)  # type: ignore[attr-defined]
    caller = PuppetCall(stage, **how)
    caller.confirm()
    [log] = stage.agent.calls
    assert isinstance(log.session, IncomingSession)
    assert log.kinds == ["Confirmed"]
    stage.puppet.take()
    return caller, log.session, log


def tried_again() -> tuple[Stage, Puppet, SessionLog, Request, Request]:
    """A call to a name of two addresses whose first has answered 503: the second, and the INVITE that each got."""
    stage = Stage()
    second = Puppet(stage.network, ("192.0.2.3", 5060))
    stage.agent.names["pbx.example"] = (Flow("udp", *BOB), Flow("udp", "192.0.2.3", 5060))
    _, log = call(stage.agent, host="pbx.example")
    stage.run()
    [first] = stage.requests("INVITE")
    stage.send(answer(first, 503))
    [again] = [one for one in second.take() if isinstance(one, Request) and one.method == "INVITE"]
    return stage, second, log, first, again
