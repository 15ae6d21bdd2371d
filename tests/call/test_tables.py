"""Every (state, input) of both tables: what has a row does what it says, what has none changes nothing."""

from __future__ import annotations

from itertools import product

import pytest
from structlog.testing import capture_logs

from gateway.call import attempt_table, bridge_table
from gateway.call.diagram import diagram
from gateway.call.leg import Confirmed, OfferAnswered, Offered, Returned
from gateway.call.state import FINISH, Action, CallInput, Input, State, Table
from gateway.call.status import Cause
from gateway.media.engine import Kind
from gateway.testing.leg import FakeLeg
from tests.call.rig import ANSWER, OFFER, Rig
from tests.rows import by_row

TABLES: dict[str, tuple[Table, tuple[State, ...]]] = {
    "attempt": (attempt_table.TABLE, (*attempt_table.ALIVE, State.ENDED)),
    "bridge": (bridge_table.TABLE, (*bridge_table.ALIVE, State.ENDED)),
}
PAIRS = [(name, state, what) for name, (_, states) in TABLES.items() for state in states for what in Input]


async def rig_of(name: str, state: State) -> Rig:
    """A call whose attempt or bridge is in that state, by force."""
    rig = await (Rig().connected() if name == "bridge" else Rig(callees=2).started())
    rig.call.machine.state = state
    return rig


@by_row(("name", "state", "what"), PAIRS, ids=[f"{n}-{s.value}-{w.value}" for n, s, w in PAIRS])
async def test_a_row_does_its_actions_in_order_and_what_has_no_row_changes_nothing(
    name: str, state: State, what: Input, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table is the whole behaviour: no input is handled anywhere else."""
    rig = await rig_of(name, state)
    machine, done = rig.call.machine, list[Action]()

    async def do(action: Action, _: CallInput) -> None:
        done.append(action)

    monkeypatch.setattr(machine, "do", do)
    monkeypatch.setattr(machine, "admits", lambda _: True)
    before = len(rig.engine.requests)
    rig.call.post(CallInput(input=what))
    await rig.settle()
    row = TABLES[name][0].get((state, what))
    assert len(rig.engine.requests) == before
    if row is None:
        assert machine.state is state
        assert not done
        assert state is State.ENDED or machine.unexpected[state, what] == 1
    else:
        assert (tuple(done), machine.state) == row
        assert rig.call.history[-1].input is what


def test_every_live_state_can_be_ended_from_outside() -> None:
    """Shutdown, faults and failed media have a row wherever a call can be."""
    for table, states in TABLES.values():
        for state in states[:-1]:
            for what in (Input.STOP, Input.FAULT, Input.MEDIA_FAILED):
                assert table[state, what][1] is State.ENDED


def test_whoever_hangs_up_ends_the_call_in_every_state() -> None:
    """There is no moment at which a hang-up is lost."""
    for state in attempt_table.ALIVE:
        assert attempt_table.TABLE[state, Input.CALLER_HUNG_UP][1] is State.ENDED
    for state in (*attempt_table.BEFORE_ANSWER, State.CONFIRMING):
        assert (state, Input.CALLEE_HUNG_UP) in attempt_table.TABLE
    for state, what in product(bridge_table.ALIVE, (Input.HUNG_UP, Input.MEDIA_TIMEOUT, Input.MAX_DURATION)):
        assert bridge_table.TABLE[state, what] == (FINISH, State.ENDED)


@by_row(
    ("what", "actions"),
    [
        (Input.TRANSFER, (Action.INVITE_TARGETS,)),
        (Input.TARGET_RINGING, (Action.TELL_RINGING,)),
        (Input.TARGET_ANSWERED, (Action.COMMIT_TARGET,)),
        (Input.TARGET_ASKED_AGAIN, (Action.ASK_TARGET_AGAIN,)),
        (Input.TARGET_REJECTED, (Action.DROP_TARGET,)),
        (Input.TRANSFER_FAILED, (Action.FAIL_TRANSFER,)),
        (Input.DIGIT, (Action.PASS_DIGIT,)),
        (Input.DIGIT_REFUSED, (Action.PLAY_DIGIT,)),
        (Input.RENAMED, (Action.IDENTIFY,)),
        (Input.CANDIDATE, (Action.ADD_CANDIDATE,)),
        (Input.MEDIA_LOST, (Action.LOSE_MEDIA,)),
        (Input.MEDIA_CONNECTED, (Action.NOTE_MEDIA,)),
    ],
)
def test_transfers_digits_names_and_media_change_no_state_of_a_bridge(what: Input, actions: tuple[Action, ...]) -> None:
    """The bridge keeps its state: no offer is given up and nobody stops waiting."""
    for state in bridge_table.ALIVE:
        assert bridge_table.TABLE[state, what] == (actions, state)


@by_row(
    ("what", "actions", "after"),
    [
        (Input.REPLACE, (Action.REPLACE_LEG,), State.CONNECTED),
        (Input.TAKE_PLACE, (Action.ANSWER_NEWCOMER,), State.CONNECTED),
        (Input.GIVE_AWAY, (Action.GIVE_LEG_AWAY,), State.CONNECTED),
        (Input.LEG_RETURNED, (Action.TAKE_BACK,), State.CONNECTED),
        (Input.LEG_AWAY, (Action.WAIT_FOR_RETURN,), State.AWAY),
        (Input.TRANSFEROR_GONE, (Action.LET_GO,), State.AWAY),
    ],
)
def test_a_leg_that_goes_or_comes_ends_an_open_exchange(what: Input, actions: tuple[Action, ...], after: State) -> None:
    """The open offer is given up first; an absent leg is waited for as before."""
    assert bridge_table.TABLE[State.CONNECTED, what] == (actions, after)
    assert bridge_table.TABLE[State.EXCHANGING, what] == ((Action.GIVE_UP_OFFER, *actions), after)
    assert bridge_table.TABLE[State.AWAY, what] == (actions, State.AWAY)


@by_row(
    ("what", "actions"),
    [
        (Input.OFFERED, (Action.ANSWER_ALONE,)),
        (Input.OFFER_WANTED, (Action.REFUSE_GLARE,)),
        (Input.RENEGOTIATE, (Action.REMEMBER,)),
    ],
)
def test_an_offer_during_an_absence_ends_none(what: Input, actions: tuple[Action, ...]) -> None:
    """The leg that stayed is answered, and the bridge waits on."""
    assert bridge_table.TABLE[State.AWAY, what] == (actions, State.AWAY)


@by_row("state", [State.CONNECTED, State.AWAY])
def test_a_bridge_is_joined_once_all_have_returned(state: State) -> None:
    """An absence that nobody noticed ends alike."""
    assert bridge_table.TABLE[state, Input.ALL_RETURNED] == ((Action.JOIN,), State.CONNECTED)


@by_row(
    ("what", "actions", "after"),
    [
        (Input.CALLEE_ANSWERED, (Action.ANSWER_MEDIA,), None),
        (Input.ANSWER_TAKEN, (Action.CHOOSE_CALLEE, Action.ANSWER_CALLER), State.CONNECTED),
        (Input.CALLEE_TOOK_OFFER, (Action.COMMIT_CALLEE,), None),
        (Input.COUNTER_TAKEN, (Action.CHOOSE_CALLEE, Action.OFFER_CALLER), State.CONFIRMING),
        (Input.CALLEE_REJECTED, (Action.DROP_CALLEE,), None),
        (Input.CALLEE_HUNG_UP, (Action.DROP_CALLEE,), None),
        (Input.CALLEE_FAILED, (Action.DROP_CALLEE,), None),
        (Input.CALLEE_REDIRECTED, (Action.REDIRECT,), None),
        (Input.CALLEE_EARLY_MEDIA, (Action.EARLY_MEDIA,), None),
        (Input.PREVIEW_TAKEN, (), State.EARLY),
        (Input.TAKE_PLACE, (Action.PICK_UP,), None),
        (Input.PICKED_UP, (Action.END_CALLEES, Action.ANSWER_CALLER, Action.JOIN), State.CONNECTED),
        (Input.BRANCH_TIMEOUT, (Action.END_BRANCH,), None),
        (Input.BRANCH_OVER, (Action.NEXT_BRANCH,), None),
        (Input.ALL_REJECTED, FINISH, State.ENDED),
        (Input.RING_TIMEOUT, (Action.GIVE_UP,), None),
        (Input.OFFERED, (Action.ANSWER_EARLY_OFFER,), None),
        (Input.OFFER_WANTED, (Action.REFUSE_GLARE,), None),
        (Input.LEG_AWAY, (Action.WAIT_FOR_RETURN,), None),
        (Input.LEG_RETURNED, (Action.TAKE_BACK,), None),
        (Input.REATTACH_TIMEOUT, FINISH, State.ENDED),
        (Input.CANDIDATE, (Action.ADD_CANDIDATE,), None),
        (Input.MEDIA_CONNECTED, (Action.NOTE_MEDIA,), None),
    ],
)
def test_before_the_answer_ringing_and_early_media_change_no_row(
    what: Input, actions: tuple[Action, ...], after: State | None
) -> None:
    """One callee answers, fails or is followed alike, whatever the caller hears meanwhile; None keeps the state."""
    for state in attempt_table.BEFORE_ANSWER:
        assert attempt_table.TABLE[state, what] == (actions, after or state)


@by_row(
    ("state", "what", "actions", "after"),
    [
        (State.CALLING, Input.CALLEE_RINGING, (Action.RING_CALLER,), State.RINGING),
        (State.RINGING, Input.CALLEE_RINGING, (), State.RINGING),
        (State.EARLY, Input.CALLEE_RINGING, (), State.EARLY),
        (State.EARLY, Input.MEDIA_TIMEOUT, (Action.HEAR_ANOTHER,), State.EARLY),
        (State.EARLY, Input.DIGIT, (Action.PASS_DIGIT,), State.EARLY),
        (State.EARLY, Input.DIGIT_REFUSED, (Action.PLAY_DIGIT,), State.EARLY),
        (State.CONFIRMING, Input.CALLEE_FAILED, FINISH, State.ENDED),
        (State.CONFIRMING, Input.OFFERED, (Action.REFUSE_GLARE,), State.CONFIRMING),
        (State.CONFIRMING, Input.LEG_AWAY, (Action.WAIT_FOR_RETURN,), State.CONFIRMING),
        (State.CONFIRMING, Input.LEG_RETURNED, (Action.TAKE_BACK,), State.CONFIRMING),
        (State.CONFIRMING, Input.REATTACH_TIMEOUT, FINISH, State.ENDED),
        (State.CONFIRMING, Input.CANDIDATE, (Action.ADD_CANDIDATE,), State.CONFIRMING),
        (State.CONFIRMING, Input.MEDIA_CONNECTED, (Action.NOTE_MEDIA,), State.CONFIRMING),
    ],
)
def test_a_caller_hears_ringing_once_and_early_media_until_the_answer(
    state: State, what: Input, actions: tuple[Action, ...], after: State
) -> None:
    """A second 180 changes nothing, digits pass to whom the caller hears, and a leg may go away as it confirms."""
    assert attempt_table.TABLE[state, what] == (actions, after)


@pytest.mark.parametrize("name", TABLES)
def test_whatever_ends_a_call_tells_its_legs_and_deletes_its_media(name: str) -> None:
    """No row leads to ENDED in any other way."""
    for actions, target in TABLES[name][0].values():
        if target is State.ENDED:
            assert actions == FINISH


@pytest.mark.parametrize("name", TABLES)
def test_an_offer_is_replied_to_in_every_state_it_can_come_in(name: str) -> None:
    """A peer that waits for an answer for ever would hold a transaction for ever (RFC 3311 section 5.2)."""
    table, states = TABLES[name]
    for state in states:
        if state not in (State.NEW, State.ENDED):
            assert (state, Input.OFFERED) in table
            assert (state, Input.OFFER_WANTED) in table


def test_every_action_is_a_method_of_whoever_uses_it() -> None:
    """A row cannot name what nobody can do."""
    from gateway.call.attempt import Attempt
    from gateway.call.bridge import Bridge

    for machine in (Attempt, Bridge):
        for actions, _ in machine.table.values():
            for action in actions:
                assert hasattr(machine, f"_{action.value}"), (machine, action)


def test_the_diagram_has_an_arrow_for_every_change_of_state() -> None:
    """docs/calls.md is drawn from the tables, so it cannot lag behind them."""
    lines = diagram().splitlines()
    for table, _ in TABLES.values():
        for (state, what), (_, target) in table.items():
            if state is not target:
                begin = f"    {state.value} --> {target.value}: "
                assert any(line.startswith(begin) and what.value in line for line in lines)


async def test_a_steps_history_and_log_name_the_leg_by_both_names() -> None:
    """The gateway's call id and the SIP Call-ID stand together."""
    with capture_logs() as lines:
        rig = await Rig(caller_kind=Kind.RTP).connected()
    assert (lines[-1]["call_id"], lines[-1]["sip_call_id"]) == ("c1", "callee0@example.test")
    step = rig.call.history[-1]
    assert (step.leg, step.references) == ("callee0", ("callee0@example.test",))
    assert rig.call.record.references["callee0"] == ("callee0@example.test",)


@by_row(
    "event",
    [OfferAnswered(1, ANSWER), Confirmed(1, ANSWER), Offered(1, OFFER), Returned(1, OFFER)],
    ids=lambda event: type(event).__name__,
)
async def test_what_a_leg_says_that_has_left_the_call_is_nobodys_business(event: OfferAnswered) -> None:
    """After the end of its part a leg changes nothing."""
    rig = await Rig(callees=2).started()
    await rig.hears(rig.callees[0], Offered(1, OFFER))
    assert rig.callees[0].replies == {1: Cause.GLARE}
    rig.callees[0].replies.clear()
    await rig.connected_by(rig.callees[1])
    before = list(rig.engine.requests)
    await rig.hears(rig.callees[0], event)
    assert rig.engine.requests == before
    rig.expect(State.CONNECTED)


async def test_a_call_that_is_replaced_twice_keeps_two_legs() -> None:
    """Any two legs, each of which can be replaced."""
    rig = await Rig().connected()
    for tag in ("transfer1", "transfer2"):
        new = FakeLeg(tag)
        await rig.engine.create_offer("c1", new.party, rig.caller.party)
        await rig.engine.answer("c1", new.party, None, ANSWER)
        leaving = rig.call.legs[1]
        assert isinstance(leaving, FakeLeg)
        rig.call.replace(leaving, new)
        await rig.settle()
        assert leaving.told[-1] == ("end", Cause.NORMAL)
        assert {leg.party.tag for leg in rig.call.legs} == {"caller", tag}
        assert rig.engine.joined("c1", "caller") == tag
        assert rig.engine.parties("c1") == {"caller", tag}
