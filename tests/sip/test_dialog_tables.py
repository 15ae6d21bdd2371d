"""The session table and the session timer, with a clock turned by hand."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sip.errors import DialogError
from gateway.sip.invite import states as session
from gateway.sip.invite.session_timer import SessionTimer, TimerAction, TimerPolicy
from gateway.sip.invite.states import InviteSession, SessionAction, SessionInput, SessionState
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request, Response
from gateway.sip.message.uri import Uri
from gateway.sip.message.values import SessionExpires
from tests.rows import by_row

A = NameAddr(Uri.of("a", "h")).with_tag("1")


def request(method: str = "INVITE", *headers: tuple[str, object]) -> Request:
    return build.request(method, A.uri, from_=A, to=A.with_tag(None), call_id="c", cseq=1, headers=headers)


def reply(to: Request, status: int = 200, *headers: tuple[str, object]) -> Response:
    return build.response(to, status, to_tag="2", headers=headers)


In, Do = SessionInput, SessionAction

STORIES: dict[str, list[tuple[SessionInput, tuple[SessionAction, ...]]]] = {
    "call, ring, answer, we hang up": [
        (In.CALL, (Do.SEND_INVITE,)),
        (In.PROVISIONAL, (Do.TELL_RINGING,)),
        (In.SUCCESS, (Do.SEND_ACK, Do.TELL_ANSWERED)),
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
    "given up while it rings; a later 1xx is not cancelled again": [
        (In.CALL, (Do.SEND_INVITE,)),
        (In.PROVISIONAL, (Do.TELL_RINGING,)),
        (In.HANG_UP, (Do.SEND_CANCEL,)),
        (In.PROVISIONAL, ()),
        (In.FAILURE, (Do.TELL_ENDED,)),
    ],
    "given up and answered without a 1xx": [
        (In.CALL, (Do.SEND_INVITE,)),
        (In.HANG_UP, ()),
        (In.LATER_SUCCESS, (Do.END_BRANCH,)),
        (In.SUCCESS, (Do.SEND_ACK, Do.SEND_BYE, Do.TELL_ENDED)),
    ],
    "tried again elsewhere, where nothing is heard before we hang up": [
        (In.CALL, (Do.SEND_INVITE,)),
        (In.PROVISIONAL, (Do.TELL_RINGING,)),
        (In.RETRIED, ()),
        (In.HANG_UP, ()),
        (In.PROVISIONAL, (Do.SEND_CANCEL,)),
        (In.FAILURE, (Do.TELL_ENDED,)),
        (In.LATER_SUCCESS, (Do.END_BRANCH,)),
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
    "lost while it rings, and what crosses the CANCEL": [
        (In.CALL, (Do.SEND_INVITE,)),
        (In.RETRIED, ()),
        (In.PROVISIONAL, (Do.TELL_RINGING,)),
        (In.PROVISIONAL, (Do.TELL_RINGING,)),
        (In.LATER_SUCCESS, (Do.END_BRANCH,)),
        (In.LOST, (Do.SEND_CANCEL,)),
        (In.PROVISIONAL, ()),
        (In.BYE, (Do.ANSWER_BYE,)),
        (In.LATER_SUCCESS, (Do.END_BRANCH,)),
        (In.BYE, (Do.ANSWER_BYE,)),
        (In.FAILURE, (Do.TELL_ENDED,)),
    ],
    "a BYE of the early dialog, then a crossing 2xx": [
        (In.CALL, (Do.SEND_INVITE,)),
        (In.PROVISIONAL, (Do.TELL_RINGING,)),
        (In.BYE, (Do.ANSWER_BYE, Do.SEND_CANCEL)),
        (In.PROVISIONAL, ()),
        (In.SUCCESS, (Do.SEND_ACK, Do.SEND_BYE, Do.TELL_ENDED)),
    ],
    "the answer of one branch is refused, another is taken": [
        (In.CALL, (Do.SEND_INVITE,)),
        (In.SUCCESS, (Do.SEND_ACK, Do.TELL_ANSWERED)),
        (In.REFUSE_ANSWER, (Do.LEAVE_ANSWER,)),
        (In.LATER_SUCCESS, (Do.END_BRANCH,)),
        (In.SUCCESS, (Do.SEND_ACK, Do.TELL_ANSWERED)),
        (In.HANG_UP, (Do.SEND_BYE, Do.TELL_ENDED)),
    ],
    **{
        f"every answer is refused, then {end.value}": [
            (In.CALL, (Do.SEND_INVITE,)),
            (In.SUCCESS, (Do.SEND_ACK, Do.TELL_ANSWERED)),
            (In.REFUSE_ANSWER, (Do.LEAVE_ANSWER,)),
            (In.LATER_SUCCESS, (Do.END_BRANCH,)),
            (end, actions),
            (In.BYE, (Do.ANSWER_BYE,)),
        ]
        for end, actions in (
            (In.HANG_UP, (Do.TELL_ENDED,)),
            (In.BYE, (Do.ANSWER_BYE, Do.TELL_ENDED)),
            (In.LOST, (Do.TELL_ENDED,)),
            (In.FAILURE, (Do.TELL_ENDED,)),
        )
    },
    "called, and hung up before the answer": [
        (In.INVITED, ()),
        (In.RING, (Do.SEND_PROVISIONAL,)),
        (In.HANG_UP, (Do.SEND_FAILURE,)),
        (In.BYE, (Do.ANSWER_BYE,)),
    ],
    "accepted, and ended by the caller before its ACK": [
        (In.INVITED, ()),
        (In.ACCEPT, (Do.SEND_SUCCESS,)),
        (In.BYE, (Do.ANSWER_BYE, Do.TELL_ENDED)),
    ],
    "accepted and hung up, no ACK comes": [
        (In.INVITED, ()),
        (In.ACCEPT, (Do.SEND_SUCCESS,)),
        (In.HANG_UP, ()),
        (In.CANCELLED, ()),
        (In.NOT_ACKNOWLEDGED, (Do.SEND_BYE, Do.TELL_ENDED)),
    ],
    "accepted, hung up, acknowledged after a late CANCEL": [
        (In.INVITED, ()),
        (In.ACCEPT, (Do.SEND_SUCCESS,)),
        (In.HANG_UP, ()),
        (In.CANCELLED, ()),
        (In.ACKNOWLEDGED, (Do.SEND_BYE, Do.TELL_ENDED)),
    ],
    "accepted and hung up on both sides": [
        (In.INVITED, ()),
        (In.ACCEPT, (Do.SEND_SUCCESS,)),
        (In.HANG_UP, ()),
        (In.CANCELLED, ()),
        (In.BYE, (Do.ANSWER_BYE, Do.TELL_ENDED)),
    ],
    "called, accepted, acknowledged": [
        (In.INVITED, ()),
        (In.RING, (Do.SEND_PROVISIONAL,)),
        (In.ACCEPT, (Do.SEND_SUCCESS,)),
        (In.CANCELLED, ()),
        (In.ACKNOWLEDGED, (Do.TELL_ESTABLISHED,)),
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


@by_row("name", STORIES)
def test_sessions_run_as_the_rfc_tells(name: str) -> None:
    """CANCEL only after a 1xx, BYE only after the ACK, an ACK for every 2xx (RFC 3261 9.1, 13, 15)."""
    machine = InviteSession()
    for what, actions in STORIES[name]:
        assert machine.step(what) == actions
    assert machine.ignored == 0
    assert machine.is_over


@by_row(("state", "what"), list(product(SessionState, SessionInput)))
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
            if what is In.SUCCESS and start is In.CALL and before not in (SessionState.CONFIRMED, SessionState.ENDED):
                assert Do.SEND_ACK in actions
            if what is In.LATER_SUCCESS and start is In.CALL:
                assert Do.END_BRANCH in actions
            if what is In.BYE and before is not SessionState.CALLING and before is not SessionState.GIVING_UP:
                assert Do.ANSWER_BYE in actions
            assert actions.count(Do.TELL_ENDED) <= 1


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
            TimerPolicy(interval=interval, minimum=minimum)


def test_a_short_interval_is_422_where_the_peer_knows_timers() -> None:
    """A proxy's wish for a peer without timers is raised instead (section 8.1)."""
    timer = SessionTimer(POLICY)
    with pytest.raises(DialogError) as caught:
        timer.check(timed(60))
    assert caught.value.status == 422
    timer.check(timed(60, supported=False))
    timer.check(timed(90))
    timer.check(timed())


@by_row(
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


def test_a_refresh_that_failed_is_due_again_well_before_the_end() -> None:
    """Within seconds at the end of a short interval, after 10 s in a long one, or when the peer wants it."""
    for interval, delay, due in ((90, 0.0, 46.875), (1800, 0.0, 910.0), (1800, 4.0, 904.0)):
        timer = SessionTimer(POLICY)
        timer.postpone(0.0)
        timer.accepted(reply(request(), 200, ("Session-Expires", f"{interval};refresher=uac")), 0.0)
        assert timer.tick(interval / 2) is TimerAction.REFRESH
        timer.postpone(interval / 2, delay)
        assert timer.deadline == due
        assert timer.tick(due) is TimerAction.REFRESH


def test_a_422_raises_our_wish() -> None:
    """The Min-SE of a 422 is taken once; the same again is no progress."""
    timer = SessionTimer(TimerPolicy(interval=90))
    refusal = reply(request(), 422, ("Min-SE", 300))
    assert timer.too_small(refusal)
    fields = dict(timer.request_headers())
    assert (fields["Session-Expires"], fields["Min-SE"]) == (SessionExpires(300), 300)
    assert not timer.too_small(refusal)
    assert not timer.too_small(reply(request(), 422))


@by_row("interval", [0, 300, 900])
def test_a_session_is_refreshed_as_often_as_configured(interval: int) -> None:
    """sip.session_timer.expires, 0 where enabled says no; sip.session_timer.min_se in what is refused."""
    timer = SessionTimer(TimerPolicy(interval=interval, minimum=200))
    asked = dict(timer.request_headers())
    assert asked.get("Session-Expires") == (SessionExpires(interval) if interval else None)
    timer.check(timed(200))
    with pytest.raises(DialogError) as refused:
        timer.check(timed(199))
    assert refused.value.status == 422
