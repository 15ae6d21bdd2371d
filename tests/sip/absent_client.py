"""A client over WebSocket whose connections come and go, in a call with an agent of ours, for tests."""

from __future__ import annotations

import itertools

from gateway.sip.config import CoreConfig
from gateway.sip.flow import Flow
from gateway.sip.invite.session import InviteSession
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request, Response
from gateway.sip.message.uri import Uri
from gateway.testing.sip_peer import Puppet, SessionLog
from tests.sip.agents import ALICE, ANSWER, BOB, OFFER, PuppetDialog, Stage

GRACE = 5.0
CONTACT = Uri.parse("sip:k3v1@df7jal23ls0d.invalid;transport=ws")
REGISTRAR = NameAddr(Uri.of("alice", *ALICE))


class Client(PuppetDialog):
    """A browser that has called our agent and is answered; each of its connections comes from another port."""

    def __init__(self, stage: Stage, call_id: str = "c1", instance: str = "") -> None:
        """`instance`: as it registers before it calls, "" for a client that does not register."""
        super().__init__(stage, call_id)
        self.contact = CONTACT
        if instance:
            self.register(stage.puppet, instance=instance)
            stage.puppet.take()
        stage.agent.on_call = lambda session, log: session.answer(ANSWER)  # type: ignore[attr-defined]
        stage.send(self.make("INVITE", body=OFFER))
        ok = next(one for one in stage.puppet.take() if isinstance(one, Response) and one.status == 200)
        self.remote = ok.to
        stage.send(self.make("ACK"))
        self.log: SessionLog = stage.agent.calls[-1]
        assert self.log.kinds == ["Confirmed"]
        self.session: InviteSession = self.log.session

    def register(self, at: Puppet, contact: Uri = CONTACT, instance: str = "") -> None:
        request = self.make("REGISTER", call_id="r", remote=REGISTRAR)
        parameters = f';+sip.instance="<urn:uuid:{instance}>";reg-id=1' if instance else ""
        at.send(request.with_headers(request.headers.with_("Contact", f"<{contact}>{parameters}")), ALICE)
        self.stage.run()


def talking(**config: object) -> tuple[Stage, Client]:
    stage = Stage(CoreConfig(**{"flow_grace": GRACE, **config}), transport="ws")  # type: ignore[arg-type]
    return stage, Client(stage)


def lose(stage: Stage, at: tuple[str, int] = BOB) -> None:
    stage.agent.core.transport_failed(Flow("ws", *at, "here"))


def is_done(stage: Stage) -> bool:
    """Whether nobody is in a call, or is to hear of the end of one."""
    return not stage.agent.core.has_calls and len(stage.agent.core.absences) == 0


_PORTS = itertools.count(5100)


def connect(stage: Stage) -> Puppet:
    """The next connection of the client."""
    return Puppet(stage.network, (BOB[0], next(_PORTS)))


def taken(puppet: Puppet, method: str) -> list[Request]:
    return [one for one in puppet.take() if isinstance(one, Request) and one.method == method]


def away() -> tuple[Stage, Client]:
    """Its connection is gone, and our side has hung up."""
    stage, client = talking()
    lose(stage)
    client.session.hangup()
    stage.run()
    assert client.log.kinds == ["Confirmed", "FlowLost", "Ended"]
    return stage, client
