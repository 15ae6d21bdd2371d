"""A peer that alone can make the next connection and is away: what is to reach it waits (RFC 5626 5.3, RFC 7118 5)."""

from __future__ import annotations

import json
from functools import partial

import pytest

from gateway.sip.flow import Flow
from gateway.sip.invite.changes import FIRST_WORD, OFFER_ATTEMPTS
from gateway.sip.invite.events import OfferAnswered, Offered
from gateway.sip.invite.resumed import session_values
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request, Response
from gateway.sip.message.uri import Uri
from tests.rows import by_row
from tests.sip.absent_client import CONTACT, GRACE, Client, away, connect, is_done, lose, taken, talking
from tests.sip.agents import ALICE, ANSWER, BOB, HELD, HOLD, OFFER, Stage, answer
from tests.sip.resumption import killed


def test_a_bye_waits_for_the_next_connection() -> None:
    """It goes out behind the answer to the REGISTER by which the client is there again."""
    stage, client = away()
    stage.run(GRACE - 1)
    back = connect(stage)
    client.register(back)
    ok, bye = back.take()
    assert isinstance(ok, Response)
    assert isinstance(bye, Request)
    assert (ok.cseq.method, bye.method) == ("REGISTER", "BYE")
    back.send(answer(bye, 200), ALICE)
    stage.run()
    assert is_done(stage)
    assert taken(stage.puppet, "BYE") == []


def test_who_does_not_come_back_in_time_is_given_up() -> None:
    """Then there is nobody to whom the BYE could be sent."""
    stage, client = away()
    stage.run(GRACE - 0.5)
    assert not is_done(stage)
    stage.run(0.5)
    assert is_done(stage)
    back = connect(stage)
    client.register(back)
    assert taken(back, "BYE") == []


def test_who_comes_back_as_somebody_else_is_not_told() -> None:
    """A page that was loaded again has another Contact, and no call."""
    stage, client = away()
    back = connect(stage)
    client.register(back, Uri.parse("sip:other@another.invalid;transport=ws"))
    assert taken(back, "BYE") == []
    stage.run(GRACE)
    assert is_done(stage)


def test_who_comes_back_to_hang_up_is_answered_and_told_nothing() -> None:
    """Both ends have the same to say."""
    stage, client = away()
    back = connect(stage)
    client.cseq += 1
    back.send(client.make("BYE"), ALICE)
    stage.run()
    assert back.statuses() == [200]
    assert is_done(stage)


def test_who_hangs_up_while_our_bye_is_under_way_is_answered() -> None:
    """It has registered first, so that the two cross."""
    stage, client = away()
    back = connect(stage)
    client.register(back)
    [bye] = taken(back, "BYE")
    client.cseq += 1
    back.send(client.make("BYE"), ALICE)
    stage.run()
    assert back.statuses() == [200]
    back.send(answer(bye, 481), ALICE)
    stage.run()
    assert is_done(stage)


def test_who_is_gone_again_before_it_has_answered_is_waited_for_once_more() -> None:
    """In the time that was left."""
    stage, client = away()
    first, second = connect(stage), connect(stage)
    client.register(first)
    assert len(taken(first, "BYE")) == 1
    lose(stage, first.address)
    stage.run(1)
    client.register(second)
    [bye] = taken(second, "BYE")
    second.send(answer(bye, 200), ALICE)
    stage.run()
    assert is_done(stage)


def test_who_comes_and_goes_holds_nothing_beyond_its_time() -> None:
    """However often it does."""
    stage, client = away()
    for _ in range(10):
        back = connect(stage)
        client.register(back)
        lose(stage, back.address)
        stage.run(GRACE / 10)
    assert is_done(stage)


def test_a_connection_that_ends_with_a_bye_on_it_has_a_next_one() -> None:
    """Nobody can tell whether the client has read it."""
    stage, client = talking()
    client.session.hangup()
    lose(stage)
    stage.puppet.take()
    stage.run()
    back = connect(stage)
    client.register(back)
    [bye] = taken(back, "BYE")
    back.send(answer(bye, 481), ALICE)
    stage.run()
    assert is_done(stage)


def test_a_client_that_has_another_connection_is_reached_by_that() -> None:
    """Nobody has noticed yet that the one before is gone (RFC 5626 section 5.3): a network was changed."""
    stage, _ = talking()
    client = Client(stage, "c2", "a")
    back = connect(stage)
    client.register(back, instance="a")
    back.take()
    client.session.hangup()
    stage.run()
    [bye] = taken(back, "BYE")
    assert taken(stage.puppet, "BYE") == []
    back.send(answer(bye, 200), ALICE)
    stage.run()
    lose(stage)
    assert client.log.kinds == ["Confirmed", "Ended"]


@pytest.mark.parametrize("after", [1.0, 64 * 0.5 + GRACE - 0.5])
def test_a_bye_that_went_into_a_connection_that_was_gone_goes_by_the_next(after: float) -> None:
    """As soon as that is there; within the grace after those 64*T1 in which it might have been answered, too."""
    stage, _ = talking()
    client = Client(stage, "c2", "a")
    client.session.hangup()
    stage.run()
    assert len(taken(stage.puppet, "BYE")) == 1
    stage.run(after)
    back = connect(stage)
    client.register(back, instance="a")
    client.register(back, instance="a")
    [bye] = taken(back, "BYE")
    assert bye.cseq.number == 2
    back.send(answer(bye, 200), ALICE)
    stage.run()
    assert not [name for name in stage.agent.core.counts if name.startswith("NonInviteClient")]


@by_row(
    ("contact", "instance"), [(CONTACT, "b"), (CONTACT, ""), (Uri.parse("sip:other@another.invalid;transport=ws"), "a")]
)
def test_another_client_of_the_user_takes_no_call_over(contact: Uri, instance: str) -> None:
    """Nor does one that does not say which it is, while the connection of the call stands."""
    stage, _ = talking()
    client = Client(stage, "c2", "a")
    other = connect(stage)
    client.register(other, contact, instance)
    client.session.hangup()
    stage.run()
    assert taken(other, "BYE") == []
    assert len(taken(stage.puppet, "BYE")) == 1


def test_a_core_that_closes_waits_for_nobody() -> None:
    """Neither for those that it has waited for, nor for others; that their BYE was never sent is no answer to it."""
    stage, client = talking()
    other = Client(stage, "c2")
    lose(stage)
    client.session.hangup()
    stage.run()
    assert len(stage.agent.core.absences) == 1
    heard: list[str] = []
    for one in (client, other):
        assert one.session.dialog is not None
        assert one.session.dialog.when_over(partial(heard.append, one.call_id))
    stage.agent.core.absences.close()
    other.session.hangup()
    stage.run()
    assert is_done(stage)
    assert heard == []


def test_no_more_are_waited_for_than_calls_are_taken() -> None:
    """Who comes, calls and goes holds no more of us than that."""
    stage, client = talking(sessions=1)
    for number in range(2, 4):
        lose(stage)
        client.session.hangup()
        stage.run()
        assert len(stage.agent.core.absences) == 1
        client = Client(stage, f"c{number}")


def test_a_call_that_others_go_on_with_waits_for_nobody() -> None:
    """They say BYE."""
    stage, client = away()
    stage.agent.core.handover.leave([client.call_id])
    back = connect(stage)
    client.register(back)
    assert taken(back, "BYE") == []
    assert is_done(stage)


def test_every_call_of_a_client_that_has_come_back_after_a_kill_is_ended() -> None:
    """Of the process before none has a connection any more."""
    stage, client = talking()
    clients = [client, *(Client(stage, f"c{number}") for number in range(2, 9))]
    values = [json.loads(json.dumps(session_values(each.session))) for each in clients]
    stage.agent = killed(stage)
    stage.agent.transport = "ws"
    for each in values:
        stage.agent.core.resume(each).hangup()
    stage.run(1)
    back = connect(stage)
    client.register(back)
    byes = taken(back, "BYE")
    assert {bye.call_id for bye in byes} == {each.call_id for each in clients}
    for bye in byes:
        back.send(answer(bye, 200), ALICE)
    stage.run()
    assert is_done(stage)


def test_an_offer_waits_for_the_next_connection() -> None:
    """As a BYE does; and for a moment longer, in which the client may have something to offer itself."""
    stage, client = talking()
    lose(stage)
    client.session.offer(HOLD)
    stage.run(1)
    assert client.log.kinds == ["Confirmed", "FlowLost"]
    back = connect(stage)
    client.register(back)
    stage.run(FIRST_WORD - 0.2)
    assert taken(back, "INVITE") == []
    stage.run(0.2)
    [invite] = taken(back, "INVITE")
    back.send(answer(invite, 200, body=HELD, contact=NameAddr(CONTACT)), ALICE)
    stage.run()
    assert len(taken(back, "ACK")) == 1
    assert [each.body for each in client.log.of(OfferAnswered)] == [HELD]


@pytest.mark.parametrize("has_rung", [True, False])
def test_a_connection_that_ends_with_an_offer_on_it_has_a_next_one(has_rung: bool) -> None:
    """A browser is gone before its gateway can know: the offer went into a socket that nobody reads."""
    stage, client = talking()
    client.session.offer(HOLD)
    stage.run()
    [lost] = taken(stage.puppet, "INVITE")
    if has_rung:
        stage.send(answer(lost, 100))
    lose(stage)
    stage.run(1)
    assert client.log.of(OfferAnswered) == []
    back = connect(stage)
    client.register(back)
    stage.run(FIRST_WORD)
    [invite] = taken(back, "INVITE")
    assert (invite.body, invite.cseq.number) == (lost.body, lost.cseq.number + 1)
    back.send(answer(invite, 200, body=HELD, contact=NameAddr(CONTACT)), ALICE)
    stage.run()
    assert [each.body for each in client.log.of(OfferAnswered)] == [HELD]


def test_an_offer_that_went_into_a_connection_that_was_gone_goes_by_the_one_that_is_there() -> None:
    """The client is back before the end of the first one is noticed."""
    stage, _ = talking()
    client = Client(stage, "c2", "a")
    client.session.offer(HOLD)
    stage.run()
    back = connect(stage)
    client.register(back, instance="a")
    assert taken(back, "INVITE") == []
    lose(stage)
    stage.run()
    stage.run(FIRST_WORD - 0.2)
    assert taken(back, "INVITE") == []
    stage.run(0.2)
    assert len(taken(back, "INVITE")) == 1


def test_an_offer_whose_connections_end_again_and_again_fails() -> None:
    """In the time that a client is given to come back, and after so many tries as any offer has."""
    stage, client = talking()
    client.session.offer(HOLD)
    stage.run()
    at, tries = BOB, 1
    while not client.log.of(OfferAnswered):
        lose(stage, at)
        back = connect(stage)
        client.register(back)
        stage.run(FIRST_WORD)
        tries += len(taken(back, "INVITE"))
        at = back.address
        assert tries < 10
    assert [each.status for each in client.log.of(OfferAnswered)] == [503]
    assert tries == 4
    assert client.session.is_confirmed


def test_an_offer_that_is_refused_after_its_connection_had_ended_is_refused() -> None:
    """What the client says by the next one is its answer, whatever became of the first."""
    stage, client = talking()
    client.session.offer(HOLD)
    stage.run()
    lose(stage)
    back = connect(stage)
    client.register(back)
    stage.run(FIRST_WORD)
    [invite] = taken(back, "INVITE")
    back.send(answer(invite, 488), ALICE)
    stage.run(2 * FIRST_WORD)
    assert [each.status for each in client.log.of(OfferAnswered)] == [488]
    assert taken(back, "INVITE") == []


def test_an_offer_goes_out_anew_so_many_times_however_long_the_client_is_waited_for() -> None:
    """One that comes and goes all the time is sent it as often as one whose offers cross ours."""
    stage, client = talking(flow_grace=1_000.0)
    client.session.offer(HOLD)
    stage.run()
    at, tries = BOB, len(taken(stage.puppet, "INVITE"))
    for _ in range(2 * OFFER_ATTEMPTS):
        lose(stage, at)
        back = connect(stage)
        client.register(back)
        stage.run(FIRST_WORD)
        tries += len(taken(back, "INVITE"))
        at = back.address
    assert tries == OFFER_ATTEMPTS
    assert [each.status for each in client.log.of(OfferAnswered)] == [503]


def test_an_offer_that_nobody_answers_is_not_one_whose_connection_has_ended() -> None:
    """A client that is there and silent has lost its call (RFC 3261 section 14.1)."""
    stage, client = talking()
    client.session.offer(HOLD)
    stage.run(64 * 0.5 + 1)
    assert [each.status for each in client.log.of(OfferAnswered)] == [408]
    assert client.log.kinds[-1] == "Ended"


def test_an_offer_on_a_connection_that_ends_and_has_no_next_one_fails_in_time() -> None:
    """As one that was to go out later."""
    stage, client = talking()
    client.session.offer(HOLD)
    stage.run()
    lose(stage)
    stage.run(GRACE - 0.5)
    assert client.log.of(OfferAnswered) == []
    stage.run(0.6)
    assert [each.status for each in client.log.of(OfferAnswered)] == [503]


def test_an_offer_to_who_does_not_come_back_fails_in_time() -> None:
    """Whoever has asked for it is told, and the call goes on."""
    stage, client = talking()
    lose(stage)
    client.session.offer(HOLD)
    stage.run(GRACE - 0.5)
    assert client.log.of(OfferAnswered) == []
    stage.run(0.6)
    assert [each.status for each in client.log.of(OfferAnswered)] == [503]
    assert client.session.is_confirmed


@pytest.mark.parametrize("has_registered", [True, False])
def test_what_the_client_offers_as_it_comes_back_crosses_no_offer_that_has_waited(has_registered: bool) -> None:
    """It is answered first, for browsers that restart ICE take offers badly meanwhile."""
    stage, client = talking()
    lose(stage)
    client.session.offer(HOLD)
    stage.run(1)
    back = connect(stage)
    if has_registered:
        client.register(back)
        back.take()
    client.cseq += 1
    again = OFFER.replace(b"a 1 1", b"a 1 2")
    back.send(client.make("INVITE", body=again), ALICE)
    stage.run()
    [offered] = client.log.of(Offered)
    assert taken(back, "INVITE") == []
    client.session.answer_offer(offered.exchange, ANSWER)
    stage.run()
    [ok] = [one for one in back.take() if isinstance(one, Response) and one.status == 200]
    assert ok.body == ANSWER
    back.send(client.make("ACK"), ALICE)
    stage.run(FIRST_WORD)
    assert len(taken(back, "INVITE")) == 1


def test_a_bye_behind_an_offer_that_waits_is_all_that_the_client_hears() -> None:
    """The offer is over with the call."""
    stage, client = talking()
    lose(stage)
    client.session.offer(HOLD)
    client.session.hangup()
    stage.run(1)
    back = connect(stage)
    client.register(back)
    assert [one.method for one in back.take() if isinstance(one, Request)] == ["BYE"]


@pytest.mark.parametrize("host", ["df7jal23ls0d.invalid", "DF7JAL23LS0D.INVALID"])
def test_a_name_that_nobody_has_is_not_looked_up(host: str) -> None:
    """It is what browsers call themselves (RFC 7118 section 5, RFC 6761 section 6.4)."""
    stage = Stage()
    stage.agent.names[host] = (Flow("udp", *BOB),)
    found: list[tuple[Flow, ...]] = []
    stage.agent.core.locate(Uri.of("bob", host), found.append)
    assert found == [()]
