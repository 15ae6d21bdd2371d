"""Who sees whom in a conference, tick by tick."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from gateway.media.embedded.sources.pictures import Pictures
from sdp.levels import Limits


class Picture:
    """One that shows and sees what the test says."""

    def __init__(self, *codecs: str) -> None:
        self.codecs = set(codecs or ("h264",))
        self.changed: Callable[[], None] = lambda: None
        self.waits = False
        self.heard: Picture | None = None
        self.shows = self.looks = True
        self.asked = self.switched = 0
        self.among = False
        self.has_key_frames = self.gets_key_frames = True
        self.mid: str | None = None
        self.can_turn = True
        self.turned: list[bool] = []
        self.takes: Limits = {}
        self.limited: Limits = {}
        self.most_seen = 1
        self.overrun = False
        self.views: list[Picture] = []
        self.wanted = 1
        self.arranged = 0

    def be_among_many(self) -> None:
        self.among = True

    def leave_many(self) -> None:
        self.among, self.heard = False, None

    def can_be_seen_by(self, other: Picture) -> bool:
        return self.among and self.shows and other.looks and bool(self.codecs & other.codecs)

    @property
    def streams(self) -> Sequence[Picture]:
        return [self, *self.views] if self.looks else []

    def want(self, count: int) -> None:
        self.wanted = max(self.wanted, count)

    def see(self, shown: Sequence[Picture]) -> None:
        for place, stream in enumerate([self, *self.views]):
            stream.watch(shown[place] if place < len(shown) else None)

    def watch(self, shown: Picture | None) -> None:
        if shown is not self.heard:
            self.heard, self.waits = shown, shown is not None
            self.switched += 1

    def ask_key_frame(self) -> None:
        self.asked += 1

    def suit(self, all_can: bool, takes: Limits) -> None:
        self.limited = takes
        self.arranged += 1
        if self.turned[-1:] != [all_can]:
            self.turned.append(all_can)


class Room:
    """Pictures by their names."""

    def __init__(self, **pictures: Picture) -> None:
        self.pictures = Pictures()
        self.by_name = pictures
        for name, picture in pictures.items():
            self.pictures.take(name, picture)

    def pass_time(self, seconds: float) -> None:
        """Key frames come at once, of those who send any."""
        for _ in range(round(seconds * 50)):
            for picture in self.by_name.values():
                heard = picture.heard
                picture.waits &= heard is not None and not (heard.has_key_frames and picture.gets_key_frames)
            self.pictures.tick()

    def speak(self, name: str | None, seconds: float = 1.0) -> None:
        self.pictures.speaks(name)
        self.pass_time(seconds)

    @property
    def seen(self) -> dict[str, str | None]:
        return {name: self.pictures.seen_by(name) for name in self.by_name}


def test_all_see_who_speaks_and_that_one_who_spoke_before() -> None:
    """Silence changes nothing."""
    room = Room(a=Picture(), b=Picture(), c=Picture())
    assert room.seen == {"a": "b", "b": "a", "c": "a"}
    room.speak("c")
    assert room.seen == {"a": "c", "b": "c", "c": "a"}
    room.speak(None, 10)
    assert room.seen == {"a": "c", "b": "c", "c": "a"}
    room.speak("b")
    assert room.seen == {"a": "b", "b": "c", "c": "b"}


def test_who_is_loudest_for_a_moment_is_not_shown() -> None:
    """Two who speak at once do not have the pictures change twice a second."""
    room = Room(a=Picture(), b=Picture(), c=Picture())
    before = [each.switched for each in room.by_name.values()]
    for _ in range(20):
        room.speak("c", 0.3)
        room.speak("b", 0.3)
        assert [each.switched for each in room.by_name.values()] == before


def test_the_next_of_those_who_spoke_is_seen_where_no_codec_is_common() -> None:
    """Or nobody is."""
    room = Room(a=Picture("h264"), b=Picture("vp8"), c=Picture("h264", "vp8"), d=Picture("av1"))
    room.speak("b")
    assert room.seen == {"a": "c", "b": "c", "c": "b", "d": None}


def test_who_goes_is_seen_no_more_and_sees_nobody() -> None:
    """Twice is once; a name that nobody has is nobody's."""
    room = Room(a=Picture(), b=Picture(), c=Picture())
    for _ in range(2):
        room.pictures.drop("a")
    room.pictures.drop("nobody")
    assert room.seen == {"a": None, "b": "c", "c": "b"}
    assert not room.by_name["a"].among
    room.speak("a")
    assert room.seen == {"a": None, "b": "c", "c": "b"}
    room.pictures.drop("b")
    room.pictures.drop("c")
    assert len(room.pictures) == 0
    room.pass_time(10)


def test_a_picture_in_the_place_of_another_begins_anew() -> None:
    """The party has another connection, or has begun its video afresh."""
    room = Room(a=Picture(), b=Picture())
    again = Picture()
    room.pictures.take("a", again)
    assert not room.by_name["a"].among
    assert room.by_name["b"].heard is again
    assert room.pictures.seen_by("a") == "b"


@pytest.mark.parametrize("recovers", [False, True])
def test_who_sends_no_key_frame_is_passed_over_for_a_while(recovers: bool) -> None:
    """It is asked twice a second, three seconds long; a minute later, or when it begins afresh, it is shown again."""
    room = Room(a=Picture(), b=Picture(), c=Picture())
    silent = room.by_name["c"]
    silent.has_key_frames = False
    room.speak("c", 3.0)
    assert room.seen == {"a": "c", "b": "c", "c": "a"}
    assert silent.asked >= 4
    room.pass_time(2.0)
    assert room.seen == {"a": "b", "b": "a", "c": "a"}
    silent.has_key_frames = True
    if recovers:
        room.pictures.take("c", silent)
    else:
        room.pass_time(62.0)
    assert room.seen["a"] == room.seen["b"] == "c"


def test_what_a_party_begins_and_ends_is_seen_at_once() -> None:
    """Its hold, and its first packet."""
    room = Room(a=Picture(), b=Picture())
    first = room.by_name["a"]
    first.shows = False
    first.changed()
    assert room.seen == {"a": "b", "b": None}
    first.shows = True
    first.changed()
    assert room.seen == {"a": "b", "b": "a"}


def test_who_gets_no_key_frames_takes_the_picture_from_nobody() -> None:
    """The speaker sends in a codec that one member does not take: that one sees another, all others the speaker."""
    room = Room(a=Picture(), b=Picture(), c=Picture(), d=Picture())
    room.by_name["d"].gets_key_frames = False
    room.speak("c", 5.0)
    for _ in range(30):
        assert {name: room.seen[name] for name in "ab"} == {"a": "c", "b": "c"}
        assert room.seen["d"] != "c"
        room.pass_time(1.0)


def test_each_who_is_shown_has_three_seconds_of_its_own() -> None:
    """Who waited for one that sends no key frames does not pass over the next speaker the earlier for it."""
    room = Room(a=Picture(), b=Picture(), c=Picture())
    room.by_name["b"].has_key_frames = False
    room.speak("b", 2.9)
    room.by_name["c"].has_key_frames = False
    room.speak("c", 1.7)
    room.by_name["c"].has_key_frames = True
    room.pass_time(1.0)
    assert room.seen["a"] == "c"


class Browser(Picture):
    """One that can see several, of which it has taken `sections`."""

    def __init__(self, sections: int = 1) -> None:
        super().__init__()
        self.most_seen = 8
        self.mid = "1"
        self.take(sections)

    def take(self, sections: int) -> None:
        """It has agreed to as many."""
        self.views = [Picture() for _ in range(sections - 1)]
        for number, view in enumerate(self.views):
            view.mid = str(2 + number)


def test_browsers_are_offered_to_see_everybody_and_phones_are_not() -> None:
    """As many as the room shows at once; who is told, and whom it sees where."""
    told: list[str] = []
    pictures = Pictures(3, told.append)
    browser, phone = Browser(), Picture()
    first: Picture = browser
    for name, picture in {"a": first, "b": phone, "c": Picture(), "d": Picture(), "e": Picture()}.items():
        pictures.take(name, picture)
    assert (browser.wanted, phone.wanted) == (3, 1)
    assert pictures.all_seen_by("a") == {"1": "b"}
    assert told == ["a"]
    browser.take(3)
    pictures.take("a", first)
    assert pictures.all_seen_by("a") == {"1": "b", "2": "c", "3": "d"}
    assert pictures.seen_by("b") == "a"
    assert not pictures.all_seen_by("b")
    pictures.drop("c")
    assert set(pictures.all_seen_by("a").values()) == {"b", "d", "e"}
    assert told == ["a"] * 3
    pictures.drop("a")
    assert not pictures.all_seen_by("a")


def test_who_cannot_take_all_pictures_sees_fewer_the_one_who_speaks_among_them() -> None:
    """After two seconds of it, one less each time; more again after ten seconds without."""
    browser = Browser(4)
    room = Room(a=browser, b=Picture(), c=Picture(), d=Picture())
    room.pictures = Pictures(8)
    for name, picture in room.by_name.items():
        room.pictures.take(name, picture)

    def seen() -> set[str]:
        return set(room.pictures.all_seen_by("a").values())

    def pass_time(seconds: float) -> None:
        for view in browser.views:
            room.by_name[f"view {view.mid}"] = view
        room.pass_time(seconds)

    assert len(seen()) == 3
    browser.overrun = True
    room.pictures.speaks("d")
    pass_time(1.4)
    assert len(seen()) == 3
    pass_time(1.0)
    assert seen() >= {"d"}
    assert len(seen()) == 2
    pass_time(10.0)
    assert seen() == {"d"}
    browser.overrun = False
    pass_time(10.5)
    assert len(seen()) == 2
    pass_time(90)
    assert len(seen()) == 3


def test_who_cannot_take_what_is_left_sees_one_less_than_that() -> None:
    """Others have gone since it was counted; who takes all again has nobody arranged any more."""
    browser = Browser(6)
    room = Room(a=browser, **{name: Picture() for name in "bcdef"})
    room.pictures = Pictures(5)
    for name, picture in room.by_name.items():
        room.pictures.take(name, picture)
    for view in browser.views:
        room.by_name[f"view {view.mid}"] = view
    browser.overrun = True
    room.pass_time(2.1)
    assert len(room.pictures.all_seen_by("a")) == 4
    for name in "bcd":
        room.pictures.drop(name)
    room.pass_time(2.1)
    assert len(room.pictures.all_seen_by("a")) == 1
    browser.overrun = False
    room.pass_time(60)
    assert len(room.pictures.all_seen_by("a")) == 2
    arranged = browser.arranged
    room.pass_time(60)
    assert browser.arranged == arranged


def test_who_has_gone_has_nobody_arranged_any_more() -> None:
    """Whatever becomes of its picture elsewhere."""
    room = Room(a=Picture(), b=Picture(), c=Picture())
    room.pictures.drop("a")
    arranged = room.by_name["c"].arranged
    room.by_name["a"].changed()
    assert room.by_name["c"].arranged == arranged
    room.by_name["b"].changed()
    assert room.by_name["c"].arranged == arranged + 1


def test_who_see_each_other_elsewhere_do_not_see_each_other_here() -> None:
    """Browsers of the room server see each other directly, and here those who dialled."""
    pictures, seen = Pictures(8), {}
    members = {name: Browser(3) for name in "abc"}
    for name, picture in members.items():
        first: Picture = picture
        pictures.take(name, first, "linked" if name != "c" else None)
    for name in members:
        seen[name] = set(pictures.all_seen_by(name).values())
    assert seen == {"a": {"c"}, "b": {"c"}, "c": {"a", "b"}}
