"""The brake on toll fraud: numbers near each other, through trunks, by one caller."""

from __future__ import annotations

import pytest

from gateway.call.limits import CallLimits
from gateway.call.routing import Caller, RouteError, ServiceTarget, Target
from gateway.call.status import Cause
from gateway.call.toll import TollBrake
from tests.call.toll_rig import ALICE, BOB, Clock, number, passed
from tests.rows import by_row


def test_numbers_near_each_other_count_together_and_callers_apart() -> None:
    """The last digits of premium numbers vary."""
    brake = TollBrake(CallLimits(prefix_length=5, prefix_calls_per_hour=10), Clock())
    assert passed(brake, ALICE, number("+2376001"), 6) == 6
    assert passed(brake, ALICE, number("+2376999")) == 4
    assert passed(brake, ALICE, number("+4989123")) == 10
    assert passed(brake, BOB, number("+2376001")) == 10
    with pytest.raises(RouteError) as refused:
        brake.check(BOB, number("+2376001"))
    assert (refused.value.cause, refused.value.retry_after) == (Cause.LINE_FULL, 360)


def test_guests_count_by_where_they_call_from_whatever_they_call_themselves() -> None:
    """They take any name; two who are users may call from one place."""
    brake = TollBrake(CallLimits(prefix_length=5, prefix_calls_per_hour=10), Clock())
    guests = [Caller(f"guest-{name}", ("*",), guest=True, source="192.0.2.9") for name in "abc"]
    assert [passed(brake, guest, number("+2376001"), 4) for guest in guests] == [4, 4, 2]
    assert passed(brake, Caller("guest-a", ("*",), guest=True, source="192.0.2.10"), number("+2376001")) == 10
    users = [Caller(name, ("*",), source="192.0.2.9") for name in ("alice", "bob")]
    assert [passed(brake, user, number("+2376001")) for user in users] == [10, 10]


def test_who_dials_thousands_of_numbers_once_does_not_make_it_forget_the_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those with the fewest calls are forgotten first, and its memory is bounded."""
    monkeypatch.setattr("gateway.call.toll._REMEMBERED", 100)
    monkeypatch.setattr("gateway.call.toll._MORE", 10)
    clock = Clock()
    brake = TollBrake(CallLimits(prefix_calls_per_hour=10), clock)
    assert passed(brake, ALICE, number("+2376001")) == 10
    for other in range(5_000):
        clock.now += 0.001
        brake.check(ALICE, number(f"{700_000 + other}"))
    assert passed(brake, ALICE, number("+2376001")) == 0
    assert len(brake._counted) <= 110


def test_it_opens_again_little_by_little() -> None:
    """A tenth of an hour, a tenth of the calls; never more than those of an hour."""
    clock = Clock()
    brake = TollBrake(CallLimits(prefix_calls_per_hour=10), clock)
    passed(brake, ALICE, number("+2376001"))
    clock.now += 720
    assert passed(brake, ALICE, number("+2376001")) == 2
    clock.now += 360_000
    assert passed(brake, ALICE, number("+2376001")) == 10


@by_row("target", [number("112", emergency=True), number("1001", None), ServiceTarget("echo")], ids=str)
def test_what_costs_nothing_is_free(target: Target) -> None:
    """And calls in need always go out."""
    brake = TollBrake(CallLimits(prefix_calls_per_hour=1), Clock())
    assert passed(brake, ALICE, target) == 100


def test_zero_is_no_bound_and_memory_is_bounded() -> None:
    """The one that was quiet longest is forgotten."""
    assert passed(TollBrake(CallLimits(prefix_calls_per_hour=0), Clock()), ALICE, number("1")) == 100
    brake = TollBrake(CallLimits(prefix_calls_per_hour=1), Clock())
    for caller in range(20_000):
        brake.check(Caller(str(caller), ()), number("1"))
    assert passed(brake, Caller("19999", ()), number("1")) == 0
    assert passed(brake, Caller("0", ()), number("1")) == 1


def test_calls_by_way_of_other_gateways_count() -> None:
    """As many as they tell of; they are forgiven there as here, and those of others stay free."""
    clock = Clock()
    there = TollBrake(CallLimits(prefix_calls_per_hour=10), clock)
    here = TollBrake(CallLimits(prefix_calls_per_hour=10), clock)
    here.others = lambda name: there.counts().get(name, 0.0)
    assert passed(there, ALICE, number("+2376001"), 7) == 7
    assert passed(here, ALICE, number("+2376001")) == 3
    assert passed(here, BOB, number("+2376001")) == 10
    clock.now += 720
    assert passed(here, ALICE, number("+2376001")) == 4
    assert len(here.counts()) == 2
    clock.now += 3_600
    assert here.counts() == there.counts() == {}


def test_what_another_process_has_counted_counts_on() -> None:
    """Less what was forgiven since, and beside what was counted here meanwhile; those with the most calls are told."""
    clock = Clock()
    before, after = (TollBrake(CallLimits(prefix_calls_per_hour=10), clock) for _ in range(2))
    assert passed(before, ALICE, number("+2376001")) == 10
    assert passed(before, BOB, number("+2376001"), 2) == 2
    assert before.spent(1) == [("alice", "+23760", 10.0)]
    assert before.counted == 12
    assert passed(after, ALICE, number("+2376001"), 2) == 2
    after.add(before.spent(100), ago=1_800)
    assert after.spent(100) == [("alice", "+23760", 7.0)]
    assert passed(after, ALICE, number("+2376001")) == 3
    assert passed(after, BOB, number("+2376001")) == 10
    clock.now += 3_600
    assert after.spent(100) == []


def test_what_another_process_has_counted_is_nothing_where_there_is_no_bound() -> None:
    """Nor is it there when one is set."""
    brake = TollBrake(CallLimits(prefix_calls_per_hour=0), Clock())
    brake.add([("alice", "+23760", 10.0)], ago=0)
    brake.limits = CallLimits(prefix_calls_per_hour=10)
    assert passed(brake, ALICE, number("+2376001")) == 10


def test_what_is_forgiven_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often that number was called an hour ago."""
    monkeypatch.setattr("gateway.call.toll._REMEMBERED", 1)
    monkeypatch.setattr("gateway.call.toll._MORE", 1)
    clock = Clock()
    brake = TollBrake(CallLimits(prefix_length=3, prefix_calls_per_hour=10), clock)
    assert passed(brake, ALICE, number("111")) == 10
    clock.now += 3_600
    assert passed(brake, ALICE, number("222"), 5) == 5
    assert passed(brake, ALICE, number("333"), 1) == 1
    assert passed(brake, ALICE, number("222")) == 5


def test_who_is_refused_is_told_when_to_call_again() -> None:
    """Once a whole call is forgiven, of all that every gateway has counted."""
    clock = Clock()
    brake = TollBrake(CallLimits(prefix_calls_per_hour=60), clock)
    assert passed(brake, ALICE, number("111")) == 60
    clock.now += 30
    for elsewhere, seconds in ((0.0, 30), (5.0, 330)):
        brake.others = {"toll:alice 111": elsewhere}.__getitem__
        with pytest.raises(RouteError) as refused:
            brake.check(ALICE, number("111"))
        assert refused.value.retry_after == seconds


def test_another_limit_counts_at_once() -> None:
    """What was dialled stays counted: a higher one leaves more, of a lower one no more is used up than all of it."""
    brake = TollBrake(CallLimits(prefix_calls_per_hour=10), Clock())
    assert passed(brake, ALICE, number("+2376001")) == 10
    brake.limits = CallLimits(prefix_calls_per_hour=100)
    assert passed(brake, ALICE, number("+2376001"), 40) == 40
    assert brake.spent(1) == [("alice", "+23760", 50.0)]
    brake.limits = CallLimits(prefix_calls_per_hour=10)
    with pytest.raises(RouteError) as refused:
        brake.check(ALICE, number("+2376001"))
    assert refused.value.retry_after == 360


def test_a_lower_limit_of_the_next_process_keeps_nobody_out_for_longer_than_an_hour() -> None:
    """Nor for less than the limit says."""
    clock = Clock()
    brake = TollBrake(CallLimits(prefix_calls_per_hour=10), clock)
    brake.add([("alice", "+23760", 50.0)], ago=0)
    with pytest.raises(RouteError) as refused:
        brake.check(ALICE, number("+2376001"))
    assert refused.value.retry_after == 360
    clock.now += 3_600
    assert passed(brake, ALICE, number("+2376001")) == 10
