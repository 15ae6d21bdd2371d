"""What lamps and presence show of the calls of each user."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from gateway.call.call import Call
from gateway.call.leg import Address
from gateway.call.leg import DialogName as LegDialog
from gateway.call.state import State
from gateway.identity.mapping import IdentityMap, Rule
from gateway.identity.model import User
from gateway.legs.web import WebCalleeLeg
from gateway.people.dialogs import DialogName, Progress
from gateway.people.lamps import MOST_SHOWN, Lamps
from gateway.people.presence import Activity, Presences
from gateway.testing.leg import FakeLeg
from tests.rows import by_row

USERS = (User("alice", "Alice", web=True), User("1001", sip=True), User("1002", sip=True))


class Board:
    """Lamps that are shown calls made of legs."""

    def __init__(self, *rules: Rule) -> None:
        self.presences = Presences()
        for user in USERS:
            self.presences.phone(user.id, True)
            self.presences.board.watch(user.id, lambda _: None)
        self.lamps = Lamps(IdentityMap(USERS, rules, "gw.test"), self.presences)

    def show(self, state: State, caller: FakeLeg, *others: FakeLeg, name: str = "c1") -> None:
        call: Any = SimpleNamespace(id=name, state=state, caller=caller, legs=(caller, *others))
        self.lamps.call_changed(cast(Call, call))

    def rows(self, user: str) -> list[tuple[bool, Progress, str]]:
        return [(one.is_caller, one.progress, one.remote_uri) for one in self.lamps.board.of(user)]

    def activity(self, user: str) -> Activity:
        return self.presences.board.of(user).activity


def leg(user: str, host: str = "gw.test") -> FakeLeg:
    made = FakeLeg(f"leg-{user}")
    made._address = Address(f"sip:{user}@{host}", user)
    return made


def test_a_call_lights_the_lamps_of_both_until_it_ends() -> None:
    """Who is rung blinks and is not yet on the phone; who calls is."""
    board, alice, phone = Board(), leg("alice"), leg("1001")
    board.show(State.CALLING, alice, phone)
    assert board.rows("alice") == [(True, Progress.TRYING, "sip:1001@gw.test")]
    assert board.rows("1001") == [(False, Progress.EARLY, "sip:alice@gw.test")]
    assert (board.activity("alice"), board.activity("1001")) == (Activity.ON_THE_PHONE, Activity.AVAILABLE)
    board.show(State.RINGING, alice, phone)
    assert [one.progress for one in board.lamps.board.of("alice")] == [Progress.EARLY]
    board.show(State.CONNECTED, alice, phone)
    assert board.rows("1001") == [(False, Progress.CONFIRMED, "sip:alice@gw.test")]
    assert board.activity("1001") is Activity.ON_THE_PHONE
    board.show(State.ENDED, alice, phone)
    assert (board.rows("alice"), board.rows("1001")) == ([], [])
    assert board.activity("alice") is Activity.AVAILABLE
    assert (board.lamps._calls, board.lamps._users) == ({}, {})


def test_who_leaves_a_call_is_dark_again() -> None:
    """A transfer: one leg takes the place of another."""
    board, alice, phone, other = Board(), leg("alice"), leg("1001"), leg("1002")
    board.show(State.CONNECTED, alice, phone)
    board.show(State.CONNECTED, alice, other)
    assert board.rows("1001") == []
    assert board.rows("1002") == [(False, Progress.CONFIRMED, "sip:alice@gw.test")]
    assert board.rows("alice") == [(True, Progress.CONFIRMED, "sip:1002@gw.test")]


def test_two_calls_of_one_user_are_two_rows() -> None:
    """The lamp stays on while one of them lasts."""
    board, alice = Board(), leg("alice")
    board.show(State.CONNECTED, leg("1001"), alice, name="c1")
    board.show(State.RINGING, leg("1002"), alice, name="c2")
    assert len(board.rows("alice")) == 2
    board.show(State.ENDED, leg("1001"), name="c1")
    assert board.rows("alice") == [(False, Progress.EARLY, "sip:1002@gw.test")]


def test_people_elsewhere_have_no_lamp() -> None:
    """Who calls through a trunk is nobody of ours, whatever its number."""
    board = Board()
    board.show(State.CONNECTED, leg("1001", "pbx.test"), leg("alice"))
    assert board.rows("1001") == []
    assert board.rows("alice") == [(False, Progress.CONFIRMED, "sip:1001@pbx.test")]


def test_a_trunks_caller_with_a_users_number_lights_nobodys_lamp() -> None:
    """A rule for everybody's numbers names a user of ours; the user itself, in the same call, has a lamp."""
    board = Board(Rule("sip:1{user}@*", "{user}"))
    caller, alice = leg("1alice", "pbx.test"), leg("alice")
    board.show(State.CONNECTED, caller, leg("1001"), name="known")
    assert len(board.rows("alice")) == 1
    board.show(State.ENDED, caller, leg("1001"), name="known")
    caller._identity = "trunk:pbx"
    board.show(State.CONNECTED, caller, leg("1001"))
    assert (board.rows("alice"), board.activity("alice")) == ([], Activity.AVAILABLE)
    assert board.rows("1001") == [(False, Progress.CONFIRMED, "sip:1alice@pbx.test")]
    alice._identity, alice._address = "alice", caller.address
    board.show(State.CONNECTED, caller, alice)
    assert board.rows("alice") == [(False, Progress.CONFIRMED, "sip:1alice@pbx.test")]
    board.show(State.ENDED, caller, alice)
    assert (board.rows("alice"), board.lamps._calls, board.lamps._users) == ([], {}, {})


@by_row("state", [one for one in State if one is not State.ENDED])
def test_every_state_has_its_lamp(state: State) -> None:
    """None is forgotten."""
    board = Board()
    board.show(state, leg("alice"), leg("1001"))
    assert len(board.rows("alice")) == len(board.rows("1001")) == 1


def test_a_user_with_hundreds_of_calls_is_shown_the_oldest_and_costs_no_more() -> None:
    """What shows a lamp is one message; the next call comes into it as soon as one of the oldest has ended."""
    board = Board()
    for number in range(MOST_SHOWN + 5):
        board.show(State.CONNECTED, leg(f"caller-{number}", "pbx.example"), leg("1001"), name=f"c{number}")
    assert [uri for _, _, uri in board.rows("1001")] == [f"sip:caller-{n}@pbx.example" for n in range(MOST_SHOWN)]
    board.show(State.ENDED, leg("caller-0", "pbx.example"), leg("1001"), name="c0")
    assert board.rows("1001")[-1][2] == f"sip:caller-{MOST_SHOWN}@pbx.example"
    assert board.activity("1001") is Activity.ON_THE_PHONE


def test_each_device_that_is_rung_is_named_for_who_may_take_the_call() -> None:
    """A page by its leg, whose name nobody can tell from the row's own."""
    board = Board()
    page = WebCalleeLeg("c1-web", Address("sip:alice@gw.test"), (), "alice")
    board.show(State.RINGING, leg("1001"), cast(FakeLeg, page))
    [row] = board.lamps.board.of("alice")
    assert row.name == DialogName("c1-web", "c1-web", "c1-web")
    assert page.dialog_names == (LegDialog("c1-web", "c1-web", "c1-web"),)
    assert page.is_named(*page.dialog_names)
    assert "c1-web" not in row.id
    board.show(State.CONNECTED, leg("1001"), cast(FakeLeg, page))
    [still] = board.lamps.board.of("alice")
    assert still.id == row.id


async def test_who_begins_to_watch_sees_the_calls_that_are_up() -> None:
    """Nothing is written down for nobody."""
    presences = Presences()
    lamps = Lamps(IdentityMap(USERS, [], "gw.test"), presences)
    caller, callee = leg("alice"), leg("1001")
    call: Any = SimpleNamespace(id="c1", state=State.CONNECTED, caller=caller, legs=(caller, callee))
    lamps.call_changed(cast(Call, call))
    assert lamps.board.of("alice") == ()
    await lamps.read("alice")
    assert [one.progress for one in lamps.board.of("alice")] == [Progress.CONFIRMED]
    assert presences.board.of("alice").activity is Activity.ON_THE_PHONE
    call.state = State.ENDED
    lamps.call_changed(cast(Call, call))
    await lamps.read("alice")
    assert lamps.board.of("alice") == ()
