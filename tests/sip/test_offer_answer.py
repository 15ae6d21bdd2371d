"""The joint table of offers: every pattern of RFC 6337, every pair, and both sides as mirror images."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sip.errors import DialogError
from gateway.sip.invite.offer_answer import (
    STABLE,
    TABLE,
    Carrier,
    Invite,
    Joint,
    Meaning,
    Offer,
    OfferAnswer,
    Way,
    glare_delay,
    overlap_delay,
)
from tests.rows import by_row

Step = tuple[Way, Carrier, bool, Meaning]
S, R = Way.SENT, Way.RECEIVED

EXCHANGES: dict[str, list[Step]] = {
    "offer in INVITE, answer in 2xx": [
        (S, Carrier.INVITE, True, Meaning.OFFER),
        (R, Carrier.SUCCESS, True, Meaning.ANSWER),
        (S, Carrier.ACK, False, Meaning.NOTHING),
    ],
    "answer shown in 183 first": [
        (S, Carrier.INVITE, True, Meaning.OFFER),
        (R, Carrier.PROVISIONAL, False, Meaning.NOTHING),
        (R, Carrier.PROVISIONAL, True, Meaning.PREVIEW),
        (R, Carrier.PROVISIONAL, True, Meaning.PREVIEW),
        (R, Carrier.SUCCESS, True, Meaning.ANSWER),
    ],
    "2xx without the description that the 183 showed": [
        (S, Carrier.INVITE, True, Meaning.OFFER),
        (R, Carrier.PROVISIONAL, True, Meaning.PREVIEW),
        (R, Carrier.SUCCESS, False, Meaning.ANSWER),
    ],
    "answer in a reliable 183, repeated in the 2xx": [
        (S, Carrier.INVITE, True, Meaning.OFFER),
        (R, Carrier.RELIABLE, True, Meaning.ANSWER),
        (S, Carrier.PRACK, False, Meaning.NOTHING),
        (R, Carrier.SUCCESS, True, Meaning.NOTHING),
    ],
    "offer in 2xx, answer in ACK": [
        (S, Carrier.INVITE, False, Meaning.NOTHING),
        (R, Carrier.PROVISIONAL, True, Meaning.NOTHING),
        (R, Carrier.SUCCESS, True, Meaning.OFFER),
        (S, Carrier.ACK, True, Meaning.ANSWER),
    ],
    "offer in reliable 183, answer in PRACK": [
        (S, Carrier.INVITE, False, Meaning.NOTHING),
        (R, Carrier.RELIABLE, True, Meaning.OFFER),
        (S, Carrier.PRACK, True, Meaning.ANSWER),
        (R, Carrier.PRACK_SUCCESS, False, Meaning.NOTHING),
        (R, Carrier.SUCCESS, False, Meaning.NOTHING),
    ],
    "second offer in PRACK": [
        (S, Carrier.INVITE, True, Meaning.OFFER),
        (R, Carrier.RELIABLE, True, Meaning.ANSWER),
        (S, Carrier.PRACK, True, Meaning.OFFER),
        (R, Carrier.PRACK_SUCCESS, True, Meaning.ANSWER),
        (R, Carrier.SUCCESS, False, Meaning.NOTHING),
    ],
    "UPDATE in the early dialog": [
        (S, Carrier.INVITE, True, Meaning.OFFER),
        (R, Carrier.RELIABLE, True, Meaning.ANSWER),
        (R, Carrier.UPDATE, True, Meaning.OFFER),
        (S, Carrier.UPDATE_SUCCESS, True, Meaning.ANSWER),
        (R, Carrier.SUCCESS, False, Meaning.NOTHING),
    ],
    "refused re-INVITE": [
        (S, Carrier.INVITE, True, Meaning.OFFER),
        (R, Carrier.FAILURE, False, Meaning.REFUSED),
        (S, Carrier.INVITE, True, Meaning.OFFER),
    ],
    "refused UPDATE": [
        (S, Carrier.UPDATE, True, Meaning.OFFER),
        (R, Carrier.UPDATE_FAILURE, False, Meaning.REFUSED),
        (R, Carrier.INVITE, True, Meaning.OFFER),
    ],
    "UPDATE that only refreshes": [
        (S, Carrier.UPDATE, False, Meaning.NOTHING),
        (R, Carrier.UPDATE_SUCCESS, False, Meaning.NOTHING),
    ],
    "the 2xx overtakes the answer to an UPDATE": [
        (S, Carrier.INVITE, True, Meaning.OFFER),
        (R, Carrier.RELIABLE, True, Meaning.ANSWER),
        (S, Carrier.UPDATE, True, Meaning.OFFER),
        (R, Carrier.SUCCESS, False, Meaning.NOTHING),
        (S, Carrier.ACK, False, Meaning.NOTHING),
        (R, Carrier.UPDATE_SUCCESS, True, Meaning.ANSWER),
        (S, Carrier.INVITE, True, Meaning.OFFER),
    ],
    "a 2xx overtakes the PRACK that has to answer": [
        (S, Carrier.INVITE, False, Meaning.NOTHING),
        (R, Carrier.RELIABLE, True, Meaning.OFFER),
        (R, Carrier.SUCCESS, False, Meaning.NOTHING),
        (S, Carrier.ACK, True, Meaning.ANSWER),
        (S, Carrier.INVITE, True, Meaning.OFFER),
    ],
    "a 2xx without the answer": [
        (S, Carrier.INVITE, True, Meaning.OFFER),
        (R, Carrier.SUCCESS, False, Meaning.MISSING),
        (S, Carrier.ACK, False, Meaning.NOTHING),
        (R, Carrier.INVITE, True, Meaning.OFFER),
    ],
    "an ACK without the answer": [
        (S, Carrier.INVITE, False, Meaning.NOTHING),
        (R, Carrier.SUCCESS, True, Meaning.OFFER),
        (S, Carrier.ACK, False, Meaning.MISSING),
        (R, Carrier.INVITE, True, Meaning.OFFER),
    ],
}


@by_row("name", EXCHANGES)
@by_row("mirrored", [False, True])
def test_lawful_exchanges_run_from_either_side(name: str, mirrored: bool) -> None:
    """Every pattern of RFC 6337 table 1, seen by the one that starts it and by the other."""
    exchange = OfferAnswer()
    for way, carrier, has_description, meaning in EXCHANGES[name]:
        sends = (way is Way.SENT) != mirrored
        step = exchange.sent if sends else exchange.received
        assert step(carrier, has_description) is meaning


STATES = sorted({state for state, *_ in TABLE} | {state for _, state in TABLE.values()}, key=str)
OTHER = {Way.SENT: Way.RECEIVED, Way.RECEIVED: Way.SENT}


@by_row("state", STATES, ids=str)
def test_every_pair_is_a_row_or_refused_without_a_trace(state: Joint) -> None:
    """A row gives its meaning and its next state; anything else a status that answers it, and no change."""
    for way, carrier, body in product(Way, Carrier, (False, True)):
        table = OfferAnswer()
        table.state = state
        step = table.sent if way is Way.SENT else table.received
        row = TABLE.get((state, way, carrier, body))
        if row is not None:
            assert (step(carrier, body), table.state) == row
            continue
        with pytest.raises(DialogError) as caught:
            step(carrier, body)
        assert table.state is state
        assert caught.value.status in ((500,) if way is Way.SENT else (400, 491, 500))


def mirror(state: Joint) -> Joint:
    """The same moment seen by the other side."""

    def swap(name: str) -> str:
        if "LOCAL" in name:
            return name.replace("LOCAL", "REMOTE")
        return name.replace("REMOTE", "LOCAL")

    return Joint(Invite[swap(state.invite.name)], Offer[swap(state.offer.name)], state.by)


def test_what_one_side_sends_the_other_reads_alike() -> None:
    """Each row has its mirror image: both sides always agree on who has an offer open."""
    seen = {
        (mirror(state), OTHER[way], carrier, body): (meaning, mirror(after))
        for (state, way, carrier, body), (meaning, after) in TABLE.items()
    }
    assert {key: row for key, row in TABLE.items() if seen.get(key) != row} == {}


def test_two_offers_are_never_open() -> None:
    """No row opens an offer while one is open (RFC 3264 section 4), nor an INVITE beside another (RFC 3261 14.1)."""
    for (state, _, carrier, body), (meaning, after) in TABLE.items():
        if meaning is Meaning.OFFER and state.offer is not Offer.NONE:
            assert state.offer in (Offer.LOCAL_ASKED, Offer.REMOTE_ASKED)
        if carrier is Carrier.INVITE:
            assert state == STABLE
        if body and meaning is Meaning.ANSWER:
            assert after.offer is Offer.NONE


def test_from_every_state_there_is_a_way_back() -> None:
    """No exchange can hang for ever by the table's own fault."""
    home = {STABLE}
    while True:
        more = {state for (state, *_), (_, after) in TABLE.items() if after in home} - home
        if not more:
            break
        home |= more
    assert home == set(STATES)


def test_an_offer_in_flight_can_always_be_refused_or_answered() -> None:
    """Whoever has an offer open gets an answer by what brought it, and by nothing else."""
    answers = {
        Carrier.INVITE: {Carrier.SUCCESS, Carrier.RELIABLE},
        Carrier.RELIABLE: {Carrier.PRACK},
        Carrier.SUCCESS: {Carrier.ACK},
        Carrier.UPDATE: {Carrier.UPDATE_SUCCESS},
        Carrier.PRACK: {Carrier.PRACK_SUCCESS},
    }
    for (state, _, carrier, body), (meaning, _) in TABLE.items():
        if meaning is Meaning.ANSWER and body:
            assert state.by is not None
            assert carrier in answers[state.by]


def test_crossing_offers_are_491() -> None:
    """RFC 3261 14.2, RFC 3311 5.2: while our offer is out the peer's is refused, and ours stays."""
    for mine, theirs in product((Carrier.INVITE, Carrier.UPDATE), repeat=2):
        exchange = OfferAnswer()
        exchange.sent(mine, True)
        before = exchange.state
        with pytest.raises(DialogError) as caught:
            exchange.received(theirs, True)
        assert caught.value.status == 491
        assert exchange.state is before


@by_row("first", [Carrier.INVITE, Carrier.UPDATE])
@by_row("second", [Carrier.INVITE, Carrier.UPDATE])
def test_an_offer_on_top_of_an_unanswered_one_is_500(first: Carrier, second: Carrier) -> None:
    """RFC 3261 14.2, RFC 3311 5.2: the peer may not offer again before it has our answer."""
    exchange = OfferAnswer()
    exchange.received(first, True)
    with pytest.raises(DialogError) as caught:
        exchange.received(second, True)
    assert caught.value.status == 500
    assert not exchange.may_send(Carrier.UPDATE, True)


def test_an_invite_before_the_ack_of_the_last_is_500() -> None:
    """Its answer may be in that ACK; the peer comes again (RFC 3261 14.2)."""
    exchange = OfferAnswer()
    exchange.received(Carrier.INVITE, False)
    exchange.sent(Carrier.SUCCESS, True)
    with pytest.raises(DialogError) as caught:
        exchange.received(Carrier.INVITE, True)
    assert caught.value.status == 500
    with pytest.raises(DialogError) as update:
        exchange.received(Carrier.UPDATE, True)
    assert update.value.status == 491


def test_an_update_is_no_answer_to_an_invite_that_asks() -> None:
    """We asked for an offer in the response; an UPDATE that brings one instead crosses it."""
    exchange = OfferAnswer()
    exchange.sent(Carrier.INVITE, False)
    with pytest.raises(DialogError) as caught:
        exchange.received(Carrier.UPDATE, True)
    assert caught.value.status == 491


def test_an_update_that_crosses_our_offer_in_a_1xx_is_491() -> None:
    """RFC 3311 5.2: the offer of our reliable 183 waits for the PRACK."""
    exchange = OfferAnswer()
    exchange.received(Carrier.INVITE, False)
    exchange.sent(Carrier.RELIABLE, True)
    with pytest.raises(DialogError) as caught:
        exchange.received(Carrier.UPDATE, True)
    assert caught.value.status == 491


def test_a_prack_without_the_answer_it_owes_is_400() -> None:
    """RFC 3262 section 5; the reliable response stays unacknowledged."""
    exchange = OfferAnswer()
    exchange.received(Carrier.INVITE, False)
    exchange.sent(Carrier.RELIABLE, True)
    with pytest.raises(DialogError) as caught:
        exchange.received(Carrier.PRACK, False)
    assert caught.value.status == 400


def test_a_description_where_none_belongs_is_refused() -> None:
    """An ACK with a description and no offer to answer."""
    exchange = OfferAnswer()
    with pytest.raises(DialogError) as caught:
        exchange.received(Carrier.ACK, True)
    assert caught.value.status == 400


@given(st.lists(st.tuples(st.sampled_from(Way), st.sampled_from(Carrier), st.booleans()), max_size=12))
def test_no_order_of_messages_breaks_the_table(steps: list[tuple[Way, Carrier, bool]]) -> None:
    """Any sequence gives meanings or DialogErrors with a status that answers."""
    exchange = OfferAnswer()
    statuses: set[int] = set()
    for way, carrier, has_description in steps:
        try:
            (exchange.sent if way is S else exchange.received)(carrier, has_description)
        except DialogError as error:
            statuses.add(error.status)
    assert statuses <= {400, 491, 500}


@given(st.floats(0, 1, exclude_max=True))
def test_glare_waits_are_those_of_the_rfc(random: float) -> None:
    """2.1 to 4 s for the owner of the Call-ID, 0 to 2 s for the other, in steps of 10 ms (RFC 3261 14.1)."""
    owner, other = glare_delay(True, random), glare_delay(False, random)
    assert 2.1 <= owner <= 4.0
    assert 0.0 <= other <= 2.0
    assert round(owner * 100) == pytest.approx(owner * 100)
    assert 0 <= overlap_delay(random) <= 10
