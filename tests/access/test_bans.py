"""Which sources get no answer for a while, and who is let through all the same."""

from __future__ import annotations

import pytest

from gateway.access.bans import BanPolicy, Bans, Told

SCANNER, OFFICE = "198.51.100.66", "192.0.2.7"


class Clock:
    """A clock that is turned by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def bans(clock: Clock) -> Bans:
    policy = BanPolicy(after=5, window=60, time=600, sources=3, scanners=("*Scanner*",), never=("127.0.0.0/8",))
    return Bans(policy, clock)


def test_who_only_earns_refusals_is_silenced_for_a_while(bans: Bans, clock: Clock) -> None:
    """The last of them already gets nothing but a challenge; each further try makes it longer."""
    assert [bans.may_answer(SCANNER, 404) for _ in range(6)] == [True] * 4 + [False] * 2
    clock.now += 500
    assert not bans.may_answer(SCANNER, 404)
    clock.now += 599
    assert [ban.silenced for ban in bans.now()] == [3]
    clock.now += 2
    assert bans.now() == []
    assert bans.may_answer(SCANNER, 404)


def test_one_challenge_a_second_goes_to_a_banned_address(bans: Bans, clock: Clock) -> None:
    """It may be a phone whose address somebody else writes on packets."""
    bans.ban(SCANNER, "it scans")
    for _ in range(3):
        assert [bans.may_answer(SCANNER, 401) for _ in range(20)] == [True] + [False] * 19
        clock.now += 1.0


def test_a_clock_that_is_set_back_makes_no_ban_longer_than_another_one(bans: Bans, clock: Clock) -> None:
    """And a challenge a second goes out all the same; requests of the time before are not counted with those of now."""
    assert [bans.may_answer(OFFICE, 404) for _ in range(4)] == [True] * 4
    bans.ban(SCANNER, "it scans")
    assert bans.may_answer(SCANNER, 401)
    clock.now -= 86_400
    assert [bans.may_answer(OFFICE, 404) for _ in range(4)] == [True] * 4
    assert [bans.may_answer(SCANNER, 401) for _ in range(2)] == [True, False]
    clock.now -= 3_600
    assert [ban.until - clock.now for ban in bans.now()] == [600]
    clock.now += 600
    assert bans.now() == []
    assert bans.may_answer(SCANNER, 404)


def test_a_password_that_was_right_begins_the_count_anew(bans: Bans) -> None:
    """An office behind one address, all of whose phones restart at once."""
    for _ in range(10):
        assert [bans.may_answer(OFFICE, 401) for _ in range(4)] == [True] * 4
        bans.proved(OFFICE)
    assert bans.now() == []


def test_what_happens_slowly_or_by_crossing_is_no_scan(bans: Bans, clock: Clock) -> None:
    """A window of its own, and refusals that nobody is to blame for."""
    for _ in range(30):
        clock.now += 20
        assert bans.may_answer(OFFICE, 401)
    for _ in range(30):
        assert bans.may_answer(OFFICE, 481)
        assert bans.may_answer(OFFICE, 503)


def test_scanners_are_known_by_name_in_any_case(bans: Bans) -> None:
    """Nobody without a name is one."""
    assert bans.is_scanner("Friendly-sCANNER 1.8")
    assert not bans.is_scanner("baresip")
    assert not bans.is_scanner(None)


def test_some_are_never_banned(bans: Bans) -> None:
    """By nothing that they do."""
    bans.ban("127.0.0.1", "it scans")
    assert all(bans.may_answer("127.0.0.1", 404) for _ in range(50))
    assert bans.now() == []


def test_bans_of_other_gateways_hold_no_longer_than_ours_and_of_nobody_who_is_exempt(bans: Bans, clock: Clock) -> None:
    """Nor are there more of them than may be remembered."""
    at = clock.now
    there = [(f"198.51.100.{number}", "it scans", at, at + 10**6) for number in range(5)]
    bans.heard(Told([*there, ("127.0.0.1", "it scans", at, at + 100)], {}))
    assert [(ban.address, ban.until - at) for ban in bans.now()] == [(f"198.51.100.{each}", 600) for each in (2, 3, 4)]
    assert bans.may_answer("127.0.0.1", 404)


def test_a_ban_is_lifted_by_hand(bans: Bans) -> None:
    """Its count too; what was not banned says so."""
    bans.ban(SCANNER, "it scans")
    assert bans.lift(SCANNER)
    assert bans.may_answer(SCANNER, 404)
    assert not bans.lift(SCANNER)


def test_a_million_addresses_are_not_remembered(bans: Bans) -> None:
    """The one that was quiet longest is forgotten first."""
    for number in range(50):
        bans.ban(f"198.51.100.{number}", "it scans")
        bans.may_answer(f"203.0.113.{number}", 404)
    assert [ban.address for ban in bans.now()] == ["198.51.100.47", "198.51.100.48", "198.51.100.49"]
    assert [bans.may_answer("203.0.113.49", 404) for _ in range(5)] == [True] * 3 + [False] * 2
    assert [bans.may_answer("203.0.113.1", 404) for _ in range(5)] == [True] * 4 + [False]


def test_who_goes_on_scanning_is_remembered_longest(bans: Bans, clock: Clock) -> None:
    """Whether it is found to scan again or only tries: others that came once are forgotten before it."""
    began, other = clock.now, "198.51.100.67"
    bans.ban(other, "it scans")
    for number in range(10):
        bans.ban(SCANNER, "it scans")
        assert not bans.may_answer(other, 404)
        clock.now += 1
        bans.ban(f"203.0.113.{number}", "it scans")
    assert {ban.address for ban in bans.now() if ban.since == began} == {SCANNER, other}


def test_a_lift_forgets_what_was_counted(bans: Bans) -> None:
    """The next mistake does not ban it anew."""
    for _ in range(4):
        bans.may_answer(SCANNER, 404)
    bans.ban(SCANNER, "it scans")
    assert bans.lift(SCANNER)
    assert [bans.may_answer(SCANNER, 404) for _ in range(5)] == [True] * 4 + [False]


def test_a_lift_at_another_gateway_holds_for_what_was_before_it(bans: Bans, clock: Clock) -> None:
    """Neither for a ban that came after, nor for one to come, whatever the other one's clock says."""
    bans.ban(SCANNER, "it scans")
    lifted = clock.now - 1
    bans.heard(Told([], {SCANNER: lifted}))
    assert [ban.address for ban in bans.now()] == [SCANNER]
    bans.heard(Told([], {SCANNER: clock.now}))
    assert bans.now() == []
    bans.heard(Told([], {OFFICE: clock.now + 86_400}))
    clock.now += 10
    bans.heard(Told([(OFFICE, "it scans", clock.now, clock.now + 600)], {}))
    assert [ban.address for ban in bans.now()] == [OFFICE]


def test_zero_bans_nobody(clock: Clock) -> None:
    """time is the switch of all of it, after that of counting."""
    off = Bans(BanPolicy(after=1, time=0, scanners=("*",)), clock)
    off.ban(SCANNER, "it scans")
    assert not off.is_scanner("anything")
    assert all(off.may_answer(SCANNER, 404) for _ in range(50))
    uncounted = Bans(BanPolicy(after=0), clock)
    assert all(uncounted.may_answer(SCANNER, 404) for _ in range(200))


def test_a_network_of_ipv6_is_one_source(bans: Bans) -> None:
    """A /64 is banned by what all its addresses did, takes one place, and is lifted by any of them."""
    answered = [bans.may_answer(f"2001:db8:1:2::{number:x}", 404) for number in range(20)]
    assert answered == [True] * 4 + [False] * 16
    assert [ban.address for ban in bans.now()] == ["2001:db8:1:2::/64"]
    assert bans.may_answer("2001:db8:1:3::1", 404)
    assert bans.lift("2001:db8:1:2::/64")
    assert not bans.lift("2001:db8:1:2::7")


def test_who_is_only_challenged_makes_its_ban_no_longer(bans: Bans, clock: Clock) -> None:
    """An honest phone behind a banned address asks, is challenged, and signs in."""
    bans.ban(SCANNER, "it scans")
    clock.now += 500
    assert bans.may_answer(SCANNER, 401)
    clock.now += 101
    assert bans.now() == []
