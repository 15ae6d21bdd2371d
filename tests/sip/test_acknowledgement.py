"""By which flow the ACK of a 2xx goes, and the requests behind it (RFC 3261 13.2.2.4)."""

from __future__ import annotations

from typing import Any

from gateway.sip.flow import Flow
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request
from gateway.sip.message.parser import parse_message
from gateway.sip.message.uri import Uri
from tests.rows import by_row
from tests.sip.agents import ANSWER, BOB, OFFER, Stage, answer, call

FIRST = Flow("tcp", *BOB, "here")
INVITED = Flow("tcp", *BOB)
NEXT = Flow("tcp", *BOB, "next")
LAST = Flow("tcp", *BOB, "last")
STRANGER = Flow("tcp", "198.51.100.9", 5060, "there")
ELSEWHERE = ("192.0.2.3", 5060)


class Acknowledging:
    """A call of ours by TCP whose requests after the INVITE stay here."""

    def __init__(self, body: bytes = OFFER) -> None:
        self.stage = Stage(transport="tcp")
        self.session, self.log = call(self.stage.agent, body=body)
        self.stage.run()
        [self.invite] = self.stage.requests("INVITE")

    def answers(self, contact: str, *, by: Flow = FIRST, tag: str = "puppet", cseq: int = 1) -> None:
        target = NameAddr(Uri.parse(contact))
        response = answer(self.invite, 200, tag=tag, body=ANSWER, contact=target)
        self.stage.agent.core.receive(response.with_header("CSeq", f"{cseq} INVITE").write(), by)

    def breaks(self, flow: Flow) -> None:
        self.stage.agent.core.transport_failed(flow)

    def take(self) -> list[tuple[str, Flow]]:
        """Method of each request that would be sent by now, and the flow that it would go by."""
        return [(data.split(b" ", 1)[0].decode(), flow) for data, flow in self.stage.agent.core.datagrams()]


NOWHERE = "sip:puppet@nowhere.example;transport=tcp"
HOME = f"sip:puppet@{BOB[0]}:{BOB[1]};transport=tcp"
AWAY = f"sip:puppet@{ELSEWHERE[0]}:{ELSEWHERE[1]};transport=tcp"


def test_an_ack_whose_connection_fails_goes_where_the_invite_went() -> None:
    """As the BYE does then; a connection that nothing went by changes nothing."""
    it = Acknowledging()
    it.stage.send(answer(it.invite, 180, tag="ringing"))
    it.answers(AWAY)
    assert it.take() == [("ACK", Flow("tcp", *ELSEWHERE))]
    it.breaks(Flow("tcp", "192.0.2.4", 5060))
    assert it.take() == []
    it.breaks(Flow("tcp", *ELSEWHERE))
    assert it.take() == [("ACK", INVITED)]
    it.session.hangup()
    assert it.take() == [("BYE", INVITED)]


def test_the_ack_of_a_later_2xx_whose_connection_fails_goes_where_its_invite_went() -> None:
    """The Contact of a 2xx to our re-INVITE takes no connection; the BYE goes by the flow, too."""
    it = Acknowledging()
    it.answers(HOME)
    assert it.take() == [("ACK", INVITED)]
    it.session.offer(OFFER)
    [sent] = list(it.stage.agent.core.datagrams())
    reinvite = parse_message(sent[0])
    assert isinstance(reinvite, Request)
    response = answer(reinvite, 200, body=ANSWER, contact=NameAddr(Uri.parse(AWAY)))
    it.stage.agent.core.receive(response.write(), FIRST)
    assert it.take() == [("ACK", Flow("tcp", *ELSEWHERE))]
    it.breaks(Flow("tcp", *ELSEWHERE))
    assert it.take() == [("ACK", INVITED)]
    it.session.hangup()
    assert it.take() == [("BYE", INVITED)]


def test_an_ack_by_the_connection_of_the_invite_has_no_other_way() -> None:
    """It is not sent again where that fails."""
    it = Acknowledging()
    it.answers(HOME)
    it.breaks(FIRST)
    assert it.take() == [("ACK", INVITED)]


def test_an_ack_that_our_user_has_yet_to_answer_by_goes_nowhere() -> None:
    """Whatever breaks or comes again meanwhile, and by which connection."""
    it = Acknowledging(b"")
    it.answers(AWAY)
    it.breaks(Flow("tcp", *ELSEWHERE))
    it.answers(AWAY, by=NEXT)
    assert it.take() == []


@by_row("contact", [HOME, NOWHERE])
def test_a_2xx_again_by_a_new_connection_is_acknowledged_there(contact: str) -> None:
    """The first one is gone for the peer; where it was before the ACK, that has gone nowhere yet."""
    it = Acknowledging(b"")
    it.answers(contact)
    if contact == NOWHERE:
        it.breaks(FIRST)
    it.answers(contact)
    assert it.take() == []
    it.session.answer_offer(1, OFFER)
    assert it.take() == ([("ACK", INVITED)] if contact == HOME else [])
    it.answers(contact)
    assert it.take() == ([("ACK", INVITED)] if contact == HOME else [])
    for source in (NEXT, NEXT, LAST):
        it.answers(contact, by=source)
        assert it.take() == [("ACK", source)]
    it.session.hangup()
    assert it.take() == [("BYE", INVITED if contact == HOME else NEXT)]


@by_row(
    "repeated, acknowledged",
    [({}, True), ({"by": STRANGER}, False), ({"tag": "another"}, False), ({"cseq": 2}, False)],
)
def test_a_2xx_behind_its_transaction_is_acknowledged_where_the_dialog_lives(
    repeated: dict[str, Any], acknowledged: bool
) -> None:
    """That of the branch and the number that were acknowledged before, from no other host."""
    it = Acknowledging()
    it.answers(HOME)
    it.stage.run(33)
    it.answers(HOME, **({"by": NEXT} | repeated))
    assert it.take() == ([("ACK", NEXT)] if acknowledged else [])
