"""The presence of a user is composed of pages, phones, what they publish, what the user says, and calls."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from gateway.identity.model import User
from gateway.people.presence import SETTABLE, Activity, Presences, PresenceState
from gateway.people.publications import PublicationError, Publications
from gateway.people.visibility import VisibleTo, may_pick_up, may_see
from tests.rows import by_row

AWAY = PresenceState(Activity.AWAY, "lunch")


def test_who_has_nothing_is_offline() -> None:
    """And whoever is there is available, by a page or a phone."""
    presences = Presences()
    assert presences.board.of("alice") == PresenceState(Activity.OFFLINE)
    presences.page("alice", True)
    assert presences.board.of("alice") == PresenceState(Activity.AVAILABLE)
    presences.phone("alice", True)
    presences.page("alice", False)
    assert presences.board.of("alice").is_open
    presences.phone("alice", False)
    assert not presences.board.of("alice").is_open


def test_what_a_user_says_holds_as_long_as_a_page_is_open() -> None:
    """Without one it is not heard; a call goes before it, its note stays."""
    presences = Presences()
    presences.say("alice", AWAY)
    assert presences.board.of("alice") == PresenceState()
    presences.page("alice", True)
    presences.say("alice", AWAY)
    assert presences.board.of("alice") == AWAY
    presences.call("alice", True)
    assert presences.board.of("alice") == PresenceState(Activity.ON_THE_PHONE, "lunch")
    presences.call("alice", False)
    assert presences.board.of("alice") == AWAY
    presences.say("alice", None)
    assert presences.board.of("alice") == PresenceState(Activity.AVAILABLE)
    presences.say("alice", AWAY)
    presences.page("alice", False)
    presences.page("alice", True)
    assert presences.board.of("alice") == PresenceState(Activity.AVAILABLE)


def test_who_does_not_want_to_be_disturbed_is_busy() -> None:
    """Whatever was said before, with its note; and nobody is there for it who was not."""
    presences = Presences()
    presences.disturb("alice", False)
    assert presences.board.of("alice") == PresenceState()
    presences.page("alice", True)
    presences.say("alice", PresenceState(Activity.AVAILABLE, "in room 5"))
    assert presences.board.of("alice") == PresenceState(Activity.BUSY, "in room 5")
    presences.call("alice", True)
    assert presences.board.of("alice").activity is Activity.ON_THE_PHONE
    presences.call("alice", False)
    presences.disturb("alice", True)
    assert presences.board.of("alice") == PresenceState(Activity.AVAILABLE, "in room 5")


def test_what_phones_publish_is_merged_with_pages() -> None:
    """The busiest counts; a phone that says that it is closed is no phone that is registered."""
    presences = Presences()
    presences.phone("alice", True)
    presences.publish("alice", "desk", PresenceState(Activity.OFFLINE))
    assert presences.board.of("alice") == PresenceState()
    presences.publish("alice", "mobile", PresenceState(Activity.BUSY, "meeting"))
    assert presences.board.of("alice") == PresenceState(Activity.BUSY, "meeting")
    presences.page("alice", True)
    presences.say("alice", PresenceState(Activity.AVAILABLE))
    assert presences.board.of("alice") == PresenceState(Activity.AVAILABLE, "meeting")
    presences.publish("alice", "mobile", None)
    presences.publish("alice", "desk", None)
    presences.publish("alice", "desk", None)
    assert presences.board.of("alice") == PresenceState(Activity.AVAILABLE)


def test_nothing_is_left_of_who_has_gone() -> None:
    """Whatever happened in whatever order, the end is the beginning."""
    chance = random.Random(7)
    presences = Presences()
    changes: list[Callable[[str], None]] = [
        lambda user: presences.page(user, chance.random() < 0.5),
        lambda user: presences.phone(user, chance.random() < 0.5),
        lambda user: presences.call(user, chance.random() < 0.5),
        lambda user: presences.say(user, PresenceState(chance.choice(SETTABLE))),
        lambda user: presences.publish(user, chance.choice("xy"), chance.choice([None, AWAY])),
    ]
    for _ in range(2_000):
        chance.choice(changes)(chance.choice("ab"))
    for user in "ab":
        for name in "xy":
            presences.publish(user, name, None)
        presences.call(user, False)
        presences.phone(user, False)
        presences.page(user, False)
        assert presences.board.of(user) == PresenceState()
    assert presences._sources == {}


class Desk:
    """Publications with a clock turned by hand."""

    def __init__(self) -> None:
        self.told: list[tuple[str, PresenceState | None]] = []
        self.tags = iter(range(1000))
        self.publications = Publications(
            lambda user, name, state: self.told.append((user, state)), lambda: f"t{next(self.tags)}", per_user=2
        )

    def publish(self, tag: str | None, state: PresenceState | None, expires: float, now: float = 0.0) -> str:
        return self.publications.publish("alice", tag, state, expires, now)


def test_a_publication_is_made_refreshed_changed_and_removed() -> None:
    """Each time it has a new tag, and the old one is of no use any more (RFC 3903 section 6)."""
    desk = Desk()
    first = desk.publish(None, AWAY, 60)
    second = desk.publish(first, None, 60)
    busy = PresenceState(Activity.BUSY)
    third = desk.publish(second, busy, 60)
    assert len({first, second, third}) == 3
    assert desk.told == [("alice", AWAY), ("alice", busy)]
    for old in (first, second, "never"):
        with pytest.raises(PublicationError) as refused:
            desk.publish(old, None, 60)
        assert refused.value.status == 412
    desk.publish(third, None, 0)
    assert desk.told[-1] == ("alice", None)
    assert len(desk.publications) == 0


def test_a_publication_that_is_not_refreshed_ends() -> None:
    """At its time, told once; the deadline is that of the earliest."""
    desk = Desk()
    assert [desk.publications.deadline] == [None]
    tag = desk.publish(None, AWAY, 60)
    desk.publish(None, AWAY, 90)
    assert desk.publications.deadline == 60
    desk.publications.expire(59.9)
    assert len(desk.told) == 2
    desk.publications.expire(60)
    assert desk.told[2:] == [("alice", None)]
    with pytest.raises(PublicationError):
        desk.publish(tag, None, 60, now=60)


def test_publications_are_bounded_and_each_users_own() -> None:
    """503 beyond the limit, 400 for nothing, 412 for what is somebody else's."""
    desk = Desk()
    tag = desk.publish(None, AWAY, 60)
    desk.publish(None, AWAY, 60)
    for args, status in (((None, AWAY, 60), 503), ((None, None, 60), 400)):
        with pytest.raises(PublicationError) as refused:
            desk.publish(*args)
        assert refused.value.status == status
    with pytest.raises(PublicationError) as refused:
        desk.publications.publish("bob", tag, AWAY, 60, 0)
    assert refused.value.status == 412
    desk.publications.publish("bob", None, AWAY, 60, 0)
    desk.publish(tag, None, 0)
    desk.publish(None, AWAY, 60)


ALICE, BOB, CAROL = User("alice", pickup_groups=("a", "b")), User("bob", pickup_groups=("b",)), User("carol")


@by_row(
    ("visible_to", "sees"),
    [("users", {"alice", "bob", "carol"}), ("groups", {"alice", "bob"}), ("self", {"alice"})],
)
def test_who_sees_whom(visible_to: VisibleTo, sees: set[str]) -> None:
    """Everybody sees itself."""
    assert {user.id for user in (ALICE, BOB, CAROL) if may_see(ALICE, user, visible_to)} == sees


def test_who_takes_whose_calls() -> None:
    """Its own, and those of its groups; two without a group have none in common."""
    assert may_pick_up(ALICE, BOB)
    assert may_pick_up(CAROL, CAROL)
    assert not may_pick_up(ALICE, CAROL)
    assert not may_pick_up(CAROL, User("dave"))


def test_of_what_another_gateway_says_only_the_news_cost_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says all that it knows each time, of however many."""
    presences = Presences()
    composed: list[str] = []
    monkeypatch.setattr(presences.board, "set", lambda user, state: composed.append(user))
    said = {f"u{number}": PresenceState(Activity.AVAILABLE) for number in range(100)}
    presences.elsewhere("two", said)
    composed.clear()
    presences.elsewhere("two", said | {"u7": PresenceState(Activity.AWAY)})
    assert composed == ["u7"]
    presences.elsewhere("two", {})
    assert len(composed) == 101
