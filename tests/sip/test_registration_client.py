"""Our registration at a registrar: every row of its table, and how soon it is back when the registrar is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sip.registration.client import (
    TABLE,
    Action,
    FlowRecovery,
    Input,
    Outcome,
    RegistrationClient,
    RegistrationPolicy,
    Send,
    State,
)
from tests.rows import by_row

POLICY = RegistrationPolicy(expires=300, probe=0)
OK = Outcome(status=200, granted=300)
DOWN = Outcome(status=503)
REFUSED = Outcome(status=403)


def registered(policy: RegistrationPolicy = POLICY, granted: int | None = 300) -> RegistrationClient:
    client = RegistrationClient(policy)
    assert client.start(0.0) is Send.REGISTER
    assert client.answered(Outcome(status=200, granted=granted), 0.0) is None
    return client


def test_it_registers_and_refreshes_in_time_for_two_more_tries() -> None:
    """At 85 percent less two seconds, at the latest."""
    client = registered()
    assert (client.registered, client.status, client.expires, client.deadline) == (True, 200, 300, 253.0)
    assert client.due(252.9) is None
    assert client.due(253.0) is Send.REGISTER
    assert client.deadline is None
    assert client.registered


@by_row(("granted", "deadline"), [(1, 1.0), (0, 1.0), (10, 6.5), (None, 253.0)])
def test_what_the_registrar_grants_decides_when_to_refresh(granted: int | None, deadline: float) -> None:
    """Never more often than once a second; a 200 without a time grants what was asked for."""
    assert registered(granted=granted).deadline == deadline


def test_423_asks_again_for_the_time_the_registrar_wants() -> None:
    """At once and for good (RFC 3261 10.2.8); a 423 without a longer time is a refusal."""
    client = RegistrationClient(POLICY)
    client.start(0.0)
    assert client.answered(Outcome(status=423, min_expires=600), 0.0) is Send.REGISTER
    assert client.wanted == 600
    assert client.answered(Outcome(status=423, min_expires=600), 0.0) is None
    assert client.state is State.WAITING
    assert client.deadline == 5.0


@by_row("brief", [lambda wanted: 100_000, lambda wanted: wanted + 1, lambda wanted: 86_401])
def test_a_registrar_that_says_423_for_ever_is_a_refusal(brief: Callable[[int], int]) -> None:
    """More than a day, or more each time: asked at most twice at once, then ever more rarely."""
    client = RegistrationClient(POLICY)
    now, sent = 0.0, 0
    waits: list[float] = []
    send = client.start(now)
    while len(waits) < 8 and sent < 100:
        assert send is Send.REGISTER
        sent += 1
        send = client.answered(Outcome(status=423, min_expires=brief(client.wanted)), now)
        if send is None:
            assert client.state is State.WAITING
            assert client.deadline is not None
            waits.append(client.deadline - now)
            now = client.deadline
            send = client.due(now)
    assert sent <= 2 * len(waits)
    assert waits == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0]
    assert client.wanted <= 86_400


def test_a_day_is_asked_for_where_the_registrar_wants_it() -> None:
    """And a registrar that has wanted more may do so again at a later refresh."""
    client = RegistrationClient(POLICY)
    client.start(0.0)
    for minimum in (600, 86_400):
        assert client.answered(Outcome(status=423, min_expires=minimum), 0.0) is Send.REGISTER
        assert client.wanted == minimum
        assert client.answered(Outcome(status=200, granted=minimum), 0.0) is None
        assert client.registered
        assert client.due(float(minimum)) is Send.REGISTER


def test_a_registrar_that_is_down_is_asked_every_few_seconds() -> None:
    """Its return is noticed within `retry_down`, however long it was away."""
    client = registered()
    now = 253.0
    assert client.due(now) is Send.REGISTER
    waits = []
    for _ in range(20):
        assert client.answered(DOWN, now) is None
        assert not client.registered
        assert client.deadline is not None
        waits.append(client.deadline - now)
        now = client.deadline
        assert client.due(now) is Send.REGISTER
    assert waits[:4] == [1.0, 2.0, 4.0, 5.0]
    assert max(waits) == 5.0
    client.answered(OK, now)
    assert client.registered


def test_a_registrar_that_refuses_us_is_asked_ever_more_rarely() -> None:
    """Doubling from 5 s to 300 s: the mistake is its owner's or ours to mend; a success forgets it."""
    client = RegistrationClient(POLICY)
    client.start(0.0)
    now, waits = 0.0, []
    for _ in range(9):
        client.answered(REFUSED, now)
        assert client.deadline is not None
        waits.append(client.deadline - now)
        now = client.deadline
        client.due(now)
    assert waits == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0, 300.0]
    client.answered(OK, now)
    assert client.deadline is not None
    client.due(client.deadline)
    client.answered(REFUSED, 10_000.0)
    assert client.deadline == 10_005.0


@by_row(("asked", "wait"), [(30.0, 30.0), (9e9, 3600.0), (0.5, 1.0)])
def test_retry_after_is_kept_within_reason(asked: float, wait: float) -> None:
    """Never sooner than we would by ourselves, never later than in an hour."""
    client = RegistrationClient(POLICY)
    client.start(0.0)
    client.answered(Outcome(status=503, retry_after=asked), 0.0)
    assert client.deadline == wait


def test_a_probe_finds_that_the_registrar_went_away() -> None:
    """Any answer keeps the binding; silence or a refused connection does not."""
    client = registered(RegistrationPolicy(expires=300, probe=20.0))
    assert client.due(19.0) is None
    assert client.due(20.0) is Send.PROBE
    assert client.answered(Outcome(status=404), 20.1) is None
    assert (client.state, client.registered, client.deadline) == (State.REGISTERED, True, 40.1)
    assert client.due(40.1) is Send.PROBE
    assert client.answered(DOWN, 40.2) is None
    assert (client.registered, client.deadline) == (False, 41.2)
    assert client.due(41.2) is Send.REGISTER


def test_a_refresh_comes_before_a_probe() -> None:
    """Both at once are one request."""
    client = registered(RegistrationPolicy(expires=300, probe=300.0))
    assert client.deadline == 253.0
    assert client.due(253.0) is Send.REGISTER


def test_stopping_takes_the_binding_back() -> None:
    """Expires 0, and whatever comes back it is over."""
    for outcome in (OK, DOWN, REFUSED, Outcome(status=423, min_expires=9000)):
        client = registered()
        assert client.stop(1.0) is Send.UNREGISTER
        assert client.answered(outcome, 1.0) is None
        assert (client.state, client.registered, client.deadline) == (State.GONE, False, None)
        assert client.stop(2.0) is None
        assert client.due(9e9) is None


def test_stopping_without_a_binding_sends_nothing() -> None:
    """Before the start, and while it waits."""
    fresh = RegistrationClient(POLICY)
    assert fresh.stop(0.0) is None
    waiting = RegistrationClient(POLICY)
    waiting.start(0.0)
    waiting.answered(DOWN, 0.0)
    assert waiting.stop(0.1) is None
    assert fresh.state is waiting.state is State.GONE


def test_every_state_answers_every_outcome_it_can_get() -> None:
    """The table has no hole where an answer is awaited, and every state is reached."""
    for state in (State.REGISTERING, State.PROBING, State.UNREGISTERING):
        assert {what for at, what in TABLE if at is state} >= {Input.OK, Input.BRIEF, Input.REFUSED, Input.DOWN}
    assert {after for _, after in TABLE.values()} | {State.IDLE} == set(State)
    assert {what for _, what in TABLE} == set(Input)


@given(st.lists(st.tuples(st.sampled_from([200, 401, 403, 408, 423, 500, 503]), st.integers(0, 900)), max_size=40))
def test_it_always_waits_for_an_answer_or_has_a_deadline(outcomes: list[tuple[int, int]]) -> None:
    """Until it is stopped it never falls silent, and never asks more than once a second."""
    client = RegistrationClient(RegistrationPolicy(expires=300))
    now = 0.0
    send = client.start(now)
    for status, number in outcomes:
        assert send is not None
        assert client.state is State.REGISTERING or client.state is State.PROBING
        send = client.answered(Outcome(status=status, granted=number, min_expires=number), now)
        deadline = client.deadline
        if send is None:
            assert deadline is not None
            assert deadline >= now + 1.0
            now = deadline
            send = client.due(now)
        else:
            assert deadline is None


@by_row(("random", "refresh", "retry"), [(0.0, 268.0, 2.5), (0.5, 253.0, 5.0), (0.99, 238.3, 7.45)])
def test_many_registrations_do_not_come_all_at_once(random: float, refresh: float, retry: float) -> None:
    """Refreshes within a tenth of the time, later tries by half more or less: a restart cuts all off at one moment."""
    client = RegistrationClient(POLICY, lambda: random)
    client.start(0.0)
    client.answered(OK, 0.0)
    assert client.deadline == pytest.approx(refresh)
    client.due(refresh)
    client.answered(REFUSED, 0.0)
    assert client.deadline == pytest.approx(retry)


def test_a_registration_is_hurried_where_its_registrar_is_back() -> None:
    """Refreshed though the time has not come, tried again though the wait is not over; while one is asked, nothing."""
    client = RegistrationClient(POLICY, lambda: 0.5)
    client.start(0.0)
    client.hurry(1.0, 0.0)
    assert not client.deadline
    client.answered(OK, 0.0)
    client.hurry(1.0, 10.0)
    assert client.deadline == 10.5
    assert client.due(10.5) is Send.REGISTER
    client.answered(REFUSED, 11.0)
    client.hurry(1.0, 11.0)
    assert client.due(11.5) is Send.REGISTER


FLOW = RegistrationPolicy(expires=300, probe=20.0, recovery=FlowRecovery())


@by_row("failed", [DOWN, REFUSED, Outcome(status=430)])
@by_row(
    ("others_stand", "bounds"),
    [(False, [60, 120, 240, 480, 960, 1800, 1800]), (True, [180, 360, 720, 1440, 1800, 1800])],
)
def test_a_flow_that_cannot_be_formed_is_left_alone_ever_longer(
    failed: Outcome, others_stand: bool, bounds: list[float]
) -> None:
    """30 s while none stands, 90 s while another one does, doubled for each failure up to 1,800 s (RFC 5626 4.5)."""
    for random, share in ((0.0, 0.5), (1.0, 1.0)):
        client = RegistrationClient(FLOW, lambda random=random: random, lambda: others_stand)  # type: ignore[misc]
        client.start(0.0)
        now = 0.0
        for bound in bounds:
            client.answered(failed, now)
            assert client.deadline == now + bound * share
            now = client.deadline
            assert client.due(now) is Send.REGISTER


def test_a_registrar_may_ask_that_a_flow_is_formed_later_still() -> None:
    """Retry-After of a 503 makes the wait longer, never shorter."""
    for asked, deadline in ((600.0, 600.0), (1.0, 45.0)):
        client = RegistrationClient(FLOW)
        client.start(0.0)
        client.answered(Outcome(status=503, retry_after=asked), 0.0)
        assert client.deadline == deadline


def test_a_flow_that_has_proved_of_use_is_formed_anew_at_once() -> None:
    """Else forming it counts as failed, however often the registrar says 200 and closes the connection."""
    client = registered(FLOW)
    client.proven()
    client.flow_failed(2.0, 100.0)
    assert (client.registered, client.status, client.state) == (False, 430, State.WAITING)
    assert client.deadline == 101.0
    assert client.due(101.0) is Send.REGISTER
    now = 101.0
    for bound in (60.0, 120.0, 240.0):
        client.answered(OK, now)
        assert client.registered
        client.flow_failed(2.0, now)
        assert client.deadline == now + 0.75 * bound
        now = client.deadline
        assert client.due(now) is Send.REGISTER
    client.answered(OK, now)
    assert client.due(now + 20.0) is Send.PROBE
    client.answered(Outcome(status=404), now + 20.0)
    client.flow_failed(2.0, now + 21.0)
    assert client.deadline == now + 22.0


def test_a_refresh_proves_a_flow() -> None:
    """It went by the same flow."""
    client = registered(RegistrationPolicy(expires=300, probe=0, recovery=FlowRecovery()))
    assert client.due(253.0) is Send.REGISTER
    client.answered(OK, 253.0)
    client.flow_failed(1.0, 260.0)
    assert client.deadline == 260.5


def test_a_flow_that_fails_twice_fails_once() -> None:
    """The connection and its keep-alive tell the same; what a probe is answered then is nobody's business."""
    client = registered(FLOW)
    assert client.due(20.0) is Send.PROBE
    client.flow_failed(1.0, 21.0)
    deadline = client.deadline
    client.flow_failed(1.0, 22.0)
    assert client.answered(OK, 23.0) is None
    client.proven()
    assert (client.registered, client.deadline) == (False, deadline)
    assert client.stop(24.0) is None
    assert client.state is State.GONE


@by_row("state", [State.REGISTERING, State.REGISTERED, State.PROBING])
def test_a_stop_unregisters_wherever_a_binding_may_stand(state: State) -> None:
    """Also while a REGISTER or a probe is on its way."""
    assert TABLE[state, Input.STOP] == ((Action.UNREGISTER,), State.UNREGISTERING)


@by_row("answer", [Input.OK, Input.REFUSED, Input.BRIEF])
def test_any_answer_to_a_probe_proves_the_flow(answer: Input) -> None:
    """The registrar is there, whatever it thinks of OPTIONS."""
    assert TABLE[State.PROBING, answer] == ((Action.PROVE, Action.SCHEDULE), State.REGISTERED)
