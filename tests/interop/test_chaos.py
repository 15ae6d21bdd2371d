"""The short form of `make chaos`: kills at messages of a call; of the packet plane, then of gateway and plane."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos import __main__ as chaos
from tests.chaos import pages
from tests.chaos.fates import Fate
from tests.chaos.kills import Kill, Outcome, is_kept, strikes, table
from tests.chaos.messages import Death, deaths_of_a_call
from tests.chaos.page_messages import deaths_of_page_calls
from tests.chaos.page_stage import Kind
from tests.chaos.reoffers import Aftermath as Changed
from tests.chaos.reoffers import Change, deaths_of_planes
from tests.chaos.troubles import KILLS, Aftermath, Trouble, troubles
from tests.chaos.wire import Message

pytestmark = pytest.mark.wall

SHORT = {
    *(Message("callee", False, what) for what in ("INVITE", "BYE")),
    *(Message("callee", True, what) for what in ("200 INVITE", "INVITE")),
    *(Message("caller", False, what) for what in ("401 INVITE", "200 INVITE")),
    *(Message("caller", True, "INVITE", number) for number in (2, 3)),
    Message("caller", True, "BYE"),
}
"""One of each kind."""


def in_short(death: Death) -> bool:
    if death.is_given_up:
        return death.lost and death.at == Message("callee", False, "CANCEL")
    return death.again is not None or (death.at in SHORT and death.lost)


@pytest.mark.nightly
@pytest.mark.timeout(300)  # nine starts of a gateway, beside other work
async def test_a_kill_at_a_message_of_a_call_leaves_nobody_alone(tmp_path: Path) -> None:
    """Before the caller is told of an answer both hear the end, after that the call goes on until it is hung up."""
    found = [(str(death), after) async for death, after, right in deaths_of_a_call(tmp_path, in_short) if not right]
    assert not found


_TOLD = "200 GET /webrtc/sessions answered"
SHORT_OF_PAGES = {
    *((Kind.PAGE, Message("page", True, "offer")), (Kind.PAGE, Message("page", False, "call_state answered"))),
    (Kind.PAGE, Message("page", False, "result of call.attach")),
    *((Kind.PHONE, Message("page", True, "answer")), (Kind.PHONE, Message("page", False, "ServerHello"))),
    *((Kind.PROGRAM, Message("page", False, "200 POST /webrtc/offer")), (Kind.PROGRAM, Message("page", False, _TOLD))),
}
"""One of each kind."""
SHORT_OF_CHANGES = {
    (Change.PHONE_HOLDS, Message("phone", False, "200 INVITE")),
    (Change.PAGE_HOLDS, Message("phone", True, "200 INVITE")),
    (Change.PAGE_RESTARTS, Message("page", True, "offer")),
    (Change.PHONE_PASSES_ON, Message("phone", True, "REFER")),
}


@pytest.mark.nightly
@pytest.mark.timeout(300)  # as above
async def test_a_kill_at_a_message_of_a_pages_call_leaves_nobody_alone(tmp_path: Path) -> None:
    """Nor one of a program: until the caller knows of an answer both may hear the end, then the call goes on."""

    def in_short(kind: Kind, death: Death) -> bool:
        return (kind, death.at) in SHORT_OF_PAGES and death.lost

    found = [each async for each in deaths_of_page_calls(tmp_path, in_short)]
    assert [(kind, str(death), after) for kind, death, after, right in found if not right] == []
    assert len(found) == len(SHORT_OF_PAGES)


@pytest.mark.serial
@pytest.mark.nightly
@pytest.mark.timeout(300)  # phones and pages that agree anew, beside other work
async def test_a_call_whose_plane_is_killed_while_it_is_changed_goes_on(tmp_path: Path) -> None:
    """With other keys, or as it was passed on."""
    changes = [change for change, _ in SHORT_OF_CHANGES]
    chosen = deaths_of_planes(tmp_path, lambda *at: at in SHORT_OF_CHANGES, changes)
    found = [each async for each in chosen]
    assert [(change, str(at), after) for change, at, after in found if after.fate is not Fate.KEPT] == []
    assert len(found) == len(SHORT_OF_CHANGES)


@pytest.mark.parametrize("change", list(Change))
def test_a_call_ends_with_its_plane_only_where_it_was_being_passed_on(change: Change) -> None:
    """Else it goes on, and soon."""
    assert Changed(Fate.KEPT, "", 5.0).is_right(change)
    assert not Changed(Fate.KEPT, "", 5.1).is_right(change)
    assert not Changed(Fate.LOST, "", 1.0).is_right(change)
    is_passed_on = change in (Change.PHONE_PASSES_ON, Change.PAGE_PASSES_ON)
    assert Changed(Fate.ENDED, "", 1.0).is_right(change) is is_passed_on


@pytest.mark.nightly
@pytest.mark.timeout(300)  # starts of a gateway, and phones that wait for it, beside other work
async def test_calls_outlive_what_their_gateway_stands_on(tmp_path: Path) -> None:
    """A store that is locked, a disk that is full, and the death of the gateway after or during that.

    A call that was changed then ends with it, and both are told; others can be made.
    """
    wanted = [Trouble.LOCKED, Trouble.FULL, Trouble.UNKEPT, Trouble.CHANGED]
    found = [each async for each in troubles(tmp_path, wanted, 3)]
    assert [each for each in found if not each.is_right] == []
    assert [len(each.up) for each in found] == [3] * 4


@pytest.mark.nightly
@pytest.mark.timeout(300)  # as above
async def test_calls_outlive_a_bad_network_and_a_wrong_clock(tmp_path: Path) -> None:
    """What rings does as well, though nothing can be sent for a while; calls can be made as soon as it can."""
    found = [each async for each in troubles(tmp_path, [Trouble.LOSS, Trouble.ERRORS, Trouble.BACK], 3)]
    assert [each for each in found if not each.is_right] == []
    assert [len(each.up) for each in found] == [3] * 3


@pytest.mark.serial
@pytest.mark.nightly
@pytest.mark.timeout(300)  # as above
async def test_calls_between_pages_and_sipp_outlive_every_kill(tmp_path: Path) -> None:
    """Sound goes on or comes back, a new call can be made, and sipp hears the end of each."""
    outcomes = [each async for each in pages.strikes(tmp_path, [Kill.GATEWAY, Kill.PLANE, Kill.BOTH], 2)]
    assert [each.fates for each in outcomes] == [(Fate.KEPT,) * count for count in (2, 3, 4)]


@pytest.mark.parametrize("trouble", Trouble)
@pytest.mark.parametrize("fate", [Fate.ENDED, Fate.LOST])
def test_a_call_that_trouble_takes_along_is_a_loss(trouble: Trouble, fate: Fate) -> None:
    """Whatever it is, as is silence; who rings may be told of the end where something was killed."""
    as_it_was = Fate.ENDED if trouble is Trouble.CHANGED else Fate.KEPT
    right = Aftermath(trouble, (as_it_was,), (Fate.KEPT,), 1.0, 0.1, calls_after=True)
    assert right.is_right
    assert not replace(right, longest_gap=5.1).is_right
    assert replace(right, longest_gap=0.11).is_right is (
        trouble in (Trouble.PLANE, Trouble.BOTH, Trouble.LOSS, Trouble.ERRORS)
    )
    assert not replace(right, forgotten=("80000",)).is_right
    assert not replace(right, registered=(200, 408)).is_right
    assert replace(right, registered=(503,)).is_right is (trouble in (Trouble.REDIS, Trouble.LOCKED, Trouble.FULL))
    assert not replace(right, up=(Fate.KEPT, fate)).is_right
    assert not replace(right, calls_after=False).is_right
    assert replace(right, ringing=(fate,)).is_right is (fate is Fate.ENDED and trouble in KILLS)


@pytest.mark.serial
@pytest.mark.nightly
async def test_two_kills_lose_nothing(tmp_path: Path) -> None:
    """The death of a plane ends no call, nor that of gateway and plane; the gateway's alone: test_recovered_calls."""
    outcomes = [each async for each in strikes(tmp_path, [Kill.PLANE, Kill.BOTH])]
    assert [each.fates for each in outcomes] == [(Fate.KEPT,) * 2] * 2
    assert is_kept(outcomes)
    assert table(outcomes).row_count == 2


@pytest.mark.parametrize("fate", [Fate.ENDED, Fate.LOST])
def test_a_call_that_a_death_takes_along_is_a_loss(fate: Fate) -> None:
    """It is one whether it was told of or not."""
    assert not any(is_kept([Outcome(kill, (Fate.KEPT, fate), 1.0)]) for kill in Kill)


@pytest.mark.parametrize("kills", ["0", "-1", "1001", "many"])
@pytest.mark.parametrize("option", ["--kills", "--calls"])
def test_the_number_of_kills_and_calls_is_bounded(option: str, kills: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, and how it is called."""
    with pytest.raises(SystemExit) as raised:
        chaos.main([option, kills])
    assert raised.value.code == 2
    assert "usage: python -m tests.chaos" in capsys.readouterr().err
