"""What a registration says of us when our address is another one than last time (a wildcard listener)."""

from __future__ import annotations

from typing import Any

from gateway.net.registration import FlowId, Registration
from gateway.sip.flow import Flow
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Response
from gateway.sip.message.uri import Uri
from gateway.sip.registration.client import RegistrationPolicy, Send


class Agent:
    """Registers where its address is; the registrar takes everything unless it is down."""

    def __init__(self) -> None:
        self.address = "192.0.2.10"
        self.status = 200
        self.asked: list[tuple[str, int]] = []
        """(host of the Contact, Expires) of each REGISTER."""

    def token(self) -> str:
        return "t"

    def contact(self, flow: Flow, user: str | None) -> NameAddr:
        return NameAddr(Uri.of(user, self.address, 5060))

    async def request(self, method: str, target: Uri, **given: Any) -> Response:
        flow = Flow("udp", "192.0.2.1", 5060)
        expires = dict(given["headers"])["Expires"]
        self.asked.append((given["contact"](flow).uri.host, expires))
        given["answered_by"](flow)
        request = build.request(
            method, target, from_=given["caller"].with_tag("a"), to=given["callee"], call_id="c", cseq=given["cseq"]()
        )
        return build.response(request, self.status, headers=(("Expires", expires),))


async def registered(agent: Agent, flow_id: FlowId | None = None) -> Registration:
    made = Registration(
        agent,
        [Uri.parse("sip:pbx.test")],
        NameAddr.parse("<sip:1@pbx.test>"),
        lambda: None,
        RegistrationPolicy(expires=300, probe=0),
        (),
        None,
        flow_id=flow_id,
    )
    await made.begin()
    return made


async def test_a_refresh_names_the_address_of_the_moment_and_takes_the_one_before_back() -> None:
    """Calls to where nobody is any more would ring nowhere."""
    agent = Agent()
    made = await registered(agent)
    await made._do(Send.REGISTER)
    agent.address = "192.0.2.77"
    await made._do(Send.REGISTER)
    assert agent.asked == [("192.0.2.10", 300), ("192.0.2.10", 300), ("192.0.2.77", 300), ("192.0.2.10", 0)]
    agent.address = "192.0.2.78"
    await made.unregister()
    assert agent.asked[4:] == [("192.0.2.77", 0)]


async def test_what_was_refused_takes_nothing_back() -> None:
    """The binding before stands."""
    agent = Agent()
    made = await registered(agent)
    agent.address, agent.status = "192.0.2.77", 403
    await made._do(Send.REGISTER)
    made.stop()
    assert agent.asked[1:] == [("192.0.2.77", 300)]


async def test_a_flow_takes_the_place_of_the_one_before_by_itself() -> None:
    """The registrar knows it by instance and reg-id (RFC 5626 section 6)."""
    agent = Agent()
    made = await registered(agent, FlowId("urn:uuid:0", 1))
    agent.address = "192.0.2.77"
    await made._do(Send.REGISTER)
    made.stop()
    assert agent.asked[1:] == [("192.0.2.77", 300)]
