"""The dialogs' tables: offer/answer, session, re-INVITE and the session timer, with a clock turned by hand."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sip.errors import DialogError
from gateway.sip.invite import offer_answer, reinvite
from gateway.sip.invite import states as session
from gateway.sip.invite.offer_answer import (
    Carrier,
    Exchange,
    Meaning,
    OfferAnswer,
    Way,
    carrier_of,
    glare_delay,
    overlap_delay,
)
from gateway.sip.invite.reinvite import Reinvite, ReinviteAction, ReinviteInput, ReinviteState
from gateway.sip.invite.session_timer import SessionTimer, TimerAction, TimerPolicy, supports_timer
from gateway.sip.invite.states import InviteSession, SessionAction, SessionInput, SessionState
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request, Response
from gateway.sip.message.uri import Uri
from gateway.sip.message.values import SessionExpires

A = NameAddr(Uri.of("a", "h")).with_tag("1")


def request(method: str = "INVITE", *headers: tuple[str, object]) -> Request:
    return build.request(method, A.uri, from_=A, to=A.with_tag(None), call_id="c", cseq=1, headers=headers)


def reply(to: Request, status: int = 200, *headers: tuple[str, object]) -> Response:
    return build.response(to, status, to_tag="2", headers=headers)


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
        (R, Carrier.FAILURE, False, Meaning.NOTHING),
        (S, Carrier.INVITE, True, Meaning.OFFER),
    ],
    "refused UPDATE": [
        (S, Carrier.UPDATE, True, Meaning.OFFER),
        (R, Carrier.UPDATE_FAILURE, False, Meaning.NOTHING),
        (R, Carrier.INVITE, True, Meaning.OFFER),
    ],
    "UPDATE that only refreshes": [
        (S, Carrier.UPDATE, False, Meaning.NOTHING),
        (R, Carrier.UPDATE_SUCCESS, False, Meaning.NOTHING),
    ],
}


@pytest.mark.parametrize("name", EXCHANGES)
@pytest.mark.parametrize("mirrored", [False, True])
def test_lawful_exchanges_run_from_either_side(name: str, mirrored: bool) -> None:
    """Every pattern of RFC 6337 table 1, seen by the one that starts it and by the other."""
    exchange = OfferAnswer()
    for way, carrier, has_description, meaning in EXCHANGES[name]:
        sends = (way is Way.SENT) != mirrored
        step = exchange.sent if sends else exchange.received
        assert step(carrier, has_description) is meaning


def test_crossing_offers_are_491() -> None:
    """RFC 3261 14.2, RFC 3311 5.2: while our offer is out the peer's is refused, and ours stays."""
    for mine, theirs in product((Carrier.INVITE, Carrier.UPDATE), repeat=2):
        exchange = OfferAnswer()
        exchange.sent(mine, True)
        with pytest.raises(DialogError) as caught:
            exchange.received(theirs, True)
        assert caught.value.status == 491
        assert exchange.state is Exchange.LOCAL_OFFER


def test_an_offer_on_top_of_an_unanswered_one_is_500() -> None:
    """RFC 3261 14.2: the peer may not offer again before it has our answer."""
    exchange = OfferAnswer()
    exchange.received(Carrier.INVITE, True)
    with pytest.raises(DialogError) as caught:
        exchange.received(Carrier.UPDATE, True)
    assert caught.value.status == 500
    with pytest.raises(DialogError) as ours:
        exchange.sent(Carrier.UPDATE, True)
    assert ours.value.status == 491


@pytest.mark.parametrize(
    ("before", "carrier"),
    [
        ([(S, Carrier.INVITE, True)], Carrier.SUCCESS),
        ([(S, Carrier.INVITE, False)], Carrier.SUCCESS),
        ([(S, Carrier.UPDATE, True)], Carrier.UPDATE_SUCCESS),
        ([(R, Carrier.INVITE, False), (S, Carrier.SUCCESS, True)], Carrier.ACK),
    ],
)
def test_a_missing_description_ends_the_exchange(before: list[tuple[Way, Carrier, bool]], carrier: Carrier) -> None:
    """Where the answer or the offer must be and is not, the exchange is over and the caller hears of it."""
    exchange = OfferAnswer()
    for way, one, has_description in before:
        (exchange.sent if way is S else exchange.received)(one, has_description)
    with pytest.raises(DialogError) as caught:
        exchange.received(carrier, False)
    assert caught.value.status == 400
    assert exchange.state is Exchange.STABLE


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


def test_both_sides_of_the_offer_table_mirror_each_other() -> None:
    """What one side reads as sent the other reads as received, with the same meaning."""
    for (_, way, carrier, body), (meaning, _) in offer_answer.TABLE.items():
        other = Way.RECEIVED if way is Way.SENT else Way.SENT
        mirrored = {m for (_, w, c, b), (m, _) in offer_answer.TABLE.items() if (w, c, b) == (other, carrier, body)}
        assert meaning in mirrored


def test_messages_are_carriers_by_method_and_status() -> None:
    """A 1xx is reliable only with RSeq and Require: 100rel, where the session takes it."""
    invite, update, prack = request(), request("UPDATE"), request("PRACK")
    assert carrier_of(invite) is Carrier.INVITE
    assert carrier_of(request("BYE")) is None
    assert carrier_of(reply(invite, 183)) is Carrier.PROVISIONAL
    reliable = reply(invite, 183, ("RSeq", 1), ("Require", "100rel"))
    assert carrier_of(reliable) is Carrier.PROVISIONAL
    assert carrier_of(reliable, reliable=True) is Carrier.RELIABLE
    assert carrier_of(reply(invite)) is Carrier.SUCCESS
    assert carrier_of(reply(invite, 486)) is Carrier.FAILURE
    assert carrier_of(reply(update)) is Carrier.UPDATE_SUCCESS
    assert carrier_of(reply(update, 491)) is Carrier.UPDATE_FAILURE
    assert carrier_of(reply(update, 100)) is None
    assert carrier_of(reply(prack)) is Carrier.PRACK_SUCCESS
    assert carrier_of(reply(prack, 481)) is None


@given(st.floats(0, 1, exclude_max=True))
def test_glare_waits_are_those_of_the_rfc(random: float) -> None:
    """2.1 to 4 s for the owner of the Call-ID, 0 to 2 s for the other, in steps of 10 ms (RFC 3261 14.1)."""
    owner, other = glare_delay(True, random), glare_delay(False, random)
    assert 2.1 <= owner <= 4.0
    assert 0.0 <= other <= 2.0
    assert round(owner * 100) == pytest.approx(owner * 100)
    assert 0 <= overlap_delay(random) <= 10


In, Do = SessionInput, SessionAction

STORIES: dict[str, list[tuple[SessionInput, tuple[SessionAction, ...]]]] = {
    "call, ring, answer, we hang up": [
        (In.CALL, (Do.SEND_INVITE,)),
        (In.PROVISIONAL, (Do.TELL_RINGING,)),
        (In.SUCCESS, (Do.SEND_ACK, Do.TELL_ANSWERED)),
        (In.SUCCESS, (Do.SEND_ACK,)),
        (In.HANG_UP, (Do.SEND_BYE, Do.TELL_ENDED)),
        (In.BYE, (Do.ANSWER_BYE,)),
    ],
    "given up before anything is heard": [
        (In.CALL, (Do.SEND_INVITE,)),
        (In.HANG_UP, ()),
        (In.PROVISIONAL, (Do.SEND_CANCEL,)),
        (In.PROVISIONAL, ()),
        (In.FAILURE, (Do.TELL_ENDED,)),
    ],
    "given up and answered without a 1xx": [
        (In.CALL, (Do.SEND_INVITE,)),
        (In.HANG_UP, ()),
        (In.SUCCESS, (Do.SEND_ACK, Do.SEND_BYE, Do.TELL_ENDED)),
    ],
    "CANCEL and 2xx cross": [
        (In.CALL, (Do.SEND_INVITE,)),
        (In.PROVISIONAL, (Do.TELL_RINGING,)),
        (In.HANG_UP, (Do.SEND_CANCEL,)),
        (In.SUCCESS, (Do.SEND_ACK, Do.SEND_BYE, Do.TELL_ENDED)),
        (In.LATER_SUCCESS, (Do.END_BRANCH,)),
    ],
    "two branches answer": [
        (In.CALL, (Do.SEND_INVITE,)),
        (In.SUCCESS, (Do.SEND_ACK, Do.TELL_ANSWERED)),
        (In.LATER_SUCCESS, (Do.END_BRANCH,)),
        (In.BYE, (Do.ANSWER_BYE, Do.TELL_ENDED)),
    ],
    "called, accepted, acknowledged": [
        (In.INVITED, ()),
        (In.RING, (Do.SEND_PROVISIONAL,)),
        (In.ACCEPT, (Do.SEND_SUCCESS,)),
        (In.CANCELLED, ()),
        (In.ACKNOWLEDGED, (Do.TELL_ESTABLISHED,)),
        (In.ACKNOWLEDGED, ()),
        (In.LOST, (Do.SEND_BYE, Do.TELL_ENDED)),
    ],
    "the caller gives up": [
        (In.INVITED, ()),
        (In.RING, (Do.SEND_PROVISIONAL,)),
        (In.CANCELLED, (Do.SEND_TERMINATED, Do.TELL_ENDED)),
    ],
    "BYE waits for the ACK": [
        (In.INVITED, ()),
        (In.ACCEPT, (Do.SEND_SUCCESS,)),
        (In.HANG_UP, ()),
        (In.ACKNOWLEDGED, (Do.SEND_BYE, Do.TELL_ENDED)),
    ],
    "no ACK ever": [
        (In.INVITED, ()),
        (In.ACCEPT, (Do.SEND_SUCCESS,)),
        (In.NOT_ACKNOWLEDGED, (Do.SEND_BYE, Do.TELL_ENDED)),
    ],
    "rejected": [(In.INVITED, ()), (In.REJECT, (Do.SEND_FAILURE,))],
}


@pytest.mark.parametrize("name", STORIES)
def test_sessions_run_as_the_rfc_tells(name: str) -> None:
    """CANCEL only after a 1xx, BYE only after the ACK, an ACK for every 2xx (RFC 3261 9.1, 13, 15)."""
    machine = InviteSession()
    for what, actions in STORIES[name]:
        assert machine.step(what) == actions
    assert machine.ignored == 0
    assert machine.is_over


@pytest.mark.parametrize(("state", "what"), list(product(SessionState, SessionInput)))
def test_every_pair_of_the_session_table_is_a_row_or_ignored(state: SessionState, what: SessionInput) -> None:
    """An input without a row is counted and changes nothing; a row tells of the end exactly when the call ends."""
    machine = InviteSession()
    machine.state = state
    actions = machine.step(what)
    row = session.TABLE.get((state, what))
    if row is None:
        assert (actions, machine.state, machine.ignored) == ((), state, 1)
        return
    assert (actions, machine.state) == row
    ends_by_peer = machine.is_over and state is not SessionState.ENDED
    ours = Do.SEND_FAILURE in actions
    assert (Do.TELL_ENDED in actions) == (ends_by_peer and not (ours and what is not In.LOST))


@given(st.lists(st.sampled_from(SessionInput), max_size=20))
def test_a_2xx_is_always_acknowledged_and_a_bye_always_answered(steps: list[SessionInput]) -> None:
    """Whatever happened before, once the INVITE was sent or received."""
    for start in (In.CALL, In.INVITED):
        machine = InviteSession()
        machine.step(start)
        for what in steps:
            before = machine.state
            actions = machine.step(what)
            if what is In.SUCCESS and start is In.CALL:
                assert Do.SEND_ACK in actions
            if what is In.BYE and before is not SessionState.CALLING and before is not SessionState.GIVING_UP:
                assert Do.ANSWER_BYE in actions
            assert actions.count(Do.TELL_ENDED) <= 1


def test_a_glare_is_tried_again_after_its_wait() -> None:
    """491 to our re-INVITE: wait, then send again; the deadline is the table's only clock."""
    machine = Reinvite(owns_call_id=True)
    assert machine.step(ReinviteInput.WANTED, 0.0, 0.5) == (ReinviteAction.SEND,)
    assert machine.step(ReinviteInput.RECEIVED, 0.1, 0.5) == (ReinviteAction.REFUSE_GLARE,)
    assert machine.step(ReinviteInput.GLARE, 0.2, 0.0) == (ReinviteAction.BACK_OFF,)
    assert machine.deadline == pytest.approx(2.3)
    assert machine.tick(2.29, 0.5) == ()
    assert machine.tick(2.31, 0.5) == (ReinviteAction.SEND,)
    assert machine.deadline is None
    assert machine.step(ReinviteInput.SUCCESS, 3.0, 0.5) == (ReinviteAction.TELL_CHANGED,)
    assert machine.state is ReinviteState.IDLE


def test_both_ends_at_once_settle() -> None:
    """Two sides that glare a hundred times always end with one change after the other."""
    for index in range(100):
        owner, other = Reinvite(True), Reinvite(False)
        random = index / 100
        for side in (owner, other):
            side.step(ReinviteInput.WANTED, 0.0, random)
            assert side.step(ReinviteInput.RECEIVED, 0.0, random) == (ReinviteAction.REFUSE_GLARE,)
            side.step(ReinviteInput.GLARE, 0.0, random)
        assert other.deadline is not None
        assert owner.deadline is not None
        assert other.deadline < owner.deadline
        now = other.deadline
        assert other.tick(now, random) == (ReinviteAction.SEND,)
        assert owner.step(ReinviteInput.RECEIVED, now, random) == (ReinviteAction.ASK_USER,)
        assert owner.step(ReinviteInput.SETTLED, now, random) == ()
        assert other.step(ReinviteInput.SUCCESS, now, random) == (ReinviteAction.TELL_CHANGED,)
        assert owner.tick(owner.deadline, random) == (ReinviteAction.SEND,)


def test_a_change_waits_for_the_peers() -> None:
    """While the peer's re-INVITE is open ours waits, a second one of the peer's is 500."""
    machine = Reinvite(owns_call_id=False)
    assert machine.step(ReinviteInput.RECEIVED, 0.0, 0.0) == (ReinviteAction.ASK_USER,)
    assert machine.step(ReinviteInput.RECEIVED, 0.0, 0.0) == (ReinviteAction.REFUSE_OVERLAP,)
    assert machine.step(ReinviteInput.WANTED, 0.0, 0.0) == ()
    assert machine.step(ReinviteInput.SETTLED, 0.0, 0.0) == (ReinviteAction.SEND,)
    assert machine.step(ReinviteInput.GONE, 0.0, 0.0) == (ReinviteAction.END,)


def test_glares_without_end_are_given_up() -> None:
    """A peer that always answers 491 does not keep us trying for ever."""
    machine = Reinvite(owns_call_id=False, max_glares=3)
    machine.step(ReinviteInput.WANTED, 0.0, 0.0)
    outcomes = []
    for _ in range(3):
        outcomes.append(machine.step(ReinviteInput.GLARE, 0.0, 0.0))
        machine.tick(10.0, 0.0)
    assert outcomes[-1] == (ReinviteAction.TELL_UNCHANGED,)
    assert machine.state is ReinviteState.IDLE


@pytest.mark.parametrize(("state", "what"), list(product(ReinviteState, ReinviteInput)))
def test_every_pair_of_the_reinvite_table_is_a_row_or_ignored(state: ReinviteState, what: ReinviteInput) -> None:
    """An input without a row is counted and changes nothing; every received re-INVITE is answered somehow."""
    machine = Reinvite(owns_call_id=True)
    machine.state = state
    actions = machine.step(what, 0.0, 0.0)
    row = reinvite.TABLE.get((state, what))
    if row is None:
        assert (actions, machine.state, machine.ignored) == ((), state, 1)
        assert what is not ReinviteInput.RECEIVED
        return
    assert (actions, machine.state) == row


POLICY = TimerPolicy(interval=1800, minimum=90)


def timed(seconds: int | None = None, refresher: str | None = None, *, supported: bool = True) -> Request:
    headers: list[tuple[str, object]] = [("Supported", "timer")] if supported else []
    if seconds is not None:
        headers.append(("Session-Expires", SessionExpires(seconds, refresher)))
    return request("INVITE", *headers)


def test_a_policy_below_90_seconds_is_refused() -> None:
    """RFC 4028 section 5."""
    for interval, minimum in ((1800, 60), (60, 90)):
        with pytest.raises(ValueError, match="interval"):
            TimerPolicy(interval, minimum)


def test_a_short_interval_is_422_where_the_peer_knows_timers() -> None:
    """The answer names our minimum; a proxy's wish for a peer without timers is raised instead (section 8.1)."""
    timer = SessionTimer(POLICY)
    with pytest.raises(DialogError) as caught:
        timer.check(timed(60))
    assert caught.value.status == 422
    assert list(timer.min_se_header()) == [("Min-SE", 90)]
    timer.check(timed(60, supported=False))
    timer.check(timed(90))
    timer.check(timed())
    assert supports_timer(timed())


@pytest.mark.parametrize(
    ("asked", "refresher", "supported", "interval", "we_refresh"),
    [
        (600, "uac", True, 600, False),
        (600, "uas", True, 600, True),
        (600, None, True, 600, False),
        (600, None, False, 600, True),
        (9999, "uas", True, 1800, True),
        (None, None, True, 1800, False),
        (60, None, False, 90, True),
    ],
)
def test_the_answer_settles_interval_and_refresher(
    asked: int | None, refresher: str | None, supported: bool, interval: int, we_refresh: bool
) -> None:
    """RFC 4028 section 9, table 2."""
    timer = SessionTimer(POLICY)
    fields = dict(timer.accept(timed(asked, refresher, supported=supported), 0.0))
    assert fields["Session-Expires"] == SessionExpires(interval, "uas" if we_refresh else "uac")
    assert ("Require" in fields) == (not we_refresh)
    assert (timer.interval, timer.is_refresher) == (interval, we_refresh)


def test_nobody_wants_a_timer() -> None:
    """Without a wish on either side there is none, and a wish of the peer's is met even when we have none."""
    timer = SessionTimer(TimerPolicy(interval=0))
    assert list(timer.accept(timed(), 0.0)) == []
    assert timer.deadline is None
    assert list(timer.request_headers()) == []
    assert dict(timer.accept(timed(600), 0.0))["Session-Expires"] == SessionExpires(600, "uac")
    timer.accepted(reply(timed()), 0.0)
    assert timer.deadline is None
    assert list(SessionTimer(POLICY).accept(timed(supported=False), 0.0)) == []


def test_the_refresher_refreshes_at_half_time_and_once() -> None:
    """RFC 4028 section 10: refresh at half the interval; the 2xx starts the next one."""
    timer = SessionTimer(POLICY)
    assert dict(timer.request_headers())["Session-Expires"] == SessionExpires(1800)
    timer.accepted(reply(request(), 200, ("Session-Expires", "1000;refresher=uac")), 0.0)
    assert timer.deadline == 500.0
    assert timer.tick(499.9) is None
    assert timer.tick(500.0) is TimerAction.REFRESH
    assert timer.tick(501.0) is None
    assert timer.deadline == 968.0
    assert dict(timer.request_headers())["Session-Expires"] == SessionExpires(1000, "uac")
    timer.accepted(reply(request(), 200, ("Session-Expires", "1000;refresher=uac")), 501.0)
    assert timer.deadline == 1001.0


def test_a_session_that_is_not_refreshed_expires() -> None:
    """The other side gives up min(32 s, a third) before the end."""
    timer = SessionTimer(POLICY)
    timer.accepted(reply(request(), 200, ("Session-Expires", "90;refresher=uas")), 10.0)
    assert timer.deadline == 70.0
    assert timer.tick(69.0) is None
    assert timer.tick(70.0) is TimerAction.EXPIRED
    assert timer.tick(71.0) is None
    assert timer.deadline is None


def test_a_peer_without_timers_is_refreshed_by_us() -> None:
    """A 2xx without Session-Expires: we refresh for both (section 7.2)."""
    timer = SessionTimer(POLICY)
    timer.accepted(reply(request()), 0.0)
    assert (timer.is_refresher, timer.deadline) == (True, 900.0)


def test_a_422_raises_our_wish() -> None:
    """The Min-SE of a 422 is taken once; the same again is no progress."""
    timer = SessionTimer(TimerPolicy(interval=90))
    refusal = reply(request(), 422, ("Min-SE", 300))
    assert timer.too_small(refusal)
    fields = dict(timer.request_headers())
    assert (fields["Session-Expires"], fields["Min-SE"]) == (SessionExpires(300), 300)
    assert not timer.too_small(refusal)
    assert not timer.too_small(reply(request(), 422))
